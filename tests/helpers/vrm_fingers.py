"""Fingers for VRM files that tests make: bones under the hands, and on each a stick of two triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.sinks.stream.body import BodyEncoder
from bodystream.types import Array, BodyPose, HeadsetSample, SkinnedMesh
from bodystream.wire.envelope import open_message
from bodystream.wire.meshes import decode_skeleton
from bodystream.wire.motions import decode_motion
from helpers.vrm_files import Glb, VrmOptions, built, vrm_glb

__all__ = ["ENDS_M", "FINGER_M", "fingered_glb", "streamed_vertices"]

FINGER_M = 0.03
"""Length of each segment."""
ENDS_M = {"Index": (0.09, 0.0, -0.02), "Thumb": (0.03, 0.0, -0.03)}
"""Where a finger begins, from the wrist: towards the finger tips, up, ahead."""
_SEGMENTS = {
    "Index": ("Proximal", "Intermediate", "Distal"),
    "Thumb1": ("Metacarpal", "Proximal", "Distal"),
    "Thumb0": ("Proximal", "Intermediate", "Distal"),
}
_ALONG = {"Index": (1.0, 0.0, 0.0), "Thumb": (np.sqrt(0.5), 0.0, -np.sqrt(0.5))}


def fingered_glb(version: str = "1", every: int = 40) -> Glb:
    """A body with an index finger and a thumb on each hand, stretched out as in the T-pose."""
    glb = vrm_glb(built(1.0, 1.0, 1.0), VrmOptions(version=version), every=every)
    nodes, joints = glb.json["nodes"], []
    bones: dict[str, int] = {}
    inverse_bind, places, faces, which = [], [], [], []
    front = np.array([1.0, 1.0, 1.0] if version == "0" else [-1.0, 1.0, -1.0])
    for side, sign in (("left", -1.0), ("right", 1.0)):
        hand = next(k for k, node in enumerate(nodes) if node.get("name") == f"J_{side}_wrist")
        for finger in ("Index", "Thumb"):
            parent, at = hand, _place(nodes, hand)
            step = np.array(ENDS_M[finger]) * (sign, 1.0, 1.0) * front
            along = np.array(_ALONG[finger]) * (sign, 1.0, 1.0) * front
            names = _SEGMENTS[finger if finger == "Index" else f"Thumb{version}"]
            for name in (*names, "end"):
                at = at + step
                nodes.append({"name": f"{side}{finger}{name}", "translation": step.tolist()})
                nodes[parent].setdefault("children", []).append(len(nodes) - 1)
                parent, step = len(nodes) - 1, FINGER_M * along
                if name == "end":
                    continue
                bones[f"{side}{finger}{name}"] = parent
                joints.append(parent)
                bound = np.eye(4)
                bound[:3, 3] = -at
                inverse_bind.append(bound.T)
                start = len(places)
                places += [at, at + step, at + step + (0.0, 0.004, 0.0), at + (0.0, 0.004, 0.0)]
                faces += [[start, start + 1, start + 2], [start, start + 2, start + 3]]
                which += [[len(joints) - 1, 0, 0, 0]] * 4
    attributes = {
        "POSITION": glb.accessor(np.array(places, np.float32), "VEC3"),
        "JOINTS_0": glb.accessor(np.array(which, np.uint16), "VEC4"),
        "WEIGHTS_0": glb.accessor(np.tile(np.array([1, 0, 0, 0], np.float32), (len(which), 1)), "VEC4"),
    }
    glb.json["meshes"].append({"name": "fingers", "primitives": [
        {"attributes": attributes, "indices": glb.accessor(np.array(faces, np.uint32).reshape(-1, 1), "SCALAR"),
         "material": 0}]})  # fmt: skip
    glb.json["skins"].append({
        "joints": joints,
        "inverseBindMatrices": glb.accessor(np.array(inverse_bind, np.float32).reshape(-1, 16), "MAT4"),
    })  # fmt: skip
    nodes.append({"name": "fingers", "mesh": len(glb.json["meshes"]) - 1, "skin": len(glb.json["skins"]) - 1})
    glb.json["scenes"][0]["nodes"].append(len(nodes) - 1)
    extension = glb.json["extensions"]
    if version == "1":
        listed: Any = extension["VRMC_vrm"]["humanoid"]["humanBones"]
        listed |= {bone: {"node": node} for bone, node in bones.items()}
    else:
        listed = extension["VRM"]["humanoid"]["humanBones"]
        listed += [{"bone": bone, "node": node, "useDefaultValues": True} for bone, node in bones.items()]
    return glb


def _place(nodes: list[dict[str, Any]], node: int) -> Array:
    """Of a node without turned bones above it."""
    at = np.zeros(3)
    while True:
        at = at + nodes[node].get("translation", (0.0, 0.0, 0.0))
        above = [k for k, other in enumerate(nodes) if node in other.get("children", [])]
        if not above:
            return at
        node = above[0]


def streamed_vertices(skin: SkinnedMesh, pose: BodyPose, joints_m: Array, sample: HeadsetSample | None) -> Array:
    """(V, 3) vertices of a pose as a reader of the stream poses them [m]."""
    update = BodyEncoder().encode(pose, joints_m, skin, sample)
    assert update.motion is not None
    skeleton = decode_skeleton(open_message(update.skeletons[0]))
    motion = decode_motion(open_message(update.motion))
    entries = skeleton.follows
    world = Rotation.from_quat(motion.rotations_xyzw[entries]).as_matrix()
    bind = skeleton.bone_from_bind.astype(np.float64)
    points, out = skin.mesh.vertices.astype(np.float64), np.zeros((len(skin.mesh.vertices), 3))
    for k in range(4):
        bone = skin.bones[:, k]
        seen = np.einsum("vij,vj->vi", bind[bone, :, :3], points) + bind[bone, :, 3]
        moved = np.einsum("vij,vj->vi", world[bone], seen) + motion.positions_m[entries][bone]
        out += skin.weights[:, k, None] * moved
    return out
