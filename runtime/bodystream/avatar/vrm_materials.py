"""The colours of an avatar's triangles: the base colour of their material, its texture in their middle, vertex colours.

MToon, the shader of most VRM avatars, is told in an extension; the glTF material beside it holds the same base colour
and texture, for viewers that do not know it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bodystream.avatar.gltf_file import GltfFile
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["Materials"]

_CLEAR = 0.5
"""Triangles of blended materials with less opacity are left out: who shows the body shows it opaque."""


class Materials:
    """The materials of a file, each read once.

    Attributes:
        notes: lines for a person: pictures that could not be read.
    """

    def __init__(self, file: GltfFile) -> None:
        self._file = file
        self._pictures: dict[int, Array | None] = {}
        self.notes: list[str] = []

    def colours(
        self, primitive: dict[str, Any], attributes: dict[str, Any], faces: Array, count: int, name: str
    ) -> tuple[Array, Array]:
        """(F, 3) uint8 sRGB of each triangle, and (F,) bool, whether it is opaque.

        Args:
            faces: (F, 3) of `count` vertices.
            name: of the mesh, for messages.

        Raises:
            InputError: an index or array that cannot be.
        """
        file = self._file
        linear, opaque = np.ones((len(faces), 4)), np.ones(len(faces), bool)
        if "COLOR_0" in attributes:
            linear[:, :] = self._vertex_colours(attributes["COLOR_0"], count, name)[faces].mean(axis=1)
        if "material" not in primitive:
            return _srgb(linear[:, :3]), opaque
        material = file.items("materials")[file.index(primitive["material"], "materials", name)]
        surface = material.get("pbrMetallicRoughness")
        surface = surface if isinstance(surface, dict) else {}
        factor = file.numbers(surface.get("baseColorFactor"), 4, f"{name}: base colour", (1.0, 1.0, 1.0, 1.0))
        linear *= np.clip(factor, 0.0, 1.0)
        texture = surface.get("baseColorTexture")
        if isinstance(texture, dict):
            linear *= self._texture(texture, attributes, faces, count, name)
        mode = material.get("alphaMode", "OPAQUE")
        if mode in ("MASK", "BLEND"):
            cutoff = material.get("alphaCutoff", 0.5) if mode == "MASK" else _CLEAR
            opaque = linear[:, 3] >= (cutoff if isinstance(cutoff, (int, float)) else 0.5)
        return _srgb(linear[:, :3]), opaque

    def _vertex_colours(self, accessor: Any, count: int, name: str) -> Array:
        where = f"{name}: COLOR_0"
        try:
            found = self._file.array(accessor, where, 4)
        except InputError:
            found = self._file.array(accessor, where, 3)
        if len(found) != count or found.dtype != np.float32 or not np.isfinite(found).all():
            raise self._file.wrong(f"{where} must be a finite colour of each of {count} vertices: export it again")
        out = np.ones((count, 4))
        out[:, : found.shape[1]] = np.clip(found, 0.0, 1.0)
        return out

    def _texture(
        self, texture: dict[str, Any], attributes: dict[str, Any], faces: Array, count: int, name: str
    ) -> Array:  # fmt: skip
        """(F, 4) linear colour and alpha in the middle of each triangle; white where the picture cannot be read."""
        file, white = self._file, np.ones((len(faces), 4))
        channel = texture.get("texCoord", 0)
        if f"TEXCOORD_{channel}" not in attributes:
            return white
        coordinates = file.array(attributes[f"TEXCOORD_{channel}"], f"{name}: TEXCOORD_{channel}", 2)
        if len(coordinates) != count or not np.isfinite(coordinates).all():
            raise file.wrong(f"{name}: TEXCOORD_{channel} must be finite, two for each of {count} vertices")
        described = file.items("textures")[file.index(texture.get("index"), "textures", name)]
        if "source" not in described:
            return white
        picture = self._picture(file.index(described["source"], "images", name))
        if picture is None:
            return white
        middle = coordinates.astype(np.float64)[faces].mean(axis=1)
        middle -= np.floor(middle)  # textures repeat
        height, width = picture.shape[:2]
        pixels = picture[
            np.minimum((middle[:, 1] * height).astype(int), height - 1),
            np.minimum((middle[:, 0] * width).astype(int), width - 1),
        ]
        values = pixels / 255.0
        values[:, :3] = _linear(values[:, :3])
        return values

    def _picture(self, number: int) -> Array | None:
        if number not in self._pictures:
            try:
                self._pictures[number] = self._file.picture(number, f"picture {number}")
            except InputError as error:
                self._pictures[number] = None
                self.notes.append(f"{error}: what it covers is shown in its material's colour alone")
        return self._pictures[number]


def _linear(srgb: Array) -> Array:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _srgb(linear: Array) -> Array:
    """(N, 3) linear 0 to 1 to uint8 sRGB."""
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1.0 / 2.4) - 0.055)
    return np.clip(np.round(255.0 * value), 0, 255).astype(np.uint8)
