"""Fixtures that several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.skips import pytest_collectreport, pytest_runtest_logreport, pytest_sessionfinish
from helpers.workers import pytest_report_to_serializable, pytest_sessionstart, pytest_xdist_make_scheduler

__all__ = [
    "pytest_collectreport",
    "pytest_report_to_serializable",
    "pytest_runtest_logreport",
    "pytest_sessionfinish",
    "pytest_sessionstart",
    "pytest_xdist_make_scheduler",
    "shared_data",
]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recordings; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("BODYSTREAM_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("recordings not found: set BODYSTREAM_DATA to their folder")
    return folder
