"""A body made of its codes, beside PyTorch and scipy, and one fitted to a scan, beside 200 steps of Adam."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.bundle import BodySection
from bodystream.body.fitting import fit_surface, scan_points
from bodystream.bundles import Bundle
from bodystream.geometry.rotations import turn_about
from bodystream.types import Array, Mesh
from bodystream_bench.measuring import Context, Timing, expect
from bodystream_bench.peers.torch_body import adam_steps, torch_body, torch_network

__all__ = ["run"]

_NAME = "body"
_THREADS = (1, 2)
_ROUNDS = 40
_WARM_UP = 3
_MESH_MM = 0.02
_ADAM_STEPS, _ADAM_TIMED, _FITS = 200, 6, 3
"""How many steps the paper makes, how many of them are timed, and how many scans are fitted."""
_FIT_MM = 15.0


def run(context: Context) -> None:
    """`body.decode.p50_ms|p99_ms`, and `.speedup_vs_torch` in turns with PyTorch; both with the number of threads that
    suits them best. `body.fit.p50_ms` and `.speedup_vs_adam`."""
    bundle = context.bundles.open(_NAME)
    if context.wants("body.decode"):
        _decode(context, bundle)
    if context.wants("body.fit"):
        _fit(context, bundle)


def _decode(context: Context, bundle: Bundle) -> None:
    decoders = {threads: BodyDecoder(bundle, threads=threads) for threads in _THREADS}
    first = decoders[_THREADS[0]]
    facts, rng = first.facts, np.random.default_rng(0)
    shape, pose = (rng.standard_normal(size).astype(np.float32) for size in (facts.shape, facts.pose))
    ours = first.vertices(shape, pose)
    off = _mean_mm(ours, first.space.vertices(first.features(shape, pose)))
    expect(off < _MESH_MM, f"body.decode: vertices of the same features are {off:.3f} mm apart")
    runs: dict[tuple[str, int], Callable[[], Array]] = {}
    for threads, decoder in decoders.items():
        runs["ours", threads] = lambda decoder=decoder: decoder.vertices(shape, pose)
    network = _alike(bundle)
    if network is None:
        context.note("torch is not installed: body.decode.speedup_vs_torch is left out")
    else:
        for threads in _THREADS:
            runs["torch", threads] = torch_body(network, first.space, shape, pose, threads)
        answer = runs["torch", 1]()
        expect(
            answer.shape == ours.shape and bool(np.isfinite(answer).all()),
            f"body.decode: torch gives vertices of shape {answer.shape}, or some that are not finite",
        )
    spent: dict[tuple[str, int], list[int]] = {key: [] for key in runs}
    for number in range(_WARM_UP + min(_ROUNDS, context.steps())):
        for who, step in runs.items():
            began = time.perf_counter_ns()
            step()
            if number >= _WARM_UP:
                spent[who].append(time.perf_counter_ns() - began)
    best = {
        name: min((who for who in spent if who[0] == name), key=lambda who: median(spent[who]))
        for name in {who[0] for who in spent}
    }
    timing = Timing.of(spent[best["ours"]])
    context.add_timing("body.decode", timing)
    told = (
        f"body: {bundle.manifest.name} {bundle.manifest.version} ({facts.vertices} vertices) takes "
        f"{timing.p50_ms:.1f} ms for a body with {best['ours'][1]} thread(s)"
    )
    if "torch" in best:
        theirs = Timing.of(spent[best["torch"]])
        told += f", PyTorch and scipy {theirs.p50_ms:.1f} ms with {best['torch'][1]}"
        context.add("body.decode.speedup_vs_torch", theirs.p50_ms / timing.p50_ms, "x", "higher", 0.4)
    context.note(told)


def _alike(bundle: Bundle) -> object | None:
    """A network with layers of a bundle's sizes and random weights, None without torch."""
    facts = bundle.section(BodySection).body
    told = bundle.manifest.provenance
    ranks = [part.get("rank", 0) for part in (told.get("recipe", {}).get("network", {}), told.get("weights", {}))]
    rank = min((rank for rank in ranks if rank), default=0)
    return torch_network(facts.vertices, facts.parts, facts.shape, facts.pose, rank)


def _fit(context: Context, bundle: Bundle) -> None:
    """`body.fit.p50_ms`, the start included, and `.speedup_vs_adam`, in turns with steps of Adam, whose 200 are told by
    some of them."""
    decoder = BodyDecoder(bundle)
    faces, rng = decoder.space.faces, np.random.default_rng(1)
    network = _alike(bundle)
    spent: list[int] = []
    steps: list[int] = []
    off, points = [], 0
    for _ in range(_FITS):
        codes = (0.7 * rng.standard_normal(decoder.facts.shape), 0.3 * rng.standard_normal(decoder.facts.pose))
        body = decoder.vertices(*codes) @ turn_about(np.array([0.0, 1.0, 0.0]), rng.uniform(0.0, 6.28)).T + (
            1.0,
            0.5,
            2.0,
        )
        scan = Mesh(body, faces)
        began = time.perf_counter_ns()
        found = fit_surface(decoder, scan_points(scan))
        spent.append(time.perf_counter_ns() - began)
        off.append(1e3 * found.point_to_mesh_mean_m)
        points = len(found.distances_m)
        if network is None:
            continue
        step = adam_steps(network, decoder.space, body, max(_THREADS))
        for number in range(1 + _ADAM_TIMED):
            began = time.perf_counter_ns()
            expect(bool(np.isfinite(step())), "body.fit: Adam's loss is not finite")
            if number:
                steps.append(time.perf_counter_ns() - began)
    expect(median(off) < _FIT_MM, f"body.fit: bodies are {median(off):.0f} mm from scans of bodies on average")
    ours_ms = 1e-6 * median(spent)
    context.add("body.fit.p50_ms", ours_ms, "ms", "lower", 0.3)
    told = f"body: fits to scans of {points} points take {ours_ms:.0f} ms, {median(off):.1f} mm from them on average"
    if network is None:
        context.note("torch is not installed: body.fit.speedup_vs_adam is left out")
    else:
        theirs_ms = 1e-6 * _ADAM_STEPS * median(steps)
        context.add("body.fit.speedup_vs_adam", theirs_ms / ours_ms, "x", "higher", 0.4)
        told += f"; {_ADAM_STEPS} steps of Adam in PyTorch, at {theirs_ms / _ADAM_STEPS:.0f} ms, {theirs_ms:.0f} ms"
    context.note(told)


def _mean_mm(one: Array, other: Array) -> float:
    return 1e3 * float(np.linalg.norm(one - other, axis=1).mean())
