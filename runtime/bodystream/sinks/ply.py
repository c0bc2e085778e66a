"""Meshes as PLY files."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from bodystream.errors import InputError
from bodystream.files import atomic_path
from bodystream.types import Array, Mesh

__all__ = ["check_mesh", "usable_mesh", "write_ply"]


def check_mesh(mesh: Mesh, where: str) -> None:
    """Refuse a mesh that no reader could use.

    Raises:
        InputError: no vertices, positions that are not finite, arrays of the wrong length, or faces that refer
            to vertices that are not there.
    """
    count = len(mesh.vertices)
    if count == 0:
        raise InputError(f"{where}: the mesh has no vertices: nothing has been fused yet, or all of it was removed")
    if not np.isfinite(mesh.vertices).all():
        bad = int(np.count_nonzero(~np.isfinite(mesh.vertices).all(axis=1)))
        raise InputError(f"{where}: {bad} of {count} vertices are not finite; the mesh must be repaired first")
    for name, values in (("normals", mesh.normals), ("colours", mesh.colours)):
        if values is not None and values.shape != (count, 3):
            raise InputError(f"{where}: {name} must have shape {(count, 3)} as the vertices, got {values.shape}")
    if len(mesh.faces) and (mesh.faces.min() < 0 or mesh.faces.max() >= count):
        low, high = int(mesh.faces.min()), int(mesh.faces.max())
        raise InputError(f"{where}: faces refer to vertices {low}..{high}, but there are {count}")


def usable_mesh(mesh: Mesh) -> tuple[Mesh, Array, str]:
    """The part of a mesh that readers can use: what is broken costs itself and not the file.

    Returns:
        The mesh without vertices that are not finite and without faces that refer to those or to none; (V,) bool, the
        vertices that are kept; and what was left out, or nothing.
    """
    count, faces = len(mesh.vertices), np.asarray(mesh.faces)
    kept: Array = np.asarray(np.isfinite(mesh.vertices).all(axis=1))
    whole = ((faces >= 0) & (faces < count)).all(axis=1) if len(faces) else np.zeros(0, bool)
    strays = len(faces) - int(np.count_nonzero(whole))
    lost = count - int(np.count_nonzero(kept))
    if not strays and not lost:
        return mesh, kept, ""
    faces = faces[whole]
    faces = faces[kept[faces].all(axis=1)] if len(faces) else faces
    number = np.cumsum(kept) - 1
    told = [f"{strays} faces that refer to no vertex"] if strays else []
    told += [f"{lost} vertices that are not finite"] if lost else []

    def rows(values: Array | None) -> Array | None:
        return None if values is None or len(values) != count else values[kept]

    cut = replace(
        mesh,
        vertices=mesh.vertices[kept],
        faces=number[faces].astype(np.int32),
        normals=rows(mesh.normals),
        colours=rows(mesh.colours),
    )
    return cut, kept, f"{' and '.join(told)} left out"


def write_ply(path: str | os.PathLike[str], mesh: Mesh) -> None:
    """Write a binary little-endian PLY with vertices [m], faces and, where the mesh has them, normals and colours.

    The file appears whole or not at all.

    Raises:
        InputError: an empty or broken mesh, or a file that cannot be written.
    """
    import trimesh  # its import takes longer than most files take to write

    check_mesh(mesh, str(path))
    out = trimesh.Trimesh(
        mesh.vertices,
        mesh.faces,
        vertex_normals=mesh.normals,
        vertex_colors=mesh.colours,
        process=False,  # keep every vertex and their order
        validate=False,
    )
    with atomic_path(path) as temporary:
        out.export(temporary, file_type="ply", vertex_normal=mesh.normals is not None)
