// What the headset measures: where head and hands are, as small axes, so that a person sees what the pose came from.
import { BoxGeometry, ConeGeometry, Group, Mesh, MeshStandardMaterial } from "three";
import { SIDES } from "../stream/motions.ts";
import type { Device } from "../stream/motions.ts";
import type { Theme } from "./stage.ts";

type Side = Device["side"];

export class Devices {
  readonly group = new Group();
  readonly #material = new MeshStandardMaterial({ roughness: 0.5, transparent: true, opacity: 0.85 });
  readonly #marks: Record<Side, Group>;

  constructor() {
    this.#marks = { head: this.#headset(), left: this.#hand(), right: this.#hand() };
    for (const side of SIDES) this.group.add(this.#marks[side]);
    this.clear();
  }

  setTheme(theme: Theme): void {
    this.#material.color.setHex(theme.accent);
  }

  clear(): void {
    for (const side of SIDES) this.#marks[side].visible = false;
  }

  show(devices: readonly Device[]): void {
    this.clear();
    for (const { side, position_m, rotation_xyzw } of devices) {
      const mark = this.#marks[side];
      mark.position.fromArray(position_m as number[]);
      mark.quaternion.fromArray(rotation_xyzw as number[]);
      mark.visible = true;
    }
  }

  #headset(): Group {
    const group = new Group();
    const visor = new Mesh(new BoxGeometry(0.17, 0.085, 0.06), this.#material);
    visor.position.z = -0.045;
    group.add(visor);
    return group;
  }

  /** A cone along -z, where a grip or a hand points. */
  #hand(): Group {
    const group = new Group();
    group.add(new Mesh(new ConeGeometry(0.016, 0.075, 20).rotateX(-Math.PI / 2), this.#material));
    return group;
  }
}
