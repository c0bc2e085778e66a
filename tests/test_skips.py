"""A skip says why, and in continuous integration fails the run where the test should have run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from helpers.needs import needs
from helpers.skips import unexpected

TESTS = Path(__file__).resolve().parent
CONFTEST = "from helpers.skips import pytest_collectreport, pytest_runtest_logreport, pytest_sessionfinish\n"


def run(folder: Path, *contents: str, options: Sequence[str] = (), **environment: str) -> CompletedProcess[str]:
    """pytest on these files, in a process and a folder of its own, with none of the plugins that happen to be there."""
    (folder / "conftest.py").write_text(CONFTEST)
    for number, content in enumerate(contents):
        (folder / f"test_some_{number}.py").write_text(content)
    left = {name: value for name, value in os.environ.items() if name not in ("CI", "BODYSTREAM_CI")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", *options, str(folder)],
        env={**left, "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


IN_TEST = "import pytest\ndef test_it():\n    pytest.skip('{}')\ndef test_other():\n    pass\n"
IN_MODULE = "from helpers.needs import needs\nneeds('no_such_module', 'install it')\ndef test_it():\n    pass\n"
SHOULD_HAVE_RUN = (IN_TEST.format("chromium is not installed"), IN_MODULE)
SEVERAL = ("-p", "xdist", "-n", "2", "--dist", "loadfile")


@pytest.fixture(params=[(), SEVERAL], ids=["one process", "several"])
def options(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


@pytest.mark.parametrize("variable", ["CI", "BODYSTREAM_CI"])
def test_a_skip_that_should_have_run_fails_in_ci(tmp_path: Path, variable: str, options: tuple[str, ...]) -> None:
    done = run(tmp_path, *SHOULD_HAVE_RUN, options=options, **{variable: "true"})
    assert done.returncode == 1
    _, _, told = done.stdout.partition("skipped, and should have run here")
    assert told.count("chromium is not installed") == 1
    assert told.count("No module named 'no_such_module'") == 1


def test_it_fails_in_ci_only(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert run(tmp_path, *SHOULD_HAVE_RUN, options=options).returncode == 0


@pytest.mark.parametrize("content", SHOULD_HAVE_RUN)
def test_one_is_enough(tmp_path: Path, content: str) -> None:
    done = run(tmp_path, content, CI="1")
    assert done.returncode == 1 and "skipped, and should have run here" in done.stdout


def test_what_ci_cannot_have_may_be_skipped(tmp_path: Path) -> None:
    reasons = ("needs an NVIDIA GPU", "recordings not found: set BODYSTREAM_DATA to their folder")
    done = run(tmp_path, *map(IN_TEST.format, reasons), CI="1")
    assert done.returncode == 0 and "2 passed, 2 skipped" in done.stdout


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
