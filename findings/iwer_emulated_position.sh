#!/usr/bin/env bash
# XRPose.emulatedPosition of the emulated Quest 3, seen on 2026-11-30: iwer 2.5.0, jsdom 24.1.3, Node.js 20.
#
# WebXR: a position is "emulated" where the device only guesses it, as of a controller that turns and is not tracked in
# space. The controllers of the emulated Quest 3 are set to a place and follow it, and yet the poses of their grips and
# rays say `emulatedPosition: true`; the viewer's says false. A page that leaves guessed hands out, as it should, sees no
# hands at all in this emulator.
# Output seen: viewer false / left grip true ray true / right grip true ray true
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent iwer@2.5.0 jsdom@24.1.3
cat >look.mjs <<'JS'
import { JSDOM } from 'jsdom';

// What iwer asks a browser for. No picture is drawn: the context answers every call, and does nothing.
const { window } = new JSDOM('<body></body>', { url: 'https://localhost/', pretendToBeVisual: true });
Object.defineProperty(globalThis, 'navigator', { value: window.navigator, configurable: true });
for (const name of ['document', 'localStorage', 'HTMLCanvasElement', 'HTMLElement', 'Event', 'EventTarget', 'DOMException'])
  globalThis[name] = window[name];
globalThis.window = window;
globalThis.requestAnimationFrame = window.requestAnimationFrame.bind(window);
globalThis.WebGLRenderingContext = globalThis.WebGL2RenderingContext = class {};
globalThis.DOMPointReadOnly = class {
  constructor(x = 0, y = 0, z = 0, w = 1) { Object.assign(this, { x, y, z, w }); }
  static fromPoint(p) { return new this(p.x, p.y, p.z, p.w); }
};
const context = new Proxy(
  { canvas: document.createElement('canvas') },
  { get: (own, name) => own[name] ?? (() => [0, 0, 0, 0]) },
);

const { XRDevice, XRWebGLLayer, metaQuest3 } = await import('iwer');
const device = new XRDevice(metaQuest3);
device.installRuntime();
const session = await navigator.xr.requestSession('immersive-vr', { optionalFeatures: ['local-floor'] });
session.updateRenderState({ baseLayer: new XRWebGLLayer(session, context) });
const floor = await session.requestReferenceSpace('local-floor');

let seen = 0;
const grips = [];
const look = (_, frame) => {
  // Two frames, with the right controller in two places: it is tracked in space.
  if (seen++ === 0) device.controllers.right.position.set(0.25, 1.2, -0.8);
  const found = [];
  for (const source of session.inputSources) {
    const grip = frame.getPose(source.gripSpace, floor);
    const ray = frame.getPose(source.targetRaySpace, floor);
    found.push([source.handedness, grip.emulatedPosition, ray.emulatedPosition]);
    if (source.handedness === 'right') grips.push(grip.transform.position.z);
  }
  if (seen < 3) return session.requestAnimationFrame(look);
  const viewer = frame.getViewerPose(floor).emulatedPosition;
  console.log('viewer', viewer, ...found.map(([side, grip, ray]) => `/ ${side} grip ${grip} ray ${ray}`));
  const moved = Math.abs(grips.at(-1) - grips[0]) > 0.01;
  if (viewer !== false || found.length !== 2 || !moved || !found.every(([, grip, ray]) => grip && ray)) {
    console.log('changed');
    process.exit(1);
  }
  console.log('as described');
  process.exit(0);
};
session.requestAnimationFrame(look);
setTimeout(() => { console.log('changed: no frame came'); process.exit(1); }, 20000);
JS
node look.mjs
