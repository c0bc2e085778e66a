"""What all values are made of."""

from __future__ import annotations

import enum
from typing import Any

import numpy.typing as npt

__all__ = ["Array", "Status"]

Array = npt.NDArray[Any]


class Status(enum.StrEnum):
    """How a stage fared on one frame."""

    TRACKED = "tracked"
    DEGRADED = "degraded"
    LOST = "lost"
