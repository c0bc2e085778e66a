"""NNRT's Gauss-Newton (section 3, eq. 8-12) written plainly in float64: a dense Jacobian and a dense solve.

It is the specification that the fast solver is tested against, so it is clear and slow: memory is
`(3 M + 3 E) x 6 N` doubles (10,000 matches and 111 nodes: about 180 MB).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from bodystream.geometry.rotations import matrix_from_rotation_vector, skew
from bodystream.types import Array, CameraIntrinsics

__all__ = ["Cost", "evaluate", "sample_target_depth", "solve", "warp"]


@dataclass(frozen=True)
class Cost:
    """The energy, each term already multiplied by its lambda."""

    flow: float
    depth: float
    arap: float

    @property
    def total(self) -> float:
        return self.flow + self.depth + self.arap


def warp(
    points: Array, anchors: Array, anchor_weights: Array, nodes: Array, rotations: Array, translations: Array
) -> Array:
    """Q(p) = sum_i a_i (R_i (p - v_i) + v_i + t_i), eq. 4: (M, 3) points to (M, 3)."""
    v = nodes[anchors]  # (M, 4, 3)
    moved = np.einsum("mkij,mkj->mki", rotations[anchors], points[:, None] - v) + v + translations[anchors]
    return np.einsum("mk,mki->mi", anchor_weights, moved)


def sample_target_depth(depth_m: Array, targets_px: Array) -> Array:
    """Bilinear depth [m] at (M, 2) pixels; nan where one of the four pixels around has none or is outside."""
    height, width = depth_m.shape
    u0 = np.floor(targets_px[:, 0]).astype(int)
    v0 = np.floor(targets_px[:, 1]).astype(int)
    inside = (u0 >= 0) & (v0 >= 0) & (u0 + 1 < width) & (v0 + 1 < height)
    u0, v0 = np.where(inside, u0, 0), np.where(inside, v0, 0)
    fu, fv = targets_px[:, 0] - u0, targets_px[:, 1] - v0
    corners = [depth_m[v0 + dv, u0 + du].astype(np.float64) for dv in (0, 1) for du in (0, 1)]
    value = (1 - fv) * ((1 - fu) * corners[0] + fu * corners[1]) + fv * ((1 - fu) * corners[2] + fu * corners[3])
    measured = np.all([c > 0 for c in corners], axis=0)
    return np.where(inside & measured, value, np.nan)


def evaluate(
    points: Array,
    targets_px: Array,
    target_depth: Array,
    weight: Array,
    anchors: Array,
    anchor_weights: Array,
    nodes: Array,
    edges: Array,
    intrinsics: CameraIntrinsics,
    lambdas: tuple[float, float, float],
    rotations: Array,
    translations: Array,
    jacobian: bool = True,
) -> tuple[Array, Array | None, Cost]:
    """Residuals scaled by sqrt(lambda), their dense Jacobian, and the cost at one motion.

    Rows: 2 per match (eq. 8, pixels), 1 per match (eq. 9, metres), 3 per directed edge (eq. 10, metres).
    Columns: per node 3 for the rotation increment (R <- exp(omega) R), then 3 for the translation.
    A match without a usable target (nan depth, weight 0, point behind the camera) has zero rows.
    """
    match_count, node_count, edge_count = len(points), len(nodes), len(edges)
    root = np.sqrt(np.asarray(lambdas, np.float64))
    q = warp(points, anchors, anchor_weights, nodes, rotations, translations)
    usable = np.isfinite(target_depth) & (target_depth > 0) & (weight > 0) & (q[:, 2] > 1e-6)
    usable &= np.isfinite(targets_px).all(axis=1)
    w = np.where(usable, weight, 0.0)
    z = np.where(usable, q[:, 2], 1.0)
    target_px = np.where(usable[:, None], targets_px, 0.0)
    u = intrinsics.fx * q[:, 0] / z + intrinsics.cx
    v = intrinsics.fy * q[:, 1] / z + intrinsics.cy
    r_flow = root[0] * w[:, None] * np.stack([u - target_px[:, 0], v - target_px[:, 1]], axis=1)
    r_depth = root[1] * w * (q[:, 2] - np.where(usable, target_depth, q[:, 2]))

    i, j = edges[:, 0], edges[:, 1]
    rotated_edge = np.einsum("eij,ej->ei", rotations[i], nodes[j] - nodes[i])
    r_arap = root[2] * (rotated_edge + nodes[i] + translations[i] - nodes[j] - translations[j])
    residual = np.concatenate([r_flow.ravel(), r_depth, r_arap.ravel()])
    cost = Cost(float((r_flow**2).sum()), float((r_depth**2).sum()), float((r_arap**2).sum()))
    if not jacobian:
        return residual, None, cost

    d_pi = np.zeros((match_count, 3, 3))  # of (u, v, z) with respect to Q(p), rows weighted
    d_pi[:, 0, 0], d_pi[:, 0, 2] = intrinsics.fx / z, -intrinsics.fx * q[:, 0] / z**2
    d_pi[:, 1, 1], d_pi[:, 1, 2] = intrinsics.fy / z, -intrinsics.fy * q[:, 1] / z**2
    d_pi[:, 2, 2] = 1.0
    d_pi *= w[:, None, None] * np.array([root[0], root[0], root[1]])[:, None]
    dense = np.zeros((3 * match_count + 3 * edge_count, 6 * node_count))
    rows_flow = 2 * np.arange(match_count)
    rows_depth = 2 * match_count + np.arange(match_count)
    for k in range(anchors.shape[1]):
        node = anchors[:, k]
        lever = np.einsum("mij,mj->mi", rotations[node], points - nodes[node])
        d_q = np.concatenate([-skew(lever), np.broadcast_to(np.eye(3), (match_count, 3, 3))], axis=2)
        block = np.einsum("m,mij,mjk->mik", anchor_weights[:, k], d_pi, d_q)  # (M, 3, 6)
        columns = 6 * node[:, None] + np.arange(6)
        # += because a point may name the same node in two of its anchors
        dense[rows_flow[:, None], columns] += block[:, 0]
        dense[rows_flow[:, None] + 1, columns] += block[:, 1]
        dense[rows_depth[:, None], columns] += block[:, 2]
    rows_arap = 3 * match_count + 3 * np.arange(edge_count)
    d_rotation = -skew(rotated_edge) * root[2]
    for axis in range(3):
        for column in range(3):
            dense[rows_arap + axis, 6 * i + column] += d_rotation[:, axis, column]
        dense[rows_arap + axis, 6 * i + 3 + axis] += root[2]
        dense[rows_arap + axis, 6 * j + 3 + axis] -= root[2]
    return residual, dense, cost


def solve(
    points: Array,
    targets_px: Array,
    target_depth: Array,
    weight: Array,
    anchors: Array,
    anchor_weights: Array,
    nodes: Array,
    edges: Array,
    intrinsics: CameraIntrinsics,
    lambdas: tuple[float, float, float] = (0.001, 1.0, 1.0),
    iterations: int = 3,
    damping: float = 0.0,
    rotations0: Array | None = None,
    translations0: Array | None = None,
) -> tuple[Array, Array, list[Cost]]:
    """Gauss-Newton on the motion of a deformation graph.

    Args:
        points: (M, 3) source points [m].
        targets_px: (M, 2) pixel in the target image of each point.
        target_depth: (M,) depth [m] of the target surface there; nan or <= 0 = no match.
        weight: (M,) confidence of each match.
        anchors, anchor_weights: (M, 4) nodes of each point and their normalised weights.
        nodes: (N, 3) [m]; edges: (E, 2) directed pairs (i, j).
        lambdas: of the flow (eq. 8), depth (eq. 9) and ARAP (eq. 10) terms.
        damping: added to the diagonal of the normal matrix.
        rotations0, translations0: (N, 3, 3), (N, 3) start; identity and zero where None.

    Returns:
        rotations (N, 3, 3), translations (N, 3), and the cost before each iteration and after the last.

    Raises:
        numpy.linalg.LinAlgError: the normal matrix is not positive definite.
    """
    count = len(nodes)
    rotations = np.tile(np.eye(3), (count, 1, 1)) if rotations0 is None else np.array(rotations0, np.float64)
    translations = np.zeros((count, 3)) if translations0 is None else np.array(translations0, np.float64)
    points, targets_px, nodes = (np.asarray(a, np.float64) for a in (points, targets_px, nodes))
    problem = (points, targets_px, np.asarray(target_depth, np.float64), np.asarray(weight, np.float64))
    graph = (np.asarray(anchors), np.asarray(anchor_weights, np.float64), nodes, np.asarray(edges))
    costs: list[Cost] = []
    for _ in range(iterations):
        residual, dense, cost = evaluate(*problem, *graph, intrinsics, lambdas, rotations, translations)
        assert dense is not None
        costs.append(cost)
        normal = dense.T @ dense
        normal[np.diag_indices_from(normal)] += damping
        step = cho_solve(cho_factor(normal), -dense.T @ residual).reshape(count, 6)
        rotations = matrix_from_rotation_vector(step[:, :3]) @ rotations
        translations = translations + step[:, 3:]
    costs.append(evaluate(*problem, *graph, intrinsics, lambdas, rotations, translations, jacobian=False)[2])
    return rotations, translations, costs
