"""`bodystream fit joints2d:FILE.json` as users run it: a body for a picture's joints, and what cannot be is told."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodystream.body import BodyDecoder
from bodystream.bundles import open_bundle
from bodystream.cli.main import main
from bodystream.errors import ConfigurationError
from bodystream.pipelines.fit.joints2d import camera_of
from bodystream.sources.meshes import read_mesh
from helpers.command_line import run
from helpers.linear_people import linear_people
from helpers.needs import needs
from helpers.pictured_people import CAMERA, pictured_person

needs("onnx", "pip install 'bodystream[export]'")

LENS = ",".join(f"{one:g}" for one in CAMERA)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the embedding `people`, and `pose.json` of one person and of another who is hardly seen."""
    folder = tmp_path_factory.mktemp("pictures")
    decoder = BodyDecoder(open_bundle(linear_people(folder / "people")))
    rows = np.column_stack([pictured_person(decoder, 3, 1.0).points_px, np.full(25, 0.9)])
    other = np.zeros((25, 3))
    other[:8] = rows[:8] + (300.0, 0.0, -0.5)
    people = [{"pose_keypoints_2d": one.ravel().tolist()} for one in (other, rows)]
    (folder / "pose.json").write_text(json.dumps({"people": people}))
    return folder


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("BODYSTREAM_BUNDLES", raising=False)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["fit", *words, "--out", "refused", "--bundle", "body=people"]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_joints_of_a_picture_are_fitted_by_the_command_line(folder: Path) -> None:
    done = run(
        "fit", "joints2d:pose.json", "--camera", LENS, "--image-size", "1280,960", "--out", "fit", "--bundle",
        "body=people", "--json", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["written"] == [f"fit/{name}" for name in ("codes.npz", "fit.json", "body.ply", "overlay.png")]
    assert 0.0 < facts["reprojection_mean_px"] < 5.0 and facts["seconds"] > 0.0
    assert facts["layout"] == "BODY_25" and len(facts["keypoints"]) == 25
    assert "pose.json shows 2 people; person 2, whose keypoints are the most confident" in " ".join(done.stderr.split())
    decoder = BodyDecoder(open_bundle("people"))
    body = read_mesh(Path("fit/body.ply"))
    with np.load("fit/codes.npz") as codes:
        matrix = codes["data_from_body"]
        again = decoder.vertices(codes["shape"], codes["pose"]) @ matrix[:3, :3].T + matrix[:3, 3]
        np.testing.assert_allclose(again, body.vertices, atol=1e-4)
        np.testing.assert_allclose(codes["camera"], CAMERA)
    assert 2.0 < body.vertices[:, 2].mean() < 4.0 and body.vertices[:, 1].argmin() != body.vertices[:, 1].argmax()
    kept = json.loads(Path("fit/fit.json").read_text())
    assert len(kept["px_of_keypoint"]) == 25 and kept["image_size"] == [1280, 960]
    picture = cv2.imread("fit/overlay.png")
    assert picture is not None and picture.shape == (675 + 22, 900, 3)
    shown = (picture[:675] != picture[0, 0]).any(axis=-1)
    assert 0.03 < shown.mean() < 0.6
    places = np.round(np.reshape(json.loads(Path("pose.json").read_text())["people"][1]["pose_keypoints_2d"], (25, 3)))
    for u, v, _ in 900.0 / 1280.0 * places:
        assert shown[int(np.clip(v, 0, 674)), int(np.clip(u, 0, 899))], "each joint lies on what is drawn"


def test_a_picture_without_a_camera_is_told_of_what_is_assumed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fit", "joints2d:pose.json", "--image-size", "1280,960", "--person", "2", "--out", "guess")
    assert main([*words, "--bundle", "body=people"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "a field of view of 60 degrees along the longer side is assumed, a focal length of 1109 px" in said
    assert "px from those of the picture on average" in said and "most confident" not in said


def test_pictures_that_cannot_be_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lens = ("--camera", LENS)
    assert "need its camera: give --camera fx,fy,cx,cy [px], or --image-size" in refused(capsys, "joints2d:pose.json")
    assert "--person must be 1 to 2, got 3" in refused(capsys, "joints2d:pose.json", *lens, "--person", "3")
    said = refused(capsys, "joints2d:pose.json", *lens, "--landmarks", "l.json")
    assert "leave --landmarks out" in said
    assert "leave --up out" in refused(capsys, "joints2d:pose.json", *lens, "--up", "z")
    (folder / "nobody.json").write_text('{"people": []}')
    assert "nobody.json shows nobody" in refused(capsys, "joints2d:nobody.json", *lens)
    few = json.loads((folder / "pose.json").read_text())
    few["people"] = [{"pose_keypoints_2d": [1.0, 2.0, 0.9] * 5 + [0.0] * 60}]
    (folder / "few.json").write_text(json.dumps(few))
    assert "few.json: 5 keypoints were found of the person, at least 6" in refused(capsys, "joints2d:few.json", *lens)
    assert "gone.json" in refused(capsys, "joints2d:gone.json", *lens)


def test_cameras_that_cannot_be_are_told() -> None:
    camera, notes = camera_of("1000,990,320,240", "")
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (1000.0, 990.0, 320.0, 240.0)
    assert (camera.width, camera.height) == (640, 480) and not notes
    camera, notes = camera_of("", "480,640")
    assert camera.fx == camera.fy == pytest.approx(320.0 / np.tan(np.deg2rad(30.0))) and len(notes) == 1
    for words in ("1,2,3", "a,b,c,d", "1,2,3,nan", "1,2,3,4,5", "1e9,1,1,1"):
        with pytest.raises(ConfigurationError, match="--camera must be fx,fy,cx,cy, 4 numbers"):
            camera_of(words, "")
    with pytest.raises(ConfigurationError, match="focal lengths must be positive"):
        camera_of("-1,2,3,4", "")
    for size in ("0,100", "1e6,5"):
        with pytest.raises(ConfigurationError, match="--image-size must be 1 to 100000 px"):
            camera_of("", size)
    with pytest.raises(ConfigurationError, match="--image-size must be width,height, 2 numbers"):
        camera_of("", "640x480")
