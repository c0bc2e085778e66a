"""What kills a session costs it less than a second: SIGKILL leaves a journal, of which the files are made."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trimesh

from helpers.command_line import COMMAND, Running, environment, run
from helpers.gltf_player import Player
from helpers.headset_motions import walking
from helpers.headset_takes import write_bvh

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def test_a_killed_capture_loses_less_than_a_second(tmp_path: Path) -> None:
    words = ("live", "--headless", "--pace", "live", "--out", "out")
    with Running(*words, cwd=tmp_path) as capture:
        capture.wait_for_line("frame ", 2)  # told every two seconds
        time.sleep(1.5)  # what was told is in the file a second later
        capture.signal(signal.SIGKILL)
        capture.finish()
    shown = max(int(line.split()[1]) for line in capture.lines if line.startswith("frame "))
    (journal,) = (tmp_path / "out").iterdir()
    assert journal.suffix == ".journal"

    # The next session with the same folder makes the files, says so in a line, and replaces none of them.
    done = run("live", "--headless", "--frames", "3", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("recovered an earlier session")]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    stem = journal.stem.removeprefix("capture-")
    assert names == {f"{n}{s}" for n in ("canonical", "live") for s in (".ply", f"-{stem}.ply")} | {
        "capture.glb",
        f"capture-{stem}.glb",
    }
    assert f"capture-{stem}.glb" in line
    player = Player(tmp_path / "out" / f"capture-{stem}.glb")
    # What was told last is in the file, and what came until a second before the end.
    assert len(player.key_times) >= shown > 1 and player.key_times[-1] > 2.0
    assert len(player.visible(float(player.key_times[-1])).faces) > 500
    live = trimesh.load(tmp_path / "out" / f"live-{stem}.ply", process=False)
    assert isinstance(live, trimesh.Trimesh) and len(live.faces) > 500
    done = run("recover", "out", cwd=tmp_path)
    assert done.returncode == 0 and "nothing to recover" in done.stdout


# `bodystream`, which also tells the time of each frame when it is done with it.
_TELLING = """
import sys
from bodystream.cli.main import main
from bodystream.pipelines.capture.session import CaptureSession
work = CaptureSession._work
def told(self, frame, arrived_ns):
    work(self, frame, arrived_ns)
    print(frame.t_ns, flush=True)
CaptureSession._work = told
sys.exit(main(sys.argv[1:]))
"""


def test_between_the_last_frame_and_the_end_of_the_file_is_less_than_a_second(tmp_path: Path) -> None:
    words = ("live", "--headless", "--pace", "live", "--out", "out")
    command = [sys.executable, "-c", _TELLING, *words]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as capture:
        assert capture.stdout is not None
        times_ns = []
        while len(times_ns) < 2 or times_ns[-1] - times_ns[0] < 4e9:
            times_ns.append(int(capture.stdout.readline()))
        capture.kill()
        times_ns += map(int, capture.stdout.read().splitlines())
    assert run("recover", "out", cwd=tmp_path).returncode == 0
    (path,) = (tmp_path / "out").glob("capture-*.glb")
    held_s = Player(path).key_times[-1]
    # The file may hold the frame whose time was not told any more.
    assert (times_ns[-1] - times_ns[0]) * 1e-9 - held_s <= 1.0 and held_s > 3.0


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_service_that_is_stopped_and_a_closed_terminal_end_a_capture_in_order(tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    with Running("live", "--headless", "--report", "r.json", "--out", "out", cwd=tmp_path) as capture:
        capture.wait_for_line("frame ")
        capture.signal(number)
        if name == "SIGHUP":  # a terminal that is closed may tell it twice, and with SIGTERM
            capture.signal(signal.SIGTERM)
        assert capture.finish() == 0, capture.text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"canonical.ply", "live.ply", "capture.glb"}
    frames = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["frames"]
    assert len(Player(tmp_path / "out" / "capture.glb").key_times) == frames["processed"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("where", ["2>/dev/full", "2>&1 >/dev/null | head -n 1"])
def test_progress_that_nobody_can_read_ends_nothing(tmp_path: Path, where: str) -> None:
    words = " ".join(["set -o pipefail;", *COMMAND, "live --headless --frames 4 --out out", where])
    done = subprocess.run(
        ["bash", "-c", words], cwd=tmp_path, env=environment(), capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0, done
    assert (tmp_path / "out" / "capture.glb").is_file()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_report_that_cannot_be_written_is_told_by_the_exit_code(tmp_path: Path) -> None:
    done = run("live", "--headless", "--frames", "2", "--report", "/dev/full", cwd=tmp_path)
    assert done.returncode == 2 and "/dev/full could not be written: the disk is full" in done.stderr
    done = run("live", "--headless", "--frames", "2", "--report", "/dev/stdout", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["frames"]["processed"] == 2
    assert done.stderr.splitlines()[-2].startswith("captured 2 frames at ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_results_that_find_no_room_on_stdout_are_told_without_a_trace(tmp_path: Path, unbuffered: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "live", "--headless", "--frames", "1", "--json"],
            cwd=tmp_path, env={**environment(), "PYTHONUNBUFFERED": unbuffered}, stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the output could not be written: No space left on device")


def test_a_killed_drive_leaves_parts_that_are_read_and_recovered(tmp_path: Path) -> None:
    write_bvh(tmp_path / "walk.bvh", walking(60.0))
    words = ("drive", "--headset", "motion:walk.bvh?rate_hz=60", "--headless", "--bvh-hz", "30", "--out", "out")
    with Running(*words, cwd=tmp_path) as driving:
        driving.wait_for_line("pose ")
        time.sleep(2.5)
        driving.signal(signal.SIGKILL)
        driving.finish()
    driven_s = max(int(line.split()[1].split("/")[0]) for line in driving.lines if line.startswith("pose ")) / 60
    done = run("recover", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = sorted(line.removeprefix("wrote out/") for line in done.stdout.splitlines() if line.startswith("wrote "))
    assert [name.split("-")[0] for name in names] == ["driven", "driven", "headset"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    bvh, glb = (next(tmp_path / "out" / name for name in names if name.endswith(suffix)) for suffix in ("bvh", "glb"))
    lines = bvh.read_text(encoding="ascii").split("MOTION\n")[1].splitlines()
    count = int(lines[0].removeprefix("Frames:"))
    assert len(lines) == count + 2 and lines[1] == "Frame Time: 0.033333333"
    assert count / 30 > driven_s - 0.2 and Player(glb).key_times[-1] > driven_s - 0.2
