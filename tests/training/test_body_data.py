"""Bodies to learn from: folders of meshes, their faults, and features that are kept on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from helpers.bar_people import bar_people, bar_person, write_obj
from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.body import aligned  # noqa: E402
from bodystream.errors import ConfigurationError, InputError  # noqa: E402
from bodystream.sources.meshes import read_mesh  # noqa: E402
from bodystream_training.body.data import features as features_module  # noqa: E402
from bodystream_training.body.data.features import BodyFeatures, cached_features  # noqa: E402
from bodystream_training.body.data.folder import MeshFolder  # noqa: E402
from bodystream_training.body.data.generated import GeneratedConfig  # noqa: E402
from bodystream_training.body.data.open import open_bodies  # noqa: E402
from bodystream_training.body.data.segments import segmented  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bar_people(tmp_path / "bars")


def test_a_folder_is_split_by_identity_and_every_pose_knows_its_neutral(folder: Path) -> None:
    bodies = MeshFolder(folder, test_share=0.3)
    assert len(bodies.items) == 6 * 5
    tests = {item.identity for item in bodies.items if item.split == "test"}
    assert len(tests) == 2
    for item in bodies.items:
        neutral = bodies.items[item.neutral]
        assert neutral.identity == item.identity and not neutral.motion
        assert item.split == ("test" if item.identity in tests else "train")
    assert bodies.parts > 1 and np.bincount(bodies.labels).min() >= 8


def test_the_files_of_a_mesh_say_the_same(tmp_path: Path) -> None:
    mesh = bar_person(0)
    write_obj(tmp_path / "a.obj", mesh.vertices, mesh.faces)
    np.savez(tmp_path / "a.npz", vertices=mesh.vertices, faces=mesh.faces)
    trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(tmp_path / "a.ply")
    for ending in ("obj", "npz", "ply"):
        read = read_mesh(tmp_path / f"a.{ending}")
        np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
        assert np.array_equal(read.faces, mesh.faces), ending


def test_an_obj_with_textures_and_counting_from_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    path.write_text("# x\nv 0 0 0\nv 1 0 0\nvt 0 0\nv 0 1 0\nf 1/1/1 2/1/1 3/1/1\nf -3 -2 -1\n")
    assert read_mesh(path).faces.tolist() == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("v 0 0 0\nv 1 0\n", "line 2: wanted three numbers"),
        ("v 0 0 0\nf 1 1 1 1\n", "only triangles"),
        ("v 0 0 zero\n", "line 1"),
        ("v 0 0 0\n", "1 vertices and 0 faces"),
    ],
)
def test_an_obj_that_is_none_is_refused_by_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.obj").write_text(content)
    with pytest.raises(InputError, match=said):
        read_mesh(tmp_path / "a.obj")


def test_files_that_are_no_meshes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(b"ply\nformat nonsense\n")
    np.savez(tmp_path / "a.npz", vertices=np.zeros((3, 3)))
    with pytest.raises(InputError, match="a.ply"):
        read_mesh(tmp_path / "a.ply")
    with pytest.raises(InputError, match="must hold vertices and faces"):
        read_mesh(tmp_path / "a.npz")


def test_an_identity_without_a_neutral_mesh_is_named(folder: Path) -> None:
    (folder / "p3" / "neutral.obj").unlink()
    with pytest.raises(InputError, match="p3 has no neutral mesh"):
        MeshFolder(folder)


def test_folders_that_do_not_suffice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        MeshFolder(tmp_path / "absent")
    with pytest.raises(InputError, match="meshes of 1 identities"):
        MeshFolder(bar_people(tmp_path / "one", people=1))
    with pytest.raises(InputError, match="nobody to train on has a posed mesh"):
        MeshFolder(bar_people(tmp_path / "still", poses=0))
    with pytest.raises(ConfigurationError, match="must lie between 0 and 1"):
        MeshFolder(tmp_path, test_share=1.0)


def test_a_mesh_of_another_topology_is_named_by_its_file(folder: Path, tmp_path: Path) -> None:
    mesh = bar_person(1)
    np.savez(folder / "p1" / "pose2.npz", vertices=mesh.vertices, faces=mesh.faces[::-1])
    bodies = MeshFolder(folder, seed=1) if _is_test(folder, "p1", 1) else None
    with pytest.raises(InputError, match="pose2.npz: another topology: face 0"):
        cached_features(bodies or MeshFolder(folder), tmp_path / "cache")


def _is_test(folder: Path, name: str, seed: int) -> bool:
    names = sorted(p.name for p in folder.glob("p*"))
    return names[np.random.default_rng(seed).permutation(len(names))[0]] == name


def test_z_up_is_refused_in_a_neutral_mesh(folder: Path) -> None:
    for person in folder.glob("p*"):
        mesh = read_mesh(person / "neutral.obj")
        write_obj(person / "neutral.obj", mesh.vertices[:, [0, 2, 1]] * (1.0, -1.0, 1.0), mesh.faces)
    with pytest.raises(InputError, match="must have y up.*z seems to be up"):
        MeshFolder(folder)


def test_parts_may_be_given(folder: Path) -> None:
    count = len(read_mesh(folder / "p0" / "neutral.obj").vertices)
    labels = (np.arange(count) > count // 2).astype(np.int32)
    np.savez(folder / "parts.npz", parts=labels)
    bodies = MeshFolder(folder)
    assert bodies.parts == 2 and np.array_equal(bodies.labels, labels)
    np.savez(folder / "parts.npz", parts=labels[1:])
    with pytest.raises(InputError, match="must hold parts"):
        MeshFolder(folder)


def test_a_skin_may_be_given_and_is_looked_at(folder: Path) -> None:
    whole = dict(np.load(folder / "skin.npz"))
    skin = MeshFolder(folder).skin()
    assert skin is not None and np.array_equal(skin.skin_weights, whole["skin_weights"])
    mesh = bar_person(2)
    np.testing.assert_allclose(skin.joints(mesh.vertices)[5], mesh.vertices.mean(axis=0), atol=1e-6)
    cases = {
        "without joint_weights": {"skin_weights": whole["skin_weights"]},
        "must hold joint_weights": {"x": np.zeros(1)},
        "row 3 sums to": whole | {"joint_weights": whole["joint_weights"] * (np.arange(22) != 3)[:, None]},
        "must be numbers of shape": whole | {"joint_weights": whole["joint_weights"].T},
        "not be negative": whole | {"skin_weights": np.roll(np.eye(22)[[0] * len(mesh.vertices)], 1, 1) * 2 - 1 / 22},
        "the mesh has": {
            "joint_weights": whole["joint_weights"][:, 1:] * 1.0101,
            "skin_weights": whole["skin_weights"][1:],
        },
    }
    for said, arrays in cases.items():
        np.savez(folder / "skin.npz", **arrays)
        with pytest.raises(InputError, match=said):
            MeshFolder(folder).skin()
    (folder / "skin.npz").unlink()
    assert MeshFolder(folder).skin() is None


def test_vertices_that_turn_alike_are_put_together() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.1, 0.1, (200, 3))
    points[100:, 1] += 0.6
    turns = np.zeros((3, 200, 3))
    turns[:, 100:, 0] = 1.0
    labels = segmented(points, turns, 2)
    assert set(labels[:100]) != set(labels[100:]) and len(set(labels[:100])) == len(set(labels[100:])) == 1


def test_alignment_undoes_a_rigid_motion_and_never_mirrors() -> None:
    mesh = bar_person(2)
    chosen = mesh.vertices[:, 1] < 0.8
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = mesh.vertices @ turn.T + (1.0, 2.0, 3.0)
    np.testing.assert_allclose(aligned(moved, mesh.vertices, chosen), mesh.vertices, atol=1e-9)
    mirrored = mesh.vertices * (-1.0, 1.0, 1.0)
    found = aligned(mirrored, mesh.vertices, np.ones(len(mirrored), bool))
    back, *_ = np.linalg.lstsq(np.c_[mirrored, np.ones(len(mirrored))], found, rcond=None)
    assert np.linalg.det(back[:3]) > 0


def test_features_are_scaled_kept_and_gone_on_with(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features_module, "_BLOCK", 4)
    bodies = MeshFolder(folder)
    whole = cached_features(bodies, tmp_path / "whole")
    told: list[int] = []

    def interrupt(number: int, _name: str) -> None:
        told.append(number)
        if number == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_features(bodies, tmp_path / "cut", interrupt)
    told.clear()
    again = cached_features(bodies, tmp_path / "cut", lambda number, _: told.append(number))
    assert told[0] == 8, "what was done in whole blocks is not done again"
    _same(whole, again)
    told.clear()
    cached_features(bodies, tmp_path / "cut", lambda number, _: told.append(number))
    assert told == [len(bodies.items)]
    train = [n for n in range(len(whole)) if whole.items[n].split == "train"]
    stacked = torch.stack([whole[n][0] for n in train])
    assert float(stacked.abs().max()) <= 0.9501
    f, g, f_s, g_s = whole[train[1]]
    assert f.shape == (whole.space.count, 9) and g.shape == (whole.parts.count, 9)
    assert torch.equal(f_s, whole[whole.items[train[1]].neutral][0]) and not torch.equal(f, f_s)
    assert torch.equal(g_s, whole[whole.items[train[1]].neutral][1])
    off = whole.vertices(3) - bodies.vertices(3)
    assert np.abs(off - off.mean(axis=0)).max() < 5e-5


def _same(one: BodyFeatures, two: BodyFeatures) -> None:
    for number in range(len(one)):
        for a, b in zip(one[number], two[number], strict=True):
            assert torch.equal(a, b)


def test_damaged_features_are_told(folder: Path, tmp_path: Path) -> None:
    bodies = MeshFolder(folder)
    cached_features(bodies, tmp_path / "cache")
    stored = next((tmp_path / "cache").glob("*-fine.npy"))
    stored.write_bytes(stored.read_bytes()[:1000])
    with pytest.raises(InputError, match="is damaged"):
        cached_features(bodies, tmp_path / "cache")
    done = json.loads(next((tmp_path / "cache").glob("*.json")).read_text())
    assert done["done"] == len(bodies.items)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"neutral": 10, "test_neutral": 10}, "some must be for tests"),
        ({"posed": 10, "test_posed": 0}, "some must be for tests"),
        ({"neutral": 20, "test_neutral": 5, "posing": 30}, "they must be 2 to 20"),
        ({"neutral": 20, "test_neutral": 1, "posing": 20, "posed": 10, "test_posed": 5}, "the 10 of them for tests"),
    ],
)
def test_numbers_of_people_that_cannot_be_are_refused(numbers: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        GeneratedConfig(**numbers)


def test_the_papers_numbers_are_the_default() -> None:
    config = GeneratedConfig()
    assert config.neutral >= 3000 and config.posed >= 2400 and config.posing >= 300
    assert config.test_neutral == config.test_posed == 160


def test_what_data_may_be_is_said(tmp_path: Path) -> None:
    for data in ("people", "meshes:", "mesh:x"):
        with pytest.raises(ConfigurationError, match="give generated or meshes:FOLDER"):
            open_bodies(data, None, 10, 10, 0)
    with pytest.raises(ConfigurationError, match="give --motion"):
        open_bodies("generated", None, 10, 10, 0)
