"""Which pieces of a captured surface are sent again: the most changed first, as fast as a client's budget allows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.skinning import influences
from bodystream.sinks.stream.pieces import cut, trimmed
from bodystream.types import Array, SkinnedMesh
from bodystream.wire.meshes import Piece

__all__ = ["Renewal"]

_GRAIN_M = 0.008
"""What vertices are rounded to before it is asked which have changed: a voxel, so that noise is no change."""
_LOCAL_BITS = 5
"""Of a grain's place within its cube of 32 grains a side, 26 cm, by which a surface is cut: a person's has some thirty
cubes."""
_CUBE_BITS = 16  # of the place of a cube along one axis
_CHANGED = 0.08
"""Of the vertices of a piece, the share that must be others before it is sent again."""
_WEIGHT_STEPS = 31
_FIRST_S = 2.0
"""What may be sent at once of a surface that begins, in seconds of the rate."""
_BURST_S = 0.6
"""The same of one that is known: what was left over while little changed, or nobody watched, is not made up for. All
pieces packed anew at once would hold up the capture, and fill connections."""


@dataclass(slots=True)
class _Known:
    """A piece as it was last sent: its number, its vertices by grain, and when."""

    number: int
    grains: Array
    t_ns: int


class Renewal:
    """Looks at a surface again and again, and says what of it has to be sent; of one skin, on one thread.

    Args:
        bytes_per_s: that may be sent, motions included.
        now_ns: time of the beginning.
    """

    def __init__(self, bytes_per_s: float, now_ns: int) -> None:
        self._bytes_per_s, self._last_ns = bytes_per_s, now_ns
        self._credit = bytes_per_s * _FIRST_S
        self._moved_bytes = 0
        self._known: dict[int, _Known] = {}
        self._pieces = itertools.count()
        self._free: list[int] = []  # numbers of pieces that are gone, so that those who keep all of them keep no more

    def look(
        self, skin: SkinnedMesh, t_ns: int, *, now_ns: int, moved_bytes: int, pack: Callable[[Piece], bytes]
    ) -> dict[int, bytes]:
        """Pieces to send again by number, as long as there is credit.

        Args:
            t_ns: of the frame. now_ns: time by which the rate is kept.
            moved_bytes: of all motions of this skin so far, which come first.
            pack: makes the message of a piece.
        """
        self._earn(now_ns, moved_bytes)
        mesh = skin.mesh
        out: dict[int, bytes] = {}
        first = mesh.faces[:, 0]
        keys = _keys(mesh.vertices)
        cube_of_face = keys[first] >> 3 * _LOCAL_BITS
        shown = np.zeros(len(keys), bool)
        shown[first] = True
        now = _by_cube(np.sort(keys[shown]))
        for cube in [cube for cube in self._known if cube not in now]:
            gone = self._known.pop(cube)
            self._free.append(gone.number)
            out[gone.number] = self._paid(pack(_nothing(gone.number)))
        wanted = self._wanted(now, t_ns)
        if not wanted or self._credit <= 0:
            return out
        normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
        for cube in wanted:
            if self._credit <= 0:
                break
            known = self._known.get(cube)
            number = known.number if known is not None else self._free.pop() if self._free else next(self._pieces)
            out[number] = self._paid(pack(_part(skin, normals, mesh.faces[cube_of_face == cube], number)))
            self._known[cube] = _Known(number, now[cube], t_ns)
        return out

    def _wanted(self, now: dict[int, Array], t_ns: int) -> list[int]:
        """Cubes that have changed, the one first that has changed most and is oldest."""
        shared = _shared({cube: known.grains for cube, known in self._known.items()}, now)
        found = []
        for cube, grains in now.items():
            known = self._known.get(cube)
            if known is None:
                found.append((np.inf, cube))
                continue
            changed = 1.0 - shared[cube] / max(1, len(known.grains) + len(grains) - shared[cube])
            if changed > _CHANGED:
                found.append((changed * (1.0 + (t_ns - known.t_ns) * 1e-9), cube))
        return [cube for _, cube in sorted(found, key=lambda one: -one[0])]

    def _earn(self, now_ns: int, moved_bytes: int) -> None:
        earned = max(0, now_ns - self._last_ns) * 1e-9 * self._bytes_per_s
        left = self._credit - (moved_bytes - self._moved_bytes)
        # Motions of a long time are paid from all that was earned in it: the bound is of what is left of both.
        self._credit = max(left, min(self._bytes_per_s * _BURST_S, left + earned))
        self._last_ns, self._moved_bytes = now_ns, moved_bytes

    def _paid(self, data: bytes) -> bytes:
        self._credit -= len(data)
        return data


def _keys(points: Array) -> Array:
    """(N,) int64: of each point its grain, the cube that it is in first: to sort them is to group them."""
    key = np.zeros(len(points), np.int64)
    grains = np.floor(points.T * np.float32(1.0 / _GRAIN_M)).astype(np.int64)
    for grain in grains:
        key = key << _CUBE_BITS | (grain >> _LOCAL_BITS & (1 << _CUBE_BITS) - 1)
    for grain in grains:
        key = key << _LOCAL_BITS | (grain & (1 << _LOCAL_BITS) - 1)
    return key


def _by_cube(keys: Array) -> dict[int, Array]:
    """Of sorted grains those of each cube, each once; cubes are sorted, too."""
    if not len(keys):
        return {}
    grains = keys[np.concatenate(([True], keys[1:] != keys[:-1]))]
    cubes = grains >> 3 * _LOCAL_BITS
    starts = np.flatnonzero(np.concatenate(([True], cubes[1:] != cubes[:-1])))
    return dict(zip(cubes[starts].tolist(), np.split(grains, starts[1:]), strict=True))


def _shared(before: dict[int, Array], now: dict[int, Array]) -> dict[int, int]:
    """How many grains of each cube are in both; cubes of `now` are sorted."""
    if not before or not now:
        return dict.fromkeys(now, 0)
    known = np.concatenate([before[cube] for cube in sorted(before)])
    grains = np.concatenate(list(now.values()))
    same = known[np.minimum(np.searchsorted(known, grains), len(known) - 1)] == grains
    starts = np.cumsum([0, *map(len, now.values())][:-1])
    return dict(zip(now, np.add.reduceat(same.astype(np.int64), starts).tolist(), strict=True))


def _part(skin: SkinnedMesh, normals: Array, faces: Array, number: int) -> Piece:
    """These faces as a piece; what moves vertices is asked of those alone that it has."""
    mesh = skin.mesh
    used, corners = trimmed(faces, len(mesh.vertices))
    bones, weights, _ = influences(skin, used)
    colours = None if mesh.colours is None else mesh.colours[used]
    piece = Piece(
        number, mesh.vertices[used], corners, normals[used], colours, bones.astype(np.int32), _coarse(weights)
    )
    # One part: a cube of a graph's surface is far smaller than what a message holds.
    return next(cut(piece))


def _nothing(number: int) -> Piece:
    none = np.zeros((0, 3), np.float32)
    return Piece(number, none, np.zeros((0, 3), np.int32), none, None, np.zeros((0, 4), np.int32), np.zeros((0, 4)))


def _coarse(weights: Array) -> Array:
    """Weights in a few steps: between nodes that are centimetres apart nobody sees it, and it packs better."""
    steps = np.round(weights * _WEIGHT_STEPS)
    total = steps.sum(axis=1, keepdims=True)
    return np.where(total > 0, steps / np.maximum(total, 1), weights)
