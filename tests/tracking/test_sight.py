"""Nodes are lost that have been far from all that is seen for too long, or have moved too much against it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.tracking.sight import FOUND_M, Sight, found_again, nearest_seen, seen_nodes
from bodystream.types import Array, CameraIntrinsics

STEP_M = 0.05
FRAME_NS = 100_000_000


def chain(count: int) -> tuple[Array, Array]:
    """Nodes every 5 cm along a line, each linked to the next one only."""
    positions = np.zeros((count, 3), np.float32)
    positions[:, 0] = STEP_M * np.arange(count)
    edges = np.full((count, 2), -1, np.int32)
    edges[:-1, 0] = np.arange(1, count)
    return positions, edges


def looked(sight: Sight, t_ns: int, nodes: Array, positions: Array, edges: Array, live: Array) -> Array:
    """What is lost when an image shows the nodes."""
    return sight.look(t_ns, seen_nodes(nodes, len(positions)), positions, edges, live)


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
    found, nearest = nearest_seen(positions, edges, seen)
    assert found.shape == nearest.shape == (count,)
    assert np.array_equal(np.isinf(found), np.isinf(expected))
    reached = np.isfinite(expected)
    np.testing.assert_allclose(found[reached], expected[reached], atol=1e-5)
    assert np.array_equal(nearest >= 0, reached) and seen[nearest[reached]].all()
    assert (nearest[seen] == np.flatnonzero(seen)).all()


def test_the_way_is_that_along_the_graph() -> None:
    """Both ends of a horseshoe are 5 cm apart, and one is 20 cm away from the other along it."""
    positions = np.array([[0, 0, 0], [0.075, 0, 0], [0.075, 0.05, 0], [0, 0.05, 0]], np.float32)
    edges = np.array([[1, -1], [2, -1], [3, -1], [-1, -1]], np.int32)
    found, nearest = nearest_seen(positions, edges, np.array([True, False, False, False]))
    np.testing.assert_allclose(found, [0, 0.075, 0.125, 0.2], atol=1e-6)
    assert nearest.tolist() == [0, 0, 0, 0]


def test_islands_are_infinitely_far() -> None:
    positions, edges = chain(6)
    edges[2] = -1
    far, nearest = nearest_seen(positions, edges, np.arange(6) == 0)
    assert np.isfinite(far[:3]).all() and np.isinf(far[3:]).all()
    assert nearest.tolist() == [0, 0, 0, -1, -1, -1]
    far, nearest = nearest_seen(positions, edges, np.zeros(6, bool))
    assert np.isinf(far).all() and (nearest == -1).all()
    none = nearest_seen(np.zeros((0, 3), np.float32), np.zeros((0, 8), np.int32), np.zeros(0, bool))
    assert [part.shape for part in none] == [(0,), (0,)]


def test_what_is_far_from_all_that_is_seen_is_lost_after_a_while() -> None:
    """Reach 12 cm: the two nodes next to the one that is seen, 5 and 10 cm away, are kept, and the third is not."""
    positions, edges = chain(5)
    sight = Sight(patience_s=0.4, reach_m=0.12)
    for frame in range(5):
        assert not looked(sight, frame * FRAME_NS, owners(1), positions, edges, positions).any(), "within the patience"
    for frame in range(5, 8):
        assert looked(sight, frame * FRAME_NS, owners(1), positions, edges, positions).tolist() == [False] * 4 + [True]
    assert not looked(sight, 8 * FRAME_NS, owners(1, 4), positions, edges, positions).any(), "it is seen again"
    # And its patience begins anew.
    for frame in range(9, 13):
        assert not looked(sight, frame * FRAME_NS, owners(1), positions, edges, positions).any()
    assert looked(sight, 13 * FRAME_NS, owners(1), positions, edges, positions)[4]


def test_islands_that_are_not_seen_are_lost() -> None:
    positions, edges = chain(4)
    edges[1] = -1
    sight = Sight(patience_s=0.4, reach_m=0.12)
    looked(sight, 0, owners(0, 3), positions, edges, positions)
    assert looked(sight, 5 * FRAME_NS, owners(0), positions, edges, positions).tolist() == [False, False, True, True]


def test_new_nodes_count_as_seen() -> None:
    positions, edges = chain(8)
    sight = Sight(patience_s=0.4, reach_m=0.12)
    looked(sight, 0, owners(0), positions[:4], edges[:4] % 4, positions[:4])
    late = 10 * FRAME_NS
    # Nodes 4 to 7 are new; node 3 has been out of reach since the beginning.
    assert looked(sight, late, owners(0), positions, edges, positions).tolist() == [False] * 3 + [True] + [False] * 4
    assert not looked(sight, late + 4 * FRAME_NS, owners(0), positions, edges, positions)[4:].any()
    assert (
        looked(sight, late + 5 * FRAME_NS, owners(0), positions, edges, positions).tolist() == [False] * 3 + [True] * 5
    )


@pytest.mark.parametrize("nobody", [owners(), owners(7, 9)])
def test_a_frame_in_which_no_node_is_seen_counts_against_all(nobody: Array) -> None:
    """Owners may name nodes of a graph that has been replaced by a smaller one."""
    positions, edges = chain(3)
    sight = Sight()
    assert not looked(sight, 0, nobody, positions, edges, positions).any()
    assert looked(sight, 5 * FRAME_NS, nobody, positions, edges, positions).all()


def test_a_graph_that_begins_anew_is_seen() -> None:
    positions, edges = chain(5)
    sight = Sight(patience_s=0.4, reach_m=0.12)
    looked(sight, 0, owners(0), positions, edges, positions)
    sight.forget()
    assert not looked(sight, 10 * FRAME_NS, owners(0), positions, edges, positions).any()
    # One that shrinks keeps what is known of the nodes that are left.
    found = looked(
        sight, 15 * FRAME_NS, owners(0), positions[:4], np.where(edges[:4] < 4, edges[:4], -1), positions[:4]
    )
    assert found.tolist() == [False, False, False, True]


def swung(positions: Array, first: int, by_m: float) -> Array:
    """The nodes from `first` on, moved aside."""
    live = positions.copy()
    live[first:, 1] += by_m
    return live


def test_what_moves_out_of_sight_against_what_is_seen_is_lost_at_once() -> None:
    """Nodes 5, 10 and 15 cm from the last one that is seen swing by 8 cm: the first is near enough to be known."""
    positions, edges = chain(5)
    sight = Sight(patience_s=10.0, reach_m=0.12, drift_m=0.07, near_m=0.09)
    looked(sight, 0, owners(0, 1), positions, edges, positions)
    for frame, by_m in enumerate([0.02, 0.04, 0.06], 1):
        assert not looked(sight, frame * FRAME_NS, owners(0, 1), positions, edges, swung(positions, 2, by_m)).any()
        np.testing.assert_allclose(sight.drift_m, [0, 0, by_m, by_m, by_m], atol=1e-6)
    found = looked(sight, 4 * FRAME_NS, owners(0, 1), positions, edges, swung(positions, 2, 0.08))
    assert found.tolist() == [False, False, False, True, True]
    np.testing.assert_allclose(sight.far_m, [0, 0, 0.05, 0.1, 0.15], atol=1e-6)
    # To and fro is no way back: what was guessed twice is not known better.
    looked(sight, 5 * FRAME_NS, owners(0, 1), positions, edges, positions)
    np.testing.assert_allclose(sight.drift_m[2:], 0.16, atol=1e-6)
    assert not looked(sight, 6 * FRAME_NS, owners(0, 1, 4), positions, edges, positions)[4], "it is seen again"
    assert sight.drift_m[4] == 0.0


def test_what_moves_with_what_is_seen_is_kept() -> None:
    positions, edges = chain(5)
    sight = Sight(patience_s=10.0)
    for frame in range(10):
        live = positions + np.float32([0.1 * frame, 0, 0])
        assert not looked(sight, frame * FRAME_NS, owners(0), positions, edges, live).any()
    np.testing.assert_allclose(sight.drift_m, 0.0, atol=1e-5)


def test_islands_drift_by_all_their_motion() -> None:
    positions, edges = chain(4)
    edges[1] = -1
    sight = Sight(patience_s=10.0)
    looked(sight, 0, owners(0, 3), positions, edges, positions)
    found = looked(sight, FRAME_NS, owners(0), positions, edges, swung(positions, 2, 0.08))
    assert found.tolist() == [False, False, True, True]
    np.testing.assert_allclose(sight.drift_m, [0, 0, 0.08, 0.08], atol=1e-6)


def test_against_a_node_that_was_just_added_nothing_is_known_to_move() -> None:
    """Node 4 comes where it is seen, next to node 3, whose nearest was node 0 until then."""
    positions, edges = chain(5)
    sight = Sight(patience_s=10.0)
    looked(sight, 0, owners(0), positions[:4], np.where(edges[:4] < 4, edges[:4], -1), positions[:4])
    looked(sight, FRAME_NS, owners(0, 4), positions, edges, positions + np.float32([0.3, 0, 0]))
    np.testing.assert_allclose(sight.drift_m, 0.0, atol=1e-6)


def test_lost_nodes_are_found_where_the_camera_sees_surface_at_their_place() -> None:
    """A wall at 2 m is foreground in the left half of the image; nodes lie on it, near it and elsewhere."""
    camera = CameraIntrinsics(100.0, 100.0, 31.5, 23.5, 64, 48)
    depth_m = np.full((48, 64), 2.0, np.float32)
    mask = np.zeros(depth_m.shape, bool)
    mask[:, :32] = True
    near, far = 2.0 - 0.9 * FOUND_M, 2.0 + 0.9 * FOUND_M
    live = np.array(
        [[-0.2, 0, 2], [-0.2, 0.1, near], [-0.2, 0, far], [-0.2, 0, 2 - 1.1 * FOUND_M], [-0.2, 0, 2 + 1.1 * FOUND_M]]
        + [[0.2, 0, 2], [-1.0, 0, 2], [0, 3.0, 2], [-0.2, 0, -2], [0, 0, 0]],
        np.float32,
    )
    on_the_wall = [True] * 3 + [False] * 7
    assert found_again(np.ones(10, bool), live, depth_m, mask, camera).tolist() == on_the_wall
    lost = np.array([False, True, False, True])
    assert found_again(lost, live, depth_m, mask, camera).tolist() == [False, True] + [False] * 8, (
        "others were not lost"
    )
    assert not found_again(np.zeros(0, bool), live, depth_m, mask, camera).any()
    assert not found_again(np.ones(10, bool), live, np.zeros_like(depth_m), mask, camera).any()
