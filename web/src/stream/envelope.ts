// What every message has in common: a header of 32 bytes, and a payload that may be deflated (docs/stream-format.md).
import { WireError } from "./reader.ts";

export const VERSION = 1;
export const HEADER_BYTES = 32;
export const MAX_PAYLOAD_BYTES = 64 << 20;
const MAGIC = "BDST";
const DEFLATED = 1;

export const KINDS = ["hello", "skeleton", "piece", "body", "surface", "graph", "whole", "status", "ping", "notice", "bye"] as const;
export type Kind = (typeof KINDS)[number];

export interface Message {
  readonly kind: Kind;
  readonly payload: Uint8Array; // as it is unpacked
  readonly sequence: number; // counts the messages of its kind that were made; gaps are those that were not sent here
  readonly skin: number; // the skeleton that it belongs to, 0 = none
  readonly t_ms: number; // host monotonic, of the sample or frame that it shows; of others when it was made
}

/** The other side speaks another version of the format: only one of this page's version helps. */
export class VersionError extends WireError {
  override name = "VersionError";
}

export interface Header extends Omit<Message, "payload"> {
  readonly deflated: boolean;
  readonly unpacked: number;
}

/** Read the header of one message and check it against the bytes behind it. */
export function openHeader(data: ArrayBuffer): Header {
  if (data.byteLength < HEADER_BYTES)
    throw new WireError(`a message has a header of ${HEADER_BYTES} bytes, got ${data.byteLength} bytes in all`);
  const view = new DataView(data);
  const magic = String.fromCharCode(...new Uint8Array(data, 0, 4));
  if (magic !== MAGIC) throw new WireError(`a message begins with ${MAGIC}, got "${magic}": this is another format`);
  const version = view.getUint8(4);
  if (version !== VERSION)
    throw new VersionError(`the server speaks version ${version} of the format and this page version ${VERSION}`);
  const kind = KINDS[view.getUint8(5) - 1];
  if (kind === undefined) throw new WireError(`a message of the unknown kind ${view.getUint8(5)}`);
  const flags = view.getUint16(6, true);
  if (flags & ~DEFLATED) throw new WireError(`a message of ${kind} has unknown flags ${flags}`);
  const size = view.getUint32(24, true);
  const unpacked = view.getUint32(28, true);
  if (size !== data.byteLength - HEADER_BYTES)
    throw new WireError(`a message of ${kind} says ${size} bytes of payload, got ${data.byteLength - HEADER_BYTES}`);
  if (unpacked > MAX_PAYLOAD_BYTES)
    throw new WireError(`a message of ${kind} unpacks to ${unpacked} bytes, at most ${MAX_PAYLOAD_BYTES} are read`);
  const deflated = (flags & DEFLATED) !== 0;
  if (!deflated && size !== unpacked) throw new WireError(`a message of ${kind} says ${unpacked} unpacked bytes, got ${size}`);
  return {
    kind, deflated, unpacked, sequence: view.getUint32(8, true), skin: view.getUint32(12, true),
    t_ms: Number(view.getBigInt64(16, true)) / 1e6,
  };
}

/** Read one message, whole and with nothing behind it. */
export async function openMessage(data: ArrayBuffer): Promise<Message> {
  const header = openHeader(data);
  const payload = new Uint8Array(data, HEADER_BYTES);
  return messageOf(header, header.deflated ? await inflate(payload, header) : payload);
}

/** The message of a header and its unpacked payload. */
export function messageOf(header: Header, payload: Uint8Array): Message {
  const { kind, sequence, skin, t_ms } = header;
  return { kind, payload, sequence, skin, t_ms };
}

async function inflate(payload: Uint8Array<ArrayBuffer>, { kind, unpacked }: Header): Promise<Uint8Array> {
  const out = new Uint8Array(unpacked);
  const reader = new Blob([payload]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let at = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      // Never more than the header promised, so that a small message cannot unfold into a large one.
      if (at + part.value.length > unpacked) throw new WireError("more than it says");
      out.set(part.value, at);
      at += part.value.length;
    }
  } catch (error) {
    void reader.cancel().catch(() => undefined);
    throw new WireError(`a message of ${kind} cannot be unpacked: ${error instanceof Error ? error.message : error}`);
  }
  if (at !== unpacked) throw new WireError(`a message of ${kind} says ${unpacked} unpacked bytes, got ${at}`);
  return out;
}
