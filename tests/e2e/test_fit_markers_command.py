"""`bodystream fit markers:FILE.c3d` as users run it: somebody is followed, and what cannot be is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.body import BodyDecoder
from bodystream.bundles import open_bundle
from bodystream.cli.main import main
from bodystream.types import Array
from helpers.c3d_files import write_c3d
from helpers.command_line import run
from helpers.linear_people import linear_people
from helpers.marker_people import CMU_LABELS, MarkedPerson, moving_person
from helpers.needs import needs

needs("onnx", "pip install 'bodystream[export]'")
needs("ezc3d", "pip install 'bodystream[c3d]'")

ONE = [f"Anna:{label}" for label in CMU_LABELS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("markers")
    linear_people(folder / "people")
    return folder


@pytest.fixture(scope="module")
def decoder(folder: Path) -> BodyDecoder:
    return BodyDecoder(open_bundle(folder / "people"))


@pytest.fixture(scope="module")
def person(decoder: BodyDecoder) -> MarkedPerson:
    return moving_person(decoder, frames=9, noise_m=0.003, missing=0.05, seed=4)


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BODYSTREAM_BUNDLES", raising=False)


def fit(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> tuple[str, str]:
    """What is printed, and what is told, in one line."""
    assert main(["fit", *words, "--bundle", "body=people"]) == code
    said = capsys.readouterr()
    return said.out, " ".join(said.err.split())


def refused(capsys: pytest.CaptureFixture[str], labels: Sequence[str], points: Array, *words: str, unit="mm") -> str:
    write_c3d(Path("faulty.c3d"), labels, 1e3 * points if unit == "mm" else points, unit)
    return fit(capsys, "markers:faulty.c3d", "--out", "refused", *words, code=2)[1]


def test_a_sequence_is_followed_by_the_command_line(folder: Path, decoder: BodyDecoder, person: MarkedPerson) -> None:
    points = person.markers_m.copy()
    points[5] = np.nan
    unknown = np.full((9, 2, 3), 0.5)
    write_c3d(
        folder / "walk.c3d", [*ONE, "*42", "Anna:SPARE"], 1e3 * np.concatenate([points, unknown], axis=1), "mm", 30.0
    )
    words = ("fit", "markers:walk.c3d", "--out", "walk", "--bundle", "body=people", "--json")
    done = run(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["written"] == [f"walk/{name}" for name in ("codes.npz", "fit.json", "markers.png")]
    assert 2.0 < facts["marker_mean_mm"] < 7.0 and facts["frames"] == 8 and facts["seconds"] > 0.0
    assert facts["labels_used"] == list(CMU_LABELS) and facts["labels_unused"] == ["Anna:SPARE"]
    assert "1 of 9 frames are left out, with fewer than 6 known markers" in " ".join(done.stderr.split())
    with np.load("walk/codes.npz") as codes:
        assert codes["pose"].shape == (8, decoder.facts.pose) and codes["shape"].shape == (decoder.facts.shape,)
        np.testing.assert_allclose(codes["t_s"], np.delete(np.arange(9) / 30.0, 5))
        for pose, matrix, truth in zip(
            codes["pose"], codes["data_from_body"], np.delete(person.bodies_m, 5, axis=0), strict=True
        ):
            body = decoder.vertices(codes["shape"], pose) @ matrix[:3, :3].T + matrix[:3, 3]
            assert 1e3 * np.linalg.norm(body - truth, axis=1).mean() < 20.0
        upright = codes["upright_from_data"]
        np.testing.assert_allclose(upright @ (0.0, 0.0, 1.0, 1.0), (0.0, 1.0, 0.0, 1.0))
    kept = json.loads(Path("walk/fit.json").read_text())
    assert kept["up"] == "z" and kept["unit"] == "mm" and kept["bundle"] == {"name": "people", "version": 1}
    assert set(kept["vertices"]) == set(CMU_LABELS) == set(kept["mean_mm_of_label"])
    picture = cv2.imread("walk/markers.png")
    assert picture is not None and picture.shape == (398, 6 * 380, 3)
    green = (picture[..., 1] > 150) & (picture[..., 2] < 120)
    assert min(tile.sum() for tile in np.split(green, 6, axis=1)) > 100, "markers are drawn in every picture"


def test_places_of_a_map_are_taken_and_joints_too(
    decoder: BodyDecoder, person: MarkedPerson, capsys: pytest.CaptureFixture[str]
) -> None:
    at = (100, 3000, 5000, 7000, 9000, 11000, 12000)
    points = np.concatenate([person.bodies_m[:2][:, at], person.bodies_m[:2, :1]], axis=1)
    write_c3d(Path("own.c3d"), [f"P{n}" for n in range(7)] + ["ELSE"], points, "m")
    Path("own.json").write_text(json.dumps({**{f"P{n}": at[n] for n in range(7)}, "GONE": "head"}))
    out, said = fit(capsys, "markers:own.c3d", "--markers", "own.json", "--out", "own", "--up", "y", "--json")
    facts = json.loads(out)
    assert facts["labels_used"] == [f"P{n}" for n in range(7)] and facts["labels_unused"] == ["ELSE"]
    assert "own.json: there is no label 'GONE' in own.c3d" in said and facts["frames"] == 2
    assert json.loads(Path("own/fit.json").read_text())["up"] == "y"
    for content, wrong in (("{", "is not a map of markers (JSON)"), ('{"P1": 99999}', "'P1' must be a vertex")):
        Path("own.json").write_text(content)
        said = fit(capsys, "markers:own.c3d", "--markers", "own.json", "--out", "own", code=2)[1]
        assert "own.json" in said and wrong in said


def test_of_two_people_one_is_fitted_and_told(person: MarkedPerson, capsys: pytest.CaptureFixture[str]) -> None:
    other = person.markers_m[:2, :20] + (5.0, 0.0, 0.0)
    labels = [*ONE, *(f"Ben:{label}" for label in CMU_LABELS[:20])]
    write_c3d(Path("two.c3d"), labels, 1e3 * np.concatenate([person.markers_m[:2], other], axis=1), "mm")
    out, said = fit(capsys, "markers:two.c3d", "--out", "two", "--json")
    assert "there are markers of 'Anna', 'Ben'; 'Anna' is fitted" in said
    facts = json.loads(out)
    assert len(facts["labels_used"]) == 41 and facts["labels_unused"] == sorted(labels[41:])


def test_markers_that_cannot_be_are_told(person: MarkedPerson, capsys: pytest.CaptureFixture[str]) -> None:
    points = person.markers_m[:2]
    nowhere = np.full_like(points, np.nan)
    said = refused(capsys, ONE, nowhere)
    assert "faulty.c3d: 0 of its labels have a place and are seen" in said and "no marker is seen in any frame" in said
    said = refused(capsys, [f"X{n}" for n in range(41)], points)
    assert "0 of its labels have a place" in said and "X0, X1" in said and "--markers MAP.json" in said
    some = points.copy()
    some[:, 5:] = np.nan
    assert "5 of its labels have a place and are seen, at least 6" in refused(capsys, ONE, some)
    some = nowhere.copy()
    some[0, :4], some[1, 4:8] = points[0, :4], points[1, 4:8]
    assert "no frame has 6 markers with a known place (at most 4)" in refused(capsys, ONE, some)
    assert "at the unit (--unit)" in refused(capsys, ONE, 1e3 * points, unit="m")
    assert "'yd' is no unit of markers" in refused(capsys, ONE, points, "--unit", "yd")
    assert "leave --landmarks out" in refused(capsys, ONE, points, "--landmarks", "l.json")
    assert "leave --shape out" in refused(capsys, ONE, points, "--shape", "codes.npz")
    Path("empty.c3d").write_bytes(b"")
    assert "empty.c3d is no C3D file: it is empty" in fit(capsys, "markers:empty.c3d", "--out", "x", code=2)[1]


def test_a_wrong_unit_is_mended_by_the_option(person: MarkedPerson, capsys: pytest.CaptureFixture[str]) -> None:
    write_c3d(Path("metres.c3d"), ONE, 1e3 * person.markers_m[:2], "m")
    out, _ = fit(capsys, "markers:metres.c3d", "--unit", "mm", "--out", "metres", "--frames", "2", "--json")
    assert json.loads(out)["marker_mean_mm"] < 7.0
