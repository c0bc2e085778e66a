"""One mesh to a file that other programs read: binary glTF, PLY or OBJ."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.errors import ConfigurationError
from bodystream.files import atomic_path
from bodystream.sinks.ply import check_mesh, write_ply
from bodystream.types import Mesh

__all__ = ["check_mesh_path", "write_mesh"]

_ENDINGS = (".glb", ".ply", ".obj")


def check_mesh_path(path: Path, option: str) -> None:
    """Refuse a name of which no kind of mesh is known.

    Raises:
        ConfigurationError: it has another ending.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise ConfigurationError(f"{option} is a mesh: give a name that ends in {', '.join(_ENDINGS)}, got {path}")


def write_mesh(path: Path, mesh: Mesh) -> None:
    """Write vertices [m] and faces, in their order, whole or not at all; the ending says how.

    Raises:
        InputError: no reader could use the mesh, or the file cannot be written.
        ConfigurationError: another ending.
    """
    check_mesh_path(path, str(path))
    kind = path.suffix.lower()
    if kind == ".ply":
        write_ply(path, mesh)
        return
    check_mesh(mesh, str(path))
    if kind == ".obj":
        lines = [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in mesh.vertices.tolist()]
        lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
        content = ("\n".join(lines) + "\n").encode()
    else:
        import trimesh  # its import takes longer than most files take to write
        from trimesh.exchange.gltf import export_glb

        made = trimesh.Trimesh(mesh.vertices.astype(np.float32), mesh.faces, process=False)
        content = export_glb(made, include_normals=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
