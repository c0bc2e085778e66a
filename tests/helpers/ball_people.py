"""Takes of somebody made of balls, each of which goes with one bone: what skinned scans can do exactly."""

from __future__ import annotations

import numpy as np
import trimesh

from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.avatar.take.canonical import BONES, pose_of_bones, posed_from_canonical, rest_joints
from bodystream.avatar.take.frames import AvatarTake, PosedFrame, TakeTruth
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINTS

__all__ = ["BALL_M", "ball_take", "ball_truth"]

BALL_M = 0.07
_SKELETON = fit_rig(load_rig()).skeleton


def _mesh() -> trimesh.Trimesh:
    return trimesh.util.concatenate(
        [trimesh.creation.icosphere(1, BALL_M).apply_translation(joint) for joint in rest_joints(_SKELETON)]
    )


def ball_take(train: int = 3, test: int = 2) -> AvatarTake:
    """Frames of random poses: `train` of the motion walk, `test` of the motion turn."""
    mesh = _mesh()
    owner = np.repeat(np.arange(len(BONES)), len(mesh.vertices) // len(BONES))
    frames = []
    for number in range(train + test):
        rng = np.random.default_rng(number)
        turns = matrix_from_rotation_vector(rng.normal(0, 0.25, (len(JOINTS), 3)))
        bones = posed_from_canonical(_SKELETON, turns, rng.normal(0, 0.5, 3))
        vertices = np.einsum("vij,vj->vi", bones[owner, :3, :3], mesh.vertices) + bones[owner, :3, 3]
        frames.append(
            PosedFrame(
                number,
                "walk" if number < train else "turn",
                vertices.astype(np.float32),
                bones.astype(np.float32),
                pose_of_bones(bones).astype(np.float32),
            )
        )
    return AvatarTake(
        "1", "balls", 0, 12.0, rest_joints(_SKELETON).astype(np.float32), tuple(frames),
        {"train": ("walk",), "test": ("turn",)}, mesh.faces.astype(np.int32),
        np.full((len(mesh.vertices), 3), 90, np.uint8), skin_weights=np.eye(len(BONES), dtype=np.float32)[owner],
    )  # fmt: skip


def ball_truth() -> TakeTruth:
    vertices = np.asarray(_mesh().vertices, np.float32)
    return TakeTruth(vertices, np.ones(len(vertices), bool), np.zeros(len(vertices), bool))
