"""Scans of binary glTF, read as they are meant or not at all."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pygltflib
import pytest

from bodystream.errors import InputError
from bodystream.sinks.mesh_files import write_mesh
from bodystream.sources.scans import read_scan
from bodystream.types import Mesh
from helpers.body_meshes import bar


def test_a_glb_scan_is_read_as_it_was_written(tmp_path: Path) -> None:
    mesh = bar(around=6, along=4)
    write_mesh(tmp_path / "scan.glb", mesh)
    found = read_scan(tmp_path / "scan.glb")
    assert np.allclose(found.vertices, mesh.vertices, atol=1e-6)
    assert np.array_equal(found.faces, mesh.faces)


def with_sparse_values(path: Path, target: bool) -> Mesh:
    """A bar, the first of whose positions, or of a morph target's, is told by a sparse accessor."""
    mesh = bar(around=6, along=4)
    write_mesh(path, mesh)
    document = pygltflib.GLTF2().load(path)
    assert document is not None
    blob = document.binary_blob()
    assert blob is not None
    blob += bytes(-len(blob) % 4)
    views = len(document.bufferViews)
    for offset, length in ((len(blob), 2), (len(blob) + 4, 12)):
        document.bufferViews.append(pygltflib.BufferView(buffer=0, byteOffset=offset, byteLength=length))
    blob += np.array([0], "<u2").tobytes() + bytes(2) + np.ones(3, "<f4").tobytes()
    document.buffers[0].byteLength = len(blob)
    document.set_binary_blob(blob)
    sparse = pygltflib.Sparse(
        count=1,
        indices=pygltflib.AccessorSparseIndices(bufferView=views, componentType=pygltflib.UNSIGNED_SHORT),
        values=pygltflib.AccessorSparseValues(bufferView=views + 1),
    )
    primitive = document.meshes[0].primitives[0]
    if target:
        primitive.targets = [pygltflib.Attributes(POSITION=len(document.accessors))]
        document.accessors.append(
            pygltflib.Accessor(componentType=pygltflib.FLOAT, count=len(mesh.vertices), type="VEC3", sparse=sparse)
        )
    else:
        document.accessors[primitive.attributes.POSITION].sparse = sparse
    document.save_binary(path)
    return mesh


def test_sparse_positions_of_a_scan_are_refused_by_name(tmp_path: Path) -> None:
    with_sparse_values(tmp_path / "scan.glb", target=False)
    with pytest.raises(
        InputError, match=r"scan\.glb: vertices or faces are kept as sparse values.*: export it without"
    ):
        read_scan(tmp_path / "scan.glb")


def test_sparse_morph_targets_are_no_reason_to_refuse_a_scan(tmp_path: Path) -> None:
    mesh = with_sparse_values(tmp_path / "scan.glb", target=True)
    assert np.allclose(read_scan(tmp_path / "scan.glb").vertices, mesh.vertices, atol=1e-6)


@pytest.mark.parametrize("text", [b"[]    ", b"{no}  ", b'{"meshes": 3}'])
def test_damaged_json_of_a_scan_is_told(tmp_path: Path, text: bytes) -> None:
    text += b" " * (-len(text) % 4)
    header = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON")
    (tmp_path / "scan.glb").write_bytes(header + text)
    with pytest.raises(InputError, match=r"scan\.glb is not a readable scan"):
        read_scan(tmp_path / "scan.glb")
