"""What the page shows and does, in a real browser: a stream that the test writes itself."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from helpers.page_stream import Stream, body_at, body_skin, hello, serving, status, surface
from helpers.viewer_browser import browser_at, picture, resize, severe_messages, wait_for

WAIT_S = 90.0
SMALL = (900, 560)  # soon drawn by a software renderer


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_at("about:blank") as opened:
        resize(opened, *SMALL)
        yield opened


@pytest.fixture(autouse=True)
def quiet(browser: Any) -> Iterator[None]:
    browser.get_log("browser")
    yield
    assert [m for m in severe_messages(browser) if "WebSocket" not in m and "Failed to load resource" not in m] == []
    browser.get("about:blank")


def phase(browser: Any) -> str:
    return browser.find_element("tag name", "body").get_attribute("data-phase")


def shown(browser: Any, identity: str) -> str:
    return browser.find_element("id", identity).text


def reaches(browser: Any, wanted: str) -> None:
    wait_for(lambda: phase(browser) == wanted, f"the phase {wanted}, not {phase(browser)}", WAIT_S)


def walking() -> bytes:
    return body_at(0.3 * math.sin(time.monotonic()))


def test_waiting_then_live_with_figures(browser: Any) -> None:
    with serving() as server:
        stream = Stream(server, lambda: [hello(), *body_skin()])
        browser.get(server.url)
        reaches(browser, "waiting")
        assert "Waiting for the headset" in shown(browser, "card-title")
        wait_for(lambda: stream.of("subscribe"), "what the page wants")
        assert stream.heard[0]["type"] == "hello" and stream.heard[0]["version"] == 1
        assert stream.of("subscribe")[-1] == {"type": "subscribe", "body": True, "surface": True, "graph": False}
        before = picture(browser)
        stream.repeated = walking
        reaches(browser, "live")
        assert not browser.find_element("id", "card").is_displayed()
        page_ms = browser.execute_script("return performance.now()")
        now_ms = time.monotonic() * 1e3  # a little after it, so that ages are a little too large
        stream.send(status(clock={"offset_ms": now_ms - page_ms, "error_ms": 1.0}))
        wait_for(lambda: re.fullmatch(r"\d+", shown(browser, "hud-age")), "an age", WAIT_S)
        rate = wait_for(lambda: re.fullmatch(r"\d+", shown(browser, "hud-rate")), "a rate", WAIT_S)
        assert 5 <= int(rate.group()) <= 70
        assert int(shown(browser, "hud-age")) >= 10  # what was measured 10 ms before it was sent
        assert np.abs(picture(browser) - before).max() > 60  # a body stands there now
        stream.repeated = None
        wait_for(lambda: "no new picture" in shown(browser, "link"), "that it stands still", WAIT_S)


def test_a_pairing_code_lets_a_page_in(browser: Any) -> None:
    said: list[str] = []
    with serving(token="abcd2345", said=said) as server:
        stream = Stream(server, lambda: [hello(), *body_skin()])
        browser.get(server.url.partition("?")[0])
        reaches(browser, "refused")
        code = wait_for(lambda: browser.switch_to.active_element, "a focused field")
        assert code.get_attribute("id") == "code"
        code.send_keys("WRONG2")
        browser.find_element("css selector", "#pair button").click()
        wait_for(lambda: "wrong, spent or too old" in shown(browser, "pair-text"), "the answer", WAIT_S)
        server.announce("here", "only here")
        right = wait_for(lambda: re.findall(r"the code (\w{3} \w{3})", " ".join(said)), "a code")[-1]
        code.clear()
        code.send_keys(right.lower())
        browser.find_element("css selector", "#pair button").click()
        reaches(browser, "waiting")
        browser.refresh()  # the token is kept in this tab
        wait_for(lambda: len(stream.of("hello")) == 2, "the page again", WAIT_S)
        assert "token" not in browser.current_url


def test_the_whole_address_needs_no_code(browser: Any) -> None:
    with serving(token="abcd2345") as server:
        Stream(server, lambda: [hello()])
        browser.get(server.url)
        reaches(browser, "waiting")


def test_it_comes_back_by_itself(browser: Any) -> None:
    with serving() as server:
        stream = Stream(server, lambda: [hello(), *body_skin()])
        stream.repeated = walking
        browser.get(server.url)
        reaches(browser, "live")
    reaches(browser, "lost")
    wait_for(lambda: "lost" in shown(browser, "link"), "that it is lost")
    with serving(port=server.port) as again:
        stream = Stream(again, lambda: [hello(), *body_skin()])
        stream.repeated = walking
        reaches(browser, "live")
        assert stream.of("subscribe")


def test_another_version_and_broken_messages(browser: Any) -> None:
    with serving() as server:
        other = bytearray(hello())
        other[4] = 2
        Stream(server, lambda: [bytes(other)])
        browser.get(server.url)
        reaches(browser, "version")
        assert "version 2" in shown(browser, "card-text") and shown(browser, "card-action") == "Load again"
        Stream(server, lambda: [hello(), *body_skin(), b"BDST" + bytes(40)])
        browser.find_element("id", "card-action").click()
        wait_for(lambda: "version 0" in shown(browser, "card-text"), "the other version", WAIT_S)
        broken = bytearray(body_at(0.0))
        broken[5] = 99
        Stream(server, lambda: [hello(), *body_skin(), bytes(broken)])
        browser.find_element("id", "card-action").click()
        reaches(browser, "closed")
        assert "unknown kind 99" in shown(browser, "card-text")


def test_sent_away_and_no_place_left(browser: Any) -> None:
    with serving() as server:
        stream = Stream(server, lambda: [hello()])
        browser.get(server.url)
        reaches(browser, "waiting")
        stream.limit = 0
        stream.close(1008, "too many messages")
        reaches(browser, "closed")
        assert "too many messages" in shown(browser, "card-text")
        browser.find_element("id", "card-action").click()
        wait_for(lambda: "Too many are watching" in shown(browser, "card-title"), "that it is full", WAIT_S)
        stream.limit = 4
        reaches(browser, "waiting")


def test_a_body_without_a_surface_is_seen_by_its_skeleton(browser: Any) -> None:
    """Whatever is asked for: `1` and `3` switch surface and skeleton."""

    def scene() -> np.ndarray:
        return picture(browser)[:-130]  # without the tools

    with serving() as server:
        stream = Stream(server, lambda: [hello(), *body_skin()[:1]])
        stream.repeated = lambda: body_at(0.0)
        browser.get(server.url)
        reaches(browser, "live")
        time.sleep(4.0)  # it is known to have none, and the camera has come to it
        surface_alone = scene()
        browser.find_element("tag name", "body").send_keys("3")
        browser.find_element("tag name", "body").send_keys("1")
        time.sleep(1.0)
        skeleton_alone = scene()
        assert np.abs(surface_alone - skeleton_alone).max() < 40


def test_what_is_shown_and_asked_for(browser: Any) -> None:
    with serving() as server:
        stream = Stream(server, lambda: [hello(bodies=False, surfaces=True, controls=["record"]), *surface()])
        browser.get(server.url)
        reaches(browser, "live")
        assert not browser.find_element("id", "calibrate").is_displayed()
        labels = [b.text for b in browser.find_elements("css selector", "#views button") if b.is_displayed()]
        assert labels == ["Surface", "Graph"]
        time.sleep(0.5)
        plain = picture(browser)
        browser.find_element("tag name", "body").send_keys("2")
        wait_for(lambda: stream.of("subscribe")[-1]["graph"], "that the graph is wanted")
        wait_for(lambda: np.abs(picture(browser) - plain).max() > 40, "the graph", WAIT_S)
        browser.find_element("id", "record").click()
        assert wait_for(lambda: stream.of("record"), "record")[-1]["on"] is True
        stream.send(status(recording={"on": True, "file": "take.mcap", "seconds": 72.4}))
        wait_for(lambda: shown(browser, "record") == "Stop 1:12", "the clock")
        browser.find_element("id", "record").click()
        wait_for(lambda: stream.of("record")[-1]["on"] is False, "the end")
        stream.send(status(warnings=["the camera is slow"]))
        wait_for(lambda: "camera is slow" in shown(browser, "notices"), "the warning")


def test_calibration_is_led_from_the_page(browser: Any) -> None:
    with serving() as server:
        stream = Stream(server, lambda: [hello(), *body_skin()])
        stream.repeated = lambda: body_at(0.0, eyes_m=1.65 + 0.04 * math.sin(9 * time.monotonic()))  # not still
        browser.get(server.url)
        reaches(browser, "live")
        browser.find_element("id", "calibrate").click()
        height = re.compile(r"1\.6\d m above the floor")
        wait_for(lambda: height.search(shown(browser, "calibration-text")), "the height", WAIT_S)
        assert "Stand upright" in shown(browser, "calibration-title")
        browser.find_element("id", "calibration-floor").click()
        assert wait_for(lambda: stream.of("calibrate"), "the floor") == [{"type": "calibrate", "pose": "floor"}]
        wait_for(lambda: "on the floor" in shown(browser, "calibration-title"), "what to do")
        assert not browser.find_element("id", "calibration-floor").is_displayed()
        stream.send(status(calibration={"state": "done", "lines": ["the floor is 3 cm above"], "floor_m": 0.03}))
        wait_for(lambda: shown(browser, "calibration-text").startswith("The floor is 3 cm above. Your"), "it", WAIT_S)
        stream.repeated = lambda: body_at(0.0)
        wait_for(lambda: "right hand" in shown(browser, "calibration-title"), "the second step", WAIT_S)
        stream.repeated = lambda: body_at(0.0, right_up=True)
        wait_for(lambda: "both arms" in shown(browser, "calibration-title"), "the third step", WAIT_S)
        assert len(stream.of("calibrate")) == 1
        asked = wait_for(lambda: stream.of("calibrate")[1:], "that it is measured", WAIT_S)
        assert asked == [{"type": "calibrate", "pose": "T"}]
        stream.send(status(calibration={"state": "done", "lines": ["stature 1.78 m"]}))
        wait_for(lambda: "1.78 m" in shown(browser, "calibration-text"), "the result", WAIT_S)
        browser.find_element("id", "calibration-close").click()
        assert not browser.find_element("id", "calibration").is_displayed()


BOXES = """
const seen = (e) => e.checkVisibility() && e.getBoundingClientRect();
return {
  boxes: Object.fromEntries([...document.querySelectorAll(".brand, .pill, .hud, .tools, #status")].map((e) => [
    e.id || e.className, seen(e)]).filter(([, r]) => r).map(([name, r]) => [name, [r.left, r.top, r.right, r.bottom]])),
  small: [...document.querySelectorAll("button")].filter((b) => seen(b) && seen(b).height < 32).map((b) => b.id),
  cut: [...document.querySelectorAll("button, p, dd")]
    .filter((e) => seen(e) && e.scrollWidth > e.clientWidth + 1).length,
  window: [innerWidth, innerHeight, document.documentElement.scrollWidth],
};
"""


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800), (2560, 1440)])
def test_nothing_overlaps_or_leaves_the_window(browser: Any, width: int, height: int) -> None:
    resize(browser, width, height)
    try:
        with serving() as server:
            stream = Stream(server, lambda: [hello(surfaces=True), *body_skin(), *surface()])
            stream.repeated = walking
            browser.get(server.url)
            reaches(browser, "live")
            wait_for(lambda: browser.find_element("id", "hud").is_displayed(), "the figures", WAIT_S)
            found = browser.execute_script(BOXES)
    finally:
        resize(browser, *SMALL)
    assert found["window"] == [width, height, width]
    assert found["small"] == [] and found["cut"] == 0
    boxes = list(found["boxes"].items())
    assert {"hud", "tools", "status", "link", "brand"} <= {name for name, _ in boxes}
    for name, (left, top, right, bottom) in boxes:
        assert left >= 0 and top >= 0 and right <= width and bottom <= height, name
    for i, (name, a) in enumerate(boxes):
        for other, b in boxes[i + 1 :]:
            apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
            assert apart, (name, other)
