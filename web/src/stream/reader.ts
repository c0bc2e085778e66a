// Takes a payload apart from its beginning; every read is within bounds.

/** Bytes that are no message of this format; the message says where. */
export class WireError extends Error {
  override name = "WireError";
}

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  #at = 0;

  /** @param what it is, for messages */
  constructor(payload: Uint8Array, what: string) {
    this.#bytes = payload;
    this.#view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    this.#what = what;
  }

  fail(text: string): WireError {
    return new WireError(`a message of ${this.#what}: ${text}`);
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  f32(): number {
    return this.#view.getFloat32(this.#take(4), true);
  }

  /** Arrays as they stand; what pads them to four bytes is passed over. */
  u8s(count: number): Uint8Array {
    const from = this.#take(count);
    this.#align();
    return this.#bytes.slice(from, from + count);
  }

  u16s(count: number): Uint16Array {
    return this.#array(count, 2, new Uint16Array(this.#fits(count, 2)), (at) => this.#view.getUint16(at, true));
  }

  i16s(count: number): Int16Array {
    return this.#array(count, 2, new Int16Array(this.#fits(count, 2)), (at) => this.#view.getInt16(at, true));
  }

  u32s(count: number): Uint32Array {
    return this.#array(count, 4, new Uint32Array(this.#fits(count, 4)), (at) => this.#view.getUint32(at, true));
  }

  f32s(count: number): Float32Array {
    return this.#array(count, 4, new Float32Array(this.#fits(count, 4)), (at) => this.#view.getFloat32(at, true));
  }

  /** Columns one after the other, each byte less the one before it, modulo 256: row after row. */
  planes8(count: number, columns: number): Uint8Array {
    const from = this.#take(count * columns);
    const out = new Uint8Array(count * columns);
    let value = 0;
    for (let column = 0, i = from; column < columns; column++)
      for (let row = 0; row < count; row++) out[row * columns + column] = value = (value + this.#bytes[i++]) & 0xff;
    return out;
  }

  /** The same with differences modulo 65536 in zigzag, all low bytes before all high bytes. */
  planes16(count: number, columns: number): Uint16Array {
    const size = count * columns;
    const from = this.#take(2 * size);
    const out = new Uint16Array(size);
    let value = 0;
    for (let column = 0, i = from; column < columns; column++)
      for (let row = 0; row < count; row++, i++) {
        const coded = this.#bytes[i] | (this.#bytes[i + size] << 8);
        out[row * columns + column] = value = (value + ((coded >> 1) ^ -(coded & 1))) & 0xffff;
      }
    return out;
  }

  text(length: number): string {
    const from = this.#take(length);
    return new TextDecoder("utf-8", { fatal: true }).decode(this.#bytes.subarray(from, from + length));
  }

  /** Nothing may be left but zeros up to the next multiple of four. */
  end(): void {
    const rest = this.#bytes.subarray(this.#at);
    if (rest.length > 3 || rest.some((byte) => byte !== 0))
      throw this.fail(`${rest.length} bytes stand behind what it says it holds`);
  }

  #take(length: number): number {
    const from = this.#at;
    if (from + length > this.#bytes.length)
      throw this.fail(`${from + length} bytes are wanted at least, got ${this.#bytes.length}`);
    this.#at = from + length;
    return from;
  }

  /** The count, if so many are there: nothing is allocated for those that are not. */
  #fits(count: number, size: number): number {
    const end = this.#at + count * size;
    if (end > this.#bytes.length) throw this.fail(`${end} bytes are wanted at least, got ${this.#bytes.length}`);
    return count;
  }

  #align(): void {
    this.#take(-this.#at & 3);
  }

  #array<T extends { [index: number]: number }>(count: number, size: number, out: T, get: (at: number) => number): T {
    const from = this.#take(count * size);
    for (let i = 0; i < count; i++) out[i] = get(from + i * size);
    this.#align();
    return out;
  }
}

/** Unit vectors of pairs of signed bytes on the octahedron |x| + |y| + |z| = 1, its lower half folded outwards. */
export function unitVectors(coded: Uint8Array): Float32Array {
  const count = coded.length / 2;
  const out = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    let x = Math.max(((coded[2 * i] << 24) >> 24) / 127, -1);
    let y = Math.max(((coded[2 * i + 1] << 24) >> 24) / 127, -1);
    const z = 1 - Math.abs(x) - Math.abs(y);
    if (z < 0) {
      const folded = (1 - Math.abs(y)) * (x >= 0 ? 1 : -1);
      y = (1 - Math.abs(x)) * (y >= 0 ? 1 : -1);
      x = folded;
    }
    const length = Math.hypot(x, y, z);
    out[3 * i] = x / length;
    out[3 * i + 1] = y / length;
    out[3 * i + 2] = z / length;
  }
  return out;
}
