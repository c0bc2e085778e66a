"""Small takes for tests: frames and samples that are made up, and a file that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bodystream.pipelines.recording.recorder import TakeRecorder
from bodystream.sources.base import SourceCounts
from bodystream.types import CameraIntrinsics, DeviceKind, HeadsetSample, RgbdFrame, TrackedDevice
from helpers.hands import a_hand

__all__ = ["CAMERA", "START_NS", "GivenSource", "frames", "samples", "write_take"]

CAMERA = CameraIntrinsics(30.0, 31.0, 15.5, 11.5, 32, 24)
START_NS = 5_000_000_000_000
PERIOD_NS = 33_333_333


class GivenSource:
    """Frames or samples of a list, as a source; what tests set on it stays."""

    def __init__(self, items: Iterable[object], name: str = "given:0", rate_hz: float = 30.0) -> None:
        self.items = list(items)
        self.name, self.rate_hz, self.live = name, rate_hz, False
        self.counts = SourceCounts()

    def __iter__(self) -> Iterator[object]:
        yield from self.items

    def close(self) -> None:
        pass


def frames(count: int, *, unit_m: float = 0.001, colour: bool = True, mask: bool = False) -> list[RgbdFrame]:
    """A wall behind a box that moves, with holes; depth in whole units, colour noise."""
    rng = np.random.default_rng(7)
    made = []
    for index in range(count):
        depth_mm = np.full((CAMERA.height, CAMERA.width), 2400.0) + rng.integers(0, 30, (CAMERA.height, CAMERA.width))
        depth_mm[6:18, 4 + index % 10 : 14 + index % 10] = 1200.0
        depth_mm[rng.random(depth_mm.shape) < 0.05] = 0.0
        units = np.rint(depth_mm * 1e-3 / unit_m).astype(np.uint16)
        made.append(
            RgbdFrame(
                index=index,
                t_ns=START_NS + index * PERIOD_NS,
                depth_m=units.astype(np.float32) * np.float32(unit_m),
                intrinsics=CAMERA,
                colour=rng.integers(0, 256, (CAMERA.height, CAMERA.width, 3), dtype=np.uint8) if colour else None,
                device_t_ns=77_000 + index * PERIOD_NS,
                mask=units < 1.5 / unit_m if mask else None,
                name=f"frame {index}",
            )
        )
    return made


def samples(count: int) -> list[HeadsetSample]:
    """A head that wanders, and hands that are lost now and then; every number has all its digits."""
    rng = np.random.default_rng(3)
    made = []
    for index in range(count):
        devices = []
        for kind in (DeviceKind.VIEW, DeviceKind.GRIP, DeviceKind.HAND_WRIST):
            quaternion = rng.normal(size=4)
            hand = a_hand(index) if kind is DeviceKind.HAND_WRIST and index % 3 else None
            devices.append(TrackedDevice(rng.normal(size=3), quaternion / np.linalg.norm(quaternion), kind, hand))
        head, left, right = devices
        made.append(
            HeadsetSample(
                index=index,
                t_ns=START_NS + index * 11_111_111,
                head=head,
                left=None if index % 5 == 0 else left,
                right=right,
                device_t_ns=None if index % 7 == 0 else 123 + index,
                origin_moved=index == 4,
                emulated=("left",) if index % 5 == 0 else (),
            )
        )
    return made


def write_take(
    path: Path,
    given: Iterable[RgbdFrame] = (),
    heard: Iterable[HeadsetSample] = (),
    *,
    colour: str = "png",
    source: object | None = None,
) -> TakeRecorder:
    """A take with these frames and samples; the recorder, which is closed."""
    recorder = TakeRecorder(path, colour=colour, host_utc_offset_ns=1_700_000_000_000_000_000)
    origin = GivenSource([]) if source is None else source
    for frame in given:
        assert recorder.add_frame(frame, origin, wait=True)
    for sample in heard:
        assert recorder.add_sample(sample)
    recorder.close()
    assert recorder.failure is None, recorder.failure
    return recorder
