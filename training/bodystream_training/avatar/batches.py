"""Frames as a network sees them: points in the heading frame, whether each is inside, and the bones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodystream.avatar.heading import bones_in_heading
from bodystream.types import Array

__all__ = ["AvatarBatch", "AvatarExamples", "Posed", "posed_points"]


@dataclass(frozen=True)
class Posed:
    """Points of one frame.

    Attributes:
        near: (N, 3) float32 beside the surface, in the frame of the body's heading [m].
        near_inside: (N,) bool.
        box: (N, 3) float32 in the box around it. box_inside: (N,) bool.
        bones: (B, 4, 4) float32 from the canonical pose, in the heading frame.
    """

    near: Array
    near_inside: Array
    box: Array
    box_inside: Array
    bones: Array


def posed_points(posed_from_canonical: Array, near: Array, near_inside: Array, box: Array, box_inside: Array) -> Posed:
    """Of a frame whose points and bones are in the world."""
    bones, frame = bones_in_heading(posed_from_canonical.astype(np.float64))
    back = np.linalg.inv(frame)

    def seen(points: Array) -> Array:
        return (points @ back[:3, :3].T + back[:3, 3]).astype(np.float32)

    return Posed(seen(near), near_inside, seen(box), box_inside, bones.astype(np.float32))


@dataclass
class AvatarBatch:
    """Attributes:
    points: (P, N, 3) posed points [m]. inside: (P, N) 0 or 1. bones: (P, B, 4, 4).
    """

    points: Tensor
    inside: Tensor
    bones: Tensor

    def to(self, device: torch.device | str) -> AvatarBatch:
        return AvatarBatch(self.points.to(device), self.inside.to(device), self.bones.to(device))


@dataclass(frozen=True)
class AvatarExamples:
    """The frames of one person in one outfit.

    Attributes:
        frames: to train on. validation: others.
        joints: (B, 3) of the bones in the canonical pose [m]. parents: (B,), -1 of the first.
    """

    frames: Sequence[Posed]
    validation: Sequence[Posed]
    joints: Array
    parents: Sequence[int]

    def batch(self, index: Tensor, points: int, generator: torch.Generator) -> AvatarBatch:
        """Half of the points of each frame `index` (P,) near the surface, half anywhere in the box (A.1)."""
        chosen = [self.frames[number] for number in index.tolist()]
        return _gather(chosen, points, generator)

    def held_out(self, points: int, generator: torch.Generator) -> list[AvatarBatch]:
        """The validation frames, each a batch of its own."""
        return [_gather([frame], points, generator) for frame in self.validation]


def _gather(chosen: Sequence[Posed], points: int, generator: torch.Generator) -> AvatarBatch:
    places, inside = [], []
    for frame in chosen:
        parts = ((frame.near, frame.near_inside), (frame.box, frame.box_inside))
        half = [torch.randint(len(where), (points // 2,), generator=generator).numpy() for where, _ in parts]
        places.append(np.concatenate([where[pick] for (where, _), pick in zip(parts, half, strict=True)]))
        inside.append(np.concatenate([what[pick] for (_, what), pick in zip(parts, half, strict=True)]))
    return AvatarBatch(
        torch.from_numpy(np.stack(places)),
        torch.from_numpy(np.stack(inside)).float(),
        torch.from_numpy(np.stack([frame.bones for frame in chosen])),
    )
