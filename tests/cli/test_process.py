"""A command starts Warp without its line on a missing driver; whatever else is written to stderr meanwhile stays."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bodystream.cli.process import settle_memory

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own, where Warp has not started yet."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


def test_a_start_writes_nothing() -> None:
    done = fresh("from bodystream.cli.process import start_warp; start_warp(); start_warp()")
    assert (done.stdout, done.stderr) == ("", "")


def test_other_lines_and_later_ones_are_kept() -> None:
    code = """
import os, sys
import warp as wp
from bodystream.cli.process import start_warp
start = wp.init
def talkative():
    os.write(2, b"something else is wrong\\nCould not find or load the NVIDIA CUDA driver\\nand more\\n")
    start()
wp.init = talkative
print("before", file=sys.stderr)
start_warp()
print("after", file=sys.stderr)
"""
    assert fresh(code).stderr.splitlines() == ["before", "something else is wrong", "and more", "after"]


def test_stderr_is_restored_after_a_failure() -> None:
    code = """
import sys
import warp as wp
from bodystream.cli.process import start_warp
def fail():
    raise RuntimeError
wp.init = fail
try:
    start_warp()
except RuntimeError:
    print("still heard", file=sys.stderr)
"""
    assert fresh(code).stderr.splitlines() == ["still heard"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX descriptors")
def test_a_process_without_stderr_starts() -> None:
    code = (
        "import os; os.close(2)\nfrom bodystream.cli.process import start_warp; start_warp()\n"
        "from bodystream.device import select_device; print(select_device('cpu'))"
    )
    assert fresh(code).stdout.strip() == "cpu"


def test_a_library_starts_it_without_a_word_on_stdout_and_leaves_its_log_level() -> None:
    code = """
import warp as wp
before = wp.config.log_level
from bodystream.device import load_kernels, select_device
import bodystream.avatar.kernels
load_kernels("bodystream.avatar.kernels", select_device("cpu"))
assert wp.config.log_level == before
"""
    assert fresh(code).stdout == ""


def test_memory_is_settled_whatever_the_c_library_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Library:
        def malloc_trim(self, pad: int) -> None:
            asked.append(pad)

    try:
        monkeypatch.setattr("ctypes.CDLL", lambda _: Library())
        settle_memory()
        assert asked == [0] and gc.get_freeze_count() > 0
        monkeypatch.setattr("ctypes.CDLL", lambda _: object())
        settle_memory()
    finally:
        gc.unfreeze()
