"""What is looked at before a take is used: bones, rigid transforms, units, finite values, closed surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodystream.avatar.take.canonical import BONES
from bodystream.errors import InputError, excerpt
from bodystream.types import Array

__all__ = [
    "RIGID_TOLERANCE",
    "check_bones",
    "check_fits_bones",
    "check_finite",
    "check_rigid",
    "metres_per_unit",
    "open_edges",
]

RIGID_TOLERANCE = 1e-3
"""How far a transform may stretch or shear."""

_SMALLEST_M, _LARGEST_M = 0.4, 3.2
"""Of a person's largest extent, clothes and raised arms included."""
_FACTORS = (100.0, 1000.0, 0.01, 0.001)
_NEAR_M = 0.3


def check_bones(names: Sequence[str], where: str) -> None:
    """Refuse bones in another order or number.

    Raises:
        InputError: says how many there are, or which bone stands at which place.
    """
    names = [str(name) for name in names]
    if names == list(BONES):
        return
    if len(names) != len(BONES):
        raise InputError(
            f"{where}: {len(names)} bones, wanted SMPL's {len(BONES)} ({', '.join(BONES[:4])}, ..., {BONES[-1]}): "
            "write the transforms of these, in this order"
        )
    at = next(i for i, (got, wanted) in enumerate(zip(names, BONES, strict=True)) if got != wanted)
    what = "in another order" if sorted(names) == sorted(BONES) else "of other names"
    raise InputError(
        f"{where}: bones {what}: number {at} is {excerpt(names[at])}, wanted {BONES[at]!r}: write them in SMPL's order"
    )


def check_rigid(transforms: Array, where: str) -> None:
    """Refuse (24, 4, 4) transforms that do more than turn and shift.

    Raises:
        InputError: a wrong shape, values that are not finite, or which bone is stretched, sheared or mirrored by how
            much.
    """
    count = len(BONES)
    if transforms.shape != (count, 4, 4):
        raise InputError(f"{where}: posed_from_canonical must have shape ({count}, 4, 4), got {transforms.shape}")
    if not np.isfinite(transforms).all():
        bone = int(np.argwhere(~np.isfinite(transforms))[0, 0])
        raise InputError(f"{where}: the transform of {BONES[bone]} is not finite: leave the frame out")
    if np.abs(transforms[:, 3] - (0.0, 0.0, 0.0, 1.0)).max() > 1e-6:
        raise InputError(f"{where}: transforms must have (0, 0, 0, 1) as last row: they may be transposed")
    linear = transforms[:, :3, :3].astype(np.float64)
    lengths = np.linalg.svd(linear, compute_uv=False)
    off = np.abs(lengths - 1.0).max(axis=1)
    bone = int(off.argmax())
    if off[bone] > RIGID_TOLERANCE:
        low, high = lengths[bone].min(), lengths[bone].max()
        raise InputError(
            f"{where}: the transform of {BONES[bone]} is not rigid: it scales lengths by {low:.4f} to {high:.4f} "
            f"(up to {100 * off[bone]:.2g} %, at most {100 * RIGID_TOLERANCE:g} % is taken): take scale and shear out"
        )
    mirrored = np.linalg.det(linear) < 0
    if mirrored.any():
        raise InputError(f"{where}: the transform of {BONES[int(mirrored.argmax())]} mirrors: axes were swapped")


def check_finite(vertices: Array, where: str) -> None:
    """Refuse vertices that are no (V, 3) finite numbers.

    Raises:
        InputError: says how many of them are not finite and which is the first.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices) or vertices.dtype.kind != "f":
        raise InputError(
            f"{where}: vertices must be floating-point numbers of shape (V, 3), got {vertices.dtype} of shape "
            f"{vertices.shape}"
        )
    bad = ~np.isfinite(vertices).all(axis=1)
    if bad.any():
        raise InputError(
            f"{where}: {int(bad.sum())} of {len(vertices)} vertices are not finite, the first is number "
            f"{int(bad.argmax())}: leave the frame out, or mend the mesh"
        )


def metres_per_unit(points: Array, what: str) -> float:
    """The unit of a person's (N, 3) points: 1 where they are metres, else what they are to be multiplied by.

    Raises:
        InputError: no unit of 100 or 1000 (or their inverses) makes a person of them.
    """
    extent = float(np.ptp(points.astype(np.float64), axis=0).max())
    for factor in (1.0, *(1.0 / f for f in _FACTORS)):
        if _SMALLEST_M <= factor * extent <= _LARGEST_M:
            return factor
    raise InputError(
        f"{what} are {extent:.3g} units wide or tall, and no person is that in metres, centimetres or millimetres "
        f"({_SMALLEST_M} to {_LARGEST_M} m): give them in metres"
    )


def check_fits_bones(vertices: Array, joints_m: Array, transforms: Array, where: str) -> None:
    """Refuse a surface whose bones are elsewhere: another frame, another unit of transforms, transposed matrices.

    Args:
        joints_m: (24, 3) in the canonical pose.
        transforms: (24, 4, 4), from there to the pose.

    Raises:
        InputError: which bone is how far from the box about the surface.
    """
    posed = np.einsum("bij,bj->bi", transforms[:, :3, :3], joints_m) + transforms[:, :3, 3]
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    beyond = np.maximum(np.maximum(low - posed, posed - high), 0.0).max(axis=1)
    bone = int(beyond.argmax())
    if beyond[bone] > _NEAR_M:
        raise InputError(
            f"{where}: {BONES[bone]} is {beyond[bone]:.2f} m outside the surface's box: transforms must lead from the "
            "canonical pose to this frame's vertices, for column vectors, in metres"
        )


def open_edges(faces: Array) -> int:
    """How many edges of a mesh are not shared by exactly two faces that run along them in opposite directions."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    size = int(edges.max()) + 1 if len(edges) else 1
    forth, counts = np.unique(edges[:, 0] * size + edges[:, 1], return_counts=True)
    back = (forth % size) * size + forth // size
    return int((~np.isin(back, forth[counts == 1]) | (counts != 1)).sum())
