// Sends head and hands of an immersive session to the server, one sample for each frame of the headset.
import { HEADSET_VERSION, handPose, isFinal, rigid } from "./messages.ts";
import type { FromServer, PoseMessage, SpaceKind, ToServer } from "./messages.ts";

const MAX_BUFFERED = 6000; // bytes, of which both hands with all joints take 2700; above, the network is behind, and a newer pose is worth more than this one
const RETRY_MS = 1000;
const GUESSED_EVERY = 100; // frames between two looks at which hands are only guessed

export interface SenderEvents {
  /** For the person: what goes on. */
  status(text: string): void;
  /** For the person: what the server has to say. */
  notice(text: string): void;
  /** The space has another origin: what stands in it is to be placed anew. */
  recentred(): void;
  /** The server does not want this page again: the session is to end. */
  refused(): void;
}

export class HeadsetSender {
  readonly #session: XRSession;
  readonly #space: XRReferenceSpace;
  readonly #spaceKind: SpaceKind;
  readonly #address: () => URL;
  readonly #events: SenderEvents;
  #socket: WebSocket | null = null;
  #ready = false;
  #refused = false;
  #over = false;
  #seq = 0;
  #sent = 0;
  #retry = 0;

  /** @param address of the websocket, asked for at each connection, since a token may be another one by then */
  constructor(session: XRSession, space: XRReferenceSpace, spaceKind: SpaceKind, address: () => URL, events: SenderEvents) {
    this.#session = session;
    this.#space = space;
    this.#spaceKind = spaceKind;
    this.#address = address;
    this.#events = events;
    session.onvisibilitychange = () => this.#send({ type: "visibility", state: session.visibilityState });
    space.onreset = () => {
      this.#send({ type: "reset" });
      events.recentred();
    };
    events.status("Connecting...");
    this.#connect();
  }

  /** To be called in each frame; gives what was read, whether or not it could be sent. */
  frame(frame: XRFrame): PoseMessage {
    const message: PoseMessage = { type: "pose", seq: this.#seq, t_ms: performance.now(), head: null, left: null, right: null };
    if (frame.predictedDisplayTime) message.display_ms = frame.predictedDisplayTime;
    const viewer = frame.getViewerPose(this.#space);
    if (viewer) message.head = rigid(viewer);
    for (const source of this.#session.inputSources) {
      const side = source.handedness;
      if (side !== "none" && !message[side]) message[side] = handPose(frame, source, this.#space);
    }
    if (!this.#ready || !this.#socket) return message;
    this.#seq++;
    if (this.#socket.bufferedAmount > MAX_BUFFERED) return message;
    this.#send(message);
    if (++this.#sent % GUESSED_EVERY === 0) this.#tell(message);
    return message;
  }

  /** The session is over. */
  close(): void {
    this.#send({ type: "end", reason: "the session was left" });
    this.#over = true;
    this.#ready = false;
    clearTimeout(this.#retry);
  }

  #tell(message: PoseMessage): void {
    const guessed = (["left", "right"] as const).filter((side) => message[side]?.emulated).map((side) => `${side} hand`);
    const why = guessed.length ? ` Not used, since the headset only guesses where it is: ${guessed.join(", ")}.` : "";
    this.#events.status(`${this.#sent} poses sent.${why}`);
  }

  #send(message: ToServer): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #connect(): void {
    const socket = new WebSocket(this.#address());
    this.#socket = socket;
    socket.onopen = () => {
      const { frameRate } = this.#session;
      this.#send({
        type: "hello", version: HEADSET_VERSION, space: this.#spaceKind, user_agent: navigator.userAgent.slice(0, 500),
        ...(frameRate ? { rate_hz: frameRate } : {}),
      });
    };
    socket.onmessage = (event: MessageEvent<string>) => {
      const t_ms = performance.now(); // first of all: what comes before this line makes the clocks disagree
      this.#receive(JSON.parse(event.data) as FromServer, t_ms);
    };
    socket.onclose = (event) => {
      if (this.#socket !== socket || this.#over) return;
      this.#ready = false;
      if (this.#refused || isFinal(event.code)) return this.#events.refused();
      this.#events.status("The computer is not reached; trying again...");
      this.#retry = window.setTimeout(() => this.#connect(), RETRY_MS);
    };
  }

  #receive(message: FromServer, t_ms: number): void {
    switch (message.type) {
      case "ping":
        return this.#send({ type: "pong", id: message.id, t_ms });
      case "welcome":
        this.#ready = true;
        return this.#events.status("Sending poses.");
      case "notice":
        return this.#events.notice(message.message);
      case "error":
        this.#events.notice(message.message);
        // After these the page may come back at once: the computer or the network had lost the thread.
        if (message.fatal && message.code !== "clock" && message.code !== "stalled") this.#refused = true;
    }
  }
}
