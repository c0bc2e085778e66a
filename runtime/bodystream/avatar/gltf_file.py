"""Reads binary glTF 2.0 from outside: container, JSON, nodes, arrays and pictures, each within bounds.

The JSON is kept as it is, with what no library knows: an avatar that was read goes whole into the file of its motion,
while pygltflib leaves out unknown keys. Arrays are read as the specification says (sec. 3.6.2 "Accessors"): strides,
normalised integers and sparse values.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.files import read_bounded
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.types import Array

__all__ = ["GltfFile"]

_MAX_BYTES = 512 << 20
_MAX_JSON_BYTES = 64 << 20
_MAX_NODES = 20_000
_MAX_NUMBERS = 50_000_000
"""Numbers of one array."""
_MAX_PIXELS = 1 << 26
_MAX_ABSOLUTE = 1e6
"""No position or entry of a transform of an avatar is larger."""
_PICTURE_PX = 512
"""Pictures are only looked at for the colour of a triangle: this many pixels on the longer side are enough."""
_COMPONENTS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_READABLE = frozenset({"KHR_materials_unlit", "KHR_texture_transform", "KHR_materials_emissive_strength",
                       "KHR_mesh_quantization"})  # fmt: skip


class GltfFile:
    """A binary glTF.

    Args:
        path: of the file, `.glb` or `.vrm`.

    Attributes:
        label: what to call it in messages.
        json: the root object, as it is in the file.
        binary: the buffer that the file brings along.

    Raises:
        InputError: it is no binary glTF 2.0, is cut off, or needs what is not read (buffers in other files,
            compressed meshes).
    """

    def __init__(self, path: Path) -> None:
        self.label = str(path)
        data = read_bounded(path, _MAX_BYTES)
        if data[:4] != b"glTF" or len(data) < 20:
            raise InputError(f"{path}: is no binary glTF, which .vrm and .glb files are: export the avatar again")
        _, version, length = struct.unpack_from("<4sII", data)
        if version != 2:
            raise InputError(f"{path}: is binary glTF {version}, wanted 2")
        if length > len(data):
            raise InputError(f"{path}: is cut off: {len(data)} of {length} bytes are there. Copy or export it again")
        chunks = self._chunks(data[:length])
        if b"JSON" not in chunks or len(chunks[b"JSON"]) > _MAX_JSON_BYTES:
            raise InputError(f"{path}: holds no JSON, or more than {_MAX_JSON_BYTES >> 20} MiB of it")
        try:
            root = json.loads(chunks[b"JSON"], parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: its JSON cannot be read ({excerpt(str(error))}): export it again") from error
        if not isinstance(root, dict):
            raise InputError(f"{path}: its JSON is no object: export it again")
        self.json: dict[str, Any] = root
        asset = root.get("asset")
        if not isinstance(asset, dict) or not str(asset.get("version", "")).startswith("2"):
            raise InputError(f"{path}: its asset is {excerpt(asset)}, wanted one of glTF 2.0: export it again")
        for kind in ("nodes", "materials", "textures"):
            self.items(kind)
        self.binary = chunks.get(b"BIN\0", b"")
        for buffer in self.items("buffers"):
            if "uri" in buffer:
                raise InputError(f"{path}: has data in other files ({excerpt(buffer['uri'])}): export it as one file")
        required = self.json.get("extensionsRequired", [])
        for name in required if isinstance(required, list) else []:
            if not (isinstance(name, str) and (name in _READABLE or name.startswith("VRM"))):
                raise InputError(
                    f"{path}: needs {excerpt(name)}, which is not read: export it without compression of meshes"
                )

    def _chunks(self, data: bytes) -> dict[bytes, bytes]:
        out: dict[bytes, bytes] = {}
        at = 12
        while at + 8 <= len(data):
            size, kind = struct.unpack_from("<I4s", data, at)
            if at + 8 + size > len(data):
                raise InputError(f"{self.label}: is cut off within its {excerpt(kind)} part: copy or export it again")
            out.setdefault(kind, data[at + 8 : at + 8 + size])
            at += 8 + size
        return out

    def wrong(self, what: str) -> InputError:
        """The error that says what of the file cannot be used."""
        return InputError(f"{self.label}: {what}")

    def items(self, kind: str) -> list[dict[str, Any]]:
        """The objects of one of the root's lists, `nodes`, `meshes` and so on; empty where there is none.

        Raises:
            InputError: it is no list of objects.
        """
        values = self.json.get(kind, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.wrong(f"{kind} is no list of objects: export it again")
        return values

    def index(self, value: Any, kind: str, where: str) -> int:
        """An index into one of the root's lists.

        Raises:
            InputError: it is none.
        """
        count = len(self.items(kind))
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
            raise self.wrong(f"{where} names {excerpt(value)} of {count} {kind}: export it again")
        return value

    def numbers(self, value: Any, count: int, where: str, default: tuple[float, ...] | None = None) -> Array:
        """`count` finite numbers of the JSON.

        Raises:
            InputError: other ones.
        """
        if value is None and default is not None:
            return np.array(default, np.float64)
        found = value if isinstance(value, list) else []
        good = len(found) == count and all(isinstance(v, (int, float)) for v in found)
        if not good or not all(abs(v) <= _MAX_ABSOLUTE for v in found):  # nan and infinity fail, too
            raise self.wrong(f"{where} must be {count} numbers, got {excerpt(value)}: export it again")
        return np.array(found, np.float64)

    def parents(self) -> list[int]:
        """Of each node its parent, -1 = none.

        Raises:
            InputError: nodes that hang on several others, or in a circle, or too many.
        """
        nodes = self.items("nodes")
        if len(nodes) > _MAX_NODES:
            raise self.wrong(f"has {len(nodes)} nodes, at most {_MAX_NODES} are read")
        out = [-1] * len(nodes)
        for number, node in enumerate(nodes):
            children = node.get("children", [])
            for child in children if isinstance(children, list) else []:
                child = self.index(child, "nodes", f"node {number}")
                if out[child] >= 0:
                    raise self.wrong(f"node {child} hangs on node {out[child]} and on node {number}: export it again")
                out[child] = number
        for number in range(len(nodes)):
            at, steps = number, 0
            while at >= 0:
                at, steps = out[at], steps + 1
                if steps > len(nodes):
                    raise self.wrong(f"node {number} hangs on itself: export it again")
        return out

    def local_matrix(self, number: int) -> Array:
        """(4, 4) of a node in its parent's frame.

        Raises:
            InputError: its transform is none.
        """
        node, where = self.items("nodes")[number], f"node {number}"
        if "matrix" in node:
            return self.numbers(node["matrix"], 16, f"{where}: matrix").reshape(4, 4).T
        out = np.eye(4)
        quaternion = self.numbers(node.get("rotation"), 4, f"{where}: rotation", (0.0, 0.0, 0.0, 1.0))
        if not np.linalg.norm(quaternion) > 1e-6:
            raise self.wrong(f"{where}: rotation has no length: export it again")
        scale = self.numbers(node.get("scale"), 3, f"{where}: scale", (1.0, 1.0, 1.0))
        out[:3, :3] = matrix_from_quaternion(quaternion) * scale
        out[:3, 3] = self.numbers(node.get("translation"), 3, f"{where}: translation", (0.0, 0.0, 0.0))
        return out

    def world_matrices(self, parents: list[int]) -> Array:
        """(N, 4, 4) of all nodes in the scene, at rest."""
        out = np.zeros((len(parents), 4, 4))
        done = [False] * len(parents)
        for number in range(len(parents)):
            line = [number]
            while parents[line[-1]] >= 0 and not done[parents[line[-1]]]:
                line.append(parents[line[-1]])
            for node in reversed(line):
                local = self.local_matrix(node)
                out[node] = local if parents[node] < 0 else out[parents[node]] @ local
                done[node] = True
        if not (np.abs(out) <= _MAX_ABSOLUTE).all():
            raise self.wrong("has nodes farther away than a thousand kilometres: export it again")
        return out

    def _view(self, number: Any, offset: int, size: int, where: str) -> bytes:
        view = self.items("bufferViews")[self.index(number, "bufferViews", where)]
        start, length = view.get("byteOffset", 0), view.get("byteLength", 0)
        if not all(isinstance(v, int) and v >= 0 for v in (start, length, offset)) or offset + size > length:
            raise self.wrong(f"{where} lies outside of its buffer view: export it again")
        data = self.binary[start + offset : start + offset + size]
        if len(data) != size or view.get("buffer", 0) != 0:
            raise self.wrong(f"{where} lies outside of the file's data: it is cut off or damaged, export it again")
        return data

    def array(self, number: Any, where: str, width: int) -> Array:
        """(N, width) numbers of an accessor: float32 where it holds them or normalised integers, else integers.

        Raises:
            InputError: there is no such accessor, it is of another shape, or lies outside of the data.
        """
        accessor = self.items("accessors")[self.index(number, "accessors", where)]
        kind, count = accessor.get("componentType"), accessor.get("count")
        dtype = _COMPONENTS.get(kind) if isinstance(kind, int) else None
        columns = _WIDTHS.get(str(accessor.get("type")))
        if dtype is None or columns != width or not isinstance(count, int) or not 0 < count <= _MAX_NUMBERS // width:
            raise self.wrong(
                f"{where} must be an array of {width} numbers each, got {excerpt(count)} times "
                f"{excerpt(accessor.get('type'))} of type {excerpt(kind)}"
            )
        if "bufferView" in accessor:
            values = self._strided(accessor, np.dtype(dtype), count, width, where)
        else:
            values = np.zeros((count, width), dtype)
        sparse = accessor.get("sparse")
        if isinstance(sparse, dict):
            self._scatter(sparse, values, where)
        if accessor.get("normalized") is True and values.dtype.kind in "iu":
            return np.maximum(values / np.float32(np.iinfo(values.dtype).max), np.float32(-1.0)).astype(np.float32)
        return values

    def _strided(self, accessor: dict[str, Any], dtype: np.dtype[Any], count: int, width: int, where: str) -> Array:
        row = dtype.itemsize * width
        view = self.items("bufferViews")[self.index(accessor.get("bufferView"), "bufferViews", where)]
        stride, offset = view.get("byteStride", row), accessor.get("byteOffset", 0)
        if not (isinstance(stride, int) and row <= stride <= 65536 and isinstance(offset, int) and offset >= 0):
            raise self.wrong(f"{where} has a stride of {excerpt(stride)} bytes: export it again")
        data = self._view(accessor.get("bufferView"), offset, (count - 1) * stride + row, where)
        rows = np.ndarray((count, width), dtype, data, strides=(stride, dtype.itemsize))
        return np.array(rows, dtype.newbyteorder("="))

    def _scatter(self, sparse: dict[str, Any], values: Array, where: str) -> None:
        """Put the few values of a sparse accessor over those that are there (glTF 2.0, sec. 3.6.2.3)."""
        count, indices, content = (sparse.get(name) for name in ("count", "indices", "values"))
        if not (isinstance(count, int) and 0 < count <= len(values)) or not (
            isinstance(indices, dict) and isinstance(content, dict)
        ):
            raise self.wrong(f"{where}: its sparse values cannot be read: export it again")
        kind = indices.get("componentType")
        dtype = _COMPONENTS.get(kind) if kind in (5121, 5123, 5125) else None
        if dtype is None:
            raise self.wrong(f"{where}: its sparse indices have the type {excerpt(kind)}: export it again")
        at = self._strided(indices, np.dtype(dtype), count, 1, where)[:, 0].astype(np.int64)
        if int(at.max()) >= len(values):
            raise self.wrong(f"{where}: its sparse values name row {int(at.max())} of {len(values)}: export it again")
        values[at] = self._strided(content, values.dtype, count, values.shape[1], where)

    def picture(self, number: Any, where: str) -> Array:
        """(H, W, 4) uint8 sRGB and alpha of an image, 512 pixels on the longer side at most.

        Raises:
            InputError: it is no PNG or JPEG within the file, is larger than 67 megapixels, or damaged.
        """
        image = self.items("images")[self.index(number, "images", where)]
        if "bufferView" not in image:
            raise self.wrong(f"{where} is a picture in another file")
        view = self.items("bufferViews")[self.index(image["bufferView"], "bufferViews", where)]
        length = view.get("byteLength", 0)
        data = self._view(image["bufferView"], 0, length if isinstance(length, int) and length > 0 else 1, where)
        size = _picture_size(data)
        if size is None or not 0 < size[0] * size[1] <= _MAX_PIXELS:
            raise self.wrong(f"{where} is no PNG or JPEG of at most {_MAX_PIXELS >> 20} megapixels")
        try:
            found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise self.wrong(f"{where} is a damaged picture") from error
        if found is None or found.dtype not in (np.uint8, np.uint16):
            raise self.wrong(f"{where} is a damaged picture, or one with other than 8 or 16 bits")
        if found.dtype == np.uint16:
            found = np.right_shift(found, 8).astype(np.uint8)
        channels = found.shape[2] if found.ndim == 3 else 1
        codes = {1: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA, 4: cv2.COLOR_BGRA2RGBA}
        if channels not in codes:
            raise self.wrong(f"{where} is a picture of {channels} channels")
        rgba = cv2.cvtColor(found, codes[channels])
        shrink = _PICTURE_PX / max(rgba.shape[:2])
        if shrink < 1.0:
            wanted = (max(1, math.ceil(rgba.shape[1] * shrink)), max(1, math.ceil(rgba.shape[0] * shrink)))
            rgba = cv2.resize(rgba, wanted, interpolation=cv2.INTER_AREA)
        return rgba


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height as a PNG's or JPEG's header has them, before memory is taken for the pixels."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length
    return None
