"""Small synthetic frames for the tests of the pipelines, drawn once and shared."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from bodystream.device import select_device
from bodystream.pipelines.capture.config import CaptureConfig
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.capture.result import CaptureResult
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource
from bodystream.types import RgbdFrame

__all__ = ["DEVICE", "empty", "frames", "model_bits", "new_capture"]

DEVICE = select_device("cpu")


@cache
def frames(motion: str = "limbs", count: int = 30, noise: str = "d400") -> tuple[RgbdFrame, ...]:
    """A body seen by a camera of 320x240 pixels at 30 Hz; the timestamps do not depend on the clock."""
    config = SyntheticConfig(width=320, height=240, frames=count, motion=motion, noise=noise)  # type: ignore[arg-type]
    return tuple(replace(f, t_ns=10**9 + (f.device_t_ns or 0)) for f in SyntheticSource(config, DEVICE))


def empty(frame: RgbdFrame) -> RgbdFrame:
    """The same moment with nobody there and nothing behind."""
    return replace(frame, depth_m=np.zeros_like(frame.depth_m), mask=None, truth=None)


def new_capture(config: CaptureConfig | None = None) -> Capture:
    return Capture(frames()[0].intrinsics, DEVICE, config)


def model_bits(capture: Capture, result: CaptureResult) -> tuple[int, int, bytes, bytes]:
    """Sizes and exact contents of graph motion and warped surface."""
    mesh = capture.live_mesh()
    assert mesh is not None
    rotations, translations = capture.field.motion()
    return result.nodes, result.vertices, mesh.vertices.tobytes(), rotations.tobytes() + translations.tobytes()
