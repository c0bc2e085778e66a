"""A Marionette written after the VMC protocol's specification: it puts an avatar where the messages say.

Bones hang together as Unity's humanoid does; each has the local position and rotation that it was sent, the hips hang
on the root. All is in Unity's axes: left-handed, y up, z ahead.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.avatar.vrm_humanoid import Humanoid
from bodystream.geometry.skeleton_maps import VRM_BONES
from helpers.osc_reference import OscElement
from helpers.vrm_files import Glb

__all__ = ["HUMANOID_PARENTS", "Marionette", "file_vertices"]

_SIDED = {
    "UpperLeg": "Hips",
    "LowerLeg": "*UpperLeg",
    "Foot": "*LowerLeg",
    "Toes": "*Foot",
    "Shoulder": "UpperChest",
    "UpperArm": "*Shoulder",
    "LowerArm": "*UpperArm",
    "Hand": "*LowerArm",
}
HUMANOID_PARENTS = {
    "Hips": "root",
    "Spine": "Hips",
    "Chest": "Spine",
    "UpperChest": "Chest",
    "Neck": "UpperChest",
    "Head": "Neck",
} | {side + bone: parent.replace("*", side) for side in ("Left", "Right") for bone, parent in _SIDED.items()}
"""Of HumanBodyBones, each with its parent."""
_FINGERS = {
    f"{side}{finger}{segment}"
    for side in ("Left", "Right")
    for finger in ("Thumb", "Index", "Middle", "Ring", "Little")
    for segment in ("Proximal", "Intermediate", "Distal")
}
_THUMB_OF_VRM_1 = {"Metacarpal": "Proximal", "Proximal": "Intermediate", "Distal": "Distal"}


class Marionette:
    """Attributes:
    local: of root and bones, position (3,) and quaternion (4,) xyzw as received.
    devices, real_devices: of `Hmd`, `Con` and `Tra`, by serial: address, position and quaternion; beside the avatar,
        and as they are where they were told so, too.
    available, time_s: of `/VMC/Ext/OK` and `/VMC/Ext/T`.
    """

    def __init__(self) -> None:
        self.local: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.devices: dict[str, tuple[str, np.ndarray, np.ndarray]] = {}
        self.real_devices: dict[str, tuple[str, np.ndarray, np.ndarray]] = {}
        self.available: tuple[int, ...] = ()
        self.time_s = float("nan")

    def take(self, messages: Iterable[OscElement]) -> Marionette:
        for message in messages:
            path, arguments = message.address, message.arguments
            if path == "/VMC/Ext/OK":
                assert message.types in ("i", "iii", "iiii")
                self.available = arguments
            elif path == "/VMC/Ext/T":
                assert message.types == "f"
                (self.time_s,) = arguments
            elif path in ("/VMC/Ext/Root/Pos", "/VMC/Ext/Bone/Pos"):
                assert message.types == "sfffffff"
                name = arguments[0]
                assert (name == "root") if "Root" in path else (name in {*HUMANOID_PARENTS, *_FINGERS}), name
                self.local[name] = np.array(arguments[1:4]), np.array(arguments[4:])
            elif path.removesuffix("/Local") in ("/VMC/Ext/Hmd/Pos", "/VMC/Ext/Con/Pos", "/VMC/Ext/Tra/Pos"):
                assert message.types == "sfffffff"
                devices = self.real_devices if path.endswith("/Local") else self.devices
                devices[arguments[0]] = path.split("/")[3], np.array(arguments[1:4]), np.array(arguments[4:])
            else:
                raise AssertionError(f"nobody knows {path}")
        return self

    def world(self, bone: str) -> tuple[np.ndarray, Rotation]:
        """Where a bone is: its parents' places and turns, one after the other."""
        place, turn = self.local[bone]
        if bone == "root":
            return place, Rotation.from_quat(turn)
        parent_place, parent_turn = self.world(HUMANOID_PARENTS[bone])
        return parent_place + parent_turn.apply(place), parent_turn * Rotation.from_quat(turn)


def file_vertices(glb: Glb, humanoid: Humanoid, receiver: Marionette) -> np.ndarray:
    """(V, 3) vertices of the file, in our axes, with its nodes where the receiver was told that they are [m].

    It does what UniVRM does: a file's axes are mirrored, in z of VRM 0 and in x of VRM 1, so that the avatar looks
    along Unity's z; then each humanoid bone gets the local position and rotation that were sent.
    """
    document, version = glb.json, humanoid.version
    mirror = np.diag([1.0, 1.0, -1.0, 1.0] if version == "0" else [-1.0, 1.0, 1.0, 1.0])
    parents = {child: k for k, node in enumerate(document["nodes"]) for child in node.get("children", [])}
    bone_of = {humanoid.nodes[j]: bone for j, bone in enumerate(VRM_BONES.values()) if j in humanoid.nodes}
    for bone, number in humanoid.fingers.items():
        side, thumb, segment = bone.partition("Thumb")
        bone_of[number] = side + thumb + _THUMB_OF_VRM_1[segment] if thumb and version == "1" else bone
    world: dict[int, np.ndarray] = {-1: np.eye(4)}

    def place(number: int) -> np.ndarray:
        if number not in world:
            node, local = document["nodes"][number], np.eye(4)
            local[:3, :3] = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
            local[:3, 3] = node.get("translation", [0, 0, 0])
            local = mirror @ local @ mirror
            bone = bone_of.get(number, "")
            told = receiver.local.get(bone[:1].upper() + bone[1:])
            assert told is not None or not bone or number in humanoid.fingers.values(), f"{bone} was not sent"
            if told is not None:
                local[:3, 3], local[:3, :3] = told[0], Rotation.from_quat(told[1]).as_matrix()
            local[:3, :3] *= node.get("scale", [1.0])[0]
            world[number] = place(parents.get(number, -1)) @ local
        return world[number]

    out = []
    for node in document["nodes"]:
        if "mesh" not in node:
            continue
        skin = document["skins"][node["skin"]]
        inverse_bind = _values(glb, skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        matrices = np.array([mirror @ place(n) @ mirror @ b for n, b in zip(skin["joints"], inverse_bind, strict=True)])
        attributes = document["meshes"][node["mesh"]]["primitives"][0]["attributes"]
        vertices, which, weights = (_values(glb, attributes[name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0"))
        points = np.einsum("vkab,vb->vka", matrices[which.astype(int)], np.c_[vertices, np.ones(len(vertices))])
        out.append(np.einsum("vk,vka->va", weights, points[..., :3]))
    at = np.concatenate(out)
    return at if version == "0" else at * (-1.0, 1.0, -1.0)  # a file that looks along +z


def _values(glb: Glb, number: int) -> np.ndarray:
    """(N, width) of an accessor."""
    accessor = glb.json["accessors"][number]
    view = glb.json["bufferViews"][accessor["bufferView"]]
    kind = {5126: np.float32, 5123: np.uint16}[accessor["componentType"]]
    part = glb.data[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(part, kind).reshape(accessor["count"], -1).astype(np.float64)
