"""Runs the suites that are asked for."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence

import warp as wp

from bodystream.bundles import BundleChoice
from bodystream.errors import ConfigurationError
from bodystream_bench.measuring import Context
from bodystream_bench.metrics import Metric

__all__ = ["PEERS", "SUITES", "measure_suites", "run_suites"]

PEERS = ("torch", "open3d")
"""Packages that suites measure beside ours, where they are installed."""

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
    "repose": "bodystream_bench.suites.repose",
    "body": "bodystream_bench.suites.body",
    "session": "bodystream_bench.suites.session",
    "record": "bodystream_bench.suites.record",
    "vmc": "bodystream_bench.suites.vmc",
    "shm": "bodystream_bench.suites.shm",
    "network": "bodystream_bench.suites.network",
    "serve": "bodystream_bench.suites.serve",
}

# Seconds that a suite takes with all its peers on two cores of 2020: how the time left is guessed until more is known.
_USUAL_S = {
    "solver": 25, "icp": 15, "skinning": 20, "fusion": 60, "flow": 10, "foreground": 10, "pose": 15, "drive": 15,
    "repose": 30, "body": 20, "session": 45, "record": 25, "vmc": 2, "shm": 9, "network": 9, "serve": 60,
}  # fmt: skip


def run_suites(device: wp.Device, only: Sequence[str] = (), repeats: int | None = None) -> list[Metric]:
    """The figures of `measure_suites`."""
    return measure_suites(device, only, repeats).metrics


def measure_suites(
    device: wp.Device, only: Sequence[str] = (), repeats: int | None = None, bundles: BundleChoice | None = None
) -> Context:
    """Measure, and say on stderr how far it is.

    Args:
        device: where our kernels run.
        only: keys or beginnings of keys (`solver`, `solver.10k`, `fusion.surface.p50_ms`); none = everything.
        repeats: steps per timing; default 200, fewer where a step takes seconds.
        bundles: `flow` is the network of learned correspondence, `default-clothed` the clothed avatar, `body` the
            body's decoder.

    Raises:
        BundleError: the chosen bundle cannot be used.
        ConfigurationError: a key that no suite has.
        AccuracyError: what is measured computes something wrong.
    """
    for key in only:
        if key.split(".")[0] not in SUITES:
            raise ConfigurationError(f"there is no metric {key!r}: keys begin with {', '.join(SUITES)}")
    if repeats is not None and repeats < 1:
        raise ConfigurationError(f"repeats must be at least 1, got {repeats}")
    context = Context(device, tuple(only), repeats, BundleChoice() if bundles is None else bundles)
    wanted = [name for name in SUITES if context.wants(name)]
    began = time.perf_counter()
    for index, name in enumerate(wanted):
        start = time.perf_counter()
        context.note(f"[{index + 1}/{len(wanted)}] {name} ...{_time_left(wanted, index, start - began)}")
        importlib.import_module(SUITES[name]).run(context)
        context.note(f"[{index + 1}/{len(wanted)}] {name} done in {time.perf_counter() - start:.1f} s")
    context.note(f"{len(context.metrics)} figures of {len(wanted)} suites in {time.perf_counter() - began:.0f} s")
    missed = [key for key in only if not any(m.key == key or m.key.startswith(f"{key}.") for m in context.metrics)]
    if missed:
        context.note(f"nothing was measured for {', '.join(missed)}; keys: {', '.join(m.key for m in context.metrics)}")
    return context


def _time_left(wanted: Sequence[str], done: int, spent_s: float) -> str:
    """What is left at the pace so far; nothing before the first suite is done."""
    if done == 0:
        return ""
    pace = spent_s / sum(_USUAL_S[name] for name in wanted[:done])
    return f" about {max(1, round(pace * sum(_USUAL_S[name] for name in wanted[done:])))} s left"
