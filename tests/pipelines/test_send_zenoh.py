"""`--send zenoh:NAME`, `bodies` and `publish --receive`: what a session makes on one machine is read on another."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.spatial import KDTree

from bodystream.avatar import open_avatar
from bodystream.cli.main import main
from bodystream.errors import ConfigurationError
from bodystream.geometry.skeleton import HEAD
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.send.open import open_sender
from bodystream.pipelines.send.relay import open_relay
from bodystream.sinks.network import NetworkReceiver
from bodystream.sinks.shm import PoseFlag, ShmReader, published_names
from bodystream.sources.headset.synthetic import MotionHeadset
from helpers.drive_parts import ESTIMATOR
from helpers.headset_motions import walking
from helpers.native import free_name
from helpers.needs import needs
from helpers.networks import free_port, joined
from helpers.pipeline_frames import DEVICE, frames

needs("zenoh", "pip install 'bodystream[zenoh]'")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodystream.sinks.network.publisher.SCOUT_S", 0.1)


def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
    return value


def sent_to(name: str, port: int, more: str = "") -> str:
    return f"zenoh:{name}?listen=tcp/127.0.0.1:{port}&scout=0{more}"


def drive(sink: Any) -> DriveSession:
    source = MotionHeadset(walking(1.0).sliced(0, 12), hands="grip")
    return DriveSession(source, DriveConfig(estimator=ESTIMATOR), device="cpu", sinks=[sink])


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shared memory; Windows has named mappings")
def test_a_body_of_another_machine_comes_into_shared_memory(capsys: pytest.CaptureFixture[str]) -> None:
    port, here = free_port(), free_name()
    notes: list[str] = []
    connect = f"connect=tcp/127.0.0.1:{port}&listen=tcp/127.0.0.1:0&scout=0"
    with drive(open_sender(sent_to("body0", port))) as session:
        relay = open_relay(f"body0?{connect}", here, 100.0, 65536, notes.append)
        running = threading.Thread(target=relay.run, daemon=True)
        running.start()
        until(lambda: "body0 is published" in notes)
        session.run()
        result, mesh = session.result, session.posed_mesh()
        assert result is not None
        reader = ShmReader(here)
        pose = until(
            lambda: (read := reader.pose()) and np.allclose(read.positions_m, result.joints_m, atol=1e-3) and read
        )
        np.testing.assert_allclose(pose.local_xyzw, result.pose.rotations_xyzw, atol=2e-4)
        assert pose.status is result.pose.status
        assert PoseFlag.HEAD_MEASURED | PoseFlag.LEFT_MEASURED | PoseFlag.RIGHT_MEASURED in pose.flags
        stature_m = session.skeleton.stature_m
        measured = until(lambda: (read := reader.pose()) and read.stature_m > 0 and read)
        assert measured.stature_m == pytest.approx(stature_m, abs=0.06) and pose.positions_m[HEAD, 1] > 1.0

        def same() -> Any:
            surface = reader.surface()
            at = None if surface is None else surface.mesh.vertices
            return at is not None and at.shape == mesh.vertices.shape and np.allclose(at, mesh.vertices, atol=4e-3)

        until(same)
        assert main(["bodies", "--wait-s", "0.5", "--connect", f"tcp/127.0.0.1:{port}", "--interface", "lo"]) == 0
    listed = capsys.readouterr().out
    assert any(line.split()[0] == "body0" and line.endswith("poses") for line in listed.splitlines())
    assert any(line.split()[0] == here and "poses and surfaces" in line for line in listed.splitlines())
    until(lambda: "body0 is not published any more; waiting" in notes)
    relay.stop()
    running.join(10)
    assert not reader.alive and relay.warnings == []
    reader.close()
    assert any("poses to zenoh:body0" in note for note in session.notes)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX shared memory; Windows has named mappings")
def test_somebody_in_clothes_comes_into_shared_memory_of_another_machine() -> None:
    """Entries of a motion behind the joints, of nodes here and of fingers elsewhere, are no joints."""
    port, here = free_port(), free_name()
    connect = f"connect=tcp/127.0.0.1:{port}&listen=tcp/127.0.0.1:0&scout=0"
    config = DriveConfig(estimator=ESTIMATOR, avatar="default-clothed")
    with DriveSession(device="cpu", config=config, sinks=[open_sender(sent_to("dressed", port))]) as session:
        relay = open_relay(f"dressed?{connect}", here, 100.0, 65536, lambda _: None)
        running = threading.Thread(target=relay.run, daemon=True)
        running.start()
        samples = iter(MotionHeadset(walking(20.0), hands="grip"))

        def dressed() -> Any:
            session.push(next(samples))
            time.sleep(0.02)
            if here not in published_names():
                return None
            with ShmReader(here) as reader:
                return reader.surface() and reader.pose()

        pose = until(dressed)
        # Its legs stand apart at bind, whose heights are of nobody who stands.
        assert pose.stature_m == pytest.approx(open_avatar("default-clothed").skeleton.stature_m, abs=1e-3)
        mesh = session.posed_mesh()
        tree = KDTree(mesh.vertices)
        with ShmReader(here) as reader:

            def same() -> Any:  # somebody who walks is elsewhere in the surface before
                surface = reader.surface()
                return surface is not None and np.median(tree.query(surface.mesh.vertices)[0]) < 0.004 and surface

            surface = until(same)
        assert len(surface.mesh.vertices) >= len(mesh.vertices)
        relay.stop()
        running.join(10)
        assert relay.warnings == []


def test_a_captured_surface_is_the_same_on_another_machine() -> None:
    port = free_port()
    sink = open_sender(sent_to("room", port, "&kb_per_s=10000"), "surface")
    with NetworkReceiver("room", joined(port)) as receiver:
        until(lambda: receiver.alive)
        with CaptureSession(device=DEVICE, sinks=[sink]) as session:
            for frame in frames()[:8]:
                session.push(frame)
                time.sleep(0.12)
            mesh, last = session.live_mesh(), frames()[7].t_ns
            until(lambda: (got := receiver.surface()) and got.t_ns == last and receiver.skin("surface"))
            got = until(lambda: _mesh(receiver))
        apart = KDTree(got.vertices).query(mesh.vertices)[0]
        assert np.percentile(apart, 90) < 0.01 and abs(len(got.faces) - len(mesh.faces)) < 0.3 * len(mesh.faces)


def _mesh(receiver: NetworkReceiver) -> Any:
    from bodystream.errors import NotReadyError

    try:
        return receiver.mesh("surface")
    except NotReadyError:
        return None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("zenoh:a/b", "a name has 1 to 64 letters, digits, - or _, got 'a/b'"),
        ("zenoh", "write zenoh:NAME"),
        ("zenoh:body0?kb_per_s=0", "kb_per_s must be 10 to 1000000, got 0"),
        ("zenoh:body0?rate_hz=0", "rate_hz must be above 0"),
        ("zenoh:body0?listen=nowhere&scout=0", "an endpoint is written tcp/HOST:PORT"),
    ],
)
def test_what_cannot_be_sent_to_is_said(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_sender(spec)


def test_what_cannot_be_relayed_is_said() -> None:
    with pytest.raises(ConfigurationError, match="zenoh has no key 'conect'.*did you mean connect"):
        open_relay("body0?conect=tcp/127.0.0.1:1", free_name(), 30.0, 100, print)
    with pytest.raises(ConfigurationError, match="surface_hz must be 0 .poses only. to 1000"):
        open_relay("body0", free_name(), -1.0, 100, print)
