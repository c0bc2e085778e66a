"""Which tests may be skipped in continuous integration; any other skip there fails the run.

The hooks are pytest's, and `conftest.py` takes them in. They act where BODYSTREAM_CI or CI is set. Where tests run in
several processes, the one that started them hears of each skip in each of them, and it decides.
"""

from __future__ import annotations

import os
import re

import pytest

__all__ = ["ALLOWED", "pytest_collectreport", "pytest_runtest_logreport", "pytest_sessionfinish", "unexpected"]

# Part of the reason that a skipped test gives, and why that may be on a machine that lacks nothing it could have.
ALLOWED = {
    r"NVIDIA|CUDA|\bcuda\b|GPU": "hardware",
    r"a camera is connected": "hardware",
    r"OpenXR runtime": "`make test-openxr` makes one, which takes long",
    r"recordings not found|/data/.* is not there": "no recording is part of the repository",
    r"(openvino|tensorrt): .*not installed": "an extra for one kind of hardware",
    r"no C# compiler": "only a change of the Unity example needs it",
    r"open3d is not installed": "extra `bench`",
    r"anny does not import": "extra `body`",
    r"newton does not import": "extra `garments`",
    r"Windows|macOS|POSIX|no /dev/full|has no FIFOs|looks into /proc|as on Linux": "another operating system",
}

_unexpected: list[str] = []


def unexpected(reason: str) -> bool:
    """Whether a test that is skipped for this reason should have run."""
    return not any(re.search(pattern, reason) for pattern in ALLOWED)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if unexpected(reason):
            _unexpected.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    if _unexpected and any(os.environ.get(name, "") not in ("", "0", "false") for name in ("BODYSTREAM_CI", "CI")):
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.section("skipped, and should have run here (see tests/helpers/skips.py)", red=True)
            for line in _unexpected:
                terminal.write_line(line)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
