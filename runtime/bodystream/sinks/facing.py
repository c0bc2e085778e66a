"""Which way a driven body looks in files.

In the world, as in OpenXR, a person at yaw 0 looks along -z. The front of a glTF asset faces +z (glTF 2.0, sec. 3.4
"Coordinate System and Units"), that of a VRM avatar too, and Blender's front view looks at what faces +z in a glTF.
Files of driven bodies therefore hold the world turned by 180 degrees about y, bones' frames included: the T-pose is
still that of identity rotations, and looks along +z. Such a turn flips x and z of vectors, and of quaternions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodystream.sinks.animation import Animation
from bodystream.types import SkinnedMesh

__all__ = ["FACING_QUATERNION", "FACING_VECTOR", "turned_motion", "turned_skin"]

FACING_VECTOR = np.array([-1.0, 1.0, -1.0])
FACING_VECTOR.flags.writeable = False
FACING_QUATERNION = np.array([-1.0, 1.0, -1.0, 1.0])
"""Factors of x, y, z, w: a rotation as seen from the turned axes."""
FACING_QUATERNION.flags.writeable = False


def turned_skin(skin: SkinnedMesh) -> SkinnedMesh:
    """The same body, mesh and bones' frames turned."""
    mesh, turn = skin.mesh, np.diag([*FACING_VECTOR, 1.0])
    normals = None if mesh.normals is None else (mesh.normals * FACING_VECTOR).astype(np.float32)
    turned = replace(mesh, vertices=(mesh.vertices * FACING_VECTOR).astype(np.float32), normals=normals)
    return replace(skin, mesh=turned, bone_from_bind=turn @ skin.bone_from_bind @ turn)


def turned_motion(animation: Animation) -> Animation:
    """The same motion as seen from the turned axes."""
    return replace(
        animation,
        rotations_xyzw=animation.rotations_xyzw * FACING_QUATERNION,
        positions_m=animation.positions_m * FACING_VECTOR,
        offsets_m=None if animation.offsets_m is None else animation.offsets_m * FACING_VECTOR.astype(np.float32),
    )
