"""The pose at a requested time: between known poses by interpolation, a little beyond the newest by extrapolation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.rotations import rotation_vectors_between, turned_quaternions
from bodystream.geometry.skeleton import JOINTS
from bodystream.timing import LONGEST_GAP_S
from bodystream.types import Array, BodyPose, Status

__all__ = ["PosePredictor", "PredictionConfig"]


@dataclass(frozen=True, slots=True)
class PredictionConfig:
    """How far and how boldly poses are continued.

    Attributes:
        capacity: how many poses are remembered.
        longest_s: poses are continued for at most this long [s]; later ones stay there.
        damping_s: velocities fade with this time constant [s]; infinite for constant velocity.
        baseline_s: velocities are taken over at least this long [s], since neighbours differ mostly by noise.
        gap_s: poses farther apart than this [s] are of different movements: no velocity is taken across.
        restart_s: a pose this much older than the newest [s] means that the source began anew.
    """

    capacity: int = 16
    longest_s: float = 0.1
    damping_s: float = 0.12
    baseline_s: float = 0.02
    gap_s: float = 0.25
    restart_s: float = LONGEST_GAP_S

    def __post_init__(self) -> None:
        if self.capacity < 2:
            raise ConfigurationError(f"prediction needs to remember at least 2 poses, got capacity {self.capacity}")
        for name in [field.name for field in fields(self)][1:]:
            value = getattr(self, name)
            if not value > 0.0:
                raise ConfigurationError(f"prediction: {name} must be positive, got {value}")


class PosePredictor:
    """Remembers the newest poses and answers for any time. One thread may push while others ask."""

    def __init__(self, config: PredictionConfig | None = None) -> None:
        self.config = PredictionConfig() if config is None else config
        self.late = 0
        """Poses that were not newer than one before and so were left out."""
        self._poses: tuple[BodyPose, ...] = ()  # oldest first; replaced as a whole, so that readers need no lock
        self._anew = False

    def reset(self) -> None:
        """Begin anew with the next pose: it takes the place of all before it, which answer those who ask until then."""
        self._anew = True

    def push(self, pose: BodyPose) -> None:
        """Remember a pose. Time that runs backwards by more than `restart_s` starts anew; a little late is left out.

        Raises:
            InputError: the pose has the wrong shape or is not finite.
        """
        rotations, root = np.asarray(pose.rotations_xyzw), np.asarray(pose.root_position_m)
        if rotations.shape != (len(JOINTS), 4) or root.shape != (3,):
            raise InputError(f"a pose has shapes ({len(JOINTS)}, 4) and (3,), got {rotations.shape} and {root.shape}")
        if not (np.isfinite(rotations).all() and np.isfinite(root).all()):
            raise InputError(f"the pose at {pose.t_ns} ns is not finite, so it cannot be predicted from")
        poses = () if self._anew else self._poses
        self._anew = False
        if poses and pose.t_ns <= poses[-1].t_ns:
            if (poses[-1].t_ns - pose.t_ns) * 1e-9 <= self.config.restart_s:
                self.late += 1
                return
            poses = ()
        self._poses = (*poses[-(self.config.capacity - 1) :], pose)

    def data_age_s(self, t_ns: int) -> float:
        """How old the newest sample is that the pose at `t_ns` can be made from [s]; 0 for times before it.

        Raises:
            InputError: no pose was pushed.
        """
        return max(0.0, (t_ns - self._known()[-1].t_ns) * 1e-9)

    def pose_at(self, t_ns: int) -> BodyPose:
        """The pose at a time. Its own `t_ns` stays that of the newest sample it was computed from.

        Times before the oldest remembered pose get that one. Times farther ahead than `longest_s` get the pose as it
        was continued until then, with the flag `held`.

        Raises:
            InputError: no pose was pushed.
        """
        poses = self._known()
        newest = poses[-1]
        if t_ns >= newest.t_ns:
            return self._beyond(poses, (t_ns - newest.t_ns) * 1e-9)
        if t_ns <= poses[0].t_ns:
            return poses[0]
        later = next(i for i, pose in enumerate(poses) if pose.t_ns > t_ns)
        before, after = poses[later - 1], poses[later]
        if t_ns == before.t_ns:
            return before
        share = (t_ns - before.t_ns) / (after.t_ns - before.t_ns)
        turn = rotation_vectors_between(before.rotations_xyzw, after.rotations_xyzw)
        # What is said of the pose is what was said of the nearer one.
        near = before if share < 0.5 else after
        return replace(
            near,
            t_ns=after.t_ns,
            rotations_xyzw=turned_quaternions(before.rotations_xyzw, share * turn),
            root_position_m=_mixed(before.root_position_m, after.root_position_m, share),
        )

    def _known(self) -> tuple[BodyPose, ...]:
        poses = self._poses
        if not poses:
            raise InputError("no pose is known yet: push at least one before asking for a time")
        return poses

    def _beyond(self, poses: tuple[BodyPose, ...], ahead_s: float) -> BodyPose:
        newest = poses[-1]
        earlier = self._velocity_base(poses)
        if ahead_s > self.config.longest_s:
            newest = replace(newest, flags=(*newest.flags, "held"))
        if earlier is None or ahead_s <= 0.0:
            return newest
        seconds = (newest.t_ns - earlier.t_ns) * 1e-9
        share = self._faded(min(ahead_s, self.config.longest_s)) / seconds
        turn = rotation_vectors_between(earlier.rotations_xyzw, newest.rotations_xyzw)
        return replace(
            newest,
            rotations_xyzw=turned_quaternions(newest.rotations_xyzw, share * turn),
            root_position_m=_mixed(earlier.root_position_m, newest.root_position_m, 1.0 + share),
        )

    def _faded(self, seconds: float) -> float:
        """For how long at full velocity one moves as far as with fading velocity [s]."""
        damping = self.config.damping_s
        return seconds if np.isinf(damping) else damping * -np.expm1(-seconds / damping)

    def _velocity_base(self, poses: tuple[BodyPose, ...]) -> BodyPose | None:
        """The pose that the newest one's velocity is measured from, or None where it has none."""
        newest = poses[-1]
        if newest.status is Status.LOST:  # held, not measured
            return None
        found = None
        later = newest
        for pose in reversed(poses[:-1]):
            if pose.status is Status.LOST or (later.t_ns - pose.t_ns) * 1e-9 > self.config.gap_s:
                break
            found = later = pose
            if (newest.t_ns - pose.t_ns) * 1e-9 >= self.config.baseline_s:
                break
        return found


def _mixed(start: Array, end: Array, share: float) -> Array:
    return (start.astype(np.float64) + share * (end.astype(np.float64) - start)).astype(np.float32)
