"""The full flow network by its bundle, beside the same network in PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from bodystream.bundles import has_bundle
from bodystream.correspondence.learned_bundle import network_of, open_flow_graphs
from bodystream.types import Array
from bodystream_bench.measuring import Context, Timing, expect
from bodystream_bench.peers.torch_flow import torch_flow

__all__ = ["measure_full"]

_SIZE = (640, 448)
_THREADS = (1, 2)
_ROUNDS = 7


def measure_full(context: Context) -> None:
    """`flow.full.448x640.p50_ms|p99_ms` (rows x columns): one frame encoded and one pair decoded with its weights, and
    `.speedup_vs_torch`, in turns with PyTorch in 32 bits; both with the number of threads that suits them best."""
    if "flow-full" not in context.bundles.places and not has_bundle("flow-full"):
        context.note("there is no full flow bundle (--bundle flow-full=PATH): flow.full is left out")
        return
    bundle = context.bundles.open("flow-full")
    width, height = _SIZE
    if _SIZE not in network_of(bundle, "full").sizes:
        context.note(f"{bundle.manifest.name} has no graphs of {width}x{height}: flow.full is left out")
        return
    key = f"flow.full.{height}x{width}"
    rng = np.random.default_rng(0)
    runs: dict[tuple[str, int], Callable[[], Array]] = {}
    label = ""
    for threads in _THREADS:
        graphs = open_flow_graphs(bundle, "full", _SIZE, threads=threads, device=context.device)
        label = f"{bundle.manifest.name} {bundle.manifest.version} ({graphs.decoder.provider})"
        feeds = [
            {name: rng.random([int(n) for n in spec.shape], np.float32) for name, spec in engine.inputs.items()}
            for engine in (graphs.encoder, graphs.decoder)
        ]

        def ours(graphs=graphs, feeds=feeds) -> Array:
            graphs.encoder.run(feeds[0])
            return graphs.decoder.run(feeds[1])["flow_px"]

        runs["ours", threads] = ours
        peer = torch_flow(_SIZE, threads)
        if peer is None:
            context.note(f"torch is not installed: {key}.speedup_vs_torch is left out")
        else:
            runs["torch", threads] = peer
    spent: dict[tuple[str, int], list[int]] = {key: [] for key in runs}
    for round_number in range(1 + min(_ROUNDS, context.steps())):
        for who, run in runs.items():
            began = time.perf_counter_ns()
            answer = run()
            if round_number:
                spent[who].append(time.perf_counter_ns() - began)
            expect(answer.shape == (1, 2, height // 4, width // 4), f"flow.full: {who[0]} gives {answer.shape}")
    best = {
        name: min((who for who in spent if who[0] == name), key=lambda who: median(spent[who]))
        for name in {who[0] for who in spent}
    }
    timing = Timing.of(spent[best["ours"]])
    context.add_timing(key, timing)
    told = f"flow: {label} takes {timing.p50_ms:.0f} ms for a pair with {best['ours'][1]} thread(s)"
    if "torch" in best:
        theirs = Timing.of(spent[best["torch"]])
        told += f", PyTorch {theirs.p50_ms:.0f} ms with {best['torch'][1]}"
        context.add(f"{key}.speedup_vs_torch", theirs.p50_ms / timing.p50_ms, "x", "higher", 0.4)
    context.note(told)
