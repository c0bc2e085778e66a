"""The fingers of a VRM file: what each bone turns about, and which way it points at rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bodystream.avatar.gltf_file import GltfFile
from bodystream.avatar.own_bones import OwnFingers
from bodystream.avatar.vrm_humanoid import Humanoid, is_scaled_evenly
from bodystream.geometry.fingers import VRM_FINGERS, rest_axes
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.types import Array, FingerBone

__all__ = ["finger_bones", "own_fingers"]

_SHORTEST_M = 1e-4


def finger_bones(file: GltfFile, humanoid: Humanoid, followers: Mapping[str, Sequence[int]]) -> tuple[FingerBone, ...]:
    """Of a humanoid's fingers those that move something, and those above them.

    Args:
        followers: by the names of bones in VRM, the bones of the skin that follow each.
    """
    moving: set[str] = set()
    for name in followers:
        while name and name not in moving:
            moving.add(name)
            name = humanoid.finger_above(humanoid.parents[humanoid.fingers[name]])
    names = [name for name in humanoid.fingers if name in moving]
    canonical = np.linalg.inv(humanoid.canonical_rest)

    def place(node: int, side: str) -> Array:
        at = canonical[JOINT_INDEX[f"{side}_wrist"]] @ humanoid.rest_world[node]
        return at[:3, 3]

    found: list[FingerBone] = []
    for name in names:
        node, side = humanoid.fingers[name], "left" if name.startswith("left") else "right"
        above = humanoid.finger_above(humanoid.parents[node])
        on = names.index(above) if above in names[: len(found)] else -1
        pivot = place(node, side)
        joint = VRM_FINGERS[humanoid.version][name]
        ends = [end for k in _children(file, node) if np.linalg.norm(end := place(k, side) - pivot) > _SHORTEST_M]
        if ends:
            along = max(ends, key=np.linalg.norm)
        else:  # without an end it points on as the bone above it
            along = pivot - (found[on].pivot_m if on >= 0 else 0.0)
        if np.linalg.norm(along) <= _SHORTEST_M:
            along = np.array([-1.0 if side == "left" else 1.0, 0.0, 0.0])
        found.append(FingerBone(tuple(followers.get(name, ())), side, joint, on, pivot, rest_axes(joint, along)))
    return tuple(found)


def own_fingers(file: GltfFile, humanoid: Humanoid) -> tuple[OwnFingers | None, list[str]]:
    """All fingers of a humanoid, those that move nothing of its surface, too, as the file has them; None of one without
    fingers. And lines for a person: bones that are scaled otherwise than VRM allows, or hang on such, are left out,
    since of these nobody can tell how they are turned."""
    driven = set(humanoid.nodes.values())

    def is_turn(node: int) -> bool:
        while node not in driven:
            if not is_scaled_evenly(humanoid.rest_world[node, :3, :3]):
                return False
            node = humanoid.parents[node]
        return True

    fingers = {name: node for name, node in humanoid.fingers.items() if is_turn(node)}
    others = [name for name in humanoid.fingers if name not in fingers]
    notes = [
        f"{file.label}: {', '.join(others)}: scaled unevenly, to nothing or mirrored, and not sent to other programs: "
        "apply their scale and export it again"
    ] if others else []  # fmt: skip
    segments = finger_bones(file, humanoid, {name: () for name in fingers})
    if not segments:
        return None, notes
    nodes = list(fingers.values())
    canonical = np.linalg.inv(humanoid.canonical_rest)
    wrists = canonical[[JOINT_INDEX[f"{finger.side}_wrist"] for finger in segments]]
    above = [humanoid.parents[node] for node in nodes]
    return OwnFingers(segments, wrists @ humanoid.turned_rest[nodes], wrists @ humanoid.turned_rest[above]), notes


def _children(file: GltfFile, node: int) -> list[int]:
    return [child for child, parent in enumerate(file.parents()) if parent == node]
