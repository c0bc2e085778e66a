// Controllers and hands as the headset itself sees them: rays to point with, and the joints of tracked hands, which are
// seen in a mirror, too.
import {
  BufferGeometry, Float32BufferAttribute, Group, IcosahedronGeometry, InstancedMesh, Line, LineBasicMaterial, Matrix4,
  MeshStandardMaterial,
} from "three";
import type { WebGLRenderer, XRTargetRaySpace } from "three";
import { reflected } from "../scene/skin.ts";
import type { Theme } from "../scene/stage.ts";

const HAND_JOINTS = 25;
const COUNT = 2;
const RADIUS_M = 0.008; // where the headset does not tell it

export class Pointers {
  readonly group = new Group();
  readonly #rays: XRTargetRaySpace[];
  readonly #lines: Line<BufferGeometry, LineBasicMaterial>[] = [];
  readonly #joints: InstancedMesh<IcosahedronGeometry, MeshStandardMaterial>;
  /** The joints once more, for a mirror. */
  readonly twin: InstancedMesh<IcosahedronGeometry, MeshStandardMaterial>;
  readonly #matrix = new Matrix4();

  /** @param select called with the ray whose trigger was pulled, or whose fingers were pinched */
  constructor(renderer: WebGLRenderer, select: (pointer: XRTargetRaySpace) => void) {
    this.#rays = Array.from({ length: COUNT }, (_, i) => renderer.xr.getController(i));
    for (const ray of this.#rays) {
      const geometry = new BufferGeometry();
      geometry.setAttribute("position", new Float32BufferAttribute([0, 0, 0, 0, 0, -1], 3));
      const line = new Line(geometry, new LineBasicMaterial({ transparent: true, opacity: 0.55 }));
      line.frustumCulled = false;
      ray.add(line);
      this.#lines.push(line);
      ray.addEventListener("select", () => select(ray));
      this.group.add(ray);
    }
    this.#joints = new InstancedMesh(new IcosahedronGeometry(1, 1), new MeshStandardMaterial({ roughness: 0.6 }), COUNT * HAND_JOINTS);
    this.twin = new InstancedMesh(this.#joints.geometry, reflected(this.#joints.material), COUNT * HAND_JOINTS);
    this.twin.instanceMatrix = this.#joints.instanceMatrix;
    this.twin.renderOrder = 2; // as the body's, after the pane
    this.#joints.frustumCulled = this.twin.frustumCulled = false;
    this.#joints.count = this.twin.count = 0;
    this.group.add(this.#joints);
  }

  setTheme(theme: Theme): void {
    for (const line of this.#lines) line.material.color.setHex(theme.accent);
    for (const joints of [this.#joints, this.twin]) joints.material.color.setHex(theme.accent);
  }

  get rays(): readonly XRTargetRaySpace[] {
    return this.#rays.filter((ray) => ray.visible);
  }

  /** A ray is drawn as far as what it points at; without that it is not. */
  setLength(pointer: XRTargetRaySpace, metres: number | null): void {
    const line = this.#lines[this.#rays.indexOf(pointer)];
    line.visible = metres !== null;
    line.scale.z = metres ?? 0;
  }

  /**
   * Where the joints of tracked hands are, without a space none.
   *
   * @param share of the finger's thickness that each is as large as
   */
  update(frame: XRFrame, space: XRReferenceSpace | null, share: number): void {
    let shown = 0;
    for (const source of frame.session.inputSources) {
      if (!space || !source.hand || !frame.getJointPose) continue;
      for (const joint of source.hand.values()) {
        const pose = frame.getJointPose(joint, space);
        if (!pose || shown === COUNT * HAND_JOINTS) continue;
        const { x, y, z } = pose.transform.position;
        const radius = share * (pose.radius || RADIUS_M);
        this.#joints.setMatrixAt(shown++, this.#matrix.makeScale(radius, radius, radius).setPosition(x, y, z));
      }
    }
    this.#joints.count = this.twin.count = shown;
    this.#joints.instanceMatrix.needsUpdate = true;
  }
}
