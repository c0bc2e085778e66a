"""How well posed surfaces are met: intersection over union of occupancies, and where each point of the surface went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bodystream.avatar.heading import bones_in_heading
from bodystream.avatar.take.frames import PosedFrame
from bodystream.types import Array
from bodystream_training.avatar.baselines import SkinnedScan
from bodystream_training.avatar.batches import AvatarBatch, Posed
from bodystream_training.avatar.data.surface import QuerySurface
from bodystream_training.avatar.losses import iou, logits_of
from bodystream_training.avatar.model import Ins
from bodystream_training.avatar.search import START_BONES, find_roots

__all__ = [
    "Occupancy",
    "Score",
    "canonical_places",
    "correspondence_errors_mm",
    "network_occupancy",
    "overlap",
    "scan_occupancy",
]

Occupancy = Callable[[Array, Array], Tensor]
"""(N, 3) posed points in the heading frame and the bones there (B, 4, 4) -> (N,) logits, or signs."""
_CHUNK = 8192


@dataclass(frozen=True)
class Score:
    """Averages over frames.

    Attributes:
        iou_surface, iou_bbox: of points near the surface and in the box, 0 to 1 (eq. 20).
    """

    iou_surface: float
    iou_bbox: float


def overlap(occupancy: Occupancy, frames: Sequence[Posed], points: int, seed: int = 0) -> Score:
    """On the first `points` of both kinds of each frame's points, in an order drawn by the seed."""
    near, box = [], []
    for number, frame in enumerate(frames):
        order = np.random.default_rng((seed, number))
        for places, inside, out in ((frame.near, frame.near_inside, near), (frame.box, frame.box_inside, box)):
            pick = order.permutation(len(places))[:points]
            out.append(iou(occupancy(places[pick], frame.bones), torch.from_numpy(inside[pick]).float()))
    return Score(float(np.mean(near)), float(np.mean(box)))


def network_occupancy(model: Ins) -> Occupancy:
    """Of a trained network, the best candidate of each point counting alone."""

    @torch.no_grad()
    def occupancy(points: Array, bones: Array) -> Tensor:
        batch_bones = torch.from_numpy(bones)[None]
        parts = torch.from_numpy(points).split(_CHUNK)
        return torch.cat(
            [logits_of(model, AvatarBatch(part[None], part[None, :, 0], batch_bones), hard=True)[0] for part in parts]
        )

    return occupancy


def scan_occupancy(scan: SkinnedScan) -> Occupancy:
    """Of a mesh that linear blend skinning carries to each pose, by its winding number."""

    def occupancy(points: Array, bones: Array) -> Tensor:
        surface = QuerySurface(scan.posed(bones).astype(np.float32), scan.faces)
        return torch.from_numpy(surface.nearest(points).inside).float() * 2 - 1

    return occupancy


@torch.no_grad()
def canonical_places(model: Ins, posed: Array, bones: Array) -> Array:
    """(N, 3) canonical places, nan where there is none, of points (N, 3) of one frame in the heading frame.

    Of several candidates the one that is most inside is taken (eq. 17).
    """
    points, matrices = torch.from_numpy(posed.astype(np.float32)), torch.from_numpy(bones)
    e_pose = model.embed(matrices[None])
    points = model.to_skinned(points, e_pose)
    if model.weights is None:
        return model.to_canonical(points, e_pose).numpy()
    roots = find_roots(model.weights, points, matrices, START_BONES)
    places = model.to_canonical(roots.points, e_pose)
    logits = model.occupied(places, e_pose.expand(len(roots.of), -1))
    best = torch.full((len(points),), -torch.inf).scatter_reduce(0, roots.of, logits, "amax")
    out = torch.full_like(points, torch.nan)
    chosen = logits == best[roots.of]
    out[roots.of[chosen]] = places[chosen]
    return out.numpy()


@torch.no_grad()
def correspondence_errors_mm(pose: Callable[[Array], Array], frames: Sequence[PosedFrame], vertices: Array) -> Array:
    """(frames,) mean distance [mm] of where each vertex is and where an avatar puts it.

    Args:
        pose: (B, 4, 4) bones in the heading frame -> (N, 3) places of `vertices` there, nan where it knows none.
        vertices: (N,) indices of the frames' vertices.
    """
    errors = []
    for frame in frames:
        bones, heading = bones_in_heading(frame.posed_from_canonical.astype(np.float64))
        back = np.linalg.inv(heading)
        truth = frame.vertices[vertices] @ back[:3, :3].T + back[:3, 3]
        away = np.linalg.norm(pose(bones.astype(np.float32)) - truth, axis=1)
        errors.append(1e3 * float(np.nanmean(away)))
    return np.array(errors)
