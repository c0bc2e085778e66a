"""A driven VRM as an animated glTF: the avatar's own file, with its materials and textures, and a motion of its bones.

The JSON of the file is kept but for what makes it a VRM: a program that knows VRM would take the animated scene for an
avatar at rest. What its licence says goes with it (`asset.extras.vrm_meta`). The front is +z, as of all files here: a
VRM 0.x, which looks along -z, is turned by a node above its scene.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import numpy as np

from bodystream.avatar.vrm import VrmModel
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import JOINTS, forward_kinematics
from bodystream.sinks.animation import Animation
from bodystream.sinks.facing import FACING_VECTOR
from bodystream.sinks.gltf import continuous_quaternions, key_times_s, save_glb
from bodystream.types import Array

__all__ = ["write_vrm_gltf"]

_FLOAT = 5126


def write_vrm_gltf(path: str | os.PathLike[str], model: VrmModel, animation: Animation) -> int:
    """Write the avatar with its motion; gives the size of the file, which appears whole or not at all.

    Args:
        path: of the `.glb` file.
        model: the avatar.
        animation: of the 22 joints of `model.build.skeleton`.

    Raises:
        InputError: nothing was recorded, or the file cannot be written.
    """
    if not len(animation.t_ns):
        raise InputError(f"{path}: no pose was recorded, so there is no animation to write")
    root = copy.deepcopy(model.file.json)
    parts = [model.file.binary, bytes(-len(model.file.binary) % 4)]
    size = sum(map(len, parts))
    nodes, hips = _local_motion(model, animation)

    def add(values: Array, kind: str, bounds: bool = False) -> int:
        nonlocal size
        data = np.ascontiguousarray(values, np.float32).tobytes()
        views, accessors = root.setdefault("bufferViews", []), root.setdefault("accessors", [])
        views.append({"buffer": 0, "byteOffset": size, "byteLength": len(data)})
        accessor = {"bufferView": len(views) - 1, "componentType": _FLOAT, "count": len(values), "type": kind}
        if bounds:
            accessor |= {"min": [float(values.min())], "max": [float(values.max())]}
        accessors.append(accessor)
        parts.append(data)
        size += len(data)
        return len(accessors) - 1

    clock = add(key_times_s(path, animation.t_ns, int(animation.t_ns[0])), "SCALAR", bounds=True)
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def move(node: int, what: str, values: Array, kind: str) -> None:
        samplers.append({"input": clock, "output": add(values, kind), "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": what}})

    for node, quaternions in nodes.items():
        _without_matrix(root["nodes"][node], model, node)
        move(node, "rotation", quaternions, "VEC4")
    move(model.humanoid.nodes[0], "translation", hips, "VEC3")
    root["animations"] = [{"name": "driven", "samplers": samplers, "channels": channels}]
    root["buffers"] = [{"byteLength": size}]
    _as_plain_gltf(root)
    if not model.humanoid.faces_ahead:
        _turn(root)
    text = json.dumps(root, separators=(",", ":"), allow_nan=False).encode()
    return save_glb(path, text, parts)


def _local_motion(model: VrmModel, animation: Animation) -> tuple[dict[int, Array], Array]:
    """Of each driven node (T, 4) its rotation in its parent's frame, and (T, 3) the hips' place in theirs."""
    humanoid = model.humanoid
    turn = np.diag(FACING_VECTOR) if humanoid.faces_ahead else np.eye(3)
    local = matrix_from_quaternion(animation.rotations_xyzw.astype(np.float64))
    _, world = forward_kinematics(np.zeros((len(JOINTS), 3)), local, np.zeros((len(local), 3)))
    rest = {n: turn @ _rotation(humanoid.rest_world[n]) for n in range(len(humanoid.parents))}
    of_node = {node: joint for joint, node in humanoid.nodes.items()}
    posed: dict[int, Array] = {}
    for joint, node in humanoid.nodes.items():
        canonical = turn @ humanoid.rest_from_canonical[joint]
        posed[node] = turn @ world[:, joint] @ canonical.T @ rest[node]
    out: dict[int, Array] = {}
    for node in posed:
        above = parent = humanoid.parents[node]
        while above >= 0 and above not in of_node:
            above = humanoid.parents[above]
        if parent < 0:
            turns = posed[node]
        elif above < 0:
            turns = rest[parent].T @ posed[node]
        else:  # what is between two bones stays as it is
            turns = np.swapaxes(posed[above] @ (rest[above].T @ rest[parent]), 1, 2) @ posed[node]
        out[node] = continuous_quaternions(quaternion_from_matrix(turns))
    places = animation.positions_m[:, 0].astype(np.float64) @ turn
    parent = humanoid.parents[humanoid.nodes[0]]
    if parent >= 0:
        above_hips = humanoid.rest_world[parent].copy()
        above_hips[:3] = turn @ above_hips[:3]
        back = np.linalg.inv(above_hips)
        places = places @ back[:3, :3].T + back[:3, 3]
    return out, places


def _rotation(world: Array) -> Array:
    """(3, 3) without the even scale that a bone may have."""
    return world[:3, :3] / np.linalg.norm(world[:3, 0])


def _without_matrix(node: dict[str, Any], model: VrmModel, number: int) -> None:
    """A node that is animated is told by its parts (glTF 2.0, sec. 3.5.3)."""
    if node.pop("matrix", None) is None:
        return
    local = model.file.local_matrix(number)
    scale = float(np.linalg.norm(local[:3, 0]))
    node["translation"] = local[:3, 3].tolist()
    node["rotation"] = quaternion_from_matrix(local[None, :3, :3] / scale)[0].tolist()
    node["scale"] = [scale] * 3


def _as_plain_gltf(root: dict[str, Any]) -> None:
    """Take away what makes it a VRM; what its licence says stays."""
    asset = root.setdefault("asset", {"version": "2.0"})
    asset["generator"] = "bodystream"
    extensions = root.pop("extensions")
    vrm = extensions.get("VRMC_vrm", extensions.get("VRM", {}))
    if isinstance(asset.get("extras", {}), dict) and isinstance(vrm, dict) and "meta" in vrm:
        asset["extras"] = {**asset.get("extras", {}), "vrm_meta": vrm["meta"]}
    kept = {name: value for name, value in extensions.items() if not name.startswith("VRM")}
    if kept:
        root["extensions"] = kept
    for key in ("extensionsUsed", "extensionsRequired"):
        listed = root.pop(key, [])
        names = [name for name in (listed if isinstance(listed, list) else []) if not str(name).startswith("VRM")]
        if names:
            root[key] = names
    for kind in ("nodes", "materials", "textures"):
        for item in root.get(kind, []):
            own = item.get("extensions")
            if isinstance(own, dict):
                left = {name: value for name, value in own.items() if not name.startswith("VRM")}
                item.pop("extensions")
                if left:
                    item["extensions"] = left


def _turn(root: dict[str, Any]) -> None:
    """Hang each scene below a node that turns it by 180 degrees about y. Skinned meshes go where their joints go."""
    nodes = root["nodes"]
    if not root.get("scenes"):
        children = {child for node in nodes for child in node.get("children", [])}
        root["scenes"], root["scene"] = [{"nodes": [n for n in range(len(nodes)) if n not in children]}], 0
    for scene in root["scenes"]:
        tops = scene.get("nodes", [])
        skinned = [n for n in tops if "skin" in nodes[n] and not nodes[n].get("children")]
        turned = [n for n in tops if n not in skinned]
        if turned:
            nodes.append({"name": "front", "rotation": [0.0, 1.0, 0.0, 0.0], "children": turned})
            scene["nodes"] = [len(nodes) - 1, *skinned]
