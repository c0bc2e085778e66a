"""Poses as they are sent, for tests of the senders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.geometry.motion import MotionClip
from bodystream.geometry.skeleton import Skeleton
from bodystream.sinks.send import DrivenPose, PosedBones
from bodystream.types import BodyPose, HeadsetSample
from helpers.headset_motions import person, walking

__all__ = ["UNITY_FROM_OURS", "angle_deg", "driven_pose", "generated_poses", "recorded_poses", "t_pose_sent"]

UNITY_FROM_OURS = np.diag([1.0, 1.0, -1.0])
"""The mirror that takes our axes to Unity's, and back."""


def driven_pose(
    rotations_xyzw: Any, root_m: Any, skeleton: Skeleton | None = None, sample: HeadsetSample | None = None, **pose: Any
) -> DrivenPose:
    """One pose of a person, who is the avatar, too."""
    body = BodyPose(5_000_000, np.asarray(rotations_xyzw, np.float32), np.asarray(root_m, np.float32), **pose)
    posed = PosedBones(body, person() if skeleton is None else skeleton)
    return DrivenPose(posed, HeadsetSample(0, 5_000_000, None) if sample is None else sample, posed)


def t_pose_sent(**options: Any) -> DrivenPose:
    rotations = np.tile([0.0, 0.0, 0.0, 1.0], (22, 1))
    return driven_pose(rotations, (0.0, person().pelvis_height_m, 0.0), **options)


def generated_poses(count: int = 10) -> list[DrivenPose]:
    """Poses that nobody could hold, each joint turned any way, and some of somebody who walks."""
    rng = np.random.default_rng(3)
    wild = [
        driven_pose(Rotation.random(22, rng=rng).as_quat(canonical=True), rng.uniform(-3.0, 3.0, 3))
        for _ in range(count)
    ]
    clip = walking(1.0)
    return wild + _of_clip(clip, (0, 31, 77))


def recorded_poses(folder: Path, count: int = 10) -> list[DrivenPose]:
    """Of as many recordings, one pose each; the test is skipped where they are absent."""
    from bodystream.sources.motion import find_takes

    if not (folder / "mocap" / "cmu").is_dir():
        pytest.skip("no motion capture among the recordings: BODYSTREAM_DATA/mocap/cmu")
    takes = find_takes(str(folder / "mocap" / "cmu"))
    out: list[DrivenPose] = []
    for take in takes[:: max(1, len(takes) // count)][:count]:
        clip = take.load([])
        out += _of_clip(clip, (len(clip) // 2,))
    return out


def _of_clip(clip: MotionClip, frames: Sequence[int]) -> list[DrivenPose]:
    return [driven_pose(clip.rotations_xyzw[k], clip.root_positions_m[k], clip.skeleton) for k in frames]


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """Of the rotation between two rotation matrices."""
    return float(np.degrees(Rotation.from_matrix(a.T @ b).magnitude()))
