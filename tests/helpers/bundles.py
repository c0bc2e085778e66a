"""Bundles and tiny graphs that tests make."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bodystream.bundles import locate
from bodystream.types import Array
from helpers.needs import needs

__all__ = ["DTYPES", "linear_graph", "ship_all_but", "specs_of", "write_bundle", "zip_bundle"]

DTYPES = {"float32": 1, "float16": 10, "uint8": 2, "int64": 7}
"""ONNX's numbers of element types."""


def ship_all_but(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the shipped bundles lie in `folder`, without one of them."""
    for found in locate._SHIPPED.iterdir():
        if found.name != name:
            shutil.copytree(found, folder / found.name)
    monkeypatch.setattr(locate, "_SHIPPED", folder)


def write_bundle(
    folder: Path, kind: str, files: dict[str, bytes], *, name: str | None = None, **section: object
) -> Path:
    """A whole bundle in a folder; `section` goes into its manifest, before what it would say else."""
    listed = [{"path": n, "sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in files.items()]
    manifest = {"name": folder.name if name is None else name, "version": 1, "kind": kind, "licence": "CC0-1.0"}
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "provenance": {}, "files": listed, **section}))
    return folder


def zip_bundle(folder: Path, target: Path, top: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    """The same files as a zip, within `top` ("" or "name/")."""
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, top + path.relative_to(folder).as_posix())
    return target


def linear_graph(
    weights: Array,
    bias: Array,
    rows: int | str = "rows",
    dtype: str = "float32",
    out_dtype: str | None = None,
    opset: int = 18,
) -> bytes:
    """`out = x @ weights + bias`, computed in float32, and `doubled = x + x` in the input's type.

    Args:
        dtype: of x and doubled; out_dtype: of out, default the same.
    """
    onnx = needs("onnx", "pip install 'bodystream[export]'")
    from onnx import helper, numpy_helper

    said, answered = DTYPES[dtype], DTYPES[dtype if out_dtype is None else out_dtype]
    floats = onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=floats),
        helper.make_node("MatMul", ["wide", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["out"], to=answered),
        helper.make_node("Add", ["wide", "wide"], ["twice"]),
        helper.make_node("Cast", ["twice"], ["doubled"], to=said),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", said, [rows, len(weights)])],
        [
            helper.make_tensor_value_info("out", answered, [rows, len(bias)]),
            helper.make_tensor_value_info("doubled", said, [rows, len(weights)]),
        ],
        [numpy_helper.from_array(np.float32(weights), "w"), numpy_helper.from_array(np.float32(bias), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return model.SerializeToString()


def specs_of(
    weights: Array, bias: Array, rows: int | str = "rows", dtype: str = "float32", out_dtype: str | None = None
) -> dict:
    """What a manifest says of `linear_graph`."""
    return {
        "inputs": {"x": {"shape": [rows, len(weights)], "dtype": dtype}},
        "outputs": {
            "out": {"shape": [rows, len(bias)], "dtype": dtype if out_dtype is None else out_dtype},
            "doubled": {"shape": [rows, len(weights)], "dtype": dtype},
        },
    }
