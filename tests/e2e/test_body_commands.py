"""`bodystream body` as users run it: bodies drawn, posed as another, and between two; and what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh

from bodystream.body import BodyDecoder
from bodystream.cli.main import main
from bodystream.sources.meshes import read_mesh
from helpers.bar_people import bar_person, bent, write_obj
from helpers.body_bundles import exported_bars, trained_bars
from helpers.command_line import run
from helpers.needs import khronos_issues, needs

needs("torch", "pip install 'bodystream[export]'")
needs("onnx", "pip install 'bodystream[export]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the embedding `bars`, and the meshes `a.obj` and `b.obj`."""
    folder = tmp_path_factory.mktemp("bodies")
    exported_bars(trained_bars(folder), folder / "bars")
    faces = bar_person(0).faces
    write_obj(folder / "a.obj", bar_person(1).vertices, faces)
    write_obj(folder / "b.obj", bent(bar_person(2), 0.8, 0.7) + (2.0, 0.1, 0.5), faces)
    return folder


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BODYSTREAM_BUNDLES", raising=False)


def body(*words: str) -> int:
    return main(["body", *words, "--bundle", "body=bars"])


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_bodies_are_drawn_to_a_picture_by_the_command_line(folder: Path) -> None:
    words = ("body", "sample", "--n", "10", "--out", "sheet.png", "--bundle", "body=bars")
    done = run(*words, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"written": ["sheet.png"], "bodies": 10, "seed": 0}
    picture = cv2.imread("sheet.png")
    assert picture.shape == (2 * 258, 8 * 240, 3)
    ground = picture[:240, :240].reshape(-1, 3).min(axis=0)
    shown = [(tile != ground).any(axis=-1).mean() for tile in np.split(picture[:240], 8, axis=1)]
    assert min(shown) > 0.05, "there is a body in each"


def test_the_same_seed_draws_the_same_bodies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in {"one": ("--n", "3"), "two": ("--n", "2"), "other": ("--n", "2", "--seed", "1")}.items():
        assert body("sample", "--out", name, *words) == 0
    assert "wrote two/0000.ply and 1 more" in told(capsys)
    one, two, other = (read_mesh(folder / name / "0001.ply") for name in ("one", "two", "other"))
    assert np.array_equal(one.vertices, two.vertices) and np.array_equal(one.faces, bar_person(0).faces)
    assert np.abs(one.vertices - other.vertices).max() > 1e-3
    assert body("sample", "--out", "neutral", "--n", "2", "--neutral") == 0
    neutral = read_mesh(folder / "neutral" / "0001.ply")
    assert np.abs(neutral.vertices - one.vertices).max() > 1e-3


def test_a_person_takes_the_pose_of_another(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("c.glb", "c.ply", "c.obj"):
        assert body("transfer", "--shape", "a.obj", "--pose", "b.obj", "--out", name, "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["written"] == [name] and 0.0 < facts["shape_fit_mm"] < 80.0 and 0.0 < facts["pose_fit_mm"] < 80.0
    found = [read_mesh(folder / name).vertices for name in ("c.ply", "c.obj")]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    scene = trimesh.load_scene(folder / "c.glb")
    (mesh,) = scene.geometry.values()
    np.testing.assert_allclose(mesh.vertices, found[0], atol=1e-5)
    assert json.loads(khronos_issues(folder / "c.glb"))["numErrors"] == 0
    assert body("interpolate", "a.obj", "b.obj", "--n", "2", "--out", "ends") == 0
    ends = [read_mesh(folder / "ends" / f"000{number}.ply").vertices for number in range(2)]
    assert min(np.abs(found[0] - end).max() for end in ends) > 1e-3, "neither of the two"
    assert body("transfer", "--shape", "b.obj", "--pose", "b.obj", "--out", "same.ply") == 0
    assert "the pose mesh is" in told(capsys)
    np.testing.assert_allclose(read_mesh(folder / "same.ply").vertices, ends[1], atol=1e-6)


def test_between_two_bodies_all_steps_are_about_equal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert body("interpolate", "a.obj", "b.obj", "--out", "steps", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["written"]) == facts["bodies"] == 5
    bodies = [read_mesh(folder / path).vertices for path in facts["written"]]
    steps = [np.linalg.norm(b - a, axis=1).mean() for a, b in zip(bodies, bodies[1:], strict=False)]
    whole = np.linalg.norm(bodies[-1] - bodies[0], axis=1).mean()
    assert max(steps) < 0.6 * whole and min(steps) > 0.05 * whole
    assert body("interpolate", "a.obj", "b.obj", "--n", "3", "--out", "steps.png") == 0
    assert cv2.imread("steps.png").shape == (258, 3 * 240, 3)


def test_meshes_that_cannot_be_are_refused_by_their_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, faces = bar_person(1).vertices, bar_person(0).faces
    flat = good.copy()
    flat[faces[3]] = flat[faces[3][0]]
    faulty = {
        "topology": (good, faces[:-1], "another topology"),
        "millimetres": (1e3 * good, faces, "millimetres"),
        "z_up": (good[:, [0, 2, 1]] * (1.0, -1.0, 1.0), faces, "z seems to be up"),
        "mirrored": (good * (-1.0, 1.0, 1.0), faces, "mirrored"),
        "degenerate": (flat, faces, "face 2 is degenerate, it has no area"),
    }
    for name, (vertices, triangles, said) in faulty.items():
        write_obj(folder / f"{name}.obj", vertices, triangles)
        for words in (("--shape", "a.obj", "--pose", f"{name}.obj"), ("--shape", f"{name}.obj", "--pose", "a.obj")):
            assert body("transfer", *words, "--out", "d.glb") == 2
            message = told(capsys)
            assert f"{name}.obj: " in message and said in message
        assert body("interpolate", "a.obj", f"{name}.obj", "--out", "d.png") == 2
        assert said in told(capsys)
    assert body("transfer", "--shape", "a.obj", "--pose", "gone.obj", "--out", "d.glb") == 2
    assert "gone.obj" in told(capsys)
    assert not (folder / "d.glb").exists() and not (folder / "d.png").exists()


def test_wrong_options_are_told_before_the_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        "--n must be 1 to 1000, got 0": ("sample", "--n", "0", "--out", "x.png"),
        "--n must be 2 to 1000, got 1": ("interpolate", "a.obj", "b.obj", "--n", "1", "--out", "x.png"),
        "--seed must be at least 0": ("sample", "--seed", "-1", "--out", "x.png"),
        "give a picture (sheet.png), or a folder": ("sample", "--out", "x.jpg"),
        "--out is a mesh: give a name that ends in .glb": (
            "transfer", "--shape", "a.obj", "--pose", "b.obj", "--out", "c.fbx",
        ),
    }  # fmt: skip
    for said, words in cases.items():
        assert body(*words) == 2
        assert said in told(capsys)
    (folder / "old").mkdir()
    (folder / "old" / "0007.ply").write_text("ply")
    assert body("sample", "--n", "2", "--out", "old") == 2
    assert "old holds 1 other meshes (0007.ply" in told(capsys)


def test_without_a_bundle_it_is_the_shipped_embedding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["body", "sample", "--n", "1", "--out", "shipped", "--json"]) == 0
    (written,) = json.loads(capsys.readouterr().out)["written"]
    assert np.array_equal(read_mesh(Path(written)).faces, BodyDecoder().space.faces)
    assert main(["body", "sample", "--out", "x.png", "--bundle", "pose=bars"]) == 2
    assert "no bundle 'pose' to be chosen here, only body" in told(capsys)
