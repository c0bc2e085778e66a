// What the page says about the connection: a pill that is always there, and a card where somebody has to do something.
import { element, setText } from "./dom.ts";
import { sentence } from "./text.ts";

export type Phase = "connecting" | "waiting" | "live" | "headset" | "lost" | "refused" | "version" | "closed";

interface Card {
  readonly title: string;
  readonly text: string;
  readonly action?: readonly [label: string, press: () => void];
  readonly pair?: boolean;
}

export class Phases {
  readonly #pill = element("link-text", HTMLElement);
  readonly #card = element("card", HTMLElement);
  readonly #title = element("card-title", HTMLElement);
  readonly #text = element("card-text", HTMLElement);
  readonly #action = element("card-action", HTMLButtonElement);
  readonly #form = element("pair", HTMLFormElement);
  readonly #code = element("code", HTMLInputElement);
  readonly #told = element("pair-text", HTMLElement);
  #phase: Phase = "connecting";
  #press: () => void = () => undefined;
  #countdown = 0;

  /** @param pair takes a pairing code; its error's message is shown */
  constructor(pair: (code: string) => Promise<void>) {
    this.#action.onclick = () => this.#press();
    this.#form.onsubmit = (event) => {
      event.preventDefault();
      this.#told.textContent = "";
      this.#form.inert = true;
      pair(this.#code.value.trim())
        .catch((error: unknown) => setText(this.#told, error instanceof Error ? error.message : String(error)))
        .finally(() => (this.#form.inert = false));
    };
  }

  get phase(): Phase {
    return this.#phase;
  }

  set(phase: Phase, pill: string, card: Card | null = null): void {
    clearInterval(this.#countdown);
    this.#phase = phase;
    document.body.dataset["phase"] = phase;
    setText(this.#pill, pill);
    this.#card.hidden = card === null;
    if (!card) return;
    setText(this.#title, card.title);
    setText(this.#text, card.text);
    const wasPairing = !this.#form.hidden;
    this.#form.hidden = !card.pair;
    if (card.pair && !wasPairing) this.#code.focus();
    this.#action.hidden = card.action === undefined;
    if (card.action) {
      setText(this.#action, card.action[0]);
      this.#press = card.action[1];
    }
  }

  /**
   * The connection is lost and comes back by itself, with the seconds until then counted down.
   *
   * @param text why the server went, where it said so
   * @param pictured the last picture is still to be seen: no card covers it
   */
  lost({ retry_ms, text }: { readonly retry_ms: number; readonly text: string }, pictured: boolean, now: () => void): void {
    const until = performance.now() + retry_ms;
    const what = sentence(text) || "Connection lost";
    const pill = (): string => {
      const seconds = Math.ceil((until - performance.now()) / 1000);
      return seconds > 0 ? `${what}, next try in ${seconds} s` : `${what}, trying again`;
    };
    this.set("lost", pill(), pictured ? null : {
      title: text ? what : "The computer is not reached",
      text: "Is bodystream still running, and is this device in its network? The page comes back by itself.",
      action: ["Try now", now],
    });
    this.#countdown = window.setInterval(() => setText(this.#pill, pill()), 250);
  }
}
