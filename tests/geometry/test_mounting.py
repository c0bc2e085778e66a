"""Where devices sit on the body, against the OpenXR specification's definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.mounting import device_at_joint, device_from_joint, joint_at_device, joint_from_device
from bodystream.types import DeviceKind

PAIRS = [
    (DeviceKind.VIEW, "head"),
    (DeviceKind.GRIP, "left"),
    (DeviceKind.GRIP, "right"),
    (DeviceKind.HAND_WRIST, "left"),
    (DeviceKind.HAND_WRIST, "right"),
    (DeviceKind.JOINT, "head"),
    (DeviceKind.JOINT, "left"),
    (DeviceKind.JOINT, "right"),
]
FINGERS = {"left": np.array([-1.0, 0.0, 0.0]), "right": np.array([1.0, 0.0, 0.0])}
PALM = np.array([0.0, -1.0, 0.0])  # out of the palm in the T-pose
THUMB = np.array([0.0, 0.0, -1.0])  # from the little finger to the thumb in the T-pose

floats = st.floats(-3, 3, allow_nan=False)


@pytest.mark.parametrize(("kind", "side"), PAIRS)
def test_rotations_are_proper_and_the_inverse_undoes(kind, side):
    t, r = joint_from_device(kind, side)
    back_t, back_r = device_from_joint(kind, side)
    np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(r) == pytest.approx(1.0)
    np.testing.assert_allclose(back_r @ r, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(back_r @ t + back_t, 0.0, atol=1e-12)


@pytest.mark.parametrize("side", ["left", "right"])
def test_grip_axes_are_those_of_the_specification(side):
    """+x: normal to the palm, away from it in the left hand and into it in the right; -z: little finger to thumb."""
    t, r = joint_from_device(DeviceKind.GRIP, side)
    np.testing.assert_allclose(r[:, 0], PALM if side == "left" else -PALM, atol=1e-12)
    np.testing.assert_allclose(-r[:, 2], THUMB, atol=1e-12)
    np.testing.assert_allclose(-r[:, 1], FINGERS[side], atol=1e-12)
    assert 0.05 < t @ FINGERS[side] < 0.09 and 0.0 < t @ PALM < 0.06


@pytest.mark.parametrize("side", ["left", "right"])
def test_wrist_axes_are_those_of_the_specification(side):
    """-z: towards the fingers; +y: out of the back of the hand."""
    _, r = joint_from_device(DeviceKind.HAND_WRIST, side)
    np.testing.assert_allclose(-r[:, 2], FINGERS[side], atol=1e-12)
    np.testing.assert_allclose(r[:, 1], -PALM, atol=1e-12)


def test_eyes_are_above_and_ahead_of_the_head_joint():
    t, r = joint_from_device(DeviceKind.VIEW, "head")
    np.testing.assert_array_equal(r, np.eye(3))
    assert t[0] == 0.0 and t[1] > 0.0 and t[2] < 0.0


@pytest.mark.parametrize(("kind", "side"), PAIRS)
@settings(max_examples=25, deadline=None)
@given(position=st.tuples(floats, floats, floats), vector=st.tuples(floats, floats, floats))
def test_joint_to_device_and_back(kind, side, position, vector):
    orientation = Rotation.from_rotvec(vector).as_matrix()
    device = device_at_joint(np.array(position), orientation, kind, side)
    assert device.kind is kind and np.linalg.norm(device.rotation_xyzw) == pytest.approx(1.0)
    back, turned = joint_at_device(device, side)
    np.testing.assert_allclose(back, position, atol=1e-9)
    np.testing.assert_allclose(turned, orientation, atol=1e-9)


def test_what_is_not_worn_there_is_refused():
    with pytest.raises(InputError, match="grip cannot be on the head.*view on the head"):
        joint_from_device(DeviceKind.GRIP, "head")


def test_constants_cannot_be_changed_by_accident():
    t, _ = joint_from_device(DeviceKind.VIEW, "head")
    with pytest.raises(ValueError, match="read-only"):
        t[0] = 1.0


def test_a_real_hand_agrees(shared_data):
    """A Quest 3 reports both the wrist and the grip of tracked hands: they must give the same joint."""
    content = json.loads((shared_data / "headset" / "quest3_session.json").read_text())
    side_of = {index: entry["handedness"] for index, entry in content["schema"] if entry["hasHand"]}
    errors_m, errors_deg = [], []
    for frame in content["frames"][::7]:
        for record in frame[8:]:
            if record[0] not in side_of:
                continue
            side = side_of[record[0]]
            ray, wrist, grip = np.array(record[1:8]), np.array(record[9][:7]), np.array(record[8])
            ray_turn = Rotation.from_quat(ray[3:])
            wrist_turn = (ray_turn * Rotation.from_quat(wrist[3:])).as_matrix()
            wrist_place = ray[:3] + ray_turn.apply(wrist[:3])
            _, from_joint = device_from_joint(DeviceKind.HAND_WRIST, side)
            want = device_at_joint(wrist_place, wrist_turn @ from_joint, DeviceKind.GRIP, side)
            errors_m.append(np.linalg.norm(want.position_m - grip[:3]))
            turn = Rotation.from_quat(want.rotation_xyzw).inv() * Rotation.from_quat(grip[3:])
            errors_deg.append(np.degrees(turn.magnitude()))
    assert len(errors_m) > 150
    assert np.mean(errors_m) < 0.003 and np.mean(errors_deg) < 0.5
