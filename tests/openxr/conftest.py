"""A Monado service for the tests that want a real OpenXR runtime; they are skipped where there is none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.monado import MonadoRuntime, MonadoService


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "openxr: needs an OpenXR runtime; run by `make test-openxr`")


@pytest.fixture(scope="session")
def monado_runtime() -> MonadoRuntime:
    runtime = MonadoRuntime.found()
    if runtime is None:
        pytest.skip("no OpenXR runtime for tests here: `make test-openxr` makes one and runs these")
    return runtime


@pytest.fixture
def start_monado(
    monado_runtime: MonadoRuntime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., MonadoService]]:
    """Starts a service, with the options of MonadoService, and makes its runtime the active one of this process."""
    folder = Path(tempfile.mkdtemp(prefix="xr-"))  # short: it holds a socket
    folder.chmod(0o700)
    services: list[MonadoService] = []

    def start(**options: int | None) -> MonadoService:
        services.append(MonadoService(monado_runtime, folder, **options))
        for name, value in monado_runtime.write_manifests(folder).items():
            monkeypatch.setitem(os.environ, name, value)
        return services[-1]

    yield start
    for service in services:
        service.close()
    shutil.rmtree(folder)
