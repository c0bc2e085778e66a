"""What a session costs beside the bare pipeline: the same frames, step by step in turns, in one process."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import warp as wp

from bodystream import CaptureSession, DriveConfig, DriveSession
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.drive.pipeline import Driver
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.types import Array, Status
from bodystream_bench.measuring import Context, expect
from bodystream_bench.motions import smooth_motion
from bodystream_bench.recordings import synthetic_frames

__all__ = ["run"]

_FRAMES, _FRAMES_WARM = 120, 10
_SAMPLES, _SAMPLES_WARM = 450, 60
_NEIGHBOURS = 6


def run(context: Context) -> None:
    """`session.push.overhead_ratio` of a capture and `session.drive_push.overhead_ratio`: push over bare step."""
    for key, measure_ratio in (("session.push", _capture), ("session.drive_push", _drive)):
        if context.wants(f"{key}.overhead_ratio"):
            context.add(f"{key}.overhead_ratio", measure_ratio(context), "x", "lower", 0.03)


def _capture(context: Context) -> float:
    frames = synthetic_frames(context.steps(_FRAMES) + _FRAMES_WARM, context.device)
    camera = frames[0].intrinsics
    bare = Capture(camera, context.device)
    bare.warm_up()
    try:
        with CaptureSession(camera, device=context.device) as session:

            def step(frame: Any) -> Any:
                result = bare.step(frame)
                bare.warp_surface()
                return result

            ratio = _in_turns(context, "capture", frames, _FRAMES_WARM, step, session.push)
    finally:
        bare.close()
    return ratio


def _drive(context: Context) -> float:
    clip = smooth_motion(context.steps(_SAMPLES) + _SAMPLES_WARM)
    samples = list(MotionHeadset(clip, clip.rate_hz, noise=TrackerNoise(), hands="grip"))
    config = DriveConfig(skeleton=clip.skeleton)
    bare = Driver(context.device, config)
    bare.warm_up()
    try:
        with DriveSession(config=config, device=context.device) as session:
            return _in_turns(context, "drive", samples, _SAMPLES_WARM, bare.step, session.push)
    finally:
        bare.close()


def _in_turns(
    context: Context,
    what: str,
    items: Sequence[Any],
    warm_up: int,
    bare: Callable[[Any], Any],
    push: Callable[[Any], Any],
) -> float:
    """The time of `push` divided by that of `bare`; which of them goes first alternates.

    What else runs on a machine only ever adds to a time. So the quickest of some neighbours, which cost much the same,
    stands for them all, and the median of the ratios of these for the run.
    """
    spent_ms: dict[str, list[float]] = {"bare": [], "push": []}
    gc.collect()
    gc.freeze()  # what was made at start-up is not looked through by whichever happens to go on
    try:
        for number, item in enumerate(items):
            results = {}
            for name, call in (("bare", bare), ("push", push))[:: 1 if number % 2 else -1]:
                _settle(context.device)
                start = time.perf_counter_ns()
                results[name] = call(item)
                _settle(context.device)
                if number >= warm_up:
                    spent_ms[name].append((time.perf_counter_ns() - start) * 1e-6)
            _expect_alike(what, number, results["bare"], results["push"])
    finally:
        gc.unfreeze()
    bare_ms, push_ms = (_quickest(spent_ms[name]) for name in ("bare", "push"))
    context.note(f"session: {what}: step {np.median(bare_ms):.2f} ms, push {np.median(push_ms):.2f} ms")
    return float(np.median(push_ms / bare_ms))


def _quickest(spent_ms: Sequence[float]) -> Array:
    """(G,) the least of each group of neighbours [ms]."""
    groups = max(1, len(spent_ms) // _NEIGHBOURS)
    return np.array([part.min() for part in np.array_split(np.asarray(spent_ms), groups)])


def _settle(device: wp.Device) -> None:
    if device.is_cuda:
        wp.synchronize_device(device)


def _expect_alike(what: str, number: int, bare: Any, pushed: Any) -> None:
    """Both do the same work: a session that left something out would seem fast."""
    if what == "drive":
        bare, pushed = bare.pose, pushed.pose
        same = np.array_equal(bare.rotations_xyzw, pushed.rotations_xyzw)
    else:
        same = (bare.nodes, bare.vertices) == (pushed.nodes, pushed.vertices)
    expect(
        bare.status is pushed.status is not Status.LOST and bool(same),
        f"session: {what} {number}: pushed and bare differ, {pushed.status} and {bare.status}",
    )
