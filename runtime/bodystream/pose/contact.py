"""Feet on the floor: which of them stand, and legs bent so that an ankle comes to a place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bodystream.errors import ConfigurationError
from bodystream.geometry.rotations import smallest_rotation, turn_about
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, Skeleton
from bodystream.timing import Tick
from bodystream.types import Array

__all__ = ["ContactConfig", "ContactDetector", "foot_skate_m", "leg_to"]

_LEGS = tuple(
    tuple(JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")) for side in ("left", "right")
)
_FEET = np.array([leg[2:] for leg in _LEGS])  # (2, 2) side, ankle and toes

_WALK_M_S = 1.2
_HURRY = 2.6
"""How much faster feet may be that land, times what the head is faster than somebody who walks: the pose is late, and a
foot that has landed still swings in it."""
_KICK_M = 0.35
"""Only a foot that the network lifts so high leaves while the head is still."""
_HEAD_S = 0.25
"""Time constant with which the speed of the head is watched: a nod is no walk."""


@dataclass(frozen=True, slots=True)
class ContactConfig:
    """When a foot is said to stand; the second of each pair is when it is said to have left.

    Attributes:
        height_m: of the foot above where it stands [m].
        speed_m_s: of its joint [m/s].
        swing_m_s: the same beside a probability, of somebody who walks; who runs has faster feet [m/s].
        still_m_s: while the head is slower than this nobody walks, and a foot that stands goes on standing [m/s].
        probability: of contact as the network says, as a part of what it was at most in the last moments.
        fading_s: how fast those moments fade [s].
        least: what the highest probability is taken to be at least, so that two lifted feet do not stand.
    """

    height_m: tuple[float, float] = (0.12, 0.20)
    speed_m_s: tuple[float, float] = (0.35, 0.9)
    swing_m_s: tuple[float, float] = (1.0, 1.5)
    still_m_s: tuple[float, float] = (0.12, 0.2)
    probability: tuple[float, float] = (0.65, 0.4)
    fading_s: float = 0.5
    least: float = 0.1

    def __post_init__(self) -> None:
        enter, leave = np.array([self.height_m, self.speed_m_s, self.swing_m_s, self.still_m_s]).T
        if not (np.all(0.0 < enter) and np.all(enter <= leave) and 0.0 <= self.probability[1] <= self.probability[0]):
            raise ConfigurationError("contact: a foot must leave at a greater height and speed than it lands with")
        if not (self.fading_s > 0.0 and 0.0 < self.least <= 1.0):
            raise ConfigurationError(
                f"contact: fading_s must be positive and least from 0 to 1, got {self.fading_s} and {self.least}"
            )


class ContactDetector:
    """Says frame by frame which feet stand, with hysteresis.

    A foot that the network gives a probability goes by that and by its height; else by its height and speed. Of a
    person who runs the network is never sure, so that a probability counts beside the foot's highest one of the last
    moments.

    Args:
        skeleton: whose ankles and toes stand as high as in the T-pose.
    """

    def __init__(self, skeleton: Skeleton, config: ContactConfig | None = None) -> None:
        self.config = ContactConfig() if config is None else config
        self.set_person(skeleton)
        c = self.config
        self._bounds = np.array([c.height_m, c.speed_m_s, c.swing_m_s, c.probability])
        self.reset()

    def set_person(self, skeleton: Skeleton) -> None:
        """The person's proportions; feet that stand go on standing."""
        self._rest = (skeleton.rest_positions_m[:, 1] + skeleton.pelvis_height_m)[_FEET]  # (2, 2)

    def reset(self) -> None:
        """Forget the frame before."""
        self._feet: Array | None = None
        self._contacts = np.zeros(2, bool)
        self._highest = np.ones(2)
        self._head: Array | None = None
        self.head_m_s = 0.0
        """How fast the head has gone along the floor in the last moments [m/s]."""
        self.still = True
        """Whether the head is too slow for somebody who walks."""

    def step(self, tick: Tick, positions_m: Array, probabilities: Array | None = None) -> Array:
        """(2,) bool, whether the left and the right foot stand.

        Args:
            positions_m: (22, 3) joints in the world, the floor at y = 0 [m].
            probabilities: (2,) of contact, where the network gives them.
        """
        feet = np.asarray(positions_m, np.float64)[_FEET]  # side, ankle and toes
        height = (feet[..., 1] - self._rest).min(axis=1)
        low_m, slow_m_s, swing_m_s, sure = self._bounds[:, self._contacts.astype(int)]
        low = height < low_m
        self._watch_head(tick, np.asarray(positions_m[HEAD], np.float64))
        speed = np.full(2, np.inf if probabilities is None else 0.0)
        if self._feet is not None and not tick.fresh and tick.seconds > 0.0:
            # On tiptoe the ankle moves, on the heel the toes do.
            speed = (np.linalg.norm(feet - self._feet, axis=-1) / tick.seconds).min(axis=1)
        if probabilities is None:
            calm = speed < slow_m_s
        else:
            faded = 1.0 if tick.fresh else math.exp(-tick.seconds / self.config.fading_s)
            self._highest = np.maximum(probabilities, self._highest * faded)
            calm = np.asarray(probabilities) > sure * np.maximum(self._highest, self.config.least)
            calm &= speed < swing_m_s * (1.0 + _HURRY * max(0.0, self.head_m_s / _WALK_M_S - 1.0))
            if self.still:
                calm |= (speed < swing_m_s) | self._contacts
                low |= self._contacts & (height < _KICK_M)
        self._contacts = low & calm
        self._feet = feet
        return self._contacts.copy()

    def _watch_head(self, tick: Tick, head_m: Array) -> None:
        """How fast the head goes along the floor, and whether it is still."""
        if self._head is not None and not tick.fresh and tick.seconds > 0.0:
            step = head_m - self._head
            speed = math.hypot(step[0], step[2]) / tick.seconds
            self.head_m_s += (speed - self.head_m_s) * -math.expm1(-tick.seconds / _HEAD_S)
        self._head = head_m
        begins, ends = self.config.still_m_s
        self.still = self.head_m_s < (ends if self.still else begins)


def leg_to(
    skeleton: Skeleton, rotations: Array, root_position_m: Array, side: int, ankle_m: Array, foot: Array
) -> None:
    """Bend one leg so that its ankle comes to a place, the foot's orientation kept: two-bone inverse kinematics.

    The knee bends in the plane that it bends in now; a place out of reach is pointed at by a straight leg.

    Args:
        rotations: (22, 3, 3) float64, changed in place: hip, knee and ankle.
        root_position_m: (3,) pelvis in the world [m].
        side: 0 left, 1 right.
        ankle_m: (3,) where the ankle shall be [m].
        foot: (3, 3) orientation of the ankle joint in the world.
    """
    hip, knee, ankle, _ = _LEGS[side]
    to_hip, to_knee, to_ankle = skeleton.offsets_m[[hip, knee, ankle]]
    above = rotations[0]
    thigh = above @ rotations[hip]
    away = np.asarray(ankle_m) - (root_position_m + above @ to_hip)
    upper, lower = _length(to_knee), _length(to_ankle)
    distance = min(max(_length(away), abs(upper - lower) + 1e-3), upper + lower - 1e-4)
    now = rotations[knee] @ to_ankle / lower
    axis = _cross(to_knee / upper, now)
    sine = _length(axis)
    axis = np.array([-1.0, 0.0, 0.0]) if sine < 1e-3 else axis / sine
    if axis[0] > 0.0:  # overstretched: it goes through the straight leg to bend as a knee does
        axis, sine = -axis, -sine
    bend = math.acos(min(max((distance**2 - upper**2 - lower**2) / (2.0 * upper * lower), -1.0), 1.0))
    change = bend - math.atan2(sine, to_knee @ now / upper)
    bent = turn_about(axis, change) @ rotations[knee]
    reach = thigh @ (to_knee + bent @ to_ankle)
    turned = smallest_rotation(reach / _length(reach), away / _length(away)) @ thigh
    rotations[hip], rotations[knee], rotations[ankle] = above.T @ turned, bent, (turned @ bent).T @ foot


# numpy's own take several times as long for three numbers
def _length(vector: Array) -> float:
    return math.sqrt(vector @ vector)


def _cross(first: Array, second: Array) -> Array:
    (a, b, c), (x, y, z) = first.tolist(), second.tolist()
    return np.array([b * z - c * y, c * x - a * z, a * y - b * x])


def foot_skate_m(ankles_m: Array, contacts: Array) -> float:
    """Mean horizontal path per frame of feet while they stand [m].

    Args:
        ankles_m: (T, 2, 3) world positions [m].
        contacts: (T, 2) bool; a step counts where the foot stands in both frames.
    """
    both = contacts[1:] & contacts[:-1]
    if not both.any():
        return 0.0
    return float(np.linalg.norm(np.diff(ankles_m, axis=0)[..., [0, 2]], axis=-1)[both].mean())
