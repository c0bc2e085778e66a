"""The table of blocks against a dictionary."""

from __future__ import annotations

import numpy as np
import warp as wp
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.device import launch, select_device
from bodystream.fusion.blocks_kernels import COMPLETE, MISSING, UNREACHED, find_missing
from bodystream.fusion.directory import BlockDirectory

COORDINATE = st.integers(-60, 60)
BLOCKS = st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), max_size=30)


def directory(**options: int) -> BlockDirectory:
    return BlockDirectory(select_device("cpu"), **options)


@settings(max_examples=60, deadline=None)
@given(st.lists(BLOCKS, max_size=5))
def test_agrees_with_a_dictionary(batches: list[list[tuple[int, int, int]]]) -> None:
    d = directory(capacity=4, edge=8, max_edge=256)
    known: set[tuple[int, int, int]] = set()
    for batch in batches:
        blocks = np.array(batch, np.int64).reshape(-1, 3)
        new = d.insert(blocks)
        assert new == len(set(batch) - known)
        known |= set(batch)
        assert d.count == len(known)
        # Slots stay, are unique, and the device sees what the host sees.
        assert {tuple(c) for c in d.host_coords.tolist()} == known
        np.testing.assert_array_equal(d.find(d.host_coords), np.arange(d.count))
        np.testing.assert_array_equal(d.blocks.coords.numpy()[: d.count].reshape(-1, 3), d.host_coords)
        local = d.host_coords - np.array([d.blocks.origin[i] for i in range(3)])
        if d.count:
            np.testing.assert_array_equal(d.blocks.table.numpy()[tuple(local.T)], np.arange(d.count))
        assert (d.blocks.table.numpy() >= 0).sum() == d.count
    absent = np.array([[61, 0, 0], [1000, -1000, 5]])
    np.testing.assert_array_equal(d.find(absent), [-1, -1])
    assert d.refused == 0


def test_refuses_what_does_not_fit_and_counts_it() -> None:
    d = directory(capacity=4, edge=8, max_edge=16)
    assert d.insert(np.array([[0, 0, 0], [1, 0, 0]])) == 2
    assert d.insert(np.array([[500, 0, 0], [2, 0, 0]])) == 1
    assert d.refused == 1 and d.count == 3
    few = directory(capacity=2, max_blocks=5)
    line = np.stack([np.arange(9), np.zeros(9), np.zeros(9)], axis=1).astype(np.int64)
    assert few.insert(line) == 5
    assert few.refused == 4 and few.count == 5
    assert few.insert(line[:5]) == 0


def test_inserts_every_block_that_a_box_touches() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(-0.3, 0.3, (50, 3))
    d = directory(edge=8)
    d.insert_around(points, 0.03, 0.064)
    low, high = np.floor((points - 0.03) / 0.064).astype(int), np.floor((points + 0.03) / 0.064).astype(int)
    wanted = {
        (x, y, z)
        for a, b in zip(low, high, strict=True)
        for x in range(a[0], b[0] + 1)
        for y in range(a[1], b[1] + 1)
        for z in range(a[2], b[2] + 1)
    }
    assert {tuple(c) for c in d.host_coords.tolist()} == wanted
    device = select_device("cpu")
    more = np.concatenate([points, [[0.5, 0.0, 0.0]]]).astype(np.float32)
    found = wp.zeros(len(more), dtype=wp.vec4, device=device)
    valid = wp.array(np.arange(len(more)) != 7, dtype=wp.int32, device=device)
    inputs = [wp.array(more, dtype=wp.vec3, device=device), valid, d.blocks, 0.064, 0.0299, found]
    launch(find_missing, len(more), inputs, device)
    np.testing.assert_array_equal(found.numpy()[:, :3], more)
    states = [COMPLETE] * 50 + [MISSING]
    states[7] = UNREACHED
    np.testing.assert_array_equal(found.numpy()[:, 3], states)


def test_ignores_points_that_are_not_finite() -> None:
    d = directory()
    assert d.insert_around(np.array([[np.nan, 0, 0], [np.inf, 0, 1]]), 0.03, 0.064) == 0
    assert d.count == 0


def test_clear_forgets() -> None:
    d = directory()
    d.insert(np.array([[3, 4, 5]]))
    d.clear()
    assert d.count == 0
    np.testing.assert_array_equal(d.find(np.array([[3, 4, 5]])), [-1])
    assert d.insert(np.array([[3, 4, 5]])) == 1
