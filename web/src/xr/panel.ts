// What is written in the room: a board with a few lines and buttons, pressed by pointing at it.
import {
  CanvasTexture, Group, LinearFilter, Mesh, MeshBasicMaterial, PlaneGeometry, Raycaster, SRGBColorSpace, Vector2,
} from "three";
import type { XRTargetRaySpace } from "three";
import type { Theme } from "../scene/stage.ts";
import { drawFigure } from "./figure.ts";
import type { Pose } from "./figure.ts";

const WIDTH = 1024;
const HEIGHT = 704;
const WIDTH_M = 0.75;
const PAD = 52;
const BUTTON_HEIGHT = 96;
const FONT = "system-ui, sans-serif";

export interface Content {
  readonly eyebrow: string;
  readonly title: string;
  readonly text: string;
  readonly picture: Pose | null;
  readonly countdown: number | null;
  readonly buttons: readonly { readonly id: string; readonly label: string; readonly primary: boolean }[];
}

interface Area {
  readonly id: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export class Panel {
  readonly group = new Group();
  readonly #canvas = document.createElement("canvas");
  readonly #context: CanvasRenderingContext2D;
  readonly #texture: CanvasTexture;
  readonly #board: Mesh<PlaneGeometry, MeshBasicMaterial>;
  readonly #raycaster = new Raycaster();
  #areas: Area[] = [];
  #theme: Theme | null = null;
  #drawn = "";
  #hover = "";

  constructor() {
    this.#canvas.width = WIDTH;
    this.#canvas.height = HEIGHT;
    this.#context = this.#canvas.getContext("2d")!;
    this.#texture = new CanvasTexture(this.#canvas);
    this.#texture.colorSpace = SRGBColorSpace;
    this.#texture.minFilter = LinearFilter;
    this.#texture.anisotropy = 4;
    this.#board = new Mesh(
      new PlaneGeometry(WIDTH_M, (WIDTH_M * HEIGHT) / WIDTH),
      new MeshBasicMaterial({ map: this.#texture, transparent: true, toneMapped: false }),
    );
    this.#board.renderOrder = 3;
    this.group.add(this.#board);
  }

  setTheme(theme: Theme): void {
    this.#theme = theme;
    this.#drawn = "";
  }

  /** The button at which a ray points, or nothing. */
  pointedAt(pointer: XRTargetRaySpace): string {
    this.#raycaster.setFromXRController(pointer);
    const hit = this.#raycaster.intersectObject(this.#board, false)[0];
    if (!hit?.uv) return "";
    const at = new Vector2(hit.uv.x * WIDTH, (1 - hit.uv.y) * HEIGHT);
    return this.#areas.find(({ x, y, width, height }) => at.x >= x && at.x <= x + width && at.y >= y && at.y <= y + height)?.id ?? "";
  }

  /** How far a ray goes until it meets the board [m], or null. */
  distance(pointer: XRTargetRaySpace): number | null {
    this.#raycaster.setFromXRController(pointer);
    return this.#raycaster.intersectObject(this.#board, false)[0]?.distance ?? null;
  }

  /** Draw anew, where something changed. */
  show(content: Content, hover: string): void {
    const key = JSON.stringify(content);
    if (!this.#theme || (key === this.#drawn && hover === this.#hover)) return;
    this.#drawn = key;
    this.#hover = hover;
    this.#paint(content, this.#theme);
    this.#texture.needsUpdate = true;
  }

  #paint(content: Content, theme: Theme): void {
    const c = this.#context;
    const ink = theme.dark ? "#e8eef0" : "#13212a";
    const soft = theme.dark ? "#9dadb5" : "#50606b";
    const accent = `#${theme.accent.toString(16).padStart(6, "0")}`;
    c.clearRect(0, 0, WIDTH, HEIGHT);
    c.fillStyle = theme.dark ? "rgb(24 30 35 / 94%)" : "rgb(250 251 251 / 95%)";
    rounded(c, 0, 0, WIDTH, HEIGHT, 48);
    c.textBaseline = "top";
    let width = WIDTH - 2 * PAD;
    if (content.picture) {
      const size = 380;
      const x = WIDTH - PAD - size + 20;
      drawFigure(c, content.picture, x, PAD, size, { body: theme.dark ? "#55656e" : "#b3bfc5", accent });
      width -= size + 4;
    }
    let y = PAD;
    c.fillStyle = soft;
    c.font = `500 32px ${FONT}`;
    c.fillText(content.eyebrow, PAD, y);
    y += 54;
    c.fillStyle = ink;
    c.font = `600 50px ${FONT}`;
    for (const line of wrapped(c, content.title, width)) {
      c.fillText(line, PAD, y);
      y += 60;
    }
    y += 14;
    if (content.countdown !== null) {
      c.fillStyle = accent;
      c.font = `600 150px ${FONT}`;
      c.fillText(String(content.countdown), PAD, y);
      y += 170;
    }
    c.fillStyle = soft;
    c.font = `400 36px ${FONT}`;
    for (const line of wrapped(c, content.text, width).slice(0, 6)) {
      c.fillText(line, PAD, y);
      y += 49;
    }
    this.#paintButtons(content, ink, accent, theme);
  }

  #paintButtons({ buttons }: Content, ink: string, accent: string, theme: Theme): void {
    const c = this.#context;
    c.font = `560 32px ${FONT}`;
    let x = PAD;
    const y = HEIGHT - PAD - BUTTON_HEIGHT;
    this.#areas = buttons.map(({ id, label, primary }) => {
      const width = c.measureText(label).width + 60;
      const hovered = id === this.#hover;
      c.fillStyle = primary ? accent : theme.dark ? "rgb(255 255 255 / 9%)" : "rgb(20 40 48 / 8%)";
      rounded(c, x, y, width, BUTTON_HEIGHT, 26);
      if (hovered) {
        c.strokeStyle = ink;
        c.lineWidth = 5;
        c.stroke();
      }
      c.fillStyle = primary ? (theme.dark ? "#06211f" : "#ffffff") : ink;
      c.fillText(label, x + 30, y + 32);
      const area = { id, x, y, width, height: BUTTON_HEIGHT };
      x += width + 16;
      return area;
    });
  }
}

function rounded(c: CanvasRenderingContext2D, x: number, y: number, width: number, height: number, radius: number): void {
  c.beginPath();
  c.roundRect(x, y, width, height, radius);
  c.fill();
}

/** A text in lines that fit a width. */
function wrapped(c: CanvasRenderingContext2D, text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    const longer = line ? `${line} ${word}` : word;
    if (c.measureText(longer).width > width && line) {
      lines.push(line);
      line = word;
    } else line = longer;
  }
  if (line) lines.push(line);
  return lines;
}
