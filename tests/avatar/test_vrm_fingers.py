"""Fingers of a VRM file: they follow the wrist, and the joints of a tracked hand where there are such."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.avatar.vrm import VrmModel
from bodystream.geometry.fingers import VRM_FINGERS, finger_motion, rest_axes
from bodystream.geometry.hands import HAND_JOINTS
from bodystream.geometry.mounting import joint_from_device
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.geometry.skinning import body_motion
from bodystream.sinks.stream.body import BodyEncoder
from bodystream.types import (
    Array,
    BodyPose,
    BoneMotion,
    DeviceKind,
    HandJoints,
    HeadsetSample,
    SkinnedMesh,
    TrackedDevice,
)
from bodystream.wire.envelope import open_message
from bodystream.wire.meshes import decode_skeleton
from bodystream.wire.motions import decode_motion
from helpers.avatar_poses import IDENTITY
from helpers.vrm_fingers import FINGER_M, fingered_glb, streamed_vertices

UNTURNED = Rotation.identity()
AHEAD = {"left": np.array([-1.0, 0.0, 0.0]), "right": np.array([1.0, 0.0, 0.0])}


@pytest.fixture(scope="module", params=["0", "1"])
def skin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SkinnedMesh:
    path: Path = tmp_path_factory.mktemp("vrm") / "fingers.vrm"
    path.write_bytes(fingered_glb(request.param).bytes())
    return VrmModel(path).skin


def hand_of(side: str, **turned: Rotation) -> HandJoints:
    """A hand stretched out, thumb beside it, but for joints that are turned, by rotations in the wrist's canonical
    frame."""
    wrist = joint_from_device(DeviceKind.HAND_WRIST, side)[1]  # pyright: ignore[reportArgumentType]
    thumb = AHEAD[side] * np.sqrt(0.5) - (0.0, 0.0, np.sqrt(0.5))
    rotations = []
    for k, name in enumerate(HAND_JOINTS):
        axes = rest_axes(k, thumb if name.startswith("thumb") else AHEAD[side])
        turn = turned.get(name.replace("-", "_"), Rotation.identity()).as_matrix()
        rotations.append(wrist.T @ turn @ axes)
    return HandJoints(
        np.zeros((25, 3), np.float32),
        Rotation.from_matrix(rotations).as_quat(canonical=True).astype(np.float32),
        np.zeros(25, np.float32),
    )


def sample_of(left: HandJoints | None = None, right: HandJoints | None = None) -> HeadsetSample:
    devices = [
        None if hand is None else TrackedDevice(np.zeros(3), np.array([0, 0, 0, 1.0]), DeviceKind.HAND_WRIST, hand)
        for hand in (left, right)
    ]
    return HeadsetSample(0, 1, None, *devices)


def posed(skin: SkinnedMesh, sample: HeadsetSample | None, turn: Rotation = UNTURNED) -> Array:
    """(V, 3) vertices as a reader of the stream poses them, of a body in the T-pose that is turned as a whole."""
    places = turn.apply(np.linalg.inv(skin.bone_from_bind.astype(np.float64))[: len(JOINTS), :3, 3])
    rotations = IDENTITY.astype(np.float32).copy()
    rotations[0] = turn.as_quat()
    pose = BodyPose(1, rotations, places[0].astype(np.float32))
    return streamed_vertices(skin, pose, places, sample)


def vertices_of(skin: SkinnedMesh, side: str, joint: str) -> Array:
    (finger,) = [f for f in skin.fingers if f.side == side and HAND_JOINTS[f.joint] == joint]
    return np.isin(skin.bones[:, 0], finger.bones) & (skin.weights[:, 0] > 0.99)


def test_bones_of_fingers_are_named_as_the_versions_of_vrm_do() -> None:
    for names in VRM_FINGERS.values():
        assert len(names) == 30 and names["leftIndexProximal"] == HAND_JOINTS.index("index-finger-phalanx-proximal")
    assert VRM_FINGERS["0"]["rightThumbProximal"] == VRM_FINGERS["1"]["rightThumbMetacarpal"] == 1


def test_rest_axes_are_right_handed_and_point_along() -> None:
    for joint in (2, 7, 24):
        for along in np.random.default_rng(1).normal(size=(50, 3)) * 0.03:
            axes = rest_axes(joint, along)
            np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
            assert np.linalg.det(axes) > 0 and -axes[:, 2] @ along > 0.999 * np.linalg.norm(along)
    for along in ((0.0, 1.0, 0.0), (0.0, 1.0, -1.0)):  # to where the back should be
        assert np.isfinite(rest_axes(7, np.array(along))).all() and np.isfinite(rest_axes(2, np.array(along))).all()


def test_fingers_hang_in_their_order(skin: SkinnedMesh) -> None:
    assert len(skin.fingers) == 12 and all(len(finger.bones) == 1 for finger in skin.fingers)
    for k, finger in enumerate(skin.fingers):
        assert finger.above < k
        name = HAND_JOINTS[finger.joint]
        if name in ("index-finger-phalanx-proximal", "thumb-metacarpal"):
            assert finger.above == -1
        else:
            above = skin.fingers[finger.above]
            assert above.side == finger.side and above.joint == finger.joint - 1
            assert np.linalg.norm(finger.pivot_m - above.pivot_m) == pytest.approx(FINGER_M, abs=1e-6)
    assert skin.parents is not None
    wrists = [JOINT_INDEX[f"{finger.side}_wrist"] for finger in skin.fingers]
    assert skin.parents[[finger.bones[0] for finger in skin.fingers]].tolist() == wrists


def test_without_hands_or_with_stretched_ones_the_body_is_as_at_rest(skin: SkinnedMesh) -> None:
    for turn in (Rotation.identity(), Rotation.from_rotvec([0.2, 0.9, -0.3])):
        rest = posed(skin, None, turn)
        np.testing.assert_allclose(rest, turn.apply(skin.mesh.vertices), atol=4e-4)
        np.testing.assert_allclose(posed(skin, sample_of(hand_of("left"), hand_of("right")), turn), rest, atol=4e-4)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_bent_finger_bends_at_its_joints(skin: SkinnedMesh, side: str) -> None:
    """The middle segment down by 90 degrees, the last one by 180: the finger is a hook."""
    sign = 1.0 if side == "left" else -1.0
    down = Rotation.from_euler("z", sign * 90, degrees=True)
    back = Rotation.from_euler("z", sign * 180, degrees=True)
    hand = hand_of(side, index_finger_phalanx_intermediate=down, index_finger_phalanx_distal=back)
    turn = Rotation.from_rotvec([0.0, 0.8, 0.1])
    rest, moved = posed(skin, None, turn), posed(skin, sample_of(**{side: hand}), turn)
    first, middle, last = (
        vertices_of(skin, side, f"index-finger-phalanx-{part}") for part in ("proximal", "intermediate", "distal")
    )
    still = ~(middle | last)
    np.testing.assert_allclose(moved[still], rest[still], atol=4e-4)
    begin, ours = turn.inv().apply(rest), turn.inv().apply(moved)
    out = AHEAD[side][0]
    end = (out * begin[first][:, 0]).max()  # of the first segment, along the finger
    assert np.ptp(ours[middle][:, 1]) == pytest.approx(FINGER_M, abs=1e-3)  # hangs from there
    assert np.abs(out * ours[middle][:, 0] - end).max() < 0.006
    assert ours[last][:, 1].max() < begin[first][:, 1].min() - FINGER_M + 0.006  # and the last one runs back
    assert (out * ours[last][:, 0]).min() == pytest.approx(end - FINGER_M, abs=1e-3)
    np.testing.assert_allclose(ours[last][:, 2], begin[last][:, 2], atol=1e-3)


def test_fingers_that_move_nothing_are_not_sent(skin: SkinnedMesh) -> None:
    fingers = tuple(replace(f, bones=()) if k % 2 else f for k, f in enumerate(skin.fingers))
    places = np.zeros((22, 3))
    update = BodyEncoder().encode(
        BodyPose(1, IDENTITY.astype(np.float32), np.zeros(3, np.float32)), places, replace(skin, fingers=fingers)
    )
    assert update.motion is not None
    assert len(decode_motion(open_message(update.motion)).positions_m) == 22 + 6
    assert decode_skeleton(open_message(update.skeletons[0])).follows.max() == 27


def test_the_chain_turns_about_its_pivots(skin: SkinnedMesh) -> None:
    """By plain composition of one segment after the other."""
    rng = np.random.default_rng(4)
    turns = {name.replace("-", "_"): Rotation.from_rotvec(rng.normal(size=3)) for name in HAND_JOINTS}
    pose = BodyPose(1, IDENTITY.astype(np.float32), np.zeros(3, np.float32))
    motion: BoneMotion = body_motion(pose, np.zeros((22, 3)))
    rotations, places = finger_motion(skin.fingers, motion, sample_of(hand_of("left", **turns)))
    for k, finger in enumerate(skin.fingers):
        if finger.side == "right":
            np.testing.assert_allclose(places[k], 0.0, atol=1e-12)
            continue
        turn = Rotation.from_quat(rotations[k])
        # The thumb of `hand_of` lies as that of the file, so that the turns are those that were asked for.
        wanted = turns[HAND_JOINTS[finger.joint].replace("-", "_")]
        assert (turn * wanted.inv()).magnitude() < 1e-5
        moved = turn.apply(finger.pivot_m) + places[k]
        above = finger.above
        carried = finger.pivot_m
        if above >= 0:
            carried = Rotation.from_quat(rotations[above]).apply(finger.pivot_m) + places[above]
        np.testing.assert_allclose(moved, carried, atol=1e-9)
