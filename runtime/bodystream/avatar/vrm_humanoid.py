"""The humanoid of a VRM file, 0.x or 1.0: which node is which bone, and how these stand at rest, in our axes.

VRM 1.0 is `extensions.VRMC_vrm`, its models look along +z; VRM 0 is `extensions.VRM`, its models look along -z, as our
world does (specification, "VRM T-pose", and that of 0.x, "VRM rules"). Which way a model really looks is read from its
legs, since a left leg is on the left: files that look the other way than their version are driven, too.

VRM wants the T-pose at rest, and 0.x bones without rotation. Both are taken as wishes: the rest may be an A-pose, and
bones may be turned, since bones are driven by their change from rest and the rest is straightened (`align_rest`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodystream.avatar.gltf_file import GltfFile
from bodystream.avatar.own_bones import OwnBones
from bodystream.errors import InputError, excerpt
from bodystream.geometry.fingers import VRM_FINGERS
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton, align_rest
from bodystream.geometry.skeleton_maps import VRM_BONES, vrm_bones_for
from bodystream.types import Array

__all__ = ["Humanoid", "is_scaled_evenly", "read_humanoid"]

_TURN = np.diag([-1.0, 1.0, -1.0, 1.0])
_SCALE_TOLERANCE = 1e-3
_SMALLEST, _LARGEST = 1e-4, 1e4
"""Of the scales of nodes."""
_NECK_PART, _COLLAR_PART = 0.4, 0.15


@dataclass(frozen=True, slots=True)
class Humanoid:
    """The humanoid at rest, in our axes: x to its right, y up, -z where it looks [m].

    Attributes:
        version: of VRM, "0" or "1".
        name: as the file calls the model, or empty.
        faces_ahead: the file's front is +z, as glTF's assets have it, and not -z.
        nodes: of our joints by index, the file's nodes; joints that the model lacks are absent.
        parents: of each node of the file its parent, -1 = none.
        rest_world: (N, 4, 4) of all nodes, in our axes.
        positions_m: (22, 3) joints at rest; those that it lacks are where they would be.
        skeleton: its proportions.
        rest_from_canonical: (22, 3, 3) orientation of each bone's canonical frame at rest.
        fingers: by their names in VRM the nodes of the bones of fingers that hang on a hand, those above first.
    """

    version: str
    name: str
    faces_ahead: bool
    nodes: dict[int, int]
    parents: list[int]
    rest_world: Array
    positions_m: Array
    skeleton: Skeleton
    rest_from_canonical: Array
    fingers: dict[str, int] = field(default_factory=dict)

    @property
    def canonical_rest(self) -> Array:
        """(22, 4, 4) each bone's canonical frame at rest in our axes."""
        out = np.tile(np.eye(4), (len(JOINTS), 1, 1))
        out[:, :3, :3] = self.rest_from_canonical
        out[:, :3, 3] = self.positions_m
        return out

    @property
    def turned_rest(self) -> Array:
        """(N, 4, 4) of all nodes, in our axes, with the axes that the file gave them.

        A file whose front is +z is turned about y, and the axes of its nodes are turned along.
        """
        return self.rest_world @ _TURN if self.faces_ahead else self.rest_world

    @property
    def own_bones(self) -> OwnBones:
        """Its bones as the file has them, without fingers."""
        rest = self.turned_rest
        canonical = self.canonical_rest
        count = len(JOINTS)
        has = np.array([joint in self.nodes for joint in range(count)])
        above, bone, node_above = (
            np.full(count, -1),
            np.tile(np.eye(4), (count, 1, 1)),
            np.tile(np.eye(4), (count, 1, 1)),
        )
        for joint, node in self.nodes.items():
            bone[joint] = np.linalg.inv(canonical[joint]) @ rest[node]
            parent = self.parents[node]
            at_rest = rest[parent] if parent >= 0 else np.eye(4)
            if joint:
                above[joint] = self.joint_above(parent)
                at_rest = np.linalg.inv(canonical[above[joint]]) @ at_rest
            node_above[joint] = at_rest
        return OwnBones(has, above, bone, node_above)

    def joint_above(self, node: int) -> int:
        """Our joint that a node of the file follows: its own, or the nearest above it; the pelvis where none is."""
        joint_of = {n: joint for joint, n in self.nodes.items()}
        while node >= 0:
            if node in joint_of:
                return joint_of[node]
            node = self.parents[node]
        return 0

    def finger_above(self, node: int) -> str:
        """The bone of a finger that a node follows: its own, or the nearest above it; empty where there is none."""
        finger_of = {n: name for name, n in self.fingers.items()}
        driven = set(self.nodes.values())
        while node >= 0 and node not in driven:
            if node in finger_of:
                return finger_of[node]
            node = self.parents[node]
        return ""


def read_humanoid(file: GltfFile) -> Humanoid:
    """The humanoid of a file.

    Raises:
        InputError: there is none, required bones are missing (they are named), do not hang on each other as a body's
            do, are scaled unevenly, or do not stand upright.
    """
    version, name, bones = _bones(file)
    try:
        names = vrm_bones_for(bones)
    except InputError as error:
        raise file.wrong(f"{error}. Assign them in the program that exports the avatar") from error
    nodes = {joint: bones[name] for joint, name in names.items()}
    for group in (names.values(), [bone for bone in VRM_FINGERS[version] if bone in bones]):
        bone_of: dict[int, str] = {}
        for bone in group:
            other = bone_of.setdefault(bones[bone], bone)
            if other != bone:
                raise file.wrong(f"names one node for {other} and {bone}: assign its bones anew and export it again")
    parents = file.parents()
    _check_tree(file, nodes, parents)
    world = file.world_matrices(parents)
    _check_scales(file, set(nodes.values()), parents, world)
    hips = {side: world[nodes[JOINT_INDEX[f"{side}_hip"]]][:3, 3] for side in ("left", "right")}
    across = hips["right"] - hips["left"]
    if abs(across[0]) < 1e-4 or abs(across[2]) > abs(across[0]):
        raise file.wrong("its legs are not beside each other along x: it must look along z at rest. Export it again")
    faces_ahead = bool(across[0] < 0.0)
    if faces_ahead:
        world = _TURN @ world
    positions = _positions({joint: world[node][:3, 3] for joint, node in nodes.items()})
    ankles = positions[[JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]], 1].max()
    if not positions[JOINT_INDEX["head"], 1] > positions[0, 1] > ankles:
        raise file.wrong("does not stand upright along y at rest (head above hips above feet): export it in a T-pose")
    try:
        skeleton, rest = align_rest(positions)
    except InputError as error:
        raise file.wrong(str(error)) from error
    fingers = _fingers(version, bones, nodes, parents)
    return Humanoid(version, name, faces_ahead, nodes, parents, world, positions, skeleton, rest, fingers)


def _bones(file: GltfFile) -> tuple[str, str, dict[str, int]]:
    """Version, the model's name, and the node of each bone by its name in VRM 1.0."""
    extensions = file.json.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    version = "1" if "VRMC_vrm" in extensions else "0" if "VRM" in extensions else ""
    if not version:
        raise file.wrong(
            "is a glTF without a humanoid: neither VRMC_vrm (VRM 1.0) nor VRM (0.x) is among its extensions. Export it "
            "as VRM, with its bones assigned"
        )
    vrm = extensions["VRMC_vrm" if version == "1" else "VRM"]
    humanoid = vrm.get("humanoid") if isinstance(vrm, dict) else None
    listed = humanoid.get("humanBones") if isinstance(humanoid, dict) else None
    if not listed or not isinstance(listed, dict if version == "1" else list):
        raise file.wrong("is a VRM without a humanoid (humanBones): assign its bones and export it again")
    pairs: list[tuple[Any, Any]] = []
    if isinstance(listed, dict):
        pairs = [(bone, entry.get("node") if isinstance(entry, dict) else None) for bone, entry in listed.items()]
    else:
        pairs = [(entry.get("bone"), entry.get("node")) for entry in listed if isinstance(entry, dict)]
    ours = frozenset(VRM_BONES.values()) | VRM_FINGERS[version].keys()
    found: dict[str, int] = {}
    for bone, node in pairs:
        if not isinstance(bone, str) or bone not in ours or node == -1:  # eyes, the jaw; -1 is a bone not assigned
            continue
        if bone in found:
            raise file.wrong(f"has the bone {bone} twice: assign its bones anew and export it again")
        found[bone] = file.index(node, "nodes", f"the bone {excerpt(bone)}")
    meta = vrm.get("meta")
    title = meta.get("name" if version == "1" else "title") if isinstance(meta, dict) else None
    return version, title if isinstance(title, str) else "", found


def _fingers(version: str, bones: dict[str, int], nodes: dict[int, int], parents: list[int]) -> dict[str, int]:
    """Those that hang on their hand, and on no other bone of ours before it: others follow what they hang on."""
    driven, found = set(nodes.values()), {}
    for name in VRM_FINGERS[version]:
        hand = nodes.get(JOINT_INDEX[f"{'left' if name.startswith('left') else 'right'}_wrist"])
        node = bones.get(name, -1)
        if node < 0 or node in driven:
            continue
        above = parents[node]
        while above >= 0 and above not in driven:
            above = parents[above]
        if above == hand:
            found[name] = node
    return found


def _check_tree(file: GltfFile, nodes: dict[int, int], parents: list[int]) -> None:
    """Each bone hangs on the bone that is above it in a body, perhaps with other nodes between."""
    bone_of = {node: joint for joint, node in nodes.items()}
    for joint, node in nodes.items():
        wanted = PARENTS[joint]
        while wanted >= 0 and wanted not in nodes:
            wanted = PARENTS[wanted]
        above = parents[node]
        while above >= 0 and above not in bone_of:
            above = parents[above]
        found = bone_of[above] if above >= 0 else -1
        if found != wanted:
            names = ["none" if j < 0 else VRM_BONES[JOINTS[j]] for j in (joint, found, wanted)]
            raise file.wrong(f"its bone {names[0]} hangs on the bone {names[1]}, wanted {names[2]}: assign bones anew")


def _check_scales(file: GltfFile, bones: set[int], parents: list[int], world: Array) -> None:
    """Bones, and what they hang on, are scaled evenly or not at all: a turn of anything else would shear."""
    line = set(bones)
    for node in bones:
        while (node := parents[node]) >= 0:
            line.add(node)
    for node in sorted(line):
        if not is_scaled_evenly(world[node, :3, :3]):
            lengths = np.linalg.norm(world[node, :3, :3], axis=0)
            name = file.items("nodes")[node].get("name", f"node {node}")
            raise file.wrong(
                f"{excerpt(name)} is scaled by {', '.join(f'{v:.3g}' for v in lengths)} along its axes, or mirrored: "
                "VRM takes one positive scale for all three. Apply its scale and export it again"
            )


def is_scaled_evenly(linear: Array) -> bool:
    """Whether (3, 3) is a turn times one positive scale."""
    scale = float(np.linalg.norm(linear, axis=0).mean())
    if not _SMALLEST < scale < _LARGEST or np.linalg.det(linear) <= 0.0:
        return False
    unit = linear / scale
    return bool(np.abs(unit.T @ unit - np.eye(3)).max() < _SCALE_TOLERANCE)


def _positions(known: dict[int, Array]) -> Array:
    """(22, 3): the joints that are there, and the others where a body has them."""
    at = {JOINTS[joint]: place for joint, place in known.items()}
    shoulders = 0.5 * (at["left_shoulder"] + at["right_shoulder"])
    meet = at.get("neck", shoulders)
    # VRM has an upper chest only with a chest.
    below = at.setdefault("spine2", at["spine1"] + (meet - at["spine1"]) / 3.0)
    at.setdefault("spine3", 0.5 * (below + meet))
    at.setdefault("neck", meet + _NECK_PART * (at["head"] - meet))
    for side in ("left", "right"):
        shoulder = at[f"{side}_shoulder"]
        at.setdefault(f"{side}_collar", shoulders + _COLLAR_PART * (shoulder - shoulders))
        ankle = at[f"{side}_ankle"]
        at.setdefault(f"{side}_foot", ankle * (1.0, 0.2, 1.0) - (0.0, 0.0, 1.5 * abs(ankle[1])))
    return np.array([at[name] for name in JOINTS])
