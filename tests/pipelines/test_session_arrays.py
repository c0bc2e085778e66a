"""Frames of one's own camera as arrays, the surface of a result, and poses ready to be drawn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, InputError, NotReadyError
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.pipelines.capture.result import CaptureResult
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pose.calibration import height_of
from bodystream.types import HeadsetSample, Status, TimedPose
from helpers.drive_parts import ESTIMATOR, samples_of
from helpers.headset_motions import walking
from helpers.pipeline_frames import DEVICE, frames, model_bits

MS = 1_000_000
CONFIG = DriveConfig(estimator=replace(ESTIMATOR, refine=False, foot_lock=False))


@pytest.fixture
def session() -> Iterator[CaptureSession]:
    with CaptureSession(frames()[0].intrinsics, device=DEVICE) as made:
        yield made


@pytest.fixture(scope="module")
def samples() -> list[HeadsetSample]:
    return samples_of(walking(1.0))[:30]


def test_arrays_give_the_bits_of_whole_frames_and_may_be_overwritten(session: CaptureSession) -> None:
    """As of a camera that has one buffer for all of its images."""
    first = frames()[0]
    depth, colour = np.empty_like(first.depth_m), np.empty_like(first.colour)
    with CaptureSession(device=DEVICE) as whole:
        for frame in frames()[:5]:
            wanted = whole.push(frame)
            depth[:], colour[:] = frame.depth_m, frame.colour
            got = session.push(depth, colour, frame.t_ns)
            depth[:], colour[:] = 9.0, 0
            assert got is not None and wanted is not None and got.frame.t_ns == frame.t_ns
            assert session._capture is not None and whole._capture is not None
            assert model_bits(session._capture, got) == model_bits(whole._capture, wanted)
    assert [session.report.source.name, session.report.frames.processed] == ["pushed frames", 5]


def test_depth_alone_of_any_float_and_of_now_will_do(session: CaptureSession) -> None:
    result = session.push(frames()[0].depth_m.astype(np.float64))
    assert result is not None and result.frame.colour is None and result.frame.depth_m.dtype == np.float32
    again = session.push(frames()[1].depth_m)
    assert again is not None and again.frame.index == 1 and again.frame.t_ns > result.frame.t_ns > 0


def test_a_result_has_its_surface_until_the_next_push(session: CaptureSession) -> None:
    frame = frames()[0]
    first = session.push(frame.depth_m, frame.colour, frame.t_ns)
    assert first is not None
    mesh = first.mesh()
    vertices, faces = mesh
    assert vertices is mesh.vertices and faces is mesh.faces and vertices.shape[1] == faces.shape[1] == 3
    assert mesh.colours is not None and len(mesh.colours) == len(vertices) == first.vertices
    np.testing.assert_array_equal(vertices, session.live_mesh().vertices)
    kept = vertices.copy()
    second = session.push(frames()[1].depth_m, frames()[1].colour, frames()[1].t_ns)
    with pytest.raises(NotReadyError, match="frame 0 is not the newest any more: call mesh.. before the next push"):
        first.mesh()
    assert second is not None and not np.array_equal(second.mesh().vertices[:100], kept[:100])
    np.testing.assert_array_equal(vertices, kept, "what was given stays")


def test_before_a_surface_there_is_none(session: CaptureSession) -> None:
    nothing = session.push(np.zeros_like(frames()[0].depth_m))
    assert nothing is not None and nothing.status is Status.LOST
    with pytest.raises(NotReadyError, match="no frame was tracked yet, so there is no surface"):
        nothing.mesh()


def test_the_newest_of_what_is_handed_over_is_worked_on_and_listeners_ask_the_session() -> None:
    results: list[CaptureResult] = []
    heard = threading.Event()

    def listen(result: CaptureResult) -> None:
        results.append(result)
        heard.set()

    depth = frames()[0].depth_m.copy()
    with CaptureSession(frames()[0].intrinsics, device=DEVICE, on_result=listen) as session:
        session.push_nowait(depth, frames()[0].colour)
        depth[:] = 0.0  # handed over is copied
        assert heard.wait(60)
        assert results[0].status is Status.TRACKED and results[0].nodes > 0
        with pytest.raises(NotReadyError, match=r"only a result that push returned has a surface: call live_mesh\(\)"):
            results[0].mesh()
        assert len(session.live_mesh().vertices) == results[0].vertices


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d, c: ((d * 1000).astype(np.uint16), c),
            "depth must be metres .* got uint16: multiply it by the camera",
        ),
        (lambda d, c: (d[:-1], c), "depth must be float32 of 320x240 pixels"),
        (lambda d, c: (d, c[:, :-1]), "colour must be uint8 RGB of 320x240"),
        (lambda d, c: (d, c.astype(np.float32)), "colour must be uint8 RGB"),
        (lambda d, c: (d, c.tolist()), "colour must be a numpy array, got list"),
        (lambda d, c: (np.where(d > 0, d, np.nan), c), "pixels is nan, infinite or negative"),
        (lambda d, c: (d, c, 1.5), "t_ns must be a whole number of nanoseconds"),
        (lambda d, c: (d.tolist(),), "takes frames of bodystream.types.RgbdFrame, got list"),
    ],
)
def test_arrays_that_no_camera_gives_are_refused(session: CaptureSession, change: Any, message: str) -> None:
    for push in (session.push, session.push_nowait):
        with pytest.raises(InputError, match=message):
            push(*change(frames()[0].depth_m, frames()[0].colour))
    assert session.push(frames()[0].depth_m) is not None, "the session goes on"


def test_depth_alone_needs_a_camera_and_a_frame_needs_nothing_else() -> None:
    frame = frames()[0]
    with CaptureSession(device=DEVICE) as session:
        with pytest.raises(InputError, match=r"make the session as CaptureSession\(intrinsics\)"):
            session.push(frame.depth_m)
        with pytest.raises(InputError, match="RgbdFrame has its colour and time with it: push it alone"):
            session.push(frame, frame.colour)  # type: ignore[call-overload]


# Driving


def test_height_and_avatar_may_be_said_without_a_config() -> None:
    with DriveSession(height_m=1.75, avatar="default", device="cpu") as session:
        assert height_of(session.skeleton) == pytest.approx(1.75, abs=0.005)
        assert session.config.height_m == 1.75 and session.skin is not None
    with pytest.raises(InputError, match="there is no avatar 'nobody': choose default, default-clothed"):
        DriveSession(avatar="nobody", device="cpu")
    for height_m in (0.2, 175.0, float("nan")):
        with pytest.raises(ConfigurationError, match="a person's height must be 1.0 to 2.3 metres"):
            DriveSession(height_m=height_m, device="cpu")


def test_a_pose_at_a_time_has_joints_bones_flags_and_its_age(samples: list[HeadsetSample]) -> None:
    with DriveSession(config=CONFIG, device="cpu", height_m=1.7) as session:
        for sample in samples:
            result = session.push(sample)
        assert result is not None
        pose = session.pose_at(samples[-1].t_ns)
        assert isinstance(pose, TimedPose) and pose.age_s == 0.0 and pose.flags == result.pose.flags
        np.testing.assert_allclose(pose.joints_m, result.joints_m, atol=1e-5)
        local = matrix_from_quaternion(pose.rotations_xyzw)
        world = matrix_from_quaternion(pose.bones_xyzw)
        np.testing.assert_allclose(world[0], local[0], atol=1e-6)
        np.testing.assert_allclose(world[4], local[0] @ local[1] @ local[4], atol=1e-6)
        assert pose.joints_m.dtype == pose.bones_xyzw.dtype == np.float32
        ahead = session.pose_at(samples[-1].t_ns + 50 * MS)
        assert ahead.at_ns == samples[-1].t_ns + 50 * MS and ahead.t_ns == samples[-1].t_ns
        assert ahead.age_s == pytest.approx(0.05)
        between = session.pose_at((samples[-2].t_ns + samples[-1].t_ns) // 2)
        assert between.age_s == 0.0, "it rests on a sample that came later"
