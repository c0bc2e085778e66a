"""The page of a driven body in a real browser: the body is drawn where it is, it moves, and the switches work."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from bodystream.sinks.viewer import BodyViewer, BodyViewerState
from bodystream.sinks.viewer.panel import FOV
from bodystream.web.invitation import invitation_of
from helpers.driven_body import rest_pose, shipped_body, state_of, walking
from helpers.needs import needs
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

BODY, SKELETON = shipped_body()


class Driver:
    """Stands in for the pipeline: publishes states at 90 Hz in a loop, and counts what the buttons ask for."""

    def __init__(self) -> None:
        self.pressed = {"start": 0, "stop": 0, "reset": 0}
        self.viewer = BodyViewer(
            BODY,
            port=0,
            on_start=lambda: self.press("start"),
            on_stop=lambda: self.press("stop"),
            on_reset=lambda: self.press("reset"),
            max_rate_hz=4.0,  # a software renderer shares the machine
        )
        self.states = self.standing()
        self.longest_publish_s = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    @staticmethod
    def standing() -> list[BodyViewerState]:
        return [state_of(SKELETON, i, rest_pose(), np.array([0, SKELETON.pelvis_height_m, 0])) for i in range(2)]

    def press(self, button: str) -> None:
        self.pressed[button] += 1

    def _publish(self) -> None:
        i = 0
        while not self._done.is_set():
            start = time.monotonic()
            self.viewer.publish(self.states[i % len(self.states)])
            self.longest_publish_s = max(self.longest_publish_s, time.monotonic() - start)
            i += 1
            time.sleep(1 / 90)

    def close(self) -> None:
        self._done.set()
        self._thread.join()
        self.viewer.close()


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    made = Driver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(driver: Driver) -> Iterator[Any]:
    with browser_at(driver.viewer.url) as opened:
        yield opened


def lit(browser: Any) -> np.ndarray:
    """Where the picture is brighter than floor and background."""
    return picture(browser).max(axis=2) > 130


def seen(driver: Driver, browser: Any, points_m: np.ndarray) -> list[bool]:
    """Whether something bright is drawn within 12 pixels of where points of the room should be."""
    (client,) = driver.viewer._server.get_clients().values()
    canvas = browser.find_element("tag name", "canvas")
    width, height = browser.execute_script(
        "const r = arguments[0].parentElement.getBoundingClientRect(); return [r.width, r.height]", canvas
    )
    position, look_at = np.array(client.camera.position), np.array(client.camera.look_at)
    forward = (look_at - position) / np.linalg.norm(look_at - position)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    local = (points_m - position) @ np.stack([right, np.cross(right, forward), forward], axis=1)
    focal_px = height / 2 / math.tan(FOV / 2)
    u, v = width / 2 + focal_px * local[:, 0] / local[:, 2], height / 2 - focal_px * local[:, 1] / local[:, 2]
    bright, top = lit(browser), 150  # `picture` leaves the top away
    out = []
    for x, y in zip(u.round().astype(int), v.round().astype(int) - top, strict=True):
        assert 12 <= y < bright.shape[0] - 12 and 12 <= x < bright.shape[1] - 12, "a point outside of the picture"
        out.append(bool(bright[y - 12 : y + 13, x - 12 : x + 13].any()))
    return out


def test_body_skeleton_and_input_are_drawn_where_they_are(driver: Driver, browser: Any) -> None:
    wait_for(lambda: browser.find_elements("tag name", "canvas"), "a canvas")
    wait_for(lambda: driver.viewer.client_count == 1, "the connection")
    wait_for(lambda: driver.viewer.shown > 5, "some states")
    joints = driver.states[0].joints_m
    # Knees, ankles, shoulders and elbows; the head is in the part of the window that is left away.
    wait_for(lambda: all(seen(driver, browser, joints[[4, 5, 7, 8, 16, 17, 18, 19]])), "the limbs of the T-pose")
    beside = joints[[4, 5, 18, 19]] + [[-0.6, 0, 0], [0.6, 0, 0], [0, -0.4, 0], [0, -0.4, 0]]
    assert not any(seen(driver, browser, beside))
    assert driver.viewer.warnings == [] and severe_messages(browser) == []


def test_figures_are_on_the_page(driver: Driver, browser: Any) -> None:
    driver.states = walking(SKELETON, 1, lost=True, hypotheses=3)
    words = ("bodystream", "Degraded", "left hand is not tracked", "89.7", "6.3 ms", "8.4 ms", "left lost", "sample")
    unfold(browser, "Timing")
    for text in (*words, "0.94", "feet on the floor", "hypotheses"):
        wait_for(lambda t=text: t in body_text(browser), text)


def test_picture_moves_with_the_body(driver: Driver, browser: Any) -> None:
    before = wait_for(lambda: [picture(browser)], "a picture")[0]
    driver.states = walking(SKELETON, 150)
    wait_for(lambda: (np.abs(picture(browser) - before).max(axis=2) > 60).mean() > 0.002, "a changed picture")


def test_what_is_switched_off_leaves_the_picture(driver: Driver, browser: Any) -> None:
    driver.states = driver.standing()
    unfold(browser, "Show")
    set_checkbox(browser, "Skeleton")
    set_checkbox(browser, "Uncertainty")
    wait_for(lambda: lit(browser).mean() > 0.01, "an opaque body")
    for label in ("Hypotheses", "Headset and hands", "Body"):
        set_checkbox(browser, label)
    wait_for(lambda: driver.viewer.bytes_per_state == 0, "a state without geometry")
    wait_for(lambda: lit(browser).mean() < 0.002, "an empty floor")
    set_checkbox(browser, "Body")
    wait_for(lambda: lit(browser).mean() > 0.01, "the body again")


def test_another_body_takes_the_place_of_the_first(
    driver: Driver, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a calibration. It is red here; the first one is grey."""

    def red() -> float:
        colours = picture(browser).astype(int)  # blue, green, red
        return float((colours[..., 2] - colours[..., :2].max(axis=2) > 30).mean())

    driver.states = driver.standing()
    before = red()
    monkeypatch.setattr("bodystream.sinks.viewer.skinned_node.CLAY", (255, 40, 40))
    body = replace(BODY, version=1)
    driver.states = [replace(state, body=body) for state in driver.states]
    wait_for(lambda: red() > before + 0.005, "the other body")
    # it moves as the first one did
    still = picture(browser)
    driver.states = [replace(state, body=body) for state in walking(SKELETON, 150)]
    wait_for(lambda: (np.abs(picture(browser).astype(int) - still).max(axis=2) > 60).mean() > 0.002, "a moved body")
    # and it is on a page that is opened only now, which knows nothing of the first one's past
    driver.states = [replace(state, body=body) for state in driver.standing()]
    limbs = driver.states[0].joints_m[[4, 5, 7, 8, 16, 17, 18, 19]]
    wait_for(lambda: all(seen(driver, browser, limbs)), "the other body's limbs")
    browser.refresh()
    wait_for(lambda: browser.find_elements("tag name", "canvas"), "a canvas")
    wait_for(lambda: driver.viewer.client_count == 1, "the connection")
    wait_for(lambda: red() > before + 0.005, "the other body")
    wait_for(lambda: all(seen(driver, browser, limbs)), "the other body's limbs")
    assert driver.viewer.warnings == [] and severe_messages(browser) == []


@pytest.mark.parametrize(("width", "height"), [(390, 844), (820, 1180), (1280, 800), (1920, 1080)])
def test_the_page_fits(driver: Driver, browser: Any, width: int, height: int) -> None:
    """Picture, buttons and legend are in the window, and the body's limbs are in the picture."""
    driver.states = driver.standing()
    resize(browser, width, height)
    limbs = driver.states[0].joints_m[[4, 5, 7, 8, 18, 19, 20, 21]]
    wait_for(lambda: in_view(driver, limbs), "the limbs in the picture")
    for label in ("Pause", "Reset"):
        button = f"//button[normalize-space(.)='{label}']"
        box = wait_for(lambda button=button: browser.find_element("xpath", button).rect, label)
        assert 0 <= box["x"] and box["x"] + box["width"] <= width and box["y"] + box["height"] <= height, label
    assert "sphere: one standard deviation" in body_text(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def in_view(driver: Driver, points_m: np.ndarray) -> bool:
    """Whether the camera of the one browser has points of the room within its picture."""
    (client,) = driver.viewer._server.get_clients().values()
    position, look_at = np.array(client.camera.position), np.array(client.camera.look_at)
    forward = (look_at - position) / np.linalg.norm(look_at - position)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    local = (points_m - position) @ np.stack([right, np.cross(right, forward), forward], axis=1)
    slope = math.tan(FOV / 2)
    x, y = local[:, 0] / local[:, 2] / slope / client.camera.aspect, local[:, 1] / local[:, 2] / slope
    return bool(max(np.abs(x).max(), np.abs(y).max()) < 1.0)


def test_reset_pause_and_resume_reach_the_driver(driver: Driver, browser: Any) -> None:
    press(browser, "Reset")
    wait_for(lambda: driver.pressed["reset"] == 1, "the reset callback")
    press(browser, "Pause")
    wait_for(lambda: driver.pressed["stop"] == 1 and not driver.viewer.running, "the stop callback")
    wait_for(lambda: "Paused" in body_text(browser), "the word Paused")
    wait_for(lambda: browser.find_elements("xpath", "//button[normalize-space(.)='Resume']"), "the button Resume")
    press(browser, "Resume")
    wait_for(lambda: driver.pressed["start"] == 1 and driver.viewer.running, "the start callback")
    assert driver.viewer.warnings == []


def test_the_driver_was_never_held_up(driver: Driver, browser: Any) -> None:
    """A hundred times a period, so that only a wait for the browser can fail this."""
    assert driver.viewer.shown > 10
    assert driver.longest_publish_s < 1.0


def test_a_phone_reads_the_headsets_address_off_the_waiting_page(browser: Any) -> None:
    """Of what is drawn in the browser, not of what was sent to it."""
    needs("segno", "pip install 'bodystream[webxr]'")
    url = "https://192.168.1.20:8443/?token=abcd2345"
    with BodyViewer(None, port=0) as viewer:
        viewer.invitation = invitation_of(url)
        resize(browser, 1280, 800)
        browser.get(viewer.url)
        wait_for(lambda: url in body_text(browser), "the address")
        code = browser.find_element("css selector", "img[alt='QR code of the address']")
        wait_for(lambda: code.rect["height"] > 100, "a drawn code")

        def read() -> bool:
            """The detector misses some sizes of a code, and a picture may be taken while the page is laid out."""
            image = cv2.imdecode(np.frombuffer(code.screenshot_as_png, np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            larger = (cv2.resize(image, None, fx=n, fy=n, interpolation=cv2.INTER_NEAREST) for n in (3, 2, 4))
            return any(cv2.QRCodeDetector().detectAndDecode(picture)[0] == url for picture in larger)

        wait_for(read, "a code that can be read")
