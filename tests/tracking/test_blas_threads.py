"""Solving leaves the number of BLAS threads, which is the process's, as it was: also where several solve at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from bodystream.tracking import linear
from helpers.solver_problems import PLAIN, SolverCase, random_problem


def test_solvers_at_once_limit_blas_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second limit that begins within a first one would keep the first one's number for the rest of the process."""
    together = threading.Barrier(2)
    met, limits = [], []

    class Limits:
        @contextmanager
        def limit(self, **_: Any) -> Iterator[None]:
            limits.append(threading.get_ident())
            try:
                together.wait(0.2)
                met.append(threading.get_ident())
            except threading.BrokenBarrierError:
                together.reset()
            yield

    cases = [SolverCase(random_problem(seed), replace(PLAIN, linear="direct", iterations=1)) for seed in (1, 2)]
    monkeypatch.setattr(linear, "_blas", Limits())
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(case.solve) for case in cases]:
            done.result()
    assert len(set(limits)) == 2 and met == []
