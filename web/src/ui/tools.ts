// The controls below the picture.
import { element, setText } from "./dom.ts";
import type { Hello, Status } from "../stream/texts.ts";
import type { View } from "../scene/world.ts";

export interface ToolEvents {
  views(views: ReadonlySet<View>): void;
  fit(): void;
  record(on: boolean): void;
  calibrate(): void;
}

const VIEWS: readonly View[] = ["surface", "graph", "skeleton"];

export class Tools {
  readonly #views = element("views", HTMLElement);
  readonly #fit = element("fit", HTMLButtonElement);
  readonly #record = element("record", HTMLButtonElement);
  readonly #recordText = element("record-text", HTMLElement);
  readonly #calibrate = element("calibrate", HTMLButtonElement);
  readonly #events: ToolEvents;
  readonly #on = new Set<View>(["surface"]);

  constructor(events: ToolEvents) {
    this.#events = events;
    for (const button of this.#buttons()) button.onclick = () => this.#toggle(button.dataset["view"] as View);
    this.#fit.onclick = () => events.fit();
    this.#record.onclick = () => events.record(this.#record.getAttribute("aria-pressed") !== "true");
    this.#calibrate.onclick = () => events.calibrate();
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Offer what this server has. */
  offer({ bodies, surfaces, controls }: Hello): void {
    this.#views.hidden = false;
    this.#fit.hidden = false;
    for (const button of this.#buttons()) {
      const view = button.dataset["view"];
      button.hidden = (view === "graph" && !surfaces) || (view === "skeleton" && !bodies);
      if (view === "surface") setText(button, surfaces || !bodies ? "Surface" : "Body");
    }
    this.#record.hidden = !controls.includes("record");
    this.#calibrate.hidden = !controls.includes("calibrate");
  }

  recording(recording: Status["recording"]): void {
    const on = recording?.on ?? false;
    this.#record.setAttribute("aria-pressed", String(on));
    const seconds = Math.floor(recording?.seconds ?? 0);
    const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    setText(this.#recordText, on ? `Stop ${clock}` : "Record");
    this.#record.title = on ? (recording?.file ?? "") : "";
  }

  #buttons(): HTMLButtonElement[] {
    return [...this.#views.querySelectorAll("button")];
  }

  #toggle(view: View): void {
    if (this.#on.size === 1 && this.#on.has(view)) return; // something is always shown
    if (!this.#on.delete(view)) this.#on.add(view);
    for (const button of this.#buttons()) button.setAttribute("aria-pressed", String(this.#on.has(button.dataset["view"] as View)));
    this.#events.views(new Set(this.#on));
  }

  #key(event: KeyboardEvent): void {
    if (event.target instanceof HTMLInputElement || event.ctrlKey || event.metaKey || event.altKey) return;
    const view = VIEWS[Number(event.key) - 1];
    if (view && !this.#buttons().find((button) => button.dataset["view"] === view)?.hidden) this.#toggle(view);
    else if (event.key.toLowerCase() === "r" || event.key.toLowerCase() === "f") this.#events.fit();
  }
}
