// What a headset's page and the server say to each other at /headset: docs/webxr.md describes it.

export const HEADSET_VERSION = 1;

export type SpaceKind = "local-floor" | "bounded-floor" | "local";

export interface RigidPose {
  position_m: [number, number, number];
  rotation_xyzw: [number, number, number, number];
  emulated?: true;
}

export interface HandPose extends RigidPose {
  kind: "grip" | "hand-wrist";
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

/** The wrist where the hand itself is tracked, else the grip of what it holds, else nothing. */
export function handPose(frame: XRFrame, source: XRInputSource, space: XRReferenceSpace): HandPose | null {
  const wrist = source.hand?.get("wrist");
  const pose = wrist
    ? frame.getJointPose?.(wrist, space)
    : source.gripSpace
      ? frame.getPose(source.gripSpace, space)
      : undefined;
  return pose ? { kind: wrist ? "hand-wrist" : "grip", ...rigid(pose) } : null;
}

/** Whether a close code says that coming back would not help, or would throw out the page that took over. */
export function isFinal(code: number): boolean {
  return code === 1008 || code === 4001 || code === 4002;
}
