"""Meshes of files, whose vertices and faces keep the order in which they are written: OBJ, PLY and `.npz`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.bundles import load_npz
from bodystream.errors import InputError
from bodystream.files import read_text_bounded
from bodystream.types import Array, Mesh

__all__ = ["MESH_ENDINGS", "read_mesh"]

MESH_ENDINGS = (".npz", ".obj", ".ply")
_MAX_BYTES = 256 << 20


def read_mesh(path: Path) -> Mesh:
    """A mesh of a file, vertices float64 in the order in which they are written.

    Raises:
        InputError: it cannot be read, or holds no triangles.
    """
    kind = path.suffix.lower()
    if kind == ".npz":
        arrays = load_npz(path, _MAX_BYTES)
        if not {"vertices", "faces"} <= set(arrays):
            raise InputError(f"{path} must hold vertices and faces")
        vertices, faces = arrays["vertices"], arrays["faces"]
    elif kind == ".obj":
        vertices, faces = _obj(path)
    else:
        import trimesh

        try:
            read = trimesh.load_mesh(path, process=False)
            vertices, faces = np.array(read.vertices), np.array(read.faces)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OSError) as error:
            raise InputError(f"{path} is not a readable mesh: {error}") from error
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise InputError(f"{path}: wanted vertices (V, 3) and triangles (F, 3), got {vertices.shape} and {faces.shape}")
    if vertices.dtype.kind != "f" or faces.dtype.kind not in "iu":
        raise InputError(f"{path}: wanted real vertices and whole faces, got {vertices.dtype} and {faces.dtype}")
    return Mesh(vertices.astype(np.float64), faces.astype(np.int32))


def _obj(path: Path) -> tuple[Array, Array]:
    """Places and triangles of a Wavefront file; vertices keep their order, which libraries that split them at seams of
    texture do not leave them."""
    vertices, faces = [], []
    for number, line in enumerate(read_text_bounded(path, _MAX_BYTES).splitlines(), 1):
        words = line.split()
        if not words or words[0] not in ("v", "f"):
            continue
        try:
            if words[0] == "v":
                vertices.append([float(word) for word in words[1:4]])
                good = len(vertices[-1]) == 3
            else:
                corners = [int(word.partition("/")[0]) for word in words[1:]]
                faces.append([c - 1 if c > 0 else len(vertices) + c for c in corners])
                good = len(corners) == 3
        except ValueError:
            good = False
        if not good:
            raise InputError(f"{path}, line {number}: wanted three numbers, got {line[:40]!r}: only triangles are read")
    if not vertices or not faces:
        raise InputError(f"{path} holds {len(vertices)} vertices and {len(faces)} faces")
    return np.array(vertices), np.array(faces)
