"""Legs that stand: planted feet, steps that are lifted and put down, knees and soles above the floor.

A foot that stands is planted by its toes' joint: it does not move along the floor until it has to step, however what
is shown of the body sways. It has to where the pose wants it too far away, or the leg cannot reach it any more; then it
is lifted, moved to where the pose has it by then, and put down. A foot that leaves by itself goes over to the pose's
motion, but not before the pose has it elsewhere, and of who walks slowly not while the other foot is in the air. All of
this bends legs only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bodystream.avatar.skin_heights import rows_of
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.rotations import turn_about
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton, forward_kinematics
from bodystream.pose.contact import leg_to
from bodystream.pose.ground import SIDES, BodyGround
from bodystream.pose.hinges import LEG_HINGES
from bodystream.pose.swivel import SwivelLimiter
from bodystream.timing import Tick
from bodystream.types import Array

__all__ = ["Footwork", "FootworkConfig"]

_LEGS = tuple(tuple(JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "foot")) for side in SIDES)
_EARLY, _ROOM = 1.6, 1.28
"""From so many times the smallest distance of ankle and hip on, feet make room; with that, at least as much as the
circle asks for at every height."""
_HURRY = 2.5
"""How much faster a foot may be, times what the head is too fast to be slow: of who walks, the foot that swings is
about three times as fast as the head."""
_LEAD_M_S = (0.5, 1.5)
"""Feet are led from the first speed on, and fully from the second: what slower ones do is mostly noise of the guess."""
_LEAD_HZ = 8.0
"""Cutoff of the velocity along which they are led."""
_CLEAR_M = 0.01
"""Knees are lifted so far above the floor, as what is done to legs after that lowers them a little."""


@dataclass(frozen=True, slots=True)
class FootworkConfig:
    """How feet are planted and moved.

    Attributes:
        release_s: a foot that leaves goes over to the free motion within this time [s].
        leave_m: a planted foot that is not said to stand any more leaves once the pose has it so far away along the
            floor; the second of somebody whose head is slow, while the other foot is in the air [m].
        raised_m: or so far above where it stands; the second as before [m].
        stroll_m_s: slower heads than this are slow, of which one foot stands at any time [m/s].
        lead_s: a foot in the air is shown so far ahead of the pose, whose smoothing makes it late [s].
        step_s: how long a step takes that a planted foot has to make [s].
        lift_m: how high the foot is lifted in it [m].
        longest_pull_m: a planted foot steps where the pose has it farther away than this along the floor; the second
            of somebody whose head is still [m].
        speed_m_s: how fast a foot moves at most while the head is slow [m/s].
        head_m_s: the head is slow below this speed; above it feet may be the faster, the faster the head is [m/s].
        knee_m_s: how fast knees move at most relative to the line from hip to ankle, out of it and about it [m/s].
        depth_m: how deep the sole may be in the floor [m].
        settle_m_s: how fast a planted foot that hovers is put down [m/s].
        low_m: a planted foot that hovers less than this is on the floor; a higher one is on something [m].
    """

    release_s: float = 0.2
    leave_m: tuple[float, float] = (0.1, 0.27)
    raised_m: tuple[float, float] = (0.05, 0.1)
    stroll_m_s: float = 1.0
    lead_s: float = 0.012
    step_s: float = 0.35
    lift_m: float = 0.06
    longest_pull_m: tuple[float, float] = (0.27, 0.5)
    speed_m_s: float = 3.2
    head_m_s: float = 0.6
    knee_m_s: float = 1.5
    depth_m: float = 0.005
    settle_m_s: float = 0.3
    low_m: float = 0.08

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = np.asarray(getattr(self, name))
            if not (np.isfinite(value).all() and (value >= 0.0).all()):
                raise ConfigurationError(f"footwork: {name} must be finite and not negative, got {value}")


class _Foot:
    """One foot; corrections are from where the pose has the toes' joint to where they are shown [m]."""

    def __init__(self) -> None:
        self.planted = False
        self.place = np.zeros(3)  # of the toes, while planted [m]
        self.correction = np.zeros(3)
        self.left_from = np.zeros(3)  # the correction with which it left
        self.since_s = math.inf  # since it left
        self.lasts_s = 1.0
        self.lift_m = 0.0
        self.lift_from_m = 0.0
        self.stepping = False
        self.free: Array | None = None  # where the pose had the toes last
        self.velocity = np.zeros(3)  # of the pose's toes along the floor [m/s]
        self.shown: Array | None = None
        self.aside: Array | None = None  # (3,) unit, where it is pushed while the hip is too near
        self.knee_out: float | None = None  # of the line from hip to ankle [m]


class Footwork:
    """Bends the legs of one person's poses. Not thread-safe.

    Args:
        skeleton: the person's proportions.
        ground: of that person; None for somebody whom the shipped body cannot be: soles are then at the joints.
    """

    def __init__(self, skeleton: Skeleton, ground: BodyGround | None, config: FootworkConfig | None = None) -> None:
        self.config = FootworkConfig() if config is None else config
        self.set_person(skeleton, ground)
        self.reset()

    def set_person(self, skeleton: Skeleton, ground: BodyGround | None) -> None:
        """The person's proportions; feet stay where they are shown, and those that stand go on standing."""
        self._ground = ground
        self._skeleton = skeleton
        lengths = np.linalg.norm(skeleton.offsets_m, axis=1)
        self._bones = [(float(lengths[knee]), float(lengths[ankle])) for _, knee, ankle, _ in _LEGS]
        self._nearest = [
            math.sqrt(upper**2 + lower**2 + 2.0 * upper * lower * math.cos(hinge.widest_rad - 0.01))
            for (upper, lower), hinge in zip(self._bones, LEG_HINGES, strict=True)
        ]

    def reset(self) -> None:
        """Let go of both feet."""
        self._feet = (_Foot(), _Foot())
        self._swivels = SwivelLimiter(LEG_HINGES)
        self._head: Array | None = None

    def step(
        self,
        tick: Tick,
        rotations: Array,
        positions_m: Array,
        world_from_joint: Array,
        contacts: Array,
        still: bool = False,
        head_m_s: float = 0.0,
    ) -> Array:
        """The pose with its legs bent; (22, 3, 3), only hips, knees and ankles differ.

        Args:
            rotations: (22, 3, 3) in the parents' frames.
            positions_m: (22, 3) their joints in the world, the floor at y = 0 [m]; the pelvis is never moved.
            world_from_joint: (22, 3, 3) their orientations in the world.
            contacts: (2,) bool, which feet stand.
            still: whether the head is, so that nobody steps for a sway of the guess.
            head_m_s: how fast the head has gone along the floor in the last moments [m/s].

        Returns:
            `rotations` itself where no leg had to be bent.
        """
        rotations = np.asarray(rotations, np.float64)
        if rotations.shape != (len(JOINTS), 3, 3):
            raise InputError(f"footwork takes ({len(JOINTS)}, 3, 3) rotations, got {rotations.shape}")
        if tick.fresh:  # another movement, or a source that began anew
            self.reset()
        rows = rows_of(positions_m, world_from_joint)
        head = positions_m[JOINT_INDEX["head"]]
        moved = 0.0 if self._head is None else _length(head - self._head)
        self._head = head.copy()
        self._pull_m = self.config.longest_pull_m[int(still)]
        self._strolls = head_m_s < self.config.stroll_m_s
        hurry_m = _HURRY * max(moved - self.config.head_m_s * tick.seconds, 0.0)
        most_m = self.config.speed_m_s * tick.seconds + hurry_m
        knee_m = self.config.knee_m_s * tick.seconds + hurry_m
        out = rotations
        for side, (hip, _, ankle, toes) in enumerate(_LEGS):
            foot = self._feet[side]
            sole = self._sole_m(side, positions_m, rows)
            free = positions_m[toes]
            wanted = free + self._correction(side, free, sole, positions_m, bool(contacts[side]), tick.seconds)
            wanted[1] += self._sunk_m(sole + wanted[1] - free[1])
            if foot.shown is not None and tick.seconds > 0.0:
                way = wanted - foot.shown
                far = _length(way)
                if far > most_m:
                    wanted = foot.shown + way * (most_m / far)
                    wanted[1] += min(self._sunk_m(sole + wanted[1] - free[1]), 0.5 * most_m)
            foot.correction, foot.shown = wanted - free, wanted
            goal = positions_m[ankle] + foot.correction
            pushed = self._not_too_near(side, positions_m[hip], goal, world_from_joint[0]) - goal
            # The foot stays where it was pushed to, so that it does not jump once there is room again.
            goal, foot.correction, foot.shown = goal + pushed, foot.correction + pushed, foot.shown + pushed
            foot.place = foot.place + pushed
            calm = self._without_a_snap(side, positions_m[hip], goal, knee_m)
            if _length(calm - positions_m[ankle]) > 1e-6:
                out = rotations.copy() if out is rotations else out
                leg_to(self._skeleton, out, positions_m[0], side, calm, world_from_joint[ankle])
        out = self._knees_up(out, rotations, positions_m[0])
        if out is not rotations:
            positions_m, world_from_joint = forward_kinematics(self._skeleton.offsets_m, out, positions_m[0])
        # knees that do not jump about the line from hip to ankle
        return self._swivels.step(out, positions_m, world_from_joint, knee_m)

    def _not_too_near(self, side: int, hip: Array, ankle: Array, pelvis: Array) -> Array:
        """(3,) the ankle, moved along the floor where a knee cannot bend so far as to bring it so near to the hip."""
        away = ankle - hip
        foot = self._feet[side]
        # The circle of radius `least` about the hip from outside, by a cone: on the circle itself the foot would set
        # off at once, where the hip comes down right above it.
        least = _ROOM * (self._nearest[side] - abs(float(away[1])) / _EARLY)
        away[1] = 0.0
        lacking = least**2 - float(away @ away)
        if least <= 0.0 or lacking <= 0.0:
            foot.aside = None
            return ankle
        if foot.aside is None:
            along = away - 0.02 * pelvis[:, 2] * (1.0, 0.0, 1.0)  # ahead, where it is right below
            size = _length(along)
            if size < 1e-6:
                return ankle
            foot.aside = along / size
        across = float(away @ foot.aside)
        return ankle + foot.aside * (math.sqrt(across**2 + lacking) - across)

    def _without_a_snap(self, side: int, hip: Array, ankle: Array, most_m: float) -> Array:
        """(3,) where the ankle goes so that the knee does not snap: on a leg that is nearly straight, a millimetre of
        the ankle is centimetres of the knee [m]."""
        foot, (upper, lower) = self._feet[side], self._bones[side]
        away = ankle - hip
        far = _length(away)
        if far < 1e-6:
            return ankle
        reached = min(far, upper + lower - 1e-4)
        out = _knee_out(upper, lower, reached)
        if foot.knee_out is not None and abs(out - foot.knee_out) > most_m:
            out = foot.knee_out + math.copysign(most_m, out - foot.knee_out)
            wanted = math.sqrt(max(upper**2 - out**2, 0.0)) + math.sqrt(max(lower**2 - out**2, 0.0))
            # Only where that is a small change: a leg that folds has its knee far out all the time.
            if abs(wanted - reached) < 0.06:
                reached = wanted
            else:
                out = _knee_out(upper, lower, reached)
        foot.knee_out = out
        return hip + away * (reached / far)

    def _sunk_m(self, sole: float) -> float:
        """How far a sole at this height has to be lifted [m]."""
        return max(-self.config.depth_m - sole, 0.0)

    def _sole_m(self, side: int, positions: Array, rows: Array) -> float:
        """Height of the lowest point of a foot [m]."""
        if self._ground is None:
            return float(positions[list(_LEGS[side][2:]), 1].min())
        return self._ground.lowest_m(f"{SIDES[side]}_foot", rows)

    def _correction(
        self, side: int, free: Array, sole: float, positions: Array, contact: bool, seconds: float
    ) -> Array:
        """(3,) from where the pose has the toes to where they are put [m]."""
        config, foot = self.config, self._feet[side]
        other = self._feet[1 - side]
        self._watch(foot, free, seconds)
        if foot.stepping:
            foot.stepping = foot.since_s < foot.lasts_s
        if contact and not foot.planted and not foot.stepping:
            foot.planted = True
            foot.place = free + foot.correction
            if foot.shown is not None:  # half of the way that it would go now: a foot that stops at once jerks
                foot.place -= 0.5 * (foot.place - foot.shown) * (1.0, 0.0, 1.0)
        elif foot.planted and not contact and self._lets_go(foot, other, free):
            self._leave(foot, config.release_s, 0.0)
        if foot.planted:
            wanted = foot.place - free
            hovers = sole + wanted[1]
            if -config.depth_m < hovers < config.low_m:
                foot.place[1] -= min(hovers, config.settle_m_s * seconds)
            wanted = foot.place - free
            if self._must_step(side, wanted, positions) and not other.stepping:
                self._leave(foot, config.step_s, config.lift_m)
                foot.stepping = True
        if not foot.planted:
            foot.since_s += seconds
            along = min(1.0, foot.since_s / max(foot.lasts_s, 1e-9))
            eased = along * along * (3.0 - 2.0 * along)
            wanted = foot.left_from * (1.0 - eased) + self._ahead(foot) * eased
            wanted[1] += foot.lift_m * math.sin(math.pi * along) ** 2
        return wanted

    def _watch(self, foot: _Foot, free: Array, seconds: float) -> None:
        """The velocity with which the pose moves the toes along the floor."""
        if foot.free is not None and seconds > 0.0:
            now = (free - foot.free) / seconds
            foot.velocity += (now * (1.0, 0.0, 1.0) - foot.velocity) * -math.expm1(-math.tau * _LEAD_HZ * seconds)
        foot.free = free

    def _ahead(self, foot: _Foot) -> Array:
        """(3,) how far a foot in the air is led [m]."""
        begins, ends = _LEAD_M_S
        share = (_length(foot.velocity) - begins) / (ends - begins)
        return foot.velocity * (self.config.lead_s * min(max(share, 0.0), 1.0))

    def _lets_go(self, foot: _Foot, other: _Foot, free: Array) -> bool:
        """Whether a foot that is not said to stand any more leaves: a guess of contact that wavers moves no foot."""
        alone = int(self._strolls and not other.planted)
        x, up, z = (free - foot.place).tolist()
        return up > self.config.raised_m[alone] or math.hypot(x, z) > self.config.leave_m[alone]

    def _must_step(self, side: int, wanted: Array, positions: Array) -> bool:
        hip, _, ankle, _ = _LEGS[side]
        if math.hypot(wanted[0], wanted[2]) > self._pull_m:
            return True
        far = _length(positions[ankle] + wanted - positions[hip]) - sum(self._bones[side])
        return far > 0.04 and math.hypot(wanted[0], wanted[2]) > 0.08

    def _leave(self, foot: _Foot, lasts_s: float, lift_m: float) -> None:
        foot.planted = False
        foot.left_from = foot.correction.copy()
        foot.since_s, foot.lasts_s, foot.lift_m = 0.0, lasts_s, lift_m

    def _knees_up(self, out: Array, given: Array, root_m: Array) -> Array:
        """Knees and thighs out of the floor, by swivelling the leg about the line from hip to ankle."""
        ground = self._ground
        if ground is None or root_m[1] > 0.6 * self._skeleton.pelvis_height_m:
            return out
        positions, world = forward_kinematics(self._skeleton.offsets_m, out, root_m)
        rows = rows_of(positions, world)
        for side, (hip, knee, ankle, _) in enumerate(_LEGS):
            sunk = _CLEAR_M - ground.lowest_m(f"{SIDES[side]}_leg", rows)
            if sunk <= 0.0:
                continue
            angle = _swivel_up(positions[hip], positions[knee], positions[ankle], sunk)
            if angle == 0.0:
                continue
            out = given.copy() if out is given else out
            line = positions[ankle] - positions[hip]
            turn = turn_about(line / _length(line), angle)
            foot = world[ankle]
            out[hip] = world[0].T @ turn @ world[hip]
            out[ankle] = (turn @ world[knee]).T @ foot
        return out


def _knee_out(upper: float, lower: float, distance: float) -> float:
    """How far the knee is from the line from hip to ankle, which are so far apart [m]."""
    along = (upper**2 - lower**2 + distance**2) / (2.0 * distance)
    return math.sqrt(max(upper**2 - along**2, 0.0))


def _swivel_up(hip: Array, knee: Array, ankle: Array, by_m: float) -> float:
    """The smallest turn about the line from hip to ankle that lifts the knee so much, or as far as it goes [rad]."""
    line = ankle - hip
    length = _length(line)
    if length < 1e-6:
        return 0.0
    line = line / length
    out = knee - hip
    out = out - (out @ line) * line
    across = np.cross(line, out)
    # The knee's height above the circle's middle is a cos(angle) + b sin(angle).
    a, b = float(out[1]), float(across[1])
    most = math.hypot(a, b)
    if most < 1e-4:
        return 0.0
    top = math.atan2(b, a)
    wanted = min(a + by_m, most)
    return top - math.copysign(math.acos(max(min(wanted / most, 1.0), -1.0)), top)


# numpy's own takes several times as long for three numbers
def _length(vector: Array) -> float:
    return math.sqrt(vector @ vector)
