"""`bodystream live` as users run it: every kind of source, the files it writes, the viewer, and Ctrl-C."""

from __future__ import annotations

import json
import math
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from pygltflib import GLTF2

from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from helpers.command_line import Running, run
from helpers.needs import needs

STAGES = {"foreground", "flow", "match", "solve", "integrate", "surface", "warp"}
FILES = ("canonical.ply", "live.ply", "capture.glb")


def check_report(path: Path, frames: int) -> dict[str, Any]:
    """The names that scripts rely on are there, and every frame is accounted for."""
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["frames"] == {"in": frames, "processed": frames, "dropped": 0}
    assert report["fps"] > 0
    assert set(report["stages"]) >= STAGES
    for stage in report["stages"].values():
        assert 0 <= stage["p50_ms"] <= stage["p95_ms"] <= stage["p99_ms"]
    assert 0 < report["latency"]["p50_ms"] <= report["latency"]["p99_ms"]
    assert 0 < report["quality"]["silhouette_iou_mean"] <= 1
    assert report["quality"]["depth_residual_median_mm"] > 0
    assert report["graph"]["nodes"]["last"] > 0 and report["surface"]["vertices"]["last"] > 0
    assert report["providers"] and report["machine"]
    return report


def check_files(folder: Path, frames: int | None = None) -> None:
    """The meshes load, and the glTF is a skinned animation with a key for every frame."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES), "and nothing half written beside them"
    canonical, live = (trimesh.load(folder / name, process=False) for name in FILES[:2])
    assert isinstance(canonical, trimesh.Trimesh) and isinstance(live, trimesh.Trimesh)
    assert len(canonical.faces) == len(live.faces) > 500
    assert np.isfinite(live.vertices).all()
    gltf = GLTF2().load(str(folder / "capture.glb"))
    assert gltf is not None and len(gltf.skins) == 1 and len(gltf.animations) == 1
    assert len(gltf.skins[0].joints) > 10
    keys = gltf.accessors[gltf.animations[0].samplers[0].input].count
    assert keys >= 1 if frames is None else keys == frames
    scene = trimesh.load(folder / "capture.glb")
    assert isinstance(scene, trimesh.Scene) and sum(len(g.faces) for g in scene.geometry.values()) > 500


def test_synthetic_camera_headless(tmp_path: Path) -> None:
    # the folder of the report and that of the files are made
    done = run(
        "live", "--headless", "--frames", "12", "--report", "reports/r.json", "--out", "out", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    report = check_report(tmp_path / "reports" / "r.json", 12)
    assert json.loads(done.stdout) == report, "--json prints the report and nothing else"
    assert report["tracking"]["status"] == {"tracked": 12, "degraded": 0, "lost": 0}
    assert report["quality"]["silhouette_iou_mean"] > 0.85
    assert report["quality"]["surface_error_mean_mm"] < 12
    assert report["memory"]["rss_peak_mb"] > 0
    check_files(tmp_path / "out", 12)
    for path in ("reports/r.json", *(f"out/{name}" for name in FILES)):
        assert f"wrote {path}" in done.stderr.splitlines()
    assert "Warp" not in done.stderr and "error" not in done.stderr.lower()


def test_folder_of_a_turning_person(shared_data: Path, tmp_path: Path) -> None:
    take = shared_data / "depth" / "turning_person"
    if not take.is_dir():
        pytest.skip(f"{take} is not there")
    done = run(
        "live", "--source", f"folder:{take}", "--headless", "--frames", "15", "--report", "r.json", "--out", "out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = check_report(tmp_path / "r.json", 15)
    assert report["quality"]["silhouette_iou_mean"] >= 0.92
    assert report["quality"]["depth_residual_median_mm"] <= 8
    assert "surface_error_mean_mm" not in report["quality"], "there is no truth to compare with"
    check_files(tmp_path / "out", 15)


def test_depth_only_take(shared_data: Path, tmp_path: Path) -> None:
    take = shared_data / "depth" / "kinect_actions" / "depth" / "a3_s1_t1_depth.mat"
    if not take.is_file():
        pytest.skip(f"{take} is not there")
    done = run("live", "--source", f"folder:{take}", "--headless", "--frames", "12", "--report", "r.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = check_report(tmp_path / "r.json", 12)
    assert report["quality"]["silhouette_iou_mean"] > 0.8
    assert "holds no colour" in done.stderr
    assert any("nominal ones of a Kinect v1" in warning for warning in report["source"]["warnings"])


def test_realsense_recording(tmp_path: Path) -> None:
    """Written by the SDK's own recorder from synthetic frames, played through the same code as a camera."""
    needs("pyrealsense2", "pip install 'bodystream[realsense]', and libusb-1.0")
    from helpers.realsense_fixture import record_software_take

    frames = SyntheticSource(SyntheticConfig(frames=12), "cpu")
    assert record_software_take(tmp_path / "take.db3", frames) == 12
    done = run(
        "live", "--source", "realsense:take.db3", "--headless", "--report", "r.json", "--out", "out", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    report = check_report(tmp_path / "r.json", 12)
    assert report["source"]["name"] == "realsense:take.db3"
    assert report["tracking"]["status"]["lost"] == 0
    assert report["quality"]["silhouette_iou_mean"] > 0.85
    check_files(tmp_path / "out", 12)


def test_viewer_shows_a_page_and_ends_on_interrupt(tmp_path: Path) -> None:
    with Running(
        "live", "--no-browser", "--port", "0", "--report", "r.json", "--out", "out", cwd=tmp_path
    ) as viewer:  # fmt: skip
        url = viewer.wait_for_line("viewer: ").removeprefix("viewer: ")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\w{16}", url), "this machine only"
        with urllib.request.urlopen(url, timeout=30) as answer:
            page = answer.read().decode()
        assert answer.status == 200
        assert "<html" in page.lower() and "<script" in page.lower()
        viewer.wait_for_line("frame ")
        time.sleep(1.0)
        viewer.interrupt()
        assert viewer.finish() == 0, viewer.text
    assert "Traceback" not in viewer.text
    check_files(tmp_path / "out")
    frames = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["frames"]
    assert frames["processed"] >= 1
    assert frames["in"] == frames["processed"] + frames["dropped"]


def test_interrupt_finishes_the_files_of_an_endless_capture(tmp_path: Path) -> None:
    words = ("live", "--headless", "--report", "r.json", "--out", "out")
    with Running(*words, cwd=tmp_path) as capture:
        capture.wait_for_line("frame ")
        time.sleep(0.5)
        capture.interrupt()
        assert capture.finish() == 0, capture.text
    assert "Ctrl-C again" in capture.text and "Traceback" not in capture.text
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["frames"]["in"] == report["frames"]["processed"] > 0
    check_files(tmp_path / "out", report["frames"]["processed"])


def test_interrupt_of_a_counted_capture_is_told_by_the_exit_code(tmp_path: Path) -> None:
    with Running("live", "--headless", "--frames", "100000", "--report", "r.json", cwd=tmp_path) as capture:
        capture.wait_for_line("frame ")
        capture.interrupt()
        assert capture.finish() == 130, capture.text
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["frames"]["processed"] > 0


def test_second_interrupt_quits_at_once(tmp_path: Path) -> None:
    with Running("live", "--headless", "--out", "out", cwd=tmp_path) as capture:
        capture.wait_for_line("frame ", 2)  # seconds after the first: what came before is in the journal
        capture.interrupt()
        capture.wait_for_line("stopped; writing")
        capture.interrupt()
        start = time.monotonic()
        assert capture.finish() == 130, capture.text
        assert time.monotonic() - start < 20
    assert "Traceback" not in capture.text
    # what was whole by then stays, nothing that is half written, and what the rest can be made of
    left = {path.name for path in (tmp_path / "out").iterdir()}
    (journal,) = [name for name in left if name.endswith(".journal")]
    assert left - {journal} < set(FILES)
    done = run("recover", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"wrote out/{journal.removesuffix('.journal')}.glb" in done.stdout.splitlines()
    assert not (tmp_path / "out" / journal).exists()


def test_doctor_finds_all_that_is_needed(tmp_path: Path) -> None:
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything that is needed works" in done.stdout
    assert [line for line in done.stderr.splitlines() if not line.startswith("building kernels ")] == []
    for name in ("python", "warp", "device cpu", "kernel cache", "onnxruntime", "bundle person"):
        assert re.search(rf"^{name} +ok ", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(("flow", "limit_mm"), [("ground-truth", 4.2), ("dis", 20.0)])
def test_tracking_of_a_real_pair(shared_data: Path, tmp_path: Path, flow: str, limit_mm: float) -> None:
    pair = shared_data / "depth" / "deepdeform_seq258"
    if not pair.is_dir():
        pytest.skip(f"{pair} is not there")
    done = run("eval", "tracking", pair, "--flow", flow, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert set(figures) >= {"epe3d_mm", "epe3d_median_mm", "epe2d_px", "matches", "nodes", "solve_ms"}
    assert 0 < figures["epe3d_median_mm"] <= figures["epe3d_mm"] <= limit_mm
    assert figures["no_motion_mm"] == pytest.approx(234.5, abs=0.5)
    assert figures["matches"] > 10_000 and figures["nodes"] > 50
    assert math.isfinite(figures["epe2d_px"]) and figures["solve_ms"] > 0


def test_benchmarks_of_one_stage(tmp_path: Path) -> None:
    done = run("bench", "--only", "skinning", "--repeats", "3", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows and all(row["key"].startswith("skinning.") for row in rows)
    assert all(set(row) == {"key", "value", "unit", "direction", "tolerance"} for row in rows)
