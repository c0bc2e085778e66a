"""C3D files that tests write with ezc3d."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodystream.types import Array
from helpers.needs import needs

__all__ = ["write_c3d"]


def write_c3d(
    path: Path, labels: Sequence[str], points: Array, unit: str, rate_hz: float = 100.0, residuals: Array | None = None
) -> Path:
    """Write (T, M, 3) points in the file's unit; nan is a marker that was not seen, as ezc3d writes it.

    Args:
        residuals: (T, M), negative where a marker was not seen.
    """
    ezc3d = needs("ezc3d", "pip install 'bodystream[c3d]'")
    made = ezc3d.c3d()
    made["parameters"]["POINT"]["RATE"]["value"] = [rate_hz]
    made["parameters"]["POINT"]["LABELS"]["value"] = tuple(labels)
    made["parameters"]["POINT"]["UNITS"]["value"] = [unit]
    data = np.ones((4, points.shape[1], len(points)))
    data[:3] = points.transpose(2, 1, 0)
    made["data"]["points"] = data
    if residuals is not None:
        made["data"]["meta_points"]["residuals"] = residuals.T[None].astype(np.float64)
    made.write(str(path))
    return path
