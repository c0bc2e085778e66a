"""Runs the suites that are asked for."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence

import warp as wp

from bodystream.errors import ConfigurationError
from bodystream_bench.measuring import Context
from bodystream_bench.metrics import Metric

__all__ = ["SUITES", "run_suites"]

# First word of the keys, and the module with `run(context)` that measures them.
SUITES = {
    "solver": "bodystream_bench.suites.solver",
    "icp": "bodystream_bench.suites.icp",
    "skinning": "bodystream_bench.suites.skinning",
    "fusion": "bodystream_bench.suites.fusion",
    "flow": "bodystream_bench.suites.flow",
    "foreground": "bodystream_bench.suites.foreground",
    "pose": "bodystream_bench.suites.pose",
    "drive": "bodystream_bench.suites.drive",
}


def run_suites(device: wp.Device, only: Sequence[str] = (), repeats: int | None = None) -> list[Metric]:
    """Measure.

    Args:
        device: where our kernels run.
        only: keys or beginnings of keys (`solver`, `solver.10k`, `fusion.surface.p50_ms`); none = everything.
        repeats: steps per timing; default 200, fewer where a step takes seconds.

    Raises:
        ConfigurationError: a key that no suite has.
        AccuracyError: what is measured computes something wrong.
    """
    for key in only:
        if key.split(".")[0] not in SUITES:
            raise ConfigurationError(f"there is no metric {key!r}: keys begin with {', '.join(SUITES)}")
    if repeats is not None and repeats < 1:
        raise ConfigurationError(f"repeats must be at least 1, got {repeats}")
    context = Context(device, tuple(only), repeats)
    for name, module in SUITES.items():
        if not context.wants(name):
            continue
        start = time.perf_counter()
        context.note(f"{name} ...")
        importlib.import_module(module).run(context)
        context.note(f"{name} done in {time.perf_counter() - start:.1f} s")
    missed = [key for key in only if not any(m.key == key or m.key.startswith(f"{key}.") for m in context.metrics)]
    if missed:
        context.note(f"nothing was measured for {', '.join(missed)}; keys: {', '.join(m.key for m in context.metrics)}")
    return context.metrics
