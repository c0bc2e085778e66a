// The connection to /stream: messages in their order, the clock, and coming back by itself.
import type { Access } from "../access.ts";
import { HEADER_BYTES, VERSION, VersionError, messageOf, openHeader, openMessage } from "./envelope.ts";
import type { Message } from "./envelope.ts";
import { WireError } from "./reader.ts";
import { decodeText } from "./texts.ts";
import type { Hello, Notice, Request, Status } from "./texts.ts";

const RETRIES_MS = [500, 1000, 2000, 4000]; // the last one again and again
const CLOSED_VERSION = 4002;
const CLOSED_POLICY = 1008;

export type Failure =
  | { readonly kind: "lost" | "busy" | "absent"; readonly retry_ms: number; readonly text: string } // comes back by itself
  | { readonly kind: "refused" } // the token is missing or wrong
  | { readonly kind: "version"; readonly text: string } // another version of the format
  | { readonly kind: "closed"; readonly text: string }; // the server does not want this page

export interface LinkEvents {
  /** A connection is tried. */
  connecting(): void;
  hello(hello: Hello): void;
  status(status: Status): void;
  notice(notice: Notice): void;
  /** A message with a picture or its parts, whole. */
  message(message: Message, bytes: number): void;
  failed(failure: Failure): void;
}

export class Link {
  readonly #access: Access;
  readonly #events: LinkEvents;
  #socket: WebSocket | null = null;
  #queue: Promise<void> = Promise.resolve();
  #queued = 0;
  #attempt = 0;
  #connection = 0;
  #timer = 0;
  #wanted: Request = { type: "subscribe", body: true, surface: true };
  #offset_ms: number | null = null;
  #bye = "";

  constructor(access: Access, events: LinkEvents) {
    this.#access = access;
    this.#events = events;
  }

  /** What is wanted from now on, also after coming back. */
  subscribe(wanted: Omit<Extract<Request, { type: "subscribe" }>, "type">): void {
    this.#wanted = { type: "subscribe", ...wanted };
    this.send(this.#wanted);
  }

  send(request: Request): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(request));
  }

  /**
   * How old what was measured is when it is seen [ms]; null while the clocks are not aligned.
   *
   * @param t_ms when it was measured, by the host's clock
   * @param seen_ms by this page's
   */
  age_ms(t_ms: number, seen_ms: number): number | null {
    return this.#offset_ms === null ? null : seen_ms + this.#offset_ms - t_ms;
  }

  /** Connect now: at the beginning, with another token, or because somebody does not want to wait. */
  connect(): void {
    this.close();
    this.#events.connecting();
    void this.#open(this.#connection);
  }

  /** Leave, and do not come back. */
  close(): void {
    clearTimeout(this.#timer);
    this.#connection++;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  async #open(connection: number): Promise<void> {
    const offered = await this.#access.offers("stream");
    if (this.#connection !== connection) return; // another one was begun meanwhile
    if (!offered) return this.#failed("absent");
    const socket = new WebSocket(this.#access.socket("stream"));
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#bye = "";
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#attempt = 0;
      this.send({ type: "hello", version: VERSION, name: navigator.userAgent.slice(0, 200) });
      this.send(this.#wanted);
    };
    socket.onmessage = (event: MessageEvent<ArrayBuffer>) => this.#arrived(socket, event.data, performance.now());
    socket.onclose = (event) => {
      if (this.#socket === socket) void this.#closed(event, opened);
    };
  }

  #failed(kind: "lost" | "busy" | "absent"): void {
    const retry_ms = RETRIES_MS[Math.min(this.#attempt++, RETRIES_MS.length - 1)];
    this.#events.failed({ kind, retry_ms, text: this.#bye });
    this.#timer = window.setTimeout(() => this.connect(), retry_ms);
  }

  #arrived(socket: WebSocket, data: ArrayBuffer, t_ms: number): void {
    try {
      const header = openHeader(data);
      // Deflated messages are unpacked beside the page's thread; those behind them wait for their turn.
      if (header.kind === "ping") {
        const { id } = decodeText(messageOf(header, new Uint8Array(data, HEADER_BYTES)));
        this.send({ type: "pong", id: Number(id), t_ms });
      } else if (!header.deflated && this.#queued === 0) {
        this.#take(messageOf(header, new Uint8Array(data, HEADER_BYTES)), data.byteLength);
      } else {
        this.#queued++;
        this.#queue = this.#queue
          .then(async () => {
            const message = await openMessage(data);
            if (this.#socket === socket) this.#take(message, data.byteLength);
          })
          .catch((error: unknown) => this.#broken(socket, error))
          .finally(() => this.#queued--);
      }
    } catch (error) {
      this.#broken(socket, error);
    }
  }

  #take(message: Message, bytes: number): void {
    switch (message.kind) {
      case "hello":
        return this.#events.hello(decodeText(message) as unknown as Hello);
      case "status": {
        const status = decodeText(message) as unknown as Status;
        if (status.clock) this.#offset_ms = status.clock.offset_ms;
        return this.#events.status(status);
      }
      case "notice":
        return this.#events.notice(decodeText(message) as unknown as Notice);
      case "bye":
        this.#bye = String(decodeText(message)["reason"] ?? "");
        return;
      default:
        this.#events.message(message, bytes);
    }
  }

  /** A server whose messages cannot be read is of another version, or broken: what comes after them is no better. */
  #broken(socket: WebSocket, error: unknown): void {
    if (this.#socket !== socket) return;
    if (!(error instanceof WireError)) throw error;
    this.#socket = null;
    socket.close();
    const text = error.message;
    this.#events.failed(error instanceof VersionError ? { kind: "version", text } : { kind: "closed", text });
  }

  async #closed(event: CloseEvent, opened: boolean): Promise<void> {
    const socket = this.#socket;
    if (event.code === CLOSED_VERSION) return this.#events.failed({ kind: "version", text: event.reason || this.#bye });
    if (event.code === CLOSED_POLICY) return this.#events.failed({ kind: "closed", text: event.reason || this.#bye });
    const obstacle = opened ? "away" : await this.#access.obstacle();
    if (this.#socket !== socket) return;
    if (obstacle === "refused") return this.#events.failed({ kind: "refused" });
    this.#failed(obstacle === "away" ? "lost" : obstacle);
  }
}
