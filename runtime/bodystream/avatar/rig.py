"""The shipped body, a rig: its shape at rest, skeleton, skinning weights and colours, and how a pose moves it.

A rig is a `SkinnedMesh` at rest, an A-pose: x to its right, y up, -z where it looks, the floor at y = 0 [m]. Its bones
are the 22 joints of `geometry.skeleton.JOINTS`, unturned; `fit_rig` gives them their canonical frames.
"""

from __future__ import annotations

import numpy as np

from bodystream.bundles import Bundle, find_bundle, read_npz
from bodystream.errors import BundleError
from bodystream.geometry.skeleton import JOINTS
from bodystream.geometry.skinning import unturned_bones
from bodystream.types import Array, Mesh, SkinnedMesh

__all__ = ["bone_transforms", "load_rig", "skin"]

KIND = "skinned-body"
_FILE = "rig.npz"
_ARRAYS = ("vertices", "faces", "joints", "parents", "skin_joints", "skin_weights", "colours")
_NUMBERS = ("vertices", "joints", "skin_weights")
_MAX_BYTES = 64 << 20
_MOST_M = 10.0
"""No coordinate of a person at rest is larger."""


def load_rig(bundle: Bundle | None = None) -> SkinnedMesh:
    """The body of a bundle (default: the one that is shipped).

    Raises:
        BundleError: the bundle is of another kind, a file is missing, its hash is not the manifest's, or an array is
            absent, has the wrong shape or values that no body has: not finite, an index out of range, weights that do
            not sum to one.
        InputError: the file of arrays is not a readable `.npz`.
    """
    bundle = find_bundle("person") if bundle is None else bundle
    bundle.require_kind(KIND)
    path = bundle.label(_FILE)
    arrays = read_npz(bundle.read(_FILE), path, _MAX_BYTES)
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise BundleError(f"{path} lacks the arrays {', '.join(missing)}: install bodystream again")
    joints = len(JOINTS)
    vertices, faces = (arrays[name].shape[0] if arrays[name].ndim else 0 for name in ("vertices", "faces"))
    shapes = {
        "vertices": (vertices, 3),
        "faces": (faces, 3),
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
    problem = _problem(arrays)
    if problem:
        raise BundleError(f"{path}: {problem}: install bodystream again")
    kinds = dict.fromkeys(_NUMBERS, np.float32) | {"colours": np.uint8}
    typed = {name: arrays[name].astype(kinds.get(name, np.int32)) for name in _ARRAYS}
    for array in typed.values():
        array.flags.writeable = False  # frames share them
    return SkinnedMesh(
        Mesh(typed["vertices"], typed["faces"], colours=typed["colours"]),
        typed["skin_joints"],
        typed["skin_weights"],
        unturned_bones(typed["joints"]),
        typed["parents"],
        JOINTS,
    )


def _problem(arrays: dict[str, Array]) -> str:
    """What is wrong with the values of a body's arrays, or nothing. A kernel reads by these indices without a look."""
    for name in _ARRAYS:
        kinds, wanted = ("f", "floating-point numbers") if name in _NUMBERS else ("iu", "whole numbers")
        if arrays[name].dtype.kind not in kinds:
            return f"{name} must hold {wanted}, got {arrays[name].dtype}"
    vertices, faces = len(arrays["vertices"]), len(arrays["faces"])
    if not vertices or not faces:
        return f"a body has vertices and faces, got {vertices} and {faces}"
    for name in _NUMBERS:
        most = _MOST_M if name != "skin_weights" else 1.001
        if not (np.abs(arrays[name]) <= most).all():  # nan fails, too
            return f"{name} must be finite and at most {most:g}, got others"
    ranges = {
        "faces": (0, vertices),
        "skin_joints": (0, len(JOINTS)),
        "parents": (-1, len(JOINTS)),
        "colours": (0, 256),
    }
    for name, (low, high) in ranges.items():
        least, most = int(arrays[name].min()), int(arrays[name].max())
        if least < low or most >= high:
            return f"{name} must lie in {low} to {high - 1}, got {least} to {most}"
    parents = arrays["parents"].astype(np.int64)
    if parents[0] != -1 or (parents[1:] < 0).any() or (parents >= np.arange(len(parents))).any():
        return "parents must begin with -1, and each parent must come before its children"
    weights = arrays["skin_weights"].astype(np.float64)
    if weights.min() < 0.0 or np.abs(weights.sum(axis=1) - 1.0).max() > 1e-3:
        return "skin_weights must not be negative, and each row must sum to one"
    return ""


def bone_transforms(rig: SkinnedMesh, rotations: Array, root_translation: Array) -> Array:
    """Forward kinematics: the transforms that carry points at rest to the pose.

    Args:
        rotations: (..., 22, 3, 3) of each joint relative to its parent, in the body's axes.
        root_translation: (..., 3) [m] of the pelvis.

    Returns:
        (..., 22, 4, 4) float64.
    """
    assert rig.parents is not None
    lead = rotations.shape[:-3]
    rest = rig.bind_positions_m.astype(np.float64)
    transforms = np.zeros((*lead, len(JOINTS), 4, 4))
    transforms[..., 3, 3] = 1.0
    posed = np.empty((*lead, len(JOINTS), 3))
    for joint, parent in enumerate(rig.parents.tolist()):
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


def skin(rig: SkinnedMesh, transforms: Array, vertices: Array | None = None) -> Array:
    """Linear blend skinning in float64: the reference of the kernel `skin_vertices`.

    Args:
        transforms: (..., 22, 4, 4) from rest to posed.
        vertices: (M,) indices of the wanted vertices, or None for all.

    Returns:
        (..., M, 3) [m].
    """
    chosen = np.arange(len(rig.mesh.vertices)) if vertices is None else vertices
    rest = rig.mesh.vertices[chosen].astype(np.float64)
    weights = rig.weights[chosen].astype(np.float64)
    out = np.zeros((*transforms.shape[:-3], len(chosen), 3))
    for influence in range(4):
        bone = transforms[..., rig.bones[chosen, influence], :3, :]
        moved = np.einsum("...ij,...j->...i", bone[..., :3], rest) + bone[..., 3]
        out += weights[:, influence, None] * moved
    return out
