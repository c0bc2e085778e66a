"""The newest value wins, nothing that was not taken is lost without being counted, and nobody waits for ever."""

from __future__ import annotations

import threading
import time

import pytest

from bodystream.timing import Slot, now_ns

PATIENCE_S = 20.0  # a bound for threads that would otherwise hang the run; never reached when all is well


def run_thread(target) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def join(thread: threading.Thread) -> None:
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_the_newest_value_wins_and_the_others_are_counted() -> None:
    slot: Slot[int] = Slot()
    for value in (1, 2, 3):
        slot.put(value)
    assert slot.take() == 3
    assert (slot.put_count, slot.drop_count) == (3, 2)


def test_a_value_is_taken_once() -> None:
    slot: Slot[int] = Slot()
    slot.put(0)  # a falsy value is a value
    assert slot.take(timeout_s=1.0) == 0
    with pytest.raises(TimeoutError, match="0.01 s"):
        slot.take(timeout_s=0.01)


def test_timeout_waits_that_long() -> None:
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        Slot[int]().take(timeout_s=0.05)
    assert time.monotonic() - begin >= 0.05


def test_close_ends_the_stream_after_the_last_value() -> None:
    slot: Slot[str] = Slot()
    slot.put("last")
    slot.close()
    assert slot.closed
    assert slot.take() == "last"
    assert slot.take() is None
    assert slot.take() is None


def test_close_wakes_a_waiting_consumer() -> None:
    slot: Slot[int] = Slot()
    taken: list[int | None] = []
    thread = run_thread(lambda: taken.append(slot.take()))
    slot.close()
    join(thread)
    assert taken == [None]


def test_the_producers_error_comes_after_its_last_value() -> None:
    slot: Slot[int] = Slot()
    slot.put(5)
    slot.close(OSError("unplugged"))
    assert slot.take() == 5
    for _ in range(2):
        with pytest.raises(OSError, match="unplugged"):
            slot.take()


def test_a_lossless_producer_waits_for_the_consumer() -> None:
    slot: Slot[int] = Slot()
    count = 500
    taken: list[int] = []

    def produce() -> None:
        for value in range(count):
            assert slot.put_when_empty(value)
        slot.close()

    thread = run_thread(produce)
    while (value := slot.take(timeout_s=PATIENCE_S)) is not None:
        taken.append(value)
    join(thread)
    assert taken == list(range(count))
    assert (slot.put_count, slot.drop_count) == (count, 0)


def test_close_frees_a_waiting_producer() -> None:
    slot: Slot[int] = Slot()
    slot.put(1)
    results: list[bool] = []
    thread = run_thread(lambda: results.append(slot.put_when_empty(2)))
    slot.close()
    join(thread)
    assert results == [False]
    assert slot.put_count == 1


def test_a_slow_consumer_skips_and_every_value_is_taken_or_counted() -> None:
    slot: Slot[int] = Slot()
    count = 2000
    taken: list[int] = []

    def produce() -> None:
        for value in range(count):
            slot.put(value)
        slot.close()

    thread = run_thread(produce)
    while (value := slot.take(timeout_s=PATIENCE_S)) is not None:
        taken.append(value)
        time.sleep(1e-4)
    join(thread)
    assert taken == sorted(set(taken))
    assert taken[-1] == count - 1
    assert slot.put_count == count
    assert slot.drop_count == count - len(taken)


def test_many_consumers_share_the_values() -> None:
    slot: Slot[int] = Slot()
    taken: list[int] = []

    def consume() -> None:
        while (value := slot.take(timeout_s=PATIENCE_S)) is not None:
            taken.append(value)

    threads = [run_thread(consume) for _ in range(3)]
    for value in range(300):
        assert slot.put_when_empty(value)
    slot.close()
    for thread in threads:
        join(thread)
    assert sorted(taken) == list(range(300))


def test_the_clock_never_goes_back() -> None:
    times = [now_ns() for _ in range(1000)]
    assert times == sorted(times)
    assert isinstance(times[0], int)
