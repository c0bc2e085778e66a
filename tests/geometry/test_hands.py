"""The joints of a hand: their bytes, what is refused, and where they are in the world."""

from __future__ import annotations

import base64
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.hands import (
    HAND_BYTES,
    HAND_JOINTS,
    check_hand,
    hand_bytes,
    hand_from_bytes,
    hand_in_world,
    recorded_hand,
)
from bodystream.types import DeviceKind, HandJoints, TrackedDevice
from helpers.hands import a_hand

EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "webxr" / "hand.json"


def same(one: HandJoints | None, other: HandJoints) -> bool:
    return one is not None and all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(HandJoints)
    )


def test_joints_are_webxrs() -> None:
    assert len(HAND_JOINTS) == len(set(HAND_JOINTS)) == 25
    assert HAND_JOINTS[:6] == (
        "wrist", "thumb-metacarpal", "thumb-phalanx-proximal", "thumb-phalanx-distal", "thumb-tip",
        "index-finger-metacarpal",
    )  # fmt: skip
    assert HAND_JOINTS[-2:] == ("pinky-finger-phalanx-distal", "pinky-finger-tip")


def test_bytes_and_back() -> None:
    hand = a_hand()
    data = hand_bytes(hand)
    assert len(data) == HAND_BYTES == 800
    numbers = np.frombuffer(data, "<f4").reshape(25, 8)
    np.testing.assert_array_equal(numbers[7], [*hand.in_wrist_m[7], *hand.wrist_from_joint_xyzw[7], hand.radii_m[7]])
    assert same(hand_from_bytes(data, "it"), hand)
    assert recorded_hand(hand) == data and recorded_hand(None) is None


def test_the_stored_example_is_what_it_stands_for() -> None:
    """The page's own test writes the same bytes from the same poses."""
    stored = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    hand = hand_from_bytes(base64.b64decode(stored["joints"]), "it")
    wrist = stored["wrist"]
    device = TrackedDevice(np.array(wrist["position_m"]), np.array(wrist["rotation_xyzw"]), DeviceKind.HAND_WRIST, hand)
    places, turns = hand_in_world(device)
    poses = stored["poses"]
    np.testing.assert_allclose(places, [pose["position_m"] for pose in poses], atol=1e-6)
    dots = np.abs((turns * np.array([pose["rotation_xyzw"] for pose in poses])).sum(axis=1))
    np.testing.assert_allclose(dots, 1.0, atol=1e-6)
    np.testing.assert_allclose(hand.radii_m, [pose["radius_m"] for pose in poses], atol=1e-7)


def test_in_the_world() -> None:
    hand = a_hand(3)
    turn = Rotation.from_rotvec([0.3, -1.0, 0.5])
    device = TrackedDevice(np.array([0.2, 1.1, -0.4]), turn.as_quat(), DeviceKind.HAND_WRIST, hand)
    places, turns = hand_in_world(device)
    np.testing.assert_allclose(places, turn.apply(hand.in_wrist_m) + device.position_m, atol=1e-7)
    wanted = (turn * Rotation.from_quat(hand.wrist_from_joint_xyzw)).as_quat(canonical=True)
    np.testing.assert_allclose(np.abs((turns * wanted).sum(axis=1)), 1.0, atol=1e-6)
    for wrong in (replace(device, hand=None), replace(device, kind=DeviceKind.GRIP)):
        with pytest.raises(InputError, match="hand-wrist"):
            hand_in_world(wrong)


def changed(name: str, at: tuple, value: float) -> HandJoints:
    hand = a_hand()
    array = getattr(hand, name).copy()
    array[at] = value
    return replace(hand, **{name: array})


@pytest.mark.parametrize(
    ("hand", "says"),
    [
        (object(), "HandJoints, got object"),
        (replace(a_hand(), in_wrist_m=a_hand().in_wrist_m[:24]), r"in_wrist_m of it .* \(24, 3\)"),
        (replace(a_hand(), radii_m=a_hand().radii_m.astype(int)), "radii_m of it must be an array of floats"),
        (replace(a_hand(), wrist_from_joint_xyzw=[0.0] * 100), "wrist_from_joint_xyzw of it .* got list"),
        (changed("in_wrist_m", (9, 1), 5.0), "index-finger-tip of it has 5 m from the wrist"),
        (changed("in_wrist_m", (9, 1), np.nan), "index-finger-tip of it has nan m from the wrist"),
        (changed("in_wrist_m", (0, 0), 0.05), "wrist of it has 0.05 m from the wrist, which it is"),
        (changed("wrist_from_joint_xyzw", (24, slice(None)), 0.0), "pinky-finger-tip of it has 0 as the norm"),
        (changed("wrist_from_joint_xyzw", (2, 3), np.inf), "thumb-phalanx-proximal of it has inf as the norm"),
        (changed("radii_m", (4,), -0.01), "thumb-tip of it has -0.01 m as its radius"),
        (changed("radii_m", (4,), np.nan), "thumb-tip of it has nan m as its radius"),
    ],
)
def test_what_is_no_hand_is_refused(hand: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_hand(hand, "it")
    assert not isinstance(hand, HandJoints) or recorded_hand(hand) is None


@pytest.mark.parametrize("count", [0, 24 * 32, 799, 801, 26 * 32])
def test_another_number_of_joints_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"have {count} bytes, wanted 800"):
        hand_from_bytes(bytes(count), "the left hand")
