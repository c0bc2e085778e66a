"""What recording costs the capture that it runs beside, and how much it writes, at a camera's rate."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodystream import CaptureSession
from bodystream.pipelines.recording.recorder import TakeRecorder
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.sources.take import TakeSource
from bodystream.types import RgbdFrame, Status
from bodystream_bench.measuring import Context, expect

__all__ = ["run"]

_FRAMES, _FRAMES_WARM, _BLOCK = 120, 10, 8
_RATE_HZ = 30.0


class _Camera:
    """What a recorder is told of where frames come from."""

    name = "synthetic:0"
    rate_hz = _RATE_HZ


def run(context: Context) -> None:
    """`record.mb_s` of 640x480 depth and colour at 30 per second, and `record.rate_ratio`: capture beside it, over
    capture alone."""
    steps = max(_BLOCK, context.steps(_FRAMES))
    config = SyntheticConfig(frames=steps + min(_FRAMES_WARM, steps // 2))
    # Their truth takes several times the memory, and nobody asks for it here.
    frames = [replace(frame, truth=None) for frame in SyntheticSource(config, context.device)]
    with tempfile.TemporaryDirectory(prefix="bodystream-bench-") as folder:
        if context.wants("record.mb_s"):
            context.add("record.mb_s", _megabytes(frames, Path(folder) / "whole.mcap") * _RATE_HZ, "MB/s", "lower", 0.1)
        if context.wants("record.rate_ratio"):
            ratio = _rate_ratio(context, frames, Path(folder) / "beside.mcap")
            context.add("record.rate_ratio", ratio, "x", "higher", 0.15)


def _megabytes(frames: Sequence[RgbdFrame], path: Path) -> float:
    """Of a frame, in a take that is played back to see that it is the same."""
    with TakeRecorder(path) as recorder:
        for frame in frames:
            recorder.add_frame(frame, _Camera(), wait=True)
    expect(recorder.failure is None and recorder.dropped == recorder.rounded == 0, f"record: {recorder.summary}")
    count = 0
    for got, want in zip(TakeSource(path), frames, strict=True):
        expect(np.array_equal(got.depth_m, want.depth_m), f"record: depth of frame {want.index} was not kept")
        count += 1
    return path.stat().st_size / count * 1e-6


def _rate_ratio(context: Context, frames: Sequence[RgbdFrame], path: Path) -> float:
    """The same frames by two captures, block by block in turns, one of them while frames are recorded at 30 per second.

    What else runs on a machine only ever adds to a time: so blocks are short, neighbours are compared, and the median
    of the ratios stands for the run.
    """
    camera = frames[0].intrinsics
    with (
        CaptureSession(camera, device=context.device) as alone,
        CaptureSession(camera, device=context.device) as beside,
        TakeRecorder(path) as recorder,
    ):
        warm = min(_FRAMES_WARM, len(frames) // 3)
        for frame in frames[:warm]:
            alone.push(frame)
            beside.push(frame)
        ratios = []
        blocks = [frames[at : at + _BLOCK] for at in range(warm, len(frames) - _BLOCK + 1, _BLOCK)]
        for number, block in enumerate(blocks):
            spent_s = {}
            for name in ("alone", "beside")[:: 1 if number % 2 else -1]:
                if name == "alone":
                    spent_s[name] = _spent_s(alone, block)
                else:
                    with _fed(recorder, frames):
                        spent_s[name] = _spent_s(beside, block)
                    recorder.flush()
            ratios.append(spent_s["alone"] / spent_s["beside"])
        recorded, dropped = recorder.frames, recorder.dropped
    expect(recorder.failure is None and dropped == 0 and recorded > 0, f"record: {recorder.summary}, {dropped} dropped")
    context.note(f"record: {recorded} frames recorded beside {len(blocks) * _BLOCK} captured ones")
    return float(np.median(ratios))


def _spent_s(session: CaptureSession, block: Sequence[RgbdFrame]) -> float:
    start_s = time.perf_counter()
    for frame in block:
        result = session.push(frame)
        expect(result is not None and result.status is not Status.LOST, f"record: frame {frame.index} was lost")
    return time.perf_counter() - start_s


@contextmanager
def _fed(recorder: TakeRecorder, frames: Sequence[RgbdFrame]) -> Iterator[None]:
    """Within the block, a camera gives the recorder 30 frames a second."""
    ended = threading.Event()

    def feed() -> None:
        due_s, source = time.perf_counter(), _Camera()
        for frame in itertools.cycle(frames):
            recorder.add_frame(frame, source, wait=False)
            due_s += 1.0 / _RATE_HZ
            if ended.wait(max(0.0, due_s - time.perf_counter())):
                return

    thread = threading.Thread(target=feed, name="bench-camera")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
