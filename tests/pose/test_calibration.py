"""Calibration: known people are measured, every mistake is refused by name, files, and the guess before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.avatar import LbsAvatar
from bodystream.device import select_device
from bodystream.errors import InputError
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.pose.calibration import Calibration, fitted_skeleton, head_height_of
from bodystream.pose.measuring import calibrate
from bodystream.pose.observation import JointTargets, joints_of_sample
from bodystream.pose.person import StatureEstimator
from bodystream.types import DeviceKind, HeadsetSample, TrackedDevice
from helpers.refine_reference import rotvec


@pytest.mark.parametrize("height_m", [1.4, 1.75, 2.0])
def test_a_body_is_as_tall_as_it_was_asked_for(height_m):
    skeleton = fitted_skeleton(head_height_of(height_m))
    upright = np.tile(np.array((0.0, 0.0, 0.0, 1.0), np.float32), (22, 1))
    mesh = LbsAvatar(skeleton, select_device("cpu")).pose(upright, np.array((0.0, skeleton.pelvis_height_m, 0.0)))
    assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(height_m, abs=0.002)


def take(skeleton: Skeleton, head_m: float, pose: str = "T", *, turn: float = 0.4, seconds: float = 2.0, bend=None):
    """Two seconds of someone in a T- or I-pose, with a tracker's noise and a little sway."""
    vectors = np.zeros((22, 3))
    vectors[0, 1] = turn
    if pose == "I":
        vectors[JOINT_INDEX["left_shoulder"]] = (0.0, 0.0, 1.45)
        vectors[JOINT_INDEX["right_shoulder"]] = (0.0, 0.0, -1.45)
    for joint, value in (bend or {}).items():
        vectors[JOINT_INDEX[joint]] = value
    rotations = rotvec(vectors)
    positions, world = forward_kinematics(skeleton.offsets_m, rotations, np.zeros(3))
    positions += (1.5, head_m - positions[HEAD, 1], -0.7)
    quaternions = Rotation.from_matrix(world[[HEAD, LEFT_HAND, RIGHT_HAND]]).as_quat()
    noise = np.random.default_rng(0).normal(0.0, 0.001, (round(90 * seconds) + 1, 3, 3))
    samples = []
    for i in range(len(noise)):
        sway = 0.004 * np.sin(2.0 * np.pi * 0.4 * i / 90) * np.array([1.0, 0.0, 1.0])
        devices = [
            TrackedDevice(positions[j] + sway + noise[i, k], quaternions[k], DeviceKind.JOINT)
            for k, j in enumerate((HEAD, LEFT_HAND, RIGHT_HAND))
        ]
        samples.append(HeadsetSample(i, round(i * 1e9 / 90), *devices))
    return samples


def changed(samples, change):
    """Each device's position and quaternion passed through `change(position, quaternion)`."""

    def one(device):
        position, quaternion = change(device.position_m, device.rotation_xyzw)
        return TrackedDevice(position, quaternion, device.kind)

    return [replace(s, head=one(s.head), left=one(s.left), right=one(s.right)) for s in samples]


def measured(samples, *args, **kwargs) -> Calibration:
    return calibrate([joints_of_sample(sample) for sample in samples], *args, **kwargs)


@settings(max_examples=25, deadline=None)
@given(st.floats(1.25, 1.8), st.floats(0.9, 1.12), st.floats(-3.1, 3.1), st.sampled_from("TI"))
def test_a_known_person_is_measured(head_m, arms, turn, pose):
    person = fitted_skeleton(head_m, arms)
    found = measured(take(person, head_m, pose, turn=turn))
    assert found.pose == pose
    assert found.head_height_m == pytest.approx(head_m, abs=0.005)
    assert found.arm_factor == pytest.approx(arms, abs=0.015 if pose == "T" else 0.05)
    np.testing.assert_allclose(found.skeleton.offsets_m, person.offsets_m, atol=0.02)
    reach = found.skeleton.rest_positions_m
    if pose == "T":
        truth = person.rest_positions_m
        want = truth[RIGHT_HAND, 0] - truth[LEFT_HAND, 0]
        assert found.hand_distance_m == pytest.approx(want, abs=0.01)
        assert reach[RIGHT_HAND, 0] - reach[LEFT_HAND, 0] == pytest.approx(found.hand_distance_m, abs=1e-6)


def test_it_explains_itself():
    found = measured(take(fitted_skeleton(1.58), 1.58))
    assert found.lines[0].startswith("stature 1.") and "head joint at 1.58 m" in found.lines[0]
    assert any("arm span" in line and "wrist to wrist" in line for line in found.lines)
    assert 1.68 < found.stature_m < 1.80  # the head joint is some 15 cm below the top of the head
    assert found.shoulder_height_m == pytest.approx(1.37, abs=0.06)
    hanging = measured(take(fitted_skeleton(1.58), 1.58, "I"))
    assert any("hanging" in line for line in hanging.lines)


def person_samples(**kwargs):
    return take(fitted_skeleton(1.55), kwargs.pop("head_m", 1.55), **kwargs)


def lost(samples, name, share):
    return [replace(s, **{name: None}) if i < share * len(samples) else s for i, s in enumerate(samples)]


def walking(samples):
    return [
        replace(s, head=replace(s.head, position_m=s.head.position_m + (0.002 * i, 0, 0)))
        for i, s in enumerate(samples)
    ]


def waving(samples):
    return [
        replace(s, left=replace(s.left, position_m=s.left.position_m + (0, 0.2 * np.sin(0.1 * i), 0)))
        for i, s in enumerate(samples)
    ]


def raised(samples, name, metres):
    def up(device):
        return replace(device, position_m=device.position_m + (0, metres, 0))

    return [replace(s, **{name: up(getattr(s, name))}) for s in samples]


def crouching():
    """Arms of a tall person, the head at the height of a child's."""
    return take(fitted_skeleton(1.65), 1.20)


def _wholly(axis, degrees):
    """Turned, the devices' own axes included: their rotations look as upright as before."""
    turn = Rotation.from_euler(axis, degrees, degrees=True)
    return lambda p, q: (turn.apply(p), (turn * Rotation.from_quat(q) * turn.inv()).as_quat())


MISTAKES = {
    "moved": (lambda: walking(person_samples()), "the head moved by .* stand still"),
    "waved": (lambda: waving(person_samples()), "the left hand moved"),
    "short": (lambda: person_samples(seconds=0.4), "hold the pose for two seconds"),
    "none": (list, "got 0 samples"),
    "left lost": (lambda: lost(person_samples(), "left", 0.5), "the left hand was tracked in only 50 %"),
    "head lost": (lambda: lost(person_samples(), "head", 0.9), "the headset was tracked in only"),
    "crouching": (crouching, "too far for that height: stand upright"),
    "seated": (lambda: person_samples(head_m=0.9), "stand upright"),
    "floor too low": (lambda: person_samples(head_m=2.6), "the floor is probably wrong"),
    "floor at the head": (lambda: person_samples(head_m=0.05), "the floor is probably wrong"),
    "one arm down": (lambda: raised(person_samples(), "left", -0.4), "hold both arms level"),
    "bent arms": (
        lambda: person_samples(bend={"left_elbow": (0, -1.7, 0), "right_elbow": (0, 1.7, 0)}),
        "stretch both arms",
    ),
    "arms up": (
        lambda: person_samples(bend={"left_shoulder": (0, 0, -0.6), "right_shoulder": (0, 0, 0.6)}),
        "hold the arms level",
    ),
    "hands on hips": (
        lambda: person_samples(pose="I", bend={"left_elbow": (0, -1.9, 0), "right_elbow": (0, 1.9, 0)}),
        "hold the arms level",
    ),
    "swapped": (
        lambda: [replace(s, left=s.right, right=s.left) for s in person_samples()],
        "hands are swapped",
    ),
    "centimetres": (lambda: changed(person_samples(), lambda p, q: (100 * p, q)), "look like centimetres"),
    "millimetres": (lambda: changed(person_samples(), lambda p, q: (1000 * p, q)), "look like millimetres"),
    "w first": (lambda: changed(person_samples(), lambda p, q: (p, np.roll(q, 1))), "w first"),
    "z up": (
        lambda: changed(
            person_samples(),
            lambda p, q: (
                p[[0, 2, 1]] * (1, -1, 1),
                (Rotation.from_euler("x", 90, degrees=True) * Rotation.from_quat(q)).as_quat(),
            ),
        ),
        "axes are z up",
    ),
    "y down": (
        lambda: changed(
            raised(person_samples(pose="I"), "head", 0.0),
            lambda p, q: (
                p * (1, -1, -1),
                (Rotation.from_euler("x", 180, degrees=True) * Rotation.from_quat(q)).as_quat(),
            ),
        ),
        "y down",
    ),
    "z up, the devices too": (lambda: changed(person_samples(), _wholly("x", 90)), "axes are z up"),
    "z up, hanging arms": (lambda: changed(person_samples(pose="I"), _wholly("x", 90)), "axes are z up"),
    "x up, the devices too": (lambda: changed(person_samples(), _wholly("z", -90)), "axes are x up"),
    "y down, the devices too": (lambda: changed(person_samples(), _wholly("x", 180)), "y down"),
    "left-handed": (
        lambda: changed(person_samples(turn=np.pi / 2), lambda p, q: (p * (1, 1, -1), q)),
        "axes are left-handed",
    ),
    "not normalised": (lambda: changed(person_samples(), lambda p, q: (p, 1.3 * q)), "normalise them"),
    "not finite": (lambda: changed(person_samples(), lambda p, q: (p * np.nan, q)), "must be finite"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_refused_by_its_name(name):
    make, words = MISTAKES[name]
    with pytest.raises(InputError, match=words):
        measured(make())


def test_a_head_below_where_it_was_is_crouching():
    samples = person_samples()
    measured(samples, tallest_head_m=1.58)
    with pytest.raises(InputError, match="was at 1.70 m before: stand upright"):
        measured(samples, tallest_head_m=1.70)


def test_the_wrong_pose_is_refused():
    with pytest.raises(InputError, match="level"):
        measured(person_samples(pose="I"), "T")
    with pytest.raises(InputError, match="hang"):
        measured(person_samples(), "I")
    with pytest.raises(InputError, match="hang straight down"):
        measured(MISTAKES["hands on hips"][0](), "I")


def test_a_few_lost_samples_do_no_harm():
    samples = lost(person_samples(), "right", 0.1)
    assert measured(samples).head_height_m == pytest.approx(1.55, abs=0.005)


def test_files_keep_it_whole(tmp_path):
    found = measured(person_samples())
    path = tmp_path / "deep" / "me.json"
    found.save(path)
    assert Calibration.load(path) == found
    found.save(path)
    assert [p.name for p in path.parent.iterdir()] == ["me.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[1, 2]", b"\xff\xfe", b'{"pose": "T"}', None, b"x" * (2 << 20), b'{"lines": ' + b"[" * 100_000],
    ids=["empty", "object", "list", "no text", "parts", "wrong skeleton", "huge", "deep"],
)
def test_damaged_files_are_refused(tmp_path, content):
    path = tmp_path / "me.json"
    if content is None:
        replace(measured(person_samples()), offsets_m=((0.0, 1.0, 2.0),)).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="me.json"):
        Calibration.load(path)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "me.json"
    path.write_bytes(content)
    with pytest.raises(InputError):
        Calibration.load(path)


def test_missing_file_and_unwritable_place(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Calibration.load(tmp_path / "none.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="could not be written"):
        measured(person_samples()).save(tmp_path / "file" / "me.json")


def head_at(i: int, height: float) -> JointTargets:
    joints = JointTargets.nothing(i * 11_000_000)
    joints.positions_m[0, 1], joints.tracked[0] = height, True
    return joints


def test_the_guess_is_the_height_at_which_people_stand():
    estimator, rng = StatureEstimator(1.5), np.random.default_rng(0)
    assert estimator.head_height_m == 1.5
    for i in range(900):
        estimator.push(head_at(i, 1.25 + rng.normal(0.0, 0.02)))  # seated
    assert estimator.head_height_m == 1.5 and "assumed" in estimator.calibration().lines[-2]
    for i in range(900):
        estimator.push(head_at(i, 1.64 + rng.normal(0.0, 0.006)))
    for i in range(10):
        estimator.push(head_at(i, 1.95))  # a jump, or the headset held up
        estimator.push(head_at(i, 1e6))
        estimator.push(head_at(i, np.nan))
    assert estimator.head_height_m == pytest.approx(1.65, abs=0.015)
    guess = estimator.calibration()
    assert guess.pose == "assumed" and guess.skeleton.stature_m == pytest.approx(1.63, abs=0.03)
