"""Percentiles agree with numpy's over the last values, and memory stays bounded."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodystream.timing import Spans

durations = st.lists(st.integers(0, 10**10), min_size=1, max_size=80)


@given(values=durations, window=st.integers(1, 50))
def test_percentiles_are_those_of_the_last_values(values: list[int], window: int) -> None:
    spans = Spans(window=window)
    for value in values:
        spans.add("solve", value)
    summary = spans.summary()["solve"]
    expected = np.percentile(np.array(values[-window:]) / 1e6, (50, 95, 99))
    np.testing.assert_allclose([summary.p50_ms, summary.p95_ms, summary.p99_ms], expected, rtol=1e-12, atol=1e-12)
    assert summary.count == len(values)


def test_stages_keep_the_order_in_which_they_came() -> None:
    spans = Spans()
    for stage in ("source", "flow", "solve", "flow", "source"):
        spans.add(stage, 1)
    assert list(spans.summary()) == ["source", "flow", "solve"]
    spans.reset()
    assert spans.summary() == {}


def test_measure_times_the_block() -> None:
    spans = Spans()
    with spans.measure("sleep"):
        time.sleep(0.02)
    assert 20.0 <= spans.summary()["sleep"].p50_ms < 5000.0


def test_a_block_that_raises_is_not_counted() -> None:
    spans = Spans()
    with pytest.raises(KeyError), spans.measure("broken"):
        raise KeyError
    assert spans.summary() == {}


def test_memory_does_not_grow_with_the_number_of_frames() -> None:
    import tracemalloc

    spans = Spans(window=256)
    for _ in range(256):
        spans.add("stage", 1000)
    tracemalloc.start()
    for _ in range(20_000):
        spans.add("stage", 1000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 20_000  # less than a byte a frame
    assert spans.summary()["stage"].count == 20_256


def test_threads_lose_no_span() -> None:
    spans = Spans(window=16)

    def add() -> None:
        for _ in range(2000):
            spans.add("shared", 5_000_000)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    summary = spans.summary()["shared"]
    assert summary.count == 8000
    assert summary.p99_ms == pytest.approx(5.0)
