"""What every layout reader returns: the frames of one recording, not yet decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bodystream.sources.layouts.intrinsics import PinholeParameters, UnreadIntrinsics
from bodystream.sources.layouts.lenses import SizedRig
from bodystream.sources.layouts.masks import MaskReader
from bodystream.types import Array

__all__ = ["MILLIMETRE_M", "FrameRecord", "LayoutReader", "Recording"]

MILLIMETRE_M = 0.001


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One frame of a recording; its readers decode when they are called, in any thread.

    Attributes:
        name: what messages call it.
        read_depth: gives (H, W) unsigned integers in the recording's unit, or floats; None when `problem` is set.
        read_colour: gives (H, W, 3) uint8 RGB, or None where the recording has no colour.
        read_mask: gives (H, W) bool (or None: no mask after all) from the raw depth; None where the frame has no mask.
        read_intrinsics: of this frame alone, or None where one camera serves the whole recording.
        depth_file, colour_file: named in messages.
        time_ns: the recording's own time, or None.
        number: the frame's number in a recording that numbers its frames, or None.
        problem: why the frame is known to be incomplete before anything is decoded, else empty.
    """

    name: str
    read_depth: Callable[[], Array] | None
    read_colour: Callable[[], Array] | None = None
    read_mask: Callable[[Array], Array | None] | None = None
    read_intrinsics: Callable[[], PinholeParameters] | None = None
    depth_file: str = ""
    colour_file: str = ""
    time_ns: int | None = None
    number: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """One take in order of time.

    Attributes:
        layout: the reader's name.
        records: all frames, incomplete ones too, so that losses can be counted where they happened.
        depth_scale_m: metres per unit of integer depth, as the layout defines or assumes it.
        intrinsics: of the whole recording, perhaps from a file that is not understood; None when none was found.
        intrinsics_wanted: what to add when none was found: the files that were looked for.
        notes: what the user should know, each to be shown as a warning.
        masks: reads the masks, if it is known only from them how they are meant.
        time_note: the same about the frames' times, which is void where the user gives the rate.
        rig: the two cameras of images that are not registered, or None where they are (or there is no colour).
        unregistered: why colour cannot be used as it is although no rig is known, and what to do; empty = it can. A
            user who gives intrinsics says that one camera serves both images.
        folder: where calibration files lie, if not in the folder that was given; or None.
        rate_hz: of frames without times, or None where nothing says it.
        close: lets go of files that stay open while the recording plays, or None.
    """

    layout: str
    records: tuple[FrameRecord, ...]
    depth_scale_m: float
    intrinsics: PinholeParameters | UnreadIntrinsics | None
    intrinsics_wanted: str
    notes: tuple[str, ...] = field(default=())
    time_note: str = ""
    rig: SizedRig | None = None
    unregistered: str = ""
    folder: Path | None = None
    rate_hz: float | None = None
    close: Callable[[], None] | None = None
    masks: MaskReader | None = None


class LayoutReader(Protocol):
    """A layout: does a path hold it, and what is in there."""

    NAME: str
    WANTED: str

    def fits(self, path: Path) -> bool: ...

    def read(self, path: Path) -> Recording: ...
