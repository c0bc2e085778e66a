"""Where pairs come from: the generator, or a folder in DeepDeform's layout."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from bodystream.device import select_device
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.motion import MotionClip
from bodystream.sources.motion import find_takes
from bodystream_training.flow.cache import CachedPairs
from bodystream_training.flow.recorded import DeepDeformPairs
from bodystream_training.flow.sample import FlowSample
from bodystream_training.synthetic.compose import Composer
from bodystream_training.synthetic.poses import recorded_motions
from bodystream_training.synthetic.renderer import PairRenderer
from bodystream_training.synthetic.wardrobe import Wardrobe

__all__ = ["FlowData", "SyntheticPairs", "open_pairs"]

_VERSION = 8  # of what the generator draws: the same seed of another version gives other pairs
_LEAST_SHOWN = 0.01  # of a pair's pixels
_FIRST_DRAWN = threading.Lock()


class FlowData(Protocol):
    """Numbered pairs of one size.

    Attributes:
        digest: of what they are; others have another one.
        size: (width, height) [px].
    """

    digest: str
    size: tuple[int, int]

    def __len__(self) -> int: ...

    def sample(self, index: int, generator: torch.Generator) -> FlowSample:
        """Pair `index`; what is not fixed by its number is drawn from `generator`. Threads may ask at once."""
        ...


class SyntheticPairs:
    """Pairs that are drawn when they are asked for; the seed and their number fix every bit of them.

    Args:
        size: (width, height) [px].
        count: pairs before they repeat.
        seed: of everything; other seeds show other people in other scenes.
        motions: takes whose motions half of the people make, as `find_takes` takes them; None: all are made up.
        device: where they are drawn, a name for `select_device`.

    Raises:
        ConfigurationError: sizes or counts that cannot be. InputError: no usable motion.
    """

    def __init__(
        self, size: tuple[int, int], count: int, seed: int, motions: str | None = None, device: str = "cpu"
    ) -> None:
        if not all(32 <= side <= 4096 for side in size):
            raise ConfigurationError(f"images of pairs must be 32 to 4096 pixels wide and high, got {size}")
        if count < 1 or seed < 0:
            raise ConfigurationError(f"pairs need a count of at least 1 and a seed of at least 0, got {count}, {seed}")
        self.size, self._count, self._seed = size, count, seed
        self._device = select_device(device)
        self._wardrobe = Wardrobe(seed)
        clips = () if motions is None else _clips(motions)
        self._composer = Composer(size, self._wardrobe, recorded_motions(self._wardrobe.people, clips))
        self._own = threading.local()
        facts = {
            "version": _VERSION,
            "size": size,
            "count": count,
            "seed": seed,
            "motions": [(c.name, len(c)) for c in clips],
        }
        self.digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self._count

    def sample(self, index: int, generator: torch.Generator) -> FlowSample:
        """Pair `index`; nothing is drawn from `generator`.

        Raises:
            IndexError: there is no such pair.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"pair {index} of {self._count}")
        rng = np.random.default_rng((self._seed, index))
        renderer = getattr(self._own, "renderer", None)
        if renderer is not None:
            return self._drawn(renderer, rng)
        with _FIRST_DRAWN:  # kernels are built and loaded by one thread at a time
            wardrobe = self._wardrobe
            renderer = PairRenderer(self.size, wardrobe.rig, wardrobe.face_regions, self._seed, self._device)
            sample = self._drawn(renderer, rng)
        self._own.renderer = renderer
        return sample

    def _drawn(self, renderer: PairRenderer, rng: np.random.Generator) -> FlowSample:
        """The first scene that shows its subject: now and then it is hidden, or too near for the depth camera."""
        while True:
            sample = renderer(self._composer.scene(rng))
            if np.count_nonzero(sample.mask & np.isfinite(sample.flow_px[..., 0])) >= _LEAST_SHOWN * sample.mask.size:
                return sample


@lru_cache(maxsize=2)
def _clips(motions: str) -> tuple[MotionClip, ...]:
    """The takes that can be read as a person's motion; kept, since training and validation ask for the same.

    Raises:
        InputError: there is none.
    """
    clips = []
    for take in find_takes(motions):
        with suppress(InputError):
            clips.append(take.load())
    if not clips:
        raise InputError(f"{motions}: none of its takes can be read as a person's motion")
    return tuple(clips)


def open_pairs(
    spec: str,
    size: tuple[int, int],
    *,
    count: int,
    seed: int = 0,
    motions: str | None = None,
    cache: Path | None = None,
    split: str | None = None,
) -> FlowData:
    """Pairs by name: `synthetic`, or `deepdeform:PATH` for a data set or take in that layout.

    Args:
        size: (width, height) of the crops [px].
        count: pairs that are made before they repeat; recorded ones are as many as there are.
        seed: of what is made.
        motions: motion files for the people that are made; see `SyntheticPairs`.
        cache: folder that keeps what is made; see `CachedPairs`.
        split: of a recorded data set; see `DeepDeformPairs`.

    Raises:
        ConfigurationError: there is no such kind of data, or it takes no such option.
        InputError: the files are not usable.
    """
    kind, _, path = spec.partition(":")
    if kind == "synthetic" and not path:
        if split is not None:
            raise ConfigurationError(f"synthetic pairs have no splits, got {split!r}: other seeds give other pairs")
        made = SyntheticPairs(size, count, seed, motions)
        return made if cache is None else CachedPairs(made, cache)
    if kind == "deepdeform" and path:
        if motions is not None or cache is not None:
            raise ConfigurationError("motions and a cache are for synthetic pairs, not for recorded ones")
        return DeepDeformPairs(Path(path), size, split)
    raise ConfigurationError(f"pairs come from synthetic or deepdeform:PATH, got {spec!r}")
