"""A capture whose truth is known: the shipped body on its own joints, which hang free as a graph's nodes do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.avatar.rig import bone_transforms, load_rig, skin
from bodystream.body import largest_piece
from bodystream.geometry.rotations import matrix_from_rotation_vector, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.geometry.skinning import unturned_bones
from bodystream.sinks.animated_gltf import GltfSegment, Placing, write_animated_gltf
from bodystream.sinks.animation import Animation
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["CAMERA", "write_captured_body"]

CAMERA = np.array([[1.0, 0, 0, 0.2], [0, -1.0, 0, 1.0], [0, 0, -1.0, 2.0], [0, 0, 0, 1.0]])
"""file_from_camera: the camera is a metre above the floor."""


def write_captured_body(folder: Path, frames: int = 4, shade: int = 120, camera: Array = CAMERA) -> Array:
    """Write `capture.glb` of the body as it lifts an arm; (T, V, 3) the truth of its vertices, without eyes, in the
    file's axes [m]."""
    rig = load_rig()
    kept, faces = largest_piece(rig.mesh.faces, len(rig.mesh.vertices))
    vectors = np.zeros((frames, len(JOINTS), 3))
    lifted = np.linspace(0.0, 0.5, frames)
    vectors[:, JOINT_INDEX["left_shoulder"], 2] = -lifted
    vectors[:, JOINT_INDEX["right_elbow"], 0] = lifted
    moved = bone_transforms(rig, matrix_from_rotation_vector(vectors), np.tile([0.0, 0.0, 0.1], (frames, 1)))
    moved = np.linalg.inv(camera) @ np.diag([-1.0, 1.0, -1.0, 1.0]) @ moved  # it looks along +z of the file
    joints = rig.bind_positions_m.astype(np.float64)
    places = np.einsum("tbij,bj->tbi", moved[..., :3, :3], joints) + moved[..., :3, 3]
    turns = quaternion_from_matrix(moved[..., :3, :3])
    colours = np.full((len(kept), 3), shade, np.uint8)
    surface = SkinnedMesh(
        Mesh(rig.mesh.vertices[kept], faces, None, colours), rig.bones[kept], rig.weights[kept],
        unturned_bones(joints).astype(np.float32),
    )  # fmt: skip
    motion = Animation(np.arange(frames) * 100_000_000, turns.astype(np.float32), places.astype(np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    write_animated_gltf(
        folder / "capture.glb", "capture", [GltfSegment(surface, motion)], Placing("camera_axes", camera)
    )
    truth = np.stack([skin(rig, bones, kept) for bones in moved])
    return truth @ camera[:3, :3].T + camera[:3, 3]
