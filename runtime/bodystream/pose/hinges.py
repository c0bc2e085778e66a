"""Elbows and knees within their limits by construction, without moving head, hands or feet.

Where a hand is given, the distance from shoulder to wrist decides how far the elbow bends, and the swivel angle about
the line between them where the elbow is. What remains free is how upper arm and forearm are turned about themselves: an
elbow that seems to bend backwards or sideways is an upper arm that is turned wrongly. So it is turned about its own
axis until the elbow bends as a hinge does, and the forearm turned back; no joint moves. So are thigh and knee.
(Swivel angles: Tolani, Goswami and Badler, "Real-Time Inverse Kinematics Techniques for Anthropomorphic Limbs",
Graphical Models 62, 2000.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import turn_about
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.pose.limits import LIMITS
from bodystream.types import Array

__all__ = ["ARM_HINGES", "HINGES", "LEG_HINGES", "Hinge", "bend_as_hinges"]


@dataclass(frozen=True, slots=True)
class Hinge:
    """An elbow or a knee.

    Attributes:
        upper, joint, end: joints that turn the upper bone, the lower bone, and what the lower bone carries.
        bone: (3,) unit, along the upper bone, and along the lower one where it is straight.
        flexed, aside: (3,) unit, where the lower bone goes as it bends, and across: bone x flexed.
        middle_rad, cone_rad: of the bend, the middle of its range, and half of the range.
        lateral_rad: how far the lower bone may leave the plane of `bone` and `flexed`.
        twist_rad: lowest and highest turn of the lower bone about itself.
        upper_twist_rad: the same of the upper bone.
    """

    upper: int
    joint: int
    end: int
    bone: Array
    flexed: Array
    aside: Array
    middle_rad: float
    cone_rad: float
    lateral_rad: float
    twist_rad: tuple[float, float]
    upper_twist_rad: tuple[float, float]

    @property
    def widest_rad(self) -> float:
        """How far the joint bends."""
        return self.middle_rad + self.cone_rad


def _hinge(side: str, parts: tuple[str, str, str]) -> Hinge:
    upper, joint, end = (JOINT_INDEX[f"{side}_{part}"] for part in parts)
    bone, centre = LIMITS.bones[joint], LIMITS.centres[joint]
    middle = math.acos(float(bone @ centre))
    flexed = (centre - math.cos(middle) * bone) / math.sin(middle)
    return Hinge(
        upper,
        joint,
        end,
        bone,
        flexed,
        np.cross(bone, flexed),
        middle,
        float(LIMITS.cones[joint]),
        float(np.abs(LIMITS.lateral_ranges[joint]).min()),
        tuple(LIMITS.twist_ranges[joint].tolist()),
        tuple(LIMITS.twist_ranges[upper].tolist()),
    )


ARM_HINGES = tuple(_hinge(side, ("shoulder", "elbow", "wrist")) for side in ("left", "right"))
LEG_HINGES = tuple(_hinge(side, ("hip", "knee", "ankle")) for side in ("left", "right"))
HINGES = (*ARM_HINGES, *LEG_HINGES)
"""Left and right elbow, left and right knee."""

_MARGIN_RAD = 1e-4  # so that rounding to float32 does not leave a joint outside
_STRAIGHT = 1e-6
_NOTHING_RAD = 1e-9


def bend_as_hinges(rotations: Array, hinges: tuple[Hinge, ...] = HINGES) -> Array:
    """The pose with elbows and knees within `pose.limits`; no joint moves, and hands and feet keep their orientation.

    Only a joint that is bent farther than it goes is opened, which moves the hand or foot: a wrist nearer to its
    shoulder than a forearm can come.

    Args:
        rotations: (22, 3, 3) in the parents' frames.

    Returns:
        `rotations` itself where all are within, else float64 of its own.

    Raises:
        InputError: another shape.
    """
    if rotations.shape != (len(JOINTS), 3, 3):
        raise InputError(f"bending as hinges takes ({len(JOINTS)}, 3, 3) rotations, got {rotations.shape}")
    out = rotations
    for hinge in hinges:
        found = _bent(hinge, rotations)
        if found is not None:
            out = rotations.astype(np.float64) if out is rotations else out
            out[hinge.upper], out[hinge.joint], out[hinge.end] = found
    return out


def _bent(hinge: Hinge, rotations: Array) -> tuple[Array, Array, Array] | None:
    """Of one limb the three rotations, or None where it is within its limits already."""
    bone, joint = hinge.bone, rotations[hinge.joint]
    now = joint @ bone
    straight, flexed, aside = float(bone @ now), float(hinge.flexed @ now), float(hinge.aside @ now)
    sine = math.hypot(flexed, aside)
    bend, azimuth = math.atan2(sine, straight), math.atan2(aside, flexed)
    widest = _widest_azimuth(hinge, min(bend, hinge.widest_rad - _MARGIN_RAD))
    turn = 0.0
    if abs(azimuth) > widest:
        turn = _least_turn(hinge, rotations[hinge.upper], azimuth, widest)
    open_by = max(bend - (hinge.widest_rad - _MARGIN_RAD), 0.0)
    twist = _wrapped(_twist(joint, bone) - turn)
    low, high = hinge.twist_rad
    too_far = twist - min(max(twist, low + _MARGIN_RAD), high - _MARGIN_RAD)
    if abs(turn) < _NOTHING_RAD and open_by == 0.0 and abs(too_far) < _NOTHING_RAD:
        return None
    upper, bent = rotations[hinge.upper].astype(np.float64), joint.astype(np.float64)
    carried = bent @ rotations[hinge.end]  # what the end is turned to, seen from the upper bone
    if abs(turn) >= _NOTHING_RAD:
        about = turn_about(bone, turn)
        upper, bent, carried = upper @ about, about.T @ bent, about.T @ carried
    if open_by > 0.0:
        now = bent @ bone
        axis = np.cross(now, bone)
        bent = turn_about(axis / math.sqrt(float(axis @ axis)), open_by) @ bent
    if abs(too_far) >= _NOTHING_RAD:
        bent = bent @ turn_about(bone, -too_far)
    return upper, bent, bent.T @ carried


def _widest_azimuth(hinge: Hinge, bend: float) -> float:
    """How far from the hinge's own plane the lower bone may bend: the smaller, the more it is bent [rad]."""
    sine = math.sin(bend)
    if sine < _STRAIGHT:
        return math.pi
    lateral = math.sin(hinge.lateral_rad - _MARGIN_RAD)
    widest = math.asin(lateral / sine) if sine > lateral else math.pi
    # On the cone about the middle of the range: cos(cone) = cos(bend) cos(middle) + sin(bend) sin(middle) cos(azimuth).
    across = math.cos(hinge.cone_rad - _MARGIN_RAD) - math.cos(bend) * math.cos(hinge.middle_rad)
    cosine = across / (sine * math.sin(hinge.middle_rad))
    return min(widest, math.acos(min(max(cosine, -1.0), 1.0)))


def _least_turn(hinge: Hinge, upper: Array, azimuth: float, widest: float) -> float:
    """The turn of the upper bone that brings the azimuth to either bound; the one that its own twist has room for."""
    twist = _twist(upper, hinge.bone)
    low, high = hinge.upper_twist_rad
    best, least = 0.0, math.inf
    for bound in (widest, -widest):
        turn = _wrapped(azimuth - bound)
        after = _wrapped(twist + turn)
        # Room comes first: where both bounds have it, or neither, the smaller turn is taken.
        cost = abs(turn) + 10.0 * max(low - after, after - high, 0.0)
        if cost < least:
            best, least = turn, cost
    return best


def _twist(rotation: Array, bone: Array) -> float:
    """The turn about the bone, 2 atan2(q . bone, q_w), from -pi to pi [rad]."""
    # q . bone / q_w from the matrix: its skew part over 1 + trace.
    r = rotation.tolist()
    skew = (r[2][1] - r[1][2], r[0][2] - r[2][0], r[1][0] - r[0][1])
    x, y, z = bone.tolist()
    along = skew[0] * x + skew[1] * y + skew[2] * z
    trace = r[0][0] + r[1][1] + r[2][2]
    if 1.0 + trace < 1e-6:  # half a turn: the sine vanishes, and about the bone is as far as about any axis
        return math.pi
    return 2.0 * math.atan2(along, 1.0 + trace)


def _wrapped(angle: float) -> float:
    """The same angle from -pi to pi."""
    return math.remainder(angle, 2.0 * math.pi)
