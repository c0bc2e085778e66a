"""Correspondence from one camera frame to the next as in live capture: OpenCV DIS, and the light network beside it."""

from __future__ import annotations

import time

import numpy as np

from bodystream.bundles import has_bundle
from bodystream.correspondence import DisConfig, DisCorrespondence, LearnedConfig, LearnedCorrespondence
from bodystream.errors import InputError
from bodystream.types import Array, FlowField, RgbdFrame
from bodystream_bench.measuring import Context, Timing, expect, measure
from bodystream_bench.recordings import person_frames
from bodystream_bench.suites.flow_full import measure_full

__all__ = ["run"]

_FRAMES = 40
_LEAST_MATCHED = 0.4


def run(context: Context) -> None:
    """`flow.dis_live.p50_ms|p99_ms`, and `flow.dis_live.matched`: share of the person's pixels that get a weight.

    With a flow bundle also `flow.light.<width>x<height>.p50_ms|p99_ms`, and `flow.light.ratio_vs_dis`; with one of the
    full network, `flow.full.448x640.*`, see `flow_full`.
    """
    name, frames = person_frames(_FRAMES, context.device)
    context.measured_on("flow", name)
    masks = [person_mask(frame) for frame in frames]
    context.note(f"flow: {name}, {len(frames)} frames of {frames[0].intrinsics.width}x{frames[0].intrinsics.height}")
    estimator = DisCorrespondence(DisConfig.live())
    try:
        shares: list[float] = []
        pending: list[tuple[FlowField, Array]] = []
        at = 0

        def step() -> None:
            nonlocal at
            source, target = at % (len(frames) - 1), at % (len(frames) - 1) + 1
            at += 1
            flow = estimator.step(frames[source], frames[target], source_mask=masks[source], target_mask=masks[target])
            pending.append((flow, masks[source]))

        def settle() -> None:
            """Share of the last result, outside the measured time."""
            while pending:
                flow, mask = pending.pop()
                n = flow.cell_px
                weight = flow.weight.repeat(n, axis=0).repeat(n, axis=1)[: mask.shape[0], : mask.shape[1]]
                shares.append(float((weight[mask] > 0).mean()))

        timing = measure(step, context.steps(), before=settle)
        settle()
    finally:
        estimator.close()
    share = float(np.mean(shares))
    expect(share > _LEAST_MATCHED, f"flow: only {share:.0%} of the person's pixels are matched on {name}")
    context.add_timing("flow.dis_live", timing)
    context.add("flow.dis_live.matched", 100 * share, "%", "higher", 0.05)
    if context.wants("flow.light"):
        _measure_light(context, frames, masks)
    if context.wants("flow.full"):
        measure_full(context)


def _measure_light(context: Context, frames: list[RgbdFrame], masks: list[Array]) -> None:
    """The light network and DIS in turns, on the same pairs and from the same guess."""
    if "flow" not in context.bundles.places and not has_bundle("flow"):
        context.note("there is no flow bundle (--bundle flow=PATH): flow.light is left out")
        return
    bundle = context.bundles.open("flow")
    light = LearnedCorrespondence(bundle, LearnedConfig.live(), device=context.device)
    dis = DisCorrespondence(DisConfig.live())
    height, width = frames[0].depth_m.shape
    guess = np.zeros((-(-height // 8), -(-width // 8), 2), np.float32)
    spent: dict[str, list[int]] = {"light": [], "dis": []}
    warm_up, steps = 10, context.steps()
    sizes: list[tuple[int, int]] = []
    try:
        for number in range(warm_up + steps):
            at = number % (len(frames) - 1)
            masked = {"source_mask": masks[at], "target_mask": masks[at + 1], "initial_flow_px": guess}
            for name, estimator in (("light", light), ("dis", dis)):
                began = time.perf_counter_ns()
                flow = estimator.step(frames[at], frames[at + 1], **masked)
                if number >= warm_up:
                    spent[name].append(time.perf_counter_ns() - began)
                expect(bool(np.isfinite(flow.flow_px).all()), f"flow: {name} gives a flow that is no number")
            sizes.append(light.image_size)
        # of the image that matches are for, as DIS searches in one of that size
        width, height = (side * light.config.finer for side in max(set(sizes), key=sizes.count))
        context.note(f"flow: {light.label}, {light.encode_count} frames encoded in {warm_up + steps} steps")
    finally:
        light.close()
        dis.close()
    ours, theirs = Timing.of(spent["light"]), Timing.of(spent["dis"])
    context.add_timing(f"flow.light.{width}x{height}", ours)
    context.add("flow.light.ratio_vs_dis", ours.p50_ms / theirs.p50_ms, "x", "lower", 0.4)


def person_mask(frame: RgbdFrame) -> Array:
    """(H, W) bool pixels of the person with depth: the recording's mask, or the synthetic camera's truth."""
    if frame.mask is not None:
        return frame.mask & (frame.depth_m > 0)
    if frame.truth is not None:
        return frame.truth.mask & (frame.depth_m > 0)
    raise InputError(f"frame {frame.label} has no mask: benchmarks need to know the person's pixels")
