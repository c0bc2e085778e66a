"""A person measured from two seconds of standing still, arms out (T) or hanging (I)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.mounting import SIDES
from bodystream.geometry.skeleton import ARMS, JOINT_INDEX, LEFT_HAND, RIGHT_HAND
from bodystream.pose.calibration import Calibration, fitted_skeleton
from bodystream.pose.diagnosis import frame_mistakes
from bodystream.pose.observation import JointTargets
from bodystream.types import Array

__all__ = ["CalibrationConfig", "calibrate"]


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


def calibrate(
    samples: Sequence[JointTargets],
    pose: Literal["auto", "T", "I"] = "auto",
    config: CalibrationConfig | None = None,
    tallest_head_m: float | None = None,
) -> Calibration:
    """Measure a person who stands still for about two seconds.

    Args:
        samples: head and hands, in order.
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


def _gathered(samples: Sequence[JointTargets], config: CalibrationConfig) -> tuple[Array, Array]:
    """(N, 3, 3) positions and (N, 3, 3, 3) orientations of head and hands where all are tracked."""
    span_s = (samples[-1].t_ns - samples[0].t_ns) * 1e-9 if samples else 0.0
    if len(samples) < 10 or span_s < config.shortest_s:
        raise InputError(
            f"calibration: got {len(samples)} samples over {span_s:.1f} s, at least 10 over {config.shortest_s:g} s "
            "are needed: hold the pose for two seconds"
        )
    tracked = np.stack([sample.tracked for sample in samples])
    for side, share in zip(SIDES, tracked.mean(axis=0), strict=True):
        if share < config.tracked_share:
            words = {"head": "the headset", "left": "the left hand", "right": "the right hand"}[side]
            raise InputError(
                f"calibration: {words} was tracked in only {100 * share:.0f} % of the samples, "
                f"{100 * config.tracked_share:.0f} % are needed: keep both hands where the headset sees them"
            )
    whole = [sample for sample, seen in zip(samples, np.all(tracked, axis=1), strict=True) if seen]
    if not whole:
        raise InputError("calibration: head and both hands were never tracked at the same time: start again")
    return np.stack([sample.positions_m for sample in whole]), np.stack([sample.rotations for sample in whole])


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
    arms = np.linalg.norm(model.offsets_m[[j for arm in ARMS.values() for j in arm]], axis=1).sum()
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
    return Calibration.of(
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
    arm = np.linalg.norm(model.offsets_m[list(ARMS["left"])], axis=1).sum()
    aside = 0.5 * (apart - (shoulders[1][0] - shoulders[0][0]))
    length = float(np.hypot(shoulder - 0.5 * (left[1] + right[1]), max(aside, 0.0)))
    factor = length / arm
    if apart > 1.0 or off > 0.25 or not config.arm_factor[0] <= factor <= config.arm_factor[1]:
        raise InputError(
            f"calibration: the hands are {apart:.2f} m apart and {length:.2f} m from the shoulders, whose arms should "
            f"be about {arm:.2f} m long: let both arms hang straight down, and stand upright"
        )
    line = f"arms {length:.2f} m from shoulder to wrist, hanging with the wrists at {0.5 * (left[1] + right[1]):.2f} m"
    return Calibration.of("I", head[1], factor, (line,))
