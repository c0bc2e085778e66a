"""The reference itself: its Jacobian against finite differences, and a motion that it must recover."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.camera import project
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.types import Array, CameraIntrinsics
from helpers.dense_gauss_newton import evaluate, sample_target_depth, solve, warp

CAMERA = CameraIntrinsics(500.0, 510.0, 320.0, 240.0, 640, 480)
LAMBDAS = (0.001, 1.0, 1.0)


def problem(seed: int = 0) -> tuple[Array, Array, Array, Array, Array]:
    """400 points on a wavy sheet, 4 anchors each of 20 nodes, 4 edges per node."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.linspace(-0.3, 0.3, 5), np.linspace(-0.2, 0.2, 4)), axis=2).reshape(-1, 2)
    nodes = np.concatenate([grid, 1.5 + 0.1 * np.sin(6 * grid[:, :1] + 4 * grid[:, 1:])], axis=1)
    xy = random.uniform((-0.33, -0.22), (0.33, 0.22), (400, 2))
    points = np.concatenate([xy, 1.5 + 0.1 * np.sin(6 * xy[:, :1] + 4 * xy[:, 1:])], axis=1)
    distance = np.linalg.norm(points[:, None] - nodes[None], axis=2)
    anchors = np.argsort(distance, axis=1)[:, :4]
    weights = np.exp(-(np.take_along_axis(distance, anchors, 1) ** 2) / (2 * 0.1**2))
    apart = np.linalg.norm(nodes[:, None] - nodes[None], axis=2)
    neighbours = np.argsort(apart, axis=1)[:, 1:5]
    edges = np.stack([np.repeat(np.arange(20), 4), neighbours.ravel()], axis=1)
    return points, anchors, weights / weights.sum(axis=1, keepdims=True), nodes, edges


def test_jacobian_is_the_derivative_under_left_multiplied_increments() -> None:
    points, anchors, anchor_weights, nodes, edges = problem()
    random = np.random.default_rng(1)
    rotations = matrix_from_rotation_vector(random.normal(0, 0.3, (20, 3)))
    translations = random.normal(0, 0.05, (20, 3))
    targets = random.uniform(100, 400, (400, 2))
    depth, weight = random.uniform(1, 2, 400), random.uniform(0, 1, 400)
    depth[::7], weight[::5] = np.nan, 0.0

    def residual_at(step: Array) -> Array:
        moved = matrix_from_rotation_vector(step[:, :3]) @ rotations
        return evaluate(points, targets, depth, weight, anchors, anchor_weights, nodes, edges, CAMERA, LAMBDAS, moved,
                        translations + step[:, 3:], jacobian=False)[0]  # fmt: skip

    _, dense, _ = evaluate(
        points, targets, depth, weight, anchors, anchor_weights, nodes, edges, CAMERA, LAMBDAS, rotations, translations
    )
    assert dense is not None
    for column in range(0, 120, 7):
        step = np.zeros(120)
        step[column] = 1e-6
        numeric = (residual_at(step.reshape(20, 6)) - residual_at(-step.reshape(20, 6))) / 2e-6
        assert np.abs(dense[:, column] - numeric).max() < 1e-6 * max(1.0, np.abs(numeric).max())


def test_known_motion_is_recovered_and_cost_falls() -> None:
    points, anchors, anchor_weights, nodes, edges = problem()
    # A rigid motion has no ARAP cost, so the data can be met exactly.
    rotation = matrix_from_rotation_vector(np.array([[0.1, -0.25, 0.15]]))[0]
    moved = points @ rotation.T + np.array([0.05, -0.03, 0.1])
    targets = project(moved, CAMERA)
    rotations, translations, costs = solve(
        points, targets, moved[:, 2], np.ones(400), anchors, anchor_weights, nodes, edges, CAMERA, LAMBDAS, 8
    )
    assert np.abs(warp(points, anchors, anchor_weights, nodes, rotations, translations) - moved).max() < 1e-6
    assert np.allclose(rotations, rotation, atol=1e-5)
    assert costs[-1].total < 1e-10 * costs[0].total
    assert len(costs) == 9


def test_matches_without_a_target_change_nothing() -> None:
    points, anchors, anchor_weights, nodes, edges = problem()
    targets = project(points + np.array([0.02, 0.0, 0.03]), CAMERA)
    depth, weight = points[:, 2] + 0.03, np.ones(400)
    graph = (anchors, anchor_weights, nodes, edges, CAMERA)
    clean = np.arange(400) % 3 != 0
    wrong = targets.copy()
    wrong[~clean] = 0.0
    lost = depth.copy()
    lost[~clean] = np.nan
    kept = solve(points[clean], targets[clean], depth[clean], weight[clean], anchors[clean], anchor_weights[clean],
                 nodes, edges, CAMERA)  # fmt: skip
    for d, w in ((lost, weight), (depth, np.where(clean, 1.0, 0.0))):
        rotations, translations, _ = solve(points, wrong, d, w, *graph)
        assert np.allclose(rotations, kept[0], atol=1e-9) and np.allclose(translations, kept[1], atol=1e-9)


def test_depth_is_sampled_bilinearly_and_only_between_measured_pixels() -> None:
    depth_m = np.arange(12.0).reshape(3, 4) + 1
    depth_m[2, 3] = 0
    at = np.array([[0.5, 0.5], [1.25, 0.0], [2.5, 1.5], [-0.1, 0.0], [3.0, 0.0]])
    assert np.allclose(sample_target_depth(depth_m, at)[:2], [3.5, 2.25])
    assert np.isnan(sample_target_depth(depth_m, at)[2:]).all()
