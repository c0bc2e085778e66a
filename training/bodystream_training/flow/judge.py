"""How good flow and weights are on pairs whose truth is known, beside the first guess and beside DIS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bodystream.correspondence import CorrespondenceEstimator, DisConfig, DisCorrespondence, LearnedConfig
from bodystream.types import Array, CameraIntrinsics, RgbdFrame
from bodystream_training.flow.batches import FlowBatch
from bodystream_training.flow.graph_losses import tracking_errors
from bodystream_training.flow.stages import solver_config
from bodystream_training.flow.tracked import TrackedBatch, tracking_terms

__all__ = ["DIS_CONFIG", "Answer", "Errors", "batch_frames", "dis_answer", "errors_of", "estimated", "used_weight"]

Answer = tuple[TrackedBatch, Tensor, Tensor | None]
"""A batch, (B, 2, H, W) flow [px] and (B, 1, H, W) weight, None for 1 everywhere."""

DIS_CONFIG = replace(DisConfig.live(), downscale=1)
"""`DisConfig.live()` without its reduction of the image: a crop of the person is as small as what it searches in."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Mean end point errors over the subject's pixels whose flow is known, and of the motion solved from them.

    Attributes:
        all_px: of all pixels.
        visible_px: of those that are seen in the target.
        weighted_px: of all, weighted by how far the estimator believes itself.
        believed: mean weight of the visible ones.
        epe3d_mm: mean distance of points of the subject from the truth when the graph is tracked by the flow.
        graph_error_mm: that of the graph's nodes.
    """

    all_px: float
    visible_px: float
    weighted_px: float
    believed: float
    epe3d_mm: float
    graph_error_mm: float


@torch.no_grad()
def errors_of(answers: Iterable[Answer]) -> Errors:
    """Errors over several batches; pairs that cannot be solved take no part in those of the motion."""
    sums = [0.0] * 7
    solved: list[Tensor] = []
    for tracked, flow_px, weight in answers:
        batch = tracked.pairs
        _, motion = tracking_terms(tracked, flow_px, weight, solver_config(batch.intrinsics))
        errors = tracking_errors(tracked.graph, motion)
        solved.append(torch.stack([errors.epe3d_mm, errors.graph_error_mm]).double())
        error = (flow_px - batch.flow_px).norm(dim=1, keepdim=True)
        known = batch.flow_known * batch.mask
        seen = known * batch.visible
        weight = known if weight is None else known * weight
        parts = (known * error, known, seen * error, seen, weight * error, weight, weight * seen)
        sums = [total + float(part.double().sum()) for total, part in zip(sums, parts, strict=True)]
    epe3d_mm, graph_error_mm = torch.cat(solved, dim=1).nanmean(dim=1)
    return Errors(
        all_px=sums[0] / max(1.0, sums[1]),
        visible_px=sums[2] / max(1.0, sums[3]),
        weighted_px=sums[4] / max(1e-9, sums[5]),
        believed=sums[6] / max(1.0, sums[3]),
        epe3d_mm=float(epe3d_mm),
        graph_error_mm=float(graph_error_mm),
    )


def used_weight(weight: Tensor) -> Tensor:
    """A network's weight as the runtime uses it: 0 where it is too small."""
    return torch.where(weight < LearnedConfig().min_weight, 0.0, weight)


def dis_answer(batch: FlowBatch) -> tuple[Tensor, Tensor]:
    """What the runtime's DIS says of a batch, from the same guess: (B, 2, H, W) flow [px] and (B, 1, H, W) weight."""
    estimator = DisCorrespondence(DIS_CONFIG)
    try:
        return estimated(estimator, batch)
    finally:
        estimator.close()


def estimated(estimator: CorrespondenceEstimator, batch: FlowBatch) -> tuple[Tensor, Tensor]:
    """What an estimator of the runtime says of a batch, with its masks and guesses; as `dis_answer`."""
    found = [
        estimator.step(
            source,
            target,
            source_mask=np.ascontiguousarray(batch.mask[number, 0].numpy() > 0),
            target_mask=np.ascontiguousarray(batch.target_mask[number, 0].numpy() > 0),
            initial_flow_px=np.ascontiguousarray(batch.initial_flow_px[number].permute(1, 2, 0).numpy()),
        )
        for number, (source, target) in enumerate(batch_frames(batch))
    ]
    size = batch.mask.shape[-2:]
    flow = torch.from_numpy(np.stack([_of_pixels(one.flow_px, one.cell_px, size) for one in found])).permute(0, 3, 1, 2)
    weight = torch.from_numpy(np.stack([_of_pixels(one.weight, one.cell_px, size) for one in found]))[:, None]
    return flow.contiguous(), weight


def _of_pixels(values: Array, cell_px: int, size: Sequence[int]) -> Array:
    """(H, W) or (H, W, 2) of the pixels of each square."""
    return np.asarray(values).repeat(cell_px, axis=0).repeat(cell_px, axis=1)[: size[0], : size[1]]


def batch_frames(batch: FlowBatch) -> Iterator[tuple[RgbdFrame, RgbdFrame]]:
    """The pairs of a batch as frames of the runtime."""
    height, width = batch.mask.shape[-2:]
    for number in range(len(batch)):
        fx, fy, cx, cy = batch.intrinsics[number].tolist()
        intrinsics = CameraIntrinsics(fx, fy, cx, cy, width, height)
        pair = []
        for moment, (rgb, depth_m) in enumerate(
            [(batch.source_rgb, batch.source_depth_m), (batch.target_rgb, batch.target_depth_m)]
        ):
            colour = np.ascontiguousarray((255 * rgb[number]).round().byte().permute(1, 2, 0).numpy())
            pair.append(RgbdFrame(moment, moment, np.ascontiguousarray(depth_m[number, 0].numpy()), intrinsics, colour))
        yield pair[0], pair[1]
