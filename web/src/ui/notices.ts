// Short messages for the person, the newest below, each gone after a while.
import { element } from "./dom.ts";
import { sentence } from "./text.ts";

const MOST = 5;
const SHOWN_MS = 14_000;

export class Notices {
  readonly #list = element("notices", HTMLElement);

  /** @param lasting stays until it is one of too many */
  show(told: string, lasting = false): void {
    const text = sentence(told);
    if (!text || [...this.#list.children].some((item) => item.textContent === text)) return;
    const item = document.createElement("li");
    item.textContent = text;
    this.#list.append(item);
    while (this.#list.children.length > MOST) this.#list.firstElementChild?.remove();
    if (!lasting) window.setTimeout(() => item.remove(), SHOWN_MS);
  }
}
