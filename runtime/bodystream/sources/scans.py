"""Scans of files: meshes of any topology, and points with or without normals."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.bundles import load_npz
from bodystream.errors import InputError
from bodystream.files import read_bounded
from bodystream.types import Array, Mesh

__all__ = ["SCAN_ENDINGS", "read_scan"]

SCAN_ENDINGS = (".npz", ".obj", ".ply", ".stl", ".glb", ".off")
_MAX_BYTES = 1 << 30


def read_scan(path: Path) -> Mesh:
    """A scan of a file; points without faces are a mesh without any.

    An `.npz` holds `vertices` and `faces`, or `points`, and may hold `normals` of these.

    Raises:
        InputError: it cannot be read, or holds neither a mesh nor points.
    """
    kind = path.suffix.lower()
    if kind not in SCAN_ENDINGS:
        raise InputError(f"{path}: a scan is a file that ends in {', '.join(SCAN_ENDINGS)}")
    if kind == ".npz":
        arrays = load_npz(path, _MAX_BYTES)
        name = "points" if "points" in arrays else "vertices"
        if name not in arrays:
            raise InputError(
                f"{path} must hold points, or vertices and faces; it holds {', '.join(arrays) or 'nothing'}"
            )
        faces = arrays.get("faces", np.zeros((0, 3), np.int32))
        return _scan(path, arrays[name], faces, arrays.get("normals"))
    import trimesh

    content = read_bounded(path, _MAX_BYTES)
    try:
        if kind == ".glb" and _has_sparse_surface(content):
            # trimesh leaves such values out and says nothing (findings/trimesh_gltf_sparse.sh).
            raise InputError(
                f"{path}: vertices or faces are kept as sparse values, which are not read: export it without these"
            )
        read: Any = trimesh.load(io.BytesIO(content), file_type=kind[1:], process=False)
        if isinstance(read, trimesh.Scene):
            read = read.to_geometry() if read.geometry else trimesh.PointCloud(np.zeros((0, 3)))
        if isinstance(read, trimesh.Trimesh):
            return _scan(path, np.array(read.vertices), np.array(read.faces), None)
        vertices = np.array(read.vertices)
        return _scan(path, vertices, np.zeros((0, 3), np.int32), _ply_normals(read.metadata, len(vertices)))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, NotImplementedError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable scan: {error}") from error


def _has_sparse_surface(content: bytes) -> bool:
    """Whether vertices or faces of a binary glTF are sparse accessors; those of morph targets are no matter."""
    length, kind = struct.unpack_from("<I4s", content, 12) if len(content) >= 20 else (0, b"")
    if content[:4] != b"glTF" or kind != b"JSON":
        return False  # trimesh says what it is not
    root = json.loads(content[20 : 20 + length])
    read = [
        place
        for mesh in root.get("meshes", [])
        for primitive in mesh["primitives"]
        for place in (primitive["attributes"].get("POSITION"), primitive.get("indices"))
    ]
    return any("sparse" in root["accessors"][place] for place in read if place is not None)


def _ply_normals(metadata: dict, count: int) -> Array | None:
    """Normals of the points of a PLY file, which are kept as they were read."""
    try:
        data = metadata["_ply_raw"]["vertex"]["data"]
        normals = np.stack([np.asarray(data[name], np.float64).ravel() for name in ("nx", "ny", "nz")], axis=1)
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    return normals if normals.shape == (count, 3) else None


def _scan(path: Path, vertices: Array, faces: Array, normals: Array | None) -> Mesh:
    if vertices.size == 0:
        vertices = np.zeros((0, 3))
    if faces.size == 0:
        faces = np.zeros((0, 3), np.int32)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.dtype.kind not in "fiu":
        raise InputError(f"{path}: points must be numbers of shape (N, 3), got {vertices.dtype} of {vertices.shape}")
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise InputError(f"{path}: faces must be whole numbers of shape (F, 3), got {faces.dtype} of {faces.shape}")
    if normals is not None and (normals.shape != vertices.shape or not np.isfinite(normals).all()):
        raise InputError(f"{path}: normals must be finite and of shape {vertices.shape}, got {normals.shape}")
    return Mesh(vertices.astype(np.float64), faces.astype(np.int32), normals)
