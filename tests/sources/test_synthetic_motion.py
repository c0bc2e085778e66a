"""Motion programmes: smooth, within human limits, on the floor and in the picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.avatar.rig import load_rig, skin
from bodystream.errors import ConfigurationError
from bodystream.geometry.skeleton import JOINTS
from bodystream.sources.synthetic.motion import Motion, MotionName, minimum_jerk
from bodystream.sources.synthetic.renderer import Scene
from bodystream.types import SkinnedMesh

NAMES: tuple[MotionName, ...] = ("limbs", "turn", "walk", "still")
RATE_HZ = 30.0
_BODY = load_rig()
_MOTIONS = {(name, seed): Motion(_BODY, name, seed) for name in NAMES for seed in (0, 1, 5)}


@pytest.fixture(scope="module")
def body() -> SkinnedMesh:
    return _BODY


def joint_positions(body: SkinnedMesh, transforms: np.ndarray) -> np.ndarray:
    return np.einsum("tjik,jk->tji", transforms[..., :3, :3], body.bind_positions_m) + transforms[..., :3, 3]


def fingertips(body: SkinnedMesh) -> np.ndarray:
    """The lowest vertex of each hand at rest."""
    main = body.bones[np.arange(len(body.mesh.vertices)), body.weights.argmax(axis=1)]
    hands = [np.flatnonzero(main == JOINTS.index(f"{side}_wrist")) for side in ("left", "right")]
    return np.array([hand[body.mesh.vertices[hand, 1].argmin()] for hand in hands])


@pytest.mark.parametrize("name", NAMES)
def test_starts_at_rest(body: SkinnedMesh, name: MotionName) -> None:
    transforms = Motion(body, name, 3).transforms(np.array([0.0]))[0]
    np.testing.assert_allclose(transforms, np.tile(np.eye(4), (22, 1, 1)), atol=1e-6)


def test_arms_are_apart_from_the_torso_at_rest(body: SkinnedMesh) -> None:
    spread = np.abs(body.mesh.vertices[fingertips(body), 0])
    main = body.bones[np.arange(len(body.mesh.vertices)), body.weights.argmax(axis=1)]
    torso = np.isin(main, [JOINTS.index(name) for name in ("pelvis", "left_hip", "right_hip")])
    assert spread.min() > np.abs(body.mesh.vertices[torso, 0]).max() + 0.2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", (0, 1, 5))
def test_five_thousand_frames_stay_finite_and_natural(body: SkinnedMesh, name: MotionName, seed: int) -> None:
    times = np.arange(5000) / RATE_HZ
    transforms = _MOTIONS[name, seed].transforms(times)
    assert np.isfinite(transforms).all()
    np.testing.assert_allclose(np.linalg.det(transforms[..., :3, :3]), 1.0, atol=1e-9)
    tips = skin(body, transforms, fingertips(body))
    speed = np.linalg.norm(np.diff(tips, axis=0), axis=-1) * RATE_HZ
    assert speed.max() <= 1.2
    feet = joint_positions(body, transforms)[:, [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")]]
    assert np.linalg.norm(np.diff(feet, axis=0), axis=-1).max() * RATE_HZ < 2.0
    if name != "still":
        assert speed.mean() > 0.05


@pytest.mark.parametrize("name", ("limbs", "turn", "walk"))
@pytest.mark.parametrize("seed", (0, 1))
def test_soles_touch_the_floor_and_the_body_stays_in_the_picture(
    body: SkinnedMesh, name: MotionName, seed: int
) -> None:
    times = np.linspace(0.0, 40.0, 160)
    points = skin(body, _MOTIONS[name, seed].transforms(times), np.arange(0, len(body.mesh.vertices), 5))
    lowest = points[..., 1].min(axis=1)
    assert lowest.min() > -0.012 and lowest.max() < 0.012  # [m]
    scene = Scene()
    camera = points @ scene.camera_from_body[:3, :3].T + scene.camera_from_body[:3, 3]
    u = camera[..., 0] / camera[..., 2] * 460.0 + 319.5
    v = camera[..., 1] / camera[..., 2] * 460.0 + 239.5
    assert u.min() > 0 and u.max() < 639 and v.min() > 0 and v.max() < 479
    assert camera[..., 2].max() < scene.wall_m - 0.3


def test_the_standing_foot_keeps_its_place(body: SkinnedMesh) -> None:
    times = np.linspace(0.0, 20.0, 200)
    ankles = [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")]
    feet = joint_positions(body, _MOTIONS["limbs", 0].transforms(times))[:, ankles]
    rest = body.bind_positions_m[ankles]
    standing = feet[..., 1].argmin(axis=1)
    slip = np.linalg.norm((feet - rest)[np.arange(len(times)), standing][:, [0, 2]], axis=1)
    assert slip.max() < 0.05
    assert (feet[..., 1] - rest[:, 1]).max() > 0.1  # while the other one lifts


def test_limbs_of_both_sides_move_and_stay_in_human_limits(body: SkinnedMesh) -> None:
    times = np.arange(3000) / RATE_HZ
    for seed in range(3):
        angles = Motion(body, "limbs", seed).rotation_vectors(times)
        for side in ("left", "right"):
            elbow = np.linalg.norm(angles[:, JOINTS.index(f"{side}_elbow")], axis=1)
            assert 0.3 < elbow.max() < 1.2
            assert np.ptp(angles[:, JOINTS.index(f"{side}_shoulder"), 2]) > 0.5
            knee = angles[:, JOINTS.index(f"{side}_knee"), 0]
            assert knee.max() <= 1e-12 and -2.3 < knee.min() < -0.4  # bends backwards only
        assert np.abs(angles).max() < np.pi / 2


def test_turn_goes_once_around_in_ten_seconds(body: SkinnedMesh) -> None:
    motion = _MOTIONS["turn", 0]
    times = np.linspace(0.0, 30.0, 1200)
    forward = -motion.transforms(times)[:, 0, :3, 2]
    yaw = np.unwrap(np.arctan2(-forward[:, 0], -forward[:, 2]))
    around = np.interp(yaw[400] + 2 * np.pi, yaw, times) - times[400]
    assert around == pytest.approx(10.0, abs=0.1)


def test_the_same_seed_gives_the_same_motion_and_another_does_not(body: SkinnedMesh) -> None:
    times = np.array([3.0, 7.5])
    a, b, c = (Motion(body, "limbs", seed).transforms(times) for seed in (4, 4, 5))
    assert np.array_equal(a, b)
    assert np.abs(a - c).max() > 0.02


@given(
    name=st.sampled_from(NAMES),
    seed=st.sampled_from((0, 1, 5)),
    time=st.floats(0.0, 5000.0),
    step=st.floats(0.0, 0.02),
)
@settings(max_examples=60, deadline=None)
def test_poses_are_continuous_in_time(name: MotionName, seed: int, time: float, step: float) -> None:
    transforms = _MOTIONS[name, seed].transforms(np.array([time, time + step]))
    moved = np.abs(np.diff(joint_positions(_BODY, transforms), axis=0)).max()
    assert moved <= 2.5 * step + 1e-9  # no joint is faster than 2.5 m/s on any axis


@given(time=st.floats(0.0, 2000.0))
@settings(max_examples=20, deadline=None)
def test_a_pose_does_not_depend_on_the_batch(time: float) -> None:
    motion = _MOTIONS["limbs", 0]
    alone = motion.transforms(np.array([time]))[0]
    together = motion.transforms(np.array([0.5, time, 9.0]))[1]
    np.testing.assert_allclose(alone, together, atol=1e-12)


def test_minimum_jerk_rests_at_both_ends() -> None:
    u = np.linspace(-0.5, 1.5, 2001)
    s = minimum_jerk(u)
    assert s[0] == 0.0 and s[-1] == 1.0 and (np.diff(s) >= 0).all()
    assert minimum_jerk(np.array([0.5]))[0] == pytest.approx(0.5)
    velocity = np.gradient(s, u)
    assert velocity[np.abs(u) < 1e-3].max() < 1e-3 and velocity.max() == pytest.approx(1.875, abs=1e-2)


def test_an_unknown_programme_is_refused(body: SkinnedMesh) -> None:
    with pytest.raises(ConfigurationError, match="limbs, turn, walk, still.*'dance'"):
        Motion(body, "dance", 0)  # type: ignore[arg-type]
