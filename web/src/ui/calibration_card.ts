// The calibration on the page, for who stands in front of a screen or helps somebody who wears the headset.
import { drawFigure } from "../xr/figure.ts";
import type { Pose } from "../xr/figure.ts";
import type { Shown } from "../xr/calibration.ts";
import { element, setText } from "./dom.ts";

export class CalibrationCard {
  readonly #card = element("calibration", HTMLElement);
  readonly #picture = element("calibration-picture", HTMLCanvasElement);
  readonly #count = element("calibration-count", HTMLElement);
  readonly #step = element("calibration-step", HTMLElement);
  readonly #title = element("calibration-title", HTMLElement);
  readonly #text = element("calibration-text", HTMLElement);
  readonly #next = element("calibration-next", HTMLButtonElement);
  readonly #floor = element("calibration-floor", HTMLButtonElement);
  #drawn = "";

  constructor(next: () => void, floor: () => void, close: () => void) {
    this.#next.onclick = next;
    this.#floor.onclick = floor;
    element("calibration-close", HTMLButtonElement).onclick = close;
    this.#card.onkeydown = (event) => {
      if (event.key === "Escape") close();
    };
  }

  show(shown: Shown | null): void {
    const opened = this.#card.hidden && shown !== null;
    this.#card.hidden = shown === null;
    if (!shown) return;
    setText(this.#step, shown.step);
    setText(this.#title, shown.title);
    setText(this.#text, shown.text);
    this.#count.hidden = shown.countdown === null;
    setText(this.#count, String(shown.countdown ?? ""));
    this.#next.hidden = shown.next === null;
    if (shown.next) setText(this.#next, shown.next);
    this.#floor.hidden = shown.floor === null;
    if (shown.floor) setText(this.#floor, shown.floor);
    this.#draw(shown.pose);
    if (opened) element("calibration-close", HTMLButtonElement).focus({ preventScroll: true });
  }

  #draw(pose: Pose): void {
    const style = getComputedStyle(document.body);
    const colours = { body: style.getPropertyValue("--ink-soft").trim(), accent: style.getPropertyValue("--accent").trim() };
    const key = [pose, colours.body].join();
    if (key === this.#drawn) return;
    this.#drawn = key;
    const context = this.#picture.getContext("2d")!;
    context.clearRect(0, 0, this.#picture.width, this.#picture.height);
    drawFigure(context, pose, 0, 0, this.#picture.width, colours);
  }
}
