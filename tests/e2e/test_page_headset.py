"""The page worn in a browser that plays a recorded session: what is sent is what was recorded, and what is seen."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bodystream.geometry.skeleton import JOINTS
from bodystream.sources.headset.trace import parse_trace
from bodystream.sources.headset.webxr import WebXrHeadset
from bodystream.types import DeviceKind, HeadsetSample, Status, TrackedDevice
from bodystream.web.options import ServerOptions
from bodystream.web.server import PageServer
from bodystream.wire.envelope import Kind
from bodystream.wire.motions import decode_motion
from helpers.command_line import Running
from helpers.headset_browser import pull_trigger, standing, worn
from helpers.page_stream import Stream, body_at, body_skin, hello, serving
from helpers.stream_client import StreamClient
from helpers.viewer_browser import browser_at, resize, severe_messages, wait_for

WAIT_S = 90.0
HANDS_FROM_MS = 9500  # of the recording; from 10.6 s on its user has put the controllers down
OFF_M = 0.02  # frames are drawn between two of the recording
HEAD_M = np.array([0.0, 1.65, 0.0])
RIGHT_M = np.array([0.3, 1.1, -0.2])
BOARD_M = np.array([0.8, 1.47, -0.95])
CALIBRATE_M = np.array([-0.26, -0.185])  # the middle of that button from the middle of the board


@pytest.fixture(scope="module")
def recording(shared_data: Path) -> dict[str, Any]:
    return json.loads((shared_data / "headset" / "quest3_session.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_at("about:blank") as opened:
        resize(opened, 640, 420)  # a software renderer draws it for each eye
        yield opened


def status(browser: Any) -> str:
    return browser.execute_script("return document.getElementById('status').textContent")


def read(browser: Any, identity: str) -> str:
    """Also where a headset's picture covers it."""
    return browser.execute_script("return document.getElementById(arguments[0]).textContent.trim()", identity)


def enter(browser: Any, url: str) -> None:
    browser.get("about:blank")
    browser.get_log("browser")  # what the page before had to say, whose server may have gone
    browser.get(url)
    wait_for(lambda: "Ready" in status(browser), "the word Ready", WAIT_S)
    browser.find_element("id", "enter").click()
    wait_for(lambda: browser.execute_script("return worn.player !== null"), "the session", WAIT_S)


def seen(browser: Any) -> np.ndarray:
    data = np.frombuffer(browser.get_screenshot_as_png(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return image.astype(float)


def test_what_is_sent_is_what_was_recorded(browser: Any, recording: dict[str, Any]) -> None:
    samples: list[HeadsetSample] = []
    server = PageServer(ServerOptions(port=0, tls=False), report=lambda _, line: None, status=lambda line: None)
    with worn(browser, recording), WebXrHeadset(server=server) as source:
        threading.Thread(target=lambda: [samples.append(sample) for sample in source], daemon=True).start()
        enter(browser, server.url)
        browser.execute_script(f"worn.player.seek({HANDS_FROM_MS})")

        def kinds() -> set[DeviceKind]:
            return {sample.left.kind for sample in samples if sample.left is not None}

        wait_for(lambda: kinds() >= {DeviceKind.GRIP, DeviceKind.HAND_WRIST}, "controllers and hands", WAIT_S)
        wait_for(
            lambda: all(sum(tracked(s, side) is not None for s in samples) > 10 for side in ("left", "right")),
            "both hands",
            WAIT_S,
        )
        assert not source.wire.refused and source.wire.emulated == 0
        browser.execute_script("return worn.session.end()")
        wait_for(lambda: "over" in status(browser), "the end", WAIT_S)
        severe = severe_messages(browser)  # before the server goes, which the page asks for again
    server.stop()
    heads = np.array([frame[1:4] for frame in recording["frames"]])
    quaternions = np.array([frame[4:8] for frame in recording["frames"]])
    for sample in (sample for sample in samples if sample.head is not None):
        assert sample.head is not None
        off = np.linalg.norm(heads - sample.head.position_m, axis=1)
        near = off.argmin()
        assert off[near] < OFF_M
        assert abs(quaternions[near] @ sample.head.rotation_xyzw) > 0.98
    recorded = parse_trace(json.dumps(recording).encode(), "recording").samples
    for side in ("left", "right"):
        hands = [hand for sample in samples if (hand := tracked(sample, side)) is not None]
        assert len(hands) > 5 and all(hand.kind is DeviceKind.HAND_WRIST for hand in hands)
        truth = [hand for sample in recorded if (hand := tracked(sample, side)) is not None]
        places = np.array([hand.hand.in_wrist_m for hand in truth if hand.hand is not None])
        for hand in hands:
            assert hand.hand is not None
            off = np.linalg.norm(places - hand.hand.in_wrist_m, axis=2).max(axis=1)
            near = truth[int(off.argmin())]
            assert near.hand is not None and off.min() < OFF_M
            assert np.linalg.norm(near.position_m - hand.position_m) < 10 * OFF_M
            turns = (hand.hand.wrist_from_joint_xyzw * near.hand.wrist_from_joint_xyzw).sum(axis=1)
            assert np.abs(turns).min() > 0.95
    assert severe == []


def tracked(sample: HeadsetSample, side: str) -> TrackedDevice | None:
    """The device of a side where it is a hand with joints."""
    device = getattr(sample, side)
    return device if device is not None and device.hand is not None else None


def pointing() -> dict[str, Any]:
    """Somebody who points at the board's button that begins a calibration."""
    ahead = (HEAD_M - BOARD_M) / np.linalg.norm(HEAD_M - BOARD_M)
    right = np.cross((0.0, 1.0, 0.0), ahead)
    right /= np.linalg.norm(right)
    return standing(HEAD_M, RIGHT_M, BOARD_M + CALIBRATE_M[0] * right + CALIBRATE_M[1] * np.cross(ahead, right))


def frames(source: WebXrHeadset, count: int) -> None:
    """Wait until the headset has drawn so many more: it says a pose in each, once the clocks are aligned."""
    wanted = source.wire.messages + count
    wait_for(lambda: source.wire.messages >= wanted, f"{count} more frames", WAIT_S)


def test_oneself_in_the_mirror_and_the_board(browser: Any) -> None:
    with worn(browser, pointing()), serving() as server:
        stream = Stream(server, lambda: [hello(), *body_skin()])
        source = WebXrHeadset(server=server)
        enter(browser, server.url)
        assert browser.execute_script("return worn.mode") == "immersive-vr"
        frames(source, 20)
        empty = seen(browser)
        stream.repeated = lambda: body_at(0.0)
        wait_for(
            lambda: browser.find_element("tag name", "body").get_attribute("data-phase") == "live", "a body", WAIT_S
        )
        frames(source, 10)
        changed = np.abs(seen(browser) - empty).max(axis=2) > 40
        height, width = changed.shape
        # Ahead, within the mirror's frame, somebody stands now; beside the mirror nobody does.
        ahead = changed[height // 3 : 2 * height // 3, 2 * width // 5 : 3 * width // 5]
        assert ahead.mean() > 0.02
        assert changed[: height // 3, : width // 5].mean() < 0.01
        pull_trigger(browser, "right")
        begun = "return !document.getElementById('calibration').hidden"
        wait_for(lambda: browser.execute_script(begun), "the calibration", WAIT_S)
        source.close()
    assert [m for m in severe_messages(browser) if "WebSocket" not in m and "Failed to load" not in m] == []


def test_the_room_is_shown_and_all_comes_back_by_itself(browser: Any) -> None:
    def body(server: PageServer) -> Stream:
        stream = Stream(server, lambda: [hello(), *body_skin()])
        stream.repeated = lambda: body_at(0.0)
        return stream

    with worn(browser, pointing(), modes=("immersive-ar", "immersive-vr")):
        with serving() as server:
            body(server)
            with WebXrHeadset(server=server) as source:
                enter(browser, server.url)
                assert browser.execute_script("return worn.mode") == "immersive-ar"
                assert browser.execute_script("return worn.session.environmentBlendMode") != "opaque"
                wait_for(lambda: source.wire.messages > 30, "poses", WAIT_S)
        wait_for(lambda: "again" in status(browser), "that it tries again", WAIT_S)
        with serving(port=server.port) as again:
            stream = body(again)
            with WebXrHeadset(server=again) as source:
                wait_for(lambda: source.wire.messages > 30, "poses of the second server", WAIT_S)
                wait_for(lambda: stream.of("subscribe"), "the page at the second stream", WAIT_S)


def test_a_recorded_session_drives_the_body_through_serve(
    browser: Any, recording: dict[str, Any], tmp_path: Path
) -> None:
    """The whole way: browser, server, network, stream, browser; and a recording that the page asks for."""
    words = ("serve", "--headset", "webxr", "--port", "0", "--no-tls")
    with worn(browser, recording), Running(*words, cwd=tmp_path) as serve:
        address = serve.wait_for_line("open http").split()[1]
        enter(browser, address)
        watcher = StreamClient(address).enter(body=True)
        # Both hands are tracked, and the body meets them: the joints' wrists are near what is held.
        for _ in range(200):
            message = watcher.until(Kind.BODY, WAIT_S)
            motion = decode_motion(message)
            devices = {device.side: device.position_m for device in motion.devices}
            if set(devices) == {"head", "left", "right"} and motion.status is Status.TRACKED:
                break
        else:
            raise AssertionError("no body with both hands came")
        for side in ("left", "right"):
            wrist = motion.positions_m[JOINTS.index(f"{side}_wrist")]
            assert np.linalg.norm(wrist - devices[side]) < 0.15
        heads = np.array([frame[1:4] for frame in recording["frames"]])
        assert np.linalg.norm(heads - devices["head"], axis=1).min() < OFF_M
        watcher.close()
        body = browser.find_element("tag name", "body")
        wait_for(lambda: body.get_attribute("data-phase") == "live", "the body in the page", WAIT_S)
        wait_for(lambda: read(browser, "hud-age").isdigit(), "its age", WAIT_S)
        browser.execute_script("document.getElementById('record').click()")
        wait_for(lambda: "Stop" in read(browser, "record"), "that it records", WAIT_S)
        time.sleep(1.0)
        browser.execute_script("document.getElementById('record').click()")
        wait_for(lambda: "Record" in read(browser, "record"), "the end of the recording", WAIT_S)
        assert list(tmp_path.glob("*.mcap"))
        serve.interrupt()
        assert serve.finish() == 0
        wait_for(lambda: body.get_attribute("data-phase") == "lost", "that the server went", WAIT_S)
    assert [m for m in severe_messages(browser) if "WebSocket" not in m and "Failed to load" not in m] == []
