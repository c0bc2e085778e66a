"""From posed points to occupancies through the correspondence search, and what is made small by training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bodystream_training.avatar.batches import AvatarBatch
from bodystream_training.avatar.coarseness import table_residual_cm2
from bodystream_training.avatar.model import Ins
from bodystream_training.avatar.search import START_BONES, find_roots, near_starts, root_gradients

__all__ = ["iou", "logits_of", "prior_terms", "skinning_terms", "stick_terms"]

_NOWHERE = -8.0  # the logit of a point that no canonical point is carried to
_SOFTNESS = 5.0  # of the soft maximum over candidates, as SNARF's
# Candidates whose occupancy, before H_c moved them, is so far below the best one's are given up: the soft maximum gives
# them nothing, and H_c costs as much as all else.
_MARGIN, _MOST = 12.0, 3
_CM2_PER_M2 = 1e4
_LOOKED_UP = 128  # points of a step, of one pose, at which layers are compared with coarse tables of theirs
_STICK_M, _AROUND_M = 0.06, 0.35  # how thick sticks are, and how far around them points are looked at


def logits_of(
    model: Ins,
    batch: AvatarBatch,
    *,
    pins: bool = True,
    hard: bool = False,
    starts: tuple[int, ...] = START_BONES,
    joints: Tensor | None = None,
) -> Tensor:
    """(P, N) occupancy logits of the points of a batch (eq. 16, 17).

    Args:
        pins: False: without H_d and H_c, as while the skinning settles.
        hard: the best candidate counts alone, as at inference.
        joints: (B, 3) canonical [m]; where given, candidates are looked for from the bones near each point alone.
    """
    return _best_of(model, batch, _candidates(model, batch, pins=pins, starts=starts, joints=joints), hard=hard)


@dataclass(frozen=True)
class _Candidates:
    """Canonical places that points may come from.

    Attributes:
        before, after: (R, 3) H_c [m]. owner: (R,) which of the batch's points. e_pose: (P, d).
    """

    before: Tensor
    after: Tensor
    owner: Tensor
    e_pose: Tensor


def _candidates(
    model: Ins, batch: AvatarBatch, *, pins: bool, starts: tuple[int, ...], joints: Tensor | None
) -> _Candidates:
    poses, count = batch.points.shape[:2]
    e_pose = model.embed(batch.bones)
    before: list[Tensor] = []
    after: list[Tensor] = []
    owners: list[Tensor] = []
    for pose in range(poses):
        points = batch.points[pose]
        if pins:
            points = model.to_skinned(points, e_pose[pose : pose + 1])
        if model.weights is None:
            before.append(points)
            after.append(model.to_canonical(points, e_pose[pose : pose + 1]) if pins else points)
            owners.append(torch.arange(count, device=points.device) + pose * count)
            continue
        targets, bones = points.detach(), batch.bones[pose]
        tried = None if joints is None else near_starts(targets, bones, joints, starts)
        roots = find_roots(model.weights, targets, bones, starts, tried)
        found, of = roots.points, roots.of
        if len(starts) > 1:
            keep = _promising(model, found, of, count, e_pose[pose])
            found, of = found[keep], of[keep]
        places = root_gradients(model.weights, found, points[of], bones)
        before.append(places)
        after.append(model.to_canonical(places, e_pose[pose : pose + 1]) if pins else places)
        owners.append(of + pose * count)
    return _Candidates(torch.cat(before), torch.cat(after), torch.cat(owners), e_pose)


def _best_of(model: Ins, batch: AvatarBatch, candidates: _Candidates, *, hard: bool) -> Tensor:
    poses, count = batch.points.shape[:2]
    owner = candidates.owner
    logits = model.occupied(candidates.after, candidates.e_pose[owner // count])
    return _best(logits, owner, poses * count, hard).view(poses, count)


@torch.no_grad()
def _promising(model: Ins, points: Tensor, of: Tensor, count: int, e_pose: Tensor) -> Tensor:
    """(R,) bool: candidates worth going on with."""
    logits = model.occupied(points, e_pose.expand(len(points), -1))
    best = logits.new_full((count,), -torch.inf).scatter_reduce(0, of, logits, "amax")
    keep = logits >= best[of] - _MARGIN
    # The best of each point first, and of these its place among them.
    order = torch.argsort(logits, descending=True)
    order = order[torch.argsort(of[order], stable=True)]
    sorted_of = of[order]
    rank = torch.arange(len(of), device=of.device) - torch.searchsorted(sorted_of, sorted_of)
    ranked = torch.empty_like(rank)
    ranked[order] = rank
    return keep & (ranked < _MOST)


def _best(logits: Tensor, owner: Tensor, count: int, hard: bool) -> Tensor:
    """(count,) the maximum over the candidates of each point, a soft one in training."""
    top = logits.new_full((count,), -torch.inf).scatter_reduce(0, owner, logits.detach(), "amax")
    missing = torch.isinf(top)
    if hard:
        return torch.where(missing, _NOWHERE, top)
    share = torch.exp(_SOFTNESS * (logits - top[owner]))
    total = logits.new_zeros(count).index_add(0, owner, share)
    blended = logits.new_zeros(count).index_add(0, owner, share * logits)
    return torch.where(missing, _NOWHERE, blended / total.clamp_min(1e-12))


def skinning_terms(
    model: Ins,
    batch: AvatarBatch,
    *,
    pins: bool,
    joints: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Binary cross-entropy of the occupancies (eq. 18), how far H_c moves places [cm^2], and how far the PINs are from
    coarse tables of what they do [cm^2].

    The latter two are ours, not the paper's. Two networks with skinning between them may share a motion in many ways:
    the nearer H_c stays to the identity, the less do weights of skinning change from pose to pose, which a runtime
    without their network follows by a quadratic. Where a row of table 3 leaves H_c alone with the motion, this is not
    counted. Of tables see `coarseness`.

    Args:
        pins, joints: as of `logits_of`.
        generator: of the points at which tables are looked at; None: they are not.
    """
    candidates = _candidates(model, batch, pins=pins, starts=START_BONES, joints=joints)
    logits = _best_of(model, batch, candidates, hard=False)
    terms = {"occupancy": F.binary_cross_entropy_with_logits(logits, batch.inside)}
    if pins and not any(part is None for part in (model.canonical, model.weights, model.deformed)):
        moved = candidates.after - candidates.before
        terms["moved_cm2"] = _CM2_PER_M2 * moved.square().sum() / max(len(moved), 1)
    if pins and generator is not None:
        terms["coarse_cm2"] = _coarse_cm2(model, batch, candidates, generator)
    return terms


def _coarse_cm2(model: Ins, batch: AvatarBatch, candidates: _Candidates, generator: torch.Generator) -> Tensor:
    """Of one of the poses, at places that H_d and H_c look at, which change nothing for what lies there."""
    pose = int(torch.randint(len(batch.points), (), generator=generator))
    e_pose = candidates.e_pose[pose : pose + 1]
    there = candidates.before[candidates.owner // batch.points.shape[1] == pose]
    total = e_pose.new_zeros(())
    for pin, places in ((model.deformed, batch.points[pose]), (model.canonical, there)):
        if pin is not None and len(places):
            chosen = torch.randint(len(places), (_LOOKED_UP,), generator=generator)
            total = total + table_residual_cm2(pin, places.detach()[chosen.to(places.device)], e_pose, generator)
    return total


def prior_terms(model: Ins, joints: Tensor, parents: Sequence[int], generator: torch.Generator) -> dict[str, Tensor]:
    """What says in the first epoch which bone is which ("Auxiliary Objectives"): points on bones are inside, and at a
    joint the two bones that meet there weigh the same.

    Args:
        joints: (B, 3) canonical [m]. parents: (B,).
    """
    children = [bone for bone, parent in enumerate(parents) if parent >= 0]
    ends, begins = joints[children], joints[[parents[bone] for bone in children]]
    along = torch.rand(len(children), 8, 1, generator=generator).to(joints)
    on_bones = (begins[:, None] + along * (ends - begins)[:, None]).reshape(-1, 3)
    logits = model.occupied(on_bones, joints.new_zeros(len(on_bones), model.config.embedding))
    terms = {"on_bones": F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))}
    if model.weights is not None:
        wanted = joints.new_zeros(len(children), len(parents))
        rows = torch.arange(len(children), device=joints.device)
        wanted[rows, children] = 0.5
        wanted[rows, [parents[bone] for bone in children]] = 0.5
        terms["at_joints"] = F.mse_loss(model.weights(ends), wanted) * len(parents)
    return terms


def stick_terms(
    model: Ins, joints: Tensor, parents: Sequence[int], count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """A first guess that needs no scan: a figure of sticks, each of which goes with its bone.

    Ours, not the paper's: networks that begin at random spend their first thousand steps on finding as much.

    Args:
        joints: (B, 3) canonical [m]. parents: (B,).
        count: random points around the figure.
    """
    children = [bone for bone, parent in enumerate(parents) if parent >= 0]
    bones = torch.tensor([parents[bone] for bone in children])
    begins, ends = joints[bones], joints[children]
    low, high = joints.amin(0) - _AROUND_M, joints.amax(0) + _AROUND_M
    points = low + torch.rand(count, 3, generator=generator) * (high - low)
    chosen = torch.randint(len(children), (count,), generator=generator)
    along = torch.rand(count, 1, generator=generator)
    beside = torch.randn(count, 3, generator=generator) * _STICK_M
    points = torch.cat([points, begins[chosen] + along * (ends - begins)[chosen] + beside])
    axis = ends - begins
    place = ((points[:, None] - begins) * axis).sum(-1) / (axis**2).sum(-1).clamp_min(1e-9)
    away = (points[:, None] - begins - place.clamp(0, 1)[..., None] * axis).norm(dim=-1)  # (M, S)
    logits = model.occupied(points, torch.zeros(len(points), model.config.embedding))
    inside = (away.amin(-1) < _STICK_M).float()
    terms = {"sticks": F.binary_cross_entropy_with_logits(logits, inside)}
    if model.weights is not None:
        shares = torch.softmax(-((away / _STICK_M) ** 2), -1)
        wanted = torch.zeros(len(points), len(parents)).index_add(1, bones, shares)
        terms["follows"] = F.mse_loss(model.weights(points), wanted) * len(parents)
    return terms


def iou(logits: Tensor, inside: Tensor) -> float:
    """Of two occupancies (eq. 20): logits above 0 are inside."""
    found, wanted = logits > 0, inside > 0.5
    return float((found & wanted).sum() / (found | wanted).sum().clamp_min(1))
