"""The only way to ONNX Runtime, which keeps a device id and reports on the machine unless it is told not to.

It reads ORT_DISABLE_TELEMETRY when it is imported; its function that says the same comes too late. Where the variable
is set, whatever to, it is left alone.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__all__ = ["load_onnxruntime"]


def load_onnxruntime() -> Any:
    """The module `onnxruntime`, with its telemetry off.

    Raises:
        ImportError: it is not installed, or does not load.
    """
    if not os.environ.get("ORT_DISABLE_TELEMETRY"):
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    return importlib.import_module("onnxruntime")
