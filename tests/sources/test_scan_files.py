"""Scans of binary glTF, read as they are meant or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pygltflib
import pytest

from bodystream.errors import InputError
from bodystream.sinks.mesh_files import write_mesh
from bodystream.sources.scans import read_scan
from helpers.body_meshes import bar


def test_a_glb_scan_is_read_as_it_was_written(tmp_path: Path) -> None:
    mesh = bar(around=6, along=4)
    write_mesh(tmp_path / "scan.glb", mesh)
    found = read_scan(tmp_path / "scan.glb")
    assert np.allclose(found.vertices, mesh.vertices, atol=1e-6)
    assert np.array_equal(found.faces, mesh.faces)


def test_sparse_values_of_a_scan_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "scan.glb"
    write_mesh(path, bar(around=6, along=4))
    document = pygltflib.GLTF2().load(path)
    assert document is not None
    blob = document.binary_blob()
    assert blob is not None
    start = len(blob) + -len(blob) % 4
    moved = blob + bytes(-len(blob) % 4) + np.array([0], "<u2").tobytes() + bytes(2) + np.ones(3, "<f4").tobytes()
    for offset, length in ((start, 2), (start + 4, 12)):
        document.bufferViews.append(pygltflib.BufferView(buffer=0, byteOffset=offset, byteLength=length))
    document.buffers[0].byteLength = len(moved)
    document.set_binary_blob(moved)
    views = len(document.bufferViews)
    positions = document.meshes[0].primitives[0].attributes.POSITION
    document.accessors[positions].sparse = pygltflib.Sparse(
        count=1,
        indices=pygltflib.AccessorSparseIndices(bufferView=views - 2, componentType=pygltflib.UNSIGNED_SHORT),
        values=pygltflib.AccessorSparseValues(bufferView=views - 1),
    )
    document.save_binary(path)
    with pytest.raises(InputError, match=r"scan\.glb: some of its numbers are kept as sparse values"):
        read_scan(path)
