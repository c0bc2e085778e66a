// Where the camera stands on a desk or a phone: fitted to what is shown, turned by hand, and following a person.
import { MathUtils, Vector3 } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import type { Stage } from "./stage.ts";

/** What is to be in the picture: its middle, how high and wide it is [m], and where its front looks. */
export interface Subject {
  readonly centre: Vector3;
  readonly height_m: number;
  readonly width_m: number;
  readonly yaw: number; // 0 looks along -z
}

const FOLLOW_S = 0.15; // time constant
const JUMP_M = 1.5; // who is that far off at once is not followed smoothly
const ASIDE = MathUtils.degToRad(24);

export class Framing {
  readonly #stage: Stage;
  readonly #controls: OrbitControls;
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)");
  readonly #centre = new Vector3(); // glides after the subject's
  #subject: Subject | null = null;
  #fitted = false;
  #moved = false;

  constructor(stage: Stage) {
    this.#stage = stage;
    const canvas = stage.renderer.domElement;
    const controls = (this.#controls = new OrbitControls(stage.camera, canvas));
    controls.enableDamping = !this.#still.matches;
    controls.dampingFactor = 0.09;
    controls.minDistance = 0.4;
    controls.maxDistance = 12;
    controls.maxPolarAngle = MathUtils.degToRad(96);
    controls.keyPanSpeed = 24;
    controls.listenToKeyEvents(canvas);
    controls.addEventListener("change", () => stage.touch());
    controls.addEventListener("start", () => (this.#moved = true));
    this.#still.addEventListener("change", () => (controls.enableDamping = !this.#still.matches));
    stage.camera.position.set(1.2, 1.7, -3.6);
    controls.target.set(0, 0.95, 0);
    controls.update();
  }

  /** Fit the view anew, from in front of the subject. */
  fit(): void {
    const subject = this.#subject;
    if (!subject) return;
    this.#moved = false;
    this.#fitted = true;
    const { camera } = this.#stage;
    const slope = Math.tan(MathUtils.degToRad(camera.fov / 2));
    const { free } = this.#stage;
    const distance = Math.max(subject.height_m / free, subject.width_m / Math.max(camera.aspect, 0.3)) / 2 / slope + 0.45;
    const yaw = subject.yaw + ASIDE;
    this.#centre.copy(subject.centre);
    this.#controls.target.copy(subject.centre);
    camera.position.copy(subject.centre).add(new Vector3(-Math.sin(yaw) * distance, 0.16 * distance, -Math.cos(yaw) * distance));
    this.#controls.update();
  }

  /** The window's shape changed: what nobody turned by hand is fitted again. */
  refit(): void {
    if (!this.#moved) this.fit();
  }

  /** Where the subject is by now; the first one is fitted, later ones are followed, also where a hand turned the view. */
  follow(subject: Subject, seconds: number): void {
    this.#subject = subject;
    if (!this.#fitted) {
      this.#centre.copy(subject.centre);
      this.fit();
    } else {
      const shift = subject.centre.clone().sub(this.#centre);
      shift.y = 0;
      if (shift.length() < JUMP_M) shift.multiplyScalar(1 - Math.exp(-seconds / FOLLOW_S));
      this.#centre.add(shift);
      this.#controls.target.add(shift);
      this.#stage.camera.position.add(shift);
    }
    this.#stage.centreOn(this.#centre.x, this.#centre.z);
  }

  /** Once per drawn frame. */
  update(): void {
    this.#controls.update();
  }
}
