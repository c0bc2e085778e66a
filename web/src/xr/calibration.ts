// Measuring a person, step by step: height (and, where it looks wrong, the floor), sides, then the pose that the server
// measures in. Neither a clock nor a
// screen of its own, so that a page shows it on a desk and in a headset alike, and a test plays it.
import { sentence } from "../ui/text.ts";
import type { Pose } from "./figure.ts";

/** How high things are above the floor [m], null where they are not tracked. */
export interface Heights {
  readonly head: number | null;
  readonly left: number | null;
  readonly right: number | null;
}

/** What the server says of a measurement that was asked for. */
export interface Measured {
  readonly state: "measuring" | "done" | "failed";
  readonly lines: readonly string[];
  readonly floor_m?: number; // of the floor above what the headset calls 0
}

/** What the server may be asked to measure. */
export type Asked = "T" | "floor";

export interface Shown {
  readonly step: string; // "1 of 3"
  readonly title: string;
  readonly text: string;
  readonly pose: Pose;
  readonly countdown: number | null; // seconds
  readonly next: string | null; // label of the button that goes on, null where it goes on by itself
  readonly floor: string | null; // label of the button that measures the floor
  readonly over: boolean;
}

type Step = "height" | "floor" | "sides" | "pose" | "measuring" | "done" | "failed";

const STILL_MS = 1500;
const STILL_M = 0.03;
const RAISED_MS = 700;
const GAP_MS = 300;
const COUNTDOWN_MS = 5000;
const ANSWER_MS = 15_000;
const FLOOR_MS = 25_000; // the server gives somebody 20 seconds to lay a hand down
const LOWEST_HEAD_M = 1.0; // eyes of somebody who stands; of a small child they are lower
const HIGHEST_HEAD_M = 2.2;
const ABOVE_M = 0.02;
const BELOW_M = 0.25;

export class Calibration {
  #step: Step = "height";
  #since_ms: number;
  #sampled_ms = -Infinity;
  #low = Infinity;
  #high = -Infinity;
  #heights: Heights = { head: null, left: null, right: null };
  #swapped = false;
  #lines: readonly string[] = [];
  #ofFloor = ""; // what was found out about it
  readonly #ask: (pose: Asked) => void;

  /** @param ask asks the server to measure: the floor when that is wanted, the person once the countdown is over */
  constructor(now_ms: number, ask: (pose: Asked) => void) {
    this.#since_ms = now_ms;
    this.#ask = ask;
  }

  /** What was tracked just now. */
  sample(now_ms: number, heights: Heights): void {
    this.#heights = heights;
    const held = this.#step === "height" || this.#step === "sides";
    if (held && now_ms - this.#sampled_ms > GAP_MS) this.#go(this.#step, now_ms); // nobody knows what was in between
    this.#sampled_ms = now_ms;
    if (this.#step === "height") this.#height(now_ms, heights.head);
    else if (this.#step === "sides") this.#sides(now_ms, heights);
  }

  /** Time goes on. */
  tick(now_ms: number): void {
    const passed_ms = now_ms - this.#since_ms;
    if (this.#step === "pose" && passed_ms >= COUNTDOWN_MS) {
      this.#go("measuring", now_ms);
      this.#ask("T");
    } else if (this.#step === "measuring" && passed_ms > ANSWER_MS) {
      this.#lines = ["The computer did not answer. Is the headset's page still connected?"];
      this.#go("failed", now_ms);
    } else if (this.#step === "floor" && passed_ms > FLOOR_MS) {
      this.#ofFloor = "The computer did not answer about the floor.";
      this.#go("height", now_ms);
    }
  }

  /** The server told how it went. */
  told(now_ms: number, { state, lines }: Measured): void {
    if (state === "measuring") return;
    if (this.#step === "floor") {
      this.#ofFloor = `${said(lines)}.`;
      return this.#go("height", now_ms);
    }
    if (this.#step !== "measuring") return;
    this.#lines = lines;
    this.#go(state, now_ms);
  }

  /** The button: skip a check, try again, or nothing where it goes on by itself. */
  next(now_ms: number): void {
    if (this.#step === "height") this.#go("sides", now_ms);
    else if (this.#step === "floor") this.#go("height", now_ms);
    else if (this.#step === "sides") this.#go("pose", now_ms);
    else if (this.#step === "failed") this.#go("pose", now_ms);
  }

  /** The other button: measure how high the floor is. */
  floor(now_ms: number): void {
    if (this.#step !== "height") return;
    this.#go("floor", now_ms);
    this.#ask("floor");
  }

  shown(now_ms: number): Shown {
    const base = { countdown: null, next: null, floor: null, over: false } as const;
    switch (this.#step) {
      case "height":
        return { ...base, step: "1 of 3", title: "Stand upright and look ahead", text: this.#heightText(), pose: "stand", next: "Go on", floor: "Measure the floor" };
      case "floor":
        return {
          ...base, step: "1 of 3", title: "Lay one hand on the floor", text: "Or the controller in it, where the headset sees it. Hold it still for a second.",
          pose: "floor", next: "Back",
        };
      case "sides":
        return { ...base, step: "2 of 3", title: "Raise your right hand above your head", text: this.#sidesText(), pose: "raise", next: "Go on" };
      case "pose":
        return {
          ...base, step: "3 of 3", title: "Stretch both arms out to the sides", text: "Palms down, legs straight. Hold it when the count is over.",
          pose: "T", countdown: Math.max(1, Math.ceil((COUNTDOWN_MS - (now_ms - this.#since_ms)) / 1000)),
        };
      case "measuring":
        return { ...base, step: "3 of 3", title: "Hold still", text: "You are being measured.", pose: "T" };
      case "done":
        return { ...base, step: "Done", title: "You are measured", text: this.#told(), pose: "stand", over: true };
      case "failed":
        return { ...base, step: "Not measured", title: "Once more, please", text: this.#told(), pose: "T", next: "Try again" };
    }
  }

  #told(): string {
    return said(this.#lines);
  }

  #go(step: Step, now_ms: number): void {
    this.#step = step;
    this.#since_ms = now_ms;
    this.#low = Infinity;
    this.#high = -Infinity;
  }

  #height(now_ms: number, head: number | null): void {
    if (head === null || !(head >= LOWEST_HEAD_M && head <= HIGHEST_HEAD_M)) return this.#go("height", now_ms);
    this.#low = Math.min(this.#low, head);
    this.#high = Math.max(this.#high, head);
    if (this.#high - this.#low > STILL_M) return this.#go("height", now_ms);
    if (now_ms - this.#since_ms >= STILL_MS) this.#go("sides", now_ms);
  }

  #sides(now_ms: number, { head, left, right }: Heights): void {
    if (head === null || left === null || right === null) {
      this.#since_ms = now_ms;
      return;
    }
    const raised = (hand: number): boolean => hand > head + ABOVE_M;
    const lowered = (hand: number): boolean => hand < head - BELOW_M;
    if (raised(left) && lowered(right)) {
      if (now_ms - this.#since_ms >= RAISED_MS) this.#swapped = true;
    } else if (raised(right) && lowered(left)) {
      if (now_ms - this.#since_ms >= RAISED_MS) {
        this.#swapped = false;
        this.#go("pose", now_ms);
      }
    } else this.#since_ms = now_ms;
  }

  #heightText(): string {
    const { head } = this.#heights;
    if (head === null) return "The headset is not tracked yet.";
    const eyes = `${this.#ofFloor} Your eyes are ${head.toFixed(2)} m above the floor.`.trimStart();
    if (head < LOWEST_HEAD_M) return `${eyes} That is low for somebody who stands: stand up, or measure the floor.`;
    if (head > HIGHEST_HEAD_M) return `${eyes} That is too high: measure the floor, or set it in the headset's boundary settings.`;
    return `${eyes} Stay so for a moment.`;
  }

  #sidesText(): string {
    const { left, right } = this.#heights;
    if (this.#swapped) return "That was the left one, as the headset has it: change the controllers over, and raise your right hand again.";
    if (left === null && right === null) return "No hand is tracked: hold the controllers, or show your hands to the headset.";
    if (left === null || right === null) return `The ${left === null ? "left" : "right"} hand is not tracked: hold it where the headset sees it.`;
    return "This tells left from right.";
  }
}

/** What the server said, as sentences. */
function said(lines: readonly string[]): string {
  return lines.map((line) => sentence(line.replace(/^calibration: /, ""))).join(". ");
}
