"""A capture as one animated glTF: the canonical surface of each model, skinned to its deformation graph.

Nodes are joints, the four anchors of a vertex its four influences. glTF blends the matrices of the joints
linearly, which is exactly the deformation of the graph, sum_i w_i (R_i (p - v_i) + v_i + t_i), with the inverse
bind matrix `translate(-v_i)` and the joint at `v_i + t_i` with rotation `R_i` (glTF 2.0, sec. 3.7.3 "Skins").
All data stays in the camera's frame; one node above the joints takes it to the floor and to glTF's axes.

A model that was started anew is another mesh with another graph. Each is a segment of the one animation: below a node
whose scale is 1 while the segment lasts and 0 otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.sinks.gltf import GltfDocument, GltfSummary, continuous_quaternions, skin_influences
from bodystream.sinks.ply import check_mesh
from bodystream.types import Array, Mesh

__all__ = ["GLTF_FROM_CAMERA", "GltfSegment", "write_capture_gltf"]

_MAX_JOINTS = 65535  # joint indices are unsigned shorts
GLTF_FROM_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])
"""Camera (x right, y down, z forward) to glTF (y up, z towards who looks at it): what faces the camera faces +z."""


@dataclass(frozen=True, slots=True)
class GltfSegment:
    """One model and how it moved.

    Attributes:
        mesh: canonical surface; normals are computed and a clay colour is used where it has none.
        anchors: (V, 4) int nodes of each vertex, -1 = unused.
        weights: (V, 4) float; normalised here.
        node_positions: (N, 3) float v_i [m].
        frames_t_s: (T,) float seconds of the capture, increasing.
        rotations: (T, N, 3, 3) rotation matrices or (T, N, 4) xyzw quaternions.
        translations: (T, N, 3) float t_i [m].
    """

    mesh: Mesh
    anchors: Array
    weights: Array
    node_positions: Array
    frames_t_s: Array
    rotations: Array
    translations: Array


def write_capture_gltf(
    path: str | os.PathLike[str], segments: Sequence[GltfSegment], world_from_camera: Array = GLTF_FROM_CAMERA
) -> GltfSummary:
    """Write a binary glTF 2.0 with the segments' meshes, their skins and one animation.

    Args:
        path: of the `.glb` file.
        segments: in order of time, at least one.
        world_from_camera: (4, 4) rigid, to the file's axes.

    Raises:
        InputError: broken or empty input, more nodes than glTF's joint indices allow, or a file that cannot be
            written.
    """
    if not segments:
        raise InputError(f"{path}: no model was recorded, so there is nothing to show")
    for segment in segments:
        check_mesh(segment.mesh, str(path))
        _check_motion(path, segment)
    starts = np.array([segment.frames_t_s[0] for segment in segments], np.float64)
    ends = np.array([segment.frames_t_s[-1] for segment in segments], np.float64)
    if (starts[1:] <= ends[:-1]).any():
        raise InputError(f"{path}: segments must follow each other in time")

    document = GltfDocument()
    # Nodes that follow: of each segment its own, where there are several, and its joints.
    several = len(segments) > 1
    counts = [len(segment.node_positions) for segment in segments]
    firsts = 1 + np.concatenate([[0], np.cumsum([several + n for n in counts])[:-1]]).astype(int)
    below = [[int(f)] if several else list(range(int(f), int(f) + n)) for f, n in zip(firsts, counts, strict=True)]
    document.node(
        "camera_axes",
        rotation_xyzw=quaternion_from_matrix(world_from_camera[None, :3, :3])[0],
        translation_m=world_from_camera[:3, 3] if np.any(world_from_camera[:3, 3]) else None,
        children=[node for nodes in below for node in nodes],
    )
    clock = [np.asarray(s.frames_t_s, np.float64) - starts[0] for s in segments]
    turns = [continuous_quaternions(_as_quaternions(s.rotations)).astype(np.float32) for s in segments]
    places = [(s.translations + s.node_positions).astype(np.float32) for s in segments]
    joints: list[list[int]] = []
    for k in range(len(segments)):
        label = f"segment_{k + 1}_" if several else ""
        joints.append(list(range(int(firsts[k]) + several, int(firsts[k]) + several + counts[k])))
        if several:
            document.node(f"segment_{k + 1}", children=joints[k])
        for i in range(counts[k]):
            document.node(f"{label}node_{i}", rotation_xyzw=turns[k][0, i], translation_m=places[k][0, i])
    unanchored = 0
    for k, segment in enumerate(segments):
        which, weights, loose = skin_influences(
            segment.mesh.vertices, segment.anchors, segment.weights, segment.node_positions
        )
        unanchored += loose
        inverse_bind = np.tile(np.eye(4, dtype=np.float32), (counts[k], 1, 1))
        inverse_bind[:, :3, 3] = -segment.node_positions
        name = f"surface_{k + 1}" if several else "surface"
        skin = document.skin("graph", joints[k], inverse_bind, int(firsts[k]) if several else 0)
        document.mesh(name, document.primitive(segment.mesh, which, weights), skin)
        # Neighbouring quaternions do not flip sign: players interpolate along the longer arc otherwise.
        document.animation(
            "capture",
            clock[k].astype(np.float32),
            joints[k],
            turns[k],
            dict(zip(joints[k], places[k].swapaxes(0, 1), strict=True)),
        )
        if several:
            times, shown = _shown(k, starts - starts[0])
            document.visibility("capture", int(firsts[k]), times, shown)
    size = document.save(path)
    return GltfSummary(
        key_frames=sum(len(c) for c in clock),
        duration_s=float(clock[-1][-1]),
        joints=sum(counts),
        vertices=sum(len(s.mesh.vertices) for s in segments),
        faces=sum(len(s.mesh.faces) for s in segments),
        unanchored=unanchored,
        bytes=size,
        segments=len(segments),
    )


def _shown(k: int, starts_s: Array) -> tuple[Array, Array]:
    """When segment `k` appears, at its first frame, and vanishes, at that of the next one."""
    times, shown = ([0.0], [True]) if k == 0 else ([0.0, starts_s[k]], [False, True])
    if k + 1 < len(starts_s):
        times.append(starts_s[k + 1])
        shown.append(False)
    return np.array(times, np.float32), np.array(shown)


def _as_quaternions(rotations: Array) -> Array:
    if rotations.shape[-2:] == (3, 3):
        return quaternion_from_matrix(rotations)
    return rotations / np.linalg.norm(rotations, axis=-1, keepdims=True)


def _check_motion(path: Any, s: GltfSegment) -> None:
    count, v, t = len(s.mesh.vertices), s.node_positions, s.frames_t_s
    if len(s.mesh.faces) == 0:
        raise InputError(f"{path}: the mesh has no faces, so there is nothing to show")
    if not 0 < len(v) <= _MAX_JOINTS:
        raise InputError(f"{path}: glTF takes 1 to {_MAX_JOINTS} joints, got a graph of {len(v)} nodes")
    frames, nodes = len(t), len(v)
    wanted = {
        "anchors": (s.anchors.shape, [(count, 4)]),
        "weights": (s.weights.shape, [(count, 4)]),
        "node_positions": (v.shape, [(nodes, 3)]),
        "translations": (s.translations.shape, [(frames, nodes, 3)]),
        "rotations": (s.rotations.shape, [(frames, nodes, 3, 3), (frames, nodes, 4)]),
    }
    for name, (got, shapes) in wanted.items():
        if got not in shapes:
            raise InputError(f"{path}: {name} must have shape {' or '.join(map(str, shapes))}, got {got}")
    if frames == 0 or not np.isfinite(t).all() or (np.diff(np.asarray(t)) <= 0).any():
        raise InputError(f"{path}: key frames need finite, increasing times, got {frames} of them")
    for name in ("weights", "node_positions", "rotations", "translations"):
        if not np.isfinite(getattr(s, name)).all():
            raise InputError(f"{path}: {name} hold values that are not finite")
    if s.anchors.max() >= nodes:
        raise InputError(f"{path}: anchors refer to node {s.anchors.max()}, but the graph has {nodes}")
