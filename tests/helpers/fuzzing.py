"""Mutated inputs for parsers of what comes from outside: each answers or raises a `BodystreamError`, soon and small.

`make test` runs a few hundred mutations of each parser; `make fuzz` runs as many as it is asked for, by the environment
variable `BODYSTREAM_FUZZ`. Tests that call this have `fuzz` in their names.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from bodystream.errors import BodystreamError

__all__ = ["MUTATIONS", "fuzz", "fuzz_file", "mutations"]

MUTATIONS = int(os.environ.get("BODYSTREAM_FUZZ", "0") or 0)
"""Of each parser; 0 = a few hundred."""

_DEFAULT = 250
_HANG_S = 20.0
_MAX_GROWTH_BYTES = 300 << 20
_NESTED = (b"[" * 3000, b"{" * 3000, b'{"a":' * 2000, b"(" * 3000)
_LONG = (b"9" * 5000, b"a" * 5000, b"\n" * 3000)
_NUMBERS = (b"0", b"-1", b"1e400", b"-1e-400", b"nan", b"inf", b"99999999999999999999999", b"0.5")
_WORDS = (
    b"null",
    b"True",
    b"",
    b"\x00",
    b"\x1b[2J",
    b"\xff\xfe",
    b"\xf0\x9f\x98\x80",
    b"\r",
    b"\t",
    b"  ",
    b"--",
    b"%s%n",
)
_ODD = (*_NESTED, *_LONG, *_NUMBERS, *_WORDS)
_LENGTHS = (b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x01\x00\x00\x00")
_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def mutations(seeds: Sequence[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` mutations of the seeds; the same seed gives the same ones."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
            _mutate(data, rng, seeds)
        yield bytes(data)


def _mutate(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    size = len(data)
    at, length = rng.randrange(size + 1), rng.choice((1, 1, 2, 4, 8, 64, 1024))
    # Headers decide most; half of the mutations fall there.
    if rng.random() < 0.5:
        at = min(at, rng.randrange(1, 512))
    kind = rng.randrange(9)
    if kind == 0 and size:
        at = min(at, size - 1)
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[at : at + length] = rng.randbytes(length)
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = rng.choice(_ODD)
    elif kind == 4:
        del data[at:]
    elif kind == 5:
        data[at:at] = data[at : at + length] * rng.choice((1, 2, 16))
    elif kind == 6:
        other = rng.choice(seeds)
        start = rng.randrange(len(other) + 1)
        data[at : at + length] = other[start : start + length]
    elif kind == 7:
        data[at : at + 4] = rng.choice(
            (b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x01\x00\x00\x00")
        )
    else:
        found = list(_NUMBER.finditer(data[: 1 << 16]))
        if found:
            match = rng.choice(found)
            data[match.start() : match.end()] = rng.choice(_ODD)


def fuzz(parse: Callable[[bytes], object], seeds: Sequence[bytes], *, seed: int = 0, share: float = 1.0) -> None:
    """Give a parser mutations of valid inputs.

    Args:
        parse: answers or raises a `BodystreamError`.
        seeds: valid inputs; that each is read is checked first, so that the mutations start from something.
        share: of the usual number, for slow parsers; `make fuzz` does not ask.

    Raises:
        AssertionError: another exception, an input that takes over 20 s, memory that grows by over 300 MB, or a message
            that nobody could read. It holds the input's first bytes and the seed.
    """
    for valid in seeds:
        parse(valid)
    count = MUTATIONS or max(1, round(_DEFAULT * share))
    start_bytes = _reset_peak()
    for number, data in enumerate(mutations(seeds, count, seed)):
        with _limit(f"mutation {number} of seed {seed} hangs: {data[:200]!r}"):
            try:
                parse(data)
            except BodystreamError as error:
                text = str(error)
                assert len(text) < 1500 and all(c.isprintable() or c == "\n" for c in text), f"message: {text!r}"
            except (AssertionError, KeyboardInterrupt):
                raise
            except BaseException as error:
                raise AssertionError(f"mutation {number} of seed {seed}: {error!r} for {data[:300]!r}") from error
    growth = _peak() - start_bytes
    assert growth < _MAX_GROWTH_BYTES, f"memory grew by {growth >> 20} MiB over {count} mutations"


def fuzz_file(
    read: Callable[[Path], object], seeds: Sequence[bytes], path: Path, *, seed: int = 0, share: float = 1.0
) -> None:
    """The same for a reader that takes a file, which is written anew for each mutation."""

    def parse(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    fuzz(parse, seeds, seed=seed, share=share)


class _limit:
    """Fails the test where the block takes too long. Only the main thread of a POSIX system can be told."""

    def __init__(self, message: str) -> None:
        self._message = message
        self._on = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if self._on:
            # pytest-timeout uses the alarm, too; it is put back afterwards.
            self._before = signal.signal(signal.SIGALRM, self._fail)
            self._timer = signal.setitimer(signal.ITIMER_REAL, _HANG_S)

    def __exit__(self, *_: object) -> None:
        if self._on:
            signal.signal(signal.SIGALRM, self._before)
            signal.setitimer(signal.ITIMER_REAL, *self._timer)

    def _fail(self, *_: object) -> None:
        pytest.fail(self._message)


def _reset_peak() -> int:
    """Resident bytes now; the peak is counted anew from here on, where the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass
    return psutil.Process().memory_info().rss


def _peak() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return psutil.Process().memory_info().rss
