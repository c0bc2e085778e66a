"""`bodystream publish` as a user types it, and a C program that reads it, built as its head says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bodystream.cli.main import main
from bodystream.sinks.shm import ShmWriter
from bodystream.sinks.shm.layout import Offer
from helpers.command_line import Running
from helpers.headset_motions import walking
from helpers.headset_takes import samples_of, write_table
from helpers.native import ROOT, free_name

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX shared memory; Windows has named mappings")


def test_a_c_program_reads_what_a_headset_drives(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: cc is not installed")
    name, program = free_name(), tmp_path / "print_pose"
    text = (ROOT / "examples" / "native" / "print_pose.c").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "cc examples/native/print_pose.c" in line]
    typed = line.strip(" *").partition(" && ")[0]
    assert typed == "cc examples/native/print_pose.c -Iinclude -o print_pose"
    subprocess.run(typed.replace("-o print_pose", f"-o {program}"), shell=True, cwd=ROOT, check=True)
    write_table(tmp_path / "walk.csv", samples_of(walking(6.0)))
    trace = f"trace:{tmp_path / 'walk.csv'}"
    with subprocess.Popen([str(program), name, "3"], stdout=subprocess.PIPE, text=True) as reads:
        with Running("publish", "--name", name, "--headset", trace, cwd=tmp_path) as publishes:
            printed, _ = reads.communicate(timeout=120)
            publishes.interrupt()
            publishes.finish()
    heads = [line for line in printed.splitlines() if line.startswith("pose ")]
    assert len(heads) == 3 and len({head.split()[1] for head in heads}) == 3
    assert f" poses to shm:{name}" in publishes.text


def test_a_camera_is_published_too(capfd: pytest.CaptureFixture[str]) -> None:
    name = free_name()
    assert main(["publish", "--name", name, "--source", "synthetic?noise=none", "--frames", "4"]) == 0
    assert f"surfaces to shm:{name}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--source (a captured surface) and --receive (what another machine sends), got none"),
        (["--headset", "vmc:0", "--source", "synthetic"], "got several: for a headset and a camera"),
        (["--source", "synthetic", "--height", "1.7"], "--height is of a driven body, and --source is a camera"),
        (["--headset", "vmc:0", "--surface-hz", "2000"], "surface_hz must be 0 (poses only) to 1000, got 2000"),
        (["--receive", "a/b"], "is in use: process "),
        (["--receive", "body0", "--height", "1.7"], "--height is of a session, and --receive only passes on"),
        (["--headset", "vmc:0"], "is in use: process "),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    name = free_name()
    writer = ShmWriter(name, Offer.POSES)
    try:
        assert main(["publish", "--name", name, *words]) == 2
    finally:
        writer.close()
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in line
