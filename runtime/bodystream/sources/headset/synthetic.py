"""A headset that is made from a motion: devices mounted on its joints, with a tracker's noise and losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.mounting import Side, device_poses
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND
from bodystream.geometry.tracker_noise import TrackerNoise
from bodystream.sources.headset.replay import ReplayedHeadset
from bodystream.types import Array, BodyPose, DeviceKind, HeadsetSample, TrackedDevice

__all__ = ["HANDS", "MotionHeadset", "TrackingLoss"]

HANDS = {"joint": DeviceKind.JOINT, "grip": DeviceKind.GRIP, "hand": DeviceKind.HAND_WRIST}
"""What is tracked of the hands: the wrist joints themselves, held controllers, or hand tracking."""

_MAX_SAMPLES = 1_000_000
"""Three hours at 90 Hz; each takes about 2 kB."""
_CARRIERS: tuple[tuple[Side, int], ...] = (("head", HEAD), ("left", LEFT_HAND), ("right", RIGHT_HAND))


@dataclass(frozen=True)
class TrackingLoss:
    """What a tracker loses, by chance.

    Attributes:
        hand_per_minute: how often each hand gets lost. hand_s: mean duration; durations are exponential.
        head_per_minute, head_s: the same for the head.
        dropped: share of samples that never arrive, 0 to 1.
    """

    hand_per_minute: float = 6.0
    hand_s: float = 0.5
    head_per_minute: float = 0.5
    head_s: float = 0.2
    dropped: float = 0.005

    def __post_init__(self) -> None:
        rates = (self.hand_per_minute, self.head_per_minute)
        durations = (self.hand_s, self.head_s)
        if not all(0 <= rate < np.inf for rate in rates) or not all(0 < duration < np.inf for duration in durations):
            raise ConfigurationError(
                f"tracking losses take rates of at least 0 and positive durations, got {rates} per minute, "
                f"{durations} s"
            )
        if not 0 <= self.dropped < 1:
            raise ConfigurationError(f"the share of dropped samples must be from 0 to below 1, got {self.dropped}")


class MotionHeadset(ReplayedHeadset):
    """A `HeadsetSource` of a motion, with its pose as the truth. The same seed gives the same samples.

    Args:
        clip: the motion; it is resampled.
        rate_hz: samples per second.
        noise: of the tracker; None for none.
        seed: of noise and losses.
        hands: what is tracked of the hands, see `HANDS`. With `joint` the head's own joint is given too, otherwise the
            point between the eyes.
        lost: losses of tracking; None for none.
        realtime: at the pace of the motion, instead of as fast as it is processed.
        speed: with `realtime`, how many times as fast.

    Attributes:
        clip: the motion at the source's rate, one frame per sample index.

    Raises:
        ConfigurationError: an option cannot be used, or the motion has no frames.
    """

    def __init__(
        self,
        clip: MotionClip,
        rate_hz: float = 90.0,
        noise: TrackerNoise | None = None,
        seed: int = 0,
        hands: Literal["joint", "grip", "hand"] = "grip",
        lost: TrackingLoss | None = None,
        realtime: bool = False,
        speed: float = 1.0,
    ) -> None:
        if hands not in HANDS:
            raise ConfigurationError(f"hands must be one of {', '.join(HANDS)}, got {hands!r}")
        if not 1 <= rate_hz <= 1000:
            raise ConfigurationError(f"a headset's rate must be from 1 to 1000 Hz, got {rate_hz:g} Hz")
        if not len(clip):
            raise ConfigurationError(f"the motion {clip.name} has no frames")
        if clip.duration_s * rate_hz > _MAX_SAMPLES:
            raise ConfigurationError(
                f"the motion {clip.name} of {clip.duration_s:.0f} s has more than {_MAX_SAMPLES} samples at "
                f"{rate_hz:g} Hz: cut it, or choose a lower rate"
            )
        self.clip = clip.resampled(rate_hz)
        rng = np.random.default_rng(seed)
        count = len(self.clip)
        positions, orientations = self.clip.joints()
        devices: list[list[TrackedDevice | None]] = []
        for side, joint in _CARRIERS:
            kind = HANDS[hands] if side != "head" or hands == "joint" else DeviceKind.VIEW
            places, turns = device_poses(positions[:, joint], orientations[:, joint], kind, side)
            if noise is not None:
                offsets, wobble = noise.draw(count, rate_hz, rng)
                places, turns = places + offsets, Rotation.from_rotvec(wobble).as_matrix() @ turns
            tracked = np.ones(count, bool)
            if lost is not None:
                per_minute, mean_s = (
                    (lost.head_per_minute, lost.head_s) if side == "head" else (lost.hand_per_minute, lost.hand_s)
                )
                tracked = ~_bursts(per_minute, mean_s, count, rate_hz, rng)
            rows = zip(places, quaternion_from_matrix(turns), tracked.tolist(), strict=True)
            devices.append([TrackedDevice(p, q, kind) if ok else None for p, q, ok in rows])
        arrived = rng.random(count) >= (0.0 if lost is None else lost.dropped)
        arrived[0] = True
        samples = [
            HeadsetSample(
                index=k,
                t_ns=(t_ns := round(k * 1e9 / rate_hz)),
                head=devices[0][k],
                left=devices[1][k],
                right=devices[2][k],
                truth=BodyPose(t_ns, self.clip.rotations_xyzw[k], self.clip.root_positions_m[k]),
            )
            for k in np.flatnonzero(arrived).tolist()
        ]
        super().__init__(f"motion:{clip.name}", samples, rate_hz, realtime, speed=speed)


def _bursts(per_minute: float, mean_s: float, count: int, rate_hz: float, rng: np.random.Generator) -> Array:
    """(count,) bool: samples in which tracking is lost. Losses begin by a Poisson process."""
    lost = np.zeros(count, bool)
    if per_minute > 0:
        starts = np.flatnonzero(rng.random(count) < min(per_minute / 60.0 / rate_hz, 1.0))
        lengths = np.maximum(np.ceil(rng.exponential(mean_s * rate_hz, len(starts))), 1).astype(np.int64)
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            lost[start : start + length] = True
    return lost
