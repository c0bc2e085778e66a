"""New nodes move with whom they belong to, and are linked to nobody else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from bodystream.deformation import WarpField
from bodystream.deformation.ownership import CELL_PX
from bodystream.device import DeviceFrame, select_device
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.tracking.growth import GraphGrower, Growth, GrowthConfig, filled, plan_growth
from bodystream.tracking.tearing import LOOKS
from bodystream.types import Array, CameraIntrinsics, GraphSnapshot, RgbdFrame

CAMERA = CameraIntrinsics(150.0, 150.0, 80.0, 60.0, 160, 120)
SIZE, CELLS = (120, 160), (30, 40)
SIGMA_M = 0.05
CONFIG = GrowthConfig(stride=2, least_support=4, least_piece=20)


def pixel_of(points: Array) -> tuple[Array, Array]:
    return points[:, 0] / points[:, 2] * 150 + 80, points[:, 1] / points[:, 2] * 150 + 60


def grid(left: float, right: float, spacing_m: float = 0.05) -> Array:
    """Nodes on the plane z = 1 m from one x to another, y from -0.2 to 0.2 m."""
    x, y = np.meshgrid(np.arange(left, right + 1e-6, spacing_m), np.arange(-0.2, 0.201, spacing_m))
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)], axis=1).astype(np.float32)


def nearest_edges(groups: list[Array], neighbours: int = 8) -> Array:
    """(N, K): each node is linked to the nearest ones of its group, in its frame; the last two places are free."""
    edges, first = [], 0
    for nodes in groups:
        found = KDTree(nodes).query(nodes, k=neighbours - 1)[1][:, 1:] + first
        edges.append(np.pad(found, ((0, 0), (0, 2)), constant_values=-1))
        first += len(nodes)
    return np.concatenate(edges).astype(np.int32)


def snapshot(canonical: Array, live: Array, edges: Array, rotations: Array | None = None) -> GraphSnapshot:
    count = len(live)
    turns = np.tile(np.eye(3), (count, 1, 1)) if rotations is None else rotations
    canonical = canonical.astype(np.float32)
    moved = (live - canonical).astype(np.float32)
    return GraphSnapshot(
        0, canonical, turns.astype(np.float32), moved, edges, np.zeros(count, np.int32), np.ones(count, bool)
    )


def patch(left: float, right: float) -> tuple[Array, Array]:
    """Depth and mask of the plane z = 1 m from one x to another, y from -0.2 to 0.2 m."""
    u, v = np.meshgrid(np.arange(160), np.arange(120))
    x, y = (u - 80) / 150, (v - 60) / 150
    mask = (x >= left) & (x <= right) & (np.abs(y) <= 0.2)
    return np.where(mask, 1.0, 0.0).astype(np.float32), mask


def owners_by_column(first_px: list[int], nodes: list[int]) -> Array:
    """(h, w) cells: from each of the columns on they belong to a node."""
    cells = np.full(CELLS, -1, np.int32)
    for column, node in zip(first_px, nodes, strict=True):
        cells[:, column // CELL_PX :] = node
    return cells


NOBODY = np.full(CELLS, -1, np.int32)


def linked(growth: Growth, a: Array, b: Array) -> int:
    """Edges between two sets of nodes (bool over all nodes), in either direction."""
    rows, slots = np.nonzero(growth.edges >= 0)
    columns = growth.edges[rows, slots]
    return int((a[rows] & b[columns]).sum() + (b[rows] & a[columns]).sum())


def test_parents_are_the_owners_and_not_the_nearest() -> None:
    """A graph on the left half of a plane; the right half belongs to a node at the far left of it."""
    nodes = grid(-0.3, 0.0)
    graph = snapshot(nodes, nodes, nearest_edges([nodes]))
    depth, mask = patch(-0.3, 0.25)
    owned = plan_growth(depth, mask, owners_by_column([80], [3]), CAMERA, graph, SIGMA_M, CONFIG, version=7)
    assert len(owned.positions) > 10 and (owned.parents == 3).all() and owned.version == 7
    free = plan_growth(depth, mask, NOBODY, CAMERA, graph, SIGMA_M, CONFIG)
    np.testing.assert_array_equal(free.parents, KDTree(nodes).query(free.positions)[1])
    # Owners of a graph that has been replaced by a smaller one are nobody.
    stale = plan_growth(depth, mask, owners_by_column([0], [len(nodes)]), CAMERA, graph, SIGMA_M, CONFIG)
    np.testing.assert_array_equal(stale.parents, free.parents)


def test_each_node_is_born_where_its_parent_s_motion_comes_from() -> None:
    """Parents turn and move: moved on by them, the new nodes lie on the surface that is seen."""
    rng = np.random.default_rng(3)
    live = grid(-0.3, 0.0)
    turns = matrix_from_rotation_vector(rng.normal(0, 0.4, (len(live), 3)))
    canonical = live + rng.normal(0, 0.3, live.shape)
    graph = snapshot(canonical, live, nearest_edges([live]), turns)
    depth, mask = patch(-0.3, 0.25)
    cells = owners_by_column([80, 100], [5, 20])
    growth = plan_growth(depth, mask, cells, CAMERA, graph, SIGMA_M, CONFIG)
    p, v = growth.parents, graph.positions
    assert growth.positions.dtype == np.float32 and growth.parents.dtype == growth.edges.dtype == np.int32
    seen = np.einsum("nij,nj->ni", turns[p], growth.positions - v[p]) + v[p] + graph.translations[p]
    u, w = pixel_of(seen)
    np.testing.assert_allclose(seen[:, 2], 1.0, atol=1e-5)
    assert mask[np.rint(w).astype(int), np.rint(u).astype(int)].all()
    np.testing.assert_array_equal(p, cells[np.rint(w).astype(int) // CELL_PX, np.rint(u).astype(int) // CELL_PX])
    assert set(p.tolist()) == {5, 20}
    # What was open is covered.
    points = np.argwhere(mask)[::7]
    surface = np.stack([(points[:, 1] - 80) / 150, (points[:, 0] - 60) / 150, np.ones(len(points))], axis=1)
    assert KDTree(np.concatenate([live, seen])).query(surface)[0].max() < 1.5 * SIGMA_M


def touching(apart_m: float) -> tuple[GraphSnapshot, Array, Array, Array, Array]:
    """A body, and an arm beside it that touches it in this frame and is so far away canonically.

    Returns:
        The graph, depth, mask, owners, and (N,) bool which nodes are the arm's. The arm's right end has no nodes yet.
    """
    body, arm = grid(-0.3, -0.05), grid(0.0, 0.1)
    live = np.concatenate([body, arm])
    is_arm = np.arange(len(live)) >= len(body)
    canonical = live + np.where(is_arm[:, None], [apart_m, 0, 0], 0)
    graph = snapshot(canonical, live, nearest_edges([body, arm]))
    depth, mask = patch(-0.3, 0.25)
    cells = owners_by_column([0, 76], [4, len(body) + 6])
    return graph, depth, mask, cells, is_arm


@pytest.mark.parametrize(("apart_m", "joined"), [(0.0, True), (0.02, True), (0.5, False), (0.15, False)])
def test_surfaces_that_only_touch_are_not_linked(apart_m: float, joined: bool) -> None:
    graph, depth, mask, cells, is_arm = touching(apart_m)
    growth = plan_growth(depth, mask, cells, CAMERA, graph, SIGMA_M, CONFIG)
    new = np.arange(len(growth.edges)) >= len(is_arm)
    arm = np.append(is_arm, np.zeros(new.sum(), bool))
    assert new.sum() > 8 and is_arm[growth.parents].all()
    assert (linked(growth, arm | new, ~(arm | new)) > 0) == joined
    assert linked(growth, new, arm) > 8 and linked(growth, new, new) > 8, "what is one surface is linked"
    # Older edges keep their places.
    kept = graph.edges >= 0
    assert np.array_equal(growth.edges[: len(is_arm)][kept], graph.edges[kept])


@pytest.mark.parametrize("seed", range(3))
def test_edges_keep_canonical_distances(seed: int) -> None:
    """Every new edge is as long in the frame as canonically, but for four fifths of a node distance."""
    rng = np.random.default_rng(seed)
    live = grid(-0.3, 0.05)
    graph = snapshot(live + rng.normal(0, 0.03, live.shape), live, np.full((len(live), 8), -1, np.int32))
    depth, mask = patch(-0.3, 0.25)
    growth = plan_growth(depth, mask, NOBODY, CAMERA, graph, SIGMA_M, CONFIG)
    p = growth.parents
    seen = np.concatenate([live, growth.positions + graph.translations[p]])
    canonical = np.concatenate([graph.positions, growth.positions]).astype(np.float64)
    rows, slots = np.nonzero(growth.edges >= 0)
    columns = growth.edges[rows, slots]
    stretch = np.abs(
        np.linalg.norm(canonical[rows] - canonical[columns], axis=1)
        - np.linalg.norm(seen[rows] - seen[columns], axis=1)
    )
    # An older node is compared where the depth has it: half a node distance off at most, and here a pixel.
    assert len(rows) > 200 and 0.5 * SIGMA_M < stretch.max() < 0.8 * SIGMA_M + 0.02


def test_torn_pairs_are_taken_out_and_not_linked_again() -> None:
    graph, depth, mask, cells, is_arm = touching(0.0)
    before = plan_growth(depth, mask, cells, CAMERA, graph, SIGMA_M, CONFIG)
    count = len(is_arm)
    rows, slots = np.nonzero(before.edges[:count] >= 0)
    columns = before.edges[rows, slots]
    across = (columns < count) & (is_arm[rows] != is_arm[np.minimum(columns, count - 1)])
    within = (columns < count) & (rows < columns) & ~across
    torn = np.concatenate([np.stack([rows, columns], axis=1)[across], np.stack([columns, rows], axis=1)[within][::9]])
    assert across.sum() > 4 and within.sum() > 40
    after = plan_growth(depth, mask, cells, CAMERA, graph, SIGMA_M, CONFIG, torn.astype(np.int32))
    forbidden = {frozenset(pair) for pair in torn.tolist()}

    def pairs(growth: Growth) -> set[frozenset[int]]:
        i, k = np.nonzero(growth.edges >= 0)
        return {frozenset(pair) for pair in zip(i.tolist(), growth.edges[i, k].tolist(), strict=True)}

    assert forbidden <= pairs(before) and not forbidden & pairs(after)
    old = {pair for pair in pairs(before) if max(pair) < count} - forbidden
    assert len(old & pairs(after)) > 0.9 * len(old)
    np.testing.assert_array_equal(after.positions, before.positions)
    assert all(len(set(used)) == len(used) for used in (row[row >= 0].tolist() for row in after.edges))


@pytest.mark.parametrize("seen", [True, False])
def test_torn_pairs_are_taken_out_though_nothing_grows(seen: bool) -> None:
    nodes = grid(-0.3, 0.25)
    graph = snapshot(nodes, nodes, nearest_edges([nodes]))
    depth, mask = patch(-0.3, 0.25) if seen else (np.zeros(SIZE, np.float32), np.zeros(SIZE, bool))
    pair = np.array([[0, graph.edges[0, 0]]], np.int32)
    growth = plan_growth(depth, mask, NOBODY, CAMERA, graph, SIGMA_M, CONFIG, pair)
    assert len(growth.positions) == len(growth.parents) == 0
    gone = (growth.edges != graph.edges).nonzero()
    assert {tuple(sorted((i, graph.edges[i, k]))) for i, k in zip(*gone, strict=True)} == {tuple(sorted(pair[0]))}
    assert (growth.edges[gone] == -1).all()


def test_surface_far_from_all_nodes_gets_none() -> None:
    nodes = grid(-0.3, -0.2)
    graph = snapshot(nodes, nodes, nearest_edges([nodes]))
    growth = plan_growth(*patch(-0.3, 0.3), NOBODY, CAMERA, graph, SIGMA_M, replace(CONFIG, reach_m=0.1))
    x = (growth.positions + graph.translations[growth.parents])[:, 0]
    assert len(x) > 4 and x.max() < -0.2 + 0.1


def frame_of(depth: Array, mask: Array, number: int) -> RgbdFrame:
    return RgbdFrame(number, number * 33_333_333, depth, CAMERA, mask=mask)


@pytest.mark.parametrize("has_mask", [True, False])
def test_an_edge_that_is_seen_open_leaves_the_field(has_mask: bool) -> None:
    """Two halves that hang together by edges, and a gap between them in which the wall is seen, or nothing."""
    left, right = grid(-0.3, -0.1), grid(0.1, 0.3)
    nodes = np.concatenate([left, right])
    is_right = nodes[:, 0] > 0
    edges = nearest_edges([left, right])
    rightmost, leftmost = (
        np.flatnonzero(nodes[:, 0] == nodes[~is_right, 0].max()),
        np.flatnonzero(nodes[:, 0] == nodes[is_right, 0].min()),
    )
    edges[rightmost, 6] = leftmost
    field = WarpField(select_device("cpu"), SIGMA_M)
    field.set_graph(nodes, edges)
    grower = GraphGrower(field, CAMERA, CONFIG)
    halves = [patch(-0.32, -0.08), patch(0.08, 0.32)]
    mask = halves[0][1] | halves[1][1]
    depth = np.where(mask, 1.0, 0.0 if has_mask else 2.0).astype(np.float32)
    image = DeviceFrame(CAMERA, field.device)

    def across() -> int:
        rows, slots = np.nonzero(field.host_edges >= 0)
        return int((is_right[rows] != is_right[field.host_edges[rows, slots]]).sum())

    counts = []
    try:
        for number in range(LOOKS + 1):
            image.upload(frame_of(depth, mask, number) if has_mask else RgbdFrame(number, number, depth, CAMERA), mask)
            grower.request(image, NOBODY, number)
            grower.apply()
            counts.append(across())
            assert field.count == len(nodes)
    finally:
        grower.close()
    assert len(rightmost) == 9 and counts == [9] * (LOOKS - 1) + [0, 0]


@settings(deadline=None, max_examples=60)
@given(rng=st.integers(0, 2**32 - 1).map(np.random.default_rng), count=st.integers(1, 9), width=st.integers(1, 5))
def test_free_places_are_filled_as_loops_do(rng: np.random.Generator, count: int, width: int) -> None:
    edges = rng.integers(-1, 20, (count, width)).astype(np.int32)
    nodes = rng.permutation(count)[: int(rng.integers(1, count + 1))]
    wanted = np.stack([rng.permutation(20)[:6] for _ in nodes]).astype(np.int32)
    wanted[rng.random(wanted.shape) < 0.3] = -1
    expected = edges.tolist()
    for node, row in zip(nodes.tolist(), wanted.tolist(), strict=True):
        for j in row:
            if j >= 0 and j not in expected[node] and -1 in expected[node]:
                expected[node][expected[node].index(-1)] = j
    before = edges.copy()
    assert filled(edges, nodes, wanted).tolist() == expected
    assert np.array_equal(edges, before)
