"""Captures that `bodystream live --out` wrote: the fused surface in the pose of each of its key frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.avatar.gltf_file import GltfFile
from bodystream.errors import InputError
from bodystream.geometry.skinning import posed
from bodystream.types import Array, BoneMotion, Mesh, SkinnedMesh

__all__ = ["CapturedModel", "read_capture"]

_FILE = "capture.glb"
_GRAPH = "graph"


@dataclass(frozen=True)
class CapturedModel:
    """One fused surface, and how it moved; a capture that began anew has several.

    Attributes:
        skin: on its deformation graph.
        t_s: (T,) since the begin of the capture, increasing.
        rotations_xyzw: (T, B, 4), positions_m: (T, B, 3) of the nodes, in the camera's axes [m].
        file_from_camera: (4, 4) rigid: upright, y up, the floor at y = 0, what faces the camera faces +z.
    """

    skin: SkinnedMesh
    t_s: Array
    rotations_xyzw: Array
    positions_m: Array
    file_from_camera: Array

    def __len__(self) -> int:
        """Key frames."""
        return len(self.t_s)

    def mesh(self, frame: int) -> Mesh:
        """The surface in the pose of a key frame, y up [m]; its vertices are the same places in all."""
        motion = BoneMotion(round(1e9 * self.t_s[frame]), self.rotations_xyzw[frame], self.positions_m[frame])
        shown = posed(self.skin, motion)
        turn, shift = self.file_from_camera[:3, :3], self.file_from_camera[:3, 3]
        normals = None if shown.normals is None else (shown.normals @ turn.T).astype(np.float32)
        return Mesh((shown.vertices @ turn.T + shift).astype(np.float32), shown.faces, normals, shown.colours)


def read_capture(folder: Path) -> list[CapturedModel]:
    """The models of a capture, in order of time.

    Args:
        folder: with `capture.glb`, and `capture-2.glb` and so on of a long one.

    Raises:
        InputError: there is none, it is no file of a capture, or one that goes on is of another capture.
    """
    first = folder / _FILE
    if not first.is_file():
        journals = sorted(folder.glob("*.journal")) if folder.is_dir() else []
        cure = f"make it of {journals[0].name} with bodystream recover {folder}" if journals else (
            "give the folder that bodystream live --out wrote"
        )  # fmt: skip
        raise InputError(f"{folder} holds no {_FILE}: {cure}")
    models, number = _models(GltfFile(first)), 2
    while (following := first.with_stem(f"{first.stem}-{number}")).is_file():
        others = _models(GltfFile(following))
        # All parts of a capture stand on one floor; a longer capture of before may have left its own.
        if not np.allclose(others[0].file_from_camera, models[0].file_from_camera, atol=1e-5):
            raise InputError(f"{following} is of another capture than {first}: move it to another folder")
        begin_s = models[-1].t_s[-1] + _step_s(models)  # the clock of each file begins at 0
        models += [replace(model, t_s=model.t_s + begin_s) for model in others]
        number += 1
    return models


def _step_s(models: list[CapturedModel]) -> float:
    """The usual time between key frames [s]; where each model has a single one, that of a camera."""
    steps = np.concatenate([np.diff(model.t_s) for model in models])
    return float(np.median(steps)) if len(steps) else 1 / 30


def _models(file: GltfFile) -> list[CapturedModel]:
    parents = file.parents()
    world = file.world_matrices(parents)
    tracks = _tracks(file)
    models = []
    for number, node in enumerate(file.items("nodes")):
        if "skin" not in node or "mesh" not in node:
            continue
        skin = file.items("skins")[file.index(node["skin"], "skins", f"node {number}")]
        joints = skin.get("joints")
        if skin.get("name") != _GRAPH or not isinstance(joints, list) or not joints:
            raise file.wrong("is no capture, its surface hangs on no deformation graph: give what live --out wrote")
        joints = [file.index(joint, "nodes", "a joint") for joint in joints]
        times, turns, places = _motion(file, tracks, joints)
        above = parents[joints[0]]
        # Segments are shown and hidden by their node's scale, which says nothing of places.
        while above >= 0 and "scale" in file.items("nodes")[above]:
            above = parents[above]
        top = np.eye(4) if above < 0 else world[above].copy()
        left, stretch, right = np.linalg.svd(top[:3, :3])
        if stretch.min() > 1e-6:
            top[:3, :3] = left @ right
        models.append(CapturedModel(_skin(file, node, skin, len(joints)), times, turns, places, top))
    if not models:
        raise file.wrong("holds no skinned surface: give what bodystream live --out wrote")
    return sorted(models, key=lambda model: float(model.t_s[0]))


def _tracks(file: GltfFile) -> dict[tuple[int, str], tuple[Any, Any]]:
    """Of each animated node and path the accessors of times and values."""
    out: dict[tuple[int, str], tuple[Any, Any]] = {}
    for animation in file.items("animations"):
        samplers = animation.get("samplers", [])
        for channel in animation.get("channels", []):
            target, sampler = channel.get("target", {}), channel.get("sampler")
            if not isinstance(sampler, int) or not 0 <= sampler < len(samplers):
                raise file.wrong("a channel of its animation names no sampler: write the capture again")
            out[target.get("node"), str(target.get("path"))] = (
                samplers[sampler].get("input"),
                samplers[sampler].get("output"),
            )
    return out


def _motion(file: GltfFile, tracks: dict[tuple[int, str], tuple[Any, Any]], joints: list[int]) -> tuple[Array, ...]:
    known: dict[Any, Array] = {}
    turns, places, times = [], [], None
    for joint in joints:
        for path, width, out in (("rotation", 4, turns), ("translation", 3, places)):
            if (joint, path) not in tracks:
                raise file.wrong(f"node {joint} of its graph does not move: write the capture again")
            at, values = tracks[joint, path]
            if at not in known:
                known[at] = file.array(at, "times of the animation", 1)[:, 0].astype(np.float64)
            times = known[at] if times is None else times
            found = file.array(values, f"the {path} of node {joint}", width).astype(np.float64)
            if len(found) != len(times) or not np.array_equal(known[at], times) or not np.isfinite(found).all():
                raise file.wrong(f"the {path} of node {joint} has other times than the rest: write the capture again")
            out.append(found)
    assert times is not None
    return times, np.stack(turns, axis=1), np.stack(places, axis=1)


def _skin(file: GltfFile, node: dict[str, Any], skin: dict[str, Any], bones: int) -> SkinnedMesh:
    mesh = file.items("meshes")[file.index(node["mesh"], "meshes", "the surface")]
    primitives = mesh.get("primitives")
    if not isinstance(primitives, list) or not primitives or not isinstance(primitives[0], dict):
        raise file.wrong("its surface has no triangles: write the capture again")
    primitive = primitives[0]
    attributes = primitive.get("attributes", {})
    vertices = file.array(attributes.get("POSITION"), "POSITION", 3).astype(np.float32)
    faces = file.array(primitive.get("indices"), "indices", 1).reshape(-1, 3).astype(np.int32)
    joints = file.array(attributes.get("JOINTS_0"), "JOINTS_0", 4).astype(np.int32)
    weights = file.array(attributes.get("WEIGHTS_0"), "WEIGHTS_0", 4).astype(np.float32)
    bind = file.array(skin.get("inverseBindMatrices"), "inverseBindMatrices", 16).reshape(-1, 4, 4).swapaxes(1, 2)
    sizes = {len(vertices), len(joints), len(weights)}
    if len(sizes) > 1 or len(bind) != bones or not np.isfinite(vertices).all():
        raise file.wrong("the arrays of its surface do not fit each other: write the capture again")
    if faces.max() >= len(vertices) or joints.max() >= bones:
        raise file.wrong("its faces or anchors lead out of the arrays: write the capture again")
    colours = None
    if "COLOR_0" in attributes:
        found = file.array(attributes["COLOR_0"], "COLOR_0", 4).astype(np.float64)
        encoded = np.where(found <= 0.0031308, 12.92 * found, 1.055 * np.maximum(found, 1e-9) ** (1 / 2.4) - 0.055)
        colours = np.clip(np.rint(255 * encoded[:, :3]), 0, 255).astype(np.uint8)
    return SkinnedMesh(Mesh(vertices, faces, None, colours), joints, weights, bind.astype(np.float64))
