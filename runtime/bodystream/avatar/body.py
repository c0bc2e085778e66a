"""The shipped body: its shape at rest, skeleton, skinning weights and colours, and how a pose moves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.bundles import find_bundle, load_npz, open_bundle
from bodystream.errors import BundleError
from bodystream.geometry.skeleton import JOINTS
from bodystream.types import Array

__all__ = ["Body", "bone_transforms", "load_body", "skin"]

_ARRAYS = ("vertices", "faces", "joints", "parents", "skin_joints", "skin_weights", "colours")
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Body:
    """A skinned body at rest, an A-pose: x to its right, y up, -z where it looks, the floor at y = 0 [m].

    Attributes:
        vertices: (V, 3) float32.
        faces: (F, 3) int32, counter-clockwise seen from outside.
        joints: (22, 3) float32 rest positions, in the order of `geometry.skeleton.JOINTS`.
        parents: (22,) int32, -1 for the pelvis; a parent comes before its children.
        skin_joints: (V, 4) int32.
        skin_weights: (V, 4) float32, each row sums to one.
        colours: (V, 3) uint8 RGB.
    """

    vertices: Array
    faces: Array
    joints: Array
    parents: Array
    skin_joints: Array
    skin_weights: Array
    colours: Array


def load_body(folder: Path | None = None) -> Body:
    """The body in `folder` (default: the one that is shipped).

    Raises:
        BundleError: a file is missing, its hash is not the manifest's, or an array is absent or has the wrong shape.
        InputError: the file of arrays is not a readable `.npz`.
    """
    bundle = find_bundle("body") if folder is None else open_bundle(folder)
    path = bundle.path("body.npz")
    arrays = load_npz(path, _MAX_BYTES)
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise BundleError(f"{path} lacks the arrays {', '.join(missing)}: install bodystream again")
    joints = len(JOINTS)
    vertices = len(arrays["vertices"])
    shapes = {
        "vertices": (vertices, 3),
        "faces": (len(arrays["faces"]), 3),
        "joints": (joints, 3),
        "parents": (joints,),
        "skin_joints": (vertices, 4),
        "skin_weights": (vertices, 4),
        "colours": (vertices, 3),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise BundleError(
                f"{path}: {name} must have shape {shape}, got {arrays[name].shape}: install bodystream again"
            )
    integers = {name: arrays[name].astype(np.int32) for name in ("faces", "parents", "skin_joints")}
    body = Body(
        vertices=arrays["vertices"].astype(np.float32),
        joints=arrays["joints"].astype(np.float32),
        skin_weights=arrays["skin_weights"].astype(np.float32),
        colours=arrays["colours"].astype(np.uint8),
        **integers,
    )
    for array in (body.vertices, body.faces, body.joints, body.skin_joints, body.skin_weights, body.colours):
        array.flags.writeable = False  # frames share them
    return body


def bone_transforms(body: Body, rotations: Array, root_translation: Array) -> Array:
    """Forward kinematics: the transforms that carry points at rest to the pose.

    Args:
        rotations: (..., 22, 3, 3) of each joint relative to its parent, in the body's axes.
        root_translation: (..., 3) [m] of the pelvis.

    Returns:
        (..., 22, 4, 4) float64.
    """
    lead = rotations.shape[:-3]
    rest = body.joints.astype(np.float64)
    transforms = np.zeros((*lead, len(JOINTS), 4, 4))
    transforms[..., 3, 3] = 1.0
    posed = np.empty((*lead, len(JOINTS), 3))
    for joint, parent in enumerate(body.parents.tolist()):
        local = rotations[..., joint, :, :]
        if parent < 0:
            world = local
            posed[..., joint, :] = rest[joint] + root_translation
        else:
            above = transforms[..., parent, :3, :3]
            world = above @ local
            posed[..., joint, :] = posed[..., parent, :] + above @ (rest[joint] - rest[parent])
        transforms[..., joint, :3, :3] = world
        transforms[..., joint, :3, 3] = posed[..., joint, :] - world @ rest[joint]
    return transforms


def skin(body: Body, transforms: Array, vertices: Array | None = None) -> Array:
    """Linear blend skinning in float64: the reference of the kernel `skin_vertices`.

    Args:
        transforms: (..., 22, 4, 4) from rest to posed.
        vertices: (M,) indices of the wanted vertices, or None for all.

    Returns:
        (..., M, 3) [m].
    """
    chosen = np.arange(len(body.vertices)) if vertices is None else vertices
    rest = body.vertices[chosen].astype(np.float64)
    weights = body.skin_weights[chosen].astype(np.float64)
    out = np.zeros((*transforms.shape[:-3], len(chosen), 3))
    for influence in range(4):
        bone = transforms[..., body.skin_joints[chosen, influence], :3, :]
        moved = np.einsum("...ij,...j->...i", bone[..., :3], rest) + bone[..., 3]
        out += weights[:, influence, None] * moved
    return out
