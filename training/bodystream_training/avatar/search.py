"""Where a posed point lies in the canonical space: Broyden's method from several bones, and gradients through it.

Section 3.1 and appendix D of "Invertible Neural Skinning", after SNARF.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bodystream_training.avatar.model import WeightField, skin

__all__ = ["START_BONES", "Roots", "find_roots", "near_starts", "root_gradients"]

START_BONES = (0, 1, 2, 4, 5, 16, 17, 18, 19)
"""Whose rigid motion gives a first guess: pelvis, hips, knees, shoulders and elbows, as SNARF chose them."""

_ENDS = {0: 15, 1: 4, 2: 5, 4: 7, 5: 8, 16: 18, 17: 19, 18: 20, 19: 21}
"""Where the part of the body ends that goes with each of them: the trunk at the head, a thigh at the knee."""
_NEARBY_M = 0.2

_ITERATIONS, _CONVERGED_M, _DIVERGED_M, _SAME_M = 12, 1e-5, 1.0, 1e-3


@dataclass(frozen=True)
class Roots:
    """Solutions of lbs(q_c) = q_d; those of one point lie beside each other.

    Attributes:
        points: (R, 3) q_c [m].
        of: (R,) int64, which q_d each solves.
        start: (R,) int64, from which start it was found.
    """

    points: Tensor
    of: Tensor
    start: Tensor


@torch.no_grad()
def near_starts(targets: Tensor, posed_from_canonical: Tensor, joints: Tensor, starts: tuple[int, ...]) -> Tensor:
    """(M, K) bool: starts whose part of the body is at most 20 cm farther from a point than the nearest one.

    Ours, not the paper's: a quarter of the starts, and the same candidates that are inside.

    Args:
        targets: (M, 3) q_d of one pose [m].
        posed_from_canonical: (B, 4, 4).
        joints: (B, 3) canonical [m].
        starts: bones, K.
    """
    bones = posed_from_canonical[list(starts)]
    begins, ends = ((bones[:, :3, :3] @ joints[at][..., None])[..., 0] + bones[:, :3, 3]
                    for at in (list(starts), [_ENDS[bone] for bone in starts]))  # fmt: skip
    axis = ends - begins
    place = ((targets[:, None] - begins) * axis).sum(-1) / (axis**2).sum(-1).clamp_min(1e-9)
    away = (targets[:, None] - begins - place.clamp(0, 1)[..., None] * axis).norm(dim=-1)
    return away <= away.amin(-1, keepdim=True) + _NEARBY_M


@torch.no_grad()
def find_roots(
    field: WeightField,
    targets: Tensor,
    posed_from_canonical: Tensor,
    starts: tuple[int, ...],
    tried: Tensor | None = None,
) -> Roots:
    """Broyden's method from the canonical place that each start bone gives; solutions found twice count once.

    Args:
        targets: (M, 3) q_d of one pose [m].
        posed_from_canonical: (B, 4, 4).
        starts: bones, K.
        tried: (M, K) bool, from which of them each point is looked for; default: from all.
    """
    back = torch.linalg.inv(posed_from_canonical[list(starts)])  # (K, 4, 4)
    if tried is None:
        tried = torch.ones(len(targets), len(starts), dtype=torch.bool, device=targets.device)
    of, start = tried.nonzero(as_tuple=True)
    wanted = targets[of]
    points = (back[start, :3, :3] @ wanted[..., None])[..., 0] + back[start, :3, 3]
    matrices = posed_from_canonical[:, :3].reshape(-1, 12)
    blended = (field(points) @ matrices).view(-1, 3, 4)
    # Where weights hardly change, the blend of the bones is the derivative.
    inverse = torch.linalg.inv(blended[..., :3])
    residual = _apply(blended, points) - wanted
    found = torch.full_like(points, torch.nan)
    alive = torch.arange(len(points), device=points.device)
    for _ in range(_ITERATIONS):
        step = -(inverse @ residual[..., None])[..., 0]
        points = points + step
        after = _apply((field(points) @ matrices).view(-1, 3, 4), points) - wanted
        size = after.norm(dim=-1)
        done = size < _CONVERGED_M
        found[alive[done]] = points[done]
        stay = ~done & (size < _DIVERGED_M)
        change, moved = (after - residual)[stay], step[stay]
        inverse, points, residual, wanted, alive = inverse[stay], points[stay], after[stay], wanted[stay], alive[stay]
        if not len(alive):
            break
        # J^-1 <- J^-1 + (dx - J^-1 df) dx^T J^-1 / (dx^T J^-1 df)
        solved = (inverse @ change[..., None])[..., 0]
        row = (moved[:, None] @ inverse)[:, 0]
        below = (moved * solved).sum(-1, keepdim=True)
        below = torch.where(below.abs() < 1e-12, 1e-12, below)
        inverse = inverse + ((moved - solved) / below)[..., None] * row[:, None]
    every = found.new_full((*tried.shape, 3), torch.nan)
    every[of, start] = found
    return _distinct(every)


def _apply(blended: Tensor, points: Tensor) -> Tensor:
    return (blended[..., :3] @ points[..., None])[..., 0] + blended[..., 3]


def _distinct(found: Tensor) -> Roots:
    """Without those that another start has found, too, and those that were not found."""
    kept = torch.isfinite(found[..., 0])
    apart = (found[:, :, None] - found[:, None]).norm(dim=-1) < _SAME_M  # nan compares false
    earlier = apart.new_ones(apart.shape[1:]).tril(-1)
    kept &= ~(apart & earlier).any(-1)
    of, start = kept.nonzero(as_tuple=True)
    return Roots(found[of, start], of, start)


def root_gradients(field: WeightField, roots: Tensor, targets: Tensor, posed_from_canonical: Tensor) -> Tensor:
    """The roots again, with gradients to the weights and to the posed points.

    With J = d lbs/d q_c at the root: dq_c/d sigma = -J^-1 d lbs/d sigma (eq. 26) and dq_c/d q_d = +J^-1 (eq. 27 with
    its sign mended), which are those of one step of Newton's method whose J and start are held fixed.

    Args:
        roots: (R, 3) q_c.
        targets: (R, 3) q_d of each.
        posed_from_canonical: (B, 4, 4) of their pose.
    """
    with torch.no_grad():
        weights, change = field.with_derivative(roots)
        blended = (weights @ posed_from_canonical[:, :3].reshape(-1, 12)).view(-1, 3, 4)
        moved = torch.einsum("bij,mj->mbi", posed_from_canonical[:, :3, :3], roots) + posed_from_canonical[:, :3, 3]
        jacobian = blended[..., :3] + moved.transpose(1, 2) @ change
        inverse = torch.linalg.inv(jacobian)
    residual = skin(field(roots), roots, posed_from_canonical) - targets
    return roots - (inverse @ residual[..., None])[..., 0]
