// Where the bones are: what comes for each sample of a body and each frame of a surface.
import type { Message } from "./envelope.ts";
import { Reader } from "./reader.ts";

export const FLAGS = [
  "left_lost", "right_lost", "head_lost", "left_out_of_reach", "right_out_of_reach", "left_eased", "right_eased",
  "left_emulated", "right_emulated", "hands_swapped", "head_tilted", "head_height", "head_teleport", "units_suspected",
  "wxyz_suspected", "axes_suspected", "axes_unknown", "time_backwards", "time_jump", "invalid_pose", "not_normalised",
  "pose_failed", "held", "left_handed_axes", "axes_turned", "far_from_training",
] as const;
const OTHER_BIT = 31;

export const STATUSES = ["tracked", "degraded", "lost"] as const;
export const SIDES = ["head", "left", "right"] as const;
export const DEVICE_KINDS = ["view", "grip", "hand-wrist", "joint"] as const;

export interface Device {
  readonly side: (typeof SIDES)[number];
  readonly kind: (typeof DEVICE_KINDS)[number];
  readonly position_m: readonly number[];
  readonly rotation_xyzw: readonly number[];
}

export interface Motion {
  readonly rotations: Float32Array; // B x 4, unit quaternions xyzw
  readonly positions: Float32Array; // B x 3 [m]
  readonly status: (typeof STATUSES)[number];
  readonly contacts: readonly [boolean, boolean] | null;
  readonly flags: readonly string[];
  readonly devices: readonly Device[];
  readonly latency_us: number;
}

const KNOWN_CONTACTS = 0x80;
export const MAX_BONES = 65534;

export function decodeMotion({ kind, payload }: Message): Motion {
  const read = new Reader(payload, kind);
  const status = STATUSES[read.u8()];
  const contacts = read.u8();
  const coding = read.u8();
  const deviceCount = read.u8();
  const bits = read.u32();
  const bones = read.u32();
  const origin = [read.f32(), read.f32(), read.f32()];
  const step = read.f32();
  const latency_us = read.u32();
  if (status === undefined || coding > 1 || deviceCount > SIDES.length || bones > MAX_BONES)
    throw read.fail(`coding ${coding}, ${deviceCount} devices and ${bones} bones cannot be`);
  if (!origin.every(Number.isFinite) || !(step > 0 && step < 1)) throw read.fail(`an origin of ${origin} and a step of ${step} cannot be`);
  const rotations = coding === 1 ? ofShorts(read.i16s(4 * bones)) : ofSmallestThree(read.u32s(bones));
  if (!rotations.every(Number.isFinite)) throw read.fail("a rotation has no length");
  const shorts = read.u16s(3 * bones);
  const positions = Float32Array.from(shorts, (value, i) => origin[i % 3] + value * step);
  const devices = Array.from({ length: deviceCount }, () => readDevice(read));
  read.end();
  const flags: string[] = FLAGS.filter((_, bit) => (bits >>> bit) & 1);
  if ((bits >>> OTHER_BIT) & 1) flags.push("other");
  return {
    rotations, positions, status, flags, devices, latency_us,
    contacts: contacts & KNOWN_CONTACTS ? [(contacts & 1) !== 0, (contacts & 2) !== 0] : null,
  };
}

function readDevice(read: Reader): Device {
  const side = SIDES[read.u8()];
  const kind = DEVICE_KINDS[read.u8()];
  read.u16();
  const numbers = Array.from({ length: 7 }, () => read.f32());
  if (side === undefined || kind === undefined || !numbers.every(Number.isFinite)) throw read.fail("a device that cannot be");
  return { side, kind, position_m: numbers.slice(0, 3), rotation_xyzw: numbers.slice(3) };
}

function ofShorts(coded: Int16Array): Float32Array {
  const out = new Float32Array(coded.length);
  for (let i = 0; i < coded.length; i += 4) {
    const length = Math.hypot(coded[i], coded[i + 1], coded[i + 2], coded[i + 3]);
    // A rotation of no length divides by zero here, and is refused for not being finite.
    for (let k = 0; k < 4; k++) out[i + k] = length > 16000 ? coded[i + k] / length : NaN;
  }
  return out;
}

/** Bits 30 and 31 name the largest number; ten bits each hold the others in their order. */
function ofSmallestThree(coded: Uint32Array): Float32Array {
  const out = new Float32Array(4 * coded.length);
  for (let i = 0; i < coded.length; i++) {
    const largest = coded[i] >>> 30;
    let squares = 0;
    for (let k = 0, shift = 0; k < 4; k++) {
      if (k === largest) continue;
      const value = ((((coded[i] >>> shift) & 1023) - 511) / 511) * Math.SQRT1_2;
      out[4 * i + k] = value;
      squares += value * value;
      shift += 10;
    }
    out[4 * i + largest] = Math.sqrt(Math.max(0, 1 - squares));
  }
  return out;
}
