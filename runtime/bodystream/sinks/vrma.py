"""What was driven as a VRM animation, `.vrma`: a glTF without a mesh whose nodes are a humanoid in the T-pose.

After `VRMC_vrm_animation` 1.0: the first animation counts, bones are named as in VRM 1.0, at rest they stand in the
T-pose and look along +z, and only the hips move. Players take it to any VRM by the difference from rest, and scale the
hips' way by how high these stand at rest.
"""

from __future__ import annotations

import os

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, PARENTS, Skeleton
from bodystream.geometry.skeleton_maps import VRM_BONES
from bodystream.sinks.animation import Animation
from bodystream.sinks.facing import FACING_VECTOR, turned_motion
from bodystream.sinks.gltf import GltfDocument, continuous_quaternions, key_times_s
from bodystream.types import Array

__all__ = ["write_vrma"]

_EXTENSION = "VRMC_vrm_animation"


def write_vrma(
    path: str | os.PathLike[str], skeleton: Skeleton, hips_m: float, animation: Animation, has: Array | None = None
) -> int:
    """Write a motion as a VRM animation; gives the size of the file, which appears whole or not at all.

    Args:
        path: of the `.vrma` file.
        skeleton: whose motion it is.
        hips_m: height of the pelvis above the soles in the T-pose [m].
        animation: of the 22 joints.
        has: (22,) bool, the joints that the body has; those that it lacks never bend, and are left out. None = all.

    Raises:
        InputError: nothing was recorded, or the file cannot be written.
    """
    if not len(animation.t_ns):
        raise InputError(f"{path}: no pose was recorded, so there is no animation to write")
    kept = [joint for joint in range(len(JOINTS)) if has is None or has[joint]]
    above: dict[int, int] = {}
    for joint in kept[1:]:
        above[joint] = PARENTS[joint]
        while above[joint] not in kept:
            above[joint] = PARENTS[above[joint]]
    rest = skeleton.rest_positions_m * FACING_VECTOR
    document = GltfDocument()
    for joint in kept:
        place = rest[joint] - rest[above[joint]] if joint in above else np.array([0.0, hips_m, 0.0])
        document.node(
            VRM_BONES[JOINTS[joint]],
            translation_m=place,
            children=[kept.index(child) for child, parent in above.items() if parent == joint],
        )
    turned = turned_motion(animation)
    rotations = continuous_quaternions(turned.rotations_xyzw[:, kept]).astype(np.float32)
    hips = {0: turned.positions_m[:, 0].astype(np.float32)}
    document.animation(
        "driven", key_times_s(path, animation.t_ns, int(animation.t_ns[0])), list(range(len(kept))), rotations, hips
    )
    bones = {VRM_BONES[JOINTS[joint]]: {"node": node} for node, joint in enumerate(kept)}
    document.extend(_EXTENSION, {"specVersion": "1.0", "humanoid": {"humanBones": bones}})
    return document.save(path)
