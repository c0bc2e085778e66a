"""More bodies than there are: limbs of several poses on one trunk, and another person in them.

A few thousand poses are a thin sample of all that four limbs and a head can do together. Features are per vertex, and
bodies lie trunk on trunk, so that limbs of bodies whose trunk is bent alike can change places; and what a pose adds to
the features of somebody neutral is nearly the same for everybody (rotations follow the pose, symmetric parts are the
person's).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodystream.body import PARTS
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.types import Array

__all__ = ["LIMBS", "Limbs", "Mixer", "limbs_of_skin"]

LIMBS = ("left_arm", "right_arm", "left_leg", "right_leg", "head")
_JOINTS = {
    "arm": ("shoulder", "elbow", "wrist"),
    "leg": ("hip", "knee", "ankle", "foot"),
    "head": ("neck", "head"),
}
_PARTS = {"arm": ("upper_arm", "forearm", "hand"), "leg": ("thigh", "shin", "foot"), "head": ("head",)}
_CARRIED_BY = {"arm": "chest", "leg": "hips", "head": "chest"}
_WHOLE = 0.1
"""Weight of a limb's joints from which on a vertex is all of that limb's body; below, it is mixed."""
_DONORS = 48
_MIXED, _OTHERS = 0.7, 0.25


@dataclass(frozen=True)
class Limbs:
    """What of a body changes places.

    Attributes:
        masks: (L, V) float32 shares of vertices, at most one in sum; the rest is the trunk's.
        of_part: (P,) limb of each part, or -1.
        carriers: (L,) part that carries the limb.
    """

    masks: Array
    of_part: Array
    carriers: Array


def limbs_of_skin(skin_weights: Array) -> Limbs:
    """Limbs of a body with the canonical skeleton and the sixteen parts.

    Args:
        skin_weights: (V, 22).
    """
    masks = np.zeros((len(LIMBS), len(skin_weights)), np.float32)
    of_part, carriers = np.full(len(PARTS), -1), np.zeros(len(LIMBS), np.int64)
    for number, limb in enumerate(LIMBS):
        side, _, kind = limb.rpartition("_")
        start = f"{side}_" if side else ""
        own = [JOINT_INDEX[f"{start}{joint}"] for joint in _JOINTS[kind]]
        masks[number] = np.clip(skin_weights[:, own].sum(axis=1) / _WHOLE, 0.0, 1.0)
        for part in _PARTS[kind]:
            of_part[PARTS.index(f"{start}{part}")] = number
        carriers[number] = PARTS.index(_CARRIED_BY[kind])
    return Limbs(masks / np.maximum(masks.sum(axis=0), 1.0), of_part, carriers)


@dataclass(frozen=True)
class Mixed:
    """Which bodies make which.

    Attributes:
        person: (B,) item of the neutral body of whom it is.
        donors: (B, L + 1) items of poses: of each limb, and of the trunk last.
    """

    person: Tensor
    donors: Tensor


class Mixer:
    """Draws which bodies are mixed.

    Args:
        limbs: of the topology.
        coarse: (N, P, 9) unscaled features of the parts of all items.
        posed, neutral: (M,), (K,) items to train on.
        of_person: (N,) neutral item of each.
    """

    def __init__(self, limbs: Limbs, coarse: Array, posed: Array, neutral: Array, of_person: Array) -> None:
        self.limbs, self._posed = limbs, torch.from_numpy(posed)
        self._neutral, self._of_person = torch.from_numpy(neutral), torch.from_numpy(of_person)
        self._place = torch.full((len(coarse),), -1)
        self._place[self._posed] = torch.arange(len(posed))
        near = min(_DONORS, len(posed))
        donors = []
        for carrier in limbs.carriers:
            turns = torch.from_numpy(coarse[posed][:, carrier, :3].astype(np.float32))
            donors.append(self._posed[torch.cdist(turns, turns).topk(near, largest=False).indices])
        self._donors = torch.stack(donors, dim=1)  # (M, L, near)

    def drawn(self, items: Tensor, generator: torch.Generator) -> Mixed:
        """For posed items (B,), each of which gives at least the trunk."""
        count, limbs, near = len(items), self._donors.shape[1], self._donors.shape[2]
        place = torch.randint(near, (count, limbs, 1), generator=generator)
        donors = self._donors[self._place[items]].gather(2, place)[:, :, 0]
        mixed = torch.rand(count, generator=generator) < _MIXED
        others = torch.rand(count, generator=generator) < _OTHERS
        anybody = self._neutral[torch.randint(len(self._neutral), (count,), generator=generator)]
        donors = torch.where(mixed[:, None], donors, items[:, None])
        person = torch.where(mixed & others, anybody, self._of_person[items])
        return Mixed(person, torch.cat([donors, items[:, None]], dim=1))
