"""Small tracking problems with a known answer, and one way to hand them to the solver and to the dense reference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import select_device
from bodystream.geometry.camera import project
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.tracking.graph import build_graph, mesh_from_depth
from bodystream.tracking.model import ModelPoints
from bodystream.tracking.solver import FlowTargets, GaussNewton, SolverConfig, SolveSummary
from bodystream.types import Array, CameraIntrinsics
from helpers import dense_gauss_newton

CAMERA = CameraIntrinsics(150.0, 151.0, 79.0, 60.5, 160, 120)

# Plain squares without scaling or Levenberg: what NNRT eq. 8 says and the dense reference solves.
PLAIN = SolverConfig(reference_matches=0, damping=0.0, flow_huber_px=0.0, icp_huber_m=0.0, min_matches=1)


@dataclass(frozen=True)
class Problem:
    """Points on a graph, and where they should be seen.

    Attributes:
        points (M, 3), anchors (M, 4), weights (M, 4), nodes (N, 3), edges (N, K): see `WarpField`.
        targets: of the points.
        rotations, translations: motion that the solver starts from.
    """

    points: Array
    anchors: Array
    weights: Array
    nodes: Array
    edges: Array
    targets: FlowTargets
    rotations: Array
    translations: Array
    camera: CameraIntrinsics = CAMERA

    @property
    def directed_edges(self) -> Array:
        """(E, 2) pairs of node and neighbour."""
        i, k = np.nonzero(self.edges >= 0)
        return np.stack([i, self.edges[i, k]], axis=1)

    def warp(self, rotations: Array, translations: Array) -> Array:
        """(M, 3) points after a motion, in float64."""
        return dense_gauss_newton.warp(
            self.points.astype(np.float64), self.anchors, self.weights.astype(np.float64),
            self.nodes.astype(np.float64), rotations.astype(np.float64), translations.astype(np.float64),
        )  # fmt: skip

    def aimed_at(self, points_live: Array, weight: Array | None = None) -> Problem:
        """The same points with the targets that (M, 3) true positions give."""
        weight = np.ones(len(points_live)) if weight is None else weight
        targets = FlowTargets(
            project(points_live, self.camera).astype(np.float32),
            points_live[:, 2].astype(np.float32),
            weight.astype(np.float32),
        )
        return replace(self, targets=targets)


class SolverCase:
    """One problem on the device."""

    def __init__(self, problem: Problem, config: SolverConfig = PLAIN, normals: Array | None = None) -> None:
        self.problem = problem
        self.device = select_device("cpu")
        self.field = make_field(problem.nodes, problem.edges, problem.rotations, problem.translations)
        self.solver = GaussNewton(self.field, problem.camera, config)
        self.count = len(problem.points)
        self.model = device_points(self.device, problem.points, problem.anchors, problem.weights, normals)
        self.solver.set_points(self.model)
        if normals is None:
            self.solver.set_flow(problem.targets)

    def restart(self) -> None:
        """Back to the motion that the problem starts from."""
        self.field.set_motion(self.problem.rotations, self.problem.translations)

    def solve(self) -> SolveSummary:
        return self.solver.solve()

    def warped(self) -> Array:
        out = wp.zeros(self.count, dtype=wp.vec3, device=self.device)
        self.field.warp(self.model.points, self.model.anchors, self.model.weights, self.count, out)
        return out.numpy()


def device_points(
    device: wp.Device, points: Array, anchors: Array, weights: Array, normals: Array | None = None
) -> ModelPoints:
    """Host points with their anchors on the device, as the solver takes them."""
    return ModelPoints(
        wp.array(points, dtype=wp.vec3, device=device),
        wp.array(anchors, dtype=wp.vec4i, device=device),
        wp.array(weights, dtype=wp.vec4, device=device),
        len(points),
        None if normals is None else wp.array(normals, dtype=wp.vec3, device=device),
    )


def make_field(
    nodes: Array, edges: Array, rotations: Array | None = None, translations: Array | None = None
) -> WarpField:
    """A field on the CPU; at rest unless a motion is given."""
    field = WarpField(select_device("cpu"), neighbours=edges.shape[1], capacity=max(1, len(nodes)))
    field.set_graph(nodes, edges, rotations, translations)
    return field


def at_rest(count: int) -> tuple[Array, Array]:
    return np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)), np.zeros((count, 3), np.float32)


def random_problem(
    seed: int = 0,
    nodes: int = 24,
    matches: int = 900,
    turn_rad: float = 0.15,
    shift_m: float = 0.05,
    start: float = 0.0,
) -> Problem:
    """Nodes in a slab before the camera, random geodesic-like edges, points anchored on a node and its neighbours.

    Args:
        turn_rad, shift_m: size of the true motion of each node. start: part of it that the solver starts from.
    """
    rng = np.random.default_rng(seed)
    positions = rng.uniform([-0.4, -0.3, 1.3], [0.4, 0.3, 1.6], (nodes, 3)).astype(np.float32)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    edges = np.argsort(distance, axis=1)[:, :8].astype(np.int32)
    near = rng.integers(0, nodes, matches)
    picked = np.stack([rng.permutation(8)[:3] for _ in range(matches)])
    anchors = np.concatenate([near[:, None], edges[near[:, None], picked]], axis=1).astype(np.int32)
    weights = rng.uniform(0.05, 1.0, (matches, 4))
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    points = (np.einsum("mk,mki->mi", weights, positions[anchors]) + rng.normal(0, 0.02, (matches, 3))).astype(
        np.float32
    )
    # A motion common to all nodes plus one of each, so that both the data and the edges have work to do.
    turn = rng.normal(0, turn_rad, 3) * 0.5 + rng.normal(0, turn_rad * 0.3, (nodes, 3))
    shift = rng.normal(0, shift_m, 3) + rng.normal(0, shift_m * 0.3, (nodes, 3))
    unaimed = FlowTargets(np.zeros((matches, 2)), np.zeros(matches), np.zeros(matches))
    problem = Problem(
        points, anchors, weights, positions, edges, unaimed,
        matrix_from_rotation_vector(start * turn).astype(np.float32), (start * shift).astype(np.float32),
    )  # fmt: skip
    live = problem.warp(matrix_from_rotation_vector(turn), shift) + rng.normal(0, 0.002, (matches, 3))
    return problem.aimed_at(live, rng.uniform(0.3, 1.0, matches))


def bumpy_depth(camera: CameraIntrinsics = CAMERA) -> tuple[Array, Array]:
    """(H, W) depth [m] of a surface with bumps in all directions, and its mask, which leaves a border."""
    v, u = np.indices((camera.height, camera.width))
    x, y = (u - camera.cx) / camera.width, (v - camera.cy) / camera.height
    depth = 1.2 + 0.12 * (x**2 + y**2) * 4 + 0.03 * np.sin(14 * x) * np.cos(11 * y) + 0.02 * np.sin(9 * (x + y))
    mask = (np.abs(x) < 0.4) & (np.abs(y) < 0.4)
    return depth.astype(np.float32), mask


def surface_problem(sigma_m: float = 0.1, camera: CameraIntrinsics = CAMERA, stride: int = 1) -> Problem:
    """The bumpy surface with a graph and anchors as the pipeline makes them, and no targets yet."""
    depth, mask = bumpy_depth(camera)
    mesh = mesh_from_depth(depth, mask, camera, stride=stride)
    graph = build_graph(mesh.points, mesh.edges, sigma_m)
    nodes, count = len(graph.positions), len(mesh.points)
    device = select_device("cpu")
    field = WarpField(device, sigma_m, capacity=nodes)
    field.set_graph(graph.positions, graph.edges)
    anchors = wp.zeros(count, dtype=wp.vec4i, device=device)
    weights = wp.zeros(count, dtype=wp.vec4, device=device)
    field.anchor(wp.array(mesh.points, dtype=wp.vec3, device=device), count, anchors, weights)
    nothing = FlowTargets(np.zeros((count, 2)), np.zeros(count), np.zeros(count))
    return Problem(
        mesh.points, anchors.numpy(), weights.numpy(), graph.positions, graph.edges, nothing, *at_rest(nodes), camera
    )


def solve_densely(problem: Problem, config: SolverConfig) -> tuple[Array, Array, list[dense_gauss_newton.Cost]]:
    """The motion by the dense float64 reference."""
    return dense_gauss_newton.solve(
        problem.points,
        problem.targets.pixels,
        problem.targets.depth_m,
        problem.targets.weight,
        problem.anchors,
        problem.weights,
        problem.nodes,
        problem.directed_edges,
        problem.camera,
        (config.lambda_flow, config.lambda_depth, config.lambda_reg),
        config.iterations,
        rotations0=problem.rotations,
        translations0=problem.translations,
    )


def motion_difference(
    rotations: Array, translations: Array, expected_rotations: Array, expected_translations: Array
) -> float:
    """Norm of the difference of two motions relative to the norm of the expected one (rotations less the identity)."""
    unit = np.eye(3)
    off = np.sqrt(((rotations - expected_rotations) ** 2).sum() + ((translations - expected_translations) ** 2).sum())
    size = np.sqrt(((expected_rotations - unit) ** 2).sum() + (expected_translations**2).sum())
    return float(off / size)
