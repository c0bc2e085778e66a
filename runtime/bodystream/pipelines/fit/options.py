"""What fits are given beside their target, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from bodystream.errors import ConfigurationError

__all__ = ["FitOptions", "FitReport", "Up"]

Up = Literal["x", "y", "z", "-x", "-y", "-z"]

_USUAL_FRAMES = 60
_WORDS = {
    "scan": "a scan", "capture": "a capture", "depth": "a depth recording", "markers": "markers",
    "joints2d": "joints in a picture",
}  # fmt: skip
_OF_KINDS = {
    "landmarks": ("scan",), "shape": ("depth",), "up": ("scan", "markers"), "register": ("scan",),
    "frames": ("capture", "depth", "markers"), "markers": ("markers",), "unit": ("markers",), "camera": ("joints2d",),
    "image_size": ("joints2d",), "person": ("joints2d",),
}  # fmt: skip
"""Of each option the kinds of targets of which it says something."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a fit is given beside its target.

    Attributes:
        out: folder for its files. landmarks: file of landmarks, or None.
        up: axis that is up, None: y of a scan, and of markers the one along which people stand.
        register: whether the body of a scan is laid on it vertex by vertex at the end.
        shape: file of an earlier fit, whose person a recording shows; None finds who it is.
        frames: of a capture, a recording or markers, at most so many are taken; None is the usual number.
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
    frames: int | None = None
    markers: Path | None = None
    unit: str = ""
    camera: str = ""
    image_size: str = ""
    person: int = 0
    progress: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        if self.most_frames < 2:
            raise ConfigurationError(f"--frames must be 2 or more, got {self.frames}")

    @property
    def most_frames(self) -> int:
        """At most so many frames are taken."""
        return _USUAL_FRAMES if self.frames is None else self.frames

    def refuse_others(self, kind: str) -> None:
        """Refuse options that say nothing of a kind of target.

        Args:
            kind: the word before a target's colon; `scan` without one.

        Raises:
            ConfigurationError: names the first one that is given.
        """
        for field in fields(self):
            kinds = _OF_KINDS.get(field.name, (kind,))
            if kind not in kinds and getattr(self, field.name) != field.default:
                option = f"--{'no-' if field.name == 'register' else ''}{field.name.replace('_', '-')}"
                raise ConfigurationError(
                    f"{option} is for {' or '.join(_WORDS[one] for one in kinds)}, and says nothing of {_WORDS[kind]}: "
                    f"leave {option} out"
                )


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
