"""What a drive's journal holds: the person's proportions, and poses in batches.

- `person`: `offsets_m` (22, 3), of the skeleton whose poses follow [m];
- `poses`: `t_ns` (K,), `rotations_xyzw` (K, 22, 4), `root_positions_m` (K, 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodystream.avatar.proportions import FittedRig, fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, Skeleton
from bodystream.sinks.body_animation import BodyAnimationRecorder
from bodystream.sinks.journal import JournalReader, Record
from bodystream.types import BodyPose, Status

__all__ = ["DriveTake", "person_record", "poses_record"]


def person_record(skeleton: Skeleton) -> Record:
    return Record("person", {}, {"offsets_m": skeleton.offsets_m})


def poses_record(poses: Sequence[BodyPose]) -> Record:
    return Record(
        "poses",
        {},
        {
            "t_ns": np.array([pose.t_ns for pose in poses], np.int64),
            "rotations_xyzw": np.array([pose.rotations_xyzw for pose in poses], np.float32),
            "root_positions_m": np.array([pose.root_position_m for pose in poses], np.float32),
        },
    )


class DriveTake:
    """Reads a drive's journal in bounded memory.

    Attributes:
        animation: what was driven.
        skeleton: the person's, as it was known last; None where it was not told.
        unusable: records that hold something else.
    """

    def __init__(self, journal: JournalReader) -> None:
        self.animation = BodyAnimationRecorder()
        self.skeleton: Skeleton | None = None
        self.unusable = 0
        for record in journal:
            try:
                self._take(record)
            except (InputError, KeyError, TypeError, ValueError):
                self.unusable += 1

    def body(self) -> FittedRig:
        """The shipped body in the person's proportions.

        Raises:
            InputError: proportions that nobody has.
        """
        return fit_rig(load_rig(), self.skeleton)

    def _take(self, record: Record) -> None:
        if record.kind == "person":
            self.skeleton = Skeleton(record.arrays["offsets_m"])
        elif record.kind == "poses":
            times, rotations = record.arrays["t_ns"], record.arrays["rotations_xyzw"]
            roots, count = record.arrays["root_positions_m"], len(record.arrays["t_ns"])
            if times.dtype != np.int64 or times.ndim != 1 or rotations.shape != (count, len(JOINTS), 4):
                raise InputError("poses of another shape")
            if roots.shape != (count, 3) or (np.abs(roots) > 1e6).any() or (np.abs(rotations) > 1e3).any():
                raise InputError("poses that are none")
            if (np.abs(times) >= 1 << 62).any():
                raise InputError("times that are none")
            for t_ns, turned, root in zip(times.tolist(), rotations, roots, strict=True):
                self.animation.add(BodyPose(t_ns, turned, root, status=Status.TRACKED))
