"""What fits are given beside their target, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bodystream.errors import ConfigurationError

__all__ = ["FitOptions", "FitReport", "Up"]

Up = Literal["x", "y", "z", "-x", "-y", "-z"]


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a fit is given beside its target.

    Attributes:
        out: folder for its files. landmarks: file of landmarks, or None.
        up: axis that is up, None: y of a scan, and of markers the one along which people stand.
        register: whether the body of a scan is laid on it vertex by vertex at the end.
        shape: file of an earlier fit, whose person a recording shows; None finds who it is.
        frames: of a capture, a recording or markers, at most so many are taken.
        markers: file of places of markers by their labels, or None for the usual ones.
        unit: of markers, whatever their file says; empty: as it says.
        camera: "fx,fy,cx,cy" of a picture [px]. image_size: its "width,height" [px], from which a camera is guessed.
        person: of a picture, from 1; 0 = whose joints are the most confident.
        progress: told of each frame.
    """

    out: Path
    landmarks: Path | None = None
    shape: Path | None = None
    up: Up | None = None
    register: bool = True
    frames: int = 60
    markers: Path | None = None
    unit: str = ""
    camera: str = ""
    image_size: str = ""
    person: int = 0
    progress: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ConfigurationError(f"--frames must be 2 or more, got {self.frames}")

    def refuse_those_of_scans(self, what: str) -> None:
        """Refuse options that say something about one scan.

        Args:
            what: is fitted to instead, with its article.

        Raises:
            ConfigurationError: landmarks are given, or another axis that is up.
        """
        if self.landmarks is not None:
            raise ConfigurationError(f"landmarks are of one scan, and {what} has many frames: leave --landmarks out")
        if self.up is not None:
            raise ConfigurationError(f"in {what} it is known which axis is up: leave --up {self.up} out")


@dataclass(frozen=True, slots=True)
class FitReport:
    """What came of it.

    Attributes:
        written: files. facts: figures by their names. notes: for a person.
        told: the figures in words; empty: those of a scan.
    """

    written: list[Path]
    facts: dict[str, Any]
    notes: list[str]
    told: str = ""
