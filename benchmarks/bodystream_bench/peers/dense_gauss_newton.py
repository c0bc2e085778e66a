"""Gauss-Newton as NNRT describes it (sec. 3.3, Algorithm 1): a dense Jacobian, J^T J, and an LU solve, in numpy.

BLAS uses the threads that it takes by itself. The Jacobian's buffer is kept between iterations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lu_factor, lu_solve

from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.types import Array, CameraIntrinsics

__all__ = ["DenseGaussNewton", "TrackingProblem"]


@dataclass(frozen=True)
class TrackingProblem:
    """One pair of frames.

    Attributes:
        points (M, 3), anchors (M, 4), weights (M, 4), nodes (N, 3), edges (E, 2) directed pairs.
        target_px (M, 2), target_depth_m (M,), 0 = none: a match without depth has no depth residual.
        lambdas: of flow, depth and ARAP (eq. 8).
    """

    points: Array
    anchors: Array
    weights: Array
    nodes: Array
    edges: Array
    target_px: Array
    target_depth_m: Array
    intrinsics: CameraIntrinsics
    lambdas: tuple[float, float, float]


class DenseGaussNewton:
    """Solves from rest.

    Args:
        dtype: float32 or float64 for everything.
    """

    def __init__(self, problem: TrackingProblem, dtype: type) -> None:
        self._problem = problem
        self._dtype = dtype
        m, e, n = len(problem.points), len(problem.edges), len(problem.nodes)
        self._jacobian = np.zeros((3 * m + 3 * e, 6 * n), dtype)
        self._points, self._nodes = problem.points.astype(dtype), problem.nodes.astype(dtype)
        self._weights = problem.weights.astype(dtype)
        self._has_depth = (problem.target_depth_m > 0).astype(dtype)
        self._columns = 6 * problem.anchors[:, :, None] + np.arange(6)
        self._rows = 3 * np.arange(m)[:, None, None] + np.arange(3)[:, None]

    def solve(self, iterations: int = 3) -> tuple[Array, Array]:
        """(N, 3, 3) rotations and (N, 3) translations [m]."""
        n = len(self._nodes)
        rotations = np.tile(np.eye(3, dtype=self._dtype), (n, 1, 1))
        translations = np.zeros((n, 3), self._dtype)
        for _ in range(iterations):
            residual = self._linearise(rotations, translations)
            j = self._jacobian
            normal = j.T @ j
            step = lu_solve(lu_factor(normal, check_finite=False), -(j.T @ residual), check_finite=False)
            step = step.reshape(n, 6)
            rotations = matrix_from_rotation_vector(step[:, :3]).astype(self._dtype) @ rotations
            translations = translations + step[:, 3:]
        return rotations, translations

    def _linearise(self, rotations: Array, translations: Array) -> Array:
        """Fill the Jacobian (rows u, v, depth of each match, then the edges) and return the residuals."""
        p, camera, dtype = self._problem, self._problem.intrinsics, self._dtype
        m = len(p.points)
        self._jacobian[...] = 0
        scale = np.sqrt(np.asarray(p.lambdas, dtype))
        v = self._nodes[p.anchors]
        lever = np.einsum("mkij,mkj->mki", rotations[p.anchors], self._points[:, None] - v)
        q = np.einsum("mk,mki->mi", self._weights, lever + v + translations[p.anchors])
        z = q[:, 2]
        by_point = np.zeros((m, 3, 3), dtype)
        by_point[:, 0, 0], by_point[:, 0, 2] = camera.fx / z, -camera.fx * q[:, 0] / z**2
        by_point[:, 1, 1], by_point[:, 1, 2] = camera.fy / z, -camera.fy * q[:, 1] / z**2
        by_point[:, 2, 2] = self._has_depth
        by_point *= scale[[0, 0, 1], None]
        residual = np.empty(len(self._jacobian), dtype)
        rows = residual[: 3 * m].reshape(m, 3)
        rows[:, 0] = scale[0] * (camera.fx * q[:, 0] / z + camera.cx - p.target_px[:, 0])
        rows[:, 1] = scale[0] * (camera.fy * q[:, 1] / z + camera.cy - p.target_px[:, 1])
        rows[:, 2] = scale[1] * self._has_depth * (z - p.target_depth_m)
        # A point without four nodes in reach repeats its first one with weight zero: the first is written last.
        for k in (3, 2, 1, 0):
            block = np.empty((m, 3, 6), dtype)
            # Row times -[y]x is the cross product of y and the row.
            block[:, :, :3] = np.cross(lever[:, k, None], by_point)
            block[:, :, 3:] = by_point
            block *= self._weights[:, k, None, None]
            self._jacobian[self._rows, self._columns[:, k, None]] = block
        self._edges(residual[3 * m :].reshape(-1, 3), rotations, translations, scale[2])
        return residual

    def _edges(self, residual: Array, rotations: Array, translations: Array, scale: float) -> None:
        i, j = self._problem.edges.T
        v = self._nodes
        turned = np.einsum("eij,ej->ei", rotations[i], v[j] - v[i])
        residual[:] = scale * (turned + v[i] + translations[i] - v[j] - translations[j])
        base = 3 * len(self._problem.points) + 3 * np.arange(len(i))
        jacobian = self._jacobian
        for a, b, sign in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            # -[y]x has y_c at (a, b) and -y_c at (b, a) for (a, b, c) cyclic.
            jacobian[base + a, 6 * i + b] = scale * turned[:, sign]
            jacobian[base + b, 6 * i + a] = -scale * turned[:, sign]
        for axis in range(3):
            jacobian[base + axis, 6 * i + 3 + axis] = scale
            jacobian[base + axis, 6 * j + 3 + axis] = -scale
