"""Thousands of frames: memory, handles and threads stay as they are."""

from __future__ import annotations

import gc
import threading

import numpy as np
import psutil
import pytest

from bodystream.evaluation.surface import QualityMeter
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import Status
from helpers.pipeline_frames import DEVICE

FRAMES = 5000
WARM_UP = 500
SAMPLE_EVERY = 100
LIMIT_MB = 20.0


def handles(process: psutil.Process) -> int:
    return process.num_handles() if hasattr(process, "num_handles") else process.num_fds()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_thousand_frames_leave_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    process = psutil.Process()
    source = SyntheticSource(SyntheticConfig(frames=FRAMES), DEVICE)
    capture, meter = Capture(source.intrinsics, DEVICE), QualityMeter(source.intrinsics, DEVICE)
    samples, errors, lost = [], [], 0
    try:
        for frame in source:
            result = capture.step(frame)
            lost += result.status is Status.LOST
            live = capture.warp_surface()
            if (frame.index + 1) % SAMPLE_EVERY == 0:
                error_m = np.nan if live is None else meter.measure(frame, result.foreground.mask, live).surface_error_m
                errors.append(error_m * 1e3)
                gc.collect()
                rss_mb = process.memory_info().rss / 2**20
                samples.append((frame.index + 1, rss_mb, handles(process), threading.active_count()))
                with capsys.disabled():
                    print(
                        f"\nframe {samples[-1][0]}: {rss_mb:.1f} MB, {samples[-1][2]} handles, "
                        f"{samples[-1][3]} threads, {result.nodes} nodes, {result.vertices} vertices, "
                        f"error {errors[-1]:.1f} mm",
                        end="",
                    )
    finally:
        capture.close()
    number, rss_mb, handle_count, thread_count = np.array(samples).T
    warm = number >= WARM_UP
    growth_mb = rss_mb[-3:].mean() - rss_mb[warm][:3].mean()
    with capsys.disabled():
        print(f"\nmemory growth after frame {WARM_UP}: {growth_mb:.1f} MB; lost frames: {lost}")
        for stage, span in capture.spans.summary().items():
            print(f"  {stage:12} p50 {span.p50_ms:7.2f} ms  p99 {span.p99_ms:7.2f} ms")
    assert growth_mb < LIMIT_MB
    assert len(set(handle_count[warm])) == 1 and len(set(thread_count[warm])) == 1
    assert lost == 0, "the person is in sight all the time"
    assert np.median(errors) < 12, "the model of the last frames is as good as that of the first"
