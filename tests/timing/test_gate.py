"""The gate that tells whether time goes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bodystream.timing import LONGEST_GAP_S, ClockGate

GAP_NS = round(LONGEST_GAP_S * 1e9)


def test_the_first_and_what_jumps_is_fresh() -> None:
    gate = ClockGate()
    assert gate.step(10**9).fresh
    tick = gate.step(10**9 + 11_000_000)
    assert not tick.fresh and abs(tick.seconds - 0.011) < 1e-12
    assert not gate.ask(tick.t_ns + GAP_NS).fresh
    assert gate.ask(tick.t_ns + GAP_NS + 1).fresh and gate.ask(tick.t_ns + GAP_NS + 1).seconds == 0.0
    assert gate.ask(tick.t_ns - 1).fresh
    assert not gate.ask(tick.t_ns).fresh and gate.ask(tick.t_ns).seconds == 0.0
    gate.reset()
    assert gate.step(tick.t_ns + 1).fresh


def test_asking_leaves_no_trace() -> None:
    gate = ClockGate()
    gate.step(0)
    gate.ask(10**12)
    assert not gate.ask(GAP_NS).fresh
    gate.accept(gate.ask(10**12))
    assert gate.ask(GAP_NS).fresh


@given(st.lists(st.integers(-(10**10), 10**10), min_size=1, max_size=30))
def test_seconds_are_within_the_gap(times: list[int]) -> None:
    gate = ClockGate()
    for before, t_ns in zip([None, *times], times, strict=False):
        tick = gate.step(t_ns)
        assert 0.0 <= tick.seconds <= LONGEST_GAP_S
        assert tick.fresh is (before is None or not 0 <= t_ns - before <= GAP_NS)
