"""How far a motion is from the true one, in the units of the AvatarPoser and FLAG papers.

Everything is computed in float64 numpy from joint positions and rotations; docs/pose-metrics.md says the same in prose.
A metric is first a list of errors, one per frame (or per pair of frames, or per standing foot), and only then a mean:
clips are pooled by putting their lists together, so each frame has the same weight, however its recording was cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.avatar.skin_heights import SkinHeights
from bodystream.errors import InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import (
    HEAD,
    JOINT_INDEX,
    JOINTS,
    LEFT_HAND,
    LOWER_BODY,
    RIGHT_HAND,
    UPPER_BODY,
    Skeleton,
    forward_kinematics,
)
from bodystream.pose.limits import violations
from bodystream.types import Array, BodyPose

__all__ = [
    "BEYOND_LIMITS_DEG",
    "CONTACT_HEIGHT_M",
    "CONTACT_SPEED_M_S",
    "METRICS",
    "STEP_HZ",
    "STILL_M",
    "TRUTH_METRICS",
    "FrameErrors",
    "JointTrack",
    "foot_contacts",
    "frame_errors",
    "plausibility",
    "rotation_angle_deg",
    "summarise",
    "track_of_clip",
    "track_of_poses",
]

METRICS = (
    "mpjpe_cm",
    "mpjpe_upper_cm",
    "mpjpe_lower_cm",
    "mpjre_deg",
    "mpjve_cm_s",
    "jitter_km_s3",
    "foot_skate_cm_s",
    "head_error_cm",
    "hand_error_cm",
    "head_error_deg",
    "hand_error_deg",
    "root_error_cm",
    "lowest_point_cm_p1",
    "beyond_limits_share",
    "largest_step_cm",
)
"""Names of the figures, in the order of the tables; each is better the smaller it is, but see `TRUTH_METRICS`."""

TRUTH_METRICS = (
    "jitter_km_s3",
    "foot_skate_cm_s",
    "root_error_cm",
    "lowest_point_cm_p1",
    "beyond_limits_share",
    "largest_step_cm",
)
"""Figures that the true motion has too: what to come close to, since a motion that never moves has neither jitter nor
steps. Its root error is 0."""

CONTACT_HEIGHT_M = 0.05
"""A foot stands where its joint is at most this far above the lowest that it gets in the clip (its 2nd percentile)."""
CONTACT_SPEED_M_S = 0.25
"""A foot stands where its joint moves at most this fast over the floor."""

BEYOND_LIMITS_DEG = 5.0
"""An elbow or a knee counts as beyond its limits from here on (`pose.limits`)."""
STEP_HZ = 90.0
"""Steps of joints are those within one sample at this rate."""
STILL_M = 0.02
"""Steps count where head and both hands move less than this within one sample at `STEP_HZ`."""

_HINGES = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("elbow", "knee")]
_FEET = (JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"])
_HANDS = (LEFT_HAND, RIGHT_HAND)
_CM, _KM = 100.0, 1e-3


@dataclass(frozen=True, slots=True)
class JointTrack:
    """A motion as metrics see it.

    Attributes:
        local: (T, 22, 3, 3) float64 rotations in the parents' frames, the pelvis' in the world.
        positions_m: (T, 22, 3) float64 joints in the world [m].
        world: (T, 22, 3, 3) float64 orientations in the world.
        rate_hz: frames per second.
    """

    local: Array
    positions_m: Array
    world: Array
    rate_hz: float

    def __post_init__(self) -> None:
        frames, joints = len(self.positions_m), len(JOINTS)
        for name, want in (
            ("local", (frames, joints, 3, 3)),
            ("positions_m", (frames, joints, 3)),
            ("world", (frames, joints, 3, 3)),
        ):
            got = getattr(self, name)
            if got.shape != want:
                raise InputError(f"a motion's {name} must have shape {want}, got {got.shape}")
            if not np.isfinite(got).all():
                bad = int(np.flatnonzero(~np.isfinite(got.reshape(frames, -1)).all(axis=1))[0])
                raise InputError(f"a motion's {name} must be finite, got nan or infinity first in frame {bad}")
        if not self.rate_hz > 0:
            raise InputError(f"a motion's rate must be positive, got {self.rate_hz} Hz")

    def __len__(self) -> int:
        return len(self.positions_m)


@dataclass(frozen=True, slots=True)
class FrameErrors:
    """What `summarise` takes means of.

    Attributes:
        frames: number of frames that were compared.
        values: of each of `METRICS`, a (n,) float64 array in the metric's unit; n = T for positions and rotations,
            T - 1 for velocities, T - 3 for jitter, the number of steps of standing feet for foot skate, that of pairs
            of frames in which head and hands are still for the largest step; 0 if T is less.
        truth: the same of `TRUTH_METRICS` for the true motion.
    """

    frames: int
    values: Mapping[str, Array]
    truth: Mapping[str, Array]


def track_of_clip(clip: MotionClip) -> JointTrack:
    """The motion of a clip, at its own rate."""
    local = clip.rotation_matrices()
    positions, world = clip.joints()
    return JointTrack(local, positions, world, clip.rate_hz)


def track_of_poses(poses: Sequence[BodyPose], skeleton: Skeleton, rate_hz: float) -> JointTrack:
    """The motion of an estimator's poses, on the skeleton whose proportions it was given."""
    if not poses:
        raise InputError("a motion needs at least one pose, got none")
    rotations = np.stack([np.asarray(pose.rotations_xyzw, np.float64) for pose in poses])
    roots = np.stack([np.asarray(pose.root_position_m, np.float64) for pose in poses])
    for name, array in (("rotations", rotations), ("root positions", roots)):
        if not np.isfinite(array).all():
            bad = int(np.flatnonzero(~np.isfinite(array.reshape(len(poses), -1)).all(axis=1))[0])
            raise InputError(f"the estimated {name} must be finite, got nan or infinity first in frame {bad}")
    if rotations.shape[1:] != (len(JOINTS), 4) or (np.linalg.norm(rotations, axis=-1) < 0.5).any():
        raise InputError(
            f"estimated rotations must be ({len(JOINTS)}, 4) unit quaternions per pose, got shape "
            f"{rotations.shape[1:]} and lengths down to {np.linalg.norm(rotations, axis=-1).min():.3f}"
        )
    local = matrix_from_quaternion(rotations)
    positions, world = forward_kinematics(skeleton.offsets_m, local, roots)
    return JointTrack(local, positions, world, rate_hz)


def rotation_angle_deg(a: Array, b: Array) -> Array:
    """Angle of the rotation that takes `a` to `b`, both (..., 3, 3), as (...) degrees in 0 to 180.

    By the chord, |a - b| = 2 sqrt(2) sin(angle / 2), which is accurate for small angles, where the arc cosine of the
    trace loses half of the digits.
    """
    chord = np.sqrt(((a - b) ** 2).sum(axis=(-2, -1)))
    return np.degrees(2.0 * np.arcsin(np.clip(chord / np.sqrt(8.0), 0.0, 1.0)))


def foot_contacts(truth: JointTrack) -> Array:
    """(T - 1, 2) bool, whether the left and right foot stand from each frame to the next, judged by the true motion.

    A foot stands where its joint is low (`CONTACT_HEIGHT_M`) at both frames and slow (`CONTACT_SPEED_M_S`) between
    them. Heights count from the foot's own lowest in the clip, since a joint is not the sole and floors are not level.
    """
    feet = truth.positions_m[:, _FEET, :]
    low = feet[..., 1] <= np.percentile(feet[..., 1], 2.0, axis=0) + CONTACT_HEIGHT_M
    return low[1:] & low[:-1] & (_floor_speed(truth) <= CONTACT_SPEED_M_S)


def frame_errors(predicted: JointTrack, truth: JointTrack, skin: SkinHeights | None = None) -> FrameErrors:
    """Errors of a motion by frame.

    Args:
        predicted: T frames.
        truth: as many, at the same rate.
        skin: of the person, for `lowest_point_cm_p1`; without it there is no such figure.

    Raises:
        InputError: the motions differ in length or rate.
    """
    if len(predicted) != len(truth) or abs(predicted.rate_hz - truth.rate_hz) > 1e-6:
        raise InputError(
            f"the estimated motion must have the {len(truth)} frames at {truth.rate_hz:g} Hz of the true one, "
            f"got {len(predicted)} at {predicted.rate_hz:g} Hz"
        )
    distance = np.linalg.norm(predicted.positions_m - truth.positions_m, axis=-1) * _CM  # (T, 22)
    turn = rotation_angle_deg(predicted.world[:, [HEAD, *_HANDS]], truth.world[:, [HEAD, *_HANDS]])  # (T, 3)
    drift = np.diff(predicted.positions_m, axis=0) - np.diff(truth.positions_m, axis=0)  # (T - 1, 22, 3)
    contacts = foot_contacts(truth)
    values = {
        "mpjpe_cm": distance.mean(axis=1),
        "mpjpe_upper_cm": distance[:, UPPER_BODY].mean(axis=1),
        "mpjpe_lower_cm": distance[:, LOWER_BODY].mean(axis=1),
        "mpjre_deg": rotation_angle_deg(predicted.local, truth.local).mean(axis=1),
        "mpjve_cm_s": np.linalg.norm(drift, axis=-1).mean(axis=1) * truth.rate_hz * _CM,
        "jitter_km_s3": _jitter(predicted),
        "foot_skate_cm_s": _floor_speed(predicted)[contacts] * _CM,
        "head_error_cm": distance[:, HEAD],
        "hand_error_cm": distance[:, _HANDS].mean(axis=1),
        "head_error_deg": turn[:, 0],
        "hand_error_deg": turn[:, 1:].mean(axis=1),
        "root_error_cm": distance[:, 0],
    }
    true_values = {
        "jitter_km_s3": _jitter(truth),
        "foot_skate_cm_s": _floor_speed(truth)[contacts] * _CM,
        "root_error_cm": np.zeros(len(truth)),
    }
    for track, into in ((predicted, values), (truth, true_values)):
        into |= plausibility(track, skin)
    return FrameErrors(len(truth), values, true_values)


def plausibility(track: JointTrack, skin: SkinHeights | None = None) -> dict[str, Array]:
    """What can be said of a motion without knowing the true one, as lists by frame; their summaries are in `METRICS`.

    Returns:
        `lowest_point_cm_p1`: (T,) height of the lowest point of the skin; empty without one. `beyond_limits_share`:
        (T,) 1 where an elbow or a knee is beyond its limits by more than `BEYOND_LIMITS_DEG`. `largest_step_cm`: of
        each pair of frames between which head and hands are still, how far the joint that moves farthest goes within
        a sample at `STEP_HZ`.
    """
    steps = np.linalg.norm(np.diff(track.positions_m, axis=0), axis=-1) * (track.rate_hz / STEP_HZ)  # (T - 1, 22)
    still = (steps[:, [HEAD, *_HANDS]] < STILL_M).all(axis=1)
    beyond = np.degrees(violations(track.local)[:, _HINGES]).max(axis=1) > BEYOND_LIMITS_DEG
    lowest = np.zeros(0) if skin is None else skin.lowest_m(track.positions_m, track.world)
    return {
        "lowest_point_cm_p1": lowest * _CM,
        "beyond_limits_share": beyond.astype(np.float64),
        "largest_step_cm": steps[still].max(axis=1) * _CM,
    }


def summarise(errors: Sequence[FrameErrors]) -> dict[str, float | dict[str, float]]:
    """Means over all frames of all clips.

    Returns:
        Of each of `METRICS` its mean, but of `largest_step_cm` the largest value and of `lowest_point_cm_p1` the 1st
        percentile; under `p95` the 95th percentiles, over frames, of the same; under `truth` those of `TRUTH_METRICS`
        for the true motion; all nan where there is nothing to summarise (no foot ever stands).
    """
    p95: dict[str, float] = {}
    out: dict[str, float | dict[str, float]] = {}
    for name in METRICS:
        pooled = _pooled([clip.values[name] for clip in errors])
        out[name] = _summary(name, pooled)
        p95[name] = float(np.percentile(pooled, 95.0)) if len(pooled) else float("nan")
    out["p95"] = p95
    out["truth"] = {name: _summary(name, _pooled([clip.truth[name] for clip in errors])) for name in TRUTH_METRICS}
    return out


def _summary(name: str, values: Array) -> float:
    """Of all frames, the figure: a mean, or what the name says."""
    if not len(values):
        return float("nan")
    if name == "lowest_point_cm_p1":
        return float(np.percentile(values, 1.0))
    return float(values.max() if name == "largest_step_cm" else values.mean())


def _pooled(lists: Sequence[Array]) -> Array:
    return np.concatenate([np.zeros(0), *lists])


def _jitter(track: JointTrack) -> Array:
    """(T - 3,) mean length of the joints' third finite differences [km/s^3]."""
    if len(track) < 4:
        return np.zeros(0)
    third = np.diff(track.positions_m, n=3, axis=0) * track.rate_hz**3
    return np.linalg.norm(third, axis=-1).mean(axis=1) * _KM


def _floor_speed(track: JointTrack) -> Array:
    """(T - 1, 2) speed of the left and right foot along the floor [m/s]."""
    step = np.diff(track.positions_m[:, _FEET, :], axis=0)
    return np.hypot(step[..., 0], step[..., 2]) * track.rate_hz
