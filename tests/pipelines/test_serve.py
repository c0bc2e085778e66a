"""The command serve: sessions behind one server, from recordings, with a real client of each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bodystream.avatar import LbsAvatar
from bodystream.cli.serve import Serve
from bodystream.errors import BodystreamError, ConfigurationError, SessionError
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.serve.recording import RecordingSwitch
from bodystream.pipelines.serve.run import ServedSessions
from bodystream.pipelines.serve.sinks import BodyStreamSink
from bodystream.sinks.base import Occasion
from bodystream.sinks.stream import StreamHub, Update
from bodystream.sources.headset.open import open_headset
from bodystream.sources.headset.webxr import WebXrHeadset
from bodystream.types import BodyPose, DeviceKind, HeadsetSample, Mesh, SkinnedMesh, TrackedDevice
from bodystream.web.options import ServerOptions
from bodystream.web.server import PageServer
from bodystream.wire.envelope import Kind, from_json, open_message
from bodystream.wire.meshes import decode_piece
from bodystream.wire.motions import decode_motion
from helpers.headset_motions import walking
from helpers.headset_takes import samples_of, write_table
from helpers.needs import needs
from helpers.stream_client import StreamClient
from helpers.webxr_client import HEAD, LEFT, RIGHT, Client


@pytest.fixture
def server() -> Iterator[PageServer]:
    made = PageServer(ServerOptions(port=0, tls=False), report=lambda *_: None, status=lambda _: None)
    yield made
    made.stop()


def test_a_headsets_sample_comes_back_as_a_pose_through_one_server(server: PageServer) -> None:
    """/headset and /stream of one port: the page in a headset sees itself."""
    source = WebXrHeadset(server=server)
    hub = StreamHub(server, bodies=True)
    with DriveSession(source, device="cpu", sinks=[BodyStreamSink(hub)]) as session:
        session.start()
        watcher = StreamClient(server.url).enter(body=True)
        headset = Client(server.url).enter()
        end, sent, motion = time.monotonic() + 20, 0, None
        while time.monotonic() < end and (motion is None or motion.status.value != "tracked"):
            headset.pose(HEAD, LEFT, RIGHT)
            sent += 1
            time.sleep(0.02)
            while (message := watcher.read(5)).kind is not Kind.BODY and time.monotonic() < end:
                if message.kind is Kind.PING:
                    headset.pose(HEAD, LEFT, RIGHT)
            motion = decode_motion(message)
        assert motion is not None
        head = next(device for device in motion.devices if device.side == "head")
        np.testing.assert_allclose(head.position_m, HEAD.position_m, atol=1e-5)
        eyes = motion.positions_m[15]
        assert np.linalg.norm(eyes - HEAD.position_m) < 0.25
        piece = decode_piece(watcher.got[Kind.PIECE][0])
        assert len(piece.vertices) > 10_000
        headset.close()
        watcher.close()
        session.stop()
    assert server.stopping is False  # the source did not end what it shares


def test_a_pose_that_is_not_a_number_is_left_out_and_the_stream_goes_on(server: PageServer) -> None:
    hub = StreamHub(server, bodies=True)
    with DriveSession(device="cpu", sinks=[BodyStreamSink(hub)]) as session:
        watcher = StreamClient(server.url).enter(body=True)
        end = time.monotonic() + 10
        while not hub.wants("body") and time.monotonic() < end:
            time.sleep(0.01)
        for number in range(6):
            x_m = np.nan if number in (2, 3) else 0.01 * number
            device = TrackedDevice(np.array([x_m, 1.6, 0.0]), np.array([0.0, 0, 0, 1]), DeviceKind.VIEW)
            session.push(HeadsetSample(number, time.monotonic_ns(), device))
            time.sleep(0.03)
        message = watcher.until(Kind.BODY)
        for _ in range(4):
            try:
                message = watcher.until(Kind.BODY, 0.5)
            except TimeoutError:
                break
        assert np.isfinite(decode_motion(message).positions_m).all()
        watcher.close()


class Hub:
    """Keeps what it is given; everybody wants the body, and whole meshes where `whole` is set."""

    def __init__(self) -> None:
        self.whole = False
        self.took: list[tuple[int, bool, bool]] = []  # sequence of the motion, whether a body begins, on which thread

    def wants(self, what: str) -> bool:
        return what == "body" or self.whole

    def publish(self, subject: str, update: Update) -> None:
        assert subject == "body" and update.motion is not None
        mine = threading.current_thread() is threading.main_thread()
        self.took.append((open_message(update.motion).sequence, update.begins, mine))


def _view(skin: SkinnedMesh | None, mesh: Mesh | None = None) -> Any:
    rest = np.tile(np.array([0.0, 0.0, 0.0, 1.0], np.float32), (22, 1))
    pose = BodyPose(1, rest, np.zeros(3, np.float32))
    return SimpleNamespace(
        occasion=Occasion.RESULT, result=SimpleNamespace(pose=pose), skin=skin, body_pose=pose, posed_mesh=mesh,
        body_joints_m=np.zeros((22, 3)), body_sample=None, rate_hz=90.0, latency_ms=1.0, warnings={"cold": 1},
        nodes=None, is_bare=skin is None,
    )  # fmt: skip


def test_pages_are_told_of_an_avatar_whose_surface_they_are_not_sent() -> None:
    for skin, more in ((LbsAvatar().skin, 0), (None, 1)):
        sink = BodyStreamSink(Hub())  # pyright: ignore[reportArgumentType]
        posed = sink.prepare(_view(skin))
        assert posed is not None
        first, *told = posed.figures.warnings
        assert first == "cold" and len(told) == more and all("show its skeleton" in text for text in told)


def test_poses_of_a_known_body_are_packed_at_once_and_a_new_one_beside_the_pipeline() -> None:
    avatar = LbsAvatar()
    rest = np.tile(np.array([0.0, 0.0, 0.0, 1.0], np.float32), (22, 1))
    mesh = avatar.pose(rest, np.zeros(3))

    def view(skin: SkinnedMesh) -> Any:
        return _view(skin, mesh)

    hub = Hub()
    sink = BodyStreamSink(hub)  # pyright: ignore[reportArgumentType]

    def beside(posed: Any) -> None:
        thread = threading.Thread(target=lambda: sink.publish(posed))
        thread.start()
        thread.join()

    first = sink.prepare(view(avatar.skin))
    assert first is not None and hub.took == []  # the surface takes long
    beside(first)
    assert sink.prepare(view(avatar.skin)) is None
    assert hub.took == [(1, True, False), (2, False, True)]
    hub.whole = True
    late = sink.prepare(view(avatar.skin))
    hub.whole = False
    assert late is not None and sink.prepare(view(avatar.skin)) is None
    beside(late)  # the pipeline's thread was faster: this one is old
    assert [number for number, _, _ in hub.took] == [1, 2, 3]
    other = replace(avatar.skin, version=7)
    changed = sink.prepare(view(other))
    assert changed is not None
    with sink._lock:  # the sink's thread packs just now: nothing waits for it
        assert sink.prepare(view(avatar.skin)) is not None
    beside(changed)
    assert hub.took[-1] == (4, True, False)


def test_keys_of_the_server_are_no_keys_of_the_headset_there(server: PageServer) -> None:
    with pytest.raises(ConfigurationError, match="give host, token as options of the server"):
        open_headset("webxr?host=0.0.0.0&token=abcd2345", server=server)
    open_headset("webxr?first_client_s=5", server=server).close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "got neither"),
        ({"source": "synthetic", "max_clients": 0}, "--max-clients"),
        ({"source": "synthetic", "kb_per_s": 1.0}, "--kb-per-s"),
        ({"headset": "webxr", "height": 3.0}, "--height"),
        ({"headset": "webxr", "host": "0.0.0.0", "tls": False}, "without TLS"),
        ({"headset": "webxr", "token": "x", "port": 0, "tls": False}, "8 letters"),
        ({"headset": "webxr", "record": Path("take.txt")}, "ends in .mcap"),
        ({"source": "folder:nowhere", "port": 0, "tls": False, "bundle": ("person=x",)}, "uses no bundle"),
        # The body of the headset's: the camera has nothing to do with it.
        (
            {"source": "folder:nowhere", "port": 0, "tls": False, "headset": "webxr", "bundle": ("person=x",)},
            "nowhere: does not exist",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BodystreamError, match=said):
        Serve(**options, device="cpu").run()


def test_a_recording_is_switched_on_and_off_again(tmp_path: Path) -> None:
    needs("mcap", "pip install 'bodystream[mcap]'")
    trace = write_table(tmp_path / "session.csv", samples_of(walking(1.0)))
    told: list[str] = []
    switch = RecordingSwitch(tmp_path / "take.mcap", told.append)
    source = open_headset(f"trace:{trace}", realtime=True)
    source.loop = False  # type: ignore[attr-defined]
    with DriveSession(source, device="cpu") as session:
        switch.watch(session)
        assert switch.status()["on"] is False
        with pytest.raises(SessionError, match="nothing is recorded"):
            switch.switch(False)
        assert "recording to" in switch.switch(True)
        with pytest.raises(SessionError, match="already"):
            switch.switch(True)
        session.run()
        assert switch.status()["file"] == "take.mcap"
        assert "recorded" in switch.switch(False)
        assert "take-2.mcap" in switch.switch(True)
        assert "recorded" in switch.switch(False)
    again = open_headset(f"take:{tmp_path / 'take.mcap'}")
    assert len(list(again)) > 10
    again.close()


def test_one_session_that_ends_leaves_the_other(server: PageServer, tmp_path: Path) -> None:
    trace = write_table(tmp_path / "session.csv", samples_of(walking(1.0)))
    short, long = (open_headset(f"trace:{trace}", realtime=True) for _ in range(2))
    long.loop = True  # type: ignore[attr-defined]
    hub = StreamHub(server, bodies=True)
    notes: list[str] = []
    sessions = [DriveSession(each, device="cpu") for each in (short, long)]
    sessions[1].add_sink(BodyStreamSink(hub))
    served = ServedSessions(sessions, hub, notes.append)
    watcher = StreamClient(server.url).enter(body=True)
    thread = threading.Thread(target=served.run)
    thread.start()
    assert "has ended" in from_json(watcher.until(Kind.NOTICE, 20))["text"]
    watcher.until(Kind.BODY)
    served.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert served.close() == []
    watcher.until(Kind.BYE)


def test_the_command_serves_both_at_once_until_it_is_stopped(tmp_path: Path) -> None:
    trace = write_table(tmp_path / "session.csv", samples_of(walking(1.0)))
    command = [sys.executable, "-m", "bodystream", "serve", "--source", "synthetic", "--headset", f"trace:{trace}",
               "--port", "0", "--no-tls", "--device", "cpu"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"})
    try:
        assert process.stderr is not None
        url = ""
        for line in process.stderr:
            if "open http://" in line:
                url = line.split("open ")[1].split()[0]
                break
        health = json.loads(urllib.request.urlopen(f"{url}health", timeout=5).read())
        assert health["bodies"] and health["surfaces"] and health["routes"] == ["/stream"]
        client = StreamClient(url).enter(body=True, surface=True)
        for kind in (Kind.BODY, Kind.SURFACE):
            if kind not in client.got:
                client.until(kind, 30)
        process.send_signal(signal.SIGINT)
        client.until(Kind.BYE, 10)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
