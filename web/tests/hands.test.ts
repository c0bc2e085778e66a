// The joints of a hand as the page sends them: the stored example that the server's own tests read.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { handPose } from "../src/headset/messages.ts";

interface Stored {
  wrist: { position_m: number[]; rotation_xyzw: number[] };
  poses: { position_m: number[]; rotation_xyzw: number[]; radius_m: number }[];
  joints: string;
}
const stored = JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "tests", "data", "webxr", "hand.json"), "utf8")) as Stored;

function poseOf({ position_m: [x, y, z], rotation_xyzw: q }: Stored["wrist"], radius = 0): object {
  return { transform: { position: { x, y, z }, orientation: { x: q[0], y: q[1], z: q[2], w: q[3] } }, radius, emulatedPosition: false };
}

/** A frame in which the joints stand as in the example, but for those that are not tracked. */
function frameOf(lost: number[] = []): XRFrame {
  const poses = stored.poses.map((pose) => poseOf(pose, pose.radius_m));
  return { getJointPose: (joint: number) => (lost.includes(joint) ? null : poses[joint - 1]) } as unknown as XRFrame;
}

/** Joints are numbers from 1 here, which the frame knows. */
function source(count: number): XRInputSource {
  const hand = new Map(Array.from({ length: count }, (_, i) => [i ? `joint ${i}` : "wrist", i + 1]));
  return { hand } as unknown as XRInputSource;
}

const space = {} as XRReferenceSpace;

function floats(text: string): Float32Array {
  return new Float32Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

test("joints are sent as they are seen from the wrist", () => {
  const message = handPose(frameOf(), source(25), space);
  assert.equal(message?.kind, "hand-wrist");
  assert.deepEqual(message?.position_m, stored.wrist.position_m);
  const found = floats(message!.joints!);
  const wanted = floats(stored.joints);
  assert.equal(found.length, 200);
  for (let joint = 0; joint < 25; joint++) {
    const dot = [3, 4, 5, 6].reduce((sum, k) => sum + found[8 * joint + k] * wanted[8 * joint + k], 0);
    assert.ok(Math.abs(Math.abs(dot) - 1) < 1e-5, `rotation of joint ${joint}`);
    for (const k of [0, 1, 2, 7]) assert.ok(Math.abs(found[8 * joint + k] - wanted[8 * joint + k]) < 1e-6, `number ${k} of joint ${joint}`);
  }
});

test("where a joint is not tracked, or there are others than WebXR's, the wrist goes alone", () => {
  for (const message of [handPose(frameOf([13]), source(25), space), handPose(frameOf(), source(1), space)]) {
    assert.equal(message?.kind, "hand-wrist");
    assert.ok(!("joints" in message!));
  }
  assert.equal(handPose(frameOf([1]), source(25), space), null);
});

test("a sample with all joints of both hands fits well into a message", () => {
  const hand = handPose(frameOf(), source(25), space)!;
  hand.position_m = [-1.2345678901234567, -1.2345678901234567, -1.2345678901234567];
  const head = { position_m: hand.position_m, rotation_xyzw: hand.rotation_xyzw };
  const message = { type: "pose", seq: 2 ** 52, t_ms: 123456789.12345678, head, left: hand, right: hand, display_ms: 123456789.1234567 };
  assert.ok(JSON.stringify(message).length < 3000);
});
