"""How bones move a surface: the motion of graphs and skeletons as that of bones, and linear blend skinning."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, forward_kinematics
from bodystream.types import Array, BodyPose, BoneMotion, GraphSnapshot, Mesh, SkinnedMesh

__all__ = ["body_motion", "graph_motion", "influences", "posed", "unturned_bones"]


def unturned_bones(positions_m: Array) -> Array:
    """(B, 4, 4) `bone_from_bind` of bones that stand at (B, 3) positions, turned as the mesh is: a graph's nodes."""
    out = np.tile(np.eye(4, dtype=positions_m.dtype), (len(positions_m), 1, 1))
    out[:, :3, 3] = -positions_m
    return out


def graph_motion(graph: GraphSnapshot) -> BoneMotion:
    """The nodes of a deformation graph as bones in the camera's frame: node i is at v_i + t_i, turned by R_i.

    Raises:
        InputError: a motion that is not finite, or arrays of different lengths.
    """
    count = len(graph.positions)
    if graph.rotations.shape != (count, 3, 3) or graph.translations.shape != (count, 3):
        raise InputError(
            f"graph at {graph.t_ns} ns: {count} nodes need rotations {(count, 3, 3)} and "
            f"translations {(count, 3)}, got {graph.rotations.shape} and {graph.translations.shape}"
        )
    if not (np.isfinite(graph.rotations).all() and np.isfinite(graph.translations).all()):
        raise InputError(f"graph at {graph.t_ns} ns: a node's motion is not finite; the frame is left out")
    rotations = quaternion_from_matrix(graph.rotations, np.float32)
    return BoneMotion(graph.t_ns, rotations, graph.positions + graph.translations)


def body_motion(pose: BodyPose, joints_m: Array) -> BoneMotion:
    """The 22 joints of a pose as bones in the world, in float64.

    Args:
        joints_m: (22, 3) where the joints are in this pose [m], as forward kinematics gave them already.

    Raises:
        InputError: a pose that is not finite, or with a quaternion of no length.
    """
    lengths = np.linalg.norm(pose.rotations_xyzw, axis=-1)
    if not (np.isfinite(lengths).all() and lengths.min() > 1e-6):
        raise InputError(f"the pose at {pose.t_ns} ns is not finite, or has a quaternion without length")
    local = matrix_from_quaternion(pose.rotations_xyzw)
    _, world = forward_kinematics(np.zeros((len(JOINTS), 3)), local, np.zeros(3))
    return BoneMotion(pose.t_ns, quaternion_from_matrix(world), np.asarray(joints_m, np.float64))


def influences(skin: SkinnedMesh, of: Array | None = None) -> tuple[Array, Array, int]:
    """What moves each vertex, as files and players want it: each bone of a vertex named once, unused ones 0 with weight
    0, weights that sum to 1. A vertex without any bone follows the one that is nearest at bind.

    Args:
        of: (V,) the vertices that are asked for; None = all.

    Returns:
        (V, 4) int64 bones, (V, 4) float32 weights, and how many vertices had no bone.
    """
    chosen = slice(None) if of is None else of
    joints = np.array(skin.bones[chosen], np.int64)
    w = np.where(joints >= 0, skin.weights[chosen], 0).astype(np.float64)
    in_order = np.sort(joints, axis=1)
    if ((in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)).any():
        _join_same(joints, w)
    total = w.sum(axis=1)
    loose = total <= 1e-12
    if loose.any():
        joints[loose, 0] = KDTree(skin.bind_positions_m).query(skin.mesh.vertices[chosen][loose])[1]
        w[loose] = (1.0, 0.0, 0.0, 0.0)
        total[loose] = 1.0
    w32 = (w / total[:, None]).astype(np.float32)
    largest = np.argmax(w32, axis=1)
    rows = np.arange(len(w32))
    w32[rows, largest] += (1.0 - w32.astype(np.float64).sum(axis=1)).astype(np.float32)
    joints[w32 == 0] = 0
    return joints, w32, int(np.count_nonzero(loose))


def _join_same(joints: Array, w: Array) -> None:
    """Where a vertex names a bone twice, its weights belong together."""
    for later in range(1, 4):
        for earlier in range(later):
            same = (joints[:, later] == joints[:, earlier]) & (w[:, later] > 0)
            w[same, earlier] += w[same, later]
            w[same, later] = 0


def posed(skin: SkinnedMesh, motion: BoneMotion) -> Mesh:
    """The surface with its bones at `motion`, by linear blend skinning in float64 on the host.

    Raises:
        InputError: a motion of other bones.
    """
    if len(motion.positions_m) != len(skin.bone_from_bind):
        raise InputError(f"a skin of {len(skin.bone_from_bind)} bones got a motion of {len(motion.positions_m)}")
    mesh, bones = skin.mesh, skin.bone_from_bind.astype(np.float64)
    rotations = matrix_from_quaternion(motion.rotations_xyzw.astype(np.float64))
    joints, weights, _ = influences(skin)
    points = mesh.vertices.astype(np.float64)
    normals = None if mesh.normals is None else mesh.normals.astype(np.float64)
    vertices, turned = np.zeros((len(points), 3)), np.zeros((len(points), 3))
    for k in range(4):
        j, w = joints[:, k], weights[:, k, None].astype(np.float64)
        seen = np.einsum("vab,vb->va", bones[j, :3, :3], points) + bones[j, :3, 3]
        vertices += w * (np.einsum("vab,vb->va", rotations[j], seen) + motion.positions_m[j])
        if normals is not None:
            ahead = np.einsum("vab,vb->va", bones[j, :3, :3], normals)
            turned += w * np.einsum("vab,vb->va", rotations[j], ahead)
    if normals is not None:
        length = np.linalg.norm(turned, axis=1, keepdims=True)
        normals = np.where(length > 1e-9, turned / np.maximum(length, 1e-9), normals).astype(np.float32)
    return Mesh(vertices.astype(np.float32), mesh.faces, normals, mesh.colours)
