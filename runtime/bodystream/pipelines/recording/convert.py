"""Recordings from one format to another: what was recorded goes on with its times, and nothing is dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from bodystream.errors import InputError
from bodystream.files import atomic_path, prepare_folder
from bodystream.sources.base import RgbdSource
from bodystream.sources.headset.base import HeadsetSource
from bodystream.sources.headset.table import write_headset_csv
from bodystream.takes import TakeReader, TakeWriter
from bodystream.takes.images import ROUNDING_UNIT_M, DepthUnit, encode_colour, encode_mask, unit_of
from bodystream.takes.writer import create
from bodystream.types import RgbdFrame

__all__ = ["Written", "copy_take", "write_folder"]


@dataclass(slots=True)
class Written:
    """What was converted.

    Attributes:
        frames, samples, messages: that were written.
        rounded: frames whose depth was in no whole units.
    """

    frames: int = 0
    samples: int = 0
    messages: int = 0
    rounded: int = 0


def copy_take(source: Path, target: Path, on_step: Callable[[int], None] | None = None) -> tuple[Written, list[str]]:
    """Write all whole messages of a take to a new one, as they are: a take that was cut off gets its end.

    Returns:
        What was written, and what was noticed.

    Raises:
        InputError: the source is no take, the target is there already, or cannot be written.
    """
    written = Written()
    with TakeReader(source) as reader:
        file = create(target)
        about = {key: value for key, value in reader.about.items() if key not in ("format", "host_utc_offset_ns")}
        writer = TakeWriter(file, reader.host_utc_offset_ns, about)
        try:
            for message in reader.messages():
                writer.copy(message)
                written.messages += 1
                if on_step is not None and written.messages % 100 == 0:
                    on_step(written.messages)
            writer.close()
        except OSError as error:
            writer.give_up()
            target.unlink(missing_ok=True)
            raise InputError(f"{target} could not be written ({error.strerror or error}): make room") from error
        except BaseException:
            writer.give_up()
            target.unlink(missing_ok=True)
            raise
        return written, list(reader.problems)


def write_folder(
    folder: Path,
    camera: RgbdSource | None,
    headset: HeadsetSource | None = None,
    *,
    coding: str = "png",
    utc_offset_ns: int = 0,
    on_step: Callable[[int], None] | None = None,
) -> Written:
    """Write a recording as a folder of the plain layout that `folder:` plays, and its samples as `headset.csv`.

    Depth is 16-bit png in the unit that `intrinsics.json` states, frames are named by their times in seconds.

    Args:
        folder: new or empty.
        coding: of colour, see `encode_colour`.
        utc_offset_ns: what is added to the frames' times.
        on_step: told how many frames there are.

    Raises:
        InputError: there are files in the folder, it cannot be written to, or the camera changes within the recording.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} has files in it, and frames of two recordings must not mix: give a new folder")
    prepare_folder(folder, "convert")
    written = Written()
    first: RgbdFrame | None = None
    unit: DepthUnit | None = None
    for frame in () if camera is None else camera:
        if first is None:
            first = frame
        elif frame.intrinsics != first.intrinsics:
            raise InputError(
                f"{camera.name if camera else ''}: the camera of frame {frame.label} is another one than at the start, "
                "and a folder has one: convert it to a take"
            )
        if unit is None and frame.depth_m.any():
            stated_m = getattr(camera, "depth_scale_m", None)
            unit = unit_of(frame.depth_m, stated_m) or DepthUnit(ROUNDING_UNIT_M)
        units, exact = (DepthUnit(ROUNDING_UNIT_M) if unit is None else unit).to_units(frame.depth_m)
        written.rounded += not exact
        seconds, rest_ns = divmod(max(0, frame.t_ns + utc_offset_ns), 1_000_000_000)
        stem = f"{seconds}.{rest_ns:09d}"
        done, data = cv2.imencode(".png", units, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        if not done:
            raise InputError(f"{folder}: the depth of frame {frame.label} could not be encoded")
        _write(folder / "depth" / f"{stem}.png", data.tobytes())
        if frame.colour is not None:
            suffix = "png" if coding == "png" else "jpg"
            _write(folder / "colour" / f"{stem}.{suffix}", encode_colour(frame.colour, coding))
        if frame.mask is not None:
            _write(folder / "mask" / f"{stem}.png", encode_mask(frame.mask))
        written.frames += 1
        if on_step is not None:
            on_step(written.frames)
    if first is not None:
        k, scale_m = first.intrinsics, ROUNDING_UNIT_M if unit is None else unit.scale_m
        facts = {"fx": k.fx, "fy": k.fy, "cx": k.cx, "cy": k.cy, "width": k.width, "height": k.height}
        facts["depth_scale"] = scale_m
        _write(folder / "intrinsics.json", (json.dumps(facts, indent=2) + "\n").encode())
    if headset is not None:
        written.samples = write_headset_csv(folder / "headset.csv", headset)
    return written


def _write(path: Path, data: bytes) -> None:
    """A file that is whole when it has its name; a disk that is full is told with the file."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
