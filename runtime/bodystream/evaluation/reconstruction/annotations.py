"""What people annotated in sequences of DeepDeform's layout: pixels that match, and masks of the object.

`val_matches.json` and `val_masks.json`; see `deepdeform_labels`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from bodystream.errors import InputError
from bodystream.evaluation.deepdeform_labels import choose_split, frame_name, listed, read_labels, sequence_name
from bodystream.sources.layouts.images import COLOUR_SUFFIXES
from bodystream.sources.layouts.pairing import files_of
from bodystream.types import Array

__all__ = ["AnnotatedPair", "AnnotatedSequence", "find_sequences"]

_MATCHES, _MASKS = "_matches.json", "_masks.json"


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
        root, split = path, choose_split(path, _MATCHES, split)
    matches_file, masks_file = root / f"{split}{_MATCHES}", root / f"{split}{_MASKS}"
    if not matches_file.is_file():
        raise InputError(
            f"{path} has no annotations: {matches_file} is needed, the pixels that people matched, beside the "
            f"folder {split}"
        )
    pairs = read_labels(matches_file, list[_Pair])
    masks = read_labels(masks_file, list[_Mask]) if masks_file.is_file() else None
    names = sorted({sequence_name(pair.seq_id, matches_file) for pair in pairs if pair.matches})
    if chosen is not None:
        if chosen not in names:
            raise InputError(f"{matches_file} has no match of {chosen}; it has those of {listed(names)}")
        names = [chosen]
    if not names:
        raise InputError(f"{matches_file} has no matches")
    return [_sequence(root / split / name, name, pairs, masks, matches_file) for name in names]


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
        masked = {frame_name(mask.frame_id, origin) for mask in masks if mask.seq_id == name}
    return AnnotatedSequence(name, folder, tuple(own), tuple(sorted(masked)))


def _pair(pair: _Pair, origin: Path) -> AnnotatedPair:
    rows = np.array([(m.source_x, m.source_y, m.target_x, m.target_y) for m in pair.matches], np.float64)
    source, target = frame_name(pair.source_id, origin), frame_name(pair.target_id, origin)
    return AnnotatedPair(pair.object_id, source, target, rows[:, :2], rows[:, 2:])
