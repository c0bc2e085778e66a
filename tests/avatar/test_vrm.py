"""VRM files of every make stand, look and bend as the body that they were made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import KDTree

from bodystream.avatar import Avatar, LbsAvatar, VrmAvatar, VrmModel, open_avatar
from bodystream.avatar.open import avatar_label, avatar_maker
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from helpers.avatar_poses import IDENTITY, POSES
from helpers.vrm_files import A_POSE, BUILDS, VrmOptions, vrm_glb, write_vrm

SPARE = ("spine2", "spine3", "neck", "left_collar", "right_collar", "left_foot", "right_foot")
MAKES: dict[str, dict[str, Any]] = {
    "VRM 0": {"version": "0"},
    "VRM 1": {"version": "1"},
    "A-pose": {"rest": A_POSE},
    "A-pose of VRM 0": {"rest": A_POSE, "version": "0"},
    "turned bones": {"turned": True},
    "turned bones in an A-pose": {"turned": True, "rest": A_POSE},
    "bound in another pose": {"bind": A_POSE},
    "scaled root": {"root_scale": 0.01},
    "few bones": {"without": SPARE},
    "no upper chest": {"without": ("spine3",), "version": "0"},
    "eight influences, sparse, a texture": {"more_influences": True, "sparse": True, "textured": True},
}
STIFF_M = 0.01
"""What the body that an A-pose straightens into may differ from the one that it was made of: skin, not bones."""


@pytest.fixture(scope="module", params=list(MAKES))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, VrmModel]:
    path = tmp_path_factory.mktemp("vrm") / "me.vrm"
    return request.param, VrmModel(write_vrm(path, BUILDS["tall"](), **MAKES[request.param]))


def test_it_has_the_proportions_and_height_of_the_body(made: tuple[str, VrmModel]) -> None:
    make, model = made
    there = [j for j, name in enumerate(JOINTS) if name not in MAKES[make].get("without", ())]
    wanted = BUILDS["tall"]()
    np.testing.assert_allclose(
        model.build.skeleton.rest_positions_m[there], wanted.rest_positions_m[there], atol=2e-4, rtol=0
    )
    assert model.build.bones.has.tolist() == [joint in there for joint in range(len(JOINTS))]
    soles = LbsAvatar(wanted).pose(IDENTITY, np.zeros(3)).vertices[:, 1].min()
    assert model.build.hips_m == pytest.approx(-soles, abs=0.005)


@pytest.mark.parametrize("name", ["T", "hanging", "arms up", "seated"])
def test_its_skin_follows_as_that_of_the_body(made: tuple[str, VrmModel], name: str) -> None:
    """By its own proportions, vertex by vertex; where bones are absent that bend in a pose, only in the T-pose."""
    make, model = made
    name = "T" if MAKES[make].get("without") == SPARE else name
    body = LbsAvatar(BUILDS["tall"]())
    avatar = VrmAvatar(model)
    root = np.array([0.4, 1.0, -0.2])
    avatar._poser.pose(POSES[name], root)
    mine, theirs = avatar._poser.mesh(), body.pose(POSES[name], root)
    # Reading merges vertices that coincide and orders them anew: they are found again in the T-pose.
    avatar._poser.pose(IDENTITY, np.zeros(3))
    order = KDTree(body.pose(IDENTITY, np.zeros(3)).vertices).query(avatar._poser.mesh().vertices)[1]
    apart = np.linalg.norm(mine.vertices - theirs.vertices[order], axis=1)
    # Who is bound in another pose lets the same skin fold from there.
    exact = "rest" not in MAKES[make] and "bind" not in MAKES[make]
    assert np.percentile(apart, 90) < (2e-3 if exact else STIFF_M)
    assert np.median(apart) < 2e-3


def test_a_picture_says_what_colours_it_has(tmp_path: Path) -> None:
    model = VrmModel(write_vrm(tmp_path / "me.vrm", BUILDS["short"](), textured=True))
    assert {part.colour for part in model.skin.parts} == {(232, 190, 172), (60, 90, 200), (50, 54, 60)}
    heights = {
        part.colour: model.skin.mesh.vertices[model.skin.mesh.faces[part.start : part.end], 1].mean()
        for part in model.skin.parts
    }
    assert heights[(232, 190, 172)] > heights[(60, 90, 200)] > heights[(50, 54, 60)]
    assert model.notes == []


def test_a_colour_in_the_material_is_linear(tmp_path: Path) -> None:
    (part,) = VrmModel(write_vrm(tmp_path / "me.vrm", BUILDS["short"]())).skin.parts
    assert part.colour == (231, 170, 124)  # of 0.8, 0.4 and 0.2


def test_a_picture_that_cannot_be_read_is_told_and_does_without(tmp_path: Path) -> None:
    glb = vrm_glb(BUILDS["short"](), VrmOptions(textured=True))
    view = glb.json["bufferViews"][glb.json["images"][0]["bufferView"]]
    glb.data = glb.data[: view["byteOffset"]] + b"no PNG" + glb.data[view["byteOffset"] + 6 :]
    (tmp_path / "me.vrm").write_bytes(glb.bytes())
    model = VrmModel(tmp_path / "me.vrm")
    assert [part.colour for part in model.skin.parts] == [(255, 255, 255)]
    assert len(model.notes) == 1 and "picture 0 is no PNG or JPEG" in model.notes[0]


@pytest.mark.parametrize("name", ["me.vrm", "me.VRM", "me.glb", "me"])
def test_a_file_is_chosen_by_its_name_or_its_content(tmp_path: Path, name: str) -> None:
    path = write_vrm(tmp_path / name, BUILDS["short"]())
    avatar = open_avatar(str(path))
    assert isinstance(avatar, VrmAvatar) and isinstance(avatar, Avatar) and avatar.retarget is not None
    assert avatar_label(avatar_maker(path)) == str(path)
    mesh = avatar.pose(IDENTITY, np.array([0.0, 1.0, 0.0]))
    assert mesh.normals is not None and np.abs(np.linalg.norm(mesh.normals, axis=1) - 1.0).max() < 1e-5
    out = np.empty((2, *mesh.vertices.shape), np.float32)
    avatar.pose_into(IDENTITY, np.array([0.0, 1.0, 0.0]), out[0], out[1])
    np.testing.assert_array_equal(out[0], mesh.vertices)


def test_a_file_that_looks_the_other_way_than_its_version_is_driven_all_the_same(tmp_path: Path) -> None:
    """A left leg is on the left: which way a model looks is seen in it."""
    glb = vrm_glb(BUILDS["short"](), VrmOptions(version="0"))
    humanoid = glb.json.pop("extensions")["VRM"]["humanoid"]["humanBones"]
    bones = {bone["bone"]: {"node": bone["node"]} for bone in humanoid}
    glb.json["extensions"] = {"VRMC_vrm": {"specVersion": "1.0", "humanoid": {"humanBones": bones}}}
    (tmp_path / "me.vrm").write_bytes(glb.bytes())
    model = VrmModel(tmp_path / "me.vrm")
    assert model.humanoid.version == "1" and not model.humanoid.faces_ahead
    positions = model.humanoid.positions_m
    assert positions[JOINT_INDEX["right_hip"], 0] > 0.0 > positions[JOINT_INDEX["left_hip"], 0]
    assert (positions[JOINT_INDEX["left_foot"]] - positions[JOINT_INDEX["left_ankle"]])[2] < -0.03, "toes are ahead"


def test_unknown_keys_and_extensions_do_no_harm(tmp_path: Path) -> None:
    glb = vrm_glb(BUILDS["short"](), VrmOptions())
    glb.json |= {"somebody's own": [1, {"x": None}], "extras": {"a": 1}}
    glb.json["extensionsUsed"] += ["ACME_hair"]
    glb.json["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": 0}]  # a morph target
    (tmp_path / "me.vrm").write_bytes(glb.bytes())
    assert VrmModel(tmp_path / "me.vrm").file.json["somebody's own"] == [1, {"x": None}]
