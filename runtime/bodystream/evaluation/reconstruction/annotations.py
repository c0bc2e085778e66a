"""What people annotated in sequences of DeepDeform's layout: pixels that match, and masks of the object.

Beside the folders of a split lie the labels: `val/seq258/...`, `val_matches.json`, `val_masks.json`. Only what is
asked for here is read from them; fields that are not known are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bodystream.errors import InputError
from bodystream.files import read_bounded
from bodystream.sources.layouts.images import COLOUR_SUFFIXES
from bodystream.sources.layouts.pairing import files_of
from bodystream.types import Array

__all__ = ["AnnotatedPair", "AnnotatedSequence", "find_sequences"]

_MATCHES, _MASKS = "_matches.json", "_masks.json"
_MAX_JSON_BYTES = 256 << 20
_PREFERRED = "val"


class _Match(msgspec.Struct, frozen=True):
    source_x: float
    source_y: float
    target_x: float
    target_y: float


class _Pair(msgspec.Struct, frozen=True):
    seq_id: str
    source_id: str
    target_id: str
    matches: list[_Match]
    object_id: str = ""


class _Mask(msgspec.Struct, frozen=True):
    seq_id: str
    frame_id: str


@dataclass(frozen=True, slots=True)
class AnnotatedPair:
    """Pixels of one frame and where they are in another.

    Attributes:
        object_id: what the pixels are on, empty where nothing says it.
        source, target: frames, by their names. source_px, target_px: (M, 2) float64 (u, v).
    """

    object_id: str
    source: str
    target: str
    source_px: Array
    target_px: Array


@dataclass(frozen=True, slots=True)
class AnnotatedSequence:
    """A sequence and its annotations.

    Attributes:
        name, folder: of the sequence. pairs: those with at least one match.
        masked: names of the frames whose mask the geometry is compared in.
    """

    name: str
    folder: Path
    pairs: tuple[AnnotatedPair, ...]
    masked: tuple[str, ...]

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of all frames that are annotated, in order."""
        return tuple(sorted({*self.masked, *(p.source for p in self.pairs), *(p.target for p in self.pairs)}))

    def mask_files(self, frame: str) -> list[Path]:
        """The mask of a frame: `mask/000000.png`, or one file per object, `mask/000000_shirt.png`.

        Raises:
            InputError: there is none.
        """
        folder = self.folder / "mask"
        files = files_of(folder, COLOUR_SUFFIXES) if folder.is_dir() else []
        found = [file for file in files if file.stem == frame or file.stem.startswith(f"{frame}_")]
        if not found:
            raise InputError(
                f"{self.folder}: frame {frame} is annotated and has no mask, which is wanted as mask/{frame}.png or "
                f"mask/{frame}_<object>.png"
            )
        return found


def find_sequences(path: Path, split: str | None = None) -> list[AnnotatedSequence]:
    """The annotated sequences of a data set, or the one sequence that the path is.

    Args:
        path: the data set's folder, which holds the labels, or the folder of one sequence (`.../val/seq258`).
        split: of the data set; None = its only one, or `val`. The folder of a sequence says it itself.

    Raises:
        InputError: no labels there, labels that cannot be read, or no annotation of a sequence that is there.
    """
    path = path.expanduser()
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder; give a data set in DeepDeform's layout, or one sequence of it")
    chosen: str | None = None
    if (path / "depth").is_dir():
        path = path.resolve()
        root, split, chosen = path.parent.parent, path.parent.name, path.name
    else:
        root, split = path, _split_of(path, split)
    matches_file, masks_file = root / f"{split}{_MATCHES}", root / f"{split}{_MASKS}"
    if not matches_file.is_file():
        raise InputError(
            f"{path} has no annotations: {matches_file} is needed, the pixels that people matched, beside the "
            f"folder {split}"
        )
    pairs = _read(matches_file, list[_Pair])
    masks = _read(masks_file, list[_Mask]) if masks_file.is_file() else None
    names = sorted({pair.seq_id for pair in pairs if pair.matches})
    if chosen is not None:
        if chosen not in names:
            raise InputError(f"{matches_file} has no match of {chosen}; it has those of {_listed(names)}")
        names = [chosen]
    if not names:
        raise InputError(f"{matches_file} has no matches")
    return [_sequence(root / split / name, name, pairs, masks, matches_file) for name in names]


def _split_of(root: Path, split: str | None) -> str:
    there = sorted(file.name.removesuffix(_MATCHES) for file in root.glob(f"*{_MATCHES}"))
    if split is not None:
        if split not in there:
            raise InputError(f"{root} has no {split}{_MATCHES}; its splits are: {_listed(there)}")
        return split
    if len(there) == 1 or _PREFERRED in there:
        return _PREFERRED if _PREFERRED in there else there[0]
    if not there:
        raise InputError(
            f"{root} has no annotations: wanted val{_MATCHES}, val{_MASKS} and val/<sequence>/color, depth, mask, "
            "intrinsics.txt, as DeepDeform has them"
        )
    raise InputError(f"{root} has several splits ({_listed(there)}): choose one with --split")


def _sequence(
    folder: Path, name: str, pairs: Sequence[_Pair], masks: Sequence[_Mask] | None, origin: Path
) -> AnnotatedSequence:
    if not folder.is_dir():
        raise InputError(f"{origin} annotates {name}, but there is no folder {folder}")
    own = [_pair(pair, origin) for pair in pairs if pair.seq_id == name and pair.matches]
    if masks is None:
        files = files_of(folder / "mask", COLOUR_SUFFIXES) if (folder / "mask").is_dir() else []
        masked = {file.stem.split("_")[0] for file in files}
    else:
        masked = {_frame_name(mask.frame_id, origin) for mask in masks if mask.seq_id == name}
    return AnnotatedSequence(name, folder, tuple(own), tuple(sorted(masked)))


def _pair(pair: _Pair, origin: Path) -> AnnotatedPair:
    rows = np.array([(m.source_x, m.source_y, m.target_x, m.target_y) for m in pair.matches], np.float64)
    source, target = _frame_name(pair.source_id, origin), _frame_name(pair.target_id, origin)
    return AnnotatedPair(pair.object_id, source, target, rows[:, :2], rows[:, 2:])


def _frame_name(text: str, origin: Path) -> str:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise InputError(f"{origin}: frames are named by their number, as 000110, got {text!r}")
    return text


def _read(path: Path, kind: type) -> list:
    try:
        return msgspec.json.decode(read_bounded(path, _MAX_JSON_BYTES), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not as DeepDeform writes it: {error}") from error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") if names else "none"
