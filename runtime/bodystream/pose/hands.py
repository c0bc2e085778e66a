"""Hands that are lost and come back: held, then let go, then taken up again without a jump.

A lost hand stays where it was relative to the body for a short while, since most losses are short. Then its weight
falls to 0 and the network's guess takes over. A hand that returns is eased from where it was shown to where it is.
A hand that is farther away than an arm reaches is a controller that was put down, and counts as lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.mounting import SIDES
from bodystream.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from bodystream.geometry.skeleton import ARMS, HEAD, JOINT_INDEX, Skeleton
from bodystream.pose.features import heading_rotation
from bodystream.pose.observation import UNTURNED, JointTargets
from bodystream.pose.refine import PoseTargets
from bodystream.timing import Tick
from bodystream.types import Array, Status

__all__ = ["EasedTargets", "HandEaser", "HandEaserConfig", "ReachGate"]

_BEYOND, _WITHIN = 1.2, 1.1
"""A wrist is out of reach beyond the first, and in reach again below the second: times what the skeleton allows."""


@dataclass(frozen=True, slots=True)
class HandEaserConfig:
    """How losses are bridged.

    Attributes:
        hold_s: a lost hand keeps its place relative to the body so long [s].
        release_s: then its weight falls to 0 within this time [s].
        return_s: a returning hand is taken up within this time, or longer if the speeds below ask for it [s].
        speed_m_s: how fast at most a returning hand is moved, on top of its own motion [m/s].
        turn_rad_s: how fast at most it is turned [rad/s].
        head_hold_s: after so long without a head the pose is LOST [s].
    """

    hold_s: float = 0.25
    release_s: float = 0.5
    return_s: float = 0.25
    speed_m_s: float = 3.0
    turn_rad_s: float = 12.0
    head_hold_s: float = 0.5

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0.0):
                raise ConfigurationError(f"easing of hands: {name} must be positive and finite, got {value}")


@dataclass(frozen=True, slots=True)
class EasedTargets:
    """What the rest of the pose stage goes by.

    Attributes:
        t_ns: of the sample.
        targets: head, left and right wrist; None before the first head.
        tracked: (3,) bool, what the sample itself held, within reach.
        status: TRACKED, DEGRADED while something is missing or eased, LOST without a head for long.
        flags: of `left_lost`, `right_lost`, `head_lost`, `left_out_of_reach`, `right_out_of_reach`, `left_eased`,
            `right_eased`.
        reason: for a person, empty while TRACKED.
    """

    t_ns: int
    targets: PoseTargets | None
    tracked: Array
    status: Status
    flags: tuple[str, ...]
    reason: str


class ReachGate:
    """Tells hands that are farther from the head than arms reach: controllers that were put down.

    The bound leaves room for arms that are longer than the skeleton's, which is often a guess. Between the two bounds
    a hand stays what it was, so that one at the edge does not flicker.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self.set_person(skeleton)
        self.reset()

    def set_person(self, skeleton: Skeleton) -> None:
        """The person's proportions; what is out of reach stays so until it is seen to be in reach."""
        rest = skeleton.rest_positions_m
        self._reach_m = np.array(
            [
                np.linalg.norm(rest[JOINT_INDEX[f"{side}_shoulder"]] - rest[HEAD])
                + np.linalg.norm(skeleton.offsets_m[list(arm)], axis=1).sum()
                for side, arm in ARMS.items()
            ]
        )

    def reset(self) -> None:
        """Forget what was out of reach."""
        self._beyond = np.zeros(2, bool)

    def step(self, targets: JointTargets) -> Array:
        """(2,) bool, whether the left and right hand are tracked out of reach; without a head nobody can tell."""
        if not targets.tracked[0]:
            return np.zeros(2, bool)
        distances = np.linalg.norm(targets.positions_m[1:] - targets.positions_m[0], axis=1)
        bounds = np.where(self._beyond, _WITHIN, _BEYOND) * self._reach_m
        self._beyond = targets.tracked[1:] & (distances > bounds)
        return self._beyond.copy()


class _Hand:
    """One hand: places are relative to the body (the head's heading and position)."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.position = np.zeros(3)  # of the target [m]
        self.rotation = np.eye(3)
        self.known = False
        self.lost_s = np.inf
        self.easing = False
        self.since_s = 0.0  # since the easing began
        self.lasts_s = 0.0
        self.weight_from = 0.0
        self.offset = np.zeros(3)  # from the observation to where it was shown, when the easing began
        self.turn = np.zeros(3)


class HandEaser:
    """Turns samples of joints into targets that never jump. One object per person."""

    def __init__(self, config: HandEaserConfig | None = None) -> None:
        self.config = HandEaserConfig() if config is None else config
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._hands = (_Hand(), _Hand())
        self._head: tuple[Array, Array] | None = None
        self._head_lost_s = 0.0

    def step(
        self,
        tick: Tick,
        joints: JointTargets,
        shown: tuple[Array, Array] | None = None,
        beyond: Array | None = None,
    ) -> EasedTargets:
        """Targets for one sample.

        Args:
            tick: of the sample; a fresh one forgets what was seen.
            joints: head and hands.
            shown: (2, 3) positions [m] and (2, 3, 3) orientations of the left and right wrist in the last pose that
                was shown. A returning hand starts there; without it, where it was last held.
            beyond: (2,) bool, hands that are out of reach, see `ReachGate`: they are bridged as lost ones are.

        Raises:
            InputError: one that is tracked is not finite.
        """
        if tick.fresh:
            self.reset()
        seconds = tick.seconds
        places = _places(joints)
        flags = [f"{name}_lost" for name, place in zip(SIDES, places, strict=True) if place is None]
        for side in () if beyond is None else np.flatnonzero(beyond):
            if places[1 + side] is not None:
                places[1 + side] = None
                flags.append(f"{SIDES[1 + side]}_out_of_reach")
        tracked = np.array([place is not None for place in places])
        if places[0] is None:
            return self._headless(tick, tracked, flags)
        fresh = self._head is None
        self._head, self._head_lost_s = places[0], 0.0
        origin, heading = places[0][0], heading_rotation(places[0][1])
        positions, rotations, weights = np.zeros((3, 3)), UNTURNED.copy(), np.zeros(3)
        positions[0], rotations[0], weights[0] = *places[0], 1.0
        for side, hand in enumerate(self._hands):
            place = places[1 + side]
            if place is None:
                self._lose(hand, seconds)
            else:
                begin = None
                if shown is not None and hand.lost_s > 0.0:
                    begin = _into_body(shown[0][side], shown[1][side], origin, heading)
                self._follow(hand, _into_body(*place, origin, heading), begin, seconds, fresh)
                if hand.easing:
                    flags.append(f"{SIDES[1 + side]}_eased")
            if hand.known:
                positions[1 + side] = origin + heading @ hand.position
                rotations[1 + side] = heading @ hand.rotation
                weights[1 + side] = hand.weight
        status = Status.DEGRADED if flags else Status.TRACKED
        return EasedTargets(
            tick.t_ns, PoseTargets(positions, rotations, weights), tracked, status, tuple(flags), _reason(flags)
        )

    def _headless(self, tick: Tick, tracked: Array, flags: list[str]) -> EasedTargets:
        """Without a head nothing says where the body is: all is held as it was."""
        self._head_lost_s += tick.seconds
        lost = self._head is None or self._head_lost_s >= self.config.head_hold_s
        for hand in self._hands:  # what returns with the head is eased from where it is held
            hand.lost_s = hand.lost_s + tick.seconds
        targets = None
        if self._head is not None:
            origin, heading = self._head[0], heading_rotation(self._head[1])
            positions = np.stack([origin, *(origin + heading @ hand.position for hand in self._hands)])
            rotations = np.stack([self._head[1], *(heading @ hand.rotation for hand in self._hands)])
            targets = PoseTargets(positions, rotations, np.array([1.0, *(hand.weight for hand in self._hands)]))
        status = Status.LOST if lost else Status.DEGRADED
        return EasedTargets(tick.t_ns, targets, tracked, status, tuple(flags), _reason(flags))

    def _lose(self, hand: _Hand, seconds: float) -> None:
        if not hand.known:
            return
        hand.lost_s += seconds
        hand.easing = False
        if hand.lost_s > self.config.hold_s:
            hand.weight = max(0.0, hand.weight - seconds / self.config.release_s)

    def _follow(
        self, hand: _Hand, place: tuple[Array, Array], shown: tuple[Array, Array] | None, seconds: float, fresh: bool
    ) -> None:
        if not hand.known:  # it is seen for the first time; with the first head no pose was shown yet that could jump
            if shown is not None or not fresh:
                self._begin(hand, place, place if shown is None else shown)
        elif hand.lost_s > 0.0:
            held = (hand.position, hand.rotation)
            self._begin(hand, place, held if shown is None else shown)
        hand.known, hand.lost_s = True, 0.0
        hand.weight, (hand.position, hand.rotation) = 1.0, place
        if hand.easing:
            hand.since_s += seconds
            along = min(1.0, hand.since_s / hand.lasts_s)
            left = 1.0 - along * along * (3.0 - 2.0 * along)
            hand.weight = min(1.0, hand.weight_from + hand.since_s / self.config.return_s)
            hand.easing = along < 1.0
            hand.position = place[0] + left * hand.offset
            hand.rotation = matrix_from_rotation_vector(left * hand.turn) @ place[1]

    def _begin(self, hand: _Hand, place: tuple[Array, Array], start: tuple[Array, Array]) -> None:
        """Start easing from one place to another: a smooth step is at most 1.5 times as fast as its mean."""
        hand.easing, hand.since_s, hand.weight_from = True, 0.0, hand.weight
        hand.offset = start[0] - place[0]
        hand.turn = rotation_vector_from_matrix(start[1] @ place[1].T)
        hand.lasts_s = max(
            self.config.return_s,
            1.5 * float(np.linalg.norm(hand.offset)) / self.config.speed_m_s,
            1.5 * float(np.linalg.norm(hand.turn)) / self.config.turn_rad_s,
        )


def _places(joints: JointTargets) -> list[tuple[Array, Array] | None]:
    places = [(joints.positions_m[i], joints.rotations[i]) if joints.tracked[i] else None for i in range(3)]
    if not (np.isfinite(joints.positions_m).all() and np.isfinite(joints.rotations).all()):
        for side, place in zip(SIDES, places, strict=True):
            if place is not None and not (np.isfinite(place[0]).all() and np.isfinite(place[1]).all()):
                raise InputError(f"{side} is tracked but its place is not finite: leave it out while it is not tracked")
    return places


def _into_body(position: Array, rotation: Array, origin: Array, heading: Array) -> tuple[Array, Array]:
    return heading.T @ (np.asarray(position, np.float64) - origin), heading.T @ np.asarray(rotation, np.float64)


def _reason(flags: list[str]) -> str:
    words = {"head": "the headset", "left": "the left hand", "right": "the right hand"}
    states = {"_lost": "not tracked", "_out_of_reach": "out of reach of the body", "_eased": "taken up again"}
    parts = []
    for suffix, state in states.items():
        names = [words[flag.removesuffix(suffix)] for flag in flags if flag.endswith(suffix)]
        if names:
            parts.append(f"{' and '.join(names)} {state}")
    return ", ".join(parts)
