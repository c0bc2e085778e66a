"""The clothed avatar: posed by tables, beside its network in PyTorch, and beside plain skinning of as many vertices."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import warp as wp

from bodystream.avatar import Avatar, LbsAvatar
from bodystream.avatar.clothed.avatar import ClothedAvatar, ClothedModel
from bodystream.avatar.rig import load_rig
from bodystream.geometry.motion import MotionClip
from bodystream.types import Array
from bodystream_bench.measuring import Context, Timing, expect
from bodystream_bench.motions import smooth_motion
from bodystream_bench.peers.torch_ins import torch_repose
from bodystream_bench.surfaces import grown_clothed, grown_skin

__all__ = ["run"]

_BUNDLE = "default-clothed"
_FEWEST, _MANY = 14_000, 100_000
_RATE_HZ, _FRAMES = 90.0, 450
_COMPARED = 12
_THREADS = (1, 2)
_PEER_ROUNDS = 5
_WARM_UP = 10
_MEAN_MM, _MAX_MM = 0.1, 0.5


def run(context: Context) -> None:
    """`repose.14k.p50_ms|p99_ms`, `.table_error_mean_mm|max_mm`, `.ratio_vs_lbs`, `.speedup_vs_torch`, and
    `repose.100k.p50_ms|p99_ms`, `.ratio_vs_14k`."""
    model = ClothedModel(context.bundles.open(_BUNDLE))
    own = len(model.body.vertices)
    count = max(own, _FEWEST)
    clip = smooth_motion(_FRAMES, _RATE_HZ)
    _errors(context, model, clip)
    grown = _grown(model, count)
    avatars: dict[str, Avatar] = {
        "14k": ClothedAvatar(grown, device=context.device),
        "lbs": LbsAvatar(device=context.device, rig=grown_skin(load_rig(), count)),
    }
    if own <= _MANY:
        avatars["100k"] = ClothedAvatar(_grown(model, _MANY), device=context.device)
    context.note(
        f"repose: {model.bundle.manifest.name} {model.bundle.manifest.version} of {own} vertices, grown to "
        f"{', '.join(str(len(avatar.vertices)) for avatar in avatars.values())}"
    )
    timings = _in_turns(context, avatars, clip)
    ours = timings["14k"]
    context.add_timing("repose.14k", ours)
    context.add("repose.14k.ratio_vs_lbs", ours.p50_ms / timings["lbs"].p50_ms, "x", "lower", 0.4)
    if "100k" in timings:
        context.add_timing("repose.100k", timings["100k"])
        context.add("repose.100k.ratio_vs_14k", timings["100k"].p50_ms / ours.p50_ms, "x", "lower", 0.4)
    if context.wants("repose.14k.speedup_vs_torch"):
        _beside_torch(context, avatars["14k"], clip, grown.body.vertices)


def _grown(model: ClothedModel, count: int) -> ClothedModel:
    if len(model.body.vertices) == count:
        return model
    out = copy.copy(model)
    out.body = grown_clothed(model.body, count)
    return out


def _errors(context: Context, model: ClothedModel, clip: MotionClip) -> None:
    """Of the bundle's own surface, against the network in the bundle, in poses that it has not seen."""
    tables, network = (ClothedAvatar(model, device=context.device, posed_by=by) for by in ("tables", "network"))
    off = []
    for at in np.linspace(0, len(clip) - 1, _COMPARED).astype(int):
        pose = clip.rotations_xyzw[at], clip.root_positions_m[at]
        off.append(np.linalg.norm(tables.pose(*pose).vertices - network.pose(*pose).vertices, axis=1))
        expect(tables.posing.method == "tables", "repose: the network posed what tables should")
    mean_mm, max_mm = 1e3 * float(np.mean(off)), 1e3 * float(np.max(off))
    expect(
        mean_mm < _MEAN_MM and max_mm < _MAX_MM,
        f"repose: tables are off by {mean_mm:.3f} mm, at most {max_mm:.2f}, wanted below {_MEAN_MM} and {_MAX_MM}",
    )
    context.add("repose.14k.table_error_mean_mm", mean_mm, "mm", "lower", 0.5)
    context.add("repose.14k.table_error_max_mm", max_mm, "mm", "lower", 0.5)


def _in_turns(context: Context, avatars: dict[str, Avatar], clip: MotionClip) -> dict[str, Timing]:
    spent: dict[str, list[int]] = {name: [] for name in avatars}
    for number in range(_WARM_UP + context.steps()):
        for name, avatar in avatars.items():
            took = _took_ns(context, _step(avatar, clip, number))
            if number >= _WARM_UP:
                spent[name].append(took)
    return {name: Timing.of(durations) for name, durations in spent.items()}


def _beside_torch(context: Context, avatar: Avatar, clip: MotionClip, canonical: Array) -> None:
    """Both in turns, PyTorch with the number of threads that suits it best."""
    peers = {threads: torch_repose(canonical, threads) for threads in _THREADS}
    spent: dict[int, list[int]] = {threads: [] for threads in peers}
    ours: list[int] = []
    for number in range(min(_PEER_ROUNDS, context.steps())):
        for threads, peer in peers.items():
            if peer is None:
                context.note("torch is not installed: repose.14k.speedup_vs_torch is left out")
                return
            spent[threads].append(_took_ns(context, peer))
            ours += [_took_ns(context, _step(avatar, clip, number + step)) for step in range(10)][2:]
    best = min(spent, key=lambda threads: median(spent[threads]))
    theirs_ms, ours_ms = 1e-6 * median(spent[best]), 1e-6 * median(ours)
    context.note(f"repose: PyTorch takes {theirs_ms:.0f} ms with {best} thread(s), tables {ours_ms:.1f} ms in turns")
    context.add("repose.14k.speedup_vs_torch", theirs_ms / ours_ms, "x", "higher", 0.4)


def _step(avatar: Avatar, clip: MotionClip, number: int) -> Callable[[], object]:
    at = number % len(clip)
    return lambda: avatar.pose_on_device(clip.rotations_xyzw[at], clip.root_positions_m[at])


def _took_ns(context: Context, step: Callable[[], object]) -> int:
    start = time.perf_counter_ns()
    step()
    if context.device.is_cuda:
        wp.synchronize_device(context.device)
    return time.perf_counter_ns() - start
