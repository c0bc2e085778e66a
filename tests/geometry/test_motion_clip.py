"""Motions: resampling, slicing, mirroring and moving."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import JOINTS, MIRROR, Skeleton

TOLERANCE_M = 2e-6  # float32 quaternions and positions, seven bones in a row


def clip(frames: int = 61, rate_hz: float = 60.0) -> MotionClip:
    """Every joint turns about its own axis at its own constant rate; the pelvis goes straight."""
    rng = np.random.default_rng(0)
    offsets = rng.normal(0.0, 0.15, (len(JOINTS), 3))
    start = Rotation.random(len(JOINTS), random_state=1)
    speed = rng.normal(0.0, 1.0, (len(JOINTS), 3))
    times = np.arange(frames) / rate_hz
    turns = np.stack([(start * Rotation.from_rotvec(speed * t)).as_quat(canonical=True) for t in times])
    roots = np.array([0.1, 1.0, -0.3]) + times[:, None] * [0.5, 0.0, -1.2]
    return MotionClip("made", "nobody", rate_hz, Skeleton(offsets), turns.astype(np.float32), roots.astype(np.float32))


def test_length_and_joints() -> None:
    made = clip()
    assert len(made) == 61
    assert made.duration_s == pytest.approx(1.0)
    positions, world = made.joints()
    assert positions.shape == (61, 22, 3)
    np.testing.assert_allclose(positions[:, 0], made.root_positions_m, atol=1e-7)
    np.testing.assert_allclose(world[:, 0], made.rotation_matrices()[:, 0], atol=1e-12)


@pytest.mark.parametrize("rate_hz", [30.0, 45.0, 90.0, 120.0, 59.94])
def test_resampling_follows_constant_turns(rate_hz: float) -> None:
    # Between frames, slerp and lerp are exact for constant angular and linear velocity.
    found = clip().resampled(rate_hz)
    wanted = clip(frames=len(found), rate_hz=rate_hz)
    assert found.rate_hz == rate_hz
    assert found.duration_s <= 1.0 + 1e-9 < found.duration_s + 1.0 / rate_hz + 1e-6
    np.testing.assert_allclose(found.joints()[0], wanted.joints()[0], atol=TOLERANCE_M)
    assert found.rotations_xyzw.dtype == found.root_positions_m.dtype == np.float32


def test_resampling_to_its_own_rate_changes_nothing() -> None:
    made = clip()
    np.testing.assert_array_equal(made.resampled(60.0).rotations_xyzw, made.rotations_xyzw)
    assert len(made.sliced(0, 1).resampled(30.0)) == 1


def test_slices_keep_their_time() -> None:
    part = clip().sliced(10, 50, 4)
    assert len(part) == 10
    assert part.rate_hz == pytest.approx(15.0)
    np.testing.assert_array_equal(part.root_positions_m, clip().root_positions_m[10:50:4])


def test_the_mirror_image() -> None:
    made = clip()
    flip = np.diag([-1.0, 1.0, 1.0])
    mirrored = made.mirrored()
    assert mirrored.name == "made mirrored"
    np.testing.assert_allclose(mirrored.joints()[0], made.joints()[0][:, list(MIRROR)] @ flip, atol=TOLERANCE_M)
    twice = mirrored.mirrored()
    np.testing.assert_array_equal(twice.rotations_xyzw, made.rotations_xyzw)
    np.testing.assert_array_equal(twice.root_positions_m, made.root_positions_m)
    np.testing.assert_array_equal(twice.skeleton.offsets_m, made.skeleton.offsets_m)


@settings(max_examples=30, deadline=None)
@given(st.floats(-np.pi, np.pi), st.tuples(st.floats(-9, 9), st.floats(-1, 1), st.floats(-9, 9)))
def test_moving_moves_every_joint_alike(turn_rad: float, offset_m: tuple[float, float, float]) -> None:
    made = clip(frames=5)
    positions, world = made.joints()
    turn = Rotation.from_rotvec([0.0, turn_rad, 0.0]).as_matrix()
    moved, turned = made.moved(turn_rad, np.array(offset_m)).joints()
    np.testing.assert_allclose(moved, positions @ turn.T + offset_m, atol=5e-6)
    np.testing.assert_allclose(turned, turn @ world, atol=5e-6)
    back = made.moved(turn_rad, np.array(offset_m)).moved(-turn_rad, -np.array(offset_m) @ turn)
    np.testing.assert_allclose(back.root_positions_m, made.root_positions_m, atol=5e-6)


@pytest.mark.parametrize(
    ("rotations", "roots", "rate_hz", "message"),
    [
        ((4, 22, 4), (5, 3), 60.0, r"rotations must be \(5, 22, 4\) for 5 root positions"),
        ((5, 24, 4), (5, 3), 60.0, r"got \(5, 24, 4\)"),
        ((5, 22, 3), (5, 3), 60.0, r"got \(5, 22, 3\)"),
        ((5, 22, 4), (5, 2), 60.0, r"and \(5, 2\)"),
        ((5, 22, 4), (5, 3), 0.0, "rate must be positive, got 0.0 Hz"),
        ((5, 22, 4), (5, 3), float("nan"), "rate must be positive"),
    ],
)
def test_wrong_shapes_and_rates(rotations: tuple, roots: tuple, rate_hz: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MotionClip("x", "", rate_hz, clip(2).skeleton, np.zeros(rotations, np.float32), np.zeros(roots, np.float32))
