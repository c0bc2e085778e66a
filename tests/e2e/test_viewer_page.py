"""The viewer's page in a real browser: it draws, shows figures, and its buttons work."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import viser

from bodystream.sinks.viewer import CaptureViewer, ViewerState
from bodystream.timing import SpanSummary
from bodystream.types import CameraIntrinsics, GraphSnapshot, Mesh, RgbdFrame, Status
from helpers.viewer_browser import (
    body_text,
    browser_at,
    picture,
    press,
    resize,
    set_checkbox,
    severe_messages,
    unfold,
    wait_for,
)


def surface(phase: float) -> Mesh:
    """A coloured ball 2 m away that swings to the side and breathes."""
    azimuth, polar = np.meshgrid(np.linspace(0, 2 * np.pi, 60), np.linspace(0, np.pi, 40))
    radius = 0.4 * (1 + 0.2 * np.sin(3 * azimuth + phase) * np.sin(polar) ** 2)
    around = np.stack([np.cos(azimuth) * np.sin(polar), -np.cos(polar), np.sin(azimuth) * np.sin(polar)], -1)
    vertices = (radius[..., None] * around + [0.2 * np.sin(phase), 0, 2.0]).reshape(-1, 3).astype(np.float32)
    i, j = np.meshgrid(np.arange(39), np.arange(59), indexing="ij")
    a = i * 60 + j
    faces = np.concatenate([np.stack([a, a + 1, a + 60], -1), np.stack([a + 1, a + 61, a + 60], -1)])
    red, green = 255 * azimuth / (2 * np.pi), 255 * polar / np.pi
    colours = np.stack([red, green, 255 - red], -1).reshape(-1, 3).astype(np.uint8)
    return Mesh(vertices, faces.reshape(-1, 3).astype(np.int32), colours=colours)


def states() -> list[ViewerState]:
    rng = np.random.default_rng(0)
    camera = CameraIntrinsics(120.0, 120.0, 79.5, 59.5, 160, 120)
    first = surface(0.0)
    chosen = rng.choice(len(first.vertices), 60, replace=False)
    unit = np.tile(np.eye(3, dtype=np.float32), (60, 1, 1))
    edges = np.stack([(np.arange(60) + k) % 60 for k in (1, 2, 5)], 1).astype(np.int32)
    out = []
    for i, phase in enumerate(np.linspace(0, 2 * np.pi, 12, endpoint=False)):
        mesh = surface(phase)
        depth_m = np.full((120, 160), 2.5, np.float32)
        depth_m[40:80, 60:100] = 2.0
        colour = np.full((120, 160, 3), (40, 160, 90), np.uint8)
        nodes = first.vertices[chosen]
        graph = GraphSnapshot(
            i, nodes, unit, mesh.vertices[chosen] - nodes, edges, np.zeros(60, np.int32), np.ones(60, bool)
        )
        hud = {"solve": SpanSummary(9, 14.9, 20.1, 23.8), "surface": SpanSummary(9, 7.4, 9.0, 11.8)}
        frame = RgbdFrame(i, i, depth_m, camera, colour)
        status = Status.DEGRADED
        out.append(ViewerState(i, frame, mesh, first, graph, hud, 18.3, status, "few matches", {"nodes": "60"}))
    return out


class Capture:
    """Stands in for a pipeline: publishes in a loop, and counts what the buttons ask for."""

    def __init__(self) -> None:
        self.pressed = {"start": 0, "stop": 0, "reset": 0, "save": 0}
        self.viewer = CaptureViewer(
            port=0,
            on_start=lambda: self.press("start"),
            on_stop=lambda: self.press("stop"),
            on_reset=lambda: self.press("reset"),
            on_save=self.save,
        )
        self.longest_publish_s = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def press(self, button: str) -> None:
        self.pressed[button] += 1

    def save(self) -> str:
        self.press("save")
        return "saved out/capture.glb"

    def _publish(self) -> None:
        all_states, i = states(), 0
        while not self._done.is_set():
            start = time.monotonic()
            self.viewer.publish(all_states[i % len(all_states)])
            self.longest_publish_s = max(self.longest_publish_s, time.monotonic() - start)
            i += 1
            time.sleep(0.05)

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        self.viewer.close()


@pytest.fixture(scope="module")
def capture() -> Iterator[Capture]:
    made = Capture()
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(capture: Capture) -> Iterator[Any]:
    with browser_at(capture.viewer.url) as opened:
        yield opened


def test_page_loads_and_the_canvas_is_not_blank(capture: Capture, browser: Any) -> None:
    wait_for(lambda: browser.find_elements("tag name", "canvas"), "a canvas")
    wait_for(lambda: capture.viewer.client_count == 1, "the connection")
    wait_for(lambda: capture.viewer.shown > 5, "some states")

    def colourful() -> bool:
        image = picture(browser)
        spread = image.max(axis=2) - image.min(axis=2)  # the grid and the background are grey
        return bool(image.std() > 8 and (spread > 60).mean() > 0.01)

    wait_for(colourful, "coloured geometry in the canvas")
    assert capture.viewer.warnings == []
    assert severe_messages(browser) == []


def test_picture_moves_with_the_surface(browser: Any) -> None:
    before = picture(browser)
    wait_for(lambda: (np.abs(picture(browser) - before).max(axis=2) > 60).mean() > 0.001, "a changed picture")


def test_figures_are_on_the_page(browser: Any) -> None:
    assert "solve" not in body_text(browser)  # folded away
    unfold(browser, "Timing")
    for text in ("bodystream", "Degraded", "few matches", "18.3", "solve", "14.9", "23.8", "nodes", "60"):
        wait_for(lambda t=text: t in body_text(browser), text)


def test_on_a_phone_the_live_surface_stands_alone_above_the_controls(capture: Capture, browser: Any) -> None:
    (client,) = capture.viewer._server.get_clients().values()
    resize(browser, 390, 844)
    wait_for(lambda: client.camera.aspect < 0.9, "a narrow picture")
    hidden = capture.viewer._page._columns_alone._hidden
    wait_for(lambda: set(hidden[client.client_id]) == {"camera", "graph", "canonical"}, "the others hidden")
    bottom = browser.execute_script(
        "return document.querySelector('canvas').parentElement.getBoundingClientRect().bottom"
    )
    assert 400 < bottom < 844
    for label in ("Pause", "Save", "Reset"):
        button = f"//button[normalize-space(.)='{label}']"
        box = wait_for(lambda button=button: browser.find_element("xpath", button).rect, label)
        assert box["y"] >= bottom and box["y"] + box["height"] <= 844 and box["width"] > 200, label
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    resize(browser, 1280, 800)
    wait_for(lambda: not hidden[client.client_id], "all columns again")


def test_hidden_geometry_is_not_sent(capture: Capture, browser: Any) -> None:
    wait_for(lambda: capture.viewer.bytes_per_state > 40_000, "a state with all geometry")
    unfold(browser, "Show")
    for label in ("Camera", "Live surface", "Graph", "Canonical"):
        set_checkbox(browser, label)
    wait_for(lambda: capture.viewer.bytes_per_state == 0, "a state without geometry")


def test_saving_is_asked_for_and_its_outcome_said(capture: Capture, browser: Any) -> None:
    press(browser, "Save")
    wait_for(lambda: capture.pressed["save"] == 1, "the save callback")
    wait_for(lambda: "saved out/capture.glb" in body_text(browser), "what came of it")


class Elsewhere(http.server.BaseHTTPRequestHandler):
    """Another server's page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>elsewhere</title>")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


def test_a_page_of_another_place_gets_nothing(capture: Capture, browser: Any) -> None:
    """A page of another origin in the same browser, which even has the token: no websocket, no document, no answer."""
    before = capture.viewer.client_count
    elsewhere = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    browser.switch_to.new_window("tab")
    try:
        browser.get(f"http://127.0.0.1:{elsewhere.server_port}/")
        said = browser.execute_async_script(
            """
            const [url, protocol, done] = arguments, said = [];
            const socket = new WebSocket(url.replace("http", "ws"), [protocol]);
            socket.onopen = () => said.push("open");
            socket.onerror = () => said.push("refused");
            socket.onclose = () => fetch(url, {mode: "no-cors"}).then(
                (r) => done([...said, r.status]), () => done([...said, "refused"]));
            """,
            capture.viewer.url,
            f"viser-v{viser.__version__}",
        )
    finally:
        browser.close()
        browser.switch_to.window(browser.window_handles[0])
        elsewhere.shutdown()
        elsewhere.server_close()
    assert said == ["refused", "refused"]
    assert capture.viewer.client_count == before and capture.viewer.refused["origin"] >= 1


def test_reset_pause_and_resume_reach_the_capture(capture: Capture, browser: Any) -> None:
    press(browser, "Reset")
    wait_for(lambda: capture.pressed["reset"] == 1, "the reset callback")
    assert capture.viewer.running
    press(browser, "Pause")
    wait_for(lambda: capture.pressed["stop"] == 1 and not capture.viewer.running, "the stop callback")
    wait_for(lambda: "Paused" in body_text(browser), "the word Paused")
    wait_for(lambda: browser.find_elements("xpath", "//button[normalize-space(.)='Resume']"), "the button Resume")
    press(browser, "Resume")
    wait_for(lambda: capture.pressed["start"] == 1 and capture.viewer.running, "the start callback")
    assert len(capture.viewer.warnings) == 1 and "another place" in capture.viewer.warnings[0]


def test_the_capture_was_never_held_up(capture: Capture, browser: Any) -> None:
    """A thousand times what it takes, so that only a wait for the browser can fail this."""
    assert capture.viewer.shown > 10
    assert capture.longest_publish_s < 1.0
