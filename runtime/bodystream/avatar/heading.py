"""The frame that a clothed avatar is posed in: at the pelvis, turned with the body about the vertical only.

How the pelvis leans stays in the pose, since cloth hangs by it; where somebody stands and faces does not matter to it.
"""

from __future__ import annotations

import numpy as np

from bodystream.types import Array

__all__ = ["bones_in_heading", "world_from_heading"]


def world_from_heading(pelvis: Array) -> Array:
    """(..., 4, 4) of the pelvis' transforms (..., 4, 4) from the canonical pose, whose origin is the pelvis.

    The turn about y is that of the twist of the pelvis' rotation, which is defined but for bodies upside down; these
    get none.
    """
    rotation = pelvis[..., :3, :3]
    # Of a rotation's quaternion, y and w are the twist's, and these are 4 y w and 4 w^2 less what both lack.
    sine = rotation[..., 0, 2] - rotation[..., 2, 0]
    cosine = rotation[..., 0, 0] + rotation[..., 2, 2]
    length = np.hypot(sine, cosine)
    known = length > 1e-6
    scale = np.where(known, length, 1.0)
    sine, cosine = np.where(known, sine / scale, 0.0), np.where(known, cosine / scale, 1.0)
    out = np.zeros_like(pelvis)
    out[..., 0, 0], out[..., 0, 2] = cosine, sine
    out[..., 2, 0], out[..., 2, 2] = -sine, cosine
    out[..., 1, 1] = out[..., 3, 3] = 1.0
    out[..., :3, 3] = pelvis[..., :3, 3]
    return out


def bones_in_heading(posed_from_canonical: Array) -> tuple[Array, Array]:
    """Bones (..., B, 4, 4), the pelvis first, as seen from their heading; and that frame itself, (..., 4, 4)."""
    frame = world_from_heading(posed_from_canonical[..., 0, :, :])
    return np.linalg.inv(frame)[..., None, :, :] @ posed_from_canonical, frame
