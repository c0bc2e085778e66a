"""`bodystream repose` as users run it: motions of all kinds, files, report, Ctrl-C, the page, and what cannot be."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from bodystream.cli.main import main
from bodystream.sinks.reports.repose import read_repose_report
from helpers.command_line import Running, run
from helpers.gltf_player import Player
from helpers.headset_motions import walking
from helpers.headset_takes import write_bvh
from helpers.motion_files import SMALL_BVH
from helpers.viewer_browser import body_text, browser_at, picture, press, severe_messages, unfold, wait_for


def write_amass(path: Path, frames: int = 30, **changed: object) -> Path:
    """Somebody who stands and lifts the left arm; AMASS has z up."""
    poses = np.zeros((frames, 156))
    poses[:, :3] = Rotation.from_euler("x", 90, degrees=True).as_rotvec()
    poses[:, 50] = np.linspace(-1.0, 0.0, frames)
    arrays = {"poses": poses, "trans": np.tile((0.0, 0.0, 0.95), (frames, 1)), "mocap_framerate": 30.0}
    np.savez(path, **(arrays | changed))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repose")
    write_bvh(folder / "walk.bvh", walking(0.5), 60.0)
    write_bvh(folder / "long.bvh", walking(60.0), 90.0)
    return folder


def test_a_walk_becomes_an_animated_file_a_sheet_and_a_report(folder: Path) -> None:
    words = ("--out", "walk.glb", "--sheet", "sheet.png", "--report", "report.json", "--json")
    done = run("repose", "default", "--motion", "walk.bvh", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    report = read_repose_report(folder / "report.json")
    assert json.loads(done.stdout)["motion"] == json.loads((folder / "report.json").read_text())["motion"]
    assert (report.avatar, report.motion.file, report.motion.frames) == ("default", "walk.bvh", 30)
    assert [written.holds for written in report.written] == ["skin", "sheet"]
    assert len(Player(folder / "walk.glb").key_times) == 30
    lines = done.stderr.splitlines()
    assert any(
        re.fullmatch(r"wrote walk\.glb \(\S+ MB, off by \S+ mm on average and \S+ mm at most\)", s) for s in lines
    )
    assert any(line.startswith("pose ") for line in lines), "progress is shown"
    assert any(re.match(r"posed default 30 times \(30 by skinning\), \d+\.\d ms each", line) for line in lines)


def test_amass_and_a_part_of_it_at_another_rate(folder: Path) -> None:
    write_amass(folder / "lift_poses.npz")
    words = ("--motion", "lift_poses.npz", "--start-s", "0.2", "--rate-hz", "10", "--out", "lift/pose%03d.ply")
    done = run("repose", "default", *words, cwd=folder)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (folder / "lift").iterdir())
    assert names == [f"pose{number:03}.ply" for number in range(8)]
    first, last = (trimesh.load_mesh(folder / "lift" / name, process=False).vertices for name in (names[0], names[-1]))
    assert np.linalg.norm(np.asarray(first) - np.asarray(last), axis=1).max() > 0.3, "the arm went up"
    assert "warning: " in done.stderr, "proportions that were not given are told"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nobody", "--motion", "walk.bvh"), "there is no avatar 'nobody': choose default, default-clothed"),
        (("walk.bvh", "--motion", "walk.bvh"), "walk.bvh is neither a bundle's folder nor a readable zip file"),
        (("default", "--motion", "nowhere.bvh"), "nowhere.bvh is not there"),
        (("default", "--motion", "lamp.bvh"), "lamp.bvh: the skeleton has no joint for left_hip"),
        (("default", "--motion", "empty.bvh"), "empty.bvh holds no whole frame"),
        (("default", "--motion", "nan.npz"), "the array 'poses' holds values that are not finite"),
        (("default", "--motion", "nan.bvh"), "(frame 1 of 6): nan is not a usable number"),
        (("default", "--motion", "cut.bvh"), "cut.bvh has no MOTION section"),
        (("default", "--motion", "text.fbx"), "text.fbx is no"),
        (("default", "--motion", "."), "choose one by its file, or by --take NAME of "),
        (("default", "--motion", ".", "--take", "run"), "0 of them named run"),
        (("default", "--motion", "walk.bvh", "--out", "walk.fbx"), "--out walk.fbx: give an animated glTF"),
        (("default", "--motion", "walk.bvh", "--sheet", "sheet.jpg"), "--sheet is a picture: give the name of a .png"),
        (("default", "--motion", "walk.bvh", "--report", "."), "--report: '.' is no name of a file"),
        (("default", "--motion", "walk.bvh", "--start-s", "9"), "--start-s 9 is behind the end of the motion"),
        (("default", "--motion", "walk.bvh", "--frames", "0"), "--frames must be at least 1, got 0"),
        (("default", "--motion", "walk.bvh", "--speed", "0"), "--speed must be 0.01 to 100, got 0"),
        (("default", "--motion", "walk.bvh", "--port", "-1"), "--port must be 0 (any free one) to 65535"),
        (("default", "--motion", "walk.bvh", "--device", "cuda:99"), "cuda:99"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_before_kernels_are_built(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def build(*_: object) -> None:
        raise AssertionError("kernels are built before the input is checked")

    monkeypatch.setattr("bodystream.pipelines.repose.pipeline.warm_up", build)
    monkeypatch.chdir(tmp_path)
    whole = write_bvh(tmp_path / "walk.bvh", walking(0.2)).read_text()
    (tmp_path / "lamp.bvh").write_text(SMALL_BVH.replace("Hips", "Lamp").replace("Chest", "Shade"))
    head, _, motion = whole.partition("MOTION")
    (tmp_path / "empty.bvh").write_text(f"{head}MOTION\nFrames: 0\nFrame Time: 0.0111\n")
    (tmp_path / "nan.bvh").write_text(f"{head}MOTION{motion.replace(motion.split()[7], 'nan')}")
    (tmp_path / "cut.bvh").write_text(whole[: len(head) // 2])
    (tmp_path / "text.fbx").write_text("Kaydara")
    poses = np.zeros((30, 156))
    poses[7, 50] = np.nan
    write_amass(tmp_path / "nan.npz", poses=poses)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["repose", *words, "--headless"]) == 2
    shown = capsys.readouterr()
    assert said in shown.err and "Traceback" not in shown.err
    assert [line for line in shown.err.splitlines() if line.startswith("error: ")], shown.err
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "nothing is left behind"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_half_file(number: int, code: int, folder: Path, tmp_path: Path) -> None:
    words = ("--motion", str(folder / "long.bvh"), "--out", "walk.glb", "--report", "report.json")
    with Running("repose", "default", *words, cwd=tmp_path) as running:
        running.wait_for_line("pose ")
        running.signal(number)
        assert running.finish() == code, running.text
    assert list(tmp_path.iterdir()) == [] and "stopped: nothing was written" in running.lines


def test_an_interrupt_leaves_the_meshes_that_are_whole(folder: Path, tmp_path: Path) -> None:
    words = ("--motion", str(folder / "long.bvh"), "--out", "walk/")
    with Running("repose", "default", *words, cwd=tmp_path) as running:
        running.wait_for_line("pose ")
        running.interrupt()
        assert running.finish() == 130, running.text
    found = sorted((tmp_path / "walk").iterdir())
    assert [path.name for path in found] == [f"{number:04}.ply" for number in range(len(found))]
    assert f"stopped: {len(found)} of 5400 meshes are in walk, each of them whole" in running.lines
    assert len(trimesh.load_mesh(found[-1], process=False).vertices) == 13_492


def test_the_page_plays_the_motion_until_an_interrupt(folder: Path, tmp_path: Path) -> None:
    words = ("--motion", str(folder / "long.bvh"), "--no-browser", "--port", "0", "--report", "r.json")
    with Running("repose", "default", *words, cwd=tmp_path) as playing:
        url = playing.wait_for_line("viewer: ").removeprefix("viewer: ")
        with browser_at(url) as browser:
            wait_for(lambda: "90.0" in body_text(browser), "the motion's rate")
            unfold(browser, "Timing")
            wait_for(lambda: "avatar" in body_text(browser), "how long posing takes")
            wait_for(lambda: (picture(browser).max(axis=2) > 130).mean() > 0.005, "the body")
            before = picture(browser)
            wait_for(lambda: (abs(picture(browser) - before).max(axis=2) > 60).mean() > 0.002, "a changed picture")
            press(browser, "Pause")
            wait_for(lambda: "Paused" in body_text(browser), "the word Paused")
            assert severe_messages(browser) == []
        playing.interrupt()
        assert playing.finish() == 0, playing.text
    report = read_repose_report(tmp_path / "r.json")
    assert report.frames.posed > 3 and report.written == []
