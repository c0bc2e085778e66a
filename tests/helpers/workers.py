"""Tests in several processes (`pytest -n 2 --dist loadfile`): who builds kernels, and what is not run at once.

Each process builds a share of the kernels first. Without that the first run on a machine has each build what its own
tests meet, and most kernels are met by all. Where they are built, nothing is done.

What tests print may be no text that can be encoded, as names with lone surrogates are: it is escaped on its way.

Commands and browsers keep several processors busy, and some of their tests follow a clock as users do: one process has
them all, one after the other.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator
from typing import Any

import pytest

__all__ = [
    "TOGETHER",
    "build_kernels",
    "pytest_report_to_serializable",
    "pytest_sessionstart",
    "pytest_xdist_make_scheduler",
]

TOGETHER = "tests/e2e/"


def pytest_sessionstart(session: pytest.Session) -> None:
    given = getattr(session.config, "workerinput", None)
    if given is None:
        return
    capture = session.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    capture.resume_global_capture()  # Warp's library says that there is no CUDA
    try:
        build_kernels(int(given["workerid"].removeprefix("gw")), given["workercount"])
    finally:
        capture.suspend_global_capture()
        capture.read_global_capture()


def build_kernels(worker: int, workers: int) -> list[str]:
    """Build the kernel modules of one of the processes, by its number from 0; the names of what was not there."""
    from bodystream.device import kernels_are_built, load_kernels, select_device
    from bodystream.errors import BodystreamError
    from bodystream.pipelines.warmup import KERNEL_MODULES

    device, built = select_device("cpu"), []
    for name in KERNEL_MODULES[worker::workers]:
        importlib.import_module(name)
        if not kernels_are_built(name, device):
            try:
                load_kernels(name, device)
            except BodystreamError:
                return built  # tests that need them fail for that, and by their names
            built.append(name)
    return built


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    return _encodable((yield))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_encodable, value))
    return value


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files to processes as `--dist loadfile` does it, with those of one folder as if they were one."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER if nodeid.startswith(TOGETHER) else super()._split_scope(nodeid)

    return Files(config, log)
