// A surface in pieces and the bones that move it, skinned by the graphics processor.
import {
  Bone, BufferAttribute, BufferGeometry, Color, DetachedBindMode, DoubleSide, EqualStencilFunc, FrontSide, Group, Matrix4,
  MeshStandardMaterial, Quaternion, Skeleton, SkinnedMesh, SRGBColorSpace, Vector3,
} from "three";
import type { Piece, SkeletonPart } from "../stream/meshes.ts";
import type { Motion } from "../stream/motions.ts";

type Skinned = SkinnedMesh<BufferGeometry, MeshStandardMaterial>;

const ONE = new Vector3(1, 1, 1);
const IDENTITY = new Matrix4();
const FIRST_BONES = 32;
const SAME = 1e-3; // of matrices, in metres where they shift
/** What a mirror's pane marks in the stencil. */
export const MIRROR_STENCIL = 1;

interface Part {
  readonly shown: Skinned;
  readonly twin: Skinned;
  readonly whole: BufferGeometry;
  headless: BufferGeometry | null;
}

export class SkinnedView {
  /** What is seen. */
  readonly group = new Group();
  /** The same surface on the same bones once more, for a mirror. */
  readonly twins = new Group();
  readonly #parts = new Map<number, Part>();
  readonly #open: boolean;
  #bones: Bone[] = [];
  #follows = new Uint16Array(0);
  #skeleton = new Skeleton([], []);
  #count = 0;
  #parents: Int32Array = new Int32Array(0);
  #moved = false;
  #opacity = 1;
  #without: number | null = null;

  /** @param open the surface has holes, through which its inside is seen */
  constructor(open = false) {
    this.#open = open;
    this.group.visible = this.twins.visible = false;
  }

  get boneCount(): number {
    return this.#count;
  }

  get parents(): Int32Array {
    return this.#parents;
  }

  /**
   * Whether fingers move on their own, by entries of a motion behind its joints. Their frame at rest is the wrist's,
   * place and all; nodes of clothes have entries there, too, and are somewhere else.
   */
  hasFingers(joints: number): boolean {
    for (let i = joints; i < this.#count; i++)
      if (this.#follows[i] >= joints && this.#sameAtRest(i, this.#parents[i])) return true;
    return false;
  }

  /** Take up bones that came. Those from `first` on are new. */
  addBones(part: SkeletonPart): void {
    if (part.first === 0) {
      this.#parents = part.parents;
      this.#moved = false;
    }
    if (part.total > this.#bones.length) this.#grow(part.total);
    this.#count = part.total;
    this.#follows.set(part.follows, part.first);
    for (let i = 0; i < part.follows.length; i++) {
      const m = part.boneFromBind.subarray(12 * i, 12 * i + 12);
      this.#skeleton.boneInverses[part.first + i].set(
        m[0], m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11], 0, 0, 0, 1,
      );
    }
  }

  /** Whether there is a surface: an avatar that is posed vertex by vertex has bones alone here. */
  get hasSurface(): boolean {
    return this.#parts.size > 0;
  }

  /** Take up a piece, in place of the one of the same number; one without vertices takes it away. */
  setPiece(piece: Piece): void {
    this.#drop(piece.number);
    if (!piece.vertices.length) return;
    const whole = geometryOf(piece);
    const material = materialOf(piece, this.#open);
    const shown = this.#skinned(whole, material);
    const twin = this.#skinned(whole, reflected(material));
    twin.renderOrder = 2; // after the pane that says where it may be seen
    shown.castShadow = true;
    shown.receiveShadow = !this.#open; // on what is rough it would be all spots
    const part: Part = { shown, twin, whole, headless: null };
    this.#parts.set(piece.number, part);
    this.group.add(shown);
    this.twins.add(twin);
    this.#setWithout(part);
    this.#setOpacity(part);
  }

  /**
   * Leave out what follows an entry of the motion, in what is seen and not in a mirror: the eyes are inside the head,
   * and hair hangs on bones that follow it, or on nodes whose parent it is.
   */
  setWithout(entry: number | null): void {
    if (entry === this.#without) return;
    for (const part of this.#parts.values()) part.headless = dispose(part.headless);
    this.#without = entry;
    for (const part of this.#parts.values()) this.#setWithout(part);
  }

  /** Below 1 what is within shows through. */
  setOpacity(opacity: number): void {
    if (opacity === this.#opacity) return;
    this.#opacity = opacity;
    for (const part of this.#parts.values()) this.#setOpacity(part);
  }

  /** Where the bones are now; a motion of fewer than are followed belongs to another skin and changes nothing. */
  move({ rotations, positions }: Motion): boolean {
    const entries = positions.length / 3;
    for (let i = 0; i < this.#count; i++) if (this.#follows[i] >= entries) return false;
    const position = new Vector3();
    const rotation = new Quaternion();
    for (let i = 0; i < this.#count; i++) {
      const entry = this.#follows[i];
      position.fromArray(positions, 3 * entry);
      rotation.fromArray(rotations, 4 * entry);
      this.#bones[i].matrixWorld.compose(position, rotation, ONE);
    }
    this.#moved = true;
    this.setVisible(true);
    return true;
  }

  /** Nothing is shown before the first motion. */
  setVisible(visible: boolean): void {
    this.group.visible = this.twins.visible = visible && this.#moved;
  }

  clear(): void {
    for (const number of [...this.#parts.keys()]) this.#drop(number);
    this.#count = 0;
    this.#moved = false;
    this.setVisible(false);
  }

  /** Bones stand in no scene: their matrices are set from the stream, and the surface is where they say. */
  #skinned(geometry: BufferGeometry, material: MeshStandardMaterial): Skinned {
    const mesh = new SkinnedMesh(geometry, material);
    mesh.bindMode = DetachedBindMode;
    mesh.bind(this.#skeleton, IDENTITY);
    mesh.frustumCulled = false;
    return mesh;
  }

  #sameAtRest(bone: number, parent: number): boolean {
    const other = this.#skeleton.boneInverses[parent]?.elements;
    return other !== undefined && this.#skeleton.boneInverses[bone].elements.every((value, k) => Math.abs(value - other[k]) < SAME);
  }

  #grow(needed: number): void {
    const size = Math.max(FIRST_BONES, needed, Math.ceil(1.5 * this.#bones.length));
    const added = Array.from({ length: size - this.#bones.length }, () => new Bone());
    const inverses = [...this.#skeleton.boneInverses, ...added.map(() => new Matrix4())];
    this.#bones = [...this.#bones, ...added];
    const follows = new Uint16Array(size);
    follows.set(this.#follows);
    this.#follows = follows;
    const earlier = this.#skeleton;
    this.#skeleton = new Skeleton(this.#bones, inverses);
    for (const { shown, twin } of this.#parts.values()) {
      shown.bind(this.#skeleton, IDENTITY);
      twin.bind(this.#skeleton, IDENTITY);
    }
    earlier.dispose();
  }

  #setWithout(part: Part): void {
    if (this.#without !== null) part.headless ??= withoutEntry(part.whole, this.#follows, this.#parents, this.#without);
    part.shown.geometry = this.#without === null ? part.whole : part.headless!;
  }

  #setOpacity({ shown }: Part): void {
    const { material } = shown;
    const opacity = this.#opacity * (material.userData["opacity"] as number);
    if (material.transparent !== opacity < 1) material.needsUpdate = true;
    material.transparent = opacity < 1;
    material.opacity = opacity;
    shown.castShadow = this.#opacity === 1;
  }

  #drop(number: number): void {
    const part = this.#parts.get(number);
    if (!part) return;
    this.#parts.delete(number);
    part.shown.removeFromParent();
    part.twin.removeFromParent();
    part.whole.dispose();
    part.headless?.dispose();
    part.shown.material.dispose();
    part.twin.material.dispose();
  }
}

function dispose(geometry: BufferGeometry | null): null {
  geometry?.dispose();
  return null;
}

function materialOf({ colours, colour, bothSides }: Piece, open: boolean): MeshStandardMaterial {
  const [r, g, b, a] = colour;
  const material = new MeshStandardMaterial({
    color: colours ? 0xffffff : new Color().setRGB(r / 255, g / 255, b / 255, SRGBColorSpace),
    vertexColors: colours !== null,
    roughness: 0.75,
    metalness: 0,
    side: bothSides || open ? DoubleSide : FrontSide,
  });
  material.userData["opacity"] = a / 255;
  return material;
}

/** Drawn behind what is opaque, and only where a mirror is. */
export function reflected(material: MeshStandardMaterial): MeshStandardMaterial {
  const copy = material.clone();
  copy.transparent = true;
  copy.stencilWrite = true; // turns the test on
  copy.stencilFunc = EqualStencilFunc;
  copy.stencilRef = MIRROR_STENCIL;
  return copy;
}

function geometryOf({ vertices, normals, faces, bones, weights, colours }: Piece): BufferGeometry {
  const geometry = new BufferGeometry();
  geometry.setAttribute("position", new BufferAttribute(vertices, 3));
  geometry.setAttribute("normal", new BufferAttribute(normals, 3));
  geometry.setAttribute("skinIndex", new BufferAttribute(bones, 4));
  geometry.setAttribute("skinWeight", new BufferAttribute(weights, 4, true));
  if (colours) geometry.setAttribute("color", new BufferAttribute(linearColours(colours), 3, true));
  geometry.setIndex(new BufferAttribute(faces, 1));
  return geometry;
}

const LINEAR = Uint16Array.from({ length: 256 }, (_, i) => {
  const c = i / 255;
  return Math.round(65535 * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
});

/** Vertex colours are interpolated and lit, so they are linear; 16 bits keep the dark ones apart. */
function linearColours(srgb: Uint8Array): Uint16Array {
  return Uint16Array.from(srgb, (value) => LINEAR[value]);
}

/** The same vertices and those faces whose corners follow other entries, and nodes of others. */
function withoutEntry(geometry: BufferGeometry, follows: Uint16Array, parents: Int32Array, entry: number): BufferGeometry {
  const bones = geometry.getAttribute("skinIndex");
  const weights = geometry.getAttribute("skinWeight");
  const share = Float32Array.from({ length: bones.count }, (_, vertex) => {
    let sum = 0;
    for (let k = 0; k < 4; k++) {
      const bone = bones.getComponent(vertex, k);
      if (follows[bone] === entry || parents[bone] === entry) sum += weights.getComponent(vertex, k);
    }
    return sum;
  });
  const index = geometry.getIndex()!;
  const kept: number[] = [];
  for (let i = 0; i < index.count; i += 3) {
    const corners = [index.getX(i), index.getX(i + 1), index.getX(i + 2)];
    if (corners.every((vertex) => share[vertex] < 0.5)) kept.push(...corners);
  }
  const out = new BufferGeometry();
  for (const [name, attribute] of Object.entries(geometry.attributes)) out.setAttribute(name, attribute);
  out.setIndex(kept);
  return out;
}
