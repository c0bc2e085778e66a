"""What wearers do: recorded motions on their skeleton, begun from the canonical pose, arms held clear of the trunk."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.spatial.transform import Rotation, Slerp

from bodystream.avatar.take.canonical import canonical_rotations
from bodystream.errors import ConfigurationError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix, turn_about
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.sources.motion import find_takes
from bodystream.sources.synthetic.motion import minimum_jerk
from bodystream.types import Array
from bodystream_training.avatar.data.garments.wearer import Wearer
from bodystream_training.avatar.data.surface import QuerySurface

__all__ = ["PieceOfMotion", "WornMotion", "read_pieces", "worn_motion", "START_S", "HOLD_S"]

_PIECE = re.compile(r"(?P<name>[^@]+)(?:@(?P<start>[\d.]+)-(?P<end>[\d.]+))?")
START_S, HOLD_S = 1.0, 0.3
"""From the canonical pose to a motion's first one, and in that."""
_PATH_SIGMA_S = 0.1
_LEGS_APART_DEG = 3.0
_CLEAR_M = 0.045
"""Of arms from the trunk and thighs: two layers of cloth."""
_ARM_STEPS_DEG = np.arange(0.0, 46.0, 5.0)
_CHECKED_HZ = 10.0
_Z = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class PieceOfMotion:
    """A recorded motion, or some seconds of it.

    Attributes:
        name: of the piece, as it was asked for.
        clip: the motion.
    """

    name: str
    clip: MotionClip


@dataclass(frozen=True, slots=True)
class WornMotion:
    """Poses of one wearer at a constant rate.

    Attributes:
        name: of the motion.
        rotations: (T, 22, 3, 3), each joint in its parent's frame, the pelvis in the world.
        root_positions_m: (T, 3) of the pelvis.
        path_m: (T, 3), a smooth way along which the pelvis goes, and accelerations_m_s2: (T, 3) of it.
        begins: the first pose of the motion itself; those before lead to it from the canonical pose.
    """

    name: str
    rotations: Array
    root_positions_m: Array
    path_m: Array
    accelerations_m_s2: Array
    begins: int

    def __len__(self) -> int:
        return len(self.rotations)


def read_pieces(data: str, wanted: tuple[str, ...]) -> list[PieceOfMotion]:
    """Motions by name, `NAME` or `NAME@START-END` in seconds, of a specification of motion files.

    Raises:
        ConfigurationError: a name that is not there or not so written, or seconds outside the motion.
        InputError: the files cannot be read.
    """
    takes = {take.name: take for take in find_takes(data)}
    pieces = []
    for text in wanted:
        parts = _PIECE.fullmatch(text)
        if parts is None:
            raise ConfigurationError(f"--motion {text}: give NAME or NAME@START-END, seconds of it")
        name = parts["name"]
        if name not in takes:
            some = ", ".join(list(takes)[:6])
            raise ConfigurationError(f"--motion {text}: {data} has no motion {name}, but {some}, ...")
        clip = takes[name].load()
        if parts["start"] is not None:
            start, end = float(parts["start"]), float(parts["end"])
            if not 0.0 <= start < end <= clip.duration_s + 1.0 / clip.rate_hz:
                raise ConfigurationError(f"--motion {text}: {name} lasts {clip.duration_s:.2f} s: give seconds in it")
            clip = clip.sliced(round(start * clip.rate_hz), round(end * clip.rate_hz) + 1)
        if clip.duration_s < 0.5:
            raise ConfigurationError(f"--motion {text}: {clip.duration_s:.2f} s are too short: give half a second")
        pieces.append(PieceOfMotion(text, clip))
    return pieces


def worn_motion(
    piece: PieceOfMotion, wearer: Wearer, rate_hz: float, speed: float, start_s: float = START_S, hold_s: float = HOLD_S
) -> WornMotion:
    """A motion on the wearer's skeleton, with the way to it from the canonical pose.

    Legs are turned a little apart and arms are lifted where they would touch the trunk, so that cloth has a place
    between them.

    Args:
        speed: how much faster than recorded.
        start_s: time from the canonical pose to the first one. hold_s: time in it.
    """
    clip = piece.clip.resampled(rate_hz / speed)
    rotations = matrix_from_quaternion(clip.rotations_xyzw.astype(np.float64))
    ratio = wearer.skeleton.pelvis_height_m / clip.skeleton.pelvis_height_m
    roots = clip.root_positions_m.astype(np.float64) * ratio
    facing = turn_about(np.array([0.0, 1.0, 0.0]), -_heading(rotations[0, 0]))
    rotations[:, 0] = facing @ rotations[:, 0]
    roots = (roots - roots[0] * (1.0, 0.0, 1.0)) @ facing.T
    for side, sign in (("left", -1.0), ("right", 1.0)):
        hip = JOINT_INDEX[f"{side}_hip"]
        rotations[:, hip] = turn_about(_Z, sign * np.radians(_LEGS_APART_DEG)) @ rotations[:, hip]
    rotations = _with_clear_arms(rotations, wearer, rate_hz)
    steps, held = round(start_s * rate_hz), round(hold_s * rate_hz)
    lead = _from_canonical(rotations[0], steps)
    whole = np.concatenate([lead, np.repeat(rotations[:1], held, axis=0), rotations])
    places = np.concatenate([np.repeat(roots[:1], steps + held, axis=0), roots])
    path = gaussian_filter1d(places, _PATH_SIGMA_S * rate_hz, axis=0, mode="nearest")
    accelerations = np.gradient(np.gradient(path, axis=0), axis=0) * rate_hz**2
    return WornMotion(piece.name, whole, places, path, accelerations, steps + held)


def _heading(pelvis: Array) -> float:
    """How far a pelvis is turned to its left from looking along -z [rad]."""
    right = pelvis[:, 0]
    return float(np.arctan2(-right[2], right[0]))


def _from_canonical(first: Array, steps: int) -> Array:
    """(steps, 22, 3, 3) from the canonical pose to just before another."""
    part = minimum_jerk(np.arange(steps) / steps)
    start = canonical_rotations()
    out = np.empty((steps, len(JOINTS), 3, 3))
    for joint in range(len(JOINTS)):
        ends = Rotation.from_quat(quaternion_from_matrix(np.stack([start[joint], first[joint]])))
        out[:, joint] = Slerp([0.0, 1.0], ends)(part).as_matrix()
    return out


def _with_clear_arms(rotations: Array, wearer: Wearer, rate_hz: float) -> Array:
    """The poses with each arm lifted aside as little as keeps it clear of trunk and thighs."""
    arm = {side: [JOINT_INDEX[f"{side}_{part}"] for part in ("elbow", "wrist")] for side in ("left", "right")}
    upper = [JOINT_INDEX[f"{side}_shoulder"] for side in arm]
    limbs = [*arm["left"], *arm["right"], *upper]
    trunk = ~np.isin(wearer.main_bones, limbs)
    faces = wearer.faces[trunk[wearer.faces].all(axis=1)]
    stride = max(1, round(rate_hz / _CHECKED_HZ))
    checked = np.arange(0, len(rotations), stride)
    lift_deg = np.zeros((2, len(checked)))
    for row, frame in enumerate(checked):
        body = QuerySurface(wearer.surface(rotations[frame], np.zeros(3)), faces)
        for number, (side, bones) in enumerate(arm.items()):
            chosen = np.flatnonzero(np.isin(wearer.main_bones, bones))[::3]
            for lift in _ARM_STEPS_DEG:
                pose = _lifted(rotations[frame], side, np.radians(lift))
                points = wearer.surface(pose, np.zeros(3))[chosen]
                near = body.nearest(points)
                away = np.linalg.norm(points - near.points, axis=1)
                if not near.inside.any() and away.min() > _CLEAR_M:
                    break
            lift_deg[number, row] = lift
    out = rotations.copy()
    for number, side in enumerate(arm):
        wide = maximum_filter1d(lift_deg[number], 5, mode="nearest")
        smooth = gaussian_filter1d(wide, 2.0, mode="nearest")
        for frame, lift in enumerate(np.interp(np.arange(len(out)), checked, smooth)):
            out[frame] = _lifted(out[frame], side, np.radians(lift))
    return out


def _lifted(rotations: Array, side: str, angle_rad: float) -> Array:
    """(22, 3, 3) with one arm turned up and aside about the chest's front axis."""
    out = rotations.copy()
    shoulder = JOINT_INDEX[f"{side}_shoulder"]
    sign = 1.0 if side == "right" else -1.0
    out[shoulder] = turn_about(_Z, sign * angle_rad) @ rotations[shoulder]
    return out
