"""VMC out for avatars of VRM files: who has the same file and sets its nodes as they are told sees the same body.

The receiver does what UniVRM does: a file's axes are mirrored, in z of VRM 0 and in x of VRM 1, so that the avatar
looks along Unity's z; then each humanoid bone gets the local position and rotation that were sent.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from bodystream.avatar import VrmAvatar, VrmModel
from bodystream.geometry.mounting import device_at_joint
from bodystream.geometry.skeleton import HEAD
from bodystream.sinks.send import MAX_BUNDLE_BYTES, DrivenPose, PosedBones
from bodystream.sinks.send.vmc import vmc_bundles
from bodystream.types import DeviceKind, HeadsetSample
from helpers.headset_motions import person
from helpers.osc_reference import decode
from helpers.sent_poses import generated_poses
from helpers.vmc_receiver import Marionette, file_vertices
from helpers.vrm_files import A_POSE, VrmOptions, small_glb

NEAR_M = 1e-3
FILES = {
    "VRM 0": VrmOptions(version="0"),
    "VRM 1": VrmOptions(version="1"),
    "turned bones": VrmOptions(version="1", turned=True),
    "turned bones of VRM 0": VrmOptions(version="0", turned=True),
    "A-pose": VrmOptions(rest=A_POSE, turned=True),
    "scaled root": VrmOptions(root_scale=0.01),
    "few bones": VrmOptions(
        without=("spine2", "spine3", "neck", "left_collar", "right_collar", "left_foot", "right_foot")
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_who_has_the_file_sees_the_same_body(name: str, tmp_path: Path) -> None:
    path = tmp_path / "me.vrm"
    glb = small_glb(FILES[name])
    path.write_bytes(glb.bytes())
    model = VrmModel(path)
    avatar = VrmAvatar(model, person())
    for body in generated_poses(2):
        pose = body.pose
        taken = avatar.retarget
        own = PosedBones(taken.pose(pose), taken.skeleton, taken.bones, taken.scale)
        driven = DrivenPose(PosedBones(pose, person()), body.sample, own)
        bundles = vmc_bundles(driven, 0.0)
        assert max(map(len, bundles)) <= MAX_BUNDLE_BYTES
        receiver = Marionette().take(message for bundle in bundles for message in decode(bundle))
        assert len(receiver.local) == 1 + len(model.humanoid.nodes), "the root, and what bones it has"
        wanted = avatar.pose(pose.rotations_xyzw, pose.root_position_m).vertices
        got = file_vertices(glb, model.humanoid, receiver)
        assert len(got) == len(wanted)  # in another order
        assert cKDTree(got).query(wanted)[0].max() < NEAR_M and cKDTree(wanted).query(got)[0].max() < NEAR_M


def test_devices_are_beside_a_small_avatar_and_where_they_really_are() -> None:
    body = generated_poses(1)[0]
    head = device_at_joint(body.person.joints_m[HEAD], body.person.orientations[HEAD], DeviceKind.VIEW, "head")
    own = PosedBones(body.pose, body.person.skeleton, scale=0.5)
    driven = DrivenPose(body.person, HeadsetSample(0, 0, head), own)
    places = {
        message.address: np.array(message.arguments[1:4])
        for bundle in vmc_bundles(driven, 0.0)
        for message in decode(bundle)
        if "Hmd" in message.address
    }
    assert set(places) == {"/VMC/Ext/Hmd/Pos", "/VMC/Ext/Hmd/Pos/Local"}
    np.testing.assert_allclose(places["/VMC/Ext/Hmd/Pos/Local"], head.position_m * (1, 1, -1), atol=1e-6)
    np.testing.assert_allclose(places["/VMC/Ext/Hmd/Pos"], 0.5 * head.position_m * (1, 1, -1), atol=1e-6)
