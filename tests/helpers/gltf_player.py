"""Plays a binary glTF as a viewer does, in float64, by the specification and with nothing of the writer's code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pygltflib
from scipy.spatial.transform import Rotation, Slerp

from bodystream.types import Array

__all__ = ["Player", "Shown"]

_COMPONENTS = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


@dataclass(frozen=True)
class Shown:
    """One skinned mesh at one time; `visible` where its triangles have an area at all."""

    vertices: Array
    faces: Array
    visible: bool


class Player:
    """One file: every node, sampler and skin is evaluated from the JSON at any time."""

    def __init__(self, path: Path) -> None:
        loaded = pygltflib.GLTF2().load_binary(str(path))
        assert loaded is not None
        self.gltf = loaded
        self._blob = loaded.binary_blob()
        self._parents = {child: i for i, node in enumerate(loaded.nodes) for child in node.children or []}
        self._tracks = {}
        for animation in loaded.animations:
            for channel in animation.channels:
                sampler = animation.samplers[channel.sampler]
                times, values = self.array(sampler.input)[:, 0], self.array(sampler.output)
                if channel.target.path == "weights":  # of all morph targets in turn
                    values = values.reshape(len(times), -1)
                track = (times, values, sampler.interpolation)
                key = (channel.target.node, channel.target.path)
                assert key not in self._tracks, "a target is animated once"
                self._tracks[key] = track

    def array(self, index: int) -> Array:
        accessor = self.gltf.accessors[index]
        view = self.gltf.bufferViews[accessor.bufferView]
        width, start = _WIDTHS[accessor.type], (view.byteOffset or 0) + (accessor.byteOffset or 0)
        flat = np.frombuffer(self._blob, _COMPONENTS[accessor.componentType], accessor.count * width, start)
        return flat.reshape(accessor.count, width)

    @property
    def key_times(self) -> Array:
        """All times at which some node has a key of its rotation [s]."""
        return np.unique(np.concatenate([t[0] for (_, path), t in self._tracks.items() if path == "rotation"]))

    def _value(self, node: int, path: str, t_s: float | None) -> Array:
        rest = getattr(self.gltf.nodes[node], path, None)
        if t_s is None or (node, path) not in self._tracks:
            return np.array({"rotation": [0, 0, 0, 1], "translation": [0, 0, 0], "scale": [1, 1, 1]}[path]
                            if rest is None else rest, float)  # fmt: skip
        times, values, how = self._tracks[node, path]
        values = values.astype(np.float64)
        t = float(np.clip(t_s, times[0], times[-1]))
        after = int(np.searchsorted(times, t, side="right"))
        if how == "STEP" or after in (0, len(times)):
            return values[max(after - 1, 0)]
        before = after - 1
        if path == "rotation":
            turn = Rotation.from_quat(values[[before, after]])
            return Slerp(times[[before, after]].astype(float), turn)([t]).as_quat()[0]
        part = (t - times[before]) / (times[after] - times[before])
        return (1 - part) * values[before] + part * values[after]

    @lru_cache(maxsize=100_000)  # noqa: B019, one file at a time
    def matrix(self, node: int, t_s: float | None = None) -> Array:
        """(4, 4) of a node in the world; None = at rest."""
        local = np.eye(4)
        local[:3, :3] = Rotation.from_quat(self._value(node, "rotation", t_s)).as_matrix()
        local[:3, :3] *= self._value(node, "scale", t_s)
        local[:3, 3] = self._value(node, "translation", t_s)
        parent = self._parents.get(node)
        return local if parent is None else self.matrix(parent, t_s) @ local

    def paths(self, names: Sequence[str]) -> Array:
        """(T, N, 3) where the named nodes are at all key times."""
        times = self.key_times
        numbers = {node.name: number for number, node in enumerate(self.gltf.nodes)}
        worlds: dict[int, tuple[Rotation, Array, Array]] = {}

        def values(node: int, path: str) -> Array:
            if (node, path) not in self._tracks:
                return np.tile(self._value(node, path, None), (len(times), 1))
            at, track, _ = self._tracks[node, path]
            np.testing.assert_array_equal(at, times)
            return track.astype(np.float64)

        def world(node: int) -> tuple[Rotation, Array, Array]:
            if node not in worlds:
                turn, place = Rotation.from_quat(values(node, "rotation")), values(node, "translation")
                scale, parent = values(node, "scale"), self._parents.get(node)
                if parent is not None:
                    turns, places, scales = world(parent)
                    turn, place, scale = turns * turn, places + turns.apply(scales * place), scales * scale
                worlds[node] = turn, place, scale
            return worlds[node]

        return np.stack([world(numbers[name])[1] for name in names], axis=1)

    def shown(self, t_s: float | None = None) -> list[Shown]:
        """All skinned meshes of the scene."""
        out = []
        pending = list(self.gltf.scenes[self.gltf.scene or 0].nodes or [])
        while pending:
            number = pending.pop(0)
            node = self.gltf.nodes[number]
            pending += node.children or []
            if node.mesh is None:
                continue
            skin = self.gltf.skins[node.skin]
            bind = self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).swapaxes(1, 2).astype(float)
            joints = np.stack([self.matrix(j, t_s) for j in skin.joints]) @ bind
            (primitive,) = self.gltf.meshes[node.mesh].primitives
            rest = self.array(primitive.attributes.POSITION).astype(float)
            if primitive.targets and t_s is not None:
                shares = self._value(number, "weights", t_s)
                for share, target in zip(shares, primitive.targets, strict=True):
                    rest = rest + share * self.array(target["POSITION"])
            rest = np.concatenate([rest, np.ones((len(rest), 1))], axis=1)
            which, weights = self.array(primitive.attributes.JOINTS_0), self.array(primitive.attributes.WEIGHTS_0)
            vertices = np.einsum("vk,vkij,vj->vi", weights.astype(float), joints[which], rest)[:, :3]
            faces = self.array(primitive.indices).reshape(-1, 3).astype(int)
            area = np.ptp(vertices, axis=0).max() > 1e-5  # weights sum to 1 within float32
            out.append(Shown(vertices, faces, bool(area)))
        return out

    def visible(self, t_s: float | None = None) -> Shown:
        """The one mesh that is to be seen."""
        (mesh,) = [mesh for mesh in self.shown(t_s) if mesh.visible]
        return mesh
