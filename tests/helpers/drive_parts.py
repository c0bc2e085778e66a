"""Drivers and motions for the tests of the driving pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bodystream.device import select_device
from bodystream.geometry.motion import MotionClip
from bodystream.pipelines.drive.pipeline import DriveConfig, Driver
from bodystream.pose.calibration import Calibration, fitted_skeleton
from bodystream.pose.estimator import EstimatorConfig
from bodystream.sources.base import SourceCounts
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.types import HeadsetSample

__all__ = ["ESTIMATOR", "Scripted", "new_driver", "samples_of", "t_pose"]

ESTIMATOR = EstimatorConfig(provider="cpu", threads=1)
PERIOD_NS = 11_111_111


def t_pose(seconds: float, head_m: float = 1.62, arm_factor: float = 1.08) -> MotionClip:
    """Someone who stands still in the T-pose, with the shipped body's proportions but for the arms."""
    skeleton = fitted_skeleton(head_m, arm_factor)
    frames = round(seconds * 90)
    rotations = np.zeros((frames, 22, 4), np.float32)
    rotations[..., 3] = 1.0
    roots = np.zeros((frames, 3), np.float32)
    rest = skeleton.rest_positions_m
    roots[:, 1] = head_m - rest[15, 1]
    return MotionClip("T-pose", "somebody", 90.0, skeleton, rotations, roots)


def samples_of(clip: MotionClip, **options: Any) -> list[HeadsetSample]:
    """As a headset with controllers gives them."""
    return list(MotionHeadset(clip, **options))


def new_driver(
    on_calibrated: Callable[[Calibration], None] | None = None, constraint: Any = None, **config: Any
) -> Driver:
    """On the processor."""
    wanted = DriveConfig(**({"estimator": ESTIMATOR} | config))
    return Driver(select_device("cpu"), wanted, constraint=constraint, on_calibrated=on_calibrated)


class Scripted:
    """A headset that gives these samples; `before` is called with each number first, and may wait or raise."""

    def __init__(
        self,
        samples: Sequence[HeadsetSample],
        before: Callable[[int], None] = lambda number: None,
        live: bool = False,
    ) -> None:
        self.name, self.live, self.rate_hz, self.counts = "scripted", live, 90.0, SourceCounts()
        self._samples, self._before = samples, before
        self.closed = False

    def __iter__(self) -> Iterator[HeadsetSample]:
        for number, sample in enumerate(self._samples):
            self._before(number)
            if self.closed:
                return
            self.counts.delivered += 1
            yield sample

    def close(self) -> None:
        self.closed = True
