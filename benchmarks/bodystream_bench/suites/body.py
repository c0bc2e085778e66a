"""A body made of its codes: features by the network, vertices by the sparse system; beside it PyTorch and scipy."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from bodystream.avatar.rig import load_rig
from bodystream.body import BodyDecoder
from bodystream.bundles import Bundle, has_bundle
from bodystream.types import Array
from bodystream_bench.measuring import Context, Timing, expect
from bodystream_bench.peers.torch_body import made_bundle, torch_body, torch_network

__all__ = ["run"]

_NAME = "body"
_THREADS = (1, 2)
_ROUNDS = 40
_WARM_UP = 3
_MESH_MM, _NETWORK_MM = 0.02, 3.0


def run(context: Context) -> None:
    """`body.decode.p50_ms|p99_ms`, and `.speedup_vs_torch` in turns with PyTorch; both with the number of threads that
    suits them best."""
    with tempfile.TemporaryDirectory() as made:
        bundle, network = None, None
        if _NAME in context.bundles.places or has_bundle(_NAME):
            bundle = context.bundles.open(_NAME)
        else:
            found = made_bundle(Path(made), load_rig().mesh)
            if found is None:
                context.note(
                    f"there is no body bundle (--bundle {_NAME}=PATH), and none is made to be measured without PyTorch "
                    "and onnx (pip install 'bodystream[export,train]'): body is left out"
                )
                return
            bundle, network = found
        _decode(context, bundle, network)


def _decode(context: Context, bundle: Bundle, network: object | None) -> None:
    """Args: network: the one that the bundle was made of, where that is known."""
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
    known = network is not None
    if not known:
        network = torch_network(facts.vertices, facts.parts, facts.shape, facts.pose)
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
        if known:
            apart = _mean_mm(ours - ours.mean(axis=0), answer - answer.mean(axis=0))
            expect(apart < _NETWORK_MM, f"body.decode: vertices are {apart:.2f} mm from those of torch on average")
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
    made = ", made for this with random weights" if known else ""
    told = (
        f"body: {bundle.manifest.name} {bundle.manifest.version} ({facts.vertices} vertices{made}) takes "
        f"{timing.p50_ms:.1f} ms for a body with {best['ours'][1]} thread(s)"
    )
    if "torch" in best:
        theirs = Timing.of(spent[best["torch"]])
        told += f", PyTorch and scipy {theirs.p50_ms:.1f} ms with {best['torch'][1]}"
        context.add("body.decode.speedup_vs_torch", theirs.p50_ms / timing.p50_ms, "x", "higher", 0.4)
    context.note(told)


def _mean_mm(one: Array, other: Array) -> float:
    return 1e3 * float(np.linalg.norm(one - other, axis=1).mean())
