"""What fits are given beside their target, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodystream.errors import ConfigurationError

__all__ = ["FitOptions", "FitReport"]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a fit is given beside its target.

    Attributes:
        out: folder for its files. landmarks: file of landmarks, or None.
        frames: of a capture, at most so many are registered.
        progress: told of each frame.
    """

    out: Path
    landmarks: Path | None = None
    frames: int = 60
    progress: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ConfigurationError(f"--frames must be 2 or more, got {self.frames}")


@dataclass(frozen=True, slots=True)
class FitReport:
    """What came of it.

    Attributes:
        written: files. facts: figures by their names. notes: for a person.
    """

    written: list[Path]
    facts: dict[str, Any]
    notes: list[str]
