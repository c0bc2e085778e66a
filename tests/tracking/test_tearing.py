"""Edges are torn where the camera sees through them, twice, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.tracking.tearing import LOOKS, Tears, opened_edges, without_pairs
from bodystream.types import Array, CameraIntrinsics, GraphSnapshot

CAMERA = CameraIntrinsics(200.0, 200.0, 40.0, 30.0, 81, 61)
LEFT, RIGHT = 20, 60  # columns in which the two nodes are seen, 1 m away and so 20 cm apart
BETWEEN = [24, 28, 32, 36, 40, 44, 48, 52, 56]  # columns of the nine samples along their edge


def graph(positions: list[list[float]], translations: list[list[float]] | None = None) -> GraphSnapshot:
    """Nodes that are all linked to each other."""
    count = len(positions)
    edges = np.array([[j for j in range(count) if j != i] for i in range(count)], np.int32)
    moved = np.zeros((count, 3)) if translations is None else np.array(translations)
    turns = np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))
    at = np.array(positions, np.float32)
    return GraphSnapshot(0, at, turns, moved.astype(np.float32), edges, np.zeros(count, np.int32), np.ones(count, bool))


PAIR = graph([[-0.1, 0, 1], [0.1, 0, 1]])


def image(behind_m: float = 1.0, columns: list[int] | None = None) -> Array:
    """A plane 1 m away, and what is seen instead in some columns."""
    depth = np.ones((CAMERA.height, CAMERA.width), np.float32)
    depth[:, BETWEEN if columns is None else columns] = behind_m
    return depth


@pytest.mark.parametrize(
    ("depth_m", "opened"),
    [
        (image(), False),
        (image(2.0), True),
        (image(100.0), True),
        (image(1.04), False),  # less than what a bent surface may lie behind the chord
        (image(1.06), True),
        (image(0.5), False),  # something passes before it
        (image(0.0), False),  # nothing was measured
        (image(2.0, BETWEEN[3:4]), False),  # one pixel is a speck
        (image(2.0, BETWEEN[3:5]), True),
        (image(2.0, [*BETWEEN, LEFT]), False),  # who is not where the depth says is not to be judged
        (image(2.0, [*BETWEEN, RIGHT]), False),
        (image(0.0, [RIGHT]), False),
    ],
)  # fmt: skip
def test_what_an_image_says_of_an_edge(depth_m: Array, opened: bool) -> None:
    assert opened_edges(depth_m, CAMERA, PAIR).tolist() == ([[0, 1]] if opened else [])


def test_holes_between_seen_through_places_are_not_counted() -> None:
    depth = image(0.0)
    depth[:, BETWEEN[0]] = 2.0
    assert len(opened_edges(depth, CAMERA, PAIR)) == 0
    depth[:, BETWEEN[8]] = 2.0
    assert opened_edges(depth, CAMERA, PAIR).tolist() == [[0, 1]]


def test_nodes_are_looked_for_where_they_have_moved_to() -> None:
    away = [[5.0, 1, -2], [-5, 1, -2]]
    back = [[-5.1, -1, 3], [5.1, -1, 3]]
    assert opened_edges(image(2.0), CAMERA, graph(away, back)).tolist() == [[0, 1]]
    assert len(opened_edges(image(2.0), CAMERA, graph(away))) == 0, "behind the camera nothing is seen"


def test_a_node_beside_the_image_is_not_seen() -> None:
    assert len(opened_edges(image(2.0), CAMERA, graph([[-0.1, 0, 1], [0.25, 0, 1]]))) == 0


def test_only_the_edge_over_the_gap_opens_and_is_listed_once() -> None:
    """Two nodes on either side of a gap: of six pairs the four across it, each with the smaller index first."""
    four = graph([[0.1, 0, 1], [-0.1, 0, 1], [0.12, 0.05, 1], [-0.12, 0.05, 1]])
    depth = image(2.0, list(range(32, 49)))
    assert opened_edges(depth, CAMERA, four).tolist() == [[0, 1], [0, 3], [1, 2], [2, 3]]
    one_way = np.where(np.arange(4)[:, None] < four.edges, four.edges, -1)
    turned = GraphSnapshot(0, four.positions, four.rotations, four.translations, one_way, four.clusters, four.active)
    assert opened_edges(depth, CAMERA, turned).tolist() == [[0, 1], [0, 3], [1, 2], [2, 3]]


def test_a_graph_without_edges_has_none_to_open() -> None:
    lonely = GraphSnapshot(
        0, PAIR.positions, PAIR.rotations, PAIR.translations, np.full((2, 3), -1, np.int32), PAIR.clusters, PAIR.active
    )
    assert opened_edges(image(2.0), CAMERA, lonely).shape == (0, 2)


def test_an_edge_is_torn_when_it_was_open_in_looks_in_a_row() -> None:
    tears = Tears()
    shut, gap = image(), image(2.0)
    for _ in range(3):
        for _ in range(LOOKS - 1):
            assert tears.look(gap, CAMERA, PAIR) == 0
        assert tears.look(shut, CAMERA, PAIR) == 0
    assert len(tears.torn) == 0
    for look in range(LOOKS):
        assert tears.look(gap, CAMERA, PAIR) == (look == LOOKS - 1)
    assert tears.torn.tolist() == [[0, 1]] and tears.torn.dtype == np.int32
    # It stays torn, and is not torn again while the graph still has it.
    for depth in (gap, gap, gap, shut, gap, gap):
        assert tears.look(depth, CAMERA, PAIR) == 0
    assert tears.torn.tolist() == [[0, 1]]
    tears.forget()
    assert len(tears.torn) == 0
    assert tears.look(gap, CAMERA, PAIR) == 0, "what was seen before is forgotten, too"


@settings(deadline=None, max_examples=60)
@given(rng=st.integers(0, 2**32 - 1).map(np.random.default_rng), count=st.integers(2, 12), width=st.integers(1, 5))
def test_without_pairs_is_that_of_loops(rng: np.random.Generator, count: int, width: int) -> None:
    edges = rng.integers(-1, count, (count, width)).astype(np.int32)
    pairs = rng.integers(0, count, (int(rng.integers(0, 8)), 2)).astype(np.int32)
    forbidden = {frozenset(pair) for pair in pairs.tolist()}
    expected = [[-1 if frozenset((i, j)) in forbidden else j for j in row] for i, row in enumerate(edges.tolist())]
    before = edges.copy()
    found = without_pairs(edges, pairs)
    assert found.tolist() == expected and found.dtype == np.int32
    assert np.array_equal(edges, before)
    some = rng.permutation(count)[: int(rng.integers(1, count + 1))]
    assert without_pairs(edges[some], pairs, some).tolist() == [expected[i] for i in some]
