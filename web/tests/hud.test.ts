// The figures of the display above the picture.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Meter } from "../src/ui/meter.ts";

test("the rate is that of the measurements, also where they arrive in bursts", () => {
  const meter = new Meter();
  for (let i = 0; i < 90; i++) meter.arrived(1000 + 500 * Math.floor(i / 30), 400, 7000 + (1000 / 72) * i);
  const { rate_hz, kilobytes_s } = meter.figures(2100);
  assert.ok(Math.abs(rate_hz! - 72) < 1e-6);
  assert.equal(kilobytes_s, (90 * 400) / 2000);
});

test("what is too long ago does not count, and nothing is no figure", () => {
  const meter = new Meter();
  meter.arrived(0, 100, 1);
  meter.arrived(10, 100, 11);
  meter.drawn(10, 25);
  assert.equal(meter.figures(20).age_ms, 25);
  assert.deepEqual(meter.figures(5000), { rate_hz: null, age_ms: null, kilobytes_s: 0 });
});

test("the age is the middle one, and its trace runs from left to right within the picture", () => {
  const meter = new Meter();
  for (let i = 0; i < 1000; i++) meter.drawn(20 * i, i % 2 ? 20 : i === 500 ? 400 : 22);
  assert.ok([20, 22].includes(meter.figures(20_000).age_ms!));
  const points = meter.trace(20_000).slice(1).split("L").map((point) => point.split(" ").map(Number));
  assert.ok(points.length > 50);
  for (let i = 0; i < points.length; i++) {
    assert.ok(points[i][0] >= 0 && points[i][0] <= 120 && points[i][1] >= 0 && points[i][1] <= 28);
    if (i) assert.ok(points[i][0] > points[i - 1][0]);
  }
});
