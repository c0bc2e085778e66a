// Rate, age and traffic of what is shown, and how the age went over the last seconds.
import { element, setText } from "./dom.ts";

const EVERY_MS = 250; // faster, nobody reads them
const KEPT_MS = 2000;
const TRACE_MS = 20_000;

/** Counts what arrives; no clock of its own, so that a test can say what time it is. */
export class Meter {
  #arrivals: { t: number; bytes: number; picture: boolean }[] = [];
  #ages: { t: number; age: number }[] = [];

  /** @param picture whether it was a new picture of the body, not a message about something else */
  arrived(t_ms: number, bytes: number, picture: boolean): void {
    this.#arrivals.push({ t: t_ms, bytes, picture });
  }

  /** @param age_ms from the sample or frame to its being drawn */
  drawn(t_ms: number, age_ms: number): void {
    this.#ages.push({ t: t_ms, age: age_ms });
  }

  /** Over the last two seconds; null where nothing came. */
  figures(t_ms: number): { rate_hz: number | null; age_ms: number | null; kilobytes_s: number } {
    this.#arrivals = this.#arrivals.filter(({ t }) => t_ms - t <= KEPT_MS);
    this.#ages = this.#ages.filter(({ t }) => t_ms - t <= TRACE_MS);
    const pictures = this.#arrivals.filter(({ picture }) => picture);
    const spanned_s = pictures.length > 1 ? (pictures[pictures.length - 1].t - pictures[0].t) / 1000 : 0;
    const recent = this.#ages.filter(({ t }) => t_ms - t <= KEPT_MS).map(({ age }) => age).sort((a, b) => a - b);
    return {
      rate_hz: spanned_s > 0 ? (pictures.length - 1) / spanned_s : null,
      age_ms: recent.length ? recent[recent.length >> 1] : null,
      kilobytes_s: this.#arrivals.reduce((sum, { bytes }) => sum + bytes, 0) / KEPT_MS,
    };
  }

  /** Points of the ages in a picture of 120 by 28, the newest at the right. */
  trace(t_ms: number): string {
    const top = Math.max(50, ...this.#ages.map(({ age }) => age));
    const bins = new Map<number, number>();
    for (const { t, age } of this.#ages) {
      const x = Math.round(120 * (1 - (t_ms - t) / TRACE_MS));
      bins.set(x, Math.max(bins.get(x) ?? 0, age));
    }
    const points = [...bins].sort(([a], [b]) => a - b).map(([x, age]) => `${x} ${(27 - (26 * Math.max(age, 0)) / top).toFixed(1)}`);
    return points.length > 1 ? `M${points.join("L")}` : "";
  }
}

export class Hud {
  readonly meter = new Meter();
  readonly #panel = element("hud", HTMLElement);
  readonly #rate = element("hud-rate", HTMLElement);
  readonly #age = element("hud-age", HTMLElement);
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
    setText(this.#age, age_ms === null ? "–" : age_ms.toFixed(0));
    setText(this.#traffic, kilobytes_s.toFixed(kilobytes_s < 10 ? 1 : 0));
    const trace = this.meter.trace(t_ms);
    if (trace) this.#trace.setAttribute("d", trace);
    else this.#trace.removeAttribute("d");
    this.#status.dataset["status"] = status;
    setText(this.#status, reason);
  }
}
