"""Marker sequences of C3D files (c3d.org), read by `ezc3d`: labels, places in metres, and which were not seen."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.bundles import read_npz
from bodystream.errors import InputError, MissingDependencyError, excerpt
from bodystream.files import read_head
from bodystream.sources import c3d_child
from bodystream.types import Array

__all__ = ["UNITS_M", "MarkerSequence", "read_c3d"]

UNITS_M = {"mm": 1e-3, "cm": 1e-2, "dm": 1e-1, "m": 1.0, "in": 0.0254, "ft": 0.3048}
_MORE_UNITS = {
    "millimeter": "mm", "millimetre": "mm", "millimeters": "mm", "millimetres": "mm", "centimeter": "cm",
    "centimetre": "cm", "centimeters": "cm", "centimetres": "cm", "meter": "m", "metre": "m", "meters": "m",
    "metres": "m", "inch": "in", "inches": "in",
}  # fmt: skip
_MAX_BYTES, _MAX_MEMORY, _LIMIT_S = 1 << 30, 6 << 30, 120.0
_COUNTED = 65535
"""Frames that a C3D header can count."""
_KEY = 0x50
"""Second byte of every C3D file."""


@dataclass(frozen=True)
class MarkerSequence:
    """Markers in each frame.

    Attributes:
        labels: (M,) of the markers as the file has them, without blanks at the end; an empty one has none.
        points_m: (T, M, 3) float64 in the file's own axes [m], nan where a marker was not seen.
        rate_hz: frames in a second.
        first_frame: number of the first one.
        unit: what the file's numbers were taken to be in, of `UNITS_M`.
        notes: what was guessed, for a person.
    """

    labels: tuple[str, ...]
    points_m: Array
    rate_hz: float
    first_frame: int
    unit: str
    notes: tuple[str, ...]

    @property
    def t_s(self) -> Array:
        """(T,) float64 time of each frame since the first [s]."""
        return np.arange(len(self.points_m)) / self.rate_hz


def read_c3d(path: Path, unit: str = "") -> MarkerSequence:
    """The markers of a file.

    A marker was not seen where its residual is negative, a coordinate is not finite, or all three are exactly 0.

    Args:
        unit: what its numbers are in, whatever it says; of `UNITS_M`. Empty: as the file says, else by their size.

    Raises:
        MissingDependencyError: the extra `c3d` is not installed.
        InputError: it is no C3D file, is damaged, or has no markers, no frames or no rate.
    """
    if importlib.util.find_spec("ezc3d") is None:
        raise MissingDependencyError("ezc3d", "to read .c3d files", "Run: pip install 'bodystream[c3d]'")
    head = read_head(path, 2)
    if len(head) < 2 or head[1] != _KEY:
        raise InputError(f"{path} is no C3D file{': it is empty' if not head else ''}: export the markers as .c3d")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path} has more than {_MAX_BYTES >> 20} MiB: cut the recording into pieces")
    where = str(path)
    arrays = read_npz(_by_library(path), where, _MAX_MEMORY)
    points = arrays["points"]
    if points.ndim != 3 or len(points) != 4 or not points.shape[1]:
        raise InputError(f"{path} has no markers: export those of a person with their labels")
    if not points.shape[2]:
        raise InputError(f"{path} has no frames: export it again")
    labels = [label.rstrip() for label in arrays["labels"].tolist()] if arrays["labelled"] else []
    labels = (labels + [""] * points.shape[1])[: points.shape[1]]
    rate = float(arrays["rate_hz"])
    if not 0.0 < rate < 1e5:
        raise InputError(f"{path} says that it has {rate:g} frames in a second: give it a rate and export it again")
    notes: list[str] = []
    points = points[:, :, : _frames(points.shape[2], int(arrays["frames"]), notes)]
    places = points[:3].transpose(2, 1, 0).copy()
    gone = ~np.isfinite(places).all(axis=2) | ~(np.abs(places) < 1e9).all(axis=2) | (places == 0.0).all(axis=2)
    residuals = arrays["residuals"][..., : len(places)]
    if residuals.shape == (1, *points.shape[1:]):
        gone |= residuals[0].T < 0.0
    places[gone] = np.nan
    found = _unit(unit, str(arrays["unit"]), places, where, notes)
    return MarkerSequence(
        tuple(labels), UNITS_M[found] * places, rate, int(arrays["first_frame"]), found, tuple(notes)
    )  # fmt: skip


def _by_library(path: Path, command: Sequence[str] | None = None) -> bytes:
    """What the child process makes of a file."""
    words = [sys.executable, "-P", c3d_child.__file__] if command is None else command
    with subprocess.Popen(
        [*words, str(path.absolute()), str(_MAX_MEMORY)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            out, said = child.communicate(timeout=_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise InputError(
                f"{path}: ezc3d was not done with it after {_LIMIT_S:g} s: it is damaged, export it again"
            ) from error
        finally:
            child.kill()  # also where we are interrupted; nothing happens to one that has ended
    if child.returncode < 0:
        raise InputError(f"{path}: ezc3d crashed on it (signal {-child.returncode}): it is damaged, export it again")
    if child.returncode > 0:
        last = (said[-2000:].decode(errors="replace").strip().splitlines() or ["nothing was said"])[-1]
        raise InputError(f"{path} is not a readable C3D file ({excerpt(last, 200)}): export it again")
    return out


def _frames(read: int, said: int, notes: list[str]) -> int:
    """How many of the frames that were read are the recording's, which matters where the header cannot count them: the
    library reads fewer then, and says nothing, or the zeros that fill the file's last block as more of them.

    Args:
        said: how many there are by the parameters, 0 = they say nothing.
    """
    if read < _COUNTED or said == read:
        return read
    if _COUNTED <= said < read:
        return said
    known = f"{said} frames" if said else "perhaps more frames than its header can count"
    notes.append(f"the file has {known}, of which the first {read} were read: cut the recording into pieces")
    return read


def _unit(asked: str, said: str, places: Array, where: str, notes: list[str]) -> str:
    """The unit of the numbers: the one that was asked for, the file's, or the one in which they are a person's.

    Raises:
        InputError: the unit is none, or nobody knows.
    """
    if asked:
        if asked not in UNITS_M:
            raise InputError(f"{asked!r} is no unit of markers: give one of {', '.join(UNITS_M)}")
        return asked
    word = said.strip().lower()
    word = _MORE_UNITS.get(word, word)
    if word in UNITS_M:
        return word
    if not np.isfinite(places).any():
        return "mm"  # nothing is seen, which is told elsewhere
    spread = float(np.nanmax(np.nanmax(places, axis=1) - np.nanmin(places, axis=1)))
    found = next((unit for unit, metres in UNITS_M.items() if 0.7 <= metres * spread <= 3.2), None)
    if found is None:
        raise InputError(
            f"{where}: its markers are {spread:.4g} apart in {excerpt(said) if said.strip() else 'no unit'}: say what "
            f"they are in by --unit, one of {', '.join(UNITS_M)}"
        )
    notes.append(f"the file names {'no unit' if not word else 'the unit ' + excerpt(said)}; {found} was taken")
    return found
