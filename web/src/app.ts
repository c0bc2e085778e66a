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
import { Hud } from "./ui/hud.ts";
import { Notices } from "./ui/notices.ts";
import { Phases } from "./ui/phases.ts";
import { Tools } from "./ui/tools.ts";

const STALE_MS = 2500; // without a new picture for so long it is said

export class App {
  readonly stage: Stage;
  readonly world = new World();
  readonly access = new Access();
  readonly link: Link;
  readonly notices = new Notices();
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
  #views: ReadonlySet<View> = new Set<View>(["surface"]);

  constructor(canvas: HTMLCanvasElement) {
    this.stage = new Stage(canvas);
    this.#framing = new Framing(this.stage);
    this.stage.scene.add(this.world.root);
    this.stage.onTheme((theme) => this.world.setTheme(theme));
    this.#phases = new Phases(async (code) => {
      await this.access.pair(code);
      this.link.connect();
    });
    this.link = new Link(() => this.access.socket("stream"), {
      connecting: () => this.#connecting(),
      hello: (hello) => this.#greeted(hello),
      status: (status) => this.#told(status),
      notice: ({ text }) => this.notices.show(text),
      message: (message, bytes) => this.#took(message, bytes),
      failed: (failure) => this.#failed(failure),
    });
    this.#tools = new Tools({
      views: (views) => this.#setViews(views),
      fit: () => this.#framing.fit(),
      record: (on) => this.link.send({ type: "record", on }),
      calibrate: () => this.onCalibrate(),
    });
    addEventListener("resize", () => this.#framing.refit());
  }

  /** Set by who shows the calibration. */
  onCalibrate: () => void = () => undefined;
  /** Called with each message of state. */
  onStatus: (status: Status) => void = () => undefined;

  get status(): Status | null {
    return this.#status;
  }

  get picture(): Picture | null {
    return this.#picture;
  }

  start(): void {
    this.link.connect();
  }

  /** Once per frame of the display, or of the headset. */
  frame(t_ms: number): void {
    if (!this.stage.renderer.xr.isPresenting) {
      this.#framing.update();
      const subject = this.world.subject();
      if (subject && this.#undrawn) this.#framing.follow(subject, Math.min((t_ms - this.#drawn_ms) / 1000, 0.5));
    }
    const drawn = this.stage.draw();
    if (drawn && this.#undrawn && this.#picture) {
      this.#undrawn = false;
      this.#drawn_ms = t_ms;
      const age_ms = this.link.age_ms(this.#picture.t_ms);
      if (age_ms !== null) this.#hud.meter.drawn(performance.now(), age_ms);
    }
    const state = this.#picture?.of === "surface" ? this.#status?.surface : this.#status?.body;
    const live = this.#phases.phase === "live" || this.#phases.phase === "waiting";
    this.#hud.update(performance.now(), live && this.#picture !== null, state?.status ?? "", state?.reason ?? "");
    this.#watch();
  }

  #connecting(): void {
    if (this.#phases.phase !== "lost") this.#phases.set("connecting", "Connecting");
  }

  #greeted(hello: Hello): void {
    this.#hello = hello;
    this.world.clear();
    this.world.setBoth(hello.bodies && hello.surfaces);
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
      ? "Open this address in the browser of a headset and press Enter VR, or start the recording that is played."
      : `The first picture appears as soon as ${what} delivers one.`;
    this.#phases.set("waiting", "Connected", { title: `Waiting for ${what}`, text });
  }

  #told(status: Status): void {
    this.#status = status;
    this.#tools.recording(status.recording);
    for (const warning of status.warnings) this.notices.show(warning);
    this.onStatus(status);
  }

  #took(message: Message, bytes: number): void {
    const picture = this.world.take(message);
    const now = performance.now();
    this.#hud.meter.arrived(now, bytes, picture !== null);
    if (!picture) return;
    const first = this.#picture === null;
    this.#picture = picture;
    this.#pictured_ms = now;
    this.#undrawn = true;
    this.stage.touch();
    if (first || this.#phases.phase === "waiting") {
      this.#phases.set("live", "Live");
      if (first) performance.mark("first-picture");
    }
  }

  /** What was live stands still: say so, and that it is live again. */
  #watch(): void {
    if (this.#phases.phase === "live" && performance.now() - this.#pictured_ms > STALE_MS) this.#phases.set("waiting", "Connected, no new picture");
  }

  #failed(failure: Failure): void {
    switch (failure.kind) {
      case "lost":
        return this.#phases.lost(failure.retry_ms, this.#picture !== null, () => this.link.connect());
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
