"""Skinned meshes and how their bones moved, as one animated glTF: a captured surface on its deformation graph, or a
driven body on its skeleton.

Bones are joints, the four bones of a vertex its influences. glTF blends the matrices of the joints linearly, which for
a graph is exactly its deformation, sum_i w_i (R_i (p - v_i) + v_i + t_i): the inverse bind matrix is `translate(-v_i)`,
and the joint is at `v_i + t_i` with rotation `R_i` (glTF 2.0, sec. 3.7.3 "Skins"). The joints of a skeleton hang on
each other; those of a graph hang side by side below one node, as do models that follow each other: a model that was
started anew is another mesh with another graph. Each is a segment of the one animation, below a node whose scale is 1
while the segment lasts and 0 otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skinning import influences
from bodystream.sinks.animation import Animation
from bodystream.sinks.gltf import GltfDocument, GltfSummary, Morphs, continuous_quaternions, key_times_s
from bodystream.sinks.ply import check_mesh
from bodystream.types import Array, SkinnedMesh

__all__ = ["GltfSegment", "Placing", "write_animated_gltf"]

_MAX_JOINTS = 65535  # joint indices are unsigned shorts


@dataclass(frozen=True, slots=True)
class GltfSegment:
    """One model and how it moved.

    Attributes:
        skin: at bind; normals are computed and a clay colour is used where its mesh has none.
        animation: of its bones.
        rest_m: (B, 3) from each bone's parent to it where nothing is played, its rotation being the identity [m];
            needed of a skeleton. None = all bones stand as at the first key frame.
        rest_xyzw: (B, 4) of each bone where nothing is played, in its parent's frame; None = unturned, where `rest_m`
            is given.
        morphs: shapes that are added at bind, at the animation's key frames; None = the bones alone move the surface.
        places_m: (T, B, 3) float32 from each bone's parent to it at the key frames, in the parent's frame [m]; rows of
            bones without a parent are not used. None = as at rest.
    """

    skin: SkinnedMesh
    animation: Animation
    rest_m: Array | None = None
    rest_xyzw: Array | None = None
    morphs: Morphs | None = None
    places_m: Array | None = None


@dataclass(frozen=True, slots=True)
class Placing:
    """The node above all: its name, and (4, 4) rigid `file_from_scene`."""

    name: str
    file_from_scene: Array


def write_animated_gltf(
    path: str | os.PathLike[str], name: str, segments: Sequence[GltfSegment], placing: Placing | None = None
) -> GltfSummary:
    """Write a binary glTF 2.0 with the segments' meshes, their skins and one animation. It appears whole or not at all.

    Args:
        path: of the `.glb` file.
        name: of the animation.
        segments: in order of time, at least one.
        placing: takes all that is shown to the file's axes; may be None for one skeleton with one root.

    Raises:
        InputError: broken or empty input, more bones than glTF's joint indices allow, or a file that cannot be written.
    """
    if not segments:
        raise InputError(f"{path}: no model was recorded, so there is nothing to show")
    for segment in segments:
        check_mesh(segment.skin.mesh, str(path))
        _check(path, segment)
    several = len(segments) > 1
    counts = [len(segment.skin.bone_from_bind) for segment in segments]
    tops = [_children(segment.skin, -1) for segment in segments]
    if placing is None and (several or len(tops[0]) != 1):
        raise InputError(f"{path}: several models or free bones need a node above them")
    starts_ns = np.array([segment.animation.t_ns[0] for segment in segments])
    ends_ns = np.array([segment.animation.t_ns[-1] for segment in segments])
    if (starts_ns[1:] <= ends_ns[:-1]).any():
        raise InputError(f"{path}: segments must follow each other in time")
    starts_s = (starts_ns - starts_ns[0]) * 1e-9
    clocks = [key_times_s(path, segment.animation.t_ns, int(starts_ns[0])) for segment in segments]
    # Neighbouring quaternions do not flip sign: players interpolate along the longer arc otherwise.
    turns = [continuous_quaternions(_unit(segment)).astype(np.float32) for segment in segments]
    places = [segment.animation.positions_m.astype(np.float32) for segment in segments]

    document = GltfDocument()
    # Of each segment, where there are several, a node of its own, and its joints.
    above = 0 if placing is None else 1
    firsts = [above + int(n) for n in np.cumsum([0, *(several + count for count in counts[:-1])])]
    joints = [range(first + several, first + several + count) for first, count in zip(firsts, counts, strict=True)]
    if placing is not None:
        shift = placing.file_from_scene[:3, 3]
        below = [[f] if several else [j[b] for b in top] for f, j, top in zip(firsts, joints, tops, strict=True)]
        document.node(
            placing.name,
            rotation_xyzw=quaternion_from_matrix(placing.file_from_scene[None, :3, :3])[0],
            translation_m=shift if np.any(shift) else None,
            children=[node for nodes in below for node in nodes],
        )
    for k, segment in enumerate(segments):
        label = f"segment_{k + 1}_" if several else ""
        if several:
            document.node(f"segment_{k + 1}", children=[joints[k][bone] for bone in tops[k]])
        for bone in range(counts[k]):
            rest, rest_turns = segment.rest_m, turns[k][0] if segment.rest_m is None else segment.rest_xyzw
            document.node(
                label + _bone_name(segment.skin, bone),
                rotation_xyzw=None if rest_turns is None else rest_turns[bone],
                translation_m=places[k][0, bone] if rest is None else rest[bone],
                children=[joints[k][child] for child in _children(segment.skin, bone)],
            )
    unanchored = 0
    for k, segment in enumerate(segments):
        which, weights, loose = influences(segment.skin)
        unanchored += loose
        kind = "graph" if segment.skin.parents is None else "body"
        skin = document.skin(kind, list(joints[k]), segment.skin.bone_from_bind, firsts[k] if several else 0)
        morphs = segment.morphs
        primitive = document.primitive(segment.skin.mesh, which.astype(np.uint16), weights, morphs)
        shown = document.mesh(f"surface_{k + 1}" if several else "surface", primitive, skin)
        moved = dict(zip([joints[k][b] for b in tops[k]], places[k].swapaxes(0, 1), strict=True))
        if segment.places_m is not None:
            moved |= {joints[k][b]: segment.places_m[:, b] for b in range(counts[k]) if b not in tops[k]}
        document.animation(name, clocks[k], list(joints[k]), turns[k], moved)
        if morphs is not None and len(morphs.offsets_m):
            document.shares(name, shown, clocks[k], morphs.shares)
        if several:
            times, visible = _shown(k, starts_s)
            document.visibility(name, firsts[k], times, visible)
    size = document.save(path)
    return GltfSummary(
        key_frames=sum(len(clock) for clock in clocks),
        duration_s=float((ends_ns[-1] - starts_ns[0]) * 1e-9),
        joints=sum(counts),
        vertices=sum(len(segment.skin.mesh.vertices) for segment in segments),
        faces=sum(len(segment.skin.mesh.faces) for segment in segments),
        unanchored=unanchored,
        bytes=size,
        stride=segments[-1].animation.stride,
        segments=len(segments),
    )


def _shown(k: int, starts_s: Array) -> tuple[Array, Array]:
    """When segment `k` appears, at its first frame, and vanishes, at that of the next one."""
    times, shown = ([0.0], [True]) if k == 0 else ([0.0, starts_s[k]], [False, True])
    if k + 1 < len(starts_s):
        times.append(starts_s[k + 1])
        shown.append(False)
    return np.array(times, np.float32), np.array(shown)


def _children(skin: SkinnedMesh, bone: int) -> list[int]:
    """The bones that hang on one, or with -1 those that hang on none."""
    if skin.parents is None:
        return list(range(len(skin.bone_from_bind))) if bone < 0 else []
    return np.flatnonzero(skin.parents == bone).tolist()


def _bone_name(skin: SkinnedMesh, bone: int) -> str:
    return f"node_{bone}" if skin.names is None else skin.names[bone]


def _unit(segment: GltfSegment) -> Array:
    q = segment.animation.rotations_xyzw
    return q / np.linalg.norm(q, axis=-1, keepdims=True)


def _check(path: str | os.PathLike[str], segment: GltfSegment) -> None:
    skin, animation = segment.skin, segment.animation
    bones, frames = len(skin.bone_from_bind), len(animation.t_ns)
    if len(skin.mesh.faces) == 0:
        raise InputError(f"{path}: the mesh has no faces, so there is nothing to show")
    if not 0 < bones <= _MAX_JOINTS:
        raise InputError(f"{path}: glTF takes 1 to {_MAX_JOINTS} joints, got {bones}")
    if frames == 0 or (np.diff(animation.t_ns) <= 0).any():
        raise InputError(f"{path}: key frames need increasing times, got {frames} of them")
    tops = _children(skin, -1)
    wanted = {"rotations_xyzw": (frames, bones, 4), "positions_m": (frames, len(tops), 3)}
    for name, shape in wanted.items():
        values = getattr(animation, name)
        if values.shape != shape:
            raise InputError(f"{path}: {name} must have shape {shape}, got {values.shape}")
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {name} hold values that are not finite")
    if skin.parents is not None and (segment.rest_m is None or segment.rest_m.shape != (bones, 3)):
        raise InputError(f"{path}: a skeleton of {bones} bones needs rest_m of shape {(bones, 3)}")
    if segment.places_m is not None:
        if segment.places_m.shape != (frames, bones, 3) or segment.places_m.dtype != np.float32:
            raise InputError(f"{path}: places_m must be float32 of shape {(frames, bones, 3)}")
        if not np.isfinite(segment.places_m).all():
            raise InputError(f"{path}: places_m hold values that are not finite")
    if segment.morphs is not None:
        _check_morphs(path, segment.morphs, frames, len(skin.mesh.vertices))
    lengths = np.linalg.norm(animation.rotations_xyzw, axis=-1)
    if lengths.min() < 1e-6:
        frame, bone = np.argwhere(lengths < 1e-6)[0].tolist()
        raise InputError(f"{path}: the quaternion of {_bone_name(skin, bone)} in frame {frame} has no length")


def _check_morphs(path: str | os.PathLike[str], morphs: Morphs, frames: int, vertices: int) -> None:
    count = len(morphs.offsets_m)
    wanted = {"offsets_m": (count, vertices, 3), "normals": (count, vertices, 3), "shares": (frames, count)}
    for name, shape in wanted.items():
        values = getattr(morphs, name)
        if values.shape != shape or values.dtype != np.float32:
            raise InputError(
                f"{path}: {name} of morphs must be float32 of shape {shape}, got {values.dtype} of {values.shape}"
            )
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {name} of morphs hold values that are not finite")
