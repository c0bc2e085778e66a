"""Which files of two folders belong together: by name, by number, by time, or in their order.

One name in common decides nothing. The first way that pairs nearly all of the smaller folder is taken, else the one
that pairs most, and that only if it pairs half; what is neither name nor number is said.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.sources.layouts.names import NameNumbers

__all__ = ["MAX_DIFFERENCE_NS", "Matches", "match_files", "mutually_nearest", "told_of_few"]

MAX_DIFFERENCE_NS = 20_000_000
"""Between the images of one frame, as in the TUM benchmark's associate.py."""

_NEARLY_ALL = 0.8
_ENOUGH = 0.5
_FEWEST = 0.1
_FASTER = 1.5


@dataclass(frozen=True, slots=True)
class Matches:
    """Two folders, paired.

    Attributes:
        pairs: index of the first and of the second folder's file, in order of the first; None for what has no partner.
        notes: what the user should know.
    """

    pairs: tuple[tuple[int | None, int | None], ...]
    notes: tuple[str, ...] = ()


def match_files(
    depth: Sequence[Path], colour: Sequence[Path], depth_names: NameNumbers, colour_names: NameNumbers
) -> Matches:
    """Pair depth with colour, both in natural order.

    Raises:
        InputError: nothing pairs them, or next to nothing.
    """
    where = f"{depth[0].parent} and {colour[0].parent}"
    smaller = min(len(depth), len(colour))
    best: dict[int, int] = {}
    said = ""
    for how, found in _ways(depth, colour, depth_names, colour_names):
        if len(found) > len(best):
            best, said = found, how
        if len(found) >= _NEARLY_ALL * smaller:
            break
    notes: list[str] = []
    if len(best) < max(_ENOUGH * smaller, min(2, smaller)):
        if len(depth) != len(colour):
            common = f"only {len(best)} colour files have" if best else "no colour file has"
            raise InputError(
                f"{where}: {common} the name, number or time of a depth file, and their counts differ "
                f"({len(colour)} and {len(depth)}): name the two files of a frame alike"
            )
        notes.append(f"{where}: the names do not agree, so files are paired in their order")
        best = {index: index for index in range(len(depth))}
    elif said:
        notes.append(f"{where}: files are paired by {said}")
    notes += told_of_few(where, len(best), len(depth))
    pairs: list[tuple[int | None, int | None]] = [(index, best.get(index)) for index in range(len(depth))]
    pairs, faster = _with_the_rest(pairs, len(colour))
    if faster:
        notes.append(f"{where}: {faster} colour images have no depth image, as of a faster camera, and are not used")
    return Matches(tuple(pairs), tuple(notes))


def told_of_few(where: str, paired: int, count: int) -> list[str]:
    """What to say where most depth images have no colour image.

    Raises:
        InputError: nearly all of them have none.
    """
    if paired >= _ENOUGH * count:
        return []
    text = f"{where}: only {paired} of {count} depth images have a colour image"
    if count > 3 and paired < max(2, _FEWEST * count):
        raise InputError(f"{text}: pair them again, or rename the colour folder (or list) to use depth alone")
    return [f"{text}, and the others are left out: rename the colour folder to use depth alone"]


def mutually_nearest(a_ns: Sequence[int], b_ns: Sequence[int], limit_ns: int = MAX_DIFFERENCE_NS) -> dict[int, int]:
    """Pairs of times [ns] that are each other's nearest and at most `limit_ns` apart: index of `a` to index of `b`."""
    if not len(a_ns) or not len(b_ns):
        return {}
    a, b = np.asarray(a_ns, np.int64), np.asarray(b_ns, np.int64)
    a_order, b_order = np.argsort(a, kind="stable"), np.argsort(b, kind="stable")
    a, b = a[a_order], b[b_order]
    to_b, to_a = _nearest(b, a), _nearest(a, b)
    return {
        int(a_order[i]): int(b_order[j])
        for i, j in enumerate(to_b.tolist())
        if to_a[j] == i and abs(int(b[j]) - int(a[i])) <= limit_ns
    }


def _nearest(ordered_ns: np.ndarray, wanted_ns: np.ndarray) -> np.ndarray:
    if len(ordered_ns) == 1:
        return np.zeros(len(wanted_ns), np.int64)
    right = np.clip(np.searchsorted(ordered_ns, wanted_ns), 1, len(ordered_ns) - 1)
    # Differences of times of any size do not overflow as unsigned numbers.
    to_left = wanted_ns.astype(np.uint64) - ordered_ns[right - 1].astype(np.uint64)
    to_right = ordered_ns[right].astype(np.uint64) - wanted_ns.astype(np.uint64)
    before, after = wanted_ns <= ordered_ns[right - 1], wanted_ns >= ordered_ns[right]
    return np.where(before | (~after & (to_left <= to_right)), right - 1, right)


def _ways(
    depth: Sequence[Path], colour: Sequence[Path], depth_names: NameNumbers, colour_names: NameNumbers
) -> Iterator[tuple[str, dict[int, int]]]:
    """How to say it (empty where it needs no words) and the pairs, the plainest way first."""
    yield "", _equal([path.stem for path in depth], [path.stem for path in colour])
    a, b = depth_names, colour_names
    if a.times_ns is not None and b.times_ns is not None:
        limit_ns = max(MAX_DIFFERENCE_NS, _half_step(a.times_ns), _half_step(b.times_ns))
        yield "the times in their names", mutually_nearest(a.times_ns, b.times_ns, limit_ns)
    if a.running is not None and b.running is not None:
        yield "", _equal(a.columns[a.running], b.columns[b.running])
    for back in range(1, min(len(a.columns), len(b.columns)) + 1):
        yield "", _equal(a.columns[-back], b.columns[-back])
    for column in range(min(len(a.columns), len(b.columns))):
        yield "", _equal(a.columns[column], b.columns[column])


def _equal(a: Sequence[object], b: Sequence[object]) -> dict[int, int]:
    places = {key: index for index, key in enumerate(b)}
    if len(places) != len(b) or len(set(a)) != len(a):
        return {}
    return {index: places[key] for index, key in enumerate(a) if key in places}


def _half_step(times_ns: Sequence[int]) -> int:
    steps = [b - a for a, b in zip(times_ns, times_ns[1:], strict=False)]
    return int(statistics.median_low(steps)) // 2 if steps else 0


def _with_the_rest(
    pairs: list[tuple[int | None, int | None]], colour_count: int
) -> tuple[list[tuple[int | None, int | None]], int]:
    """Colour without depth put where it belongs in order; left out, and counted, where colour is the faster camera."""
    used = {j for _, j in pairs if j is not None}
    last = max(used, default=-1)
    faster = colour_count >= _FASTER * len(pairs)
    result: list[tuple[int | None, int | None]] = []
    upcoming, left_out = 0, 0
    for i, j in [*pairs, (None, colour_count)]:
        if j is not None:
            for k in range(upcoming, j):
                if k in used:
                    continue
                if faster and k < last:
                    left_out += 1
                else:
                    result.append((None, k))
            upcoming = max(upcoming, j + 1)
        if i is not None:
            result.append((i, j))
    return result, left_out
