// The entry: builds the page and runs its frames.
import { App } from "./app.ts";
import { element, setText } from "./ui/dom.ts";

function start(): void {
  const canvas = element("scene", HTMLCanvasElement);
  const app = new App(canvas);
  app.stage.renderer.setAnimationLoop((t_ms: number, frame?: XRFrame) => app.frame(t_ms, frame));
}

try {
  start();
} catch (error) {
  document.body.dataset["phase"] = "closed";
  setText(element("link-text", HTMLElement), "This browser cannot show it");
  setText(element("card-title", HTMLElement), "No three-dimensional picture");
  setText(element("card-text", HTMLElement), `This page needs WebGL 2. ${error instanceof Error ? error.message : error}`);
  element("card", HTMLElement).hidden = false;
}
