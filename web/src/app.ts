// The page: what comes from the server into the scene, what the person does to the server.
import { Access } from "./access.ts";
import { Framing } from "./scene/framing.ts";
import { Stage } from "./scene/stage.ts";
import { World } from "./scene/world.ts";
import type { Picture, View } from "./scene/world.ts";
import type { Message } from "./stream/envelope.ts";
import { Link } from "./stream/link.ts";
import type { Failure } from "./stream/link.ts";
import type { Hello, Status } from "./stream/texts.ts";
import { CalibrationCard } from "./ui/calibration_card.ts";
import { element } from "./ui/dom.ts";
import { Hud } from "./ui/hud.ts";
import type { Figures } from "./ui/meter.ts";
import { Notices } from "./ui/notices.ts";
import { Phases } from "./ui/phases.ts";
import { Tools } from "./ui/tools.ts";
import { Calibrator } from "./xr/calibrator.ts";
import { Immersive } from "./xr/immersive.ts";

const MAX_AHEAD_MS = 250;
const SHADOWS_MS = 400; // after the first picture
const STALE_MS = 2500; // without a new picture for so long it is said

export class App {
  readonly stage: Stage;
  readonly world = new World();
  readonly access = new Access();
  readonly link: Link;
  readonly notices = new Notices();
  readonly calibrator: Calibrator;
  readonly #immersive: Immersive;
  readonly #framing: Framing;
  readonly #hud = new Hud();
  readonly #phases: Phases;
  readonly #tools: Tools;
  #hello: Hello | null = null;
  #status: Status | null = null;
  #picture: Picture | null = null;
  #pictured_ms = 0;
  #drawn_ms = 0;
  #undrawn = false;
  #marked = false;
  #warned: ReadonlySet<string> = new Set<string>();
  #views: ReadonlySet<View> = new Set<View>(["surface"]);

  /** Throws an error where the browser has no WebGL 2. */
  constructor(canvas: HTMLCanvasElement) {
    this.#phases = new Phases(async (code) => {
      await this.access.pair(code);
      this.link.connect();
    });
    this.link = new Link(this.access, {
      connecting: () => this.#connecting(),
      hello: (hello) => this.#greeted(hello),
      status: (status) => this.#told(status),
      notice: ({ text }) => this.notices.show(text),
      message: (message, bytes) => this.#took(message, bytes),
      failed: (failure) => this.#failed(failure),
    });
    this.link.connect(); // first of all: the server answers while the scene is made
    try {
      this.stage = new Stage(canvas);
    } catch (error) {
      this.link.close();
      throw error;
    }
    this.#framing = new Framing(this.stage);
    this.stage.scene.add(this.world.root);
    this.stage.onTheme((theme) => this.world.setTheme(theme));
    this.#tools = new Tools({
      views: (views) => this.#setViews(views),
      fit: () => this.#framing.fit(),
      record: (on) => this.link.send({ type: "record", on }),
      calibrate: () => this.calibrator.begin(),
    });
    const card = new CalibrationCard(() => this.calibrator.next(), () => this.calibrator.floor(), () => this.calibrator.end());
    this.calibrator = new Calibrator((pose) => this.link.send({ type: "calibrate", pose }), (shown) => {
      card.show(shown);
      this.#immersive.showCalibration(shown);
    });
    this.#immersive = new Immersive(this);
    this.#watchInsets();
  }

  get status(): Status | null {
    return this.#status;
  }

  /** What the server may be asked for. */
  get controls(): readonly string[] {
    return this.#hello?.controls ?? [];
  }

  /** Rate and age of what is drawn. */
  get figures(): Figures {
    return this.#hud.meter.figures(performance.now());
  }

  get live(): boolean {
    return this.#phases.phase === "live";
  }

  /** Once per frame of the display, or of the headset, which then gives its own. */
  frame(t_ms: number, frame: XRFrame | undefined): void {
    const read = frame ? this.#immersive.frame(frame) : null;
    if (read) this.calibrator.sampleRaw({ head: height(read.head), left: height(read.left), right: height(read.right) });
    this.calibrator.update();
    if (!this.stage.renderer.xr.isPresenting) {
      this.#framing.update();
      const subject = this.world.subject();
      if (subject && this.#undrawn) this.#framing.follow(subject, Math.min((t_ms - this.#drawn_ms) / 1000, 0.5));
    }
    if (this.stage.draw() && this.#undrawn && this.#picture) this.#drew(this.#picture, t_ms, frame?.predictedDisplayTime);
    const state = this.#picture?.of === "surface" ? this.#status?.surface : this.#status?.body;
    const live = this.#phases.phase === "live" || this.#phases.phase === "waiting";
    this.#hud.update(performance.now(), live && this.#picture !== null, state?.status ?? "", state?.reason ?? "");
    this.#watch();
  }

  /** A new picture is on its way to the eyes: note how old it is there. */
  #drew(picture: Picture, t_ms: number, display_ms: number | undefined): void {
    this.#undrawn = false;
    this.#drawn_ms = t_ms;
    if (!this.#marked) {
      performance.mark("first-picture");
      window.setTimeout(() => this.stage.addShadows(), SHADOWS_MS);
    }
    this.#marked = true;
    const now = performance.now();
    // Some headsets tell when it will be seen; a time of another clock is none.
    const seen_ms = display_ms !== undefined && display_ms - now > 0 && display_ms - now < MAX_AHEAD_MS ? display_ms : now;
    const age_ms = this.link.age_ms(picture.t_ms, seen_ms);
    if (age_ms !== null) this.#hud.meter.drawn(now, age_ms);
  }

  /** The picture stands between what floats above and below it. */
  #watchInsets(): void {
    const [dock, hud] = [element("dock", HTMLElement), element("hud", HTMLElement)];
    const measure = (): void => {
      const across = !hud.hidden && hud.offsetWidth > 0.6 * innerWidth; // on a phone
      this.stage.setInsets(across ? hud.getBoundingClientRect().bottom : 12, innerHeight - dock.getBoundingClientRect().top);
      this.#framing.refit();
    };
    const observer = new ResizeObserver(measure);
    for (const part of [dock, hud, document.documentElement]) observer.observe(part);
  }

  #connecting(): void {
    if (this.#phases.phase !== "lost" && this.#phases.phase !== "headset") this.#phases.set("connecting", "Connecting");
  }

  #greeted(hello: Hello): void {
    this.#hello = hello;
    this.world.expect(hello);
    this.#picture = null;
    this.#tools.offer(hello);
    this.#setViews(this.#views);
    this.#wait();
  }

  #wait(): void {
    const what = this.#hello?.bodies
      ? this.#hello.surfaces ? "the camera or the headset" : "the headset"
      : "the camera";
    this.#phases.set("waiting", "Connected, waiting");
    const text = this.#hello?.bodies && !this.#hello.surfaces
      ? "Open this address in the browser of a headset, and press Enter VR there."
      : `The first picture appears as soon as ${what} delivers one.`;
    this.#phases.set("waiting", "Connected", { title: `Waiting for ${what}`, text });
  }

  #told(status: Status): void {
    this.#status = status;
    this.#tools.recording(status.recording);
    for (const warning of status.warnings.filter((text) => !this.#warned.has(text))) this.notices.show(warning);
    this.#warned = new Set([...this.#warned, ...status.warnings]);
    this.calibrator.told(status);
  }

  #took(message: Message, bytes: number): void {
    const picture = this.world.take(message);
    const now = performance.now();
    this.#hud.meter.arrived(now, bytes, picture && picture.t_ms);
    if (!picture) return;
    this.#picture = picture;
    this.#pictured_ms = now;
    this.#undrawn = true;
    this.stage.touch();
    if (picture.of === "body" && !this.#immersive.presenting) this.calibrator.sample(heightsOf(picture));
    if (this.#phases.phase === "waiting") {
      this.#phases.set("live", "Live");
    }
  }

  /** What was live stands still: say so, and that it is live again. */
  #watch(): void {
    if (this.#phases.phase === "live" && performance.now() - this.#pictured_ms > STALE_MS) this.#phases.set("waiting", "Connected, no new picture");
  }

  #failed(failure: Failure): void {
    switch (failure.kind) {
      case "lost":
        return this.#phases.lost(failure, this.#picture !== null, () => this.link.connect());
      case "busy":
        return this.#phases.set("lost", "No place is left", {
          title: "Too many are watching",
          text: "As many pages as the server takes are connected. This one comes in as soon as there is a place.",
        });
      case "absent": // a server that takes a headset's poses and shows what comes of them elsewhere
        return this.#phases.set("headset", "Headset only");
      case "refused":
        return this.#phases.set("refused", "Not let in", {
          title: "A pairing code is needed",
          text: "bodystream shows one where it was started. Type it here, or open the whole address that was printed.",
          pair: true,
        });
      case "version":
        return this.#phases.set("version", "Another version", {
          title: "This page is of another version",
          text: `${failure.text}. Loading it again brings the one that fits.`,
          action: ["Load again", () => location.reload()],
        });
      case "closed":
        return this.#phases.set("closed", "Disconnected", {
          title: "The server closed the connection",
          text: failure.text || "It gave no reason.",
          action: ["Connect again", () => this.link.connect()],
        });
    }
  }

  #setViews(views: ReadonlySet<View>): void {
    this.#views = views;
    this.world.setViews(views);
    this.link.subscribe({ body: true, surface: true, graph: views.has("graph") });
    this.stage.touch();
  }
}

function height(pose: { readonly position_m: readonly number[] } | null | undefined): number | null {
  return pose ? pose.position_m[1] : null;
}

/** Of a headset that another page is worn with. */
function heightsOf({ motion: { devices } }: Picture): { head: number | null; left: number | null; right: number | null } {
  const of = (side: string): number | null => height(devices.find((device) => device.side === side));
  return { head: of("head"), left: of("left"), right: of("right") };
}
