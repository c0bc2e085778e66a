"""Which colour file belongs to which depth file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bodystream.errors import InputError
from bodystream.sources.layouts.images import png_has_alpha, read_colour, read_depth
from bodystream.sources.layouts.masks import MaskReader
from bodystream.sources.layouts.matching import match_files
from bodystream.sources.layouts.names import NameNumbers, in_order_of_time, natural, numbers_of
from bodystream.sources.layouts.record import FrameRecord

__all__ = [
    "COLOUR_FOLDERS",
    "DEPTH_FOLDERS",
    "MASK_FOLDERS",
    "PairedFiles",
    "files_in",
    "files_of",
    "pair_by_name",
    "record_of",
]

COLOUR_FOLDERS = ("color", "colour", "rgb", "image", "images")
DEPTH_FOLDERS = ("depth",)
MASK_FOLDERS = ("mask", "masks")

_MAX_FILES = 1_000_000


def files_in(root: Path, folders: Iterable[str], suffixes: Sequence[str]) -> list[Path]:
    """The files of the first of `folders` in `root` that holds some with one of the suffixes, in natural order.

    Raises:
        InputError: a folder cannot be listed or holds more files than any take.
    """
    listings = (files_of(root / name, suffixes) for name in folders if (root / name).is_dir())
    return next(filter(None, listings), [])


def files_of(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files of a folder with one of the suffixes, in natural order (2 before 10).

    Raises:
        InputError: the folder cannot be listed or holds more files than any take.
    """
    found: list[Path] = []
    try:
        for path in folder.iterdir():
            if path.suffix.lower() in suffixes and not path.name.startswith("."):
                found.append(path)
            if len(found) > _MAX_FILES:
                raise InputError(f"{folder}: more than {_MAX_FILES} files")
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror or error})") from error
    return sorted(found, key=lambda path: natural(path.stem))


@dataclass(frozen=True, slots=True)
class PairedFiles:
    """The frames of two folders.

    Attributes:
        records: in order, incomplete ones with their problem.
        notes: what the user should know.
        time_note: the same about the times, which is void where the user gives the rate.
        masks: reads the masks, and knows how they are meant.
    """

    records: tuple[FrameRecord, ...]
    notes: tuple[str, ...]
    time_note: str
    masks: MaskReader


def pair_by_name(
    depth_files: Sequence[Path], colour_files: Sequence[Path], mask_files: Sequence[Path] = (), number: bool = False
) -> PairedFiles:
    """Frames from two folders: by equal names, times or numbers in the names, else by order where counts agree.

    Args:
        mask_files: named `<frame>.png` or `<frame>_<object>.png`; several objects of one frame are united.
        number: the names are frame numbers, unless they are plainly times.

    Raises:
        InputError: nothing pairs up.
    """
    depth_files, colour_files = in_order_of_time(depth_files), in_order_of_time(colour_files)
    names = NameNumbers.of(depth_files)
    notes: list[str] = []
    pairs: Sequence[tuple[int | None, int | None]] = [(index, None) for index in range(len(depth_files))]
    if colour_files:
        matches = match_files(depth_files, colour_files, names, NameNumbers.of(colour_files))
        pairs = matches.pairs
        notes += matches.notes
    frames = [(None if i is None else depth_files[i], None if j is None else colour_files[j]) for i, j in pairs]
    masks = _masks_of(frames, mask_files, notes)
    # Cut-outs: the colour images' own alpha, where they have some.
    by_alpha = not mask_files and bool(colour_files) and png_has_alpha(colour_files[0])
    if by_alpha:
        masks = [[] if colour is None or colour.suffix.lower() != ".png" else [colour] for _, colour in frames]
    reader = MaskReader(
        [
            (tuple(own), None if depth is None else partial(read_depth, depth))
            for (depth, _), own in zip(frames, masks, strict=True)
        ],
        alpha_only=by_alpha,
    )
    times = {} if names.times_ns is None else dict(zip(depth_files, names.times_ns, strict=True))
    records = [
        _record(
            depth, colour, bool(colour_files), own_masks, number, None if depth is None else times.get(depth), reader
        )
        for (depth, colour), own_masks in zip(frames, masks, strict=True)
    ]
    note = f"{depth_files[0].parent}: {names.note}" if names.note else ""
    return PairedFiles(tuple(_with_later_times(records) if times else records), tuple(notes), note, reader)


def record_of(depth: Path | None, colour: Path | None, wants_colour: bool) -> FrameRecord:
    """A frame of one or two files, named after the first of them; what is missing though wanted is its `problem`."""
    present = depth if depth is not None else colour
    assert present is not None
    problem = ""
    if depth is None:
        problem = f"{present} has no depth file"
    elif wants_colour and colour is None:
        problem = f"{present} has no colour file"
    return FrameRecord(
        name=present.stem,
        read_depth=None if depth is None else partial(read_depth, depth),
        read_colour=None if colour is None else partial(read_colour, colour),
        depth_file="" if depth is None else str(depth),
        colour_file="" if colour is None else str(colour),
        problem=problem,
    )


def _record(
    depth: Path | None,
    colour: Path | None,
    wants_colour: bool,
    masks: Sequence[Path],
    number: bool,
    time_ns: int | None,
    reader: MaskReader,
) -> FrameRecord:
    record = record_of(depth, colour, wants_colour)
    return dataclasses.replace(
        record,
        read_mask=partial(reader.read, tuple(masks)) if masks else None,
        time_ns=time_ns,
        number=int(record.name) if number and time_ns is None else None,
    )


def _with_later_times(records: Sequence[FrameRecord]) -> list[FrameRecord]:
    """A frame without depth has no time of its own: it gets the next after the frame before it."""
    result: list[FrameRecord] = []
    first = next(record.time_ns for record in records if record.time_ns is not None)
    before_ns = max(0, first - len(records))
    for record in records:
        before_ns = before_ns + 1 if record.time_ns is None else record.time_ns
        result.append(dataclasses.replace(record, time_ns=before_ns))
    return result


def _masks_of(
    frames: Sequence[tuple[Path | None, Path | None]], mask_files: Sequence[Path], notes: list[str]
) -> list[list[Path]]:
    """The mask files of each frame, by the name of either image, else by the number in their names, else in order."""
    if not mask_files:
        return [[] for _ in frames]
    by_name: dict[str, list[Path]] = {}
    for path in mask_files:
        by_name.setdefault(path.stem, []).append(path)
        if "_" in path.stem:
            by_name.setdefault(path.stem.split("_", 1)[0], []).append(path)
    found = [
        next((by_name[file.stem] for file in frame if file is not None and file.stem in by_name), [])
        for frame in frames
    ]
    if any(found):
        return found
    where = mask_files[0].parent
    by_number: dict[int, list[Path]] = {}
    for path in mask_files:
        for number in numbers_of(path.stem)[-1:]:
            by_number.setdefault(number, []).append(path)
    numbers = [numbers_of((depth or colour).stem)[-1:] for depth, colour in frames]  # type: ignore[union-attr]
    found = [by_number.get(number[0], []) if number else [] for number in numbers]
    if 2 * sum(map(bool, found)) >= len(frames) and all(len(own) < 2 for own in found):
        return found
    if len(mask_files) == len(frames):
        notes.append(f"{where}: the names agree with no frame's, so masks are used in their order")
        return [[path] for path in mask_files]
    notes.append(
        f"{where}: none of its {len(mask_files)} masks has the name or number of a frame, so they are not used: name "
        "a mask as its frame"
    )
    return [[] for _ in frames]
