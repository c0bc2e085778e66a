// The immersive session: entering and leaving it, what is sent in each of its frames, and what stands in the room.
import { Euler, Quaternion, Vector3 } from "three";
import type { XRTargetRaySpace } from "three";
import type { App } from "../app.ts";
import { HeadsetSender } from "../headset/sender.ts";
import type { PoseMessage, SpaceKind } from "../headset/messages.ts";
import { element, setText } from "../ui/dom.ts";
import { sentence } from "../ui/text.ts";
import type { Shown } from "./calibration.ts";
import { Mirror } from "./mirror.ts";
import { Panel } from "./panel.ts";
import type { Content } from "./panel.ts";
import { Pointers } from "./pointers.ts";

const SPACES: readonly SpaceKind[] = ["local-floor", "bounded-floor", "local"]; // the first that the device has
const MIRROR_M = 1.5; // ahead of who looks into it
const PANEL_AHEAD_M = 0.95;
const PANEL_ASIDE_M = 0.8;
const BOARD_EVERY_MS = 250;
const SMALL = 0.35;
const PANEL_BELOW_M = 0.18; // the eyes

export class Immersive {
  readonly #app: App;
  readonly #button = element("enter", HTMLButtonElement);
  readonly #status = element("status", HTMLElement);
  readonly #mirror: Mirror;
  readonly #panel = new Panel();
  readonly #pointers: Pointers;
  #session: XRSession | null = null;
  #sender: HeadsetSender | null = null;
  #space: XRReferenceSpace | null = null;
  #placed = false;
  #calibration: Shown | null = null;
  #told = "";
  #hover = "";
  #written_ms = 0;

  constructor(app: App) {
    this.#app = app;
    const { stage, world } = app;
    this.#mirror = new Mirror(world.body.twins);
    this.#pointers = new Pointers(stage.renderer, (pointer) => this.#press(pointer));
    world.body.twins.add(this.#pointers.twin);
    stage.scene.add(this.#mirror.group, this.#mirror.reflected, this.#panel.group, this.#pointers.group);
    this.#setRoom(false);
    stage.onTheme((theme) => {
      for (const part of [this.#mirror, this.#panel, this.#pointers]) part.setTheme(theme);
    });
    this.#button.onclick = () => void this.#enter();
    if (navigator.xr) navigator.xr.ondevicechange = () => void this.look();
    void this.look();
  }

  get presenting(): boolean {
    return this.#session !== null;
  }

  /** Say what this browser can do. */
  async look(): Promise<void> {
    if (this.#session) return;
    const can = await possible();
    if (this.#session) return;
    this.#button.disabled = can !== "";
    this.#say(can || "Ready. Press Enter VR, and stand where you can move.");
  }

  /** What the calibration shows, on the board. */
  showCalibration(shown: Shown | null): void {
    this.#calibration = shown;
  }

  /** In each frame of the headset, before it is drawn; gives what was read. */
  frame(frame: XRFrame): PoseMessage | null {
    if (!this.#sender || !this.#space || frame.session !== this.#session) return null;
    const message = this.#sender.frame(frame);
    if (message.head) {
      if (!this.#placed) this.#place(message.head);
      const [x, , z] = message.head.position_m;
      this.#app.stage.centreOn(x, z);
    }
    // Before there is a body the joints are one's hands; on a body's hands they are small, where its fingers are stiff.
    const { live, world } = this.#app;
    this.#pointers.update(frame, live && world.hasFingers ? null : this.#space, live ? SMALL : 1);
    let hover = "";
    for (const ray of this.#pointers.rays) {
      this.#pointers.setLength(ray, this.#panel.distance(ray));
      hover ||= this.#panel.pointedAt(ray);
    }
    // Its figures change all the time, and drawing the board takes longer than looking at it for a moment.
    const now = performance.now();
    if (hover !== this.#hover || now - this.#written_ms > BOARD_EVERY_MS) {
      this.#panel.show(this.#content(), hover);
      this.#hover = hover;
      this.#written_ms = now;
    }
    return message;
  }

  async #enter(): Promise<void> {
    this.#button.disabled = true;
    let session: XRSession | null = null;
    try {
      // Where the headset can show the room, that is safer for somebody who moves.
      const mode = (await supports("immersive-ar")) ? "immersive-ar" : "immersive-vr";
      session = await navigator.xr!.requestSession(mode, { optionalFeatures: ["local-floor", "bounded-floor", "hand-tracking"] });
      session.addEventListener("end", () => this.#ended());
      this.#session = session;
      const [space, kind] = await spaceOf(session);
      const { stage, world } = this.#app;
      stage.setImmersive(mode === "immersive-ar" && session.environmentBlendMode !== "opaque" ? "passthrough" : "virtual");
      stage.renderer.xr.setReferenceSpaceType(kind);
      await stage.renderer.xr.setSession(session);
      stage.renderer.xr.setReferenceSpace(space);
      this.#space = space;
      this.#placed = false;
      this.#setRoom(true);
      world.setFirstPerson(true);
      this.#sender = new HeadsetSender(session, space, kind, () => this.#app.access.socket("headset"), {
        status: (text) => this.#say(text),
        notice: (text) => this.#app.notices.show(text, true),
        refused: () => void session!.end(),
        recentred: () => (this.#placed = false),
      });
    } catch (error) {
      if (session && this.#session) await session.end().catch(() => undefined);
      this.#button.disabled = false;
      this.#say(`The session could not be started: ${error instanceof Error ? error.message : error}`);
    }
  }

  #ended(): void {
    this.#sender?.close();
    this.#sender = this.#session = this.#space = null;
    this.#setRoom(false);
    this.#app.world.setFirstPerson(false);
    this.#app.stage.setImmersive("none");
    this.#button.disabled = false;
    this.#say("The session is over.");
  }

  #setRoom(visible: boolean): void {
    this.#mirror.visible = this.#panel.group.visible = this.#pointers.group.visible = visible;
  }

  /** The mirror ahead of who has come in, the board beside it. */
  #place({ position_m: [x, y, z], rotation_xyzw }: NonNullable<PoseMessage["head"]>): void {
    this.#placed = true;
    const yaw = new Euler().setFromQuaternion(new Quaternion(...rotation_xyzw), "YXZ").y;
    const at = (ahead: number, aside: number): [number, number] => [
      x - Math.sin(yaw) * ahead + Math.cos(yaw) * aside,
      z - Math.cos(yaw) * ahead - Math.sin(yaw) * aside,
    ];
    this.#mirror.place(...at(MIRROR_M, 0), yaw);
    const [px, pz] = at(PANEL_AHEAD_M, PANEL_ASIDE_M);
    this.#panel.group.position.set(px, Math.max(y - PANEL_BELOW_M, 0.6), pz);
    this.#panel.group.lookAt(new Vector3(x, y, z));
  }

  #press(pointer: XRTargetRaySpace): void {
    switch (this.#panel.pointedAt(pointer)) {
      case "calibrate":
        return this.#app.calibrator.begin();
      case "next":
        return this.#app.calibrator.next();
      case "floor":
        return this.#app.calibrator.floor();
      case "close":
        return this.#app.calibrator.end();
      case "record":
        return this.#app.link.send({ type: "record", on: !this.#app.status?.recording?.on });
      case "mirror":
        this.#mirror.visible = !this.#mirror.visible;
        return;
      case "leave":
        return void this.#session?.end();
    }
  }

  #content(): Content {
    const shown = this.#calibration;
    if (shown) {
      const buttons = [{ id: "close", label: shown.over ? "Close" : "Cancel", primary: false }];
      if (shown.floor) buttons.unshift({ id: "floor", label: shown.floor, primary: false });
      if (shown.next) buttons.unshift({ id: "next", label: shown.next, primary: true });
      return { eyebrow: `Calibration, ${shown.step}`, title: shown.title, text: shown.text, picture: shown.pose, countdown: shown.countdown, buttons };
    }
    const { status, controls } = this.#app;
    const body = status?.body;
    const reason = body?.reason ? ` ${sentence(body.reason)}.` : "";
    const { rate_hz, age_ms } = this.#app.figures;
    const age = age_ms === null ? "" : `, ${age_ms.toFixed(0)} ms old when you see them`;
    const figures = rate_hz === null ? "No pose has come back yet." : `${rate_hz.toFixed(0)} poses a second${age}.${reason}`;
    const recording = status?.recording?.on ?? false;
    return {
      eyebrow: recording ? "Recording" : "bodystream",
      title: this.#app.live ? "This is you" : "Waiting for your body",
      text: `${this.#told} ${this.#app.live ? figures : ""}`,
      picture: null,
      countdown: null,
      buttons: [
        ...(controls.includes("calibrate") ? [{ id: "calibrate", label: "Calibrate", primary: true }] : []),
        ...(controls.includes("record") ? [{ id: "record", label: recording ? "Stop" : "Record", primary: false }] : []),
        { id: "mirror", label: this.#mirror.visible ? "Hide mirror" : "Mirror", primary: false },
        { id: "leave", label: "Leave", primary: false },
      ],
    };
  }

  #say(text: string): void {
    this.#told = text;
    setText(this.#status, text);
  }
}

function supports(mode: XRSessionMode): Promise<boolean> {
  return navigator.xr!.isSessionSupported(mode).catch(() => false);
}

/** Why this browser cannot be entered, or nothing. */
async function possible(): Promise<string> {
  if (!window.isSecureContext) return "WebXR needs an https address. Open the one that was printed, from https:// on.";
  if (!navigator.xr) return "WebXR is not there in this browser. Open this address in the browser of a headset.";
  if (!(await supports("immersive-ar")) && !(await supports("immersive-vr")))
    return "This browser has WebXR, but no headset. Open this address in the browser of a headset.";
  return "";
}

async function spaceOf(session: XRSession): Promise<[XRReferenceSpace, SpaceKind]> {
  for (const kind of SPACES) {
    const space = await session.requestReferenceSpace(kind).catch(() => null);
    if (space) return [space as XRReferenceSpace, kind];
  }
  throw new Error("the device has no reference space for a room");
}
