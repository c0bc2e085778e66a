"""Which pixels of a mask file are the person: alpha, soft mattes, labels, inverted masks, masks of another size.

How the masks of a recording are meant is decided once, from a few of them beside their depth, and used for all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from bodystream.errors import InputError
from bodystream.sources.layouts.images import read_mask_image
from bodystream.sources.layouts.mask_rules import MaskRule, MaskSample, decide_rule
from bodystream.types import Array

__all__ = ["MaskReader", "read_mask"]

_SAMPLES = 3
_TRIES = 9

MaskedFrame = tuple[tuple[Path, ...], Callable[[], Array] | None]


def read_mask(path: Path) -> Array:
    """One mask by itself as (H, W) bool.

    Raises:
        DamagedFileError: the file is absent, truncated or cannot be decoded.
    """
    image = read_mask_image(path)
    lossy = _lossy(path)
    return decide_rule([MaskSample(image, lossy, None)]).apply(image, lossy)


class MaskReader:
    """Reads the masks of one recording; any thread may call it.

    Args:
        frames: of each frame its mask files (several objects are united), and what reads its depth.
        alpha_only: the files are colour images, and a mask only if their alpha says something.
    """

    def __init__(self, frames: Sequence[MaskedFrame], alpha_only: bool = False) -> None:
        self._frames = [frame for frame in frames if frame[0]]
        self._alpha_only = alpha_only
        self._lock = threading.Lock()
        self._rule: MaskRule | None = None

    @property
    def rule(self) -> MaskRule:
        """How the masks are meant; decided when it is first asked for."""
        with self._lock:
            if self._rule is None:
                self._rule = self._decide()
            return self._rule

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the masks."""
        if not self._frames:
            return ()
        where = self._frames[0][0][0].parent
        return tuple(f"{where}: {note}" for note in self.rule.notes)

    def read(self, paths: Sequence[Path], raw_depth: Array) -> Array | None:
        """The mask of one frame, (H, W) bool; None where the images turn out to hold none.

        A mask of another size but of the depth's shape is brought to its pixels.

        Raises:
            InputError: damaged, of several sizes, or unlike the others.
        """
        rule = self.rule
        if self._alpha_only and not rule.by_alpha:
            return None
        mask: Array | None = None
        for path in paths:
            try:
                part = rule.apply(read_mask_image(path), _lossy(path))
            except ValueError as error:
                raise InputError(f"{path}: {error}") from error
            if mask is not None and part.shape != mask.shape:
                raise InputError(f"{path} and {paths[0]}: masks of one frame differ in size")
            mask = part if mask is None else mask | part
        # Alpha of colour images that another camera took is no mask of the depth, whatever its size.
        if mask is None or self._alpha_only or mask.shape == raw_depth.shape:
            return mask
        if _same_shape(mask, raw_depth):
            size = raw_depth.shape[1], raw_depth.shape[0]
            mask = cv2.resize(mask.view(np.uint8), size, interpolation=cv2.INTER_NEAREST).view(bool)
        return mask

    def _decide(self) -> MaskRule:
        samples: list[MaskSample] = []
        spread = np.unique(np.linspace(0, len(self._frames) - 1, _TRIES).astype(int)).tolist()
        middle = len(self._frames) // 2
        for position in sorted(spread, key=lambda place: abs(place - middle)):
            if len(samples) >= _SAMPLES:
                break
            paths, read_depth = self._frames[position]
            try:
                image = read_mask_image(paths[0])
                depth = None if read_depth is None else read_depth()
            except InputError:
                continue  # it is reported when its turn comes
            samples.append(MaskSample(image, _lossy(paths[0]), depth))
        return decide_rule(samples, self._alpha_only)


def _same_shape(mask: Array, depth: Array) -> bool:
    return mask.shape[0] * depth.shape[1] == mask.shape[1] * depth.shape[0]


def _lossy(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")
