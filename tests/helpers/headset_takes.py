"""Made-up takes for the tests of `bodystream drive`: motion files, and tables of head and hands, whole or spoilt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodystream.geometry.motion import MotionClip
from bodystream.sinks import BvhRecorder
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.headset.table import write_headset_csv
from bodystream.types import Array, BodyPose, HeadsetSample, TrackedDevice

__all__ = ["DOWN", "LEVEL", "change_devices", "samples_of", "write_bvh", "write_table"]

DOWN, LEVEL = (0.0, -1.0, 0.0), ((-1.0, 0.0, 0.0), (1.0, 0.0, 0.0))
RATE_HZ = 30.0
"""Slow enough for a busy machine, and no step is longer than the 0.1 s that evidence is taken over."""


def write_bvh(path: Path, clip: MotionClip, rate_hz: float = RATE_HZ) -> Path:
    """The motion as a BVH file in the words of our own skeleton."""
    clip = clip.resampled(rate_hz)
    path.parent.mkdir(parents=True, exist_ok=True)
    with BvhRecorder(path, clip.skeleton, rate_hz) as recorder:
        for k, (rotations, root) in enumerate(zip(clip.rotations_xyzw, clip.root_positions_m, strict=True)):
            recorder.add(BodyPose(round(k * 1e9 / rate_hz), rotations, root))
    return path


def samples_of(clip: MotionClip, rate_hz: float = RATE_HZ) -> list[HeadsetSample]:
    """Headset and controllers of the motion, without noise."""
    return list(MotionHeadset(clip, rate_hz))


def write_table(path: Path, samples: Iterable[HeadsetSample]) -> Path:
    """A table that `trace:` reads; numbers are written as they are, sensible or not."""
    write_headset_csv(path, samples)
    return path


def change_devices(
    samples: Sequence[HeadsetSample], change: Callable[[Array, Array], tuple[Array, Array]]
) -> list[HeadsetSample]:
    """The samples with `change(position, quaternion)` of head and hands."""

    def changed(device: TrackedDevice | None) -> TrackedDevice | None:
        if device is None:
            return None
        position, rotation = change(device.position_m, device.rotation_xyzw)
        return replace(device, position_m=np.asarray(position), rotation_xyzw=np.asarray(rotation))

    return [replace(s, head=changed(s.head), left=changed(s.left), right=changed(s.right)) for s in samples]
