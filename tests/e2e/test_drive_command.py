"""`bodystream drive` and `bodystream eval pose` as users run them: sources, the files they write, and Ctrl-C."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from pygltflib import GLTF2

from bodystream.geometry.skeleton import JOINTS, forward_kinematics
from bodystream.sources.headset.trace import read_trace
from bodystream.sources.motion import find_takes
from helpers.command_line import ROOT, Running, run
from helpers.headset_motions import make_clip, person, walking
from helpers.headset_takes import DOWN, LEVEL, samples_of, write_bvh, write_table

STAGES = {"check", "ease", "features", "sample", "choose", "smooth", "refine", "feet", "record"}
FILES = ("driven.bvh", "driven.glb", "headset.csv")


def check_report(path: Path, processed: int, dropped: int = 0) -> dict[str, Any]:
    """The names that scripts rely on are there, and every sample is accounted for."""
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["frames"] == {"in": processed + dropped, "processed": processed, "dropped": dropped}
    assert report["rate_hz"] == report["fps"] > 0
    assert set(report["stages"]) >= STAGES - {"record"}
    for stage in report["stages"].values():
        assert stage["count"] > 0 and 0 <= stage["p50_ms"] <= stage["p95_ms"] <= stage["p99_ms"]
    assert 0 < report["latency"]["p50_ms"] <= report["latency"]["p99_ms"] <= report["budget"]["worst_ms"] + 1e-9
    assert 0 <= report["budget"]["misses"] <= processed
    assert sum(report["tracking"]["status"].values()) == processed
    assert all(isinstance(name, str) and 0 < count <= processed for name, count in report["flags"].items())
    assert report["quality"]["head_error_mean_cm"] < 0.5, "the head is met, whatever the network guesses"
    assert report["surface"]["vertices"]["last"] == 13_492
    assert report["bundles"]["pose"].startswith("pose ")
    assert set(report["providers"]) == {"kernels", "pose"} and report["machine"]
    return report


def check_files(folder: Path, samples: int) -> None:
    """The motion reads back as a person's, the glTF is a skinned animation of it, and the table is a trace."""
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES), "and nothing half written beside them"
    (take,) = find_takes(f"bvh:{folder}")
    clip = take.load()
    positions, _ = clip.joints()
    assert len(clip) > 1 and np.isfinite(positions).all()
    assert 1.0 < clip.skeleton.stature_m < 2.2
    gltf = GLTF2().load(str(folder / "driven.glb"))
    assert gltf is not None and len(gltf.skins) == 1 and len(gltf.animations) == 1
    assert [gltf.nodes[joint].name for joint in gltf.skins[0].joints or []] == list(JOINTS)
    assert gltf.accessors[gltf.animations[0].samplers[0].input].count >= 2
    scene = trimesh.load(folder / "driven.glb")
    assert isinstance(scene, trimesh.Scene)
    assert sum(len(mesh.faces) for mesh in scene.geometry.values()) > 10_000
    assert len(read_trace(folder / "headset.csv").samples) == samples


def test_recorded_session_headless_and_its_table_replayed(shared_data: Path, tmp_path: Path) -> None:
    trace = shared_data / "headset" / "quest3_session.json"
    if not trace.is_file():
        pytest.skip(f"{trace} is not there")
    done = run(
        "drive", "--headset", f"trace:{trace}", "--headless", "--frames", "200", "--pace", "all", "--hypotheses", "3",
        "--report", "reports/r.json", "--out", "out", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = check_report(tmp_path / "reports" / "r.json", 200)
    assert json.loads(done.stdout) == report, "--json prints the report and nothing else"
    assert report["stages"]["record"]["count"] == 200
    assert report["source"]["name"] == "trace:quest3_session.json" and report["source"]["lost"] == 0
    assert report["tracking"]["status"]["lost"] == 0
    assert report["warnings"] == report["source"]["warnings"] == []
    assert "joint_error_mean_cm" not in report["quality"], "there is no truth to compare with"
    assert report["budget"]["nominal_rate_hz"] == pytest.approx(90, abs=2)
    check_files(tmp_path / "out", 200)
    for path in ("reports/r.json", *(f"out/{name}" for name in FILES)):
        assert f"wrote {path}" in done.stderr.splitlines()
    assert "Warp" not in done.stderr and "error" not in done.stderr.lower()

    # At its own pace a slow machine may pass samples over; none goes missing without being counted.
    again = run(
        "drive", "--headset", "trace:out/headset.csv", "--headless", "--pace", "live", "--frames", "90",
        "--report", "again.json", cwd=tmp_path,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    frames = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))["frames"]
    assert 1 <= frames["processed"] <= 90
    report = check_report(tmp_path / "again.json", frames["processed"], frames["in"] - frames["processed"])
    assert report["source"]["name"] == "trace:headset.csv"
    samples = read_trace(trace).samples[:200]
    replayed = read_trace(tmp_path / "out" / "headset.csv").samples
    for before, after in zip(samples, replayed, strict=True):
        assert before.head is not None and after.head is not None
        np.testing.assert_allclose(after.head.position_m, before.head.position_m, atol=1e-6)
        assert after.t_ns == before.t_ns and after.head.kind == before.head.kind
        assert (after.left is None) == (before.left is None)


def test_motion_with_known_truth(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", walking(3.0))
    done = run(
        "drive", "--headset", "motion:walk.bvh?rate_hz=30&hands=joint", "--headless", "--pace", "all", "--no-foot-lock",
        "--report", "r.json", "--out", "out", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = check_report(tmp_path / "r.json", 90)
    assert 0 < report["quality"]["joint_error_mean_cm"] < 200
    assert report["quality"]["poses"] == 90 and report["calibration"] == []
    check_files(tmp_path / "out", 90)
    # The person of the file is driven: their proportions need no guess.
    driven = find_takes(f"bvh:{tmp_path / 'out'}")[0].load()
    np.testing.assert_allclose(driven.skeleton.offsets_m, person().offsets_m, atol=2e-3)
    source = find_takes(f"bvh:{tmp_path / 'walk.bvh'}")[0].load().resampled(driven.rate_hz)
    heads = [clip.joints()[0][:80, JOINTS.index("head")] for clip in (driven, source)]
    assert np.linalg.norm(heads[0] - heads[1], axis=1).mean() < 0.02


def test_calibration_is_measured_written_and_read(tmp_path: Path) -> None:
    clip = make_clip("t pose", 2.6, lambda t: (LEVEL[0], LEVEL[0], LEVEL[1], LEVEL[1]))
    write_bvh(tmp_path / "still.bvh", clip)
    words = ("drive", "--headset", "motion:still.bvh?rate_hz=30", "--headless", "--pace", "all", "--report", "r.json")
    done = run(*words, "--calibrate", "T", "--calibration", "who/me.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "calibrating: stand upright for two seconds, arms level to the sides" in lines
    assert "wrote who/me.json" in lines
    measured = check_report(tmp_path / "r.json", clip_frames(2.6))["calibration"]
    assert measured and all(line in lines for line in measured), "what was measured is told, and is in the report"
    stored = json.loads((tmp_path / "who" / "me.json").read_text(encoding="utf-8"))
    positions, _ = forward_kinematics(person().offsets_m, np.tile(np.eye(3), (22, 1, 1)), np.zeros(3))
    wrists = positions[[JOINTS.index("left_wrist"), JOINTS.index("right_wrist")]]
    assert stored["pose"] == "T"
    assert stored["hand_distance_m"] == pytest.approx(np.linalg.norm(wrists[1] - wrists[0]), abs=0.01)
    assert stored["head_height_m"] == pytest.approx(1.55, abs=0.03)

    again = run(*words, "--calibration", "who/me.json", "--out", "out", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert check_report(tmp_path / "r.json", clip_frames(2.6))["calibration"] == measured
    driven = find_takes(f"bvh:{tmp_path / 'out'}")[0].load()
    np.testing.assert_allclose(driven.skeleton.offsets_m, stored["offsets_m"], atol=2e-3)


def clip_frames(seconds: float) -> int:
    """Samples of a clip of 90 Hz at 30 Hz, as `MotionClip.resampled` counts them."""
    clip = make_clip("count", seconds, lambda t: (DOWN, DOWN, DOWN, DOWN))
    return len(clip.resampled(30.0).resampled(30.0))


def test_calibration_that_fails_is_told_and_driving_goes_on(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", walking(3.0))
    done = run(
        "drive", "--headset", "motion:walk.bvh?rate_hz=30", "--headless", "--pace", "all", "--calibrate", "T",
        "--calibration", "me.json", "--report", "r.json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("not calibrated: ")]
    assert "stand still" in told
    assert not (tmp_path / "me.json").exists()
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["calibration"] == [] and report["tracking"]["status"]["tracked"] > 20


def test_a_file_that_cannot_be_written_is_an_error_and_the_others_are_there(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", walking(1.0))
    (tmp_path / "out" / "driven.bvh" / "in the way").mkdir(parents=True)
    done = run(
        "drive", "--headset", "motion:walk.bvh?rate_hz=30", "--headless", "--pace", "all", "--out", "out", "--report",
        "r.json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode not in (0, 130) and "Traceback" not in done.stderr
    assert "driven.bvh could not be written" in done.stderr
    assert "written all the same: out/headset.csv, out/driven.glb" in done.stderr
    assert (tmp_path / "out" / "driven.glb").is_file() and (tmp_path / "r.json").is_file()


def test_interrupt_finishes_the_files(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", walking(60.0))
    words = ("drive", "--headset", "motion:walk.bvh?rate_hz=30", "--headless", "--frames", "100000")
    with Running(*words, "--report", "r.json", "--out", "out", cwd=tmp_path) as driving:
        driving.wait_for_line("pose ")
        time.sleep(1.0)
        driving.interrupt()
        assert driving.finish() == 130, driving.text
    assert "Ctrl-C again" in driving.text and "Traceback" not in driving.text
    frames = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["frames"]
    assert frames["processed"] > 1 and frames["in"] == frames["processed"] + frames["dropped"]
    check_files(tmp_path / "out", frames["processed"])


def test_evaluation_of_made_up_motion(tmp_path: Path) -> None:
    for name in ("somebody/walk.bvh", "nobody/walk.bvh"):
        write_bvh(tmp_path / "takes" / name, walking(2.0))
    whole = (tmp_path / "takes" / "nobody" / "walk.bvh").read_text(encoding="latin-1")
    (tmp_path / "takes" / "cut.bvh").write_text(whole[: len(whole) // 2], encoding="latin-1")
    done = run("eval", "pose", "--data", "bvh:takes", "--excerpt-s", "1.2", "1.5", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)  # which holds the result and nothing else
    assert "left out:" in done.stderr and "cut.bvh" in done.stderr
    assert set(table["baselines"]) == {"least_squares_ik"}
    names = "mpjpe_cm mpjpe_upper_cm mpjre_deg mpjve_cm_s jitter_km_s3 head_error_cm hand_error_cm".split()
    for row in (table["model"], table["baselines"]["least_squares_ik"]):
        assert all(np.isfinite(row[name]) and row[name] >= 0 for name in names)
    assert table["model"]["head_error_cm"] < 0.5 and table["model"]["hand_error_cm"] < 0.5
    assert table["rate_hz"] == 60.0 and table["frames"] > 60

    refused = run("eval", "pose", "--data", "bvh:takes/cut.bvh", "--json", cwd=tmp_path)
    assert refused.returncode == 2 and refused.stdout == ""
    assert "none of the 1 takes of bvh:takes/cut.bvh can be read" in refused.stderr


def test_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of docs/drive.md runs as it stands, on a trace of two seconds."""
    page = (ROOT / "docs" / "drive.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    samples = samples_of(walking(2.0))
    write_table(tmp_path / "session.csv", samples)
    names: dict[str, Any] = {}
    exec(compile(example, "docs/drive.md", "exec"), names)
    shown = names["shown"]
    assert len(shown) > 20 and names["report"].frames.processed > 0
    for joints_m, age_s, middle in shown:
        assert joints_m.shape == (22, 3) and np.isfinite(joints_m).all()
        assert age_s >= 0.02
        assert 0.4 < middle[1] < 1.6, "the body stands on the floor"
