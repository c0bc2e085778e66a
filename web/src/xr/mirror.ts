// A mirror in the room: a pane that marks where it is seen, and the body once more behind it, drawn only there. Both
// eyes see it right, since nothing is rendered into a picture first.
import {
  BoxGeometry, Color, Group, Matrix4, Mesh, MeshStandardMaterial, PlaneGeometry, ReplaceStencilOp, ShaderMaterial,
} from "three";
import type { Object3D } from "three";
import { MIRROR_STENCIL } from "../scene/skin.ts";
import type { Theme } from "../scene/stage.ts";

const WIDTH_M = 1.35;
const HEIGHT_M = 2.1;
const ABOVE_FLOOR_M = 0.04;
const FRAME_M = 0.022;
const MIRRORED = new Matrix4().makeScale(1, 1, -1);

const PANE_VERTEX = `
varying vec2 at;
void main() {
  at = uv;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
}`;
const PANE_FRAGMENT = `
uniform vec3 top;
uniform vec3 bottom;
varying vec2 at;
void main() {
  float floorLine = smoothstep(0.30, 0.34, at.y);
  vec3 colour = mix(bottom, top, 0.35 * at.y + 0.65 * floorLine);
  colour *= 1.0 - 0.10 * length(at - vec2(0.5, 0.55));
  gl_FragColor = vec4(colour, 1.0);
  #include <colorspace_fragment>
}`;

export class Mirror {
  /** Pane and frame, where `place` puts them; the front looks along its own +z. */
  readonly group = new Group();
  readonly #reflected = new Group();
  readonly #pane: ShaderMaterial;
  readonly #frame = new MeshStandardMaterial({ roughness: 0.4 });

  /** @param twin what is seen in it, in the frame of the world */
  constructor(twin: Object3D) {
    this.#pane = new ShaderMaterial({
      vertexShader: PANE_VERTEX, fragmentShader: PANE_FRAGMENT, depthWrite: false, transparent: true,
      stencilWrite: true, stencilRef: MIRROR_STENCIL, stencilZPass: ReplaceStencilOp,
      uniforms: { top: { value: new Color() }, bottom: { value: new Color() } },
    });
    const pane = new Mesh(new PlaneGeometry(WIDTH_M, HEIGHT_M), this.#pane);
    pane.position.y = ABOVE_FLOOR_M + HEIGHT_M / 2;
    pane.renderOrder = 1;
    this.group.add(pane, ...this.#bars());
    this.#reflected.add(twin);
    this.#reflected.matrixAutoUpdate = false;
    this.#reflected.renderOrder = 2;
  }

  /** The mirrored body: to be added to the world, not to the mirror. */
  get reflected(): Group {
    return this.#reflected;
  }

  set visible(visible: boolean) {
    this.group.visible = this.#reflected.visible = visible;
  }

  get visible(): boolean {
    return this.group.visible;
  }

  setTheme(theme: Theme): void {
    (this.#pane.uniforms["top"]!.value as Color).setHex(theme.dark ? 0x2b353b : 0xcfd9dd);
    (this.#pane.uniforms["bottom"]!.value as Color).setHex(theme.dark ? 0x1a2126 : 0xb4c0c5);
    this.#frame.color.setHex(theme.dark ? 0x3c4a52 : 0x2c3a40);
  }

  /** Stand at a place of the floor, before somebody who looks along `yaw`, 0 = -z. */
  place(x: number, z: number, yaw: number): void {
    this.group.position.set(x, 0, z);
    this.group.rotation.y = yaw;
    this.group.updateMatrixWorld(true);
    const world = this.group.matrixWorld;
    this.#reflected.matrix.copy(world).multiply(MIRRORED).multiply(world.clone().invert());
    this.#reflected.matrixWorldNeedsUpdate = true;
  }

  #bars(): Mesh[] {
    const middle = ABOVE_FLOOR_M + HEIGHT_M / 2;
    const bar = (width: number, height: number, x: number, y: number): Mesh => {
      const mesh = new Mesh(new BoxGeometry(width, height, FRAME_M), this.#frame);
      mesh.position.set(x, y, 0);
      return mesh;
    };
    const side = WIDTH_M / 2 + FRAME_M / 2;
    const end = HEIGHT_M / 2 + FRAME_M / 2;
    const long = WIDTH_M + 2 * FRAME_M;
    return [
      bar(FRAME_M, HEIGHT_M, -side, middle), bar(FRAME_M, HEIGHT_M, side, middle),
      bar(long, FRAME_M, 0, middle - end), bar(long, FRAME_M, 0, middle + end),
    ];
  }
}
