"""Gauss-Newton for non-rigid tracking that gradients flow through (NNRT sec. 4.3, Algorithm 1, appendix B).

The motion of a deformation graph is solved from matches, in batches, and is differentiable with respect to where the
matches are seen, their depth and their weights. Symbols: J the Jacobian, r the residuals, x the step. Neither J (a
dense one of 10k matches and 200 nodes has 36 million numbers) nor its blocks are kept: of each match there are only
`a_k A [-[y_k]x | I]`, 3x6 for each of its four nodes, from which the normal equations are summed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bodystream_training.flow.graphs import GraphBatch, gathered
from bodystream_training.flow.matches import MatchTargets
from bodystream_training.rotations import rotation_matrices

__all__ = ["GaussNewtonConfig", "Motion", "solve_motion", "warp"]

# A parameter whose variance the others' freedom raises by more than the inverse of this is not determined at all.
LEAST_PIVOT = 1e-10
# Nearer points have no pixel.
NEAREST_M = 1e-3


@dataclass(frozen=True)
class GaussNewtonConfig:
    """Options of the solver; the defaults are the paper's.

    Attributes:
        lambda_flow, lambda_depth, lambda_reg: of eq. 8; lambda_flow goes with pixels, and was chosen for images of
            640x448. Of an image at half the size a pixel is twice as long: four times the weight keeps the balance.
        iterations: Gauss-Newton iterations.
        max_rotation_rad, max_translation_m: a longer step of a node is shortened, as the runtime's solver does.
    """

    lambda_flow: float = 0.001
    lambda_depth: float = 1.0
    lambda_reg: float = 1.0
    iterations: int = 3
    max_rotation_rad: float = 1.0
    max_translation_m: float = 0.5

    def __post_init__(self) -> None:
        if min(self.lambda_flow, self.lambda_depth, self.lambda_reg) < 0:
            raise ValueError(f"the weights of the terms must not be negative, got {self}")
        if self.iterations < 1 or min(self.max_rotation_rad, self.max_translation_m) <= 0:
            raise ValueError(f"iterations and the longest steps must be positive, got {self}")


@dataclass
class Motion:
    """The solved motion of the nodes.

    Attributes:
        rotations: (B, N, 3, 3). translations: (B, N, 3) [m].
        valid: (B,) bool; False where a system was singular or not finite, or nothing was to be solved. The motion of
            such a sample stays where it was before, it is finite, and no gradient flows through the failed step.
    """

    rotations: Tensor
    translations: Tensor
    valid: Tensor


def warp(graph: GraphBatch, motion: Motion) -> Tensor:
    """Q(p) of the graph's points, (B, M, 3) [m]; the origin where a point is padding (eq. 2)."""
    return _warped(graph, motion.rotations, motion.translations)[1]


def _warped(graph: GraphBatch, rotations: Tensor, translations: Tensor) -> tuple[Tensor, Tensor]:
    """Levers `R_k (p - v_k)`, (B, M, 4, 3), and Q(p), (B, M, 3)."""
    v = gathered(graph.nodes, graph.anchors)
    arm = (graph.points[:, :, None] - v)[..., None]
    lever = (gathered(rotations, graph.anchors) @ arm)[..., 0]
    moved = lever + v + gathered(translations, graph.anchors)
    return lever, (graph.skinning[..., None] * moved).sum(dim=2)


def solve_motion(graph: GraphBatch, targets: MatchTargets, config: GaussNewtonConfig | None = None) -> Motion:
    """Solve from rest.

    Computes in the precision of the graph (at least float32, also inside of autocast), and the normal equations in
    double precision: their condition is the square of the Jacobian's.

    Args:
        targets: of the graph's points; gradients flow to its pixels, depth and weights.
    """
    config = GaussNewtonConfig() if config is None else config
    with torch.autocast(graph.nodes.device.type, enabled=False):
        targets = targets.to(graph.nodes.dtype)
        batch, count = graph.nodes.shape[:2]
        rotations = torch.eye(3, dtype=graph.nodes.dtype, device=graph.nodes.device).expand(batch, count, 3, 3)
        translations = torch.zeros_like(graph.nodes)
        valid = graph.active.any(dim=1)
        for _ in range(config.iterations):
            data = _match_rows(graph, targets, config, rotations, translations)
            edges = _edge_rows(graph, config, rotations, translations)
            step, solved = _NormalStep.apply(*data, *edges, graph.active & valid[:, None])
            valid = valid & solved
            turn = _at_most(step[..., :3], config.max_rotation_rad)
            rotations = rotation_matrices(turn) @ rotations
            translations = translations + _at_most(step[..., 3:], config.max_translation_m)
    return Motion(rotations, translations, valid)


def _at_most(step: Tensor, longest: float) -> Tensor:
    """Vectors, shortened where they are longer."""
    squared = (step * step).sum(-1, keepdim=True)
    long = squared > longest * longest
    length = torch.where(long, squared, torch.ones_like(squared)).sqrt()
    return torch.where(long, step * (longest / length), step)


def _match_rows(
    graph: GraphBatch, targets: MatchTargets, config: GaussNewtonConfig, rotations: Tensor, translations: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows u, v and depth of each match (eq. 9, 10).

    Returns:
        (B, M, 4, 3, 6) derivative by rotation and translation of each anchor; (B, M, 3) residuals; (B, M, 4) anchors.
    """
    lever, q = _warped(graph, rotations, translations)
    carried = (gathered(graph.active, graph.anchors) | (graph.skinning == 0)).all(dim=-1)
    used = graph.point_mask & carried & (q[..., 2] >= NEAREST_M)
    used = used & (targets.weight > 0) & torch.isfinite(targets.weight) & torch.isfinite(targets.pixels).all(dim=-1)
    has_depth = used & (targets.depth_m > 0) & torch.isfinite(targets.depth_m)
    zero = torch.zeros_like(q[..., 0])
    weight = torch.where(used, targets.weight, zero)
    inverse = 1.0 / torch.where(used, q[..., 2], torch.ones_like(zero))
    fx, fy, cx, cy = (value[:, None] for value in graph.intrinsics.unbind(-1))
    x, y = q[..., 0] * inverse, q[..., 1] * inverse
    flow = config.lambda_flow**0.5 * weight
    depth = torch.where(has_depth, config.lambda_depth**0.5 * weight, zero)
    # Where a match is not used its target may be anything, also nan, which times zero were nan.
    pixel = torch.where(used[..., None], targets.pixels, torch.zeros_like(targets.pixels))
    residual = torch.stack(
        [
            flow * (fx * x + cx - pixel[..., 0]),
            flow * (fy * y + cy - pixel[..., 1]),
            depth * (q[..., 2] - torch.where(has_depth, targets.depth_m, zero)),
        ],
        dim=-1,
    )
    rows = torch.stack(
        [
            torch.stack([flow * fx * inverse, zero, -flow * fx * x * inverse], dim=-1),
            torch.stack([zero, flow * fy * inverse, -flow * fy * y * inverse], dim=-1),
            torch.stack([zero, zero, depth], dim=-1),
        ],
        dim=-2,
    )
    # A row times -[y]x is the cross product of y and the row.
    rows = rows[:, :, None].expand(-1, -1, lever.shape[2], -1, -1)
    turned = torch.linalg.cross(lever[..., None, :].expand_as(rows), rows)
    jacobian = graph.skinning[..., None, None] * torch.cat([turned, rows], dim=-1)
    return jacobian, residual, graph.anchors


def _edge_rows(
    graph: GraphBatch, config: GaussNewtonConfig, rotations: Tensor, translations: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of each edge (eq. 11), as `_match_rows`, the edge's nodes i and j in the place of the anchors."""
    batch, count, neighbours = graph.edges.shape
    there = graph.edges >= 0
    j = torch.where(there, graph.edges, torch.zeros_like(graph.edges)).reshape(batch, -1)
    i = torch.arange(count, device=j.device).repeat_interleave(neighbours).expand(batch, -1)
    used = there.reshape(batch, -1) & gathered(graph.active, i) & gathered(graph.active, j)
    scale = (config.lambda_reg**0.5 * used)[..., None].to(graph.nodes.dtype)
    v, v_j = gathered(graph.nodes, i), gathered(graph.nodes, j)
    turned = (gathered(rotations, i) @ (v_j - v)[..., None])[..., 0]
    residual = scale * (turned + v + gathered(translations, i) - v_j - gathered(translations, j))
    unit = (scale[..., None] * torch.eye(3, dtype=v.dtype, device=v.device)).contiguous()
    by_rotation = torch.linalg.cross(turned[..., None, :].expand_as(unit), unit)
    of_i = torch.cat([by_rotation, unit], dim=-1)
    of_j = torch.cat([torch.zeros_like(unit), -unit], dim=-1)
    return torch.stack([of_i, of_j], dim=2), residual, torch.stack([i, j], dim=-1)


def _normal_equations(rows: Sequence[tuple[Tensor, Tensor, Tensor]], count: int) -> tuple[Tensor, Tensor]:
    """J^T J, (6 N, 6 N), and J^T r, (6 N,), of one sample in float64.

    Args:
        rows: (M, S, 3, 6) Jacobian, (M, 3) residuals, and (M, S) nodes that the columns are of. count: N.
    """
    first = rows[0][0]
    total = first.new_zeros(count * count, 36, dtype=torch.float64)
    right = first.new_zeros(count, 6, dtype=torch.float64)
    for jacobian, residual, nodes in rows:
        jacobian = jacobian.double()
        slots = nodes.shape[1]
        for k in range(slots):
            for other in range(k, slots):
                block = torch.einsum("mri,mrj->mij", jacobian[:, k], jacobian[:, other]).view(-1, 36)
                # Half of the diagonal blocks, so that the sum with its transpose is whole.
                half = 0.5 if k == other else 1.0
                total.index_add_(0, nodes[:, k] * count + nodes[:, other], block, alpha=half)
        each = torch.einsum("msri,mr->msi", jacobian, residual.double())
        right.index_add_(0, nodes.reshape(-1), each.reshape(-1, 6))
    upper = total.view(count, count, 6, 6).permute(0, 2, 1, 3).reshape(6 * count, 6 * count)
    return upper + upper.mT, right.view(-1)


class _NormalStep(torch.autograd.Function):
    """x = -(J^T J)^-1 J^T r of two sets of rows, and its analytic gradient (NNRT eq. 18 to 20, without forming dL/dA).

    With h = (J^T J)^-1 dL/dx from the factor that is there already: dL/dr = -J h, and
    dL/dJ = -(J h) x^T - (r + J x) h^T, which has entries only where J has.

    Samples are solved one after the other, each with its active nodes only: what they need at once is that of one.
    """

    @staticmethod
    def forward(
        ctx,
        jacobian: Tensor,
        residual: Tensor,
        anchors: Tensor,
        edge_jacobian: Tensor,
        edge_residual: Tensor,
        edge_nodes: Tensor,
        active: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """(B, N, 6) step, zero of nodes that are not active and of samples that were not solved; (B,) bool solved."""
        batch, count = active.shape
        step = jacobian.new_zeros(batch, count, 6)
        solved = torch.zeros(batch, dtype=torch.bool, device=active.device)
        place = (active.cumsum(dim=1) - 1).clamp_min(0)  # rows at a node that is not active are zero
        factors: list[Tensor] = []
        for b in range(batch):
            rows = [
                (each[b], r[b], place[b][nodes[b]])
                for each, r, nodes in ((jacobian, residual, anchors), (edge_jacobian, edge_residual, edge_nodes))
            ]
            factor, found = _solve(rows, int(active[b].sum()))
            factors.append(factor)
            if found is not None:
                solved[b] = True
                step[b, active[b]] = found.view(-1, 6).to(step.dtype)
        ctx.save_for_backward(
            jacobian, residual, anchors, edge_jacobian, edge_residual, edge_nodes, step, active, solved, *factors
        )
        ctx.mark_non_differentiable(solved)
        return step, solved

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        jacobian, residual, anchors, edge_jacobian, edge_residual, edge_nodes, x, active, solved, *factors = (
            ctx.saved_tensors
        )
        h = torch.zeros_like(x)
        for b, factor in enumerate(factors):
            if solved[b]:
                of_step = gradients[0][b, active[b]].double().view(-1, 1)
                h[b, active[b]] = torch.cholesky_solve(of_step, factor).view(-1, 6).to(h.dtype)
        of_rows: list[Tensor] = []
        for rows, r, nodes in ((jacobian, residual, anchors), (edge_jacobian, edge_residual, edge_nodes)):
            h_here, x_here = gathered(h, nodes), gathered(x, nodes)
            j_h = torch.einsum("bmsri,bmsi->bmr", rows, h_here)
            left = r + torch.einsum("bmsri,bmsi->bmr", rows, x_here)
            left = torch.where(solved[:, None, None], left, torch.zeros_like(left))  # r may be infinite where not
            of_jacobian = -(j_h[:, :, None, :, None] * x_here[..., None, :])
            of_jacobian -= left[:, :, None, :, None] * h_here[..., None, :]
            of_rows += [of_jacobian, -j_h]
        return of_rows[0], of_rows[1], None, of_rows[2], of_rows[3], None, None


def _solve(rows: Sequence[tuple[Tensor, Tensor, Tensor]], count: int) -> tuple[Tensor, Tensor | None]:
    """The Cholesky factor of one sample's normal equations and the step, (6 N,); None where it cannot be had."""
    nothing = rows[0][0].new_zeros(0, 0, dtype=torch.float64)
    if count == 0:
        return nothing, None
    normal, right = _normal_equations(rows, count)
    factor, info = torch.linalg.cholesky_ex(normal)
    pivots = factor.diagonal().square() / normal.diagonal()
    if int(info) != 0 or not bool(pivots.min() > LEAST_PIVOT):
        return nothing, None
    step = -torch.cholesky_solve(right[:, None], factor)[:, 0]
    return (factor, step) if bool(torch.isfinite(step).all()) else (nothing, None)
