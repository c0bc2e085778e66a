"""The clothed avatar without PyTorch: by the network and by tables, beside the network in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")
needs("onnx", "pip install 'bodystream[export]'")

from bodystream.avatar import Avatar, open_avatar  # noqa: E402
from bodystream.avatar.clothed.avatar import ClothedAvatar, ClothedModel  # noqa: E402
from bodystream.avatar.clothed.bones import bone_parameters  # noqa: E402
from bodystream.avatar.heading import bones_in_heading  # noqa: E402
from bodystream.avatar.take.frames import PosedFrame  # noqa: E402
from bodystream.bundles import open_bundle  # noqa: E402
from bodystream.errors import BundleError, InputError  # noqa: E402
from bodystream.geometry.skeleton import Skeleton  # noqa: E402
from bodystream_export.avatar.convert import Prepared  # noqa: E402
from bodystream_training.avatar import layers  # noqa: E402
from helpers.ball_people import ball_take  # noqa: E402
from helpers.clothed_bundles import COARSE, FINE, prepared_balls, write_balls  # noqa: E402

FRAMES = ball_take(4, 3).split("test")


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepared_balls()


@pytest.fixture(scope="module")
def fine(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> ClothedModel:
    return ClothedModel(write_balls(tmp_path_factory.mktemp("avatars") / "fine", prepared, FINE))


def posed(avatar: Avatar, frame: PosedFrame) -> np.ndarray:
    return avatar.pose(frame.rotations_xyzw[:22], frame.posed_from_canonical[0][:3, 3]).vertices


def by_torch(prepared: Prepared, frame: PosedFrame) -> np.ndarray:
    bones, heading = bones_in_heading(frame.posed_from_canonical.astype(np.float64))
    with torch.no_grad():
        points = torch.from_numpy(prepared.vertices)
        seen = prepared.model.repose(points, torch.from_numpy(bones.astype(np.float32))).numpy()
    return seen @ heading[:3, :3].T + heading[:3, 3]


def away_mm(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return 1e3 * np.linalg.norm(one - other, axis=1)


def test_the_network_is_that_of_pytorch(prepared: Prepared, fine: ClothedModel) -> None:
    avatar = ClothedAvatar(fine, posed_by="network")
    for frame in FRAMES:
        assert away_mm(posed(avatar, frame), by_torch(prepared, frame)).max() < 0.01
    still = away_mm(posed(avatar, FRAMES[0]), FRAMES[0].vertices)
    assert still.mean() > 1.0  # it is not plain skinning that is looked at


def test_tables_come_to_the_network_as_they_get_finer(prepared: Prepared, fine: ClothedModel, tmp_path: Path) -> None:
    coarse = ClothedAvatar(ClothedModel(write_balls(tmp_path / "coarse", prepared, COARSE)))
    exact, finer = ClothedAvatar(fine, posed_by="network"), ClothedAvatar(fine)
    for frame in FRAMES:
        truth = posed(exact, frame)
        near, far = away_mm(posed(finer, frame), truth), away_mm(posed(coarse, frame), truth)
        assert near.mean() < 0.1 and near.max() < 0.5
        assert 0.0 < near.mean() < 0.5 * far.mean()


def test_a_surface_wider_than_the_tables_is_posed_by_the_network(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bodystream_export.avatar.convert._SPARE", 0.5)
    narrow = ClothedModel(write_balls(tmp_path / "narrow", prepared, FINE))
    avatar, exact = ClothedAvatar(narrow), ClothedAvatar(narrow, posed_by="network")
    np.testing.assert_array_equal(posed(avatar, FRAMES[0]), posed(exact, FRAMES[0]))


def test_where_somebody_stands_and_faces_does_not_matter(fine: ClothedModel) -> None:
    avatar = ClothedAvatar(fine)
    rotations, root = FRAMES[0].rotations_xyzw[:22].copy(), np.zeros(3)
    before = avatar.pose(rotations, root)
    turn = Rotation.from_euler("y", 130, degrees=True)
    rotations[0] = (turn * Rotation.from_quat(rotations[0])).as_quat()
    after = avatar.pose(rotations, root + (2.0, 0.3, -1.0))
    np.testing.assert_allclose(after.vertices, turn.apply(before.vertices) + (2.0, 0.3, -1.0), atol=2e-5)
    assert before.normals is not None and after.normals is not None
    np.testing.assert_allclose(after.normals, turn.apply(before.normals), atol=2e-3)


def test_normals_are_those_of_the_posed_faces(fine: ClothedModel) -> None:
    mesh = ClothedAvatar(fine).pose(FRAMES[1].rotations_xyzw[:22], np.zeros(3))
    assert mesh.normals is not None
    balls = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    centre = mesh.vertices.reshape(24, -1, 3).mean(1).repeat(len(mesh.vertices) // 24, 0)
    outwards = mesh.vertices - centre
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)
    assert balls.is_watertight and (mesh.normals * outwards).sum(1).min() > 0.8


def test_a_person_of_other_proportions_stands_as_high_as_the_body_can(fine: ClothedModel) -> None:
    own = fine.build.skeleton
    tall = Skeleton(own.offsets_m * 1.2)
    upright = np.tile((0.0, 0.0, 0.0, 1.0), (22, 1))
    avatar = ClothedAvatar(fine, tall)
    assert avatar.skeleton is tall and avatar.retarget is not None and avatar.skin is None
    high = avatar.pose(upright, np.array([0.0, tall.pelvis_height_m, 0.0])).vertices
    same = ClothedAvatar(fine).pose(upright, np.array([0.0, own.pelvis_height_m, 0.0])).vertices
    assert abs(np.ptp(high[:, 1]) - np.ptp(same[:, 1])) < 0.02


def test_the_numbers_of_bones_are_those_that_the_network_learned_with() -> None:
    bones = FRAMES[0].posed_from_canonical
    found = np.zeros((24, 6), np.float32)
    bone_parameters(bones, found)
    wanted = layers.bone_parameters(torch.from_numpy(bones[None]))[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_it_opens_as_every_avatar_and_refuses_what_no_pose_is(fine: ClothedModel) -> None:
    avatar = open_avatar(fine.bundle.place)
    assert isinstance(avatar, ClothedAvatar) and isinstance(avatar, Avatar)
    assert avatar.colours is not None and (avatar.colours == 90).all()
    bad = FRAMES[0].rotations_xyzw[:22].copy()
    bad[3] = np.nan
    with pytest.raises(InputError, match="not finite at spine1"):
        avatar.pose(bad, np.zeros(3))
    with pytest.raises(InputError, match="vertices_out must be float32"):
        avatar.pose_into(FRAMES[0].rotations_xyzw[:22], np.zeros(3), np.zeros((3, 3)), np.zeros((3, 3)))


def _changed(bundle_folder: Path, out: Path, **arrays: np.ndarray | None) -> Path:
    """A copy of a bundle with other arrays, whose manifest knows them."""
    import hashlib
    import shutil

    shutil.copytree(bundle_folder, out)
    with np.load(out / "avatar.npz") as archive:
        content = {name: archive[name] for name in archive.files} | arrays
    np.savez_compressed(out / "avatar.npz", **{k: v for k, v in content.items() if v is not None})
    manifest = json.loads((out / "manifest.json").read_text())
    for file in manifest["files"]:
        data = (out / file["path"]).read_bytes()
        file |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_where_tables_list_no_nodes_the_network_poses(fine: ClothedModel, tmp_path: Path) -> None:
    nowhere = np.zeros(sum(fine.body.section.canonical_grid.listed), np.float32)
    bare = ClothedModel(open_bundle(_changed(fine.bundle.place, tmp_path / "bare", canonical_nodes=nowhere)))
    avatar = ClothedAvatar(bare)
    np.testing.assert_array_equal(posed(avatar, FRAMES[0]), posed(ClothedAvatar(fine, posed_by="network"), FRAMES[0]))
    assert avatar.posing.method == "network" and "wider than the tables reach" in avatar.posing.reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base": None}, "base must have shape"),
        ({"vertices": np.zeros((0, 3), np.float32)}, "must have shape"),
        ({"skin_bones": 24}, "skin_bones points to what is not there"),
        ({"faces": -1}, "faces points to what is not there"),
        ({"skin_weights": np.nan}, "skin_weights has values that are not finite"),
        ({"skin_weights": 0.5}, "weights do not sum to one"),
        ({"control_logits": np.nan}, "control_logits has values that are not finite"),
        ({"controls": 1 << 30}, "controls points to what is not there"),
        ({"near": -1}, "near points to what is not there"),
        ({"shares": np.inf}, "shares has values that are not finite"),
        ({"base": 40.0}, "more than 10 m away"),
        ({"canonical_nodes": 1e6}, "canonical_nodes points to what is not there"),
        ({"colours": np.zeros((2, 3), np.uint8)}, "colours must be"),
    ],
)
def test_damaged_bundles_are_named(fine: ClothedModel, tmp_path: Path, change: dict, said: str) -> None:
    folder = fine.bundle.place
    with np.load(folder / "avatar.npz") as archive:
        arrays = {
            name: value if value is None or isinstance(value, np.ndarray) else np.full_like(archive[name], value)
            for name, value in change.items()
        }
    with pytest.raises(BundleError, match=said):
        ClothedModel(open_bundle(_changed(folder, tmp_path / "bad", **arrays)))


def test_a_bundle_of_another_version_is_told(fine: ClothedModel, tmp_path: Path) -> None:
    folder = _changed(fine.bundle.place, tmp_path / "old")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["deformed_grid"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="deformed_grid"):
        ClothedModel(open_bundle(folder))
