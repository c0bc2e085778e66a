"""What a bundle says of the poses that its avatar was learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.avatar.clothed.known_poses import POSES_FILE, KnownPoses, without_heading
from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["known_poses", "write_known_poses"]

_COVER_DEG, _MOST = 4.0, 512
_LEAST_DEG, _MOST_DEG = 15.0, 30.0
"""Between which a rotation counts as known: as far as those of motions that were not trained on, by which the avatar
was judged, are from those that were."""


def known_poses(take: AvatarTake) -> KnownPoses:
    """Of the training's frames, as few rotations of each joint as leave none more than 4 degrees from one of them."""
    rotations = _rotations(take.split("train"))
    chosen = [_spread(rotations[:, joint]) for joint in range(len(JOINTS))]
    most = max(map(len, chosen))
    kept = np.stack([np.pad(found, ((0, most - len(found)), (0, 0)), mode="edge") for found in chosen])
    known = KnownPoses(kept.astype(np.float32), np.full(len(JOINTS), _LEAST_DEG))
    if take.motions.get("test"):
        angles = np.stack([known.angles_deg(pose) for pose in _rotations(take.split("test"))])
        known.known_deg = np.clip(angles.max(axis=0).astype(np.float64), _LEAST_DEG, _MOST_DEG)
    return known


def write_known_poses(take: AvatarTake, folder: Path) -> None:
    """Put them into the folder that becomes a bundle, before its manifest is written."""
    known = known_poses(take)
    np.savez_compressed(folder / POSES_FILE, rotations_xyzw=known.rotations, known_deg=known.known_deg)


def _rotations(frames: tuple[PosedFrame, ...]) -> Array:
    """(T, 22, 4)."""
    return without_heading(np.stack([frame.rotations_xyzw[: len(JOINTS)] for frame in frames]))


def _spread(rotations: Array) -> Array:
    """Of (T, 4) quaternions some, the next one always that which is farthest from those before it."""
    nearest = np.zeros(len(rotations))  # cosine of half the angle to the nearest that was chosen
    chosen = [0]
    while True:
        nearest = np.maximum(nearest, np.abs(rotations @ rotations[chosen[-1]]))
        farthest = int(nearest.argmin())
        angle = np.degrees(2.0 * np.arccos(min(nearest[farthest], 1.0)))
        if angle <= _COVER_DEG or len(chosen) == _MOST:
            return rotations[chosen]
        chosen.append(farthest)
