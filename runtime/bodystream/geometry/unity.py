"""Unity's axes: left-handed, x right, y up, z forward, metres. VMC and VRChat's OSC trackers speak them.

Our world is right-handed with -z ahead, so that the two are mirror images in z: a person who looks ahead in one looks
ahead in the other, and right stays right. The same functions lead there and back.
"""

from __future__ import annotations

import numpy as np

from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.types import Array

__all__ = ["unity_eulers_deg", "unity_quaternions", "unity_vectors"]

_VECTOR = np.array([1.0, 1.0, -1.0])
_QUATERNION = np.array([-1.0, -1.0, 1.0, 1.0])
_LOCKED = 1.0 - 1e-9
"""Sine of the turn about x beyond which those about y and z cannot be told apart."""


def unity_vectors(vectors: Array) -> Array:
    """Positions (..., 3) from our axes to Unity's, or back [m]."""
    return vectors * _VECTOR


def unity_quaternions(quaternions_xyzw: Array) -> Array:
    """Rotations (..., 4) xyzw from our axes to Unity's, or back."""
    return quaternions_xyzw * _QUATERNION


def unity_eulers_deg(quaternions_xyzw: Array) -> Array:
    """Unity's Euler angles (..., 3) x, y, z of rotations (..., 4) in Unity's axes, from -180 to 180 degrees.

    Unity turns about z first, then x, then y, all of them axes that stay: `R = Ry Rx Rz`. Where the turn about x is a
    right angle, that about z is 0.

    Raises:
        InputError: a quaternion has no length.
    """
    m = matrix_from_quaternion(quaternions_xyzw)
    sine = np.clip(-m[..., 1, 2], -1.0, 1.0)
    locked = np.abs(sine) > _LOCKED
    y = np.where(locked, np.arctan2(-m[..., 2, 0], m[..., 0, 0]), np.arctan2(m[..., 0, 2], m[..., 2, 2]))
    z = np.where(locked, 0.0, np.arctan2(m[..., 1, 0], m[..., 1, 1]))
    # The cosine beside the sine: near a right angle the sine alone has no digits left.
    x = np.arctan2(sine, np.hypot(m[..., 1, 0], m[..., 1, 1]))
    return np.degrees(np.stack([x, y, z], axis=-1))
