"""Recorded motions of people before the synthetic camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation, Slerp

from bodystream.avatar.proportions import FittedRig
from bodystream.avatar.rig import skin
from bodystream.errors import ConfigurationError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, forward_kinematics
from bodystream.sources.synthetic.motion import minimum_jerk
from bodystream.types import Array

__all__ = ["RecordedMotion", "strung_together"]

_PATH_SIGMA_S = 0.8
_HEADING_S = 0.3
_BLEND_S = 0.8
_TURN_BACK_RAD_S = 1.6
_FEET = tuple(JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "foot"))


class RecordedMotion:
    """A motion clip as a pure function of time, endless: its end is blended into its start.

    Whoever walks stays where the camera sees them: of the path on the floor, what is slower than about two seconds is
    taken out. The lowest point of the soles is on the floor in every pose, and the person faces the camera at the
    start.

    Args:
        body: in the proportions that it is to have; the clip's own skeleton is not used.
        clip: at any rate.
        speed: how much faster than recorded, 0.1 to 10.
        yaw_rad: turns the person to their left, as seen from above.

    Raises:
        ConfigurationError: the speed is out of range, or the clip is shorter than two frames.
    """

    def __init__(self, body: FittedRig, clip: MotionClip, speed: float = 1.0, yaw_rad: float = 0.0) -> None:
        if not 0.1 <= speed <= 10.0:
            raise ConfigurationError(f"a recorded motion's speed must be 0.1 to 10, got {speed}")
        if len(clip) < 2:
            raise ConfigurationError(f"motion {clip.name} has {len(clip)} frames, at least 2 are needed")
        self.name = clip.name
        self._skin, self._skeleton = body.skin, body.skeleton
        self._step_rate_hz = speed * clip.rate_hz
        looped = _closed(_facing(clip, yaw_rad))
        self._quaternions = looped.rotations_xyzw.astype(np.float64)
        path = looped.root_positions_m.astype(np.float64)[:, (0, 2)]
        slow = gaussian_filter1d(path, _PATH_SIGMA_S * clip.rate_hz, axis=0, mode="wrap")
        self._path = path - slow
        weight = body.skin.weights * np.isin(body.skin.bones, _FEET)
        self._feet = np.flatnonzero(weight.sum(axis=1) > 0.5)

    def transforms(self, time_s: Array) -> Array:
        """(T,) times [s] since the start to (T, 22, 4, 4) transforms from bind to posed, in the body's frame."""
        step = np.atleast_1d(np.asarray(time_s, np.float64)) * self._step_rate_hz
        before = np.floor(step).astype(np.int64)
        part = (step - before)[:, None]
        frames = len(self._quaternions)
        first, second = before % frames, (before + 1) % frames
        rotations = matrix_from_quaternion(
            _between(self._quaternions[first], self._quaternions[second], part[..., None])
        )
        roots = np.zeros((len(step), 3))
        roots[:, (0, 2)] = (1.0 - part) * self._path[first] + part * self._path[second]
        positions, orientations = forward_kinematics(self._skeleton.offsets_m, rotations, roots)
        posed_from_bone = np.zeros((*positions.shape[:2], 4, 4))
        posed_from_bone[..., :3, :3] = orientations
        posed_from_bone[..., :3, 3] = positions
        posed_from_bone[..., 3, 3] = 1.0
        transforms = posed_from_bone @ self._skin.bone_from_bind.astype(np.float64)
        transforms[..., 1, 3] -= skin(self._skin, transforms, self._feet)[..., 1].min(axis=-1)[:, None]
        return transforms


def strung_together(clips: Sequence[MotionClip], name: str) -> MotionClip:
    """One clip after another, each facing ahead at its start, blended from one into the next; of the first's skeleton.

    Raises:
        ConfigurationError: there is none, or their rates differ.
    """
    if not clips:
        raise ConfigurationError("no motions to string together: give at least one")
    if len({clip.rate_hz for clip in clips}) > 1:
        raise ConfigurationError(f"motions of one rate are wanted, got {sorted({clip.rate_hz for clip in clips})} Hz")
    whole = _facing(clips[0], 0.0)
    for clip in clips[1:]:
        ahead = _facing(clip, 0.0)
        ahead = ahead.moved(0.0, (whole.root_positions_m[-1] - ahead.root_positions_m[0]) * (1.0, 0.0, 1.0))
        whole = _joined(whole, _blend(whole, ahead), ahead)
    return replace(whole, name=name)


def _between(first: Array, second: Array, part: Array) -> Array:
    """(..., 4) unit quaternions between neighbouring frames: the chord, which is the arc for so small turns."""
    near = np.where((first * second).sum(axis=-1, keepdims=True) < 0.0, -second, second)
    mixed = (1.0 - part) * first + part * near
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)


def _heading(clip: MotionClip, frames: slice) -> float:
    """Turn about the vertical from looking along -z [rad], of the shoulders and hips."""
    positions, _ = clip.joints()
    across = np.zeros(3)
    for part in ("shoulder", "hip"):
        across += (
            positions[frames, JOINT_INDEX[f"right_{part}"]] - positions[frames, JOINT_INDEX[f"left_{part}"]]
        ).sum(axis=0)
    return float(np.arctan2(-across[2], across[0]))


def _facing(clip: MotionClip, yaw_rad: float) -> MotionClip:
    """The clip turned so that it looks along -z at its start, and from there by `yaw_rad`."""
    start = slice(0, max(1, round(_HEADING_S * clip.rate_hz)))
    return clip.moved(yaw_rad - _heading(clip, start), np.zeros(3))


def _closed(clip: MotionClip) -> MotionClip:
    """The clip and a blend from its last frame to its first, on the spot where it ended."""
    start = clip.sliced(0, 2)
    start = start.moved(0.0, (clip.root_positions_m[-1] - start.root_positions_m[0]) * (1.0, 0.0, 1.0))
    blend = _blend(clip, start)
    whole = _joined(clip, blend, start.sliced(0, 0))
    # So that the path is continuous where it begins anew, its net way is walked back.
    drift = np.linspace(0.0, 1.0, len(whole) + 1)[:-1, None] * (start.root_positions_m[0] - clip.root_positions_m[0])
    return replace(whole, root_positions_m=(whole.root_positions_m - drift).astype(np.float32))


def _blend(before: MotionClip, after: MotionClip) -> MotionClip:
    """Frames between the end of one clip and the start of another, without those two; slower where it must turn far."""
    last, first = slice(len(before) - 1, None), slice(0, 1)
    turn = abs(np.angle(np.exp(1j * (_heading(after, first) - _heading(before, last)))))
    count = max(2, round(max(_BLEND_S, float(turn) / _TURN_BACK_RAD_S) * before.rate_hz))
    part = minimum_jerk(np.arange(1, count) / count)
    rotations = np.stack(
        [
            Slerp([0.0, 1.0], Rotation.from_quat(np.stack([before.rotations_xyzw[-1, j], after.rotations_xyzw[0, j]])))(
                part
            ).as_matrix()
            for j in range(len(JOINTS))
        ],
        axis=1,
    )
    ends = before.root_positions_m[-1], after.root_positions_m[0]
    roots = (1.0 - part[:, None]) * ends[0] + part[:, None] * ends[1]
    return replace(
        before,
        rotations_xyzw=quaternion_from_matrix(rotations).astype(np.float32),
        root_positions_m=roots.astype(np.float32),
    )


def _joined(*clips: MotionClip) -> MotionClip:
    return replace(
        clips[0],
        rotations_xyzw=np.concatenate([clip.rotations_xyzw for clip in clips]),
        root_positions_m=np.concatenate([clip.root_positions_m for clip in clips]),
    )
