// What a headset's page and the server say to each other at /headset: docs/webxr.md describes it.
import { Quaternion, Vector3 } from "three";

export const HEADSET_VERSION = 1;

export type SpaceKind = "local-floor" | "bounded-floor" | "local";

export interface RigidPose {
  position_m: [number, number, number];
  rotation_xyzw: [number, number, number, number];
  emulated?: true;
}

export interface HandPose extends RigidPose {
  kind: "grip" | "hand-wrist";
  joints?: string; // of a tracked hand all 25, see `jointsOf`
}

export interface PoseMessage {
  type: "pose";
  seq: number;
  t_ms: number;
  head: RigidPose | null;
  left: HandPose | null;
  right: HandPose | null;
  display_ms?: number;
}

export type ToServer =
  | { type: "hello"; version: number; space: SpaceKind; user_agent: string; rate_hz?: number }
  | { type: "pong"; id: number; t_ms: number }
  | { type: "visibility"; state: XRVisibilityState }
  | { type: "reset" }
  | { type: "end"; reason: string }
  | PoseMessage;

export type FromServer =
  | { type: "ping"; id: number }
  | { type: "welcome"; version: number }
  | { type: "notice"; message: string }
  | { type: "error"; code: string; message: string; fatal?: boolean };

/** A pose of the browser as the message holds it. */
export function rigid(pose: XRPose): RigidPose {
  const { position: p, orientation: q } = pose.transform;
  const out: RigidPose = { position_m: [p.x, p.y, p.z], rotation_xyzw: [q.x, q.y, q.z, q.w] };
  if (pose.emulatedPosition) out.emulated = true;
  return out;
}

/** The wrist and joints where the hand itself is tracked, else the grip of what it holds, else nothing. */
export function handPose(frame: XRFrame, source: XRInputSource, space: XRReferenceSpace): HandPose | null {
  const wrist = source.hand?.get("wrist");
  if (!source.hand || !wrist) {
    const grip = source.gripSpace ? frame.getPose(source.gripSpace, space) : undefined;
    return grip ? { kind: "grip", ...rigid(grip) } : null;
  }
  const pose = frame.getJointPose?.(wrist, space);
  if (!pose) return null;
  const joints = jointsOf(frame, source.hand, space, pose);
  return { kind: "hand-wrist", ...rigid(pose), ...(joints === null ? {} : { joints }) };
}

const HAND_JOINTS = 25;
const JOINT_BYTES = 32;
const bytes = new Uint8Array(HAND_JOINTS * JOINT_BYTES);
const numbers = new DataView(bytes.buffer);
const back = new Quaternion();
const from = new Vector3();
const place = new Vector3();
const turn = new Quaternion();

/**
 * The joints of a hand in WebXR's order, seen from its wrist, in base64: of each its position [m], rotation xyzw and
 * radius [m] as float32, little-endian. Nothing where one of them is not tracked.
 */
export function jointsOf(frame: XRFrame, hand: XRHand, space: XRReferenceSpace, wrist: XRPose): string | null {
  if (hand.size !== HAND_JOINTS) return null;
  const { position, orientation } = wrist.transform;
  from.set(position.x, position.y, position.z);
  back.set(orientation.x, orientation.y, orientation.z, orientation.w).invert();
  let at = 0;
  for (const joint of hand.values()) {
    const pose = frame.getJointPose?.(joint, space);
    if (!pose) return null;
    const { position: p, orientation: q } = pose.transform;
    place.set(p.x, p.y, p.z).sub(from).applyQuaternion(back);
    turn.set(q.x, q.y, q.z, q.w).premultiply(back);
    for (const value of [place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w, pose.radius ?? 0]) {
      numbers.setFloat32(at, value, true);
      at += 4;
    }
  }
  return btoa(String.fromCharCode(...bytes));
}

/** Whether a close code says that coming back would not help, or would throw out the page that took over. */
export function isFinal(code: number): boolean {
  return code === 1008 || code === 4001 || code === 4002;
}
