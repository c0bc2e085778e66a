// Where the server's websockets are, and the token that opens them.

const KEPT = "bodystream-token";

/** The token of the page's address, else the one that a pairing code brought in this tab. */
export class Access {
  #token: string | null;

  constructor() {
    const given = new URLSearchParams(location.search).get("token");
    this.#token = given ?? sessionStorage.getItem(KEPT);
  }

  /** Of a websocket of this server. */
  socket(path: "stream" | "headset"): URL {
    const address = new URL(path, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.#token) address.searchParams.set("token", this.#token);
    return address;
  }

  /**
   * Exchange a pairing code for a token.
   *
   * Throws an error whose message is for the person.
   */
  async pair(code: string): Promise<void> {
    const answer = await fetch(new URL("pair", location.href), {
      method: "POST", cache: "no-store", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ code }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(text.trim() || `The server answered ${answer.status}.`);
    const { token } = JSON.parse(text) as { token: string };
    this.#token = token;
    sessionStorage.setItem(KEPT, token);
  }
}
