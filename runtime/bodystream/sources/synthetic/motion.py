"""Motion programmes: the pose of the body as a smooth function of time, endless and without state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from bodystream.avatar.rig import bone_transforms, skin
from bodystream.errors import ConfigurationError
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array, SkinnedMesh

__all__ = ["Motion", "MotionName", "minimum_jerk"]

MotionName = Literal["limbs", "turn", "walk", "still"]

_RAMP_S = 1.5
_TURN_S = 10.0
_STEP_HZ = {"limbs": 0.22, "turn": 0.7, "walk": 0.75, "still": 0.0}


def minimum_jerk(u: Array) -> Array:
    """From 0 at u <= 0 to 1 at u >= 1 with zero velocity and acceleration at both ends (Flash and Hogan, 1985)."""
    u = np.clip(u, 0.0, 1.0)
    return u**3 * (10.0 - 15.0 * u + 6.0 * u * u)


def _minimum_jerk_integral(u: Array) -> Array:
    """The integral of `minimum_jerk` from 0 to u."""
    v = np.clip(u, 0.0, 1.0)
    return v**4 * (2.5 - 3.0 * v + v * v) + np.maximum(u - 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Channel:
    """One angle: bias + amplitude * (0.75 sin(2 pi f t + a) + 0.25 sin(2 pi 1.7 f t + b)) [rad], ramped in from 0.

    The axes are the body's: "x" swings a hanging limb forward, "y" turns to the body's left, "z" lifts the right arm
    sideways; "hinge" bends the elbow. Angles of the left side about y and z are mirrored.
    """

    joint: str
    axis: Literal["x", "y", "z", "hinge"]
    bias: float
    amplitude: float
    frequency_hz: float


def _both(part: str, axis: Literal["x", "y", "z", "hinge"], bias: float, amplitude: float, f: float) -> list[_Channel]:
    return [_Channel(f"{side}_{part}", axis, bias, amplitude, f) for side in ("left", "right")]


_TORSO = [
    _Channel("spine1", "y", 0.0, 0.06, 0.11),
    _Channel("spine2", "z", 0.0, 0.05, 0.09),
    _Channel("spine3", "y", 0.0, 0.07, 0.13),
    _Channel("spine3", "x", -0.02, 0.03, 0.10),
    _Channel("head", "y", 0.0, 0.22, 0.12),
    _Channel("head", "x", 0.0, 0.08, 0.15),
]
_CHANNELS: dict[str, list[_Channel]] = {
    "limbs": [
        *_TORSO,
        *_both("collar", "z", 0.06, 0.08, 0.12),
        *_both("shoulder", "z", 0.22, 0.45, 0.13),
        *_both("shoulder", "x", 0.10, 0.32, 0.15),
        *_both("elbow", "hinge", 0.15, 0.60, 0.19),
        *_both("wrist", "x", 0.0, 0.15, 0.21),
        *_both("hip", "z", 0.0, 0.03, 0.10),
    ],
    "turn": [
        *_both("shoulder", "z", -0.08, 0.12, 0.15),
        *_both("elbow", "hinge", -0.1, 0.25, 0.17),
        _Channel("head", "y", 0.0, 0.15, 0.12),
    ],
    "walk": [*_TORSO, *_both("shoulder", "z", -0.22, 0.03, 0.15), *_both("elbow", "hinge", 0.1, 0.10, 0.2)],
    "still": [],
}
_STEP_LIFT = {"limbs": 0.75, "turn": 0.22, "walk": 0.55, "still": 0.0}
_SOLE_BINS = 16


class Motion:
    """A programme for one body, as a pure function of time.

    Args:
        body: whose limbs move.
        name: "limbs" (arms raise, swing and bend, knees lift, the torso sways a little), "turn" (once around in
            ten seconds, with small steps), "walk" (on the spot, with a slow drift) or "still".
        seed: chooses phases and frequencies.

    Every programme starts in the rest pose, an A-pose with the arms apart from the torso, and eases into motion. The
    lowest point of the soles is on the floor in every pose; "limbs" also keeps the standing foot where it is.

    Raises:
        ConfigurationError: no such programme.
    """

    def __init__(self, body: SkinnedMesh, name: MotionName, seed: int) -> None:
        if name not in get_args(MotionName):
            raise ConfigurationError(f"motion must be one of {', '.join(get_args(MotionName))}, got {name!r}")
        self.name = name
        self._body = body
        self._channels = _CHANNELS[name]
        rng = np.random.default_rng(seed)
        count = len(self._channels)
        self._frequency = np.array([c.frequency_hz for c in self._channels]) * rng.uniform(0.88, 1.12, count)
        self._phase = rng.uniform(0.0, 2.0 * np.pi, (2, count))
        self._step_hz = _STEP_HZ[name] * rng.uniform(0.92, 1.08)
        self._step_phase = float(rng.integers(2)) * np.pi
        self._hinge = {side: self._elbow_axis(side) for side in ("left", "right")}
        self._soles = [self._sole(side) for side in ("left", "right")]

    def rotation_vectors(self, time_s: Array) -> Array:
        """(T,) times [s] since the start to (T, 22, 3) joint rotations before composition [rad], as x, y, z angles
        for every joint but the elbows, whose hinge angle is a rotation vector."""
        angles = np.zeros((len(time_s), len(JOINTS), 3))
        ramp = minimum_jerk(time_s / _RAMP_S)
        for index, channel in enumerate(self._channels):
            turn = 2.0 * np.pi * self._frequency[index] * time_s
            wave = 0.75 * np.sin(turn + self._phase[0, index]) + 0.25 * np.sin(1.7 * turn + self._phase[1, index])
            value = ramp * (channel.bias + channel.amplitude * wave)
            side, _, part = channel.joint.partition("_")
            if channel.axis == "hinge":
                axis = self._hinge[side]
            else:
                mirrored = side == "left" and part != "" and channel.axis != "x"
                axis = (-1.0 if mirrored else 1.0) * np.eye(3)["xyz".index(channel.axis)]
            angles[:, JOINTS.index(channel.joint)] += value[:, None] * axis
        self._add_steps(time_s, ramp, angles)
        return angles

    def transforms(self, time_s: Array) -> Array:
        """(T,) times [s] since the start to (T, 22, 4, 4) transforms from rest to posed, in the body's frame."""
        time_s = np.atleast_1d(np.asarray(time_s, np.float64))
        angles = self.rotation_vectors(time_s)
        # about z, then x, then y: an arm is lifted sideways, swung, turned
        parts = [matrix_from_rotation_vector(angles * np.eye(3)[k]) for k in range(3)]
        rotations = parts[1] @ parts[0] @ parts[2]
        for side in ("left", "right"):
            elbow = JOINTS.index(f"{side}_elbow")
            rotations[:, elbow] = matrix_from_rotation_vector(angles[:, elbow])
        transforms = bone_transforms(self._body, rotations, np.zeros((len(time_s), 3)))
        self._stand(time_s, transforms)
        return transforms

    def _add_steps(self, time_s: Array, ramp: Array, angles: Array) -> None:
        """Knees lift in turn; walking also swings the legs and the opposite arms."""
        lift = _STEP_LIFT[self.name]
        if lift == 0.0:
            return
        turn = 2.0 * np.pi * self._step_hz * time_s + self._step_phase
        for side, sign in (("left", 1.0), ("right", -1.0)):
            up = ramp * lift * np.maximum(sign * np.sin(turn), 0.0) ** 2
            swing = ramp * 0.18 * sign * -np.cos(turn) if self.name == "walk" else 0.0
            angles[:, JOINTS.index(f"{side}_hip"), 0] += up + swing
            angles[:, JOINTS.index(f"{side}_knee"), 0] -= 1.5 * up
            angles[:, JOINTS.index(f"{side}_ankle"), 0] += 0.3 * up - swing
            angles[:, JOINTS.index(f"{side}_shoulder"), 0] -= 1.2 * swing
        if self.name == "turn":
            angles[:, 0, 1] += 2.0 * np.pi / _TURN_S * _RAMP_S * _minimum_jerk_integral(time_s / _RAMP_S)

    def _stand(self, time_s: Array, transforms: Array) -> None:
        """Move the body so that the lowest sole touches the floor; "limbs" also pins the foot that stands."""
        feet = [skin(self._body, transforms, sole) for sole in self._soles]
        lowest = np.stack([foot[..., 1].min(axis=-1) for foot in feet], axis=-1)  # (T, 2)
        transforms[..., 1, 3] -= lowest.min(axis=-1)[:, None]
        if self.name == "limbs":
            weight = np.exp(-(lowest - lowest.min(axis=-1, keepdims=True)) / 0.02)
            weight /= weight.sum(axis=-1, keepdims=True)
            for k, foot in enumerate(feet):
                slip = foot.mean(axis=1) - self._body.mesh.vertices[self._soles[k]].mean(axis=0)
                transforms[..., 0, 3] -= (weight[:, k] * slip[:, 0])[:, None]
                transforms[..., 2, 3] -= (weight[:, k] * slip[:, 2])[:, None]
        if self.name == "walk":
            ramp = minimum_jerk(time_s / _RAMP_S)
            transforms[..., 0, 3] += (ramp * 0.15 * np.sin(0.35 * time_s))[:, None]
            transforms[..., 2, 3] += (ramp * (0.17 - 0.15 * np.cos(0.23 * time_s)))[:, None]

    def _elbow_axis(self, side: str) -> Array:
        """The axis about which a positive angle bends the elbow further than at rest."""
        shoulder, elbow, wrist = (
            self._body.bind_positions_m[JOINTS.index(f"{side}_{part}")].astype(np.float64)
            for part in ("shoulder", "elbow", "wrist")
        )
        axis = np.cross(elbow - shoulder, wrist - elbow)
        return axis / np.linalg.norm(axis)

    def _sole(self, side: str) -> Array:
        """Indices of the lowest vertices of one foot in each of `_SOLE_BINS` slices from toe to heel."""
        vertices = self._body.mesh.vertices
        on_side = vertices[:, 0] < 0 if side == "left" else vertices[:, 0] > 0
        low = np.flatnonzero(on_side & (vertices[:, 1] < 0.03))
        z = vertices[low, 2]
        edges = np.linspace(z.min(), z.max(), _SOLE_BINS + 1)[1:-1]
        slices = [low[np.digitize(z, edges) == k] for k in range(_SOLE_BINS)]
        return np.concatenate([part[np.argsort(vertices[part, 1], kind="stable")[:3]] for part in slices])
