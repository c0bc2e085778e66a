// Where the server's websockets are, and the token that opens them.

import { sentence } from "./ui/text.ts";

const KEPT = "bodystream-token";

/** `refused`: the token is missing or wrong. `busy`: no place is left. `away`: the server is not reached. */
export type Obstacle = "refused" | "busy" | "away";

/** The token of the page's address, else the one that a pairing code brought in this tab. */
export class Access {
  #token: string | null;

  constructor() {
    const given = new URLSearchParams(location.search).get("token");
    this.#token = given ?? sessionStorage.getItem(KEPT);
  }

  /** Of a websocket of this server. */
  socket(path: "stream" | "headset" | "pair"): URL {
    const address = new URL(path, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.#token) address.searchParams.set("token", this.#token);
    return address;
  }

  /** Whether the server has such a websocket; true, too, where it is not reached, which a connection will tell. */
  async offers(path: "stream" | "headset"): Promise<boolean> {
    try {
      const health = (await (await fetch(new URL("health", location.href), { cache: "no-store" })).json()) as { routes: string[] };
      return health.routes.includes(`/${path}`);
    } catch {
      return true;
    }
  }

  /** What is amiss where a websocket did not open, which browsers do not tell. */
  async obstacle(): Promise<Obstacle> {
    const address = new URL("metrics", location.href); // needs the token, as the websockets do
    if (this.#token) address.searchParams.set("token", this.#token);
    try {
      return (await fetch(address, { cache: "no-store" })).status === 403 ? "refused" : "busy";
    } catch {
      return "away";
    }
  }

  /**
   * Exchange a pairing code for a token.
   *
   * Throws an error whose message is for the person.
   */
  async pair(code: string): Promise<void> {
    const address = this.socket("pair");
    const token = await new Promise<string>((resolve, reject) => {
      const socket = new WebSocket(address);
      socket.onopen = () => socket.send(JSON.stringify({ type: "pair", code }));
      socket.onclose = () => reject(new Error("The computer is not reached."));
      socket.onmessage = (event: MessageEvent<string>) => {
        const answer = JSON.parse(event.data) as { type: "paired"; token: string } | { type: "error"; message: string };
        if (answer.type === "paired") resolve(answer.token);
        else reject(new Error(`${sentence(answer.message)}.`));
        socket.close();
      };
    });
    this.#token = token;
    sessionStorage.setItem(KEPT, token);
  }
}
