// What the scene makes of a body's bones.
import assert from "node:assert/strict";
import { test } from "node:test";
import { SkinnedView } from "../src/scene/skin.ts";

const JOINTS = 3; // pelvis, head, wrist
const HEAD = 1;
const WRIST = 2;

/** Three joints, and bones behind them that follow entries of their own. */
function body(more: { parent: number; shift: readonly [number, number, number] }[]): SkinnedView {
  const shifts = [[0, 0, 0], [0, -1.5, 0], [0.6, -1.2, 0], ...more.map(({ shift }) => shift)];
  const total = shifts.length;
  const rows = shifts.flatMap(([x, y, z]) => [1, 0, 0, x, 0, 1, 0, y, 0, 0, 1, z]);
  const view = new SkinnedView();
  view.addBones({
    of: "body", first: 0, total, names: [], boneFromBind: Float32Array.from(rows),
    parents: Int32Array.from([-1, 0, 0, ...more.map(({ parent }) => parent)]),
    follows: Uint16Array.from({ length: total }, (_, i) => i),
  });
  return view;
}

test("fingers have the frame of their wrist at rest, and nodes of clothes are no fingers", () => {
  assert.equal(body([]).hasFingers(JOINTS), false);
  assert.equal(body([{ parent: WRIST, shift: [0.63, -1.2, 0.01] }]).hasFingers(JOINTS), false);
  assert.equal(body([{ parent: WRIST, shift: [0.6, -1.2, 0] }]).hasFingers(JOINTS), true);
});

test("who looks out of a head sees nothing of what hangs on nodes of it", () => {
  const view = body([{ parent: HEAD, shift: [0.1, -1.6, 0] }, { parent: 0, shift: [0.1, 0, 0] }]);
  const weights = new Uint8Array(24);
  for (let i = 0; i < 6; i++) weights[4 * i] = 255;
  view.setPiece({
    number: 0, vertices: new Float32Array(18), normals: new Float32Array(18), faces: Uint16Array.from([0, 1, 2, 3, 4, 5]),
    colours: null, colour: [200, 196, 190, 255], bothSides: false, weights,
    bones: Uint16Array.from([3, 3, 3, 4, 4, 4].flatMap((bone) => [bone, 0, 0, 0])),
  });
  const corners = (): number[] => {
    const seen: number[] = [];
    view.group.traverse((part) => {
      if ("geometry" in part) seen.push(...(part as unknown as { geometry: { index: { array: ArrayLike<number> } } }).geometry.index.array as number[]);
    });
    return seen;
  };
  assert.deepEqual(corners(), [0, 1, 2, 3, 4, 5]);
  view.setWithout(HEAD);
  assert.deepEqual(corners(), [3, 4, 5]);
  view.setWithout(null);
  assert.deepEqual(corners(), [0, 1, 2, 3, 4, 5]);
});
