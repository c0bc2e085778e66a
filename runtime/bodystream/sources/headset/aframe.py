"""Motion captures of A-Frame (`aframe-motion-capture-components`), made with SteamVR headsets and wands.

The file holds one track per device: `camera`, and `left` and `right` (or `leftHand` and `rightHand`), each with
`poses`, a list of `{position: {x, y, z}, rotation: {x, y, z}, timestamp}`. Some files wrap this in `{avatar,
recording}`. Rotations are Euler angles in degrees in the order of A-Frame, YXZ: `Ry(y) @ Rx(x) @ Rz(z)`. Timestamps
are milliseconds. The tracks are sampled apart from each other; here the hands are interpolated to the head's times. A
pose that is null, or whose numbers are null or absent, is of a device that was not tracked then.

The recorded pose of a wand is that of its tracking origin in the ring at its end. Its axes lie as those of a grip do:
-z along the wand to the thumb's end, x normal to the palm. The palm is behind it and a little below: between the touch
pad (5 cm behind the origin) and the end of the handle, around the side buttons (9 cm). The offset is approximate, the
wand is held as one likes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.sources.headset.base import Trace
from bodystream.sources.headset.records import MAX_SAMPLES, MAX_TIME_MS, is_missing, number, shown, since_start_ns
from bodystream.types import Array, DeviceKind, HeadsetSample, TrackedDevice

__all__ = ["WAND_FROM_GRIP_M", "is_aframe", "parse_aframe"]

WAND_FROM_GRIP_M = (0.0, -0.015, 0.10)
"""The grip's origin in the frame of a wand's tracking origin [m]; the axes are the same."""

_NAMES = {"left": ("left", "leftHand"), "right": ("right", "rightHand")}
_MAX_GAP_MS = 100.0
"""Between two poses that are further apart in time a hand counts as not tracked."""


@dataclass(frozen=True, slots=True)
class _Track:
    """Attributes: times_ms (N,), positions_m (N, 3), quaternions (N, 4) xyzw without jumps of sign, tracked (N,)."""

    times_ms: Array
    positions_m: Array
    quaternions: Array
    tracked: Array

    def at(self, times_ms: Array) -> tuple[Array, Array, Array]:
        """Interpolated positions, quaternions and, of each, whether the device was tracked around that time."""
        after = np.clip(np.searchsorted(self.times_ms, times_ms), 0, len(self.times_ms) - 1)
        exact = self.times_ms[after] == times_ms
        before = np.where(exact, after, np.maximum(after - 1, 0))
        span = self.times_ms[after] - self.times_ms[before]
        inside = exact | ((self.times_ms[before] < times_ms) & (times_ms < self.times_ms[after]))
        u = np.where(span > 0, (times_ms - self.times_ms[before]) / np.where(span > 0, span, 1.0), 0.0)[:, None]
        positions = self.positions_m[before] + u * (self.positions_m[after] - self.positions_m[before])
        # Neighbours are some milliseconds apart, where a normalised straight line is as good as a slerp.
        turns = self.quaternions[before] + u * (self.quaternions[after] - self.quaternions[before])
        turns /= np.linalg.norm(turns, axis=1, keepdims=True)
        tracked = self.tracked[before] & self.tracked[after]
        return positions, turns, inside & (span <= _MAX_GAP_MS) & tracked


def is_aframe(content: Any) -> bool:
    """Whether decoded JSON looks like this format."""
    return isinstance(content, dict) and isinstance(_unwrapped(content).get("camera"), dict)


def parse_aframe(content: dict[str, Any], name: str) -> Trace:
    """Decoded JSON to samples at the head's times.

    Raises:
        InputError: a record is not as the format says.
    """
    content = _unwrapped(content)
    warnings: list[str] = []
    head = _read_track(content["camera"], f"{name}, camera", warnings)
    if head is None:
        raise InputError(
            f"{name}: the track `camera` has no poses, or none with position, rotation and timestamp: without the head "
            "there is nothing to follow"
        )
    head_poses = _devices(head, head.times_ms, DeviceKind.VIEW)
    hands: dict[str, list[TrackedDevice | None]] = {}
    for side, keys in _NAMES.items():
        found = [key for key in keys if key in content]
        track = _read_track(content[found[0]], f"{name}, {found[0]}", warnings) if found else None
        if track is None:
            warnings.append(
                f"{name} has no poses of the {side} hand: wanted a track {' or '.join(keys)} with numbers in position "
                "and rotation"
            )
        hands[side] = _devices(track, head.times_ms, DeviceKind.GRIP) if track else [None] * len(head_poses)
    device_ns = [round(t * 1e6) for t in head.times_ms.tolist()]
    rows = zip(device_ns, head_poses, hands["left"], hands["right"], strict=True)
    samples = [
        HeadsetSample(index, since_start_ns(t_ns, device_ns[0], f"{name}, camera"), view, left, right, device_t_ns=t_ns)
        for index, (t_ns, view, left, right) in enumerate(rows)
    ]
    return Trace(name, tuple(samples), tuple(warnings))


def _unwrapped(content: dict[str, Any]) -> dict[str, Any]:
    inner = content.get("recording")
    return inner if "camera" not in content and isinstance(inner, dict) else content


def _read_track(track: Any, where: str, warnings: list[str]) -> _Track | None:
    poses = track.get("poses") if isinstance(track, dict) else None
    if not isinstance(poses, list):
        raise InputError(f"{where}: wanted an object with a list `poses`, got {shown(track)}")
    if len(poses) > MAX_SAMPLES:
        raise InputError(f"{where} has {len(poses)} poses, at most {MAX_SAMPLES} are read: cut it")
    read = [_read_pose(pose, f"{where}, pose {index}") for index, pose in enumerate(poses)]
    rows = np.array([row for row in read if row is not None]).reshape(-1, 7)
    if np.isnan(rows[:, 1]).all():  # none at all, or never tracked
        return None
    # Interpolation needs times that ascend; a pose that is not after all earlier ones says nothing new.
    ahead = np.concatenate([[True], rows[1:, 0] > np.maximum.accumulate(rows[:, 0])[:-1]])
    if not ahead.all():
        warnings.append(
            f"{where}: {np.count_nonzero(~ahead)} poses whose time is not after the one before are left out"
        )
        rows = rows[ahead]
    tracked = ~np.isnan(rows[:, 1])
    rows[~tracked, 1:] = 0.0
    quaternions = Rotation.from_euler("YXZ", rows[:, [5, 4, 6]], degrees=True).as_quat()
    flips = np.where(np.einsum("ij,ij->i", quaternions[1:], quaternions[:-1]) < 0, -1.0, 1.0)
    quaternions[1:] *= np.cumprod(flips)[:, None]
    return _Track(rows[:, 0], rows[:, 1:4], quaternions, tracked)


def _read_pose(pose: Any, where: str) -> list[float] | None:
    """Time, position and Euler angles, seven numbers, all but the time nan while not tracked; None without a time."""
    if pose is None:
        return None
    if not isinstance(pose, dict):
        raise InputError(f"{where}: wanted an object with position, rotation and timestamp, got {shown(pose)}")
    if _is_lost(pose):
        time_ms = pose.get("timestamp")
        if is_missing(time_ms):
            return None
        return [number(time_ms, where, "timestamp", MAX_TIME_MS)] + [math.nan] * 6
    values = [number(pose.get("timestamp"), where, "timestamp", MAX_TIME_MS)]
    for part in ("position", "rotation"):
        vector = pose.get(part)
        if not isinstance(vector, dict):
            raise InputError(f"{where}: `{part}` must be an object with x, y and z, got {shown(vector)}")
        if "w" in vector:
            raise InputError(f"{where}: `{part}` has a w, so it is a quaternion; this format has Euler degrees x, y, z")
        values += [number(vector.get(axis), where, f"{part}.{axis}") for axis in "xyz"]
    return values


def _is_lost(pose: dict[str, Any]) -> bool:
    """Whether position or rotation, or one of their numbers, is null, not a number or absent."""
    for part in ("position", "rotation"):
        vector = pose.get(part)
        if vector is None or vector == "":
            return True
        if isinstance(vector, dict) and "w" not in vector and any(is_missing(vector.get(axis)) for axis in "xyz"):
            return True
    return False


def _devices(track: _Track, times_ms: Array, kind: DeviceKind) -> list[TrackedDevice | None]:
    positions, quaternions, tracked = track.at(times_ms)
    turns = Rotation.from_quat(quaternions)
    if kind is DeviceKind.GRIP:
        positions = positions + turns.apply(WAND_FROM_GRIP_M)
    quaternions = turns.as_quat(canonical=True)
    return [
        TrackedDevice(p, q, kind) if ok else None
        for p, q, ok in zip(positions, quaternions, tracked.tolist(), strict=True)
    ]
