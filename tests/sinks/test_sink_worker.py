from __future__ import annotations

import threading
import time

from bodystream.sinks import SinkWorker


def wait_for(condition, timeout_s: float = 5.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def test_newest_wins_and_the_producer_never_waits() -> None:
    seen: list[int] = []
    gate = threading.Event()

    def slow(value: int) -> None:
        gate.wait(5)
        seen.append(value)

    worker = SinkWorker("slow", slow)
    worker.publish(0)
    assert wait_for(lambda: not worker._waiting)  # the first one is being consumed
    start = time.monotonic()
    for i in range(1, 1001):
        worker.publish(i)
    assert time.monotonic() - start < 1.0  # the sink is held up all this time
    gate.set()
    assert worker.close()
    assert seen == [0, 1000]
    assert worker.dropped == 999 and worker.consumed == 2 and worker.warnings == []


def test_a_broken_sink_is_reported_once_and_tried_again() -> None:
    seen: list[int] = []

    def flaky(value: int) -> None:
        if value % 2:
            raise ValueError("no room\nfor odd numbers")
        seen.append(value)

    worker = SinkWorker("flaky", flaky)
    for i in range(6):
        worker.publish(i)
        assert wait_for(lambda n=i: worker.consumed + worker.failed == n + 1)
    assert worker.close()
    assert seen == [0, 2, 4] and worker.failed == 3
    assert worker.warnings == ["flaky: ValueError: no room for odd numbers"]


def test_a_sink_that_always_fails_is_switched_off() -> None:
    calls = 0

    def dead(_: int) -> None:
        nonlocal calls
        calls += 1
        raise OSError("gone")

    worker = SinkWorker("dead", dead, patience=3)
    for _ in range(50):
        worker.publish(1)
        time.sleep(0.002)
    assert wait_for(lambda: not worker.alive)
    worker.publish(2)  # ignored, no error
    assert worker.close()
    assert calls == 3 and worker.broken
    assert worker.warnings == ["dead: OSError: gone", "dead: RuntimeError: switched off after 3 failures in a row"]


def test_rate_is_limited() -> None:
    times: list[float] = []
    worker = SinkWorker("paced", lambda _: times.append(time.monotonic()), max_rate_hz=20)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        worker.publish(0)
        time.sleep(0.001)
    worker.close()
    gaps = [b - a for a, b in zip(times, times[1:], strict=False)][:-1]  # the last one is flushed by close
    assert gaps and min(gaps) >= 0.045


def test_a_sink_that_hangs_is_left_behind_and_said() -> None:
    gate = threading.Event()
    worker = SinkWorker("hung", lambda _: gate.wait(10) and None)
    worker.publish(0)
    assert not worker.close(timeout_s=0.1)
    assert "did not stop within 0.1 s" in worker.warnings[0]
    gate.set()
    assert wait_for(lambda: not worker.alive)
