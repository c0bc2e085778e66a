"""The labels of a data set in DeepDeform's layout, which lie beside the folders of its splits.

`val/seq258/...`, and of the split `val`: `val_matches.json`, `val_masks.json`, `val_dense.json`. Only the fields that
are asked for are read; others are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from bodystream.errors import InputError
from bodystream.files import read_bounded
from bodystream.sources.layouts.pairing import files_of

__all__ = ["PairPlace", "choose_split", "find_pairs", "frame_name", "listed", "read_labels", "sequence_name"]

_MAX_JSON_BYTES = 256 << 20
_PREFERRED = "val"
_DENSE = "_dense.json"


def choose_split(root: Path, suffix: str, split: str | None) -> str:
    """The split of which there is `<split><suffix>`: that of the name, the only one, or `val`.

    Raises:
        InputError: there is none, or several and no name.
    """
    there = sorted(file.name.removesuffix(suffix) for file in root.glob(f"*{suffix}"))
    if not there:
        raise InputError(
            f"{root} has no annotations: wanted val{suffix} and val/<sequence>/color, depth, mask, intrinsics.txt, as "
            "DeepDeform has them"
        )
    if split is not None:
        if split not in there:
            raise InputError(f"{root} has no {split}{suffix}; its splits are: {listed(there)}")
        return split
    if len(there) > 1 and _PREFERRED not in there:
        raise InputError(f"{root} has several splits ({listed(there)}): choose one with --split")
    return _PREFERRED if _PREFERRED in there else there[0]


def read_labels(path: Path, kind: Any) -> Any:
    """A file of labels as a msgspec type.

    Raises:
        InputError: absent, too long, or something else.
    """
    try:
        return msgspec.json.decode(read_bounded(path, _MAX_JSON_BYTES), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not as DeepDeform writes it: {error}") from error


def sequence_name(text: str, origin: Path) -> str:
    """A sequence's name, once it is sure that it is the name of a folder and no way to elsewhere."""
    if not text or text != Path(text).name or text in (".", ".."):
        raise InputError(f"{origin}: sequences are named by their folder, as seq258, got {text!r}")
    return text


def frame_name(text: str, origin: Path) -> str:
    """A frame's name, once it is sure that it is one."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise InputError(f"{origin}: frames are named by their number, as 000110, got {text!r}")
    return text


def listed(names: Sequence[str]) -> str:
    """Names for a message, the first twenty of them."""
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") if names else "none"


class _DensePair(msgspec.Struct, frozen=True):
    seq_id: str
    object_id: str
    source_id: str
    target_id: str


@dataclass(frozen=True, slots=True)
class PairPlace:
    """Where a pair of frames with its flow is.

    Attributes:
        folder: of the sequence. name: `<object>_<source>_<target>`, None where it is the folder's only one.
    """

    folder: Path
    name: str | None

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.folder.name if self.name is None else f"{self.folder.name}/{self.name}"


def find_pairs(path: Path, split: str | None = None) -> list[PairPlace]:
    """The pairs with dense flow of a data set (`val_dense.json`), or those of one sequence folder.

    Raises:
        InputError: no folder, or no labels that can be read.
    """
    path = path.expanduser()
    if not path.is_dir():
        raise InputError(f"{path}: is not a folder; give the folder of a DeepDeform take, or a data set of them")
    if not any(path.glob(f"*{_DENSE}")) and split is None:
        flows = files_of(path / "optical_flow", (".oflow",)) if (path / "optical_flow").is_dir() else []
        return [PairPlace(path, file.stem) for file in flows] if len(flows) > 1 else [PairPlace(path, None)]
    split = choose_split(path, _DENSE, split)
    origin = path / f"{split}{_DENSE}"
    pairs: list[_DensePair] = read_labels(origin, list[_DensePair])
    if not pairs:
        raise InputError(f"{origin} lists no pair")
    return [_place(path / split, pair, origin) for pair in pairs]


def _place(folder: Path, pair: _DensePair, origin: Path) -> PairPlace:
    source, target = frame_name(pair.source_id, origin), frame_name(pair.target_id, origin)
    return PairPlace(folder / sequence_name(pair.seq_id, origin), f"{pair.object_id}_{source}_{target}")
