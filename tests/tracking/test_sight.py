"""Nodes that have been far from all that is seen for too long are lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.tracking.sight import Sight, distance_to_seen_m
from bodystream.types import Array

STEP_M = 0.05
FRAME_NS = 100_000_000


def chain(count: int) -> tuple[Array, Array]:
    """Nodes every 5 cm along a line, each linked to the next one only."""
    positions = np.zeros((count, 3), np.float32)
    positions[:, 0] = STEP_M * np.arange(count)
    edges = np.full((count, 2), -1, np.int32)
    edges[:-1, 0] = np.arange(1, count)
    return positions, edges


def owners(*nodes: int) -> Array:
    """(3, 4) cells in which these nodes are seen."""
    cells = np.full(12, -1, np.int32)
    cells[2 : 2 + len(nodes)] = nodes
    return cells.reshape(3, 4)


@settings(deadline=None, max_examples=60)
@given(rng=st.integers(0, 2**32 - 1).map(np.random.default_rng), count=st.integers(1, 15), share=st.floats(0, 1))
def test_distances_are_those_of_relaxation(rng: np.random.Generator, count: int, share: float) -> None:
    """Bellman and Ford by loops; edges count in both directions, though only one of two nodes may have them."""
    positions = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
    every = np.array([rng.permutation(count) for _ in range(count)], np.int32)
    edges = np.where(rng.random(every.shape) < 0.15, every, -1)
    seen = rng.random(count) < share
    expected = np.where(seen, 0.0, np.inf)
    for _ in range(count):
        for i, row in enumerate(edges.tolist()):
            for j in (j for j in row if j >= 0):
                length = float(np.linalg.norm(positions[i].astype(float) - positions[j]))
                expected[i] = min(expected[i], expected[j] + length)
                expected[j] = min(expected[j], expected[i] + length)
    found = distance_to_seen_m(positions, edges, seen)
    assert found.shape == (count,)
    assert np.array_equal(np.isinf(found), np.isinf(expected))
    reached = np.isfinite(expected)
    np.testing.assert_allclose(found[reached], expected[reached], atol=1e-5)


def test_the_way_is_that_along_the_graph() -> None:
    """Both ends of a horseshoe are 5 cm apart, and one is 20 cm away from the other along it."""
    positions = np.array([[0, 0, 0], [0.075, 0, 0], [0.075, 0.05, 0], [0, 0.05, 0]], np.float32)
    edges = np.array([[1, -1], [2, -1], [3, -1], [-1, -1]], np.int32)
    found = distance_to_seen_m(positions, edges, np.array([True, False, False, False]))
    np.testing.assert_allclose(found, [0, 0.075, 0.125, 0.2], atol=1e-6)


def test_islands_are_infinitely_far() -> None:
    positions, edges = chain(6)
    edges[2] = -1
    far = distance_to_seen_m(positions, edges, np.arange(6) == 0)
    assert np.isfinite(far[:3]).all() and np.isinf(far[3:]).all()
    assert np.isinf(distance_to_seen_m(positions, edges, np.zeros(6, bool))).all()
    assert distance_to_seen_m(np.zeros((0, 3), np.float32), np.zeros((0, 8), np.int32), np.zeros(0, bool)).shape == (0,)


def test_what_is_far_from_all_that_is_seen_is_lost_after_a_while() -> None:
    """Reach 12 cm: the two nodes next to the one that is seen, 5 and 10 cm away, are kept, and the third is not."""
    positions, edges = chain(5)
    sight = Sight(patience_s=0.4, reach_m=0.12)
    for frame in range(5):
        assert not sight.look(frame * FRAME_NS, owners(1), positions, edges).any(), "within the patience"
    for frame in range(5, 8):
        assert sight.look(frame * FRAME_NS, owners(1), positions, edges).tolist() == [False] * 4 + [True]
    assert not sight.look(8 * FRAME_NS, owners(1, 4), positions, edges).any(), "it is seen again"
    # And its patience begins anew.
    for frame in range(9, 13):
        assert not sight.look(frame * FRAME_NS, owners(1), positions, edges).any()
    assert sight.look(13 * FRAME_NS, owners(1), positions, edges)[4]


def test_islands_that_are_not_seen_are_lost() -> None:
    positions, edges = chain(4)
    edges[1] = -1
    sight = Sight(patience_s=0.4, reach_m=0.12)
    sight.look(0, owners(0, 3), positions, edges)
    assert sight.look(5 * FRAME_NS, owners(0), positions, edges).tolist() == [False, False, True, True]


def test_new_nodes_count_as_seen() -> None:
    positions, edges = chain(8)
    sight = Sight(patience_s=0.4, reach_m=0.12)
    sight.look(0, owners(0), positions[:4], edges[:4] % 4)
    late = 10 * FRAME_NS
    # Nodes 4 to 7 are new; node 3 has been out of reach since the beginning.
    assert sight.look(late, owners(0), positions, edges).tolist() == [False] * 3 + [True] + [False] * 4
    assert not sight.look(late + 4 * FRAME_NS, owners(0), positions, edges)[4:].any()
    assert sight.look(late + 5 * FRAME_NS, owners(0), positions, edges).tolist() == [False] * 3 + [True] * 5


@pytest.mark.parametrize("nobody", [owners(), owners(7, 9)])
def test_a_frame_in_which_no_node_is_seen_counts_against_all(nobody: Array) -> None:
    """Owners may name nodes of a graph that has been replaced by a smaller one."""
    positions, edges = chain(3)
    sight = Sight()
    assert not sight.look(0, nobody, positions, edges).any()
    assert sight.look(5 * FRAME_NS, nobody, positions, edges).all()


def test_a_graph_that_begins_anew_is_seen() -> None:
    positions, edges = chain(5)
    sight = Sight()
    sight.look(0, owners(0), positions, edges)
    sight.forget()
    assert not sight.look(10 * FRAME_NS, owners(0), positions, edges).any()
    # One that shrinks keeps what is known of the nodes that are left.
    found = sight.look(15 * FRAME_NS, owners(0), positions[:4], np.where(edges[:4] < 4, edges[:4], -1))
    assert found.tolist() == [False, False, False, True]
