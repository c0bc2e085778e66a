"""Writes VRM files of the shipped body in other builds, by plain JSON and bytes: nothing of the reader's code.

Each option is something that files of the wild have: the version and with it the front, an A-pose at rest, bones that
are turned, a scaled root, bones that are absent, textures, more than four influences, sparse positions.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.avatar import LbsAvatar
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton
from bodystream.geometry.skeleton_maps import VRM_BONES
from bodystream.types import Array
from helpers.avatar_poses import IDENTITY, lengthened, own_skeleton, pose_of

__all__ = ["A_POSE", "BUILDS", "Glb", "VrmOptions", "built", "small_glb", "vrm_glb", "write_vrm"]

_LEG = ("knee", "ankle")
_ARM = ("elbow", "wrist")


def built(legs: float, arms: float, trunk: float, size: float = 1.0) -> Skeleton:
    """The shipped body's proportions with other legs, arms and trunk."""
    offsets = own_skeleton().offsets_m.copy()
    for factor, parts in ((legs, _LEG), (arms, _ARM), (trunk, ("spine1", "spine2", "spine3", "neck", "collar"))):
        offsets[[JOINT_INDEX[n] for n in JOINTS if n in parts or n.partition("_")[2] in parts]] *= factor
    return Skeleton(offsets * size)


BUILDS: dict[str, Callable[[], Skeleton]] = {
    "short": lambda: own_skeleton().scaled(0.62),
    "tall": lambda: built(1.05, 1.1, 1.05, 1.2),
    "long-legged": lambda: lengthened(1.3, *_LEG),
}


@dataclass(frozen=True)
class VrmOptions:
    """What of a file is other than usual.

    Attributes:
        version: "0" looks along -z, "1" along +z.
        rest: pose at rest, as rotations (22, 4) of the T-pose.
        turned: bones have rotations of their own at rest.
        root_scale: of the node above the hips.
        without: joints of ours that it has no bone for.
        bind: pose in which the mesh is bound, where it is another one than that of rest.
        textured: a picture says the colours, else one material.
        more_influences: weights are in two sets of four.
        sparse: positions are zeros with all of them as sparse values.
    """

    version: str = "1"
    rest: Array = field(default_factory=lambda: IDENTITY)
    turned: bool = False
    root_scale: float = 1.0
    without: tuple[str, ...] = ()
    bind: Array | None = None
    textured: bool = False
    more_influences: bool = False
    sparse: bool = False


A_POSE = pose_of(shoulder=(0, 0, -42), elbow=(0, 8, 0), hip=(0, 0, 4))


class Glb:
    """JSON and bytes of a binary glTF that is being made."""

    def __init__(self) -> None:
        self.json: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "a test"},
            "scene": 0, "scenes": [{"nodes": []}], "nodes": [], "accessors": [], "bufferViews": [],
        }  # fmt: skip
        self.data = b""

    def view(self, data: bytes) -> int:
        self.data += bytes(-len(self.data) % 4)
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data
        return len(self.json["bufferViews"]) - 1

    def accessor(self, values: Array, kind: str, **more: Any) -> int:
        types = {"float32": 5126, "uint16": 5123, "uint32": 5125, "uint8": 5121}
        flat = values.reshape(len(values), -1)
        described = {
            "bufferView": self.view(np.ascontiguousarray(values).tobytes()),
            "componentType": types[values.dtype.name], "count": len(values), "type": kind,
            "min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist(),
        }  # fmt: skip
        self.json["accessors"].append(described | more)
        return len(self.json["accessors"]) - 1

    def bytes(self) -> bytes:
        text = json.dumps(self.json | {"buffers": [{"byteLength": len(self.data)}]}).encode()
        text += b" " * (-len(text) % 4)
        data = self.data + bytes(-len(self.data) % 4)
        head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(data))
        return b"".join([head, struct.pack("<I4s", len(text), b"JSON"), text,
                         struct.pack("<I4s", len(data), b"BIN\0"), data])  # fmt: skip


def _posed(skeleton: Skeleton, rotations: Array) -> tuple[Array, Array, Array]:
    """Vertices, joints and canonical orientations of the shipped body in a pose, its soles on the floor."""
    avatar = LbsAvatar(skeleton)
    tpose = avatar.pose(IDENTITY, np.zeros(3)).vertices
    mesh = avatar.pose(rotations, np.zeros(3))
    joints = avatar.joints.numpy().astype(float)
    turns = Rotation.from_quat(rotations).as_matrix()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            turns[joint] = turns[parent] @ turns[joint]
    up = -min(float(tpose[:, 1].min()), float(mesh.vertices[:, 1].min()))
    return mesh.vertices + (0.0, up, 0.0), joints + (0.0, up, 0.0), turns


def vrm_glb(skeleton: Skeleton, options: VrmOptions = VrmOptions(), every: int = 1) -> Glb:
    """The shipped body with these proportions as a VRM, with one of `every` so many triangles."""
    avatar, glb = LbsAvatar(skeleton), Glb()
    used, faces = np.unique(avatar.faces[::every], return_inverse=True)
    faces = faces.reshape(-1, 3).astype(np.uint32)
    front = np.diag([1.0, 1.0, 1.0] if options.version == "0" else [-1.0, 1.0, -1.0])
    vertices, joints, turns = _posed(skeleton, options.rest)
    bind_vertices, bind_joints, bind_turns = (
        (vertices, joints, turns) if options.bind is None else _posed(skeleton, options.bind)
    )
    if options.bind is not None:
        bind_vertices = bind_vertices + (joints[0] - bind_joints[0])
        bind_joints = bind_joints + (joints[0] - bind_joints[0])
    kept = [j for j, name in enumerate(JOINTS) if name not in options.without]
    above = {}
    for joint in range(len(JOINTS)):
        at = joint
        while at not in kept:
            at = PARENTS[at]
        above[joint] = at
    own = Rotation.random(len(JOINTS), random_state=3).as_matrix() if options.turned else [np.eye(3)] * len(JOINTS)
    # In a normalised file bones are not turned, whatever the pose at rest.
    canonical = options.turned or options.bind is not None
    frames = {j: front @ (turns[j] if canonical else np.eye(3)) @ front @ own[j] for j in kept}
    nodes: list[dict[str, Any]] = [{"name": "root", "children": [], "scale": [options.root_scale] * 3}]
    number = {joint: 1 + i for i, joint in enumerate(kept)}
    world = {}
    for joint in kept:
        world[joint] = np.eye(4)
        world[joint][:3, :3] = frames[joint] * options.root_scale
        world[joint][:3, 3] = front @ joints[joint]
        parent = above[PARENTS[joint]] if PARENTS[joint] >= 0 else None
        if parent is None:
            turn, place = frames[joint], front @ joints[joint] / options.root_scale
            nodes[0]["children"].append(number[joint])
        else:
            turn = frames[parent].T @ frames[joint]
            place = frames[parent].T @ front @ (joints[joint] - joints[parent]) / options.root_scale
            nodes[number[parent]].setdefault("children", []).append(number[joint])
        nodes.append({
            "name": f"J_{JOINTS[joint]}", "translation": place.tolist(),
            "rotation": Rotation.from_matrix(turn).as_quat().tolist(),
        })  # fmt: skip
    inverse_bind = []
    for joint in kept:
        bound = np.eye(4)
        # What moves the bone from the pose at rest to that of bind is what moves the body.
        back = front @ bind_turns[joint] @ turns[joint].T @ front if options.bind is not None else np.eye(3)
        bound[:3, :3] = back @ world[joint][:3, :3]
        bound[:3, 3] = front @ bind_joints[joint]
        inverse_bind.append(np.linalg.inv(bound).T)
    which = np.array([kept.index(above[j]) for j in range(len(JOINTS))], np.uint16)[avatar.skin.bones[used]]
    weights = avatar.skin.weights[used].astype(np.float32)
    for later in range(1, 4):  # what moved a bone that is absent, moves the one above it
        for earlier in range(later):
            same = (which[:, later] == which[:, earlier]) & (weights[:, later] > 0.0)
            weights[same, earlier] += weights[same, later]
            weights[same, later] = 0.0
    positions = (bind_vertices[used] @ front).astype(np.float32)
    attributes: dict[str, Any] = {"POSITION": _positions(glb, positions, options.sparse)}
    sets = [(which, weights)]
    if options.more_influences:  # two bones each, of which the second set repeats some: what follows one bone adds up
        sets = [(which, weights * np.float32(0.75)), (which[:, ::-1].copy(), weights[:, ::-1] * np.float32(0.25))]
    for k, (joint_set, weight_set) in enumerate(sets):
        joint_set[weight_set == 0.0] = 0  # as the specification wants it
        attributes[f"JOINTS_{k}"] = glb.accessor(joint_set, "VEC4")
        attributes[f"WEIGHTS_{k}"] = glb.accessor(np.ascontiguousarray(weight_set), "VEC4")
    material: dict[str, Any] = {"pbrMetallicRoughness": {"baseColorFactor": [0.8, 0.4, 0.2, 1.0]}}
    if options.textured:
        material = _textured(glb, positions, attributes)
    glb.json |= {
        "nodes": [*nodes, {"name": "body", "mesh": 0, "skin": 0}],
        "scenes": [{"nodes": [0, len(nodes)]}],
        "materials": [material],
        "meshes": [{"name": "body", "primitives": [
            {"attributes": attributes, "indices": glb.accessor(faces.reshape(-1, 1), "SCALAR"), "material": 0}]}],
        "skins": [{"joints": [number[j] for j in kept],
                   "inverseBindMatrices": glb.accessor(np.array(inverse_bind, np.float32).reshape(-1, 16), "MAT4")}],
    }  # fmt: skip
    bones = {VRM_BONES[JOINTS[joint]]: node for joint, node in number.items()}
    if options.version == "1":
        humanoid = {"humanBones": {bone: {"node": node} for bone, node in bones.items()}}
        extension = {"VRMC_vrm": {"specVersion": "1.0", "meta": {"name": "built"}, "humanoid": humanoid}}
    else:
        listed = [{"bone": bone, "node": node, "useDefaultValues": True} for bone, node in bones.items()]
        extension = {"VRM": {"meta": {"title": "built"}, "humanoid": {"humanBones": listed}}}
    glb.json |= {"extensions": extension, "extensionsUsed": list(extension)}
    return glb


def small_glb(options: VrmOptions = VrmOptions()) -> Glb:
    """A VRM of a few kilobytes: of the body every fortieth triangle."""
    return vrm_glb(BUILDS["short"](), options, every=40)


def _positions(glb: Glb, positions: Array, sparse: bool) -> int:
    if not sparse:
        return glb.accessor(positions, "VEC3")
    indices = glb.view(np.arange(len(positions), dtype=np.uint32).tobytes())
    number = glb.accessor(positions, "VEC3")
    described = glb.json["accessors"][number]
    values = described.pop("bufferView")
    described["sparse"] = {
        "count": len(positions),
        "indices": {"bufferView": indices, "componentType": 5125},
        "values": {"bufferView": values},
    }
    return number


def _textured(glb: Glb, positions: Array, attributes: dict[str, Any]) -> dict[str, Any]:
    """Skin, shirt and trousers by height, as three stripes of a picture; a colour in the material darkens it."""
    picture = np.zeros((90, 30, 3), np.uint8)
    for k, rgb in enumerate(((232, 190, 172), (60, 90, 200), (50, 54, 60))):
        picture[30 * k : 30 * (k + 1)] = rgb[::-1]
    done, data = cv2.imencode(".png", picture)
    assert done
    height = positions[:, 1] / positions[:, 1].max()
    stripe = np.where(height > 0.86, 0.17, np.where(height > 0.55, 0.5, 0.83))
    coordinates = np.stack([np.full(len(height), 1.5), stripe], axis=1).astype(np.float32)  # repeats
    attributes["TEXCOORD_0"] = glb.accessor(coordinates, "VEC2")
    glb.json |= {
        "images": [{"bufferView": glb.view(data.tobytes()), "mimeType": "image/png"}],
        "textures": [{"source": 0}],
    }
    return {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "baseColorFactor": [1.0, 1.0, 1.0, 1.0]}}


def write_vrm(path: Path, skeleton: Skeleton, **options: Any) -> Path:
    """The same as a file."""
    path.write_bytes(vrm_glb(skeleton, VrmOptions(**options)).bytes())
    return path
