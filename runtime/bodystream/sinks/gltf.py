"""A whole capture as one animated glTF: the canonical mesh skinned to the deformation graph.

Nodes are joints, the four anchors of a vertex its four influences. glTF blends the matrices of the joints
linearly, which is exactly the deformation of the graph, sum_i w_i (R_i (p - v_i) + v_i + t_i), with the inverse
bind matrix `translate(-v_i)` and the joint at `v_i + t_i` with rotation `R_i` (glTF 2.0, sec. 3.7.3 "Skins").
All data stays in the camera's frame; one node above the joints turns it to glTF's axes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from bodystream.errors import InputError
from bodystream.files import atomic_path
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.sinks.ply import check_mesh
from bodystream.types import Array, Mesh

__all__ = [
    "GltfDocument",
    "GltfSummary",
    "continuous_quaternions",
    "linear_colours_u16",
    "skin_influences",
    "vertex_normals",
    "write_animated_gltf",
]

_MAX_JOINTS = 65535  # joint indices are unsigned shorts
_CLAY = np.array([200, 196, 190], np.uint8)


@dataclass(frozen=True, slots=True)
class GltfSummary:
    """What went into the file.

    Attributes:
        key_frames, duration_s: of the animation.
        stride: every so many of the given frames became a key frame.
        joints, vertices, faces: sizes. unanchored: vertices without anchors, bound to their nearest node.
        bytes: size of the file.
    """

    key_frames: int
    duration_s: float
    stride: int
    joints: int
    vertices: int
    faces: int
    unanchored: int
    bytes: int


def write_animated_gltf(
    path: str | os.PathLike[str],
    mesh: Mesh,
    anchors: Array,
    weights: Array,
    node_positions: Array,
    frames_t_s: Array,
    rotations: Array,
    translations: Array,
    *,
    max_key_frames: int = 3000,
) -> GltfSummary:
    """Write a binary glTF 2.0 with the mesh, its skin and one animation.

    Args:
        path: of the `.glb` file.
        mesh: canonical surface; normals are computed and a clay colour is used where it has none.
        anchors: (V, 4) int nodes of each vertex, -1 = unused.
        weights: (V, 4) float; normalised here.
        node_positions: (N, 3) float v_i [m].
        frames_t_s: (T,) float seconds, increasing.
        rotations: (T, N, 3, 3) rotation matrices or (T, N, 4) xyzw quaternions.
        translations: (T, N, 3) float t_i [m].
        max_key_frames: longer recordings keep every second, third, ... frame.

    Raises:
        InputError: broken or empty input, more nodes than glTF's joint indices allow, or a file that cannot be
            written.
    """
    check_mesh(mesh, str(path))
    _check_motion(path, mesh, anchors, weights, node_positions, frames_t_s, rotations, translations)
    frames, nodes = translations.shape[:2]
    stride = max(1, -(-frames // max_key_frames))
    times = np.asarray(frames_t_s, np.float64)[::stride]
    times = (times - times[0]).astype(np.float32)
    # The quaternions of neighbouring frames must not flip sign: players interpolate along the longer arc otherwise.
    quaternions = continuous_quaternions(_as_quaternions(rotations[::stride])).astype(np.float32)
    positions = (translations[::stride] + node_positions).astype(np.float32)
    joints, skin_weights, unanchored = skin_influences(mesh.vertices, anchors, weights, node_positions)

    document = GltfDocument()
    primitive = document.primitive(mesh, joints, skin_weights)
    # Joints 1..N below node 0, which turns x right, y down, z forward to x right, y up, z backward.
    joint_nodes = list(range(1, nodes + 1))
    document.node("camera_axes", rotation_xyzw=np.array([1.0, 0.0, 0.0, 0.0]), children=joint_nodes)
    for i in range(nodes):
        document.node(f"node_{i}", rotation_xyzw=quaternions[0, i], translation_m=positions[0, i])
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (nodes, 1, 1))
    inverse_bind[:, :3, 3] = -node_positions
    document.skin("graph", joint_nodes, inverse_bind)
    document.animation(
        "capture", times, joint_nodes, quaternions, dict(zip(joint_nodes, positions.swapaxes(0, 1), strict=True))
    )
    size = document.save(path, primitive)
    return GltfSummary(
        len(times), float(times[-1]), stride, nodes, len(mesh.vertices), len(mesh.faces), unanchored, size
    )


def continuous_quaternions(quaternions: Array) -> Array:
    """Flip the signs of (T, ..., 4) quaternions so that neighbours in time have a dot product >= 0."""
    dots = np.sum(quaternions[1:] * quaternions[:-1], axis=-1, keepdims=True)
    signs = np.cumprod(np.where(dots < 0, -1.0, 1.0), axis=0)
    return np.concatenate([quaternions[:1], quaternions[1:] * signs])


def linear_colours_u16(colours: Array) -> Array:
    """(V, 3) uint8 sRGB to (V, 4) uint16 linear RGBA, which is what COLOR_0 holds; 8 bits would band in the dark."""
    s = np.arange(256) / 255.0
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    table = np.round(linear * 65535).astype(np.uint16)
    out = np.full((len(colours), 4), 65535, np.uint16)
    out[:, :3] = table[colours]
    return out


def vertex_normals(vertices: Array, faces: Array) -> Array:
    """(V, 3) float32 unit normals, each the sum of its faces' normals weighted with their areas."""
    corners = vertices[faces].astype(np.float64)
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = np.zeros((len(vertices), 3))
    for corner in range(3):
        for axis in range(3):
            sums[:, axis] += np.bincount(faces[:, corner], face_normals[:, axis], len(vertices))
    return _unit(sums)


def _unit(vectors: Array) -> Array:
    """Normalise; vectors without length (isolated vertices) become +z, since glTF wants unit normals."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    good = np.isfinite(length) & (length > 1e-20)
    return np.where(good, vectors / np.where(good, length, 1.0), (0.0, 0.0, 1.0)).astype(np.float32)


def _as_quaternions(rotations: Array) -> Array:
    if rotations.shape[-2:] == (3, 3):
        return quaternion_from_matrix(rotations)
    return rotations / np.linalg.norm(rotations, axis=-1, keepdims=True)


def _check_motion(
    path: Any, mesh: Mesh, anchors: Array, weights: Array, v: Array, t: Array, rotations: Array, translations: Array
) -> None:
    count = len(mesh.vertices)
    if len(mesh.faces) == 0:
        raise InputError(f"{path}: the mesh has no faces, so there is nothing to show")
    if not 0 < len(v) <= _MAX_JOINTS:
        raise InputError(f"{path}: glTF takes 1 to {_MAX_JOINTS} joints, got a graph of {len(v)} nodes")
    frames, nodes = len(t), len(v)
    wanted = {
        "anchors": (anchors.shape, [(count, 4)]),
        "weights": (weights.shape, [(count, 4)]),
        "node_positions": (v.shape, [(nodes, 3)]),
        "translations": (translations.shape, [(frames, nodes, 3)]),
        "rotations": (rotations.shape, [(frames, nodes, 3, 3), (frames, nodes, 4)]),
    }
    for name, (got, shapes) in wanted.items():
        if got not in shapes:
            raise InputError(f"{path}: {name} must have shape {' or '.join(map(str, shapes))}, got {got}")
    if frames == 0 or not np.isfinite(t).all() or (np.diff(np.asarray(t)) <= 0).any():
        raise InputError(f"{path}: key frames need finite, increasing times, got {frames} of them")
    for name, values in (("weights", weights), ("node_positions", v), ("rotations", rotations), ("translations", translations)):  # fmt: skip # noqa: E501
        if not np.isfinite(values).all():
            raise InputError(f"{path}: {name} hold values that are not finite")
    if anchors.max() >= nodes:
        raise InputError(f"{path}: anchors refer to node {anchors.max()}, but the graph has {nodes}")


def skin_influences(vertices: Array, anchors: Array, weights: Array, v: Array) -> tuple[Array, Array, int]:
    """Joints (V, 4) uint16 and weights (V, 4) float32 as glTF wants them: each joint of a vertex named once,
    unused ones 0 with weight 0, weights that sum to 1."""
    joints = np.array(anchors, np.int64)
    w = np.where(joints >= 0, np.maximum(weights, 0), 0).astype(np.float64)
    for later in range(1, 4):  # the same node twice: its weights belong together
        for earlier in range(later):
            same = (joints[:, later] == joints[:, earlier]) & (w[:, later] > 0)
            w[same, earlier] += w[same, later]
            w[same, later] = 0
    total = w.sum(axis=1)
    loose = total <= 1e-12
    if loose.any():
        joints[loose, 0] = KDTree(v).query(vertices[loose])[1]
        w[loose] = (1.0, 0.0, 0.0, 0.0)
        total[loose] = 1.0
    w32 = (w / total[:, None]).astype(np.float32)
    largest = np.argmax(w32, axis=1)
    rows = np.arange(len(w32))
    w32[rows, largest] += (1.0 - w32.astype(np.float64).sum(axis=1)).astype(np.float32)
    joints[w32 == 0] = 0
    return joints.astype(np.uint16), w32, int(np.count_nonzero(loose))


class GltfDocument:
    """A skinned, animated mesh as glTF 2.0: collects arrays into one buffer and the JSON around them.

    The first node is the skeleton's root and stands in the scene with the mesh.
    """

    def __init__(self) -> None:
        import pygltflib  # a tenth of a second that only a file costs

        self._lib = pygltflib
        self.gltf = pygltflib.GLTF2(
            asset=pygltflib.Asset(version="2.0", generator="bodystream"),
            scene=0,
            scenes=[pygltflib.Scene(nodes=[])],
        )
        self._parts: list[bytes] = []
        self._length = 0

    def _view(self, array: Array, target: int | None = None) -> int:
        """Append an array as a buffer view, aligned to four bytes."""
        data = np.ascontiguousarray(array).tobytes()
        view = self._lib.BufferView(buffer=0, byteOffset=self._length, byteLength=len(data), target=target)
        self.gltf.bufferViews.append(view)
        padding = -len(data) % 4
        self._parts.append(data + bytes(padding))
        self._length += len(data) + padding
        return len(self.gltf.bufferViews) - 1

    def _accessor(self, array: Array, kind: str, view: int, offset: int = 0, normalised: bool = False) -> int:
        types = {np.dtype(np.float32): 5126, np.dtype(np.uint32): 5125, np.dtype(np.uint16): 5123}
        flat = array.reshape(len(array), -1)
        accessor = self._lib.Accessor(
            bufferView=view, byteOffset=offset, componentType=types[array.dtype], count=len(flat), type=kind,
            normalized=normalised, min=flat.min(axis=0).tolist(), max=flat.max(axis=0).tolist(),
        )  # fmt: skip
        self.gltf.accessors.append(accessor)
        return len(self.gltf.accessors) - 1

    def _add(self, array: Array, kind: str, target: int | None = None, normalised: bool = False) -> int:
        return self._accessor(array, kind, self._view(array, target), normalised=normalised)

    def primitive(self, mesh: Mesh, joints: Array, weights: Array) -> Any:
        lib = self._lib
        normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else _unit(mesh.normals)
        colours = np.broadcast_to(_CLAY, mesh.vertices.shape) if mesh.colours is None else mesh.colours
        vertex, index = lib.ARRAY_BUFFER, lib.ELEMENT_ARRAY_BUFFER
        attributes = lib.Attributes(
            POSITION=self._add(mesh.vertices.astype(np.float32), "VEC3", vertex),
            NORMAL=self._add(normals, "VEC3", vertex),
            COLOR_0=self._add(linear_colours_u16(colours), "VEC4", vertex, normalised=True),
            JOINTS_0=self._add(joints, "VEC4", vertex),
            WEIGHTS_0=self._add(weights, "VEC4", vertex),
        )
        # 65535 itself is the restart value of short indices.
        kind = np.uint16 if len(mesh.vertices) < 65535 else np.uint32
        faces = self._add(mesh.faces.astype(kind).reshape(-1, 1), "SCALAR", index)
        self.gltf.materials.append(
            lib.Material(
                name="surface",
                pbrMetallicRoughness=lib.PbrMetallicRoughness(
                    baseColorFactor=[1.0, 1.0, 1.0, 1.0], metallicFactor=0.0, roughnessFactor=0.9
                ),
                doubleSided=True,
                alphaMode=lib.OPAQUE,
                alphaCutoff=None,
            )
        )
        return lib.Primitive(attributes=attributes, indices=faces, material=0, mode=lib.TRIANGLES)

    def node(
        self,
        name: str,
        *,
        rotation_xyzw: Array | None = None,
        translation_m: Array | None = None,
        children: list[int] | None = None,
    ) -> int:
        """Append a node; gives its index. `children` may be indices of nodes that follow."""
        node = self._lib.Node(name=name, children=[] if children is None else children)
        if rotation_xyzw is not None:
            node.rotation = np.asarray(rotation_xyzw, np.float64).tolist()
        if translation_m is not None:
            node.translation = np.asarray(translation_m, np.float64).tolist()
        self.gltf.nodes.append(node)
        return len(self.gltf.nodes) - 1

    def skin(self, name: str, joint_nodes: list[int], inverse_bind: Array) -> None:
        """The skin: its joints below node 0 (or node 0 among them), and (J, 4, 4) joint from mesh at bind."""
        columns = np.ascontiguousarray(inverse_bind.swapaxes(1, 2), np.float32)  # glTF is column-major
        accessor = self._add(columns, "MAT4")
        self.gltf.skins.append(self._lib.Skin(name=name, skeleton=0, joints=joint_nodes, inverseBindMatrices=accessor))

    def animation(
        self, name: str, times_s: Array, nodes: list[int], quaternions: Array, translations: dict[int, Array]
    ) -> None:
        """Linear channels.

        Args:
            times_s: (T,) float32. nodes: N node indices.
            quaternions: (T, N, 4) float32 xyzw. translations: (T, 3) float32 of each node that has some [m].
        """
        lib = self._lib
        clock = self._add(times_s[:, None], "SCALAR")
        animation = lib.Animation(name=name, samplers=[], channels=[])
        rotated = (quaternions.swapaxes(0, 1), "VEC4", "rotation", nodes)
        moved = (np.stack(list(translations.values())), "VEC3", "translation", list(translations))
        for data, kind, target, targets in (rotated, moved):
            by_node = np.ascontiguousarray(data)
            view = self._view(by_node)
            for i, node in enumerate(targets):
                output = self._accessor(by_node[i], kind, view, offset=i * by_node[i].nbytes)
                animation.samplers.append(lib.AnimationSampler(input=clock, output=output, interpolation="LINEAR"))
                channel = lib.AnimationChannelTarget(node=node, path=target)
                animation.channels.append(lib.AnimationChannel(sampler=len(animation.samplers) - 1, target=channel))
        self.gltf.animations.append(animation)

    def save(self, path: str | os.PathLike[str], primitive: Any) -> int:
        """Put the mesh into the scene and write the file; gives its size."""
        lib = self._lib
        self.gltf.meshes.append(lib.Mesh(name="surface", primitives=[primitive]))
        self.gltf.nodes.append(lib.Node(name="surface", mesh=0, skin=0))
        self.gltf.scenes[0].nodes = [0, len(self.gltf.nodes) - 1]
        self.gltf.buffers.append(lib.Buffer(byteLength=self._length))
        self.gltf.set_binary_blob(b"".join(self._parts))
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            for chunk in self.gltf.save_to_bytes():
                file.write(chunk)
            size = file.tell()
        return size
