"""Correspondence from one camera frame to the next by OpenCV DIS with weights, as in live capture."""

from __future__ import annotations

import numpy as np

from bodystream.correspondence import DisConfig, DisCorrespondence
from bodystream.errors import InputError
from bodystream.types import Array, FlowField, RgbdFrame
from bodystream_bench.measuring import Context, expect, measure
from bodystream_bench.recordings import person_frames

__all__ = ["run"]

_FRAMES = 40
_LEAST_MATCHED = 0.4


def run(context: Context) -> None:
    """`flow.dis_live.p50_ms|p99_ms`, and `flow.dis_live.matched`: share of the person's pixels that get a weight."""
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
                shares.append(float((flow.weight[mask] > 0).mean()))

        timing = measure(step, context.steps(), before=settle)
        settle()
    finally:
        estimator.close()
    share = float(np.mean(shares))
    expect(share > _LEAST_MATCHED, f"flow: only {share:.0%} of the person's pixels are matched on {name}")
    context.add_timing("flow.dis_live", timing)
    context.add("flow.dis_live.matched", 100 * share, "%", "higher", 0.05)


def person_mask(frame: RgbdFrame) -> Array:
    """(H, W) bool pixels of the person with depth: the recording's mask, or the synthetic camera's truth."""
    if frame.mask is not None:
        return frame.mask & (frame.depth_m > 0)
    if frame.truth is not None:
        return frame.truth.mask & (frame.depth_m > 0)
    raise InputError(f"frame {frame.label} has no mask: benchmarks need to know the person's pixels")
