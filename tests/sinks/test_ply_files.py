from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from bodystream.errors import InputError
from bodystream.sinks import write_ply
from bodystream.types import Mesh
from helpers.sink_shapes import tube


def read_plain(path: Path) -> tuple[str, np.ndarray, np.ndarray]:
    """A reader of our own: the header, the vertex table and the faces of a binary little-endian PLY."""
    data = path.read_bytes()
    end = data.index(b"end_header\n") + len(b"end_header\n")
    header = data[:end].decode()
    fields, counts, element = [], {}, ""
    kinds = {"float": "<f4", "uchar": "u1", "int": "<i4"}
    for line in header.splitlines():
        words = line.split()
        if words[0] == "element":
            element = words[1]
            counts[element] = int(words[2])
        elif words[0] == "property" and element == "vertex":
            fields.append((words[2], kinds[words[1]]))
    vertex = np.frombuffer(data, np.dtype(fields), counts["vertex"], end)
    face = np.dtype([("count", "u1"), ("index", "<i4", 3)])
    return header, vertex, np.frombuffer(data, face, counts["face"], end + vertex.nbytes)


def test_everything_is_in_the_file_bit_for_bit(tmp_path: Path) -> None:
    mesh = tube()
    assert mesh.normals is not None and mesh.colours is not None
    write_ply(tmp_path / "a.ply", mesh)
    header, vertex, face = read_plain(tmp_path / "a.ply")
    assert "format binary_little_endian 1.0" in header
    assert np.array_equal(np.stack([vertex[k] for k in "xyz"], 1), mesh.vertices)
    assert np.array_equal(np.stack([vertex[k] for k in ("nx", "ny", "nz")], 1), mesh.normals)
    assert np.array_equal(np.stack([vertex[k] for k in ("red", "green", "blue")], 1), mesh.colours)
    assert (face["count"] == 3).all() and np.array_equal(face["index"], mesh.faces)


def test_a_bare_mesh_has_neither_normals_nor_colours(tmp_path: Path) -> None:
    mesh = tube()
    write_ply(tmp_path / "bare.ply", Mesh(mesh.vertices, mesh.faces))
    header, vertex, _ = read_plain(tmp_path / "bare.ply")
    assert vertex.dtype.names == ("x", "y", "z"), header
    loaded = trimesh.load_mesh(tmp_path / "bare.ply", process=False)
    assert np.array_equal(loaded.faces, mesh.faces)


def test_a_point_cloud_is_a_mesh_without_faces(tmp_path: Path) -> None:
    mesh = tube()
    write_ply(tmp_path / "points.ply", Mesh(mesh.vertices, np.zeros((0, 3), np.int32), colours=mesh.colours))
    _, vertex, face = read_plain(tmp_path / "points.ply")
    assert len(vertex) == len(mesh.vertices) and len(face) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: Mesh(np.zeros((0, 3), np.float32), m.faces[:0]), "no vertices"),
        (lambda m: Mesh(np.where(m.vertices > 0.4, np.nan, m.vertices), m.faces), "not finite"),
        (lambda m: Mesh(m.vertices[:10], m.faces), "faces refer to vertices 0..383, but there are 10"),
        (lambda m: Mesh(m.vertices, m.faces - 1), "faces refer to vertices -1"),
        (lambda m: Mesh(m.vertices, m.faces, normals=m.normals[:5]), "normals must have shape"),
        (lambda m: Mesh(m.vertices, m.faces, colours=m.colours[:5]), "colours must have shape"),
    ],
)
def test_broken_meshes_are_refused_and_leave_the_file(tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "kept.ply"
    write_ply(path, tube())
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        write_ply(path, change(tube()))
    assert path.read_bytes() == before
