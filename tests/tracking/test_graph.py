"""The deformation graph covers its surface, and its edges run along it (NNRT appendix A)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from bodystream.tracking.graph import (
    EDGE_REACH,
    build_graph,
    geodesic_neighbours,
    large_components,
    mesh_from_depth,
    sample_nodes,
)
from bodystream.tracking.pattern import analyse_pattern
from bodystream.types import Array, CameraIntrinsics
from helpers.solver_problems import CAMERA, bumpy_depth


def grid_surface(rows: int, columns: int, spacing_m: float) -> tuple[Array, Array]:
    """Points (rows * columns, 3) of a flat sheet at z = 0, and the pairs of its 8-neighbourhood."""
    v, u = np.indices((rows, columns))
    points = np.stack([u.ravel(), v.ravel(), np.zeros(u.size)], axis=1) * spacing_m
    index = np.arange(rows * columns).reshape(rows, columns)
    pairs = [
        (index[:, :-1], index[:, 1:]),
        (index[:-1], index[1:]),
        (index[:-1, :-1], index[1:, 1:]),
        (index[:-1, 1:], index[1:, :-1]),
    ]
    return points.astype(np.float32), np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in pairs])


def mesh_distances(points: Array, edges: Array, sources: Array) -> Array:
    """(S, P) lengths of the shortest paths over the mesh."""
    lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    graph = coo_matrix((lengths, (edges[:, 0], edges[:, 1])), shape=(len(points),) * 2).tocsr()
    return dijkstra(graph, directed=False, indices=sources)


def node_points(points: Array, nodes: Array) -> Array:
    return np.asarray(KDTree(points).query(nodes)[1])


def assert_well_formed(edges: Array, neighbours: int) -> None:
    """Unused slots are -1 and stand at the end; a node is neither its own neighbour nor anyone's twice."""
    assert edges.shape[1] == neighbours and edges.dtype == np.int32
    for i, row in enumerate(edges):
        used = row[row >= 0]
        assert (row[: len(used)] >= 0).all() and (row[len(used) :] == -1).all()
        assert i not in used and len(set(used.tolist())) == len(used)
        assert (used < len(edges)).all()


clouds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(deadline=None, max_examples=40)
@given(rng=clouds, count=st.integers(1, 400), sigma_m=st.floats(0.02, 0.5), flat=st.booleans())
def test_every_point_has_a_node_within_sigma(rng: np.random.Generator, count: int, sigma_m: float, flat: bool) -> None:
    points = rng.uniform(-0.5, 0.5, (count, 3)).astype(np.float32)
    if flat:
        points[:, 2] = 0.0
    chosen = sample_nodes(points, sigma_m)
    distance = np.linalg.norm(points[:, None].astype(np.float64) - points[chosen], axis=2)
    assert distance.min(axis=1).max() <= sigma_m * (1 + 1e-6)
    between = np.linalg.norm(points[chosen][:, None].astype(np.float64) - points[chosen], axis=2)
    np.fill_diagonal(between, np.inf)
    # None is needless: a node is not covered by an earlier one.
    assert between.min() > sigma_m * (1 - 1e-6)


@settings(deadline=None, max_examples=40)
@given(rng=clouds, count=st.integers(1, 200), support=st.integers(1, 8))
def test_a_node_covers_as_many_points_as_it_must(rng: np.random.Generator, count: int, support: int) -> None:
    points = rng.uniform(0, 1, (count, 3))
    chosen = sample_nodes(points, 0.2, support)
    left = np.ones(count, bool)
    for node in chosen:
        near = np.linalg.norm(points - points[node], axis=1) <= 0.2
        assert near.sum() >= support
        left &= ~near
    if support == 1:
        assert not left.any()
    # A point that is left would have covered too few: of those after it, which were open when its turn came.
    for i in np.flatnonzero(left):
        assert (left[i:] & (np.linalg.norm(points[i:] - points[i], axis=1) <= 0.2)).sum() < support


def test_no_points_give_no_nodes() -> None:
    assert len(sample_nodes(np.zeros((0, 3)), 0.05)) == 0
    graph = build_graph(np.zeros((0, 3), np.float32), np.zeros((0, 2), np.int32))
    assert graph.positions.shape == (0, 3) and graph.edges.shape == (0, 8)
    assert graph.nearest.shape == graph.distance_m.shape == (0,)


def test_surface_in_crumbs_gets_no_nodes() -> None:
    points, edges = grid_surface(5, 5, 0.01)
    graph = build_graph(points, edges, minimum_points=26)
    assert len(graph.positions) == 0 and graph.edges.shape == (0, 8)
    assert np.array_equal(graph.nearest, np.full(25, -1)) and np.isinf(graph.distance_m).all()


def test_single_point() -> None:
    graph = build_graph(np.float32([[0, 0, 1]]), np.zeros((0, 2), np.int32))
    assert len(graph.positions) == 1 and (graph.edges == -1).all()
    assert graph.nearest.tolist() == [0] and graph.distance_m.tolist() == [0.0]


@settings(deadline=None, max_examples=25)
@given(rng=clouds, rows=st.integers(2, 18), columns=st.integers(2, 18), neighbours=st.integers(1, 10))
def test_graphs_of_rough_sheets(rng: np.random.Generator, rows: int, columns: int, neighbours: int) -> None:
    points, surface = grid_surface(rows, columns, 0.02)
    points = points + rng.normal(0, 0.004, points.shape).astype(np.float32)
    surface = surface[rng.random(len(surface)) < 0.9]
    graph = build_graph(points, surface, 0.05, neighbours)
    assert_well_formed(graph.edges, neighbours)
    assert np.linalg.norm(points[:, None] - graph.positions[None], axis=2).min(axis=1).max() <= 0.05 + 1e-6
    pieces = connected_components(
        coo_matrix((np.ones(len(surface)), (surface[:, 0], surface[:, 1])), shape=(len(points),) * 2), directed=False
    )[1]
    at = node_points(points, graph.positions)
    for i, row in enumerate(graph.edges):
        assert (pieces[at[row[row >= 0]]] == pieces[at[i]]).all()
    exact = mesh_distances(points, surface, at)
    reached = np.isfinite(exact.min(axis=0))
    assert np.array_equal(graph.nearest >= 0, reached)
    np.testing.assert_allclose(graph.distance_m[reached], exact.min(axis=0)[reached], rtol=1e-5, atol=1e-6)
    points_of = np.flatnonzero(reached)
    np.testing.assert_allclose(
        exact[graph.nearest[points_of], points_of], graph.distance_m[points_of], rtol=1e-5, atol=1e-6
    )


def test_neighbours_are_nearly_the_geodesically_nearest() -> None:
    """Distances run through the contact of two regions, which is a little more than the shortest path."""
    depth, mask = bumpy_depth()
    mesh = mesh_from_depth(depth, mask, CAMERA, stride=2)
    graph = build_graph(mesh.points, mesh.edges, 0.06)
    at = node_points(mesh.points, graph.positions)
    exact = mesh_distances(mesh.points, mesh.edges, at)[:, at]
    np.fill_diagonal(exact, np.inf)
    best = np.argsort(exact, axis=1)[:, :8]
    assert (graph.edges >= 0).all()
    common = np.mean([len(set(a) & set(b)) / 8 for a, b in zip(best.tolist(), graph.edges.tolist(), strict=True)])
    assert common > 0.85
    chosen = np.take_along_axis(exact, graph.edges, axis=1)
    eighth = np.take_along_axis(exact, best[:, 7:], axis=1)
    assert (chosen <= 1.35 * eighth).all()


def test_two_sheets_near_each_other_are_not_linked() -> None:
    """3 cm apart, which is less than the node distance: an arm before the chest."""
    points, edges = grid_surface(30, 30, 0.01)
    both = np.concatenate([points, points + np.float32([0, 0, 0.03])])
    surface = np.concatenate([edges, edges + len(points)])
    graph = build_graph(both, surface, 0.05)
    side = graph.positions[:, 2] > 0.015
    assert 0 < side.sum() < len(side)
    for i, row in enumerate(graph.edges):
        assert (side[row[row >= 0]] == side[i]).all()
    reached = graph.nearest >= 0
    assert np.array_equal(both[reached, 2] > 0.015, side[graph.nearest[reached]])


def test_ends_of_a_bent_strip_are_not_linked() -> None:
    """A strip bent to a U whose legs are 4 cm apart: neighbours across the gap would be far along the strip."""
    points, edges = grid_surface(6, 130, 0.01)
    radius, leg = 0.02, 0.6
    s = points[:, 0]
    arc = np.clip((s - leg) / radius, 0, np.pi)
    ahead = np.minimum(s, leg) - np.maximum(s - leg - np.pi * radius, 0) + radius * np.sin(arc)
    bent = np.stack([ahead, points[:, 1], radius * (1 - np.cos(arc))], axis=1)
    graph = build_graph(bent.astype(np.float32), edges, 0.05)
    at = node_points(bent, graph.positions)
    along = s[at]
    assert_well_formed(graph.edges, 8)
    linked = [abs(along[i] - along[j]) for i, row in enumerate(graph.edges) for j in row[row >= 0]]
    assert max(linked) < 0.45
    legs = np.where(along < 0.5, 0, np.where(along > 0.75, 1, -1))
    for i, row in enumerate(graph.edges):
        if legs[i] >= 0 and graph.positions[i, 0] < 0.35:  # far from the bend
            assert (legs[row[row >= 0]] == legs[i]).all()
    gap = np.linalg.norm(graph.positions[legs == 0][:, None] - graph.positions[legs == 1][None], axis=2)
    assert gap.min() < 0.06  # they are near in space


def test_separate_pieces_stay_separate_and_small_ones_get_no_nodes() -> None:
    points, edges = grid_surface(20, 20, 0.01)
    crumb, crumb_edges = grid_surface(3, 3, 0.01)
    every = np.concatenate([points, points + np.float32([1, 0, 0]), crumb + np.float32([0, 1, 0])])
    surface = np.concatenate([edges, edges + 400, crumb_edges + 800])
    graph = build_graph(every, surface, 0.05, minimum_points=50)
    assert (graph.positions[:, 1] < 0.5).all()
    pieces = connected_components(
        coo_matrix(
            (np.ones((graph.edges >= 0).sum()), (np.nonzero(graph.edges >= 0)[0], graph.edges[graph.edges >= 0])),
            shape=(len(graph.positions),) * 2,
        ),
        directed=False,
    )
    assert pieces[0] == 2
    assert (graph.nearest[800:] == -1).all() and np.isinf(graph.distance_m[800:]).all()
    assert np.array_equal(large_components(len(every), surface, 50), np.arange(809) < 800)


def test_edges_reach_no_farther_than_a_few_node_distances() -> None:
    """Two patches joined by a long thread are one surface, and no node holds another across it."""
    points, edges = grid_surface(1, 200, 0.005)
    ends = np.array([0, 199])
    found, _, distance = geodesic_neighbours(points, edges, ends, points[ends], 8, 0.05)
    assert (found == -1).all()
    assert distance.max() == pytest.approx(0.005 * 99.5, abs=0.003)
    near = np.array([0, 30])
    found, _, _ = geodesic_neighbours(points, edges, near, points[near], 8, 0.05)
    assert 0.15 < EDGE_REACH * 0.05 and found[0, 0] == 1 and found[1, 0] == 0


def test_nodes_at_one_point_are_linked() -> None:
    points, edges = grid_surface(10, 10, 0.01)
    at = np.array([0, 0, 99])
    found, nearest, _ = geodesic_neighbours(points, edges, at, points[at], 4, 0.05)
    assert set(found[0][found[0] >= 0]) == {1, 2} and set(found[1][found[1] >= 0]) == {0, 2}
    assert set(np.unique(nearest)) <= {0, 1, 2}


def naive_mesh(depth: Array, mask: Array, camera: CameraIntrinsics, reach: float, stride: int) -> tuple[dict, set]:
    """Points by pixel and pairs of pixels, by loops."""
    points = {}
    for v in range(0, depth.shape[0], stride):
        for u in range(0, depth.shape[1], stride):
            z = float(depth[v, u])
            if mask[v, u] and z > 0:
                points[u, v] = np.array([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z])
    pairs = set()
    for u, v in points:
        for dv in (-stride, 0, stride):
            for du in (-stride, 0, stride):
                other = (u + du, v + dv)
                if other != (u, v) and other in points:
                    apart = points[u, v] - points[other]
                    seen_at = abs(apart[2]) < 2.0 * np.hypot(apart[0], apart[1]) + 0.01
                    if np.linalg.norm(apart) < reach or (stride > 1 and seen_at):
                        pairs.add(frozenset([(u, v), other]))
    return points, pairs


@settings(deadline=None, max_examples=30)
@given(rng=clouds, width=st.integers(1, 14), height=st.integers(1, 14), stride=st.integers(1, 3))
def test_mesh_from_depth_is_that_of_loops(rng: np.random.Generator, width: int, height: int, stride: int) -> None:
    camera = CameraIntrinsics(30.0, 31.0, width / 2, height / 2, width, height)
    depth = rng.choice([0.0, 0.5, 0.51, 0.53, 0.9], (height, width)).astype(np.float32)
    depth[depth > 0] += rng.uniform(0, 0.004, (depth > 0).sum()).astype(np.float32)
    mask = rng.random((height, width)) < 0.9
    mesh = mesh_from_depth(depth, mask, camera, 0.03, stride)
    points, pairs = naive_mesh(depth, mask, camera, 0.03, stride)
    assert [tuple(p) for p in mesh.pixels.tolist()] == sorted(points, key=lambda p: (p[1], p[0]))
    if points:
        np.testing.assert_allclose(mesh.points, [points[tuple(p)] for p in mesh.pixels.tolist()], atol=1e-6)
    found = [frozenset([tuple(mesh.pixels[a].tolist()), tuple(mesh.pixels[b].tolist())]) for a, b in mesh.edges]
    assert len(found) == len(set(found)) and set(found) == pairs


@pytest.mark.parametrize(
    ("step_m", "stride", "linked"),
    [
        # Neighbours are 3.3 mm apart at one metre: the distance alone counts.
        (0.025, 1, True),
        (0.035, 1, False),
        # Every third, 14 mm apart on the diagonal: seen at less than the steepest angle it is one surface, noise apart.
        (0.036, 3, True),
        (0.041, 3, False),
        (0.06, 3, False),  # an arm before the chest, nearer than three times the longest edge
        (0.2, 3, False),
        # Every twelfth, 57 mm apart on the diagonal.
        (0.11, 12, True),
        (0.13, 12, False),
    ],
)
def test_depth_jumps_are_not_bridged(step_m: float, stride: int, linked: bool) -> None:
    """The right half of a plane lies nearer by a step."""
    camera = CameraIntrinsics(300.0, 300.0, 24.0, 12.0, 48, 24)
    depth = np.ones((24, 48), np.float32)
    depth[:, 24:] -= np.float32(step_m)
    mesh = mesh_from_depth(depth, np.ones(depth.shape, bool), camera, 0.03, stride)
    right = mesh.pixels[:, 0] >= 24
    across = right[mesh.edges[:, 0]] != right[mesh.edges[:, 1]]
    assert across.any() == linked
    assert (~across).sum() > 4


@pytest.mark.parametrize("tangent", [1.0, 1.5, 2.0, 4.0])
def test_slopes_hold_together_at_every_stride(tangent: float) -> None:
    """A plane that recedes: unless it is too steep it is one surface, however coarse the grid."""
    camera = CameraIntrinsics(300.0, 300.0, 24.0, 12.0, 48, 24)
    ray_x = (np.arange(48) - 24) / 300
    depth = np.tile(1 / (1 - tangent * ray_x), (24, 1)).astype(np.float32)
    for stride in (1, 4, 8):
        mesh = mesh_from_depth(depth, np.ones(depth.shape, bool), camera, 0.03, stride)
        links = coo_matrix((np.ones(len(mesh.edges)), mesh.edges.T), shape=(len(mesh.points),) * 2)
        pieces = connected_components(links, directed=False)[0]
        # Neighbouring pixels are near enough at any angle.
        assert (pieces == 1) == (tangent <= 2 or stride == 1)


@settings(deadline=None, max_examples=25)
@given(rng=clouds, nodes=st.integers(1, 30), neighbours=st.integers(1, 6))
def test_pattern_holds_every_pair_that_can_be_coupled(rng: np.random.Generator, nodes: int, neighbours: int) -> None:
    edges = np.full((nodes, neighbours), -1, np.int32)
    for i in range(nodes):
        others = rng.permutation(np.delete(np.arange(nodes), i))[: rng.integers(0, neighbours + 1)]
        edges[i, : len(others)] = others
    expected = np.zeros((nodes, nodes), bool)
    for i in range(nodes):
        ball = [i, *edges[i][edges[i] >= 0]]
        expected[np.ix_(ball, ball)] = True
    pattern = analyse_pattern(edges)
    assert np.array_equal(pattern.slots >= 0, expected)
    for i in range(nodes):
        row = pattern.columns[pattern.row_start[i] : pattern.row_start[i + 1]]
        assert np.array_equal(row, np.flatnonzero(expected[i]))
        assert np.array_equal(pattern.slots[i, row], np.arange(pattern.row_start[i], pattern.row_start[i + 1]))
    assert np.array_equal(np.sort(pattern.order), np.arange(nodes))
    rank = np.argsort(pattern.order)
    i, j = np.nonzero(expected)
    assert pattern.bandwidth == np.abs(rank[i] - rank[j]).max()


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_graph_is_like_the_one_of_the_authors(shared_data: Path) -> None:
    """DeepDeform sequence 017: the pixels that NNRT's nodes cover, meshed and sampled by us."""
    folder = shared_data / "depth" / "deepdeform_seq017"
    if not folder.is_dir():
        pytest.skip("recordings not found: no depth/deepdeform_seq017 in BODYSTREAM_DATA")
    # uint32 N, then N x 3 float32; uint32 N, uint32 K, then N x K int32.
    theirs = np.fromfile(only_file(folder / "graph_nodes"), np.float32, offset=4).reshape(-1, 3)
    count = len(theirs)
    their_edges = np.fromfile(only_file(folder / "graph_edges"), np.int32, offset=8).reshape(count, 8)
    depth = cv2.imread(str(folder / "depth" / "000300.png"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
    camera = CameraIntrinsics(575.548, 577.46, 323.172, 236.417, 640, 480)
    every = mesh_from_depth(depth, depth > 0, camera)
    # No mask is given. What lies within their node coverage of their nodes is the shirt and a rim around it, which is
    # on the mean half a coverage wide: a node near the shirt's border covers ground on both sides of it.
    near = KDTree(theirs).query(every.points)[0] < 0.05
    shirt = near & (KDTree(every.points[~near]).query(every.points)[0] > 0.025)
    mask = np.zeros(depth.shape, bool)
    mask[every.pixels[shirt, 1], every.pixels[shirt, 0]] = True
    mesh = mesh_from_depth(depth, mask, camera)
    ours = build_graph(mesh.points, mesh.edges, 0.05, minimum_points=1000)
    # They sample on the surface less its rim, which ten erosions take away; we cover the rim as well.
    inner = cv2.erode(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)), iterations=10) > 0
    assert len(sample_nodes(mesh_from_depth(depth, inner, camera).points, 0.05)) == pytest.approx(count, rel=0.25)
    assert count < len(ours.positions) < 1.5 * count
    covered = KDTree(ours.positions).query(mesh.points)[0] <= 0.05 + 1e-6
    assert covered[large_components(len(mesh.points), mesh.edges, 1000)].all()
    assert np.median(KDTree(ours.positions).query(theirs)[0]) < 0.05
    lengths = [
        np.linalg.norm(nodes[np.nonzero(edges >= 0)[0]] - nodes[edges[edges >= 0]], axis=1)
        for nodes, edges in ((ours.positions, ours.edges), (theirs, their_edges))
    ]
    assert np.median(lengths[0]) == pytest.approx(np.median(lengths[1]), rel=0.25)
