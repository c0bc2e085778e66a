// What comes once: bones at bind, the surface in pieces, the links of a graph; and whole meshes where they are asked for.
import type { Message } from "./envelope.ts";
import { MAX_BONES } from "./motions.ts";
import { Reader, unitVectors } from "./reader.ts";

const NONE = 0xffff;
const MAX_COUNT = 1 << 22;
const MAX_PIECE_VERTICES = 65535;
const INFLUENCES = 4;
const COLOURS = 1;
const BOTH_SIDES = 2;
const NORMALS = 2;

export interface SkeletonPart {
  readonly of: "body" | "surface";
  readonly first: number; // index of the first bone here; 0 begins a skin anew
  readonly total: number; // bones of the skin with these
  readonly boneFromBind: Float32Array; // B x 12, the upper three rows of each matrix, row after row
  readonly parents: Int32Array; // -1 = none
  readonly follows: Uint16Array; // the entry of a motion that moves each bone
  readonly names: readonly string[];
}

export interface Piece {
  readonly number: number;
  readonly vertices: Float32Array; // V x 3 [m], none = the piece is gone
  readonly faces: Uint16Array; // F x 3
  readonly normals: Float32Array; // V x 3
  readonly colours: Uint8Array | null; // V x 3 sRGB, or null for `colour`
  readonly bones: Uint16Array; // V x 4 of the skin
  readonly weights: Uint8Array; // V x 4, each row sums to 255
  readonly colour: readonly [number, number, number, number]; // sRGB and opacity
  readonly bothSides: boolean;
}

export interface WholeMesh {
  readonly vertices: Float32Array;
  readonly faces: Uint32Array;
  readonly normals: Float32Array | null;
  readonly colours: Uint8Array | null;
}

export interface GraphLinks {
  readonly edges: Uint16Array; // E x 2 nodes
  readonly clusters: Uint16Array; // N
  readonly active: Uint8Array; // N
}

export function decodeSkeleton({ kind, payload }: Message): SkeletonPart {
  const read = new Reader(payload, kind);
  const of = (["body", "surface"] as const)[read.u8()];
  const layout = read.u8();
  read.u16();
  const total = read.u32();
  const first = read.u32();
  const count = read.u32();
  const nameBytes = read.u32();
  if (of === undefined || layout > 1 || total > MAX_BONES || first + count > total)
    throw read.fail(`bones ${first} to ${first + count} of ${total}, layout ${layout} cannot be`);
  const boneFromBind = layout === 1 ? unturned(read.f32s(3 * count)) : read.f32s(12 * count);
  if (!boneFromBind.every(Number.isFinite)) throw read.fail("a bone is not at a finite place");
  const parents = Int32Array.from(read.u16s(count), (value) => (value === NONE ? -1 : value));
  const follows = read.u16s(count);
  if (parents.some((bone) => bone >= total) || follows.some((bone) => bone >= total))
    throw read.fail("a bone hangs on one that there is not");
  const names = nameBytes ? readNames(read, nameBytes, count) : [];
  read.end();
  return { of, first, total, boneFromBind, parents, follows, names };
}

export function decodePiece({ kind, payload }: Message): Piece {
  const read = new Reader(payload, kind);
  const number = read.u32();
  const count = read.u32();
  const faceCount = read.u32();
  const boneCount = read.u16();
  const influences = read.u8();
  const attributes = read.u8();
  const origin = [read.f32(), read.f32(), read.f32()];
  const step = read.f32();
  const colour = [read.u8(), read.u8(), read.u8(), read.u8()] as const;
  if (count > MAX_PIECE_VERTICES || faceCount > MAX_COUNT || boneCount > 256 || influences !== INFLUENCES || attributes > 3)
    throw read.fail(`${count} vertices, ${faceCount} faces, ${boneCount} bones, ${influences} a vertex, attributes ${attributes} cannot be`);
  if (!origin.every(Number.isFinite) || !(step > 0 && step < 1)) throw read.fail(`an origin of ${origin} and a step of ${step} cannot be`);
  const palette = read.u16s(boneCount);
  const vertices = Float32Array.from(read.planes16(count, 3), (value, i) => origin[i % 3] + value * step);
  const normals = unitVectors(read.planes8(count, 2));
  const colours = attributes & COLOURS ? read.planes8(count, 3) : null;
  const places = read.planes8(count, INFLUENCES);
  const weights = read.planes8(count, INFLUENCES);
  const faces = read.planes16(3 * faceCount, 1);
  read.end();
  if (places.some((place) => place >= boneCount) || faces.some((corner) => corner >= count))
    throw read.fail("a vertex or bone that there is not");
  const bones = Uint16Array.from(places, (place) => palette[place]);
  return { number, vertices, faces, normals, colours, bones, weights, colour, bothSides: (attributes & BOTH_SIDES) !== 0 };
}

export function decodeGraph({ kind, payload }: Message): GraphLinks {
  const read = new Reader(payload, kind);
  const nodes = read.u32();
  const count = read.u32();
  if (nodes > MAX_BONES || count > MAX_COUNT) throw read.fail(`${nodes} nodes and ${count} edges cannot be`);
  const edges = read.u16s(2 * count);
  const clusters = read.u16s(nodes);
  const active = read.u8s(nodes);
  read.end();
  if (edges.some((node) => node >= nodes)) throw read.fail("an edge leads to a node that there is not");
  return { edges, clusters, active };
}

export function decodeWhole({ kind, payload }: Message): WholeMesh {
  const read = new Reader(payload, kind);
  const count = read.u32();
  const faceCount = read.u32();
  const attributes = read.u32();
  if (count > MAX_COUNT || faceCount > MAX_COUNT || attributes > 3)
    throw read.fail(`${count} vertices, ${faceCount} faces and attributes ${attributes} cannot be`);
  const vertices = read.f32s(3 * count);
  const faces = read.u32s(3 * faceCount);
  const normals = attributes & NORMALS ? read.f32s(3 * count) : null;
  const colours = attributes & COLOURS ? read.u8s(3 * count) : null;
  read.end();
  if (!vertices.every(Number.isFinite) || faces.some((corner) => corner >= count)) throw read.fail("a vertex that is nowhere");
  return { vertices, faces, normals, colours };
}

/** Matrices of bones that are turned as the mesh is, of where they stand at bind. */
function unturned(places: Float32Array): Float32Array {
  const out = new Float32Array(4 * places.length);
  for (let bone = 0; bone < places.length / 3; bone++)
    for (let row = 0; row < 3; row++) {
      out[12 * bone + 5 * row] = 1;
      out[12 * bone + 4 * row + 3] = -places[3 * bone + row];
    }
  return out;
}

function readNames(read: Reader, length: number, count: number): string[] {
  let names: unknown;
  try {
    names = JSON.parse(read.text(length));
  } catch (error) {
    throw read.fail(`its names are not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (!Array.isArray(names) || names.length !== count || !names.every((name) => typeof name === "string"))
    throw read.fail(`wanted ${count} names as a list of strings`);
  return names as string[];
}
