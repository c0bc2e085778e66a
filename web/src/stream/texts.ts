// The messages of text of the stream: what the server tells, and what the page asks for.
import type { Message } from "./envelope.ts";
import { WireError } from "./reader.ts";

export interface Hello {
  readonly server: string;
  readonly version: number;
  readonly bodies: boolean; // whether there is or will be a body
  readonly surfaces: boolean;
  readonly joints: readonly string[];
  readonly controls: readonly string[]; // what may be asked for: record, calibrate, reset
}

export interface StreamStatus {
  readonly rate_hz: number;
  readonly latency_ms: number;
  readonly status: string;
  readonly reason: string;
}

export interface Status {
  readonly body: StreamStatus | null;
  readonly surface: StreamStatus | null;
  readonly recording: { readonly on: boolean; readonly file: string; readonly seconds: number } | null;
  readonly calibration: { readonly state: "measuring" | "done" | "failed"; readonly lines: readonly string[]; readonly floor_m?: number } | null;
  readonly clients: number;
  readonly warnings: readonly string[];
  readonly clock: { readonly offset_ms: number; readonly error_ms: number } | null;
}

export interface Notice {
  readonly level: "info" | "warning" | "error";
  readonly text: string;
}

export type Request =
  | { type: "hello"; version: number; name: string }
  | { type: "subscribe"; body?: boolean; surface?: boolean; graph?: boolean; whole?: boolean; rate_hz?: number }
  | { type: "pong"; id: number; t_ms: number }
  | { type: "record"; on: boolean }
  | { type: "calibrate"; pose: "auto" | "T" | "I" | "floor" }
  | { type: "reset" };

/** The JSON object that a message of text is. */
export function decodeText(message: Message): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(message.payload));
  } catch (error) {
    throw new WireError(`a message of ${message.kind} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new WireError(`a message of ${message.kind} must be a JSON object`);
  return value as Record<string, unknown>;
}
