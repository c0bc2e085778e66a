"""VRChat's OSC trackers: where eight points of the body and the head are, read by an independent decoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.geometry.skeleton import JOINTS
from bodystream.sinks.send import MAX_BUNDLE_BYTES, VRCHAT_TRACKERS, DrivenPose
from bodystream.sinks.send.vrchat import vrchat_bundles
from helpers.osc_reference import IMMEDIATELY, by_oscpy, decode
from helpers.sent_poses import (
    UNITY_FROM_OURS,
    angle_deg,
    driven_pose,
    generated_poses,
    recorded_poses,
    t_pose_sent,
)

NEAR_M, NEAR_DEG = 1e-3, 0.01
PLACES = {
    "1": ("pelvis", "pelvis"),
    "2": ("left_ankle", "left_ankle"),
    "3": ("right_ankle", "right_ankle"),
    "4": ("left_knee", "left_hip"),
    "5": ("right_knee", "right_hip"),
    "6": ("spine3", "spine3"),
    "7": ("left_elbow", "left_shoulder"),
    "8": ("right_elbow", "right_shoulder"),
    "head": ("head", "head"),
}
"""Of each tracker, the joint where it is and the one that turns it: hip, feet, knees, chest, elbows, head."""


def trackers_of(driven: DrivenPose, scale: float = 1.0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each tracker, where it is [m] and its rotation, in Unity's axes."""
    values: dict[tuple[str, str], np.ndarray] = {}
    for bundle in vrchat_bundles(driven, tuple(VRCHAT_TRACKERS), scale):
        assert len(bundle) <= MAX_BUNDLE_BYTES
        for message in decode(bundle):
            _, tracking, trackers, number, what = message.address.split("/")
            assert (tracking, trackers, message.types) == ("tracking", "trackers", "fff")
            assert message.time_tag == IMMEDIATELY
            values[number, what] = np.array(message.arguments)
        assert by_oscpy(bundle) == [replace(message, time_tag=None) for message in decode(bundle)]
    assert set(values) == {(number, what) for number in PLACES for what in ("position", "rotation")}
    return {n: (values[n, "position"], turned(values[n, "rotation"])) for n in PLACES}


def turned(eulers_deg: np.ndarray) -> np.ndarray:
    """As Unity's `Quaternion.Euler`: about z, then x, then y."""
    x, y, z = (Rotation.from_euler(axis, angle, degrees=True) for axis, angle in zip("xyz", eulers_deg, strict=True))
    return (y * x * z).as_matrix()


def assert_received(driven: DrivenPose, scale: float = 1.0) -> None:
    for number, (place, turn) in trackers_of(driven, scale).items():
        at, by = (JOINTS.index(name) for name in PLACES[number])
        assert np.linalg.norm(UNITY_FROM_OURS @ place - scale * driven.person.joints_m[at]) < NEAR_M
        assert angle_deg(UNITY_FROM_OURS @ turn @ UNITY_FROM_OURS, driven.person.orientations[by]) <= NEAR_DEG


def test_the_t_pose() -> None:
    assert_received(t_pose_sent())
    for place, turn in trackers_of(t_pose_sent()).values():
        assert place[1] > 0
        np.testing.assert_allclose(turn, np.eye(3), atol=1e-12)


def test_poses_of_any_kind_arrive() -> None:
    for driven in generated_poses():
        assert_received(driven)


def test_who_looks_straight_up_has_angles_too() -> None:
    rotations = np.tile([0.0, 0.0, 0.0, 1.0], (22, 1))
    for up in (1.0, -1.0):
        rotations[0] = Rotation.from_euler("yx", [37.0, up * 90.0], degrees=True).as_quat()
        assert_received(driven_pose(rotations, (0.0, 1.0, 0.0)))


def test_poses_of_recordings_arrive(shared_data: Path) -> None:
    for driven in recorded_poses(shared_data):
        assert_received(driven)


def test_positions_are_in_the_users_metres() -> None:
    assert_received(generated_poses(1)[0], scale=1.9 / 1.7)


@pytest.mark.parametrize("chosen", [("hip", "left_foot", "right_foot"), ("head",)])
def test_only_chosen_trackers_are_sent(chosen: tuple[str, ...]) -> None:
    sent = [message.address for bundle in vrchat_bundles(t_pose_sent(), chosen) for message in decode(bundle)]
    numbers = {"hip": "1", "left_foot": "2", "right_foot": "3", "head": "head"}
    assert sent == [f"/tracking/trackers/{numbers[c]}/{what}" for c in chosen for what in ("position", "rotation")]
