"""Feet on the floor: which of them stand, and legs bent so that a standing foot stays where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.rotations import smallest_rotation, turn_about
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton
from bodystream.timing import Tick
from bodystream.types import Array

__all__ = ["ContactConfig", "ContactDetector", "FootLock", "FootLockConfig", "foot_skate_m", "leg_to"]

_LEGS = tuple(
    tuple(JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")) for side in ("left", "right")
)
_FEET = np.array([leg[2:] for leg in _LEGS])  # (2, 2) side, ankle and toes


@dataclass(frozen=True, slots=True)
class ContactConfig:
    """When a foot is said to stand; the second of each pair is when it is said to have left.

    Attributes:
        height_m: of the foot above where it stands [m].
        speed_m_s: of its joint [m/s].
        probability: of contact, as the network says.
    """

    height_m: tuple[float, float] = (0.06, 0.12)
    speed_m_s: tuple[float, float] = (0.35, 0.9)
    probability: tuple[float, float] = (0.6, 0.4)

    def __post_init__(self) -> None:
        enter, leave = np.array([self.height_m, self.speed_m_s]).T
        if not (np.all(0.0 < enter) and np.all(enter <= leave) and 0.0 <= self.probability[1] <= self.probability[0]):
            raise ConfigurationError("contact: a foot must leave at a greater height and speed than it lands with")


class ContactDetector:
    """Says frame by frame which feet stand, with hysteresis.

    A foot that the network gives a probability goes by that and by its height; else by its height and speed.

    Args:
        skeleton: whose ankles and toes stand as high as in the T-pose.
    """

    def __init__(self, skeleton: Skeleton, config: ContactConfig | None = None) -> None:
        self.config = ContactConfig() if config is None else config
        rest = skeleton.rest_positions_m[:, 1] + skeleton.pelvis_height_m
        self._rest = rest[_FEET]  # (2, 2)
        self._bounds = np.array([self.config.height_m, self.config.speed_m_s, self.config.probability])
        self.reset()

    def reset(self) -> None:
        """Forget the frame before."""
        self._feet: Array | None = None
        self._contacts = np.zeros(2, bool)

    def step(self, tick: Tick, positions_m: Array, probabilities: Array | None = None) -> Array:
        """(2,) bool, whether the left and the right foot stand.

        Args:
            positions_m: (22, 3) joints in the world, the floor at y = 0 [m].
            probabilities: (2,) of contact, where the network gives them.
        """
        feet = np.asarray(positions_m, np.float64)[_FEET]  # side, ankle and toes
        height = (feet[..., 1] - self._rest).min(axis=1)
        low_m, slow_m_s, sure = self._bounds[:, self._contacts.astype(int)]
        low = height < low_m
        if probabilities is not None:
            calm = np.asarray(probabilities) > sure
        elif self._feet is not None and not tick.fresh and tick.seconds > 0.0:
            # On tiptoe the ankle moves, on the heel the toes do.
            calm = (np.linalg.norm(feet - self._feet, axis=-1) / tick.seconds).min(axis=1) < slow_m_s
        else:
            calm = np.zeros(2, bool)
        self._contacts = low & calm
        self._feet = feet
        return self._contacts.copy()


@dataclass(frozen=True, slots=True)
class FootLockConfig:
    """How standing feet are held.

    Attributes:
        release_s: a foot that leaves goes over to the free motion within this time [s].
        settle_s: time constant with which a locked foot gives way to what the poses say [s].
        longest_pull_m: a foot that would be pulled farther is let go [m].
        toe_clearance_m: least height of the toes' joint above the floor [m].
        ankle_clearance_m: least height of the ankle [m].
    """

    release_s: float = 0.2
    settle_s: float = 0.6
    longest_pull_m: float = 0.12
    toe_clearance_m: float = 0.01
    ankle_clearance_m: float = 0.035

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0.0):
                raise ConfigurationError(f"foot lock: {name} must be finite and not negative, got {value}")


class FootLock:
    """Keeps standing feet where they came to stand and all feet out of the floor, by bending the legs only."""

    def __init__(self, skeleton: Skeleton, config: FootLockConfig | None = None) -> None:
        self.config = FootLockConfig() if config is None else config
        self._skeleton = skeleton
        self.reset()

    def reset(self) -> None:
        """Let go of both feet."""
        self._locked = [False, False]
        self._torn = [False, False]  # let go for a too long pull, and not yet back at the free motion
        self._places = np.zeros((2, 3))
        self._corrections = np.zeros((2, 3))
        self._released_from = np.zeros((2, 3))
        self._since_release_s = np.full(2, np.inf)

    def step(self, tick: Tick, rotations: Array, positions_m: Array, world_from_joint: Array, contacts: Array) -> Array:
        """The pose with its legs bent; (22, 3, 3), only hips, knees and ankles differ.

        Args:
            rotations: (22, 3, 3) in the parents' frames.
            positions_m: (22, 3) their joints in the world [m]; the pelvis is never moved.
            world_from_joint: (22, 3, 3) their orientations in the world.
            contacts: (2,) bool, which feet stand.

        Returns:
            `rotations` itself where no leg had to be bent.
        """
        rotations = np.asarray(rotations, np.float64)
        if rotations.shape != (len(JOINTS), 3, 3):
            raise InputError(f"the foot lock takes ({len(JOINTS)}, 3, 3) rotations, got {rotations.shape}")
        if tick.fresh:  # another movement, or a source that began anew
            self.reset()
        out = rotations
        for side, (_, _, ankle, toes) in enumerate(_LEGS):
            free = positions_m[ankle]
            correction = self._correction(side, free, bool(contacts[side]), tick.seconds)
            goal = free + correction
            lift = max(
                self.config.ankle_clearance_m - goal[1],
                self.config.toe_clearance_m - (positions_m[toes, 1] + correction[1]),
                0.0,
            )
            goal = goal + (0.0, lift, 0.0)
            if _length(goal - free) > 1e-6:
                out = rotations.copy() if out is rotations else out
                leg_to(self._skeleton, out, positions_m[0], side, goal, world_from_joint[ankle])
        return out

    def _correction(self, side: int, free: Array, contact: bool, seconds: float) -> Array:
        """(3,) from where the pose has the ankle to where it is put [m]."""
        config = self.config
        last = self._corrections[side]
        if not contact or self._since_release_s[side] >= config.release_s:
            self._torn[side] = False
        if contact and not self._locked[side] and not self._torn[side]:  # it stands from where it is shown now
            self._locked[side] = True
            self._places[side] = free + last
        elif self._locked[side] and not contact:
            self._release(side)
        if self._locked[side]:
            # A slow drift towards the poses keeps a long stand from ending in a jerk.
            if config.settle_s > 0.0:
                self._places[side] += (free - self._places[side]) * -math.expm1(-seconds / config.settle_s)
            wanted = self._places[side] - free
            if _length(wanted) > config.longest_pull_m:
                self._release(side)
                self._torn[side] = True
        if not self._locked[side]:
            self._since_release_s[side] += seconds
            along = min(1.0, self._since_release_s[side] / max(config.release_s, 1e-9))
            wanted = self._released_from[side] * (1.0 - along * along * (3.0 - 2.0 * along))
        self._corrections[side] = wanted
        return wanted

    def _release(self, side: int) -> None:
        self._locked[side] = False
        self._released_from[side] = self._corrections[side]
        self._since_release_s[side] = 0.0


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
