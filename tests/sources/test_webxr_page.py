"""The reference page in a real browser, with a small stand-in for the browser's WebXR device."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodystream.sources.headset.webxr import WebXrHeadset
from bodystream.types import DeviceKind, HeadsetSample
from helpers.needs import needs

needs("cryptography", "pip install 'bodystream[webxr]'")

_START_S = 60.0

# What the page and three.js use of the WebXR Device API and no more. The head moves to the right by 1 m/s of the
# page's clock.
FAKE_XR = """
const pose = (p, q, emulated = false) => ({
  emulatedPosition: emulated,
  transform: { position: {x: p[0], y: p[1], z: p[2]}, orientation: {x: q[0], y: q[1], z: q[2], w: q[3]} },
});
const still = [0, 0, 0, 1];
window.fake = { spaces: ["local-floor"], hands: true, emulate: false, session: null, requested: null, paused: false };
class FakeSession extends EventTarget {
  constructor() {
    super();
    this.visibilityState = "visible";
    this.frameRate = 72;
    this.renderState = { baseLayer: null, layers: [] };
    this.environmentBlendMode = "opaque";
    this.spaces = new Map();
    this.grip = {};
    this.wrist = {};
    this.inputSources = [
      { handedness: "none", gripSpace: {}, hand: null },
      { handedness: "left", gripSpace: this.grip, hand: null },
      { handedness: "right", gripSpace: {}, hand: new Map([["wrist", this.wrist]]) },
    ];
    this.over = false;
  }
  updateRenderState(state) { Object.assign(this.renderState, state); }
  async requestReferenceSpace(kind) {
    if (!window.fake.spaces.includes(kind)) throw new DOMException("no such space", "NotSupportedError");
    if (!this.spaces.has(kind)) this.spaces.set(kind, { kind });
    return window.fake.space = this.spaces.get(kind);
  }
  requestAnimationFrame(callback) {
    setTimeout(() => {
      if (this.over) return;
      if (window.fake.paused) return void this.requestAnimationFrame(callback);
      callback(performance.now(), this.frame());
    }, 1000 / 72);
  }
  cancelAnimationFrame() {}
  frame() {
    const now = performance.now();
    return {
      session: this,
      predictedDisplayTime: now + 20,
      getViewerPose: () => ({ ...pose([now / 1000, 1.7, 0], still), views: [] }),
      getPose: (space) => (space === this.grip ? pose([-0.3, 1.1, -0.2], [0, 0.6, 0, 0.8], window.fake.emulate) : null),
      getJointPose: (joint) => (joint === this.wrist && window.fake.hands ? pose([0.3, 1, -0.2], still) : null),
    };
  }
  async end() {
    this.over = true;
    this.dispatchEvent(new Event("end"));
  }
}
Object.defineProperty(navigator, "xr", { value: {
  isSessionSupported: async (mode) => mode === "immersive-vr",
  requestSession: async (mode, options) => {
    window.fake.requested = { mode, options };
    return window.fake.session = new FakeSession();
  },
}});
window.XRWebGLBinding = undefined;
window.XRWebGLLayer = class {
  constructor() { Object.assign(this, { framebuffer: null, framebufferWidth: 64, framebufferHeight: 64 }); }
  getViewport() { return { x: 0, y: 0, width: 64, height: 64 }; }
};
WebGL2RenderingContext.prototype.makeXRCompatible = async () => undefined;
"""


class Reader:
    def __init__(self, source: WebXrHeadset) -> None:
        self.got: list[tuple[int, HeadsetSample]] = []
        self.source = source
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for sample in self.source:
            self.got.append((time.monotonic_ns(), sample))

    def tracked(self) -> list[tuple[int, HeadsetSample]]:
        return [(t, s) for t, s in self.got if s.head is not None]


def wait_for(condition, what: str, timeout_s: float = _START_S) -> Any:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {timeout_s:g} s")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("the headset's page is tested in chromium with chromedriver, which are not installed")
    webdriver = needs("selenium.webdriver", "pip install 'bodystream[dev]'")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.accept_insecure_certs = True
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-angle=swiftshader",
                     "--enable-unsafe-swiftshader", "--window-size=800,600"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    try:
        made.set_page_load_timeout(_START_S)
        yield made
    finally:
        made.quit()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[WebXrHeadset]:
    made = WebXrHeadset(port=0, token="abcd2345", configuration=tmp_path)
    yield made
    made.close()


@pytest.fixture
def faked(browser: Any) -> Iterator[Any]:
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FAKE_XR})
    browser.get("about:blank")
    browser.get_log("browser")  # what the page before had to say, whose server may have gone
    yield browser
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    browser.get("about:blank")


def status(browser: Any) -> str:
    return browser.find_element("id", "status").text


def enter(browser: Any, url: str) -> None:
    browser.get(url)
    wait_for(lambda: "Ready" in status(browser), "the word Ready")
    browser.find_element("id", "enter").click()


def test_without_a_headset_the_page_says_so(browser: Any, source: WebXrHeadset) -> None:
    browser.get(source.url)
    wait_for(lambda: "browser of a headset" in status(browser), "what to do instead")
    assert not browser.find_element("id", "enter").is_enabled()
    assert browser.execute_script("return window.isSecureContext && window.crossOriginIsolated")


def test_poses_reach_the_source(faked: Any, source: WebXrHeadset) -> None:
    reader = Reader(source)
    enter(faked, source.url)
    wait_for(lambda: len(reader.tracked()) > 100, "a hundred samples")
    requested = faked.execute_script("return window.fake.requested")
    assert requested["mode"] == "immersive-vr"
    assert set(requested["options"]["optionalFeatures"]) == {"local-floor", "bounded-floor", "hand-tracking"}
    sample = reader.tracked()[-1][1]
    assert sample.head and sample.left and sample.right
    assert (sample.head.kind, sample.left.kind, sample.right.kind) == (
        DeviceKind.VIEW,
        DeviceKind.GRIP,
        DeviceKind.HAND_WRIST,
    )
    np.testing.assert_allclose(sample.left.position_m, [-0.3, 1.1, -0.2])
    np.testing.assert_allclose(sample.left.rotation_xyzw, [0, 0.6, 0, 0.8])
    np.testing.assert_allclose(sample.right.position_m, [0.3, 1.0, -0.2])
    assert source.rate_hz == 72
    assert source.counts.warnings == [] and not source.wire.refused
    # The head's x is the browser's clock: the time stamps of the poses, 20 ms ahead, must follow it.
    t_s = np.array([s.t_ns for _, s in reader.tracked()]) * 1e-9
    x_m = np.array([s.head.position_m[0] for _, s in reader.tracked()])  # pyright: ignore
    offset_s = t_s - x_m
    assert np.ptp(offset_s) < 0.02 and np.std(offset_s) < 0.005
    ahead_s = np.array([s.t_ns - came_ns for came_ns, s in reader.tracked()]) * 1e-9
    assert 0.0 < np.median(ahead_s) < 0.021
    severe = [e["message"] for e in faked.get_log("browser") if e["level"] == "SEVERE" and "favicon" not in str(e)]
    assert severe == []


def test_lost_hands_guessed_hands_and_leaving(faked: Any, source: WebXrHeadset) -> None:
    reader = Reader(source)
    enter(faked, source.url)
    wait_for(lambda: reader.tracked() and reader.tracked()[-1][1].right, "a right hand")
    faked.execute_script("window.fake.hands = false; window.fake.emulate = true;")
    wait_for(lambda: not reader.tracked()[-1][1].right and not reader.tracked()[-1][1].left, "both hands gone")
    assert source.wire.emulated > 0 and reader.tracked()[-1][1].emulated == ("left",)
    wait_for(lambda: "only guesses where it is: left hand" in status(faked), "the reason in the page", 5)
    wait_for(lambda: "left hand is not used" in faked.find_element("id", "notices").text, "the notice", 5)
    faked.execute_script("window.fake.space.onreset()")
    wait_for(lambda: source.wire.space_resets == 1, "the reset")
    faked.execute_script(
        "const s = window.fake.session; window.fake.paused = true; s.visibilityState = 'hidden'; s.onvisibilitychange()"
    )
    wait_for(lambda: any("hidden" in w for w in source.counts.warnings), "the reason of the stall", 5)
    faked.execute_script("window.fake.session.end()")
    wait_for(lambda: "over" in status(faked), "the end")
    wait_for(lambda: source._route.session is None, "the end at the server")
    assert faked.find_element("id", "enter").is_enabled()


def test_no_floor_is_shown_in_the_page(faked: Any, source: WebXrHeadset) -> None:
    faked.get(source.url)
    faked.execute_script("window.fake.spaces = ['local']")
    wait_for(lambda: "Ready" in status(faked), "the word Ready")
    faked.find_element("id", "enter").click()
    wait_for(lambda: "floor" in faked.find_element("id", "notices").text, "the notice")
    assert any("floor" in w for w in source.counts.warnings)


def test_the_page_comes_back_by_itself_after_the_server_was_away(faked: Any, tmp_path: Path) -> None:
    first = WebXrHeadset(port=0, configuration=tmp_path)
    port = int(first.url.rsplit(":", 1)[1].strip("/"))
    reader = Reader(first)
    enter(faked, first.url)
    wait_for(reader.tracked, "samples")
    first.close()
    wait_for(lambda: "again" in status(faked), "that it tries again", 10)
    with WebXrHeadset(port=port, configuration=tmp_path) as second:
        reader = Reader(second)
        wait_for(reader.tracked, "samples of the second server", 15)


def test_a_page_that_was_replaced_stays_away(faked: Any, source: WebXrHeadset) -> None:
    from helpers.webxr_client import Client

    reader = Reader(source)
    enter(faked, source.url)
    wait_for(reader.tracked, "samples")
    client = Client(source.url).enter()
    wait_for(lambda: "took over" in faked.find_element("id", "notices").text, "the notice", 10)
    wait_for(lambda: "over" in status(faked), "the end of the session", 10)
    time.sleep(1.5)
    client.pose()
    assert source.wire.clients == 2
    client.close()
