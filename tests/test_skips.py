"""A skip says why, and in continuous integration fails the run where the test should have run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.needs import needs
from helpers.skips import unexpected

TESTS = Path(__file__).resolve().parent
CONFTEST = "from helpers.skips import pytest_collectreport, pytest_runtest_logreport, pytest_sessionfinish\n"


def run(folder: Path, content: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """pytest on one file, in a process and a folder of its own."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_some.py").write_text(content)
    left = {name: value for name, value in os.environ.items() if name not in ("CI", "BODYSTREAM_CI")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", str(folder)],
        env={**left, "PYTHONPATH": str(TESTS), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


IN_TEST = "import pytest\ndef test_it():\n    pytest.skip('{}')\ndef test_other():\n    pass\n"
IN_MODULE = "from helpers.needs import needs\nneeds('no_such_module', 'install it')\ndef test_it():\n    pass\n"


@pytest.mark.parametrize("variable", ["CI", "BODYSTREAM_CI"])
@pytest.mark.parametrize("content", [IN_TEST.format("chromium is not installed"), IN_MODULE])
def test_a_skip_that_should_have_run_fails_in_ci_only(tmp_path: Path, content: str, variable: str) -> None:
    assert run(tmp_path, content).returncode in (0, pytest.ExitCode.NO_TESTS_COLLECTED)
    done = run(tmp_path, content, **{variable: "true"})
    assert done.returncode == 1
    assert "skipped, and should have run here" in done.stdout
    assert "chromium is not installed" in done.stdout or "No module named 'no_such_module'" in done.stdout


@pytest.mark.parametrize("reason", ["needs an NVIDIA GPU", "recordings not found: set BODYSTREAM_DATA to their folder"])
def test_what_ci_cannot_have_may_be_skipped(tmp_path: Path, reason: str) -> None:
    assert run(tmp_path, IN_TEST.format(reason), CI="1").returncode == 0


@pytest.mark.parametrize(
    "reason",
    [
        "pyrealsense2 does not import (libusb-1.0.so.0: cannot open shared object file): install libusb",
        "the viewer's page is tested in chromium with chromedriver, which are not installed",
        "node's package gltf-validator is not installed: `make test` installs it",
        "torch does not import (No module named 'torch'): pip install 'bodystream[train]'",
        "cryptography does not import (No module named 'cryptography'): pip install 'bodystream[webxr]'",
    ],
)
def test_these_should_run(reason: str) -> None:
    assert unexpected(reason)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("raise ImportError('libusb-1.0.so.0: cannot open shared object file')", "libusb-1.0.so.0"),
        ("import a_part_that_is_not_there", "No module named 'a_part_that_is_not_there'"),
    ],
)
def test_a_package_that_is_there_and_does_not_import_is_a_skip_with_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, cause: str
) -> None:
    (tmp_path / "broken_package.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(pytest.skip.Exception) as skipped:
        needs("broken_package", "mend it")
    assert cause in str(skipped.value) and str(skipped.value).endswith("mend it")
    assert needs("json", "never").loads("1") == 1


def test_tests_ask_for_modules_in_that_way_only() -> None:
    """`importorskip` lets an ImportError through that is no ModuleNotFoundError, and a whole run stops at it."""
    asking = [path.name for path in TESTS.rglob("*.py") if "importorskip(" in path.read_text(encoding="utf-8")]
    assert asking == [Path(__file__).name]
