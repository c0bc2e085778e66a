"""Skinned, animated meshes as binary glTF 2.0: arrays, accessors and the JSON around them."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bodystream.errors import InputError
from bodystream.files import atomic_path
from bodystream.geometry.normals import unit_normals, vertex_normals
from bodystream.types import Array, Mesh

__all__ = [
    "GltfDocument",
    "GltfSummary",
    "Morphs",
    "continuous_quaternions",
    "key_times_s",
    "linear_colours_u16",
    "save_glb",
]

_CLAY = np.array([200, 196, 190], np.uint8)


@dataclass(frozen=True, slots=True)
class Morphs:
    """Shapes that are added to a mesh at bind before its bones move it (glTF 2.0, sec. 3.7.2.2 "Morph Targets").

    Attributes:
        offsets_m: (K, V, 3) float32 of the vertices [m].
        normals: (K, V, 3) float32 what is added to the normals.
        shares: (T, K) float32, how much of each at every key frame.
    """

    offsets_m: Array
    normals: Array
    shares: Array


@dataclass(frozen=True, slots=True)
class GltfSummary:
    """What went into the file.

    Attributes:
        key_frames, duration_s: of the animation.
        joints, vertices, faces: sizes. unanchored: vertices without anchors, bound to their nearest node.
        bytes: size of the file.
        stride: every so many of the recorded frames became a key frame.
        segments: models that it shows one after the other.
    """

    key_frames: int
    duration_s: float
    joints: int
    vertices: int
    faces: int
    unanchored: int
    bytes: int
    stride: int = 1
    segments: int = 1


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


class GltfDocument:
    """Skinned, animated meshes as glTF 2.0: collects arrays into one buffer and the JSON around them.

    The first node is the root of all skeletons and stands in the scene beside the meshes: glTF leaves the transform of
    a skinned mesh's own node aside, so only what is above its joints moves it.
    """

    def __init__(self) -> None:
        import pygltflib  # a tenth of a second that only a file costs

        self._lib = pygltflib
        self.gltf = pygltflib.GLTF2(
            asset=pygltflib.Asset(version="2.0", generator="bodystream"),
            scene=0,
            scenes=[pygltflib.Scene(nodes=[])],
        )
        self._in_scene = [0]
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

    def primitive(self, mesh: Mesh, joints: Array, weights: Array, morphs: Morphs | None = None) -> Any:
        lib = self._lib
        normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else unit_normals(mesh.normals)
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
        targets = [] if morphs is None else [
            lib.Attributes(POSITION=self._add(offsets, "VEC3"), NORMAL=self._add(turned, "VEC3"))
            for offsets, turned in zip(morphs.offsets_m, morphs.normals, strict=True)
        ]  # fmt: skip
        self._add_material()
        return lib.Primitive(
            attributes=attributes, indices=faces, material=0, mode=lib.TRIANGLES, targets=targets or None
        )

    def _add_material(self) -> None:
        lib = self._lib
        if self.gltf.materials:
            return
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

    def skin(self, name: str, joint_nodes: list[int], inverse_bind: Array, root: int = 0) -> int:
        """A skin: its joints below the node `root` (or that among them), and (J, 4, 4) joint from mesh at bind."""
        columns = np.ascontiguousarray(inverse_bind.swapaxes(1, 2), np.float32)  # glTF is column-major
        accessor = self._add(columns, "MAT4")
        self.gltf.skins.append(
            self._lib.Skin(name=name, skeleton=root, joints=joint_nodes, inverseBindMatrices=accessor)
        )
        return len(self.gltf.skins) - 1

    def mesh(self, name: str, primitive: Any, skin: int) -> int:
        """Put a skinned mesh into the scene; gives its node."""
        self.gltf.meshes.append(self._lib.Mesh(name=name, primitives=[primitive]))
        self.gltf.nodes.append(self._lib.Node(name=name, mesh=len(self.gltf.meshes) - 1, skin=skin))
        self._in_scene.append(len(self.gltf.nodes) - 1)
        return self._in_scene[-1]

    def animation(
        self, name: str, times_s: Array, nodes: list[int], quaternions: Array, translations: dict[int, Array]
    ) -> None:
        """Linear channels of the file's one animation: players show one at a time, or all at once.

        Args:
            times_s: (T,) float32. nodes: N node indices.
            quaternions: (T, N, 4) float32 xyzw. translations: (T, 3) float32 of each node that has some [m].
        """
        lib = self._lib
        clock = self._add(times_s[:, None], "SCALAR")
        animation = self._animation(name)
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

    def shares(self, name: str, node: int, times_s: Array, shares: Array) -> None:
        """How much of each morph target is added to the mesh of a node, linear in time.

        Args:
            times_s: (T,) float32, increasing. shares: (T, K) float32.
        """
        lib, animation = self._lib, self._animation(name)
        sampler = lib.AnimationSampler(
            input=self._add(times_s[:, None], "SCALAR"),
            output=self._add(shares.reshape(-1, 1), "SCALAR"),
            interpolation="LINEAR",
        )
        animation.samplers.append(sampler)
        channel = lib.AnimationChannelTarget(node=node, path="weights")
        animation.channels.append(lib.AnimationChannel(sampler=len(animation.samplers) - 1, target=channel))

    def visibility(self, name: str, node: int, times_s: Array, shown: Array) -> None:
        """Show what hangs on a node from some times on and hide it from others, by its scale of 1 or 0 (glTF 2.0,
        sec. 3.5.3: a scale of zero lets players leave a mesh out, a skinned one where all of its joints have it).

        Args:
            times_s: (T,) float32, increasing. shown: (T,) bool.
        """
        lib, animation = self._lib, self._animation(name)
        scales = np.repeat(np.asarray(shown, np.float32)[:, None], 3, axis=1)
        sampler = lib.AnimationSampler(
            input=self._add(np.asarray(times_s, np.float32)[:, None], "SCALAR"),
            output=self._add(scales, "VEC3"),
            interpolation="STEP",
        )
        animation.samplers.append(sampler)
        channel = lib.AnimationChannelTarget(node=node, path="scale")
        animation.channels.append(lib.AnimationChannel(sampler=len(animation.samplers) - 1, target=channel))
        if not shown[0]:
            self.gltf.nodes[node].scale = [0.0, 0.0, 0.0]

    def _animation(self, name: str) -> Any:
        if not self.gltf.animations:
            self.gltf.animations.append(self._lib.Animation(name=name, samplers=[], channels=[]))
        return self.gltf.animations[0]

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the file, whole or not at all; gives its size.

        Raises:
            InputError: the file cannot be written.
        """
        self.gltf.scenes[0].nodes = self._in_scene
        self.gltf.buffers.append(self._lib.Buffer(byteLength=self._length))
        text = self.gltf.gltf_to_json(separators=(",", ":"), indent=None).encode()  # pyright: ignore[reportArgumentType]
        return save_glb(path, text, self._parts)

    def extend(self, name: str, content: dict[str, Any]) -> None:
        """Say something by an extension of the whole file."""
        self.gltf.extensions = {**(self.gltf.extensions or {}), name: content}
        self.gltf.extensionsUsed.append(name)


def save_glb(path: str | os.PathLike[str], json_text: bytes, parts: Sequence[bytes]) -> int:
    """Write a binary glTF, whole or not at all; gives its size.

    Args:
        path: of the file.
        json_text: its JSON.
        parts: its data, together of a length that four divides.

    Raises:
        InputError: the file cannot be written.
    """
    json_text += b" " * (-len(json_text) % 4)
    length = sum(map(len, parts))
    size = 12 + 8 + len(json_text) + 8 + length
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        # Chunk by chunk, so that the arrays are in memory once (glTF 2.0, sec. 4.4 "Binary glTF").
        file.write(struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(json_text), b"JSON") + json_text)
        file.write(struct.pack("<I4s", length, b"BIN\x00"))
        file.writelines(parts)
    return size


def key_times_s(path: str | os.PathLike[str], t_ns: Array, start_ns: int) -> Array:
    """(T,) float32 times of key frames from `start_ns` on [s].

    Raises:
        InputError: float32 cannot tell them apart; it names the file.
    """
    clock = ((t_ns - start_ns) * 1e-9).astype(np.float32)
    if (np.diff(clock) <= 0).any():
        raise InputError(f"{path}: key frames are closer together than a file of {clock[-1]:.0f} s can tell apart")
    return clock
