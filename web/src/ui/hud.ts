// Rate, age and traffic of what is shown, and how the age went over the last seconds.
import { element, setText } from "./dom.ts";
import { sentence } from "./text.ts";
import { Meter } from "./meter.ts";

const LATE_MS = 10_000; // from there on in seconds
const EVERY_MS = 250; // faster, nobody reads them

export class Hud {
  readonly meter = new Meter();
  readonly #panel = element("hud", HTMLElement);
  readonly #rate = element("hud-rate", HTMLElement);
  readonly #age = element("hud-age", HTMLElement);
  readonly #unit = element("hud-age-unit", HTMLElement);
  readonly #traffic = element("hud-traffic", HTMLElement);
  readonly #status = element("hud-status", HTMLElement);
  readonly #trace = element("hud-trace", SVGSVGElement).querySelector("path")!;
  #shown_ms = 0;

  /** @param status of the newest result, and why it is not as it should be */
  update(t_ms: number, visible: boolean, status: string, reason: string): void {
    this.#panel.hidden = !visible;
    if (!visible || t_ms - this.#shown_ms < EVERY_MS) return;
    this.#shown_ms = t_ms;
    const { rate_hz, age_ms, kilobytes_s } = this.meter.figures(t_ms);
    setText(this.#rate, rate_hz === null ? "–" : rate_hz.toFixed(0));
    const late = age_ms !== null && age_ms >= LATE_MS;
    setText(this.#age, age_ms === null ? "–" : (late ? age_ms / 1000 : age_ms).toFixed(0));
    setText(this.#unit, late ? "s" : "ms");
    setText(this.#traffic, kilobytes_s.toFixed(kilobytes_s < 10 ? 1 : 0));
    const trace = this.meter.trace(t_ms);
    if (trace) this.#trace.setAttribute("d", trace);
    else this.#trace.removeAttribute("d");
    this.#status.dataset["status"] = status;
    setText(this.#status, sentence(reason));
  }
}
