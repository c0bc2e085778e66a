"""From patterns to cloth about a body, and from simulated cloth to the surface that is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.spatial import KDTree

from bodystream.types import Array
from bodystream_training.avatar.data.garments.cloth import ClothPiece
from bodystream_training.avatar.data.garments.panels import SewnCloth, sew
from bodystream_training.avatar.data.garments.patterns import Garment, Outfit
from bodystream_training.avatar.data.garments.wearer import Measures, Wearer
from bodystream_training.avatar.data.surface import QuerySurface

__all__ = ["ClothedSurface", "Dressed", "loop_subdivision", "pushed_out"]

_ROUND = 0.8  # how round cloth is blown up at first
_AROUND_M = 0.06
_SMOOTHINGS = 10
_SKIN_GAP_M = 0.004
"""No vertex of cloth is nearer to the skin."""
_LAYER_GAP_M = 0.003
_LAYER_REACH_M = 0.04
_PUSHES = 3


@dataclass(frozen=True, slots=True)
class ClothedSurface:
    """Body and clothes in one pose.

    Attributes:
        vertices: (V, 3) float32, those of the body first [m].
        deepest_m: of cloth below the skin, at vertices and middles of faces, before and after it was pushed out.
    """

    vertices: Array
    deepest_m: tuple[float, float]


class Dressed:
    """A wearer and their clothes.

    Attributes:
        pieces: as they are put on, about the canonical pose, for the solver.
        faces: (F, 3) int32 of the whole surface, those of the body first; clothes are subdivided once.
        colours: (V, 3) uint8.
        garment: (V,) bool, of clothes.
    """

    def __init__(self, wearer: Wearer, outfit: Outfit) -> None:
        self.wearer = wearer
        measures = wearer.measures
        self.pieces: list[ClothPiece] = []
        self._finer: list[csr_array] = []
        self._faces: list[Array] = []
        faces, colours, count = [wearer.faces], [wearer.colours], len(wearer.colours)
        for garment in outfit.garments:
            cloth = sew(garment.panels(measures), garment.spacing_m * measures.scale)
            pinned = garment.pinned(measures, cloth.flat) if garment.pinned else np.zeros(len(cloth.flat), bool)
            put_on = _put_on(cloth, measures)
            piece = ClothPiece(cloth.flat, cloth.faces, put_on, garment.thickness_m, garment.bend_n_m, pinned)
            self.pieces.append(piece)
            finer, fine_faces = loop_subdivision(cloth.faces, len(cloth.flat))
            self._finer.append(finer)
            self._faces.append(fine_faces)
            faces.append(fine_faces + count)
            fine_flat = np.asarray(finer @ cloth.flat)
            colours.append(_coloured(garment, fine_flat))
            count += len(fine_flat)
        self.faces = np.concatenate(faces).astype(np.int32)
        self.colours = np.concatenate(colours)
        self.garment = np.arange(count) >= len(wearer.colours)

    def surface(self, body: Array, pieces: Sequence[Array]) -> ClothedSurface:
        """Body (B, 3) and simulated pieces as one surface: smoother cloth that is outside the skin and inner layers."""
        skin = QuerySurface(body, self.wearer.faces)
        done: list[Array] = []
        before = after = 0.0
        layers: list[QuerySurface] = []
        for simulated, finer, faces in zip(pieces, self._finer, self._faces, strict=True):
            fine = np.asarray(finer @ simulated.astype(np.float64))
            before = max(before, _deepest(skin, fine, faces))
            for layer in layers:
                fine = pushed_out(layer, fine, faces, _LAYER_GAP_M, _LAYER_REACH_M)
            fine = pushed_out(skin, fine, faces, _SKIN_GAP_M)
            after = max(after, _deepest(skin, fine, faces))
            layers.append(QuerySurface(fine, faces))
            done.append(fine)
        return ClothedSurface(np.concatenate([body, *done]).astype(np.float32), (before, after))

    def skin_weights(self, surface: Array) -> Array:
        """(V, 24) float32: the body's weights, and for clothes those of the nearest skin in the canonical pose.

        Args:
            surface: (V, 3) the whole surface in the canonical pose [m].
        """
        own = self.wearer.skin_weights
        skin = QuerySurface(surface[: len(own)], self.wearer.faces)
        carried = skin.nearest(surface[len(own) :]).interpolated(self.wearer.faces, own)
        whole = np.concatenate([own, carried])
        return (whole / whole.sum(axis=1, keepdims=True)).astype(np.float32)


def _put_on(cloth: SewnCloth, measures: Measures) -> Array:
    """(V, 3): pieces blown up about the middle of the body's depth."""
    tree = KDTree(measures.surface[:, :2])
    middle = np.empty(len(cloth.flat))
    for number, near in enumerate(tree.query_ball_point(cloth.flat, _AROUND_M * measures.scale)):
        chosen = near if near else [int(tree.query(cloth.flat[number])[1])]
        depth = measures.surface[chosen, 2]
        middle[number] = 0.5 * (depth.min() + depth.max())
    smooth = _mean_of_neighbours(cloth.faces, len(middle))
    for _ in range(_SMOOTHINGS):
        middle = smooth @ middle
    return np.column_stack([cloth.flat, middle + cloth.side * _ROUND * cloth.bulge])


def _edges(faces: Array) -> tuple[Array, Array]:
    """(E, 2) edges, each once, and (F, 3) which of them each face has: from corner k to the next."""
    ends = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, inverse = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)
    return edges, inverse.reshape(-1, 3)


def _mean_of_neighbours(faces: Array, count: int) -> csr_array:
    edges, _ = _edges(faces)
    both = np.concatenate([edges, edges[:, ::-1]])
    near = coo_array((np.ones(len(both)), both.T), shape=(count, count)).tocsr()
    degree = np.maximum(np.asarray(near.sum(axis=1)).ravel(), 1.0)
    return csr_array(near.multiply(1.0 / degree[:, None]))


def loop_subdivision(faces: Array, count: int) -> tuple[csr_array, Array]:
    """Loop's scheme (1987) once, with cubic curves on open edges.

    Returns:
        The matrix from V vertices to V + E, and (4 F, 3) faces.
    """
    edges, of_face = _edges(faces)
    uses = np.bincount(of_face.ravel(), minlength=len(edges))
    rim = uses == 1
    opposite = np.roll(faces, 1, axis=1)  # of the edge from corner k to k + 1 it is the third one
    rows: list[Array] = []
    columns: list[Array] = []
    values: list[Array] = []

    def add(row: Array, column: Array, value: Array | float) -> None:
        rows.append(row)
        columns.append(column)
        values.append(np.broadcast_to(np.asarray(value, np.float64), row.shape))

    number = count + np.arange(len(edges))
    for end in range(2):
        add(number, edges[:, end], np.where(rim, 0.5, 0.375))
    inner = ~rim[of_face]
    add(count + of_face[inner], opposite[inner], 0.125)
    at_rim = np.zeros(count, bool)
    at_rim[edges[rim]] = True
    degree = np.bincount(edges.ravel(), minlength=count)
    n = np.maximum(degree, 3)
    beta = (0.625 - (0.375 + 0.25 * np.cos(2 * np.pi / n)) ** 2) / n
    own = np.where(at_rim, 0.75, 1.0 - degree * beta)
    add(np.arange(count), np.arange(count), own)
    for a, b in ((0, 1), (1, 0)):
        start, end = edges[:, a], edges[:, b]
        free = ~at_rim[start]
        add(start[free], end[free], beta[start[free]])
        add(start[rim], end[rim], 0.125)
    shape = (count + len(edges), count)
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    middle = count + of_face
    fine = [np.column_stack([faces[:, k], middle[:, k], middle[:, k - 1]]) for k in range(3)]
    return coo_array(entries, shape=shape).tocsr(), np.concatenate([*fine, middle]).astype(np.int32)


def _outside(surface: QuerySurface, points: Array) -> tuple[Array, Array]:
    """(N,) distances from a surface, negative inside [m], and (N, 3) directions that lead out."""
    near = surface.nearest(points)
    away = points - near.points.astype(np.float64)
    distance = np.linalg.norm(away, axis=1)
    sign = np.where(near.inside, -1.0, 1.0)
    out = sign[:, None] * away / np.maximum(distance, 1e-9)[:, None]
    return sign * distance, out


def _deepest(skin: QuerySurface, vertices: Array, faces: Array) -> float:
    distance, _ = _outside(skin, np.concatenate([vertices, vertices[faces].mean(axis=1)]))
    return float(max(0.0, -distance.min()))


def pushed_out(surface: QuerySurface, vertices: Array, faces: Array, gap_m: float, reach_m: float = np.inf) -> Array:
    """(V, 3) vertices at least `gap_m` outside a surface; what is deeper inside than `reach_m` stays.

    Neighbours are moved along, so that no spikes arise.
    """
    smooth = _mean_of_neighbours(faces, len(vertices))
    vertices = vertices.copy()
    for number in range(_PUSHES):
        distance, out = _outside(surface, np.concatenate([vertices, vertices[faces].mean(axis=1)]))
        lacking = np.where((distance < gap_m) & (distance > -reach_m), gap_m - distance, 0.0)
        if not lacking.any():
            break
        own, of_face = lacking[: len(vertices)], lacking[len(vertices) :]
        if number == _PUSHES - 1:  # the last one is of single vertices, each as far as it needs
            vertices += own[:, None] * out[: len(vertices)]
            break
        for corner in range(3):  # what the middle of a face lacks, its corners do
            np.maximum.at(own, faces[:, corner], of_face)
        move = own[:, None] * out[: len(vertices)]
        vertices += np.where((own > 0.0)[:, None], move, 0.5 * (smooth @ move))
    return vertices


def _coloured(garment: Garment, flat: Array) -> Array:
    """(V, 3) uint8 of a garment by its pattern, from (V, 2) places in the flat pieces."""
    x, y = flat.T
    plain = np.zeros(len(flat), bool)
    second = {
        "plain": plain,
        "stripes": np.mod(y, 0.12) < 0.04,
        "dots": np.hypot(np.mod(x, 0.12) - 0.06, np.mod(y, 0.12) - 0.06) < 0.028,
        "checks": (np.mod(x, 0.16) < 0.08) ^ (np.mod(y, 0.16) < 0.08),
    }[garment.pattern]
    return np.where(second[:, None], *(np.array(c, np.uint8) for c in garment.colours[::-1]))
