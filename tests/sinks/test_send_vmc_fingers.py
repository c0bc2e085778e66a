"""Fingers over VMC: who has the file sees the hand that is tracked, and hears nothing of hands that never were."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from bodystream.avatar import VrmAvatar, VrmModel
from bodystream.geometry.fingers import UNITY_FINGERS
from bodystream.sinks.send import MAX_BUNDLE_BYTES, DrivenPose, PosedBones
from bodystream.sinks.send.vmc import VmcSender, vmc_bundles
from bodystream.types import DeviceKind, HeadsetSample, TrackedDevice
from helpers.hands import a_hand
from helpers.headset_motions import person
from helpers.osc_reference import decode
from helpers.sent_poses import generated_poses, t_pose_sent
from helpers.vmc_receiver import Marionette, file_vertices
from helpers.vrm_files import Glb
from helpers.vrm_fingers import fingered_glb, streamed_vertices

NEAR_M = 1e-3
SIDES = ("left", "right")


def tracked(seed: int | None) -> TrackedDevice | None:
    hand = None if seed is None else a_hand(seed)
    return TrackedDevice(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), DeviceKind.HAND_WRIST, hand)


def turned(glb: Glb) -> Glb:
    """The same with every finger's first bone under a node of its own, which is turned, as exporters add them."""
    nodes = glb.json["nodes"]
    for side in SIDES:
        hand = next(node for node in nodes if node.get("name") == f"J_{side}_wrist")
        first = next(k for k in hand["children"] if "Index" in nodes[k]["name"])
        nodes.append({"name": "between", "rotation": [0.0, 0.6, 0.0, 0.8], "children": [first]})
        hand["children"][hand["children"].index(first)] = len(nodes) - 1
    return glb


@pytest.mark.parametrize(("version", "between"), [("0", False), ("1", False), ("1", True)])
def test_who_has_the_file_sees_the_same_fingers(version: str, between: bool, tmp_path: Path) -> None:
    glb = turned(fingered_glb(version)) if between else fingered_glb(version)
    path = tmp_path / "fingers.vrm"
    path.write_bytes(glb.bytes())
    model = VrmModel(path)
    taken = VrmAvatar(model, person()).retarget
    for number, body in enumerate(generated_poses(2)):
        sample = HeadsetSample(0, 0, None, tracked(number), None if number == 1 else tracked(number + 10))
        own = PosedBones(taken.pose(body.pose), taken.skeleton, taken.bones, taken.scale)
        bundles = vmc_bundles(DrivenPose(PosedBones(body.pose, person()), sample, own), 0.0, SIDES)
        assert max(map(len, bundles)) <= MAX_BUNDLE_BYTES
        receiver = Marionette().take(message for bundle in bundles for message in decode(bundle))
        assert len(receiver.local) == 1 + len(model.humanoid.nodes) + len(model.humanoid.fingers)
        wanted = streamed_vertices(model.skin, own.pose, own.joints_m, sample)
        got = file_vertices(glb, model.humanoid, receiver)
        assert cKDTree(got).query(wanted)[0].max() < NEAR_M and cKDTree(wanted).query(got)[0].max() < NEAR_M
        still = file_vertices(glb, model.humanoid, Marionette().take(
            message for bundle in vmc_bundles(DrivenPose(own, sample, own), 0.0) for message in decode(bundle)
        ))  # fmt: skip
        assert np.abs(got - still).max() > 0.02, "without fingers the hand is as at rest"


def test_fingers_have_the_names_of_unity() -> None:
    names = {
        f"{side}{finger}{segment}"
        for side, finger, segment in itertools.product(
            ("Left", "Right"),
            ("Thumb", "Index", "Middle", "Ring", "Little"),
            ("Proximal", "Intermediate", "Distal"),
        )
    }
    assert set(UNITY_FINGERS.values()) == names
    assert UNITY_FINGERS["left", 1] == "LeftThumbProximal" and UNITY_FINGERS["right", 24 - 1] == "RightLittleDistal"


def test_a_hand_is_sent_from_when_its_joints_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fingers.vrm"
    path.write_bytes(fingered_glb("1").bytes())
    taken = VrmAvatar(VrmModel(path), person()).retarget
    sender = VmcSender("127.0.0.1", 39539)
    sent: list[list[bytes]] = []
    monkeypatch.setattr(sender._udp, "send", lambda bundles: sent.append(bundles) is None)
    pose = t_pose_sent().pose
    own = PosedBones(taken.pose(pose), taken.skeleton, taken.bones, taken.scale)
    held = TrackedDevice(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), DeviceKind.GRIP)
    for left, right in (
        (held, None),
        (tracked(None), None),
        (tracked(1), held),
        (None, held),
        (tracked(2), tracked(3)),
    ):
        assert sender.send(DrivenPose(PosedBones(pose, person()), HeadsetSample(0, 0, None, left, right), own))
    sender.close()
    received = [Marionette().take(m for bundle in bundles for m in decode(bundle)) for bundles in sent]
    sides = [{side for side in SIDES if f"{side.capitalize()}IndexProximal" in seen.local} for seen in received]
    assert sides == [set(), set(), {"left"}, {"left"}, {"left", "right"}]
    at_rest, bent = (received[k].local["LeftIndexProximal"][1] for k in (3, 2))
    np.testing.assert_allclose(at_rest, [0.0, 0.0, 0.0, 1.0], atol=1e-6)
    assert abs(bent[3]) < 0.999


def test_of_an_avatar_without_a_file_no_finger_is_sent() -> None:
    body = t_pose_sent(sample=HeadsetSample(0, 0, None, tracked(1), tracked(2)))
    receiver = Marionette().take(message for bundle in vmc_bundles(body, 0.0, SIDES) for message in decode(bundle))
    assert len(receiver.local) == 23


@pytest.mark.parametrize("scale", [(0.0, 0.0, 0.0), (1.0, 3.0, 1.0), (1.0, 1.0, -1.0)])
def test_fingers_that_are_no_turns_are_left_out_and_told(scale: tuple[float, ...], tmp_path: Path) -> None:
    """Nobody can tell how a bone is turned that is scaled to nothing, unevenly, or mirrored."""
    glb = fingered_glb("1")
    bone = next(node for node in glb.json["nodes"] if node.get("name") == "leftIndexIntermediate")
    bone["scale"] = list(scale)
    for node in glb.json["nodes"]:  # without the surface of fingers, which a scale of nothing flattens
        if node.get("name") == "fingers":
            del node["mesh"], node["skin"]
    path = tmp_path / "fingers.vrm"
    path.write_bytes(glb.bytes())
    model = VrmModel(path)
    assert [note for note in model.notes if "leftIndexIntermediate, leftIndexDistal: scaled unevenly" in note]
    taken = VrmAvatar(model, person()).retarget
    body = generated_poses(1)[0]
    sample = HeadsetSample(0, 0, None, tracked(1), tracked(2))
    own = PosedBones(taken.pose(body.pose), taken.skeleton, taken.bones, taken.scale)
    fingers = own.fingers(sample)
    thumb = ["LeftThumbProximal", "LeftThumbIntermediate", "LeftThumbDistal"]
    assert [name for name, _, _ in fingers["left"]] == [*thumb, "LeftIndexProximal"] and len(fingers["right"]) == 6
    for _, place, turn in (*fingers["left"], *fingers["right"]):
        assert np.isfinite(place).all() and np.linalg.norm(turn) == pytest.approx(1.0)
