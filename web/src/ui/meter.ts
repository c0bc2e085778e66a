// Rate, age and traffic of what arrives and is drawn.

const KEPT_MS = 2000;
const TRACE_MS = 20_000;

export interface Figures {
  readonly rate_hz: number | null; // of new pictures
  readonly age_ms: number | null; // from the measurement to the eyes, the middle one
  readonly kilobytes_s: number;
}

/** Counts what arrives; no clock of its own, so that a test can say what time it is. */
export class Meter {
  #arrivals: { t: number; bytes: number; taken: number | null }[] = [];
  #ages: { t: number; age: number }[] = [];

  /** @param taken_ms when what a picture shows was measured, by the host's clock; null of other messages */
  arrived(t_ms: number, bytes: number, taken_ms: number | null): void {
    this.#arrivals.push({ t: t_ms, bytes, taken: taken_ms });
  }

  /** @param age_ms from the sample or frame to its being drawn */
  drawn(t_ms: number, age_ms: number): void {
    this.#ages.push({ t: t_ms, age: age_ms });
  }

  /** Over the last two seconds; null where nothing came. */
  figures(t_ms: number): Figures {
    this.#arrivals = this.#arrivals.filter(({ t }) => t_ms - t <= KEPT_MS);
    this.#ages = this.#ages.filter(({ t }) => t_ms - t <= TRACE_MS);
    // By their own times: they may arrive in bursts.
    const pictures = this.#arrivals.flatMap(({ taken }) => taken ?? []);
    const spanned_s = pictures.length > 1 ? (Math.max(...pictures) - Math.min(...pictures)) / 1000 : 0;
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
