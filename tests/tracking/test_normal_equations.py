"""The assembled normal equations against central differences of residuals written down in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.tracking.solver import FlowTargets, SolverConfig
from bodystream.types import Array
from helpers.solver_problems import CAMERA, PLAIN, Problem, SolverCase, random_problem

STEP = 1e-6
# Blocks are sums in float32 of numbers of very different size, and a motion about the origin rounds with the distance
# from it: relative to the largest entry of the matrix.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class IcpFrame:
    """What dense ICP sees: depth of the new frame, normals, and which points found a partner at the base motion."""

    depth_m: Array  # (H, W)
    normals: Array  # (M, 3)


def icp_scene(problem: Problem, seed: int = 0) -> IcpFrame:
    """A depth image a few millimetres off the warped points, and normals that face the camera."""
    rng = np.random.default_rng(seed)
    live = problem.warp(problem.rotations, problem.translations)
    u, v = image_of(live)
    depth = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    depth[v, u] = live[:, 2] + rng.normal(0, 0.004, len(live))
    normals = np.array([0.0, 0.0, -1.0]) + rng.normal(0, 0.3, live.shape)
    return IcpFrame(depth, (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32))


def image_of(live: Array) -> tuple[Array, Array]:
    u = np.floor(CAMERA.fx * live[:, 0] / live[:, 2] + CAMERA.cx + 0.5).astype(int)
    v = np.floor(CAMERA.fy * live[:, 1] / live[:, 2] + CAMERA.cy + 0.5).astype(int)
    return u, v


class Residuals:
    """Residuals of each term as functions of the increments (N, 6) at a base motion, in float64."""

    def __init__(self, problem: Problem, config: SolverConfig, frame: IcpFrame | None) -> None:
        self.problem, self.config = problem, config
        self.rotations = problem.rotations.astype(np.float64)
        self.translations = problem.translations.astype(np.float64)
        self.nodes = problem.nodes.astype(np.float64)
        # As if the solve had begun elsewhere.
        drift = np.random.default_rng(3).normal(0, 0.01, self.translations.shape)
        self.expected = (self.translations + drift).astype(np.float32)
        if frame is not None:
            self._find_partners(frame)

    def _find_partners(self, frame: IcpFrame) -> None:
        """Partner point and turned normal of each point: constant during a step, as Gauss-Newton has it."""
        p = self.problem.warp(self.rotations, self.translations)
        turned = np.einsum("mk,mkij,mj->mi", self.problem.weights, self.rotations[self.problem.anchors], frame.normals)
        self.normals = turned / np.linalg.norm(turned, axis=1, keepdims=True)
        u, v = image_of(p)
        z = frame.depth_m[v, u].astype(np.float64)
        self.partners = np.stack([(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z], axis=1)
        facing = -np.einsum("mi,mi->m", self.normals, p) / np.linalg.norm(p, axis=1) >= self.config.icp_min_cosine
        off = p - self.partners
        near = np.abs(np.einsum("mi,mi->m", self.normals, off)) <= self.config.icp_reach_m
        near &= np.linalg.norm(off, axis=1) <= 2 * self.config.icp_reach_m
        self.paired = facing & near & (z > 0)

    def moved(self, increment: Array) -> tuple[Array, Array]:
        steps = increment.reshape(-1, 6)
        return matrix_from_rotation_vector(steps[:, :3]) @ self.rotations, self.translations + steps[:, 3:]

    def flow(self, increment: Array) -> Array:
        """(M, 2) in pixels, weighted by confidence."""
        q = self.problem.warp(*self.moved(increment))
        seen = np.stack([CAMERA.fx * q[:, 0] / q[:, 2] + CAMERA.cx, CAMERA.fy * q[:, 1] / q[:, 2] + CAMERA.cy], axis=1)
        return self.problem.targets.weight[:, None].astype(np.float64) * (seen - self.problem.targets.pixels)

    def depth(self, increment: Array) -> Array:
        """(M,) in metres; zero where the target has no depth."""
        q = self.problem.warp(*self.moved(increment))
        targets = self.problem.targets
        return np.where(targets.depth_m > 0, targets.weight.astype(np.float64) * (q[:, 2] - targets.depth_m), 0.0)

    def icp(self, increment: Array) -> Array:
        """(M,) in metres; zero where there is no partner."""
        p = self.problem.warp(*self.moved(increment))
        return np.where(self.paired, np.einsum("mi,mi->m", self.normals, p - self.partners), 0.0)

    def arap(self, increment: Array) -> Array:
        """(E, 3) in metres."""
        rotations, translations = self.moved(increment)
        i, j = self.problem.directed_edges.T
        turned = np.einsum("eij,ej->ei", rotations[i], self.nodes[j] - self.nodes[i])
        return turned + self.nodes[i] + translations[i] - self.nodes[j] - translations[j]

    def even(self, increment: Array) -> Array:
        """(E, 3) in metres: how unlike linked nodes depart from what was expected."""
        departs = self.moved(increment)[1] - self.expected
        i, j = self.problem.directed_edges.T
        return departs[i] - departs[j]

    def stacked(self, increment: Array) -> Array:
        """All residuals, each scaled by the root of its lambda; terms with lambda 0 are left out."""
        c = self.config
        parts = []
        terms = (self.flow, self.depth, self.arap, self.even)
        for weight, term in zip((c.lambda_flow, c.lambda_depth, c.lambda_reg, c.lambda_even), terms, strict=True):
            if weight > 0:
                parts.append(np.sqrt(weight) * term(increment).ravel())
        if hasattr(self, "paired"):
            parts.append(np.sqrt(c.lambda_icp) * self.icp(increment).ravel())
        return np.concatenate(parts)


def differences(function, size: int) -> Array:
    """(R, size) central differences of a vector function at zero."""
    columns = []
    for k in range(size):
        step = np.zeros(size)
        step[k] = STEP
        columns.append((function(step) - function(-step)) / (2 * STEP))
    return np.stack(columns, axis=-1)


def assembled(case: SolverCase, expected: Array | None = None) -> tuple[Array, Array]:
    """(6N, 6N) matrix and (6N,) right side as the kernels make them at the start of a solve, in float64."""
    equations = case.solver.normal_equations(expected)
    n = case.field.count
    starts, columns = equations.row_start.numpy(), equations.columns.numpy()
    values = equations.values.numpy().astype(np.float64)
    matrix = np.zeros((6 * n, 6 * n))
    for i in range(n):
        for s in range(starts[i], starts[i + 1]):
            (rr, rt), (tr, tt) = values[s].reshape(2, 2, 3, 3)
            matrix[6 * i : 6 * i + 6, 6 * columns[s] : 6 * columns[s] + 6] = np.block([[rr, rt], [tr, tt]])
    return matrix, equations.right.numpy().astype(np.float64).reshape(-1)


def well_inside_pixels(problem: Problem) -> Problem:
    """Without the points that fall so near to a pixel's border that float32 could round them to the other side."""
    live = problem.warp(problem.rotations, problem.translations)
    x = CAMERA.fx * live[:, 0] / live[:, 2] + CAMERA.cx + 0.5
    y = CAMERA.fy * live[:, 1] / live[:, 2] + CAMERA.cy + 0.5
    inside = (x > 1) & (y > 1) & (x < CAMERA.width - 1) & (y < CAMERA.height - 1)
    keep = inside & (np.abs(x - np.rint(x)) > 1e-3) & (np.abs(y - np.rint(y)) > 1e-3)
    t = problem.targets
    return replace(
        problem, points=problem.points[keep], anchors=problem.anchors[keep], weights=problem.weights[keep],
        targets=type(t)(t.pixels[keep], t.depth_m[keep], t.weight[keep]),
    )  # fmt: skip


@pytest.fixture(scope="module")
def problem() -> Problem:
    """Twelve nodes at a motion far from rest; every fifth match has no depth."""
    made = well_inside_pixels(random_problem(2, nodes=12, matches=160, turn_rad=0.5, start=0.8))
    made.targets.depth_m[::5] = 0.0
    return made


TERMS = {
    "flow": dict(lambda_flow=0.01, lambda_depth=0.0, lambda_reg=0.0),
    "depth": dict(lambda_flow=0.0, lambda_depth=2.0, lambda_reg=0.0),
    "arap": dict(lambda_flow=0.0, lambda_depth=0.0, lambda_reg=3.0),
    "icp": dict(lambda_flow=0.0, lambda_depth=0.0, lambda_reg=0.0, lambda_icp=5.0),
    "even": dict(lambda_flow=0.0, lambda_depth=0.0, lambda_reg=0.0, lambda_even=4.0),
    "all": dict(lambda_flow=0.001, lambda_depth=1.0, lambda_reg=1.0, lambda_icp=2.0, lambda_even=1.5),
}


def make_case(problem: Problem, config: SolverConfig, with_icp: bool) -> tuple[SolverCase, Residuals]:
    frame = icp_scene(problem) if with_icp else None
    case = SolverCase(problem, config, None if frame is None else frame.normals)
    if frame is not None:
        case.solver.set_flow(problem.targets)
        case.solver.set_depth(frame.depth_m)
    return case, Residuals(problem, config, frame)


@pytest.mark.parametrize("term", list(TERMS))
def test_matrix_and_right_side_are_those_of_the_differences(problem: Problem, term: str) -> None:
    config = replace(PLAIN, min_matches=0, **TERMS[term])
    case, residuals = make_case(problem, config, with_icp=term in ("icp", "all"))
    size = 6 * len(problem.nodes)
    jacobian = differences(residuals.stacked, size)
    residual = residuals.stacked(np.zeros(size))
    matrix, right = assembled(case, residuals.expected)
    expected, expected_right = jacobian.T @ jacobian, -jacobian.T @ residual
    assert np.abs(expected).max() > 0 and np.abs(expected_right).max() > 0
    np.testing.assert_allclose(matrix, expected, atol=TOLERANCE * np.abs(expected).max(), rtol=0)
    scale = np.sqrt(np.diag(expected).max() * (residual**2).sum())
    np.testing.assert_allclose(right, expected_right, atol=TOLERANCE * scale, rtol=0)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6 * np.abs(expected).max(), rtol=0)


def test_enough_points_find_a_partner(problem: Problem) -> None:
    """The ICP tests above are about something."""
    residuals = make_case(problem, replace(PLAIN, **TERMS["icp"]), with_icp=True)[1]
    assert residuals.paired.sum() > 80 and (~residuals.paired).sum() > 0


@pytest.mark.parametrize("with_icp", [False, True])
def test_robust_right_side_is_the_slope_of_the_robust_cost(problem: Problem, with_icp: bool) -> None:
    """With Huber losses, the right side is minus half the derivative of the cost."""
    terms = TERMS["icp"] if with_icp else TERMS["flow"]
    config = replace(PLAIN, flow_huber_px=0.5, icp_huber_m=0.003, min_matches=0, **terms)
    case, residuals = make_case(problem, config, with_icp)
    size = 6 * len(problem.nodes)

    def huber(r: Array, k: float) -> Array:
        return np.where(r > k, k * (2 * r - k), r * r)

    def cost(increment: Array) -> Array:
        if with_icp:
            r = np.abs(residuals.icp(increment))
            return np.array([config.lambda_icp * huber(r, config.icp_huber_m).sum()])
        w = problem.targets.weight.astype(np.float64)
        r = np.linalg.norm(residuals.flow(increment), axis=1) / w
        return np.array([config.lambda_flow * (w**2 * huber(r, config.flow_huber_px)).sum()])

    slope = differences(cost, size)[0]
    _, right = assembled(case)
    # Some residuals lie beyond the bend of the loss, some within.
    at_zero = np.abs(residuals.icp(np.zeros(size)) if with_icp else residuals.flow(np.zeros(size)))
    bend = config.icp_huber_m if with_icp else config.flow_huber_px
    assert (at_zero > bend).sum() > 10 and (at_zero < bend).sum() > 10
    # ICP subtracts points that are more than a metre away: float32 leaves a tenth of a micrometre of millimetres.
    np.testing.assert_allclose(right, -0.5 * slope, atol=5e-5 * np.abs(slope).max(), rtol=0)


@pytest.mark.parametrize("reference_matches", [0, 200])
def test_a_point_that_stands_for_several_counts_as_so_many(problem: Problem, reference_matches: int) -> None:
    """Every point three times over, or once with a stride of three, which `min_matches` counts alike."""
    config = replace(PLAIN, min_matches=300, reference_matches=reference_matches, **TERMS["all"])
    frame, three = icp_scene(problem), np.repeat(np.arange(len(problem.points)), 3)
    targets = FlowTargets(
        problem.targets.pixels[three], problem.targets.depth_m[three], problem.targets.weight[three]
    )  # fmt: skip
    tripled = replace(
        problem, points=problem.points[three], anchors=problem.anchors[three], weights=problem.weights[three],
        targets=targets,
    )  # fmt: skip
    systems = []
    for made, normals, stride in ((tripled, frame.normals[three], 1), (problem, frame.normals, 3)):
        case = SolverCase(made, config, normals)
        case.solver.set_points(replace(case.model, stride=stride))
        case.solver.set_flow(made.targets)
        case.solver.set_depth(frame.depth_m)
        systems.append(assembled(case))
        assert case.solver.solve().dropped_nodes == 0
    for many, few in zip(*systems, strict=True):
        np.testing.assert_allclose(few, many, atol=TOLERANCE * np.abs(many).max(), rtol=0)
