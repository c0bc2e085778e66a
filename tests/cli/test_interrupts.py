"""The first Ctrl-C asks for an end, the second one is one."""

from __future__ import annotations

import signal
import threading

import pytest

from bodystream.cli.interrupts import StopOnInterrupt


@pytest.fixture(autouse=True)
def restored():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_first_asks_and_the_second_raises() -> None:
    asked: list[int] = []
    with StopOnInterrupt(lambda: asked.append(1)) as interrupt:
        assert not interrupt.requested
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested and asked == [1]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert asked == [1]
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "a third one ends the process"


def test_the_handler_from_before_comes_back() -> None:
    def mine(*_: object) -> None:
        return None

    signal.signal(signal.SIGINT, mine)
    with StopOnInterrupt(lambda: None):
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is not mine
    assert signal.getsignal(signal.SIGINT) is mine
    with pytest.raises(ValueError, match="broken"), StopOnInterrupt(lambda: None):
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is mine


def test_an_end_by_the_second_one_leaves_the_systems_own_way() -> None:
    with pytest.raises(KeyboardInterrupt), StopOnInterrupt(lambda: None):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL


def test_other_threads_change_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with StopOnInterrupt(lambda: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
