"""Recorded motions and builds before the synthetic camera, against forward kinematics and the skinned surface."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.avatar.proportions import FittedRig, fit_rig
from bodystream.avatar.rig import load_rig, skin
from bodystream.errors import ConfigurationError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.sources.synthetic import (
    Clothes,
    Person,
    RecordedMotion,
    SyntheticConfig,
    SyntheticSource,
    build_person,
    strung_together,
)
from bodystream.types import Array

RATE_HZ = 30.0


@pytest.fixture(scope="module")
def body() -> FittedRig:
    return fit_rig(load_rig())


def clip(body: FittedRig, frames: int = 40, heading_rad: float = 0.0, walk_m_s: float = 0.0) -> MotionClip:
    """Arms that swing and knees that bend, of somebody who looks and walks some way."""
    time_s = np.arange(frames) / RATE_HZ
    vectors = np.zeros((frames, len(JOINTS), 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        vectors[:, JOINT_INDEX[f"{side}_shoulder"], 2] = sign * (1.0 + 0.3 * np.sin(4.0 * time_s))
        vectors[:, JOINT_INDEX[f"{side}_elbow"], 1] = -sign * 0.6 * np.sin(3.0 * time_s)
        vectors[:, JOINT_INDEX[f"{side}_knee"], 0] = -0.4 * np.maximum(0.0, sign * np.sin(5.0 * time_s))
    vectors[:, 0, 1] = heading_rad
    roots = np.zeros((frames, 3))
    roots[:, 1] = 0.9
    roots[:, 0], roots[:, 2] = -np.sin(heading_rad) * walk_m_s * time_s, -np.cos(heading_rad) * walk_m_s * time_s
    turns = Rotation.from_rotvec(vectors.reshape(-1, 3)).as_quat(canonical=True).reshape(frames, -1, 4)
    return MotionClip("made up", "nobody", RATE_HZ, body.skeleton, turns.astype(np.float32), roots.astype(np.float32))


def joints_of(body: FittedRig, transforms: Array) -> Array:
    at_bind = body.skin.bind_positions_m.astype(np.float64)
    return np.einsum("tjab,jb->tja", transforms[..., :3, :3], at_bind) + transforms[..., :3, 3]


def test_at_its_frames_the_body_stands_as_recorded(body: FittedRig) -> None:
    motion = clip(body)
    expected, _ = motion.joints()
    got = joints_of(body, RecordedMotion(body, motion).transforms(np.arange(len(motion)) / RATE_HZ))
    np.testing.assert_allclose(got - got[:, :1], expected - expected[:, :1], atol=1e-4)


def test_the_lowest_sole_is_on_the_floor_between_frames_too(body: FittedRig) -> None:
    transforms = RecordedMotion(body, clip(body)).transforms(np.linspace(0.0, 3.0, 37))
    lowest = skin(body.skin, transforms)[..., 1].min(axis=-1)
    np.testing.assert_allclose(lowest, 0.0, atol=1e-6)


@pytest.mark.parametrize("heading_rad", [0.0, 2.5, -1.2])
@pytest.mark.parametrize("yaw_rad", [0.0, 0.4])
def test_the_person_faces_the_camera_at_the_start(body: FittedRig, heading_rad: float, yaw_rad: float) -> None:
    motion = RecordedMotion(body, clip(body, heading_rad=heading_rad), yaw_rad=yaw_rad)
    hips = joints_of(body, motion.transforms(np.zeros(1)))[0]
    across = hips[JOINT_INDEX["right_hip"]] - hips[JOINT_INDEX["left_hip"]]
    # x is the body's right where it looks along -z; turned to its left, its right hand goes to -z
    np.testing.assert_allclose(np.arctan2(-across[2], across[0]), yaw_rad, atol=0.02)


def test_whoever_walks_away_stays_in_view(body: FittedRig) -> None:
    walk = clip(body, frames=180, walk_m_s=1.3)
    assert np.ptp(walk.root_positions_m[:, 2]) > 7.0
    pelvis = joints_of(body, RecordedMotion(body, walk).transforms(np.arange(0.0, 12.0, 0.1)))[:, 0]
    assert np.ptp(pelvis[:, 2]) < 1.5 and np.abs(pelvis[:, (0, 2)]).max() < 1.0


def test_speed_is_a_factor_on_time(body: FittedRig) -> None:
    motion, times = clip(body), np.linspace(0.0, 1.2, 11)
    slow, fast = RecordedMotion(body, motion, 0.5), RecordedMotion(body, motion, 2.0)
    # the path's own filter is in recorded time, so that everything scales
    np.testing.assert_allclose(slow.transforms(4.0 * times), fast.transforms(times), atol=1e-9)


def test_it_never_ends_and_never_jumps(body: FittedRig) -> None:
    motion = RecordedMotion(body, clip(body, heading_rad=1.0, walk_m_s=1.0))
    times = np.arange(0.0, 8.0, 1.0 / 120.0)
    steps = np.linalg.norm(np.diff(joints_of(body, motion.transforms(times)), axis=0), axis=-1)
    assert steps.max() < 0.03, "the joint that moves farthest in 1/120 s [m]"
    assert steps[-200:].max() > 1e-4, "it still moves"


def test_strung_clips_go_over_into_each_other(body: FittedRig) -> None:
    parts = [clip(body, 30), clip(body, 20, heading_rad=3.0).mirrored(), clip(body, 25, walk_m_s=1.0)]
    whole = strung_together(parts, "all")
    assert whole.name == "all" and len(whole) > sum(map(len, parts))
    positions, _ = whole.joints()
    assert np.linalg.norm(np.diff(positions, axis=0), axis=-1).max() < 0.13
    with pytest.raises(ConfigurationError, match="no motions"):
        strung_together([], "none")
    with pytest.raises(ConfigurationError, match="one rate"):
        strung_together([parts[0], replace(parts[1], rate_hz=60.0)], "two rates")


def test_motions_that_cannot_be_are_refused(body: FittedRig) -> None:
    with pytest.raises(ConfigurationError, match="speed must be 0.1 to 10, got 0"):
        RecordedMotion(body, clip(body), speed=0.0)
    with pytest.raises(ConfigurationError, match="1 frames"):
        RecordedMotion(body, clip(body).sliced(0, 1))


def test_the_camera_shows_the_recorded_motion(body: FittedRig) -> None:
    config = SyntheticConfig(width=160, height=120, frames=2, noise="none")
    source = SyntheticSource(config, "cpu", body=body.skin, motion=RecordedMotion(body, clip(body), yaw_rad=0.3))
    frame = source.render(1, 0)
    assert frame.truth is not None
    posed = skin(body.skin, source.motion.transforms(np.array([1.0 / RATE_HZ])))[0]
    expected = posed * (-1.0, -1.0, 1.0) + (0.0, source.scene.camera_height_m, source.scene.distance_m)
    np.testing.assert_allclose(frame.truth.mesh.vertices, expected, atol=1e-4)


@pytest.mark.parametrize("height_m", [1.5, 1.95])
def test_a_person_has_the_height_that_is_asked_for(body: FittedRig, height_m: float) -> None:
    vertices = build_person(load_rig(), body.skeleton, Person(height_m)).skin.mesh.vertices
    assert abs(np.ptp(vertices[:, 1]) - height_m) < 1e-3


def test_girth_widens_torso_and_limbs_and_leaves_head_and_bones(body: FittedRig) -> None:
    usual, stout = (build_person(load_rig(), body.skeleton, Person(1.7, girth)) for girth in (1.0, 1.3))
    np.testing.assert_array_equal(usual.skin.bind_positions_m, stout.skin.bind_positions_m)
    most = usual.skin.bones[np.arange(len(usual.skin.bones)), usual.skin.weights.argmax(axis=1)]
    certain = usual.skin.weights.max(axis=1) > 0.999

    def radius(of: FittedRig, joint: str, child: str) -> float:
        chosen = certain & (most == JOINT_INDEX[joint])
        start, end = (of.skin.bind_positions_m[JOINT_INDEX[name]].astype(np.float64) for name in (joint, child))
        along = (end - start) / np.linalg.norm(end - start)
        away = of.skin.mesh.vertices[chosen] - start
        return float(np.linalg.norm(away - np.outer(away @ along, along), axis=1).mean())

    assert radius(stout, "left_knee", "left_ankle") / radius(usual, "left_knee", "left_ankle") == pytest.approx(
        1.3, abs=1e-3
    )
    head = certain & (most == JOINT_INDEX["head"])
    np.testing.assert_allclose(usual.skin.mesh.vertices[head], stout.skin.mesh.vertices[head], atol=1e-6)


def test_clothes_have_their_colours(body: FittedRig) -> None:
    clothes = Clothes((150, 40, 40), (40, 60, 150), (30, 30, 30), (200, 160, 140))
    mesh = build_person(load_rig(), body.skeleton, Person(1.7, clothes=clothes)).skin.mesh
    assert mesh.colours is not None
    height = mesh.vertices[:, 1] - mesh.vertices[:, 1].min()
    not_arms = np.abs(mesh.vertices[:, 0]) < 0.2
    for low, high, colour in ((1.15, 1.25, clothes.top), (0.6, 0.75, clothes.trousers), (0.0, 0.04, clothes.shoes)):
        seen = mesh.colours[(height > low) & (height < high) & not_arms].astype(np.float64).mean(axis=0)
        assert np.linalg.norm(seen - colour) < 45.0, (low, seen, colour)


@pytest.mark.parametrize(("height_m", "girth"), [(0.5, 1.0), (1.7, 3.0), (float("nan"), 1.0)])
def test_builds_that_nobody_has_are_refused(height_m: float, girth: float) -> None:
    with pytest.raises(ConfigurationError, match="must be"):
        Person(height_m, girth)
