"""`bodystream live` with what goes wrong in practice: one clear line, exit code 2, and no captured frame lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import warp as wp

from bodystream.device import initialise_warp
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import RgbdFrame
from helpers.command_line import run, write_recording
from helpers.needs import needs

FRAMES = 6


@pytest.fixture(scope="module")
def frames() -> list[RgbdFrame]:
    return list(SyntheticSource(SyntheticConfig(frames=FRAMES, width=320, height=240), "cpu"))


@pytest.fixture
def take(frames: list[RgbdFrame], tmp_path: Path) -> Path:
    """A whole recording, to be damaged."""
    return write_recording(tmp_path / "take", frames)


def live(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("live", "--headless", *words, cwd=cwd)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a command that did nothing but refuse in one line."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    # A first start on a machine builds kernels before the source is opened.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("building kernels")]
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    return lines[0]


def finished(done: subprocess.CompletedProcess[str], report: Path) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(report.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "folder:nowhere"], "nowhere: does not exist"),
        (["--source", "folder:"], "write folder:PATH"),
        (["--source", "webcam"], "there is no source 'webcam'"),
        (["--source", "synthetic:one"], "seed must be a whole number, got 'one'"),
        (["--seed-cm", "12"], "--seed-cm must be positive and needs --seed-px, got 12"),
        (["--source", "synthetic?motion=wlk"], "motion must be one of limbs, turn, walk, still"),
        (["--depth-scale", "0.001"], "write --source 'folder:PATH?depth_scale_m=0.001'"),
        (["--frames", "0"], "--frames must be at least 1, got 0"),
        (["--frames", "two"], "--frames"),
        (["--out", "a_file"], "--out: cannot write to the folder a_file"),
        (["--report", "a_file/r.json"], "--report: cannot write to the folder"),
        (["--port", "70000"], "--port must be 0"),
        (["--device", "gpu"], "device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
        (["--device", "cuda:99"], "'cuda:99' was asked for"),
    ],
)
def test_wrong_options_are_refused(words: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "a_file").write_text("not a folder")
    assert said in refused(live(tmp_path, *words))
    assert (tmp_path / "a_file").read_text() == "not a folder"


def test_a_gpu_that_is_absent_is_refused(tmp_path: Path) -> None:
    initialise_warp()
    if wp.is_cuda_available():
        pytest.skip("this machine has a GPU")
    said = refused(live(tmp_path, "--device", "cuda"))
    assert "'cuda' was asked for" in said and "--device cpu" in said


def test_cameras_and_recordings_that_are_absent_are_refused(tmp_path: Path) -> None:
    needs("pyrealsense2", "pip install 'bodystream[realsense]', and libusb-1.0")
    assert "there is no recording take.db3" in refused(live(tmp_path, "--source", "realsense:take.db3"))
    assert "no RealSense camera" in refused(live(tmp_path, "--source", "realsense:000000000000"))
    (tmp_path / "cut.db3").write_bytes(b"SQLite format 3\x00" + bytes(100))
    assert "cut.db3" in refused(live(tmp_path, "--source", "realsense:cut.db3"))


def test_no_camera_connected(tmp_path: Path) -> None:
    rs = needs("pyrealsense2", "pip install 'bodystream[realsense]', and libusb-1.0")
    if len(rs.context().query_devices()):
        pytest.skip("a camera is connected")
    said = refused(live(tmp_path, "--source", "realsense"))
    assert "no RealSense camera found" in said and "USB 3" in said


def test_folder_without_intrinsics(take: Path, tmp_path: Path) -> None:
    (take / "intrinsics.txt").unlink()
    said = refused(live(tmp_path, "--source", "folder:take"))
    assert "no camera intrinsics found" in said and "intrinsics.txt" in said
    done = live(tmp_path, "--source", "folder:take?intrinsics=230,230,159.5,119.5,320,240", "--report", "r.json")
    report = finished(done, tmp_path / "r.json")
    assert report["frames"] == {"in": FRAMES, "processed": FRAMES, "dropped": 0}


def test_depth_in_the_wrong_unit(frames: list[RgbdFrame], tmp_path: Path) -> None:
    write_recording(tmp_path / "take", frames[:3], units_per_m=10_000)
    said = refused(live(tmp_path, "--source", "folder:take"))
    assert "wrong unit" in said and "depth" in said and "0.0001" in said
    done = live(tmp_path, "--source", "folder:take?depth_scale_m=0.0001", "--report", "r.json")
    report = finished(done, tmp_path / "r.json")
    assert report["tracking"]["status"] == {"tracked": 3, "degraded": 0, "lost": 0}


def test_colour_and_depth_of_different_size(take: Path, tmp_path: Path) -> None:
    for path in (take / "depth").iterdir():
        assert cv2.imwrite(str(path), np.full((120, 160), 1500, np.uint16))
    said = refused(live(tmp_path, "--source", "folder:take"))
    assert "320x240" in said and "160x120" in said


def test_truncated_image_in_the_middle(take: Path, tmp_path: Path) -> None:
    path = take / "depth" / "0003.png"
    path.write_bytes(path.read_bytes()[:20_000])
    done = live(tmp_path, "--source", "folder:take", "--report", "r.json", "--out", "out")
    report = finished(done, tmp_path / "r.json")
    assert report["frames"] == {"in": FRAMES, "processed": FRAMES - 1, "dropped": 1}
    assert report["source"]["lost"] == 1
    (warning,) = report["source"]["warnings"]
    assert "0003" in warning and "truncated" in warning
    assert f"warning: {warning}" in done.stderr.splitlines()
    assert (tmp_path / "out" / "capture.glb").is_file()


def test_recording_that_ends_mid_frame(take: Path, tmp_path: Path) -> None:
    path = take / "depth" / f"{FRAMES - 1:04d}.png"
    path.write_bytes(path.read_bytes()[:20_000])
    done = live(tmp_path, "--source", "folder:take", "--report", "r.json", "--out", "out")
    report = finished(done, tmp_path / "r.json")
    assert report["frames"]["processed"] == FRAMES - 1
    assert any("ends mid-frame" in warning for warning in report["source"]["warnings"])
    assert (tmp_path / "out" / "capture.glb").is_file()


def test_empty_frames_are_lost_and_reported(take: Path, tmp_path: Path) -> None:
    for path in (take / "depth").iterdir():
        assert cv2.imwrite(str(path), np.zeros((240, 320), np.uint16))
    done = live(tmp_path, "--source", "folder:take", "--report", "r.json")
    assert done.returncode == 2, "nothing came of it"
    assert done.stderr.splitlines()[-1].startswith(
        f"error: nothing was captured: all {FRAMES} frames were lost (no depth"
    )
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["tracking"]["status"] == {"tracked": 0, "degraded": 0, "lost": FRAMES}
    assert report["quality"] == {"silhouette_iou_mean": None, "depth_residual_median_mm": None, "frames": 0}
    assert any("no depth at all" in warning for warning in report["source"]["warnings"])
    # Files that were asked for and cannot be made are an error, but the report is written first.
    done = live(tmp_path, "--source", "folder:take", "--report", "again.json", "--out", "out")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: nothing was captured")
    assert json.loads((tmp_path / "again.json").read_text())["frames"]["processed"] == FRAMES


def test_images_of_another_size_in_the_middle(take: Path, tmp_path: Path) -> None:
    """A camera that was set anew while recording: those frames are lost, the others are not."""
    assert cv2.imwrite(str(take / "depth" / "0002.png"), np.full((120, 160), 1500, np.uint16))
    report = finished(live(tmp_path, "--source", "folder:take", "--report", "r.json"), tmp_path / "r.json")
    assert report["frames"]["processed"] == FRAMES - 1 and report["source"]["lost"] == 1
    assert any("0002" in warning for warning in report["source"]["warnings"])


def test_recording_that_vanishes_keeps_what_was_captured(take: Path, tmp_path: Path) -> None:
    """Every frame after the second is unreadable: they are named, and two are captured."""
    for path in sorted((take / "depth").iterdir())[2:]:
        path.write_bytes(b"")
    done = live(tmp_path, "--source", "folder:take", "--report", "r.json", "--out", "out")
    report = finished(done, tmp_path / "r.json")
    assert report["frames"] == {"in": FRAMES, "processed": 2, "dropped": FRAMES - 2}
    assert (tmp_path / "out" / "capture.glb").is_file()
    shutil.rmtree(take)
    assert "does not exist" in refused(live(tmp_path, "--source", "folder:take"))
