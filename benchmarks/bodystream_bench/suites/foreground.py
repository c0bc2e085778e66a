"""Separation of the person from everything else, without a given mask."""

from __future__ import annotations

import dataclasses

import numpy as np

from bodystream.foreground import ForegroundConfig, ForegroundSegmenter
from bodystream.types import Array
from bodystream_bench.measuring import Context, expect, measure
from bodystream_bench.recordings import person_frames
from bodystream_bench.suites.flow import person_mask

__all__ = ["run"]

_FRAMES = 40
_LEAST_IOU = 0.85


def run(context: Context) -> None:
    """`foreground.p50_ms|p99_ms`, and `foreground.iou`: mean overlap with the recording's masks."""
    name, frames = person_frames(_FRAMES, context.device)
    context.note(f"foreground: {name}, {len(frames)} frames")
    context.measured_on("foreground", name)
    masks = [person_mask(frame) for frame in frames]
    bare = [dataclasses.replace(frame, mask=None, truth=None) for frame in frames]
    segmenter = ForegroundSegmenter(ForegroundConfig(), frames[0].intrinsics)
    overlaps: list[float] = []
    pending: list[tuple[Array, Array]] = []
    at = 0

    def step() -> None:
        nonlocal at
        index = _to_and_fro(at, len(bare))
        at += 1
        pending.append((segmenter.step(bare[index]).mask, masks[index]))

    def settle() -> None:
        """Overlap of the last result, outside the measured time."""
        while pending:
            found, truth = pending.pop()
            overlaps.append(float((found & truth).sum() / max(1, (found | truth).sum())))

    timing = measure(step, context.steps(), before=settle)
    settle()
    iou = float(np.mean(overlaps))
    expect(iou > _LEAST_IOU, f"foreground: mean overlap with the masks of {name} is {iou:.2f}")
    context.add_timing("foreground", timing)
    context.add("foreground.iou", iou, "iou", "higher", 0.02)


def _to_and_fro(step: int, count: int) -> int:
    """0, 1, ..., count - 1, ..., 1, 0, 1, ...: no jump in time where the frames end."""
    if count == 1:
        return 0
    phase = step % (2 * count - 2)
    return phase if phase < count else 2 * count - 2 - phase
