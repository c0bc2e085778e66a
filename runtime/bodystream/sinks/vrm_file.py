"""The shipped body as a VRM 1.0 avatar: in the T-pose, with unturned bones, soles on the floor, looking along +z."""

from __future__ import annotations

import os

import numpy as np

from bodystream.avatar.lbs import LbsAvatar
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.geometry.skeleton_maps import VRM_BONES
from bodystream.geometry.skinning import influences, unturned_bones
from bodystream.sinks.facing import FACING_VECTOR
from bodystream.sinks.gltf import GltfDocument
from bodystream.types import Mesh

__all__ = ["write_vrm"]

_CC0 = "https://creativecommons.org/publicdomain/zero/1.0/"


def write_vrm(path: str | os.PathLike[str], avatar: LbsAvatar, name: str) -> int:
    """Write the body with a person's proportions as an avatar; gives the size of the file.

    Args:
        path: of the `.vrm` file.
        avatar: the body; it is left in the T-pose.
        name: of the avatar.

    Raises:
        InputError: the file cannot be written.
    """
    unturned = np.tile([0.0, 0.0, 0.0, 1.0], (len(JOINTS), 1))
    tpose = avatar.pose(unturned, np.zeros(3)).vertices
    up = np.array([0.0, -float(tpose[:, 1].min()), 0.0])
    joints = (avatar.skeleton.rest_positions_m + up) * FACING_VECTOR
    document = GltfDocument()
    for joint, parent in enumerate(PARENTS):
        children = [child for child, above in enumerate(PARENTS) if above == joint]
        place = joints[joint] - joints[parent] if parent >= 0 else joints[0]
        document.node(VRM_BONES[JOINTS[joint]], translation_m=place, children=children)
    which, weights, _ = influences(avatar.skin)
    mesh = Mesh(((tpose + up) * FACING_VECTOR).astype(np.float32), avatar.faces, colours=avatar.colours)
    skin = document.skin("body", list(range(len(JOINTS))), unturned_bones(joints))
    document.mesh("body", document.primitive(mesh, which.astype(np.uint16), weights), skin)
    meta = {
        "name": name,
        "authors": ["bodystream"],
        "licenseUrl": "https://vrm.dev/licenses/1.0/",
        "otherLicenseUrl": _CC0,
        "avatarPermission": "everyone",
        "commercialUsage": "corporation",
        "creditNotation": "unnecessary",
        "allowRedistribution": True,
        "modification": "allowModificationRedistribution",
    }
    bones = {VRM_BONES[joint]: {"node": node} for node, joint in enumerate(JOINTS)}
    document.extend("VRMC_vrm", {"specVersion": "1.0", "meta": meta, "humanoid": {"humanBones": bones}})
    return document.save(path)
