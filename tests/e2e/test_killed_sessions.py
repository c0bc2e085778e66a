"""What kills a session costs it less than a second: SIGKILL leaves a journal, of which the files are made."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import trimesh

from e2e.command_line import Running, run
from gltf_player import Player

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def test_a_killed_capture_loses_less_than_a_second(tmp_path: Path) -> None:
    words = ("live", "--headless", "--pace", "live", "--out", "out")
    with Running(*words, cwd=tmp_path) as capture:
        capture.wait_for_line("frame ")
        time.sleep(2.5)
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
    # Told every two seconds: what was told last is in the file, and the seconds after it.
    assert len(player.key_times) >= shown > 1 and player.key_times[-1] > 2.0
    assert len(player.visible(float(player.key_times[-1])).faces) > 500
    live = trimesh.load(tmp_path / "out" / f"live-{stem}.ply", process=False)
    assert isinstance(live, trimesh.Trimesh) and len(live.faces) > 500
    done = run("recover", "out", cwd=tmp_path)
    assert done.returncode == 0 and "nothing to recover" in done.stdout
