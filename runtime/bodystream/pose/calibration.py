"""A person's proportions from two seconds of standing still, arms out (T) or hanging (I); and before that, a guess."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import msgspec
import numpy as np

from bodystream.avatar.rig import load_rig
from bodystream.errors import InputError
from bodystream.files import atomic_path, read_bounded
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import (
    HEAD,
    JOINT_INDEX,
    LEFT_HAND,
    RIGHT_HAND,
    Skeleton,
    align_rest,
    forward_kinematics,
)
from bodystream.pose.diagnosis import frame_mistakes
from bodystream.types import Array, DeviceKind, HeadsetSample

__all__ = [
    "Calibration",
    "CalibrationConfig",
    "StatureEstimator",
    "calibrate",
    "fitted_skeleton",
    "head_height_of",
    "plausible",
]

_ARM = {side: [JOINT_INDEX[f"{side}_{part}"] for part in ("elbow", "wrist")] for side in ("left", "right")}
_MAX_FILE_BYTES = 1 << 20
_RANGES = {
    "stature_m": (0.5, 3.0),
    "head_height_m": (0.4, 3.0),
    "hand_distance_m": (0.2, 4.0),
    "shoulder_height_m": (0.3, 3.0),
    "arm_factor": (0.3, 3.0),
}


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """What is accepted as standing still in a T- or I-pose.

    Attributes:
        shortest_s: the samples must span this long [s].
        head_travel_m: the head may move so far [m].
        hand_travel_m: a hand may move so far [m].
        tracked_share: of the samples must hold head and both hands.
        head_height_m: lowest and highest head joint of a standing person [m].
        level_m: how much higher one wrist may be than the other, and than the shoulders [m].
        arm_factor: shortest and longest arms, compared with the shipped body of the same height.
        crouch_m: how far the head may be below the highest that it was seen [m].
    """

    shortest_s: float = 1.0
    head_travel_m: float = 0.05
    hand_travel_m: float = 0.10
    tracked_share: float = 0.8
    head_height_m: tuple[float, float] = (1.0, 2.1)
    level_m: float = 0.15
    arm_factor: tuple[float, float] = (0.82, 1.22)
    crouch_m: float = 0.08


@dataclass(frozen=True, slots=True)
class Calibration:
    """A person, measured.

    Attributes:
        pose: `T` or `I`, in which it was measured; `assumed` without one.
        stature_m: from the floor to the top of the head [m].
        head_height_m: of the head joint above the floor [m].
        hand_distance_m: between the wrists in the T-pose [m]; of an I-pose, what follows from the arms' length.
        shoulder_height_m: of the shoulder joints above the floor [m].
        arm_factor: length of the arms compared with the shipped body of the same height.
        offsets_m: 22 x 3, the skeleton.
        lines: how these came about, for a person to read.
    """

    pose: Literal["T", "I", "assumed"]
    stature_m: float
    head_height_m: float
    hand_distance_m: float
    shoulder_height_m: float
    arm_factor: float
    offsets_m: tuple[tuple[float, float, float], ...]
    lines: tuple[str, ...]

    @property
    def skeleton(self) -> Skeleton:
        """The person's proportions."""
        return Skeleton(np.array(self.offsets_m))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON, whole or not at all.

        Raises:
            InputError: the file system refused.
        """
        with atomic_path(path) as temporary:
            temporary.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=2))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Calibration:
        """Read what `save` wrote.

        Raises:
            InputError: it cannot be read or is not a calibration.
        """
        try:
            content = read_bounded(path, _MAX_FILE_BYTES)
        except InputError as error:
            raise InputError(
                f"the calibration cannot be read: {error}; give the file that calibration wrote"
            ) from error
        try:
            calibration = msgspec.json.decode(content, type=Calibration)
            Skeleton(np.array(calibration.offsets_m))  # checks its shape and size
        # RecursionError: lists within lists, thousands deep.
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError, InputError) as error:
            raise InputError(f"{path} is not a calibration ({error}): calibrate again") from error
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(calibration, name) <= high:
                raise InputError(
                    f"{path} is not a calibration of a person ({name} is {getattr(calibration, name):.3g}, wanted "
                    f"{low:g} to {high:g}): calibrate again"
                )
        return calibration


@cache
def _shipped() -> tuple[Skeleton, float, float]:
    """The shipped body: its skeleton, the height of its lowest joint above its soles, and its stature [m]."""
    body = load_rig()
    joints, vertices = body.joints.astype(np.float64), body.vertices
    skeleton, _ = align_rest(joints)
    sole = float(joints[:, 1].min())
    # Straightened legs are a little longer than the A-pose's; the top of the head goes up with the head joint.
    above_head = float(vertices[:, 1].max()) - joints[HEAD, 1]
    return skeleton, sole, float(skeleton.stature_m + sole + above_head)


def head_height_of(stature_m: float) -> float:
    """Height of the head joint above the floor of somebody so tall, with the shipped body's proportions [m]."""
    skeleton, sole, stature = _shipped()
    return stature_m * (skeleton.stature_m + sole) / stature


def fitted_skeleton(head_height_m: float, arm_factor: float = 1.0) -> Skeleton:
    """The shipped body's proportions, as high as measured.

    Args:
        head_height_m: of the head joint above the floor, standing upright [m].
        arm_factor: length of upper arms and forearms compared with the shipped body of that height.
    """
    skeleton, sole, _ = _shipped()
    offsets = skeleton.offsets_m * (head_height_m / (skeleton.stature_m + sole))
    for arm in _ARM.values():
        offsets[arm] *= arm_factor
    return Skeleton(offsets)


def plausible(rotations: Array, skeleton: Skeleton) -> Array:
    """(...) bool, whether the head is above the hips in poses (..., 22, 3, 3).

    People bend down, so one pose says little; a movement in which most poses fail has its axes wrong.
    """
    rotations = np.asarray(rotations, np.float64)
    positions, _ = forward_kinematics(skeleton.offsets_m, rotations, np.zeros((*rotations.shape[:-3], 3)))
    hips = positions[..., [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]], 1].max(axis=-1)
    return positions[..., HEAD, 1] > hips


def calibrate(
    samples: Sequence[HeadsetSample],
    pose: Literal["auto", "T", "I"] = "auto",
    config: CalibrationConfig | None = None,
    tallest_head_m: float | None = None,
) -> Calibration:
    """Measure a person who stands still for about two seconds.

    Args:
        samples: of joints (`DeviceKind.JOINT`), in order.
        pose: which pose was asked for; `auto` tells by the height of the hands.
        tallest_head_m: the highest that the head joint was before, if known: tells crouching.

    Raises:
        InputError: nothing can be measured from these; the message says what was wrong and what to do.
    """
    config = CalibrationConfig() if config is None else config
    positions, rotations = _gathered(samples, config)
    mistakes = frame_mistakes(positions, rotations)
    if mistakes:
        raise InputError("calibration: " + "; ".join(mistakes))
    _check_still(positions, config)
    head, left, right = np.median(positions, axis=0)
    _check_height(head[1], tallest_head_m, config)
    if pose == "auto":
        pose = "T" if 0.5 * (left[1] + right[1]) > 0.68 * head[1] else "I"
    measure = _measure_t if pose == "T" else _measure_i
    return measure(head, left, right, config)


def _gathered(samples: Sequence[HeadsetSample], config: CalibrationConfig) -> tuple[Array, Array]:
    """(N, 3, 3) positions and (N, 3, 3, 3) orientations of head and hands where all are tracked."""
    span_s = (samples[-1].t_ns - samples[0].t_ns) * 1e-9 if samples else 0.0
    if len(samples) < 10 or span_s < config.shortest_s:
        raise InputError(
            f"calibration: got {len(samples)} samples over {span_s:.1f} s, at least 10 over {config.shortest_s:g} s "
            "are needed: hold the pose for two seconds"
        )
    for name in ("head", "left", "right"):
        devices = [getattr(sample, name) for sample in samples]
        share = sum(device is not None for device in devices) / len(devices)
        if share < config.tracked_share:
            words = {"head": "the headset", "left": "the left hand", "right": "the right hand"}[name]
            raise InputError(
                f"calibration: {words} was tracked in only {100 * share:.0f} % of the samples, "
                f"{100 * config.tracked_share:.0f} % are needed: keep both hands where the headset sees them"
            )
        kinds = {device.kind for device in devices if device is not None} - {DeviceKind.JOINT}
        if kinds:
            raise InputError(
                f"calibration: {name} holds {', '.join(sorted(kinds))} poses, joints are needed: convert them first"
            )
    whole = [s for s in samples if s.head is not None and s.left is not None and s.right is not None]
    if not whole:
        raise InputError("calibration: head and both hands were never tracked at the same time: start again")
    trios = [(s.head, s.left, s.right) for s in whole]
    positions = np.array([[device.position_m for device in trio] for trio in trios], np.float64)
    quaternions = np.array([[device.rotation_xyzw for device in trio] for trio in trios], np.float64)
    if not (np.isfinite(positions).all() and np.isfinite(quaternions).all()):
        raise InputError("calibration: a pose is not finite: leave a device out while it is not tracked")
    lengths = np.linalg.norm(quaternions, axis=-1)
    if np.abs(lengths - 1.0).max() > 0.05:
        raise InputError(
            f"calibration: quaternions have lengths from {lengths.min():.2f} to {lengths.max():.2f}, they must be 1: "
            "normalise them"
        )
    return positions, matrix_from_quaternion(quaternions)


def _check_still(positions: Array, config: CalibrationConfig) -> None:
    travel = np.linalg.norm(np.subtract(*np.percentile(positions, (95, 5), axis=0)), axis=-1)
    for name, moved, allowed in zip(
        ("the head", "the left hand", "the right hand"),
        travel,
        (config.head_travel_m, config.hand_travel_m, config.hand_travel_m),
        strict=True,
    ):
        if moved > allowed:
            raise InputError(
                f"calibration: {name} moved by {100 * moved:.0f} cm, at most {100 * allowed:.0f} cm are allowed: "
                "stand still for two seconds"
            )


def _check_height(head_m: float, tallest_head_m: float | None, config: CalibrationConfig) -> None:
    low, high = config.head_height_m
    if head_m > high or head_m < 0.35:
        raise InputError(
            f"calibration: the head is {head_m:.2f} m above the floor, which no standing person's is: the floor is "
            "probably wrong, so set up the headset's floor (or its play area) again"
        )
    if tallest_head_m is not None and head_m < tallest_head_m - config.crouch_m:
        raise InputError(
            f"calibration: the head is at {head_m:.2f} m and was at {tallest_head_m:.2f} m before: stand upright"
        )
    if head_m < low:
        raise InputError(
            f"calibration: the head is {head_m:.2f} m above the floor: stand upright (sitting and crouching cannot be "
            "measured), or, if you do stand, the floor is probably wrong: set it up again"
        )


def _measure_t(head: Array, left: Array, right: Array, config: CalibrationConfig) -> Calibration:
    if abs(left[1] - right[1]) > config.level_m:
        raise InputError(
            f"calibration: the left hand is at {left[1]:.2f} m and the right at {right[1]:.2f} m: hold both arms level"
        )
    model = fitted_skeleton(head[1])
    sole = head[1] - model.stature_m
    rest = model.rest_positions_m
    shoulder = rest[JOINT_INDEX["left_shoulder"], 1] + model.pelvis_height_m + sole
    hands = 0.5 * (left[1] + right[1])
    distance = float(np.linalg.norm(right - left))
    span = rest[RIGHT_HAND, 0] - rest[LEFT_HAND, 0]
    arms = np.linalg.norm(model.offsets_m[[j for arm in _ARM.values() for j in arm]], axis=1).sum()
    factor = (distance - (span - arms)) / arms
    shortest, longest = config.arm_factor
    if factor > longest:
        raise InputError(
            f"calibration: the hands are {distance:.2f} m apart with the head at {head[1]:.2f} m, too far for that "
            "height: stand upright rather than crouch or sit; if you do stand upright, the floor is probably too high"
        )
    if abs(hands - shoulder) > config.level_m:
        raise InputError(
            f"calibration: the hands are at {hands:.2f} m, the shoulders at about {shoulder:.2f} m: hold the arms "
            "level, straight out to the sides"
        )
    middle = 0.5 * (left + right)
    off = float(np.linalg.norm((middle - head)[[0, 2]]))
    if factor < shortest or off > 0.25:
        raise InputError(
            f"calibration: the hands are {distance:.2f} m apart and their middle is {100 * off:.0f} cm from below the "
            f"head; at least {span - arms * (1.0 - shortest):.2f} m and at most 25 cm are wanted: stretch both arms "
            "straight out to the sides"
        )
    return _made(
        "T",
        head[1],
        factor,
        (f"arm span {distance:.2f} m from wrist to wrist, measured in the T-pose with the wrists at {hands:.2f} m",),
    )


def _measure_i(head: Array, left: Array, right: Array, config: CalibrationConfig) -> Calibration:
    if abs(left[1] - right[1]) > config.level_m:
        raise InputError(
            f"calibration: the left hand is at {left[1]:.2f} m and the right at {right[1]:.2f} m: let both arms hang"
        )
    model = fitted_skeleton(head[1])
    rest = model.rest_positions_m
    sole = head[1] - model.stature_m
    shoulders = rest[JOINT_INDEX["left_shoulder"]], rest[JOINT_INDEX["right_shoulder"]]
    shoulder = shoulders[0][1] + model.pelvis_height_m + sole
    apart = float(np.linalg.norm((right - left)[[0, 2]]))
    off = float(np.linalg.norm((0.5 * (left + right) - head)[[0, 2]]))
    arm = np.linalg.norm(model.offsets_m[_ARM["left"]], axis=1).sum()
    aside = 0.5 * (apart - (shoulders[1][0] - shoulders[0][0]))
    length = float(np.hypot(shoulder - 0.5 * (left[1] + right[1]), max(aside, 0.0)))
    factor = length / arm
    if apart > 1.0 or off > 0.25 or not config.arm_factor[0] <= factor <= config.arm_factor[1]:
        raise InputError(
            f"calibration: the hands are {apart:.2f} m apart and {length:.2f} m from the shoulders, whose arms should "
            f"be about {arm:.2f} m long: let both arms hang straight down, and stand upright"
        )
    line = f"arms {length:.2f} m from shoulder to wrist, hanging with the wrists at {0.5 * (left[1] + right[1]):.2f} m"
    return _made("I", head[1], factor, (line,))


def _made(pose: Literal["T", "I", "assumed"], head_m: float, factor: float, lines: tuple[str, ...] = ()) -> Calibration:
    skeleton = fitted_skeleton(head_m, factor)
    shipped, sole, stature = _shipped()
    scale = head_m / (shipped.stature_m + sole)
    rest = skeleton.rest_positions_m
    shoulder = float(rest[JOINT_INDEX["left_shoulder"], 1] + skeleton.pelvis_height_m + sole * scale)
    span = float(rest[RIGHT_HAND, 0] - rest[LEFT_HAND, 0])
    told = (
        f"stature {stature * scale:.2f} m, from the head joint at {head_m:.2f} m above the floor",
        f"shoulders at {shoulder:.2f} m, from the stature",
        *lines,
        f"arms {100 * (factor - 1.0):+.0f} % compared with a common build of that height",
    )
    offsets = tuple((float(x), float(y), float(z)) for x, y, z in skeleton.offsets_m)
    return Calibration(pose, float(stature * scale), float(head_m), span, shoulder, float(factor), offsets, told)


class StatureEstimator:
    """A guess of the stature while nothing was calibrated: people stand upright now and then.

    Args:
        default_head_m: head joint's height that is assumed until someone was seen standing [m].
    """

    _CELL_M = 0.01
    _STANDING_M = (1.30, 2.1)

    def __init__(self, default_head_m: float = 1.55) -> None:
        self._default_m = default_head_m
        self._counts = np.zeros(int(self._STANDING_M[1] / self._CELL_M) + 1, np.int64)

    def push(self, sample: HeadsetSample) -> None:
        """Take in a sample whose head is a joint; others, and heads that are nowhere, tell nothing."""
        if sample.head is None or sample.head.kind is not DeviceKind.JOINT:
            return
        height = float(sample.head.position_m[1])
        if 0.0 <= height <= self._STANDING_M[1]:
            self._counts[int(height / self._CELL_M)] += 1

    @property
    def head_height_m(self) -> float:
        """Robust maximum of the head's height: what 2 % of the samples are above; the default while that is low."""
        total = int(self._counts.sum())
        if total < 30:
            return self._default_m
        above = np.cumsum(self._counts[::-1])[::-1]
        cell = int(np.flatnonzero(above >= max(0.02 * total, 5.0)).max())
        height = (cell + 0.5) * self._CELL_M
        return height if height >= self._STANDING_M[0] else self._default_m

    def calibration(self) -> Calibration:
        """The guess in the form of a calibration."""
        height = self.head_height_m
        how = "assumed, as nobody was seen standing" if height == self._default_m else "the highest that it was seen"
        return _made("assumed", height, 1.0, (f"not calibrated: head at {height:.2f} m is {how}",))
