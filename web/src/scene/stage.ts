// The room: renderer, camera, light, floor. It draws only when asked, on a desk at the display's rate while something
// changes, in a headset in each of its frames.
import {
  AgXToneMapping, Color, DirectionalLight, Fog, HemisphereLight, Mesh, PerspectiveCamera, PCFShadowMap,
  PlaneGeometry, Scene, ShaderMaterial, ShadowMaterial, SRGBColorSpace, WebGLRenderer,
} from "three";

export interface Theme {
  readonly dark: boolean;
  readonly paper: number;
  readonly line: number;
  readonly accent: number;
}

const LIGHT: Theme = { dark: false, paper: 0xe4e9ec, line: 0x6d7f8a, accent: 0x0f6b66 };
const DARK: Theme = { dark: true, paper: 0x171d22, line: 0x8fa6b2, accent: 0x5fcfc4 };

/** Lines of a grid that stay one pixel wide at any distance and fade into the background. */
const FLOOR_VERTEX = `
varying vec3 at;
void main() {
  vec4 world = modelMatrix * vec4(position, 1.0);
  at = world.xyz;
  gl_Position = projectionMatrix * viewMatrix * world;
}`;
const FLOOR_FRAGMENT = `
uniform vec3 line;
uniform float strength;
uniform vec2 centre;
varying vec3 at;
float grid(float cell) {
  vec2 p = at.xz / cell;
  vec2 w = max(fwidth(p), 1e-5);
  vec2 d = abs(fract(p - 0.5) - 0.5) / w;
  return (1.0 - clamp(min(d.x, d.y) - 0.1, 0.0, 1.0)) * clamp(0.5 / max(w.x, w.y) - 0.5, 0.0, 1.0);
}
void main() {
  float fade = 1.0 - smoothstep(1.2, 8.5, distance(at.xz, centre));
  float shown = max(grid(0.25) * 0.22, grid(1.0) * 0.6) * fade * strength;
  if (shown < 0.004) discard;
  gl_FragColor = vec4(line, shown);
  #include <colorspace_fragment>
}`;

export class Stage {
  readonly renderer: WebGLRenderer;
  readonly scene = new Scene();
  readonly camera = new PerspectiveCamera(38, 1, 0.05, 60);
  readonly #floor: Mesh<PlaneGeometry, ShaderMaterial>;
  readonly #shadows: Mesh<PlaneGeometry, ShadowMaterial>;
  readonly #sun = new DirectionalLight(0xffffff, 2.1);
  readonly #sky = new HemisphereLight(0xffffff, 0x8a8378, 1.25);
  readonly #dark = matchMedia("(prefers-color-scheme: dark)");
  readonly #themed: ((theme: Theme) => void)[] = [];
  #dirty = true;
  #insets: readonly [top: number, bottom: number] = [0, 0];

  /** Raises an error where the browser has no WebGL 2. */
  constructor(canvas: HTMLCanvasElement) {
    // Stencil: the mirror is drawn through it.
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true, stencil: true, powerPreference: "high-performance" });
    const { renderer, scene } = this;
    renderer.outputColorSpace = SRGBColorSpace;
    renderer.toneMapping = AgXToneMapping;
    renderer.toneMappingExposure = 1.15;
    renderer.shadowMap.enabled = true;
    renderer.shadowMap.type = PCFShadowMap;
    renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    renderer.xr.enabled = true;
    renderer.xr.setFoveation(0.5); // what is looked at aside is drawn coarser: standalone headsets need it

    const sun = this.#sun;
    sun.shadow.mapSize.set(1024, 1024);
    sun.shadow.radius = 6;
    sun.shadow.bias = -0.0004;
    sun.shadow.normalBias = 0.02;
    Object.assign(sun.shadow.camera, { left: -1.8, right: 1.8, top: 2.4, bottom: -1.6, near: 0.5, far: 12 });
    const rim = new DirectionalLight(0xd8ecff, 0.8);
    rim.position.set(-2.2, 2.4, 3);
    scene.add(sun, sun.target, rim, this.#sky);

    const plane = new PlaneGeometry(24, 24).rotateX(-Math.PI / 2);
    this.#floor = new Mesh(plane, new ShaderMaterial({
      vertexShader: FLOOR_VERTEX, fragmentShader: FLOOR_FRAGMENT, transparent: true, depthWrite: false,
      uniforms: { line: { value: new Color() }, strength: { value: 1 }, centre: { value: { x: 0, y: 0 } } },
    }));
    this.#shadows = new Mesh(plane, new ShadowMaterial({ transparent: true, depthWrite: false }));
    this.#shadows.receiveShadow = true;
    this.#floor.renderOrder = -2;
    this.#shadows.renderOrder = -1;
    scene.add(this.#floor, this.#shadows);

    this.centreOn(0, 0);
    this.#dark.addEventListener("change", () => this.#retheme());
    this.#retheme();
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#resize();
  }

  get theme(): Theme {
    return this.#dark.matches ? DARK : LIGHT;
  }

  /** Calls back now and whenever the browser's colour scheme changes. */
  onTheme(callback: (theme: Theme) => void): void {
    this.#themed.push(callback);
    callback(this.theme);
  }

  /** Something changed that is to be seen. */
  touch(): void {
    this.#dirty = true;
  }

  /** Floor and light are where the person is. */
  centreOn(x: number, z: number): void {
    this.#floor.material.uniforms["centre"]!.value = { x, y: z };
    this.#floor.position.set(Math.round(x), 0, Math.round(z));
    this.#shadows.position.copy(this.#floor.position);
    this.#sun.target.position.set(x, 0.8, z);
    this.#sun.position.set(x + 2.2, 5.2, z - 2.6);
    this.touch();
  }

  /** From now on: to be called after the first picture, which would wait for it where there is no graphics card. */
  addShadows(): void {
    this.#sun.castShadow = true;
    this.touch();
  }

  /** How much of the window's height is free, when what floats above and below the picture is taken away; that is what
   * the picture is centred in [px]. */
  setInsets(top: number, bottom: number): void {
    const { clientWidth, clientHeight } = this.renderer.domElement;
    this.#insets = [top, bottom];
    this.camera.setViewOffset(clientWidth, clientHeight, 0, (bottom - top) / 2, clientWidth, clientHeight);
    this.touch();
  }

  /** Share of the window's height. */
  get free(): number {
    const [top, bottom] = this.#insets;
    return Math.max(0.4, 1 - (top + bottom) / Math.max(1, this.renderer.domElement.clientHeight));
  }

  /** In a headset: what is behind everything. With passthrough the room is, and neither floor nor background is drawn. */
  setImmersive(mode: "none" | "virtual" | "passthrough"): void {
    const { scene, theme } = this;
    scene.background = mode === "virtual" ? new Color(theme.paper) : null;
    scene.fog = mode === "virtual" ? new Fog(theme.paper, 5, 11) : null;
    this.#floor.material.uniforms["strength"]!.value = mode === "passthrough" ? 0.35 : 1;
    this.touch();
  }

  /** Draw, if something changed; a headset's frame is always drawn. */
  draw(): boolean {
    if (!this.#dirty && !this.renderer.xr.isPresenting) return false;
    this.#dirty = false;
    this.renderer.render(this.scene, this.camera);
    return true;
  }

  #retheme(): void {
    const theme = this.theme;
    (this.#floor.material.uniforms["line"]!.value as Color).setHex(theme.line);
    this.#shadows.material.opacity = theme.dark ? 0.42 : 0.2;
    this.#sky.groundColor.setHex(theme.dark ? 0x3a3f45 : 0x9a938a);
    this.#sky.intensity = theme.dark ? 0.9 : 1.3;
    for (const callback of this.#themed) callback(theme);
    this.touch();
  }

  #resize(): void {
    const { clientWidth, clientHeight } = this.renderer.domElement;
    if (!clientWidth || !clientHeight || this.renderer.xr.isPresenting) return;
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / clientHeight;
    this.setInsets(...this.#insets);
  }
}
