// The one calibration that may be going on, whoever shows it: heights go in, the server is asked, its answer is told.
import { Calibration } from "./calibration.ts";
import type { Asked, Heights, Shown } from "./calibration.ts";
import type { Status } from "../stream/texts.ts";

const OVER_MS = 10_000; // so long the result stays

export class Calibrator {
  readonly #ask: (pose: Asked) => void;
  readonly #changed: (shown: Shown | null) => void;
  #running: Calibration | null = null;
  #over_ms = 0;
  #floor_m = 0;

  /**
   * @param ask asks the server to measure
   * @param changed takes what is to be shown, null where nothing is
   */
  constructor(ask: (pose: Asked) => void, changed: (shown: Shown | null) => void) {
    this.#ask = ask;
    this.#changed = changed;
  }

  get running(): boolean {
    return this.#running !== null;
  }

  begin(): void {
    this.#running = new Calibration(performance.now(), this.#ask);
    this.#over_ms = 0;
    this.update();
  }

  next(): void {
    this.#running?.next(performance.now());
    this.update();
  }

  floor(): void {
    this.#running?.floor(performance.now());
    this.update();
  }

  end(): void {
    this.#running = null;
    this.#changed(null);
  }

  /** @param heights above the floor as the server knows it */
  sample(heights: Heights): void {
    this.#running?.sample(performance.now(), heights);
  }

  /** @param heights above the floor as the headset has it */
  sampleRaw({ head, left, right }: Heights): void {
    const above = (height: number | null): number | null => (height === null ? null : height - this.#floor_m);
    this.sample({ head: above(head), left: above(left), right: above(right) });
  }

  told({ calibration }: Status): void {
    if (!calibration) return;
    this.#floor_m = calibration.floor_m ?? 0;
    this.#running?.told(performance.now(), calibration);
  }

  /** Once per frame. */
  update(): void {
    const now = performance.now();
    this.#running?.tick(now);
    if (!this.#running) return;
    const shown = this.#running.shown(now);
    this.#changed(shown);
    if (!shown.over) return;
    this.#over_ms ||= now;
    if (now - this.#over_ms > OVER_MS) this.end();
  }
}
