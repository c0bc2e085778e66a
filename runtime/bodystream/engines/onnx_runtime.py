"""The only way to ONNX Runtime, which keeps a device id and reports on the machine unless it is told not to.

It reads ORT_DISABLE_TELEMETRY when it is imported; its function that says the same comes too late. Where the variable
is set, whatever to, it is left alone.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import os
from typing import Any

__all__ = ["cuda_remedy", "installed_builds", "load_onnxruntime", "preload_cuda"]

_CPU, _GPU = "onnxruntime", "onnxruntime-gpu"
_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def load_onnxruntime() -> Any:
    """The module `onnxruntime`, with its telemetry off; the variable is put back as it was.

    Raises:
        ImportError: it is not installed, or does not load.
    """
    before = os.environ.get(_TELEMETRY)
    if before:
        return importlib.import_module("onnxruntime")
    os.environ[_TELEMETRY] = "1"
    try:
        return importlib.import_module("onnxruntime")
    finally:
        if before is None:
            del os.environ[_TELEMETRY]
        else:
            os.environ[_TELEMETRY] = before


def installed_builds() -> dict[str, str]:
    """Versions of the installed distributions that own the module `onnxruntime`, by name."""
    found = {}
    for name in (_CPU, _GPU):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def cuda_remedy() -> str:
    """The command after which `onnxruntime` is the build with CUDA, and stays so when bodystream is installed again.

    Both distributions write the same files, so the last one written counts. The one for processors is not removed: that
    would take the files of the other with it, and bodystream asks for it by name.
    """
    builds = installed_builds()
    if _GPU in builds:  # pip believes that it is there, though its files are not
        return f"pip install --force-reinstall --no-deps {_GPU}=={builds[_GPU]}"
    version = f"=={builds[_CPU]}" if _CPU in builds else ""
    return f"pip install '{_GPU}[cuda,cudnn]{version}'"


def preload_cuda(onnxruntime: Any) -> None:
    """Load NVIDIA's libraries where they came as packages of pip, which the system's loader does not look through."""
    # It prints what it does not find, which the session that is made next says better.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        onnxruntime.preload_dlls()
