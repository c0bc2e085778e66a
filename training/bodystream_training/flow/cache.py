"""Pairs kept on disk: one small `.npz` file each, written when a pair is first asked for."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from bodystream.bundles.arrays import load_npz
from bodystream.errors import InputError
from bodystream.files import atomic_path, prepare_folder
from bodystream.types import Array, CameraIntrinsics
from bodystream_training.flow.sample import FlowSample

__all__ = ["CachedPairs", "Numbered", "read_sample", "write_sample"]

_MAX_BYTES = 1 << 28
_PER_FOLDER = 1000
_MASK, _TARGET_MASK, _VISIBLE = 1, 2, 4


class Numbered(Protocol):
    """Pairs that depend on their number only."""

    digest: str
    size: tuple[int, int]

    def __len__(self) -> int: ...

    def sample(self, index: int, generator: torch.Generator) -> FlowSample:
        """Pair `index`."""
        ...


class CachedPairs:
    """Other pairs, kept in a folder of their own below `folder`: those of other settings lie apart.

    Colours and depth come back as they were made, depth in whole millimetres; flow and scene flow have 11 bits. A file
    that is damaged, or that is not of this pair, is made anew.

    Args:
        pairs: where they come from.
        folder: of any number of caches.

    Attributes:
        remade: how many files were not usable.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, pairs: Numbered, folder: Path) -> None:
        self._pairs = pairs
        self._folder = folder / pairs.digest
        self.digest, self.size = pairs.digest, pairs.size
        self.remade = 0
        prepare_folder(self._folder, "--cache")

    def __len__(self) -> int:
        return len(self._pairs)

    def sample(self, index: int, generator: torch.Generator) -> FlowSample:
        """Pair `index`, from its file if there is a whole one.

        Raises:
            IndexError: there is no such pair.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        key = f"{self.digest} {index}"
        path = self._folder / f"{index // _PER_FOLDER:03d}" / f"{index % _PER_FOLDER:03d}.npz"
        if path.is_file():
            try:
                return read_sample(path, key)
            except InputError:
                self.remade += 1
        path.parent.mkdir(exist_ok=True)
        write_sample(path, self._pairs.sample(index, generator), key)
        # from the file, so that a pair is the same whether it was there or not
        return read_sample(path, key)


def write_sample(path: Path, sample: FlowSample, key: str) -> None:
    """Write a pair; `key` says which one it is."""
    c = sample.intrinsics
    arrays = {
        "key": np.frombuffer(key.encode(), np.uint8),
        "camera": np.array([c.fx, c.fy, c.cx, c.cy]),
        "rgb": np.concatenate([sample.source_rgb, sample.target_rgb], axis=2),
        "depth_mm": np.stack([_millimetres(sample.source_depth_m), _millimetres(sample.target_depth_m)]),
        "flow_px": _halved(sample.flow_px),
        "scene_flow_m": _halved(sample.scene_flow_m),
        "masks": (_MASK * sample.mask + _TARGET_MASK * sample.target_mask + _VISIBLE * sample.visible).astype(np.uint8),
    }
    with (
        atomic_path(path) as waiting,
        zipfile.ZipFile(waiting, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)


def read_sample(path: Path, key: str) -> FlowSample:
    """Read what `write_sample` wrote.

    Raises:
        InputError: it is damaged, or holds another pair.
    """
    arrays = load_npz(path, _MAX_BYTES)
    try:
        found = arrays["key"].tobytes().decode(errors="replace")
        if found != key:
            raise InputError(f"{path} holds pair {found!r}, wanted {key!r}")
        rgb, depth_mm, masks = arrays["rgb"], arrays["depth_mm"], arrays["masks"]
        height, width = masks.shape
        fx, fy, cx, cy = arrays["camera"].tolist()
        return FlowSample(
            source_rgb=np.ascontiguousarray(rgb[..., :3]),
            target_rgb=np.ascontiguousarray(rgb[..., 3:]),
            source_depth_m=_metres(depth_mm[0]),
            target_depth_m=_metres(depth_mm[1]),
            intrinsics=CameraIntrinsics(fx, fy, cx, cy, width, height),
            mask=masks & _MASK > 0,
            target_mask=masks & _TARGET_MASK > 0,
            flow_px=arrays["flow_px"].astype(np.float32),
            scene_flow_m=arrays["scene_flow_m"].astype(np.float32),
            visible=masks & _VISIBLE > 0,
        )
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a pair of images with its flow: {error}") from error


def _millimetres(depth_m: Array) -> Array:
    return np.round(np.minimum(depth_m, 65.5) * 1000.0).astype(np.uint16)


def _metres(depth_mm: Array) -> Array:
    return depth_mm.astype(np.float32) / np.float32(1000.0)


def _halved(values: Array) -> Array:
    """As float16; what is too large for it becomes unknown."""
    return np.where(np.abs(values) < 60_000.0, values, np.nan).astype(np.float16)
