"""The warp field against numpy in float64, and its bookkeeping."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from bodystream.deformation import WarpField
from bodystream.device import select_device
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.types import Array

SIGMA = 0.05


def at_rest(count: int) -> tuple[Array, Array]:
    return np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)), np.zeros((count, 3), np.float32)


def make_field(nodes: Array, edges: Array, **options: object) -> WarpField:
    field = WarpField(select_device("cpu"), SIGMA, neighbours=edges.shape[1], **options)
    field.set_graph(nodes, edges)
    return field


def sheet(rng: np.random.Generator, count: int = 60, neighbours: int = 8) -> tuple[Array, Array]:
    """Nodes scattered over a half-metre sheet, each linked to the nearest ones."""
    nodes = rng.uniform([-0.25, -0.25, 1.0], [0.25, 0.25, 1.05], (count, 3)).astype(np.float32)
    distance = np.linalg.norm(nodes[:, None] - nodes[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return nodes, np.argsort(distance, axis=1)[:, :neighbours].astype(np.int32)


def anchored(field: WarpField, points: Array) -> tuple[Array, Array]:
    n = len(points)
    anchors = wp.zeros(n, dtype=wp.vec4i, device=field.device)
    weights = wp.zeros(n, dtype=wp.vec4, device=field.device)
    field.anchor(wp.array(points, dtype=wp.vec3, device=field.device), n, anchors, weights)
    return anchors.numpy().copy(), weights.numpy().copy()


def warped(field: WarpField, points: Array) -> Array:
    n, device = len(points), field.device
    anchors, weights = wp.zeros(n, dtype=wp.vec4i, device=device), wp.zeros(n, dtype=wp.vec4, device=device)
    source, out = wp.array(points, dtype=wp.vec3, device=device), wp.zeros(n, dtype=wp.vec3, device=device)
    field.anchor(source, n, anchors, weights)
    field.warp(source, anchors, weights, n, out)
    return out.numpy().copy()


def unwarped(field: WarpField, points: Array) -> tuple[Array, Array]:
    n, device = len(points), field.device
    out, valid = wp.zeros(n, dtype=wp.vec3, device=device), wp.zeros(n, dtype=wp.int32, device=device)
    field.unwarp(wp.array(points, dtype=wp.vec3, device=device), n, out, valid)
    return out.numpy().copy(), valid.numpy().astype(bool)


def brute_force_anchors(points: Array, nodes: Array, edges: Array, reach_m: float) -> tuple[list[list[int]], Array]:
    """The stated rule, point by point in float64: nearest node, then the best four of it and its neighbours."""
    chosen, weights = [], np.zeros((len(points), 4))
    for row, p in enumerate(points.astype(np.float64)):
        d2 = ((nodes.astype(np.float64) - p) ** 2).sum(axis=1)
        nearest = int(d2.argmin())
        if d2[nearest] >= reach_m**2:
            chosen.append([])
            continue
        candidates = [nearest, *(j for j in edges[nearest] if j >= 0)]
        ids = sorted(candidates, key=lambda j: d2[j])[:4]
        w = np.exp(-d2[ids] / (2 * SIGMA**2))
        chosen.append(ids)
        weights[row, : len(ids)] = w / w.sum()
    return chosen, weights


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), nodes=st.integers(1, 70), neighbours=st.integers(1, 8))
def test_anchors_follow_the_stated_rule(seed: int, nodes: int, neighbours: int) -> None:
    rng = np.random.default_rng(seed)
    positions, edges = sheet(rng, nodes, neighbours)
    if edges.shape[1] < neighbours:
        edges = np.pad(edges, ((0, 0), (0, neighbours - edges.shape[1])), constant_values=-1)
    edges = np.where(rng.random(edges.shape) < 0.1, -1, edges).astype(np.int32)
    field = make_field(positions, edges)
    points = rng.uniform([-0.4, -0.4, 0.85], [0.4, 0.4, 1.2], (200, 3)).astype(np.float32)
    anchors, weights = anchored(field, points)
    chosen, expected = brute_force_anchors(points, positions, edges, field.reach_m)
    covered = np.array([len(ids) > 0 for ids in chosen])
    assert np.array_equal(weights.any(axis=1), covered)
    np.testing.assert_allclose(weights[covered].sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(weights, expected, atol=2e-5)
    assert (weights >= 0).all()
    for ids, row, w in zip(chosen, anchors, weights, strict=True):
        if ids:
            assert row[: len(ids)].tolist() == ids and (w[len(ids) :] == 0).all()
            assert ((row >= 0) & (row < nodes)).all()  # unused ones can be indexed


def test_points_are_never_anchored_across_a_gap() -> None:
    """Two sheets 3 cm apart without links: all anchors of a point lie on its own sheet."""
    grid = np.stack(np.meshgrid(np.arange(8) * 0.04, np.arange(8) * 0.04), axis=-1).reshape(-1, 2)
    one = np.column_stack([grid, np.full(64, 1.0)])
    distance = np.linalg.norm(one[:, None] - one[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    edges = np.argsort(distance, axis=1)[:, :8]
    nodes = np.concatenate([one, one + [0, 0, 0.03]]).astype(np.float32)
    field = make_field(nodes, np.concatenate([edges, edges + 64]).astype(np.int32))
    rng = np.random.default_rng(0)
    points = rng.uniform([0, 0, 0], [0.28, 0.28, 0], (300, 3))
    upper = rng.random(300) < 0.5
    points[:, 2] = np.where(upper, 1.03, 1.0) + rng.normal(0, 0.002, 300)
    anchors, weights = anchored(field, points.astype(np.float32))
    assert ((anchors >= 64) == upper[:, None])[weights > 0].all()


@pytest.mark.parametrize("size", ["small", "large"])
def test_warp_is_that_of_numpy_in_double_precision(size: str) -> None:
    rng = np.random.default_rng(3)
    nodes, edges = sheet(rng)
    field = make_field(nodes, edges)
    count = 500 if size == "small" else 20_000  # the larger one is split over threads
    points = rng.uniform([-0.25, -0.25, 1.0], [0.25, 0.25, 1.05], (count, 3)).astype(np.float32)
    rotations = matrix_from_rotation_vector(rng.normal(0, 0.5, (60, 3)))
    translations = rng.normal(0, 0.1, (60, 3))
    field.set_motion(rotations, translations)
    anchors, weights = anchored(field, points)
    v = nodes.astype(np.float64)[anchors]
    moved = np.einsum("mkij,mkj->mki", rotations[anchors], points[:, None] - v) + v + translations[anchors]
    expected = np.einsum("mk,mki->mi", weights.astype(np.float64), moved)
    np.testing.assert_allclose(warped(field, points), expected, atol=1e-6)


def test_uncovered_points_go_to_the_origin() -> None:
    nodes, edges = sheet(np.random.default_rng(0))
    field = make_field(nodes, edges)
    far = np.float32([[3.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    anchors, weights = anchored(field, far)
    assert not weights.any() and not anchors.any()
    assert not warped(field, far).any()


def smooth_motion(nodes: Array) -> tuple[Array, Array]:
    """A bend of 17 degrees over the sheet and a shift."""
    angle = 0.6 * nodes[:, 0].astype(np.float64)
    rotations = matrix_from_rotation_vector(np.outer(angle, [0.0, 1.0, 0.0]))
    shift = np.stack([0 * angle, 0 * angle, -0.3 * nodes[:, 0].astype(np.float64) ** 2], axis=1) + [0.05, 0.02, 0.1]
    return rotations, shift


def dense_sheet() -> tuple[Array, Array]:
    grid = np.stack(np.meshgrid(np.arange(12) * 0.045 - 0.25, np.arange(12) * 0.045 - 0.25), axis=-1).reshape(-1, 2)
    nodes = np.column_stack([grid, np.ones(144)]).astype(np.float32)
    return nodes, KDTree(nodes).query(nodes, k=9)[1][:, 1:].astype(np.int32)


def test_unwarp_undoes_a_smooth_warp() -> None:
    nodes, edges = dense_sheet()
    field = make_field(nodes, edges)
    field.set_motion(*smooth_motion(nodes))
    rng = np.random.default_rng(2)
    points = rng.uniform([-0.25, -0.25, 0.985], [0.25, 0.25, 1.015], (2000, 3)).astype(np.float32)
    live = warped(field, points)
    back, valid = unwarped(field, live)
    assert valid.all()
    assert np.linalg.norm(live - points, axis=1).min() > 0.08
    error = np.linalg.norm(back - points, axis=1)
    assert np.median(error) < 5e-4 and error.max() < 3e-3


def test_unwarp_undoes_a_rigid_motion_exactly() -> None:
    nodes, edges = dense_sheet()
    field = make_field(nodes, edges)
    turn = matrix_from_rotation_vector(np.array([0.3, -0.4, 0.2]))
    shift = np.array([0.1, 0.0, 0.4])
    field.set_motion(np.tile(turn, (144, 1, 1)), nodes @ turn.T + shift - nodes)
    points = np.random.default_rng(2).uniform([-0.2, -0.2, 0.98], [0.2, 0.2, 1.02], (500, 3)).astype(np.float32)
    live = warped(field, points)
    np.testing.assert_allclose(live, points @ turn.T + shift, atol=2e-6)
    back, valid = unwarped(field, live)
    assert valid.all()
    np.testing.assert_allclose(back, points, atol=3e-6)


def test_unwarp_follows_the_newest_motion() -> None:
    """The grid of live nodes is rebuilt when the motion changes, from the host or on the device."""
    nodes, edges = dense_sheet()
    field = make_field(nodes, edges)
    rotations, still = at_rest(144)
    points = np.float32([[0.0, 0.0, 1.0]])
    assert unwarped(field, points)[1].all()
    field.set_motion(rotations, still + [0, 0, 2.0])
    assert not unwarped(field, points)[1].any()
    np.testing.assert_allclose(unwarped(field, points + np.float32([0, 0, 2]))[0], points, atol=1e-6)
    field.translations.zero_()
    field.motion_changed()
    np.testing.assert_allclose(unwarped(field, points)[0], points, atol=1e-6)


def test_growth_doubles_the_arrays_and_keeps_the_nodes() -> None:
    rng = np.random.default_rng(5)
    nodes, edges = sheet(rng, 60)
    field = make_field(nodes[:20], np.where(edges[:20] < 20, edges[:20], -1), capacity=20)
    motion = matrix_from_rotation_vector(rng.normal(0, 0.2, (60, 3))), rng.normal(0, 0.1, (60, 3))
    field.set_motion(motion[0][:20], motion[1][:20])
    assert field.growth_count == 0 and field.capacity == 20
    before = field.motion()
    field.set_graph(nodes[:21], np.where(edges[:21] < 21, edges[:21], -1), motion[0][:21], motion[1][:21])
    assert field.growth_count == 1 and field.capacity == 40
    for got, kept in zip(field.motion(), before, strict=True):
        assert np.array_equal(got[:20], kept)
    field.set_graph(nodes, edges, *motion)
    assert field.growth_count == 2 and field.capacity == 80 and field.count == 60
    assert np.array_equal(field.positions.numpy()[:60], nodes) and np.array_equal(field.edges.numpy()[:60], edges)
    assert np.array_equal(field.host_positions, nodes) and np.array_equal(field.host_edges, edges)
    small = make_field(nodes, edges, capacity=60)
    small.set_motion(*motion)
    points = rng.uniform([-0.25, -0.25, 1.0], [0.25, 0.25, 1.05], (300, 3)).astype(np.float32)
    assert np.array_equal(warped(field, points), warped(small, points))


def test_a_new_graph_is_at_rest_and_each_node_its_own_parent() -> None:
    nodes, edges = sheet(np.random.default_rng(0))
    field = make_field(nodes, edges)
    assert np.array_equal(field.parents, np.arange(60))
    for got, still in zip(field.motion(), at_rest(60), strict=True):
        assert np.array_equal(got, still)
    field.set_motion(*smooth_motion(nodes))
    field.set_graph(nodes[:20], np.where(edges[:20] < 20, edges[:20], -1), parents=np.zeros(20))
    assert not field.parents.any() and not field.motion()[1].any()
    field.set_motion(translations=np.ones((20, 3)))
    assert np.array_equal(field.motion()[0], at_rest(20)[0]) and field.motion()[1].all()


def test_version_changes_with_the_graph_only() -> None:
    nodes, edges = sheet(np.random.default_rng(0))
    field = WarpField(select_device("cpu"), SIGMA)
    versions = [field.version]
    field.set_graph(nodes, edges)
    versions.append(field.version)
    field.set_motion()
    field.motion_changed()
    assert field.version == versions[-1]
    field.set_graph(nodes, edges)
    versions.append(field.version)
    field.clear()
    versions.append(field.version)
    assert len(set(versions)) == 4 and field.count == 0


def test_clusters_are_the_connected_pieces() -> None:
    nodes, edges = sheet(np.random.default_rng(0), 20)
    apart = np.concatenate([nodes, nodes + np.float32([2, 0, 0]), np.float32([[5, 5, 5]])])
    links = np.concatenate([edges, edges + 20, np.full((1, 8), -1)]).astype(np.int32)
    field = make_field(apart, links)
    clusters = field.clusters
    assert len(set(clusters[:20])) == len(set(clusters[20:40])) == 1
    assert len({clusters[0], clusters[20], clusters[40]}) == 3


def test_one_sided_links_connect() -> None:
    """A node may be among the nearest of another without the reverse."""
    edges = np.int32([[1, -1], [-1, -1], [1, -1]])
    field = make_field(np.float32([[0, 0, 1], [0.04, 0, 1], [0.08, 0, 1]]), edges)
    assert len(set(field.clusters)) == 1


def test_snapshot_is_of_its_time() -> None:
    nodes, edges = sheet(np.random.default_rng(0))
    field = make_field(nodes, edges)
    moved = np.full((60, 3), 0.25, np.float32)
    field.set_motion(at_rest(60)[0], moved)
    snapshot = field.snapshot(17, np.arange(60) > 3)
    field.set_motion()
    assert snapshot.t_ns == 17 and snapshot.active.sum() == 56
    assert np.array_equal(snapshot.translations, moved)
    assert np.array_equal(snapshot.positions, nodes) and np.array_equal(snapshot.edges, edges)
    assert field.snapshot(18).active.all()


def test_empty_field_covers_nothing() -> None:
    field = WarpField(select_device("cpu"), SIGMA)
    points = np.float32([[0, 0, 1], [1, 1, 1]])
    assert not anchored(field, points)[1].any()
    assert not unwarped(field, points)[1].any()
    nodes, edges = sheet(np.random.default_rng(0))
    field.set_graph(nodes, edges)
    assert anchored(field, nodes[:2])[1].any()
    field.clear()
    assert not anchored(field, nodes[:2])[1].any()
    assert not unwarped(field, nodes[:2])[1].any()


def test_edges_of_the_wrong_width_are_an_error() -> None:
    nodes, edges = sheet(np.random.default_rng(0))
    field = WarpField(select_device("cpu"), SIGMA, neighbours=6)
    with pytest.raises(ValueError, match=r"\(60, 6\)"):
        field.set_graph(nodes, edges)


def test_skinning_weights_prefer_the_nearest_node() -> None:
    """DoubleFusion's weights: the ratio of two is that of their Gaussians."""
    nodes, edges = dense_sheet()
    field = make_field(nodes, edges)
    rng = np.random.default_rng(1)
    points = rng.uniform([-0.2, -0.2, 0.99], [0.2, 0.2, 1.01], (200, 3)).astype(np.float32)
    anchors, weights = anchored(field, points)
    d2 = ((nodes[anchors].astype(np.float64) - points[:, None]) ** 2).sum(axis=2)
    ratio = np.exp(-(d2 - d2[:, :1]) / (2 * SIGMA**2))
    np.testing.assert_allclose(weights / weights[:, :1], ratio, rtol=2e-4)
    assert (np.diff(d2, axis=1) >= -1e-7).all()
