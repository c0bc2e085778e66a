"""Tests in several processes: a file's tests are in one, as are those of all commands and pages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from helpers.workers import TOGETHER

TESTS = Path(__file__).resolve().parent
CONFTEST = "from helpers.workers import pytest_report_to_serializable, pytest_xdist_make_scheduler\n"
TEST = """
import logging, os, time
from pathlib import Path
def test_one():
    logging.warning("%s is no text", chr(0xDCFF))
    time.sleep(0.3)  # the other process is not done meanwhile
    with open("ran", "a") as ran:
        ran.write(f"{os.environ['PYTEST_XDIST_WORKER']} {Path(__file__).name}\\n")
def test_other():
    test_one()
"""


def test_which_tests_share_a_process(tmp_path: Path) -> None:
    names = [f"{folder}test_{name}.py" for folder, name in zip(("", "", "", *[TOGETHER] * 3), "abcxyz", strict=True)]
    (tmp_path / TOGETHER).mkdir(parents=True)
    for name in names:
        (tmp_path / name).write_text(TEST)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    options = ["-q", "-p", "no:cacheprovider", "-p", "xdist", "-n", "2", "--dist", "loadfile", f"--rootdir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *names],
        env={**os.environ, "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0 and "12 passed" in done.stdout, done.stdout + done.stderr
    ran = defaultdict(list)
    for line in (tmp_path / "ran").read_text().splitlines():
        worker, name = line.split()
        ran[name].append(worker)
    assert sorted(ran) == [f"test_{name}.py" for name in "abcxyz"] and all(len(set(ran[n])) == 1 for n in ran)
    assert ran["test_x.py"] == ran["test_y.py"] == ran["test_z.py"]
    assert {worker for workers in ran.values() for worker in workers} == {"gw0", "gw1"}
