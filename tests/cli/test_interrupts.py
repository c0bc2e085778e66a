"""The first Ctrl-C asks for an end, the second one is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from bodystream.cli.interrupts import StopOnInterrupt

ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def restored():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDS)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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


@pytest.mark.parametrize("number", ENDS)
def test_what_ends_a_service_asks_once_and_never_breaks_off_the_writing(
    number: int, request: pytest.FixtureRequest
) -> None:
    asked: list[int] = []
    for each in ENDS:  # `nohup make test` has them ignored, and what is ignored stays so
        request.addfinalizer(partial(signal.signal, each, signal.signal(each, signal.SIG_DFL)))
    before = signal.getsignal(number)
    with StopOnInterrupt(lambda: asked.append(1)) as interrupt:
        for each in (number, number, *ENDS):  # they may come together
            signal.raise_signal(each)
        assert asked == [1] and interrupt.number == number
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) == before


def test_what_was_ignored_stays_ignored() -> None:
    number = ENDS[-1]
    signal.signal(number, signal.SIG_IGN)
    with StopOnInterrupt(lambda: None) as interrupt:
        signal.raise_signal(number)
        assert not interrupt.requested


@pytest.mark.skipif(os.name == "nt", reason="a mutex of POSIX")
def test_the_third_ends_a_process_that_is_stuck_in_a_call() -> None:
    code = (
        "import ctypes, sys\n"
        "from bodystream.cli.interrupts import EndOnThirdInterrupt, StopOnInterrupt\n"
        "lib, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)\n"
        "with EndOnThirdInterrupt(), StopOnInterrupt(lambda: None):\n"
        "    lib.pthread_mutex_lock(mutex); print('stuck', flush=True); lib.pthread_mutex_lock(mutex)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"stuck\n"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
