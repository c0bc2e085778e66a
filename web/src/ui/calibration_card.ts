// The calibration on the page, for who stands in front of a screen or helps somebody who wears the headset.
import { drawFigure } from "../xr/figure.ts";
import type { Shown } from "../xr/calibration.ts";
import { element, setText } from "./dom.ts";

export class CalibrationCard {
  readonly #card = element("calibration", HTMLElement);
  readonly #picture = element("calibration-picture", HTMLCanvasElement);
  readonly #step = element("calibration-step", HTMLElement);
  readonly #title = element("calibration-title", HTMLElement);
  readonly #text = element("calibration-text", HTMLElement);
  readonly #next = element("calibration-next", HTMLButtonElement);
  #drawn = "";

  constructor(next: () => void, close: () => void) {
    this.#next.onclick = next;
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
    this.#next.hidden = shown.next === null;
    if (shown.next) setText(this.#next, shown.next);
    this.#draw(shown);
    if (opened) element("calibration-close", HTMLButtonElement).focus({ preventScroll: true });
  }

  #draw({ pose, countdown }: Shown): void {
    const style = getComputedStyle(document.body);
    const ink = style.getPropertyValue("--ink-soft").trim();
    const accent = style.getPropertyValue("--accent").trim();
    const key = [pose, countdown, ink].join();
    if (key === this.#drawn) return;
    this.#drawn = key;
    const { width, height } = this.#picture;
    const context = this.#picture.getContext("2d")!;
    context.clearRect(0, 0, width, height);
    context.globalAlpha = countdown === null ? 1 : 0.35;
    drawFigure(context, pose, 0, 0, width, { body: ink, accent });
    context.globalAlpha = 1;
    if (countdown === null) return;
    context.fillStyle = style.getPropertyValue("--ink").trim();
    context.font = "600 190px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(String(countdown), width / 2, height / 2);
  }
}
