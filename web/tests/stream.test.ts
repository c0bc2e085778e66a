// Stored bytes stand for stored values: the same files that the writer's own tests read.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openHeader, openMessage, VersionError } from "../src/stream/envelope.ts";
import { decodeGraph, decodePiece, decodeSkeleton, decodeWhole } from "../src/stream/meshes.ts";
import { decodeMotion, FLAGS } from "../src/stream/motions.ts";
import { WireError } from "../src/stream/reader.ts";
import { decodeText } from "../src/stream/texts.ts";

const FOLDER = join(import.meta.dirname, "..", "..", "tests", "data", "stream");
const NAMES = readdirSync(FOLDER).filter((name) => name.endsWith(".bin")).map((name) => name.slice(0, -4)).sort();
const ROUNDED = 1e-6;

type Values = any; // what JSON holds

function bytes(name: string): ArrayBuffer {
  return new Uint8Array(readFileSync(join(FOLDER, `${name}.bin`))).buffer;
}

function values(name: string): Values {
  return JSON.parse(readFileSync(join(FOLDER, `${name}.json`), "utf8"));
}

function close(found: ArrayLike<number>, wanted: Values, off: number): void {
  const flat = (wanted as number[]).flat(3) as number[];
  assert.equal(found.length, flat.length);
  for (let i = 0; i < flat.length; i++) assert.ok(Math.abs(found[i] - flat[i]) <= off + 1e-6 * Math.abs(flat[i]), `${i}: ${found[i]} is not ${flat[i]}`);
}

/** The weight of each bone, in whatever order they come. */
function shares(bones: number[], weights: number[]): Map<number, number> {
  const out = new Map<number, number>();
  bones.forEach((bone, k) => out.set(bone, (out.get(bone) ?? 0) + weights[k]));
  return out;
}

/** The largest angle between rotations of the same number, by chords, which are exact for small angles. */
function degreesOff(found: Float32Array, wanted: number[][]): number {
  return Math.max(...wanted.map((q, i) => {
    const length = Math.hypot(...q);
    const chord = (sign: number): number => Math.hypot(...q.map((value, k) => value / length - sign * found[4 * i + k]));
    return (4 * Math.asin(Math.min(chord(1), chord(-1)) / 2) * 180) / Math.PI;
  }));
}

for (const name of NAMES)
  test(`${name} is what it stands for`, async () => {
    const message = await openMessage(bytes(name));
    const wanted = values(name);
    assert.equal(message.kind, wanted.kind);
    assert.equal(message.sequence, wanted.sequence);
    assert.equal(message.skin, wanted.skin);
    assert.equal(message.t_ms, wanted.t_ns / 1e6);
    switch (message.kind) {
      case "body":
      case "surface": {
        const motion = decodeMotion(message);
        assert.equal(motion.status, wanted.status);
        assert.deepEqual(motion.contacts, wanted.contacts);
        assert.deepEqual(motion.flags, wanted.flags);
        assert.equal(motion.latency_us, wanted.latency_us);
        assert.deepEqual(motion.devices, wanted.devices);
        close(motion.positions, wanted.positions_m, wanted.positions_m_off);
        assert.ok(degreesOff(motion.rotations, wanted.rotations_xyzw) <= wanted.rotations_degrees_off);
        break;
      }
      case "skeleton": {
        const part = decodeSkeleton(message);
        assert.deepEqual([part.of, part.first, part.total], [wanted.of, wanted.first, wanted.total]);
        close(part.boneFromBind, wanted.bone_from_bind, ROUNDED);
        assert.deepEqual([...part.parents], wanted.parents);
        assert.deepEqual([...part.follows], wanted.follows);
        assert.deepEqual(part.names, wanted.names);
        break;
      }
      case "piece": {
        const piece = decodePiece(message);
        assert.equal(piece.number, wanted.number);
        close(piece.vertices, wanted.vertices, wanted.vertices_off ?? ROUNDED);
        assert.deepEqual([...piece.faces], wanted.faces.flat());
        close(piece.normals, wanted.normals, wanted.normals_off ?? ROUNDED);
        assert.deepEqual(piece.colours && [...piece.colours], wanted.colours && wanted.colours.flat());
        assert.equal(piece.bones.length, 4 * wanted.vertices.length);
        wanted.bones.forEach((bones: number[], vertex: number) => {
          const found = shares([...piece.bones].slice(4 * vertex, 4 * vertex + 4), Array.from(piece.weights.slice(4 * vertex, 4 * vertex + 4), (weight) => weight / 255));
          const right = shares(bones, wanted.weights[vertex]);
          for (const bone of new Set([...found.keys(), ...right.keys()]))
            assert.ok(Math.abs((found.get(bone) ?? 0) - (right.get(bone) ?? 0)) <= wanted.weights_off);
        });
        if (wanted.colour) assert.deepEqual([...piece.colour], wanted.colour);
        if (wanted.both_sides !== undefined) assert.equal(piece.bothSides, wanted.both_sides);
        break;
      }
      case "graph": {
        const links = decodeGraph(message);
        assert.deepEqual([...links.edges], wanted.edges.flat());
        assert.deepEqual([...links.clusters], wanted.clusters);
        assert.deepEqual([...links.active].map(Boolean), wanted.active);
        break;
      }
      case "whole": {
        const mesh = decodeWhole(message);
        close(mesh.vertices, wanted.vertices, 0);
        assert.deepEqual([...mesh.faces], wanted.faces.flat());
        close(mesh.normals ?? [], wanted.normals ?? [], 0);
        assert.deepEqual(mesh.colours && [...mesh.colours], wanted.colours && wanted.colours.flat());
        break;
      }
      default:
        assert.deepEqual(decodeText(message), wanted.json);
    }
  });

test("there is an example of each kind", () => {
  const kinds = [...new Set(NAMES.map((name) => values(name).kind as string))].sort();
  assert.deepEqual(kinds, ["body", "bye", "graph", "hello", "notice", "piece", "ping", "skeleton", "status", "surface", "whole"]);
});

test("names of flags are those of the description", () => {
  const text = readFileSync(join(FOLDER, "..", "..", "..", "docs", "stream-format.md"), "utf8");
  const listed = /^Flags: (.*?)\. /m.exec(text)![1].split(", ").map((name) => name.replaceAll("`", ""));
  assert.deepEqual([...FLAGS], listed);
});

test("another version is told from other bytes", async () => {
  const data = bytes("body");
  new DataView(data).setUint8(4, 2);
  await assert.rejects(openMessage(data), VersionError);
  new DataView(data).setUint8(0, 0);
  await assert.rejects(openMessage(data), (error: unknown) => error instanceof WireError && !(error instanceof VersionError));
});

/** Numbers that are the same each time: mulberry32. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

async function decode(data: ArrayBuffer): Promise<void> {
  const message = await openMessage(data);
  switch (message.kind) {
    case "body":
    case "surface":
      return void decodeMotion(message);
    case "skeleton":
      return void decodeSkeleton(message);
    case "piece":
      return void decodePiece(message);
    case "graph":
      return void decodeGraph(message);
    case "whole":
      return void decodeWhole(message);
    default:
      decodeText(message);
  }
}

test("fuzz: mutated messages are read or refused, and nothing else", async () => {
  const next = random(17);
  const pick = (below: number): number => Math.floor(next() * below);
  let refused = 0;
  for (let round = 0; round < 3000; round++) {
    let data = new Uint8Array(bytes(NAMES[pick(NAMES.length)]));
    for (let edits = 1 + pick(4); edits > 0; edits--) {
      if (next() < 0.2) data = data.slice(0, pick(data.length + 1));
      else if (data.length) data[next() < 0.6 ? pick(Math.min(data.length, 72)) : pick(data.length)] = pick(256);
    }
    try {
      await decode(data.buffer);
    } catch (error) {
      assert.ok(error instanceof WireError, String(error));
      refused++;
    }
  }
  assert.ok(refused > 1000);
});

test("a message that says more than there is takes no memory", () => {
  const data = bytes("whole");
  new DataView(data).setUint32(28, 0xffffffff, true);
  assert.throws(() => openHeader(data), WireError);
});
