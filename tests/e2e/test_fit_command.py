"""`bodystream fit` as users run it: a body is found in a scan, and what is none is told by what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.body.fitting import scan_points
from bodystream.bundles import open_bundle
from bodystream.cli.main import main
from bodystream.geometry.rotations import turn_about
from bodystream.sources.meshes import read_mesh
from bodystream.types import Array, Mesh
from helpers.bar_people import bar_person, bent, write_obj
from helpers.body_bundles import exported_bars, trained_bars
from helpers.command_line import run
from helpers.needs import needs

needs("torch", "pip install 'bodystream[export]'")
needs("onnx", "pip install 'bodystream[export]'")
needs("lightning_fabric", "pip install 'bodystream[train]'")

from bodystream.body import BodyDecoder  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the embedding `bars` and the scans `scan.obj`, a mesh, and `points.npz`, the same in points."""
    folder = tmp_path_factory.mktemp("fits")
    exported_bars(trained_bars(folder, skin=False), folder / "bars", "--no-encoder")
    faces = bar_person(0).faces
    vertices = bent(bar_person(1), 0.3, 0.5) @ turn_about(np.array([0.0, 1.0, 0.0]), 1.0).T + (2.0, 0.3, -1.0)
    write_obj(folder / "scan.obj", vertices, faces)
    np.savez(folder / "points.npz", points=on_faces(vertices, faces, 3000))
    return folder


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BODYSTREAM_BUNDLES", raising=False)


def on_faces(vertices: Array, faces: Array, count: int) -> Array:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet((1.0, 1.0, 1.0), count)
    return np.einsum("nk,nki->ni", shares, vertices[faces[rng.integers(len(faces), size=count)]])


def fit(*words: str) -> int:
    return main(["fit", *words, "--bundle", "body=bars"])


def told(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert fit(*words, "--out", "refused") == 2
    return told(capsys)


def test_a_scan_is_fitted_by_the_command_line(folder: Path) -> None:
    done = run("fit", "scan.obj", "--out", "fit", "--bundle", "body=bars", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["written"] == [
        f"fit/{name}" for name in ("codes.npz", "fit.json", "body.ply", "error.png", "registered.ply")
    ]
    assert 0.0 < facts["point_to_mesh_mean_mm"] < 12.0 and facts["seconds"] > 0.0
    decoder = BodyDecoder(open_bundle("bars"))
    body = read_mesh(Path("fit/body.ply"))
    assert np.array_equal(body.faces, decoder.space.faces)
    with np.load("fit/codes.npz") as codes:
        again = decoder.vertices(codes["shape"], codes["pose"])
        matrix = codes["data_from_body"]
        np.testing.assert_allclose(again @ matrix[:3, :3].T + matrix[:3, 3], body.vertices, atol=1e-5)
        kept = json.loads(Path("fit/fit.json").read_text())
        np.testing.assert_allclose(kept["shape"], codes["shape"])
        np.testing.assert_allclose(kept["data_from_body"], matrix)
    assert kept["bundle"] == {"name": "bars", "version": 1}
    registered = read_mesh(Path("fit/registered.ply"))
    assert np.array_equal(registered.faces, body.faces)
    assert facts["registered_mean_mm"] < facts["point_to_mesh_mean_mm"]
    picture = cv2.imread("fit/error.png")
    assert picture is not None
    assert picture.shape == (474, 4 * 420, 3)
    ground = picture[0, 0]
    shown = [(tile != ground).any(axis=-1).mean() for tile in np.split(picture[:420], 4, axis=1)]
    assert min(shown) > 0.03, "the scan and the body, each from two sides"


def test_a_scan_with_another_axis_up_is_fitted_as_it_stands(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = read_mesh(folder / "scan.obj")
    lying = scan.vertices @ np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # its height is x
    write_obj(folder / "lying.obj", lying, scan.faces)
    assert fit("lying.obj", "--up", "z", "--out", "z", "--json") == 2, "another one than it stands along"
    capsys.readouterr()
    assert fit("lying.obj", "--up", "x", "--no-register", "--out", "lying", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["point_to_mesh_mean_mm"] < 12.0 and "registered_mean_mm" not in facts
    body = read_mesh(folder / "lying/body.ply").vertices
    assert np.abs(body.mean(axis=0) - lying.mean(axis=0)).max() < 0.02
    with np.load(folder / "lying/codes.npz") as codes:
        matrix = codes["data_from_body"]
        again = BodyDecoder(open_bundle("bars")).vertices(codes["shape"], codes["pose"])
        np.testing.assert_allclose(again @ matrix[:3, :3].T + matrix[:3, 3], body, atol=1e-5)


def test_points_are_fitted_as_well_as_their_mesh(capsys: pytest.CaptureFixture[str]) -> None:
    found = {}
    for name in ("scan.obj", "scan:points.npz"):
        assert fit(name, "--out", "both", "--json") == 0
        found[name] = json.loads(capsys.readouterr().out)
    assert found["scan:points.npz"]["points"] == 3000
    assert found["scan:points.npz"]["point_to_mesh_mean_mm"] < 12.0


def test_landmarks_say_where_a_body_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = read_mesh(folder / "scan.obj").vertices
    chosen = (3, 40, 77, 100)
    (folder / "points.json").write_text(json.dumps({str(n): scan[n].tolist() for n in chosen}))
    assert fit("points.npz", "--landmarks", "points.json", "--out", "marked", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    body = read_mesh(folder / "marked/body.ply").vertices
    assert np.linalg.norm(body[list(chosen)] - scan[list(chosen)], axis=1).mean() < 0.05, "not turned about the axis"
    assert facts["point_to_mesh_mean_mm"] < 12.0


def test_landmarks_that_cannot_be_are_told_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faulty = {
        "landmark 106 is out of range: the body has vertices 0 to 105": {"106": [2.0, 1.0, -1.0]},
        "landmark -1 is out of range": {"-1": [2.0, 1.0, -1.0]},
        "landmark 5 is out of range: it is 2": {"5": [2000.0, 1000.0, -1000.0]},
        "landmark 5 must be three finite numbers [m], got [1.0, 2.0]": {"5": [1.0, 2.0]},
        "'nose' is no joint and no vertex: the joints are pelvis": {"nose": [2.0, 1.0, -1.0]},
        "must be an object of landmarks": [],
    }
    for said, given in faulty.items():
        (folder / "faulty.json").write_text(json.dumps(given))
        assert said in (message := refused(capsys, "scan.obj", "--landmarks", "faulty.json"))
        assert "faulty.json: " in message or said.startswith("must")
    (folder / "faulty.json").write_text("{")
    assert "is not a file of landmarks" in refused(capsys, "scan.obj", "--landmarks", "faulty.json")


def test_scans_that_cannot_be_are_told_by_what_is_wrong(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = read_mesh(folder / "scan.obj")
    lost = scan.vertices.copy()
    lost[17] = np.nan
    outside = scan.faces.copy()
    outside[4, 1] = 900
    faulty = {
        "millimetres": {"vertices": 1e3 * scan.vertices, "faces": scan.faces},
        "is mirrored, its faces look inwards": {"vertices": scan.vertices * (-1.0, 1.0, 1.0), "faces": scan.faces},
        "vertex 17 is not finite": {"vertices": lost, "faces": scan.faces},
        "face 4 is [": {"vertices": scan.vertices, "faces": outside},
        "is empty": {"points": np.zeros((0, 3))},
        "has 12 points, at least": {"points": scan.vertices[:12]},
        "must hold points": {"depth": np.zeros((4, 4))},
        "none of its 3 faces has an area": {"vertices": scan.vertices, "faces": np.tile([[0, 1, 1]], (3, 1))},
        "normals must be finite": {"points": scan.vertices, "normals": np.zeros((3, 3))},
    }
    for said, arrays in faulty.items():
        np.savez(folder / "faulty.npz", **arrays)
        message = refused(capsys, "faulty.npz")
        assert said in message and "faulty.npz" in message
    (folder / "empty.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    assert "empty.ply" in (message := refused(capsys, "empty.ply")) and ("empty" in message or "readable" in message)
    assert "gone.ply" in refused(capsys, "gone.ply")
    assert "ends in .npz" in refused(capsys, "scan.fbx")


@pytest.mark.parametrize(
    ("axis", "columns", "signs"),
    [("z", (0, 2, 1), (1.0, -1.0, 1.0)), ("x", (1, 0, 2), (1.0, -1.0, 1.0)), ("-x", (1, 0, 2), (-1.0, 1.0, 1.0))],
)
def test_another_axis_up_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], axis: str, columns: tuple[int, ...], signs: tuple[float, ...]
) -> None:
    scan = read_mesh(folder / "scan.obj")
    write_obj(folder / "turned.obj", scan.vertices[:, columns] * signs, scan.faces)
    said = refused(capsys, "turned.obj")
    assert "turned.obj: " in said and "seems to be up, and y must be" in said and axis[-1] in said


def test_loose_vertices_and_flat_faces_are_left_out_and_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = read_mesh(folder / "scan.obj")
    vertices = np.concatenate([scan.vertices, [[9.0, 9.0, 9.0]]])
    np.savez(folder / "loose.npz", vertices=vertices, faces=np.concatenate([scan.faces, [[5, 6, 6]]]))
    assert fit("loose.npz", "--out", "loose") == 0
    said = told(capsys)
    assert f"1 faces without an area are left out, the first is face {len(scan.faces)}" in said
    assert f"1 vertices that no face has are left out, the first is vertex {len(scan.vertices)}" in said


def test_one_side_of_somebody_is_not_taken_for_a_mirrored_mesh(folder: Path) -> None:
    whole = read_mesh(folder / "scan.obj")
    corners = whole.vertices[whole.faces]
    ahead = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    for side in (1.0, -1.0):  # the sign of the volume is that of the side
        half = scan_points(Mesh(whole.vertices, whole.faces[side * ahead > 0.0]))
        assert half.normals is not None and (side * half.normals[:, 2] > -0.3).all()


def test_what_is_no_person_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    away = rng.normal(size=(4000, 3))
    np.savez(folder / "ball.npz", points=0.8 * away / np.linalg.norm(away, axis=1)[:, None])
    said = refused(capsys, "ball.npz")
    assert "ball.npz seems to be no person: the nearest body that was found is" in said and "--landmarks" in said


def test_wrong_words_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "film:scan.obj")
    assert "there is no kind of target 'film'" in said and "scan:PATH" in said
    assert main(["fit", "scan.obj", "--out", "x", "--bundle", "body=nowhere"]) == 2
    assert "nowhere" in told(capsys)
