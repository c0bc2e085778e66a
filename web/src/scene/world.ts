// What the stream's messages make of the scene: a body, a captured surface, and what stands within and beside them.
import { Box3, Group, Matrix4, Quaternion, Vector3 } from "three";
import type { Message } from "../stream/envelope.ts";
import { decodeGraph, decodePiece, decodeSkeleton } from "../stream/meshes.ts";
import type { GraphLinks } from "../stream/meshes.ts";
import { decodeMotion } from "../stream/motions.ts";
import type { Motion } from "../stream/motions.ts";
import type { Hello } from "../stream/texts.ts";
import { Devices } from "./devices.ts";
import type { Subject } from "./framing.ts";
import { PointsAndLines } from "./lines.ts";
import { SkinnedView } from "./skin.ts";
import type { Theme } from "./stage.ts";

export type View = "surface" | "graph" | "skeleton";

const SEE_THROUGH = 0.42;
const ASIDE_M = 1.5; // a surface beside a body: the two are in worlds of their own
const FLOOR_SHARE = 0.01; // so much of a surface may be noise below the floor
const BARE_MS = 1000; // a body without a surface for so long has none
const NODE_M = 0.006;
const JOINT_M = 0.014;
const HEAD = "head";

/** The camera looks along z with y down; in the room y is up, and what faced the camera faces -z, as a body does. */
const ROOM_FROM_CAMERA = new Matrix4().makeRotationZ(Math.PI);

export interface Picture {
  readonly motion: Motion;
  readonly t_ms: number;
  readonly of: "body" | "surface";
}

export class World {
  readonly root = new Group();
  readonly body = new SkinnedView();
  readonly surface = new SkinnedView(true);
  readonly devices = new Devices();
  readonly #camera = new Group(); // a captured surface's own frame, set upright on the floor
  #skeleton: PointsAndLines | null = null;
  #graph: PointsAndLines | null = null;
  #links: GraphLinks | null = null;
  #bodySkin = 0;
  #bodyBegan_ms = 0;
  #surfaceSkin = 0;
  #bodyMotion: Motion | null = null;
  #surfaceMotion: Motion | null = null;
  #floored = false;
  #views: ReadonlySet<View> = new Set<View>(["surface"]);
  #theme: Theme | null = null;
  #both = false;
  #head: number | null = null; // entry of a body's motion
  #joints = 0; // entries of a body's motion that are its joints; fingers and nodes of clothes follow
  #fingers = false;
  #firstPerson = false;

  constructor() {
    this.#camera.add(this.surface.group);
    this.#camera.matrixAutoUpdate = false;
    this.root.add(this.body.group, this.#camera, this.devices.group);
  }

  /** Whether the body's fingers are those of the headset's tracked hands. */
  get hasFingers(): boolean {
    return this.#fingers;
  }

  setTheme(theme: Theme): void {
    this.#theme = theme;
    this.#colour();
    this.devices.setTheme(theme);
  }

  setViews(views: ReadonlySet<View>): void {
    this.#views = views;
    this.#apply();
  }

  /** Seen from the body's own eyes: its head is left out, and what the headset knows itself. */
  setFirstPerson(on: boolean): void {
    this.#firstPerson = on;
    this.devices.group.visible = !on;
    this.#apply();
  }

  /** What the server has: a body and a surface that come at once stand beside each other. */
  expect({ bodies, surfaces, joints }: Hello): void {
    this.clear();
    this.#both = bodies && surfaces;
    const head = joints.indexOf(HEAD);
    this.#head = head < 0 ? null : head;
    this.#joints = joints.length;
  }

  /** Forget all: another server, or the same one anew. */
  clear(): void {
    this.body.clear();
    this.surface.clear();
    this.devices.clear();
    this.#skeleton = drop(this.#skeleton);
    this.#graph = drop(this.#graph);
    this.#bodySkin = this.#surfaceSkin = 0;
    this.#bodyMotion = this.#surfaceMotion = null;
    this.#links = null;
    this.#floored = false;
  }

  /** Take up a message; gives the picture where it was one. */
  take(message: Message): Picture | null {
    switch (message.kind) {
      case "skeleton": {
        const part = decodeSkeleton(message);
        const view = part.of === "body" ? this.body : this.surface;
        if (part.first === 0) {
          view.clear();
          if (part.of === "body") {
            this.#skeleton = drop(this.#skeleton);
            this.#bodyBegan_ms = performance.now();
          } else this.#floored = false;
        }
        if (part.of === "body") this.#bodySkin = message.skin;
        else this.#surfaceSkin = message.skin;
        view.addBones(part);
        if (part.of === "body") this.#fingers = view.hasFingers(this.#joints);
        return null;
      }
      case "piece": {
        const view = message.skin === this.#bodySkin ? this.body : message.skin === this.#surfaceSkin ? this.surface : null;
        view?.setPiece(decodePiece(message));
        return null;
      }
      case "body": {
        if (message.skin !== this.#bodySkin) return null;
        const motion = decodeMotion(message);
        this.#moveBody(motion);
        return { motion, t_ms: message.t_ms, of: "body" };
      }
      case "surface": {
        if (message.skin !== this.#surfaceSkin) return null;
        const motion = decodeMotion(message);
        this.#moveSurface(motion);
        return { motion, t_ms: message.t_ms, of: "surface" };
      }
      case "graph":
        this.#links = decodeGraph(message);
        this.#graph = drop(this.#graph);
        return null;
      default:
        return null;
    }
  }

  /** What is to be in the picture. */
  subject(): Subject | null {
    if (this.#bodyMotion) {
      const { positions, rotations } = this.#bodyMotion;
      const q = new Quaternion(rotations[0], rotations[1], rotations[2], rotations[3]);
      const ahead = new Vector3(0, 0, -1).applyQuaternion(q);
      const width_m = this.#both ? 2 * ASIDE_M + 1.4 : 1.9;
      const aside = this.#both ? ASIDE_M / 2 : 0;
      return { centre: new Vector3(positions[0] + aside, 0.93, positions[2]), height_m: 2.05, width_m, yaw: Math.atan2(-ahead.x, -ahead.z) };
    }
    if (this.#surfaceMotion && this.#floored) {
      const box = boxOf(this.#surfaceMotion.positions).applyMatrix4(this.#camera.matrix);
      const size = box.getSize(new Vector3());
      return { centre: box.getCenter(new Vector3()), height_m: size.y + 0.25, width_m: Math.hypot(size.x, size.z) + 0.2, yaw: 0 };
    }
    return null;
  }

  #moveBody(motion: Motion): void {
    this.#bodyMotion = motion;
    this.body.move(motion);
    this.devices.show(motion.devices);
    const count = Math.min(motion.positions.length / 3, this.#joints);
    if (!this.#skeleton && this.body.boneCount) {
      const pairs: number[] = [];
      for (let i = 0; i < Math.min(count, this.body.boneCount); i++) {
        const parent = this.body.parents[i];
        if (parent >= 0 && parent < count) pairs.push(parent, i);
      }
      this.#skeleton = new PointsAndLines(count, Uint16Array.from(pairs), JOINT_M);
      this.root.add(this.#skeleton.group);
      this.#colour();
    }
    this.#skeleton?.move(motion.positions);
    this.#apply();
  }

  #moveSurface(motion: Motion): void {
    this.#surfaceMotion = motion;
    if (!this.surface.move(motion)) return;
    if (!this.#floored) this.#place(motion.positions);
    const count = motion.positions.length / 3;
    if (!this.#graph && this.#links && this.#links.clusters.length <= count) {
      this.#graph = new PointsAndLines(this.#links.clusters.length, this.#links.edges, NODE_M);
      this.#camera.add(this.#graph.group);
      this.#colour();
    }
    this.#graph?.move(motion.positions);
    this.#apply();
  }

  /** Upright, its lowest point on the floor and its middle above the origin. */
  #place(positions: Float32Array): void {
    const count = positions.length / 3;
    const downwards = Float32Array.from({ length: count }, (_, i) => positions[3 * i + 1]).sort();
    const lowest = downwards[Math.min(count - 1, Math.floor(count * (1 - FLOOR_SHARE)))];
    const middle = boxOf(positions).getCenter(new Vector3());
    const shift = new Matrix4().makeTranslation((this.#both ? ASIDE_M : 0) + middle.x, lowest, -middle.z);
    this.#camera.matrix.copy(shift.multiply(ROOM_FROM_CAMERA));
    this.#camera.matrixWorldNeedsUpdate = true;
    this.#floored = true;
  }

  #apply(): void {
    const surface = this.#views.has("surface") || this.#firstPerson;
    // What has no surface to see is seen by its skeleton, whatever is asked for.
    const bare = !this.body.hasSurface && performance.now() - this.#bodyBegan_ms > BARE_MS;
    const bones = this.#views.has("skeleton") || bare;
    const within = !this.#firstPerson && (bones || this.#views.has("graph"));
    this.body.setWithout(this.#firstPerson ? this.#head : null);
    this.body.setVisible(surface);
    this.surface.setVisible(surface);
    this.body.setOpacity(within && this.#skeleton && bones ? SEE_THROUGH : 1);
    this.surface.setOpacity(within && this.#graph ? SEE_THROUGH : 1);
    if (this.#skeleton) this.#skeleton.group.visible = within && bones;
    if (this.#graph) this.#graph.group.visible = within && this.#views.has("graph");
  }

  #colour(): void {
    const theme = this.#theme;
    if (!theme) return;
    this.#skeleton?.setColours(theme.accent, theme.dark ? 0xffffff : 0x0b3f3c);
    this.#graph?.setColours(theme.accent, theme.dark ? 0xffffff : 0x0b3f3c);
  }
}

function boxOf(positions: Float32Array): Box3 {
  return new Box3().setFromArray(positions);
}

function drop(lines: PointsAndLines | null): null {
  lines?.dispose();
  return null;
}
