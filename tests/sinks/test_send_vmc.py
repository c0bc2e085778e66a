"""VMC out: what a receiver written after the specification makes of it, read by decoders that are not python-osc's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.geometry.mounting import device_at_joint
from bodystream.geometry.skeleton import HEAD, JOINTS, LEFT_HAND, RIGHT_HAND
from bodystream.geometry.skeleton_maps import UNITY_BONES
from bodystream.sinks.send import MAX_BUNDLE_BYTES, DrivenPose
from bodystream.sinks.send.vmc import vmc_bundles
from bodystream.types import DeviceKind, HeadsetSample, Status
from helpers.osc_reference import IMMEDIATELY, OscElement, by_oscpy, decode
from helpers.sent_poses import (
    UNITY_FROM_OURS,
    angle_deg,
    driven_pose,
    generated_poses,
    recorded_poses,
    t_pose_sent,
)
from helpers.vmc_receiver import HUMANOID_PARENTS, Marionette

NEAR_M, NEAR_DEG = 1e-3, 0.01


def messages_of(driven: DrivenPose, time_s: float = 0.0) -> list[OscElement]:
    return [message for bundle in vmc_bundles(driven, time_s) for message in decode(bundle)]


def assert_received(driven: DrivenPose) -> None:
    """The receiver's bones are where ours are, and each local rotation comes back through the axes."""
    receiver = Marionette().take(messages_of(driven))
    locals_ours = Rotation.from_quat(driven.pose.rotations_xyzw).as_matrix()
    for k, joint in enumerate(JOINTS):
        bone = UNITY_BONES[joint]
        place, turn = receiver.world(bone)
        assert np.linalg.norm(UNITY_FROM_OURS @ place - driven.person.joints_m[k]) < NEAR_M, bone
        back = UNITY_FROM_OURS @ turn.as_matrix() @ UNITY_FROM_OURS
        assert angle_deg(back, driven.person.orientations[k]) <= NEAR_DEG, bone
        local = UNITY_FROM_OURS @ Rotation.from_quat(receiver.local[bone][1]).as_matrix() @ UNITY_FROM_OURS
        assert angle_deg(local, locals_ours[k]) <= NEAR_DEG, bone


def test_the_t_pose_is_unitys_own() -> None:
    driven = t_pose_sent()
    assert_received(driven)
    receiver = Marionette().take(messages_of(driven))
    for bone in HUMANOID_PARENTS:
        np.testing.assert_allclose(receiver.local[bone][1], [0, 0, 0, 1], atol=1e-7)
    left, right, toes = (receiver.world(bone)[0] for bone in ("LeftHand", "RightHand", "LeftToes"))
    assert left[0] < -0.5 and right[0] > 0.5, "Unity: x to the right"
    assert toes[2] > receiver.world("LeftFoot")[0][2], "Unity: z is ahead"


def test_poses_of_any_kind_arrive() -> None:
    for driven in generated_poses():
        assert_received(driven)


def test_poses_of_recordings_arrive(shared_data: Path) -> None:
    poses = recorded_poses(shared_data)
    assert len(poses) == 10
    for driven in poses:
        assert_received(driven)


def test_an_independent_library_reads_the_same() -> None:
    for driven in (t_pose_sent(), *generated_poses(3)):
        for bundle in vmc_bundles(driven, 1.5):
            assert by_oscpy(bundle) == [replace(message, time_tag=None) for message in decode(bundle)]


def test_bundles_are_small_and_for_now() -> None:
    for driven in (t_pose_sent(), *generated_poses(3)):
        bundles = vmc_bundles(driven, 0.0)
        assert len(bundles) == 2 and max(map(len, bundles)) <= MAX_BUNDLE_BYTES <= 1500
        assert {message.time_tag for bundle in bundles for message in decode(bundle)} == {IMMEDIATELY}


def test_it_is_told_whether_there_is_a_pose_and_what_time_it_is() -> None:
    for status, tracking in ((Status.TRACKED, 1), (Status.DEGRADED, 1), (Status.LOST, 0)):
        receiver = Marionette().take(messages_of(t_pose_sent(status=status), 2.5))
        assert receiver.available == (1, 3, 0, tracking) and receiver.time_s == 2.5


def test_bones_that_we_do_not_know_are_left_out() -> None:
    messages = messages_of(t_pose_sent())
    bones = [message.arguments[0] for message in messages if message.address == "/VMC/Ext/Bone/Pos"]
    assert sorted(bones) == sorted(HUMANOID_PARENTS) and len(bones) == 22
    assert [m.arguments[0] for m in messages if m.address == "/VMC/Ext/Root/Pos"] == ["root"]
    assert not Marionette().take(messages).devices, "nothing was tracked"


@pytest.mark.parametrize("kind", [DeviceKind.GRIP, DeviceKind.HAND_WRIST, DeviceKind.JOINT])
def test_head_and_hands_are_sent_as_what_they_are(kind: DeviceKind) -> None:
    body = generated_poses(1)[0]
    head_kind = DeviceKind.JOINT if kind is DeviceKind.JOINT else DeviceKind.VIEW
    sample = HeadsetSample(
        0,
        5_000_000,
        device_at_joint(body.person.joints_m[HEAD], body.person.orientations[HEAD], head_kind, "head"),
        device_at_joint(body.person.joints_m[LEFT_HAND], body.person.orientations[LEFT_HAND], kind, "left"),
        device_at_joint(body.person.joints_m[RIGHT_HAND], body.person.orientations[RIGHT_HAND], kind, "right"),
    )
    driven = driven_pose(body.pose.rotations_xyzw, body.pose.root_position_m, sample=sample)
    devices = Marionette().take(messages_of(driven)).devices
    hand, what = ("Con", "Controller") if kind is DeviceKind.GRIP else ("Tra", "Wrist")
    assert {serial: device[0] for serial, device in devices.items()} == {
        "HMD": "Hmd",
        f"Left{what}": hand,
        f"Right{what}": hand,
    }
    sent = DeviceKind.GRIP if kind is DeviceKind.GRIP else DeviceKind.HAND_WRIST
    for serial, joint, side, as_kind in (
        ("HMD", HEAD, "head", DeviceKind.VIEW),
        (f"Left{what}", LEFT_HAND, "left", sent),
        (f"Right{what}", RIGHT_HAND, "right", sent),
    ):
        wanted = device_at_joint(body.person.joints_m[joint], body.person.orientations[joint], as_kind, side)
        _, place, turn = devices[serial]
        np.testing.assert_allclose(UNITY_FROM_OURS @ place, wanted.position_m, atol=1e-6)
        back = UNITY_FROM_OURS @ Rotation.from_quat(turn).as_matrix() @ UNITY_FROM_OURS
        assert angle_deg(back, Rotation.from_quat(wanted.rotation_xyzw).as_matrix()) <= NEAR_DEG
    assert max(map(len, vmc_bundles(driven, 0.0))) <= MAX_BUNDLE_BYTES
