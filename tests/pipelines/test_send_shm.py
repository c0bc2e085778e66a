"""`--send shm:NAME`: sessions write into shared memory, what is wrong is a warning, and two sessions share a name."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bodystream.errors import ConfigurationError
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.send.open import open_sender, open_senders
from bodystream.sinks.shm import ShmReader, SurfaceFlag, published_names
from bodystream.sinks.shm.layout import Offer
from bodystream.sources.headset.synthetic import MotionHeadset
from helpers.drive_parts import ESTIMATOR
from helpers.headset_motions import walking
from helpers.native import free_name
from helpers.pipeline_frames import DEVICE, frames
from helpers.session_sinks import Gate

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX shared memory; Windows has named mappings")


def drive(*sinks: Any, samples: int = 12) -> DriveSession:
    source = MotionHeadset(walking(1.0).sliced(0, samples), hands="grip")
    return DriveSession(source, DriveConfig(estimator=ESTIMATOR), device="cpu", sinks=sinks)


def test_a_driven_body_is_published_as_it_is_posed() -> None:
    name = free_name()
    sink, gate = open_sender(f"shm:{name}?surface_hz=1000"), Gate()
    reader = ShmReader(name)
    assert reader.offers == Offer.POSES | Offer.SURFACES
    read: list[Any] = []
    gate.after = lambda result, number: read.append(reader.pose())
    with drive(sink, gate) as session:
        session.run()
        mesh, surface = session.posed_mesh(), None
        for _ in range(2000):
            surface = reader.surface()
            if surface is not None and surface.sample_ns == session.result.pose.t_ns:  # type: ignore[union-attr]
                break

            time.sleep(0.002)
    assert [pose.number for pose in read] == list(range(1, 13))
    for pose, result in zip(read, gate.results, strict=True):
        assert pose.sample_ns == result.pose.t_ns and pose.status is result.pose.status
        np.testing.assert_allclose(pose.positions_m, result.joints_m, atol=1e-5)
        np.testing.assert_array_equal(pose.local_xyzw, result.pose.rotations_xyzw)
    assert surface is not None and not surface.flags & SurfaceFlag.IN_CAMERA
    np.testing.assert_allclose(surface.mesh.vertices, mesh.vertices, atol=1e-6)
    np.testing.assert_array_equal(surface.mesh.faces, mesh.faces)
    assert not reader.alive and name not in published_names(), "closed with the session"
    assert any(f"wrote 12 poses to shm:{name}" in note for note in session.notes)
    reader.close()


def test_a_captured_surface_is_published_with_y_up() -> None:
    name = free_name()
    sink, gate = open_sender(f"shm:{name}?surface_hz=1000", "surface"), Gate()
    reader = ShmReader(name)
    assert reader.offers == Offer.SURFACES
    with CaptureSession(device=DEVICE, sinks=[sink, gate]) as session:
        for frame in frames()[:6]:
            session.push(frame)
        mesh = session.live_mesh()
        for _ in range(2000):
            surface = reader.surface()
            if surface is not None and surface.sample_ns == frames()[5].t_ns:
                break

            time.sleep(0.002)
        assert surface is not None and surface.flags & SurfaceFlag.IN_CAMERA
        np.testing.assert_array_equal(surface.mesh.vertices, mesh.vertices * np.array([1, -1, -1], np.float32))
        np.testing.assert_array_equal(surface.mesh.normals, mesh.normals * np.array([1, -1, -1], np.float32))
        np.testing.assert_array_equal(surface.mesh.colours, mesh.colours)
        assert surface.mesh.vertices[:, 2].max() < 0.0, "the camera looks along -z"
        a, b, c = (surface.mesh.vertices[surface.mesh.faces[:, k]] for k in range(3))
        outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), surface.mesh.normals[surface.mesh.faces[:, 0]])
        assert (outward > 0).mean() > 0.95, "faces stay counter-clockwise"
        assert reader.pose() is None
    reader.close()


def test_poses_that_are_not_finite_are_left_out_and_told() -> None:
    name = free_name()
    sink = open_sender(f"shm:{name}?surface_hz=0")
    reader = ShmReader(name)

    class Spoiling:
        """A sink that makes the view's pose useless for the one behind it."""

        name, warnings = "spoiling", ()

        def prepare(self, view: Any) -> None:
            if view.result is not None and len(spoilt) < 3:
                root = np.full(3, np.nan, np.float32)
                pose = replace(view.driven.pose, root_position_m=root)
                person = replace(view.driven.person, pose=pose)
                view.__dict__["driven"] = replace(view.driven, person=person)
                spoilt.append(1)

        def publish(self, result: Any, /) -> None: ...

        def close(self) -> tuple[str, ...]:
            return ()

    spoilt: list[int] = []
    with drive(Spoiling(), sink) as session:
        session.run()
        pose = reader.pose()
        assert pose is not None and pose.number == 9 and np.isfinite(pose.positions_m).all()
        told = [line for line in session.report.warnings if "not finite or too large" in line]
    assert told and all(line.startswith(f"shm:{name}: the pose at ") for line in told)
    reader.close()


def test_surfaces_without_room_are_told_once_and_poses_go_on() -> None:
    name = free_name()
    sink = open_sender(f"shm:{name}?surface_hz=1000&max_vertices=100")
    reader = ShmReader(name)
    with drive(sink) as session:
        session.run()
        pose = reader.pose()
        assert pose is not None and pose.number == 12
        assert reader.surface() is None
    told = [line for line in session.report.warnings if "are left out" in line]
    assert told == [
        f"shm:{name}: surfaces larger than 100 vertices and 200 faces are left out: give room for them, as "
        f"shm:{name}?max_vertices=200"
    ]
    assert any("were too large" in note for note in session.notes)
    reader.close()


def test_both_sessions_of_one_program_write_under_one_name() -> None:
    name = free_name()
    both = open_senders(f"shm:{name}?surface_hz=1000", "both")
    reader = ShmReader(name)
    with drive(both.body) as driving:
        driving.run()
    assert reader.alive, "the capture still writes"
    with CaptureSession(device=DEVICE, sinks=[both.surface]) as capturing:
        capturing.push(frames()[0])
    assert not reader.alive and name not in published_names()
    reader.close()


def test_rates_of_surfaces_are_kept() -> None:
    name = free_name()
    sink = open_sender(f"shm:{name}?surface_hz=0.1")
    with drive(sink) as session:
        session.run()
    assert any(f"wrote 1 surfaces to shm:{name}" in note for note in session.notes)


def test_a_name_is_taken_once() -> None:
    name = free_name()
    sink = open_sender(f"shm:{name}")
    with pytest.raises(ConfigurationError, match="is in use"):
        open_sender(f"shm:{name}")
    sink.close()
    assert sink.close() == ()
    with pytest.raises(ConfigurationError, match="surface_hz=0 leaves them out"):
        open_sender(f"shm:{name}?surface_hz=0", "surface")
