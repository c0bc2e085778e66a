"""Features of all meshes, computed once and kept on disk; an interrupted computation goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bodystream.body import AcapSpace, BodyParts, FeatureScale
from bodystream.errors import InputError
from bodystream.files import atomic_path, read_text_bounded
from bodystream.types import Array, Mesh
from bodystream_training.body.data.bodies import BodyItem, BodySet
from bodystream_training.body.mixing import Mixed, Mixer

__all__ = ["BodyFeatures", "cached_features"]

_VERSION = 1
_BLOCK = 32
_MAX_FACTS_BYTES = 1 << 20


class BodyFeatures(Dataset):
    """Scaled features of a `BodySet`; example i is item i.

    Attributes:
        items: of the set.
        space, parts: what made them.
        scale, coarse_scale: over the items to train on.
        train_neutral, train_posed, test_neutral, test_posed: (N,) numbers of items.
        nearby: (V, P) bool, parts that a vertex may follow.
        mixer: draws which bodies make more of them; None where nobody knows their limbs, or there are no poses.
    """

    def __init__(self, bodies: BodySet, space: AcapSpace, parts: BodyParts, fine: Array, coarse: Array) -> None:
        self.items, self.space, self.parts = bodies.items, space, parts
        self._fine, self._coarse = fine, coarse
        self.train_neutral, self.train_posed = _numbers(self.items, "train")
        self.test_neutral, self.test_posed = _numbers(self.items, "test")
        train = np.sort(np.concatenate([self.train_neutral, self.train_posed]))
        low, high = fine[train[0]].astype(np.float64), fine[train[0]].astype(np.float64)
        for number in train:
            np.minimum(low, fine[number], out=low)
            np.maximum(high, fine[number], out=high)
        self.scale = FeatureScale.over(low, high)
        self.coarse_scale = FeatureScale.over(coarse[train].min(axis=0), coarse[train].max(axis=0))
        limbs = bodies.limbs()
        self.mixer: Mixer | None = None
        if limbs is not None and len(self.train_posed):
            of_person = np.array([item.neutral for item in self.items])
            self.mixer = Mixer(limbs, coarse, self.train_posed, self.train_neutral, of_person)
        self.nearby = parts.nearby(space.rings.start, space.rings.end)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scaled f (V, 9) and g (P, 9) of an item, and f_s and g_s of its identity's neutral mesh, float32."""
        neutral = self.items[number].neutral
        return (*self._scaled(number), *self._scaled(neutral))

    def mixed(self, mix: Mixed, row: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As `__getitem__`, of a body that a mixer drew: the person's neutral features, and what poses add to those of
        their own people, limb by limb."""
        assert self.mixer is not None
        limbs, person = self.mixer.limbs, int(mix.person[row])
        masks = np.concatenate([limbs.masks, 1.0 - limbs.masks.sum(axis=0, keepdims=True)])
        of_part = np.where(limbs.of_part < 0, len(limbs.masks), limbs.of_part)
        fine, coarse = self._fine[person].astype(np.float64), self._coarse[person].astype(np.float64)
        for limb, donor in enumerate(mix.donors[row].tolist()):
            own = self.items[donor].neutral
            vertices, part = masks[limb] > 0.0, of_part == limb
            added = self._fine[donor][vertices] - self._fine[own][vertices]
            fine[vertices] += masks[limb, vertices, None] * added
            coarse[part] += self._coarse[donor][part] - self._coarse[own][part]
        found = self.scale.scaled(fine), self.coarse_scale.scaled(coarse)
        f, g = (torch.from_numpy(x.astype(np.float32)) for x in found)
        return f, g, *self._scaled(person)

    def _scaled(self, number: int) -> tuple[Tensor, Tensor]:
        return self.fine(number), self.coarse(number)

    def fine(self, number: int) -> Tensor:
        """(V, 9) scaled f of an item, float32."""
        return torch.from_numpy(self.scale.scaled(self._fine[number]).astype(np.float32))

    def coarse(self, number: int) -> Tensor:
        """(P, 9) scaled g of an item, float32."""
        return torch.from_numpy(self.coarse_scale.scaled(self._coarse[number]).astype(np.float32))

    def unscaled(self, number: int) -> Array:
        """(V, 9) float32 features of an item."""
        return np.array(self._fine[number])

    def vertices(self, number: int) -> Array:
        """(V, 3) the mesh of an item, out of its features [m]."""
        return self.space.vertices(self._fine[number])


def _numbers(items: list[BodyItem], split: str) -> tuple[Array, Array]:
    mine = [(number, bool(item.motion)) for number, item in enumerate(items) if item.split == split]
    neutral, posed = (np.array([n for n, moved in mine if moved == wanted], np.int64) for wanted in (False, True))
    return neutral, posed


def cached_features(
    bodies: BodySet, folder: Path, on_mesh: Callable[[int, str], None] = lambda *_: None
) -> BodyFeatures:
    """Features of a set, those that are on disk read and the others computed.

    Args:
        folder: keeps `<digest of the recipe>-{fine,coarse}.npy` and what is done of them.
        on_mesh: told how many meshes are done, and the name of the next one.

    Raises:
        InputError: a mesh is no body of this topology, or what is on disk is damaged.
    """
    space = AcapSpace(bodies.reference, "the reference mesh")
    parts = BodyParts(space.reference, bodies.labels, bodies.parts)
    count = len(bodies.items)
    key = json.dumps({"version": _VERSION, **bodies.recipe}, sort_keys=True, default=str)
    digest = hashlib.sha256(key.encode() + space.reference.tobytes()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / f"{digest}.json"
    shapes = {"fine": (count, space.count, 9), "coarse": (count, bodies.parts, 9)}
    done = json.loads(read_text_bounded(progress, _MAX_FACTS_BYTES))["done"] if progress.is_file() else 0
    stored = {name: _open(folder / f"{digest}-{name}.npy", shape, bool(done)) for name, shape in shapes.items()}
    while done < count:
        end = min(done + _BLOCK, count)
        for number in range(done, end):
            item = bodies.items[number]
            on_mesh(number, item.name)
            vertices = bodies.vertices(number)
            space.check(Mesh(vertices, space.faces), item.name)
            features = space.features(vertices)
            stored["fine"][number] = features
            stored["coarse"][number] = parts.features(vertices, features)
        for array in stored.values():
            array.flush()
        done = end
        with atomic_path(progress) as waiting:
            waiting.write_text(json.dumps({"done": done}), encoding="utf-8")
    on_mesh(count, "")
    return BodyFeatures(bodies, space, parts, stored["fine"], stored["coarse"])


def _open(path: Path, shape: tuple[int, ...], begun: bool) -> np.memmap:
    if not begun:
        return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    try:
        found = np.lib.format.open_memmap(path, mode="r")  # "r+" would make a file that was cut whole again
        found = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): remove it and the .json beside it") from error
    if found.shape != shape or found.dtype != np.float32:
        raise InputError(f"{path} holds {found.dtype} of {found.shape}, wanted float32 of {shape}: remove it")
    return found
