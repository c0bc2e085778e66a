// A calibration from its first step to the server's answer, by times and heights alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Calibration } from "../src/xr/calibration.ts";
import type { Heights } from "../src/xr/calibration.ts";

const STANDING: Heights = { head: 1.62, left: 0.9, right: 0.9 };
const RAISED: Heights = { head: 1.62, left: 0.9, right: 1.9 };
const OTHER: Heights = { head: 1.62, left: 1.9, right: 0.9 };

class Played {
  now = 0;
  readonly asked: string[] = [];
  readonly calibration = new Calibration(0, (pose) => this.asked.push(pose));

  /** Hold something for a while, at 72 Hz. */
  hold(heights: Heights, seconds: number): this {
    for (const end = this.now + 1000 * seconds; this.now < end; this.now += 1000 / 72) {
      this.calibration.sample(this.now, heights);
      this.calibration.tick(this.now);
    }
    return this;
  }

  get shown() {
    return this.calibration.shown(this.now);
  }
}

test("the whole way", () => {
  const played = new Played();
  assert.equal(played.shown.step, "1 of 3");
  played.hold(STANDING, 1.0);
  assert.match(played.shown.text, /1\.62 m above the floor/);
  played.hold(STANDING, 1.0);
  assert.equal(played.shown.pose, "raise");
  played.hold(RAISED, 1.0);
  assert.equal(played.shown.pose, "T");
  assert.equal(played.shown.countdown, 5);
  played.hold(STANDING, 3.0);
  assert.equal(played.shown.countdown, 2);
  assert.deepEqual(played.asked, []);
  played.hold(STANDING, 2.0);
  assert.deepEqual(played.asked, ["T"]);
  assert.equal(played.shown.title, "Hold still");
  played.calibration.told(played.now, { state: "measuring", lines: [] });
  played.calibration.told(played.now, { state: "done", lines: ["stature 1.74 m", "arms +2 %"] });
  assert.equal(played.shown.text, "Stature 1.74 m. Arms +2 %");
  assert.ok(played.shown.over);
});

test("who does not stand still, sits, or whose floor is wrong stays at the first step", () => {
  const played = new Played();
  for (let i = 0; i < 40; i++) played.hold({ ...STANDING, head: 1.62 + 0.05 * (i % 2) }, 0.1);
  assert.equal(played.shown.step, "1 of 3");
  assert.match(played.hold({ ...STANDING, head: 0.8 }, 3).shown.text, /stand up, or measure the floor/);
  assert.match(played.hold({ ...STANDING, head: 2.6 }, 3).shown.text, /too high/);
  assert.match(played.hold({ ...STANDING, head: null }, 3).shown.text, /not tracked/);
  assert.equal(played.hold({ ...STANDING, head: NaN }, 3).shown.step, "1 of 3");
});

test("hands that are changed over are told, and do not pass", () => {
  const played = new Played().hold(STANDING, 2).hold(OTHER, 2);
  assert.match(played.shown.text, /That was the left one/);
  assert.equal(played.shown.step, "2 of 3");
  assert.equal(played.hold(STANDING, 1).hold(RAISED, 1).shown.step, "3 of 3");
});

test("a hand that is not tracked is named, and a glimpse is not enough", () => {
  const played = new Played().hold(STANDING, 2);
  assert.match(played.hold({ ...STANDING, left: null }, 1).shown.text, /left hand is not tracked/);
  assert.match(played.hold({ ...STANDING, left: null, right: null }, 1).shown.text, /No hand is tracked/);
  for (let i = 0; i < 20; i++) played.hold(RAISED, 0.2).hold(STANDING, 0.1);
  assert.equal(played.shown.step, "2 of 3");
});

test("what was not seen was not held", () => {
  const played = new Played().hold(STANDING, 0.5);
  played.now += 5000;
  assert.equal(played.hold(STANDING, 0.5).shown.step, "1 of 3");
  played.hold(STANDING, 2).hold(RAISED, 0.2);
  played.now += 5000;
  assert.equal(played.hold(RAISED, 0.2).shown.step, "2 of 3");
  assert.equal(played.hold(RAISED, 1).shown.step, "3 of 3");
});

test("checks can be skipped, and a failure tried again", () => {
  const played = new Played();
  played.calibration.next(played.now);
  played.calibration.next(played.now);
  assert.equal(played.shown.step, "3 of 3");
  played.hold(STANDING, 6);
  played.calibration.told(played.now, { state: "failed", lines: ["calibration: the hands were not still"] });
  assert.equal(played.shown.text, "The hands were not still");
  played.calibration.next(played.now);
  assert.equal(played.shown.countdown, 5);
  played.hold(STANDING, 25);
  assert.match(played.shown.text, /did not answer/);
  assert.deepEqual(played.asked, ["T", "T"]);
});

test("the floor is measured where it looks wrong, and the way goes on from there", () => {
  const played = new Played();
  played.hold({ ...STANDING, head: 0.8 }, 1);
  assert.equal(played.shown.floor, "Measure the floor");
  played.calibration.floor(played.now);
  assert.deepEqual(played.asked, ["floor"]);
  assert.equal(played.shown.pose, "floor");
  assert.equal(played.shown.floor, null);
  played.hold({ ...STANDING, head: 0.8, right: 0.05 }, 2);
  played.calibration.told(played.now, { state: "measuring", lines: [] });
  assert.equal(played.shown.pose, "floor");
  played.calibration.told(played.now, { state: "done", lines: ["the floor is 10 cm below where the headset has it"], floor_m: -0.1 });
  assert.match(played.hold(STANDING, 0.5).shown.text, /^The floor is 10 cm below where the headset has it\. Your eyes are 1\.62 m/);
  played.hold(STANDING, 2);
  assert.equal(played.shown.step, "2 of 3");
  played.calibration.floor(played.now); // not asked for any more
  assert.deepEqual(played.asked, ["floor"]);
});

test("a floor that is not found, or not wanted after all, leads back", () => {
  const missed = new Played();
  missed.calibration.floor(missed.now);
  missed.calibration.told(missed.now, { state: "failed", lines: ["the floor was not measured: no hand lay still on it"] });
  assert.match(missed.hold(STANDING, 0.1).shown.text, /The floor was not measured/);
  assert.equal(missed.shown.floor, "Measure the floor");
  const back = new Played();
  back.calibration.floor(back.now);
  back.calibration.next(back.now);
  assert.equal(back.shown.pose, "stand");
  const silent = new Played();
  silent.calibration.floor(silent.now);
  assert.match(silent.hold(STANDING, 26).shown.text, /did not answer/);
});
