"""`bodystream fit depth:A depth:B`: several recordings of one person, who has one shape in all of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from bodystream.body import BodyDecoder
from bodystream.cli.main import main
from bodystream.geometry.rotations import turn_about
from helpers.drawn_depth import drawn_depth

FRAMES = 2
FILES = ("codes.npz", "fit.json", "frames.png")


def write_clip(path: Path, decoder: BodyDecoder, seed: int) -> Path:
    """Somebody who moves into a pose of a seed, three metres ahead."""
    rng = np.random.default_rng(7)
    shape, end = rng.normal(0.0, 0.8, decoder.facts.shape), np.random.default_rng(seed)
    pose = end.normal(0.0, 0.5, decoder.facts.pose)
    turn, images = turn_about(np.array([0.0, 1.0, 0.0]), np.pi), []
    for share in np.linspace(0.0, 0.3, FRAMES):
        body = decoder.vertices(shape, share * pose) @ turn.T + (0.1, -0.1, -3.0)
        images.append(np.round(1e3 * drawn_depth(body, decoder.space.faces)).astype(np.uint16))
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"d_depth": np.stack(images, axis=-1)})
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    decoder, folder = BodyDecoder(), tmp_path_factory.mktemp("clips")
    return write_clip(folder / "a_depth.mat", decoder, 1), write_clip(folder / "other" / "a_depth.mat", decoder, 2)


def test_clips_of_one_person_share_a_shape(
    clips: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fit"
    assert main(["fit", *(f"depth:{clip}" for clip in clips), "--out", str(out), "--json"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert "clip 2 of 2: finding the person" in said.err and "in 4 frames together" in said.err
    assert [clip["clip"] for clip in told["clips"]] == ["a_depth", "a_depth_2"], "names that are equal get a number"
    assert told["frames"] == 2 * FRAMES and told["flips"] == 0 and told["point_to_mesh_mean_mm"] < 12.0
    shape = np.load(out / "codes.npz")["shape"]
    assert shape.shape == (50,) and json.loads((out / "fit.json").read_text())["clips"] == told["clips"]
    for name in ("a_depth", "a_depth_2"):
        assert {path.name for path in (out / name).iterdir()} == set(FILES)
        codes = np.load(out / name / "codes.npz")
        np.testing.assert_array_equal(codes["shape"], shape)
        assert codes["pose"].shape == (FRAMES, 72)
    # The shape of all serves for another recording of the person.
    again = ["fit", f"depth:{clips[0]}", "--shape", str(out / "codes.npz"), "--out", str(tmp_path / "again")]
    assert main(again) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "again" / "codes.npz")["shape"], shape)


def test_recordings_that_cannot_go_together_are_told(
    clips: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (f"depth:{clip}" for clip in clips)
    nobody = tmp_path / "nobody_depth.mat"
    savemat(nobody, {"d_depth": np.zeros((240, 320, 2), np.uint16)})
    cases = [
        ([], 2, "give a target: the file of a scan, or scan:PATH"),
        ([one, "capture:out"], 2, "each as depth:RECORDING, and 'capture:out' is none"),
        (["scan.ply", one], 2, "'scan.ply' is none: fit it in a command of its own"),
        ([one, "dept:b"], 2, "there is no kind of target 'dept'"),
        ([one, other, one], 2, f"{clips[0]} is given twice"),
        ([one, other, "--up", "z"], 2, "--up is for a scan or markers"),
        ([one, f"depth:{tmp_path / 'none.mat'}"], 2, "none.mat"),
        ([one, f"depth:{nobody}"], 2, "nobody_depth.mat, frame"),
    ]
    for words, code, message in cases:
        assert main(["fit", *words, "--out", str(tmp_path / "fit")]) == code, words
        assert message in " ".join(capsys.readouterr().err.split()), words
    assert not list((tmp_path / "fit").glob("*")), "nothing was written"


def test_what_cannot_be_written_or_has_no_end_is_told_before_the_fit(
    clips: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recording may be told with keys how it is read: its folder is named without them."""
    one, other = (f"depth:{clip}" for clip in clips)
    out = tmp_path / "fit"
    out.mkdir()
    (out / "a_depth").write_text("a file of mine")
    cases = [
        ([f"{one}?max_depth_m=9.5", other], f"cannot write to the folder {out / 'a_depth'} (File exists)"),
        ([one, f"{one}?max_depth_m=9.5"], "is given twice"),
        ([f"{one}?loop=1"], "a_depth.mat?loop=1 has no end with loop=1: leave loop out"),
    ]
    for words, message in cases:
        assert main(["fit", *words, "--out", str(out)]) == 2, words
        said = " ".join(capsys.readouterr().err.split())
        assert message in said and "finding the person" not in said, said
    assert (out / "a_depth").read_text() == "a file of mine"
