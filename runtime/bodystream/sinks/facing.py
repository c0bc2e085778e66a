"""Which way a driven body looks in files.

In the world, as in OpenXR, a person at yaw 0 looks along -z. The front of a glTF asset faces +z (glTF 2.0, sec. 3.4
"Coordinate System and Units"), that of a VRM avatar too, and Blender's front view looks at what faces +z in a glTF.
Files of driven bodies therefore hold the world turned by 180 degrees about y, bones' frames included: the T-pose is
still that of identity rotations, and looks along +z. Such a turn flips x and z of vectors, and of quaternions.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FACING_QUATERNION", "FACING_VECTOR"]

FACING_VECTOR = np.array([-1.0, 1.0, -1.0])
FACING_VECTOR.flags.writeable = False
FACING_QUATERNION = np.array([-1.0, 1.0, -1.0, 1.0])
"""Factors of x, y, z, w: a rotation as seen from the turned axes."""
FACING_QUATERNION.flags.writeable = False
