"""Things that deform: cloth, pillows, balls, tubes and flying shapes, as grids of vertices at two moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.types import Array

__all__ = ["Folds", "Surface", "box", "closed_shape", "flying_shape", "grid_faces", "plane", "sheet", "surface_of_grid"]


@dataclass(frozen=True, slots=True)
class Surface:
    """A part of a scene at two moments; the texture is looked up at `rest_m`.

    Attributes:
        faces: (F, 3) int32, counter-clockwise seen from outside.
        rest_m, source_m, target_m: (V, 3) float32 [m], the last two in the camera's frame.
        source_normals, target_normals: (V, 3) float32, unit.
        material: its number in the scene.
    """

    faces: Array
    rest_m: Array
    source_m: Array
    target_m: Array
    source_normals: Array
    target_normals: Array
    material: int


class Folds:
    """A smooth random displacement of points: a sum of waves whose phases move on.

    Args:
        size_m: of what is displaced. strength: slope of the waves, at most about 0.5. change_rad: how far the phases
            of the target differ from those of the source, as a standard deviation.
    """

    def __init__(
        self, rng: np.random.Generator, size_m: float, strength: float, change_rad: float, waves: int = 6
    ) -> None:
        length_m = size_m * np.exp(rng.uniform(np.log(0.35), np.log(2.0), waves))
        directions = rng.standard_normal((waves, 3))
        self._wave = directions / np.linalg.norm(directions, axis=1, keepdims=True) * (2 * np.pi / length_m)[:, None]
        self._amplitude = rng.standard_normal((waves, 3)) * (strength * length_m / (2 * np.pi))[:, None]
        phase = rng.uniform(0.0, 2 * np.pi, waves)
        self._phases = phase, phase + rng.normal(0.0, change_rad, waves)

    def __call__(self, points: Array, moment: int) -> Array:
        """(V, 3) displaced; `moment` is 0 for the source and 1 for the target."""
        return points + np.sin(points @ self._wave.T + self._phases[moment]) @ self._amplitude


@cache
def grid_faces(rows: int, columns: int, closed: bool) -> Array:
    """(F, 3) int32 of a grid of vertices, row after row; `closed` joins the last column to the first."""
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = a + columns, b + columns
    return np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], 2).reshape(-1, 3).astype(np.int32)


def surface_of_grid(
    rest_m: Array, source_m: Array, target_m: Array, material: int, *, closed: bool = False, both_sides: bool = False
) -> Surface:
    """A surface of (rows, columns, 3) vertices, whose outside is along d/dcolumn x d/drow."""
    rows, columns = rest_m.shape[:2]
    faces = grid_faces(rows, columns, closed)
    normals = [_grid_normals(points, closed).reshape(-1, 3) for points in (source_m, target_m)]
    points = [values.reshape(-1, 3) for values in (rest_m, source_m, target_m)]
    if both_sides:
        faces = np.concatenate([faces, faces[:, ::-1] + rows * columns])
        points = [np.concatenate([values, values]) for values in points]
        normals = [np.concatenate([values, -values]) for values in normals]
    rest, source, target, source_normals, target_normals = (
        np.ascontiguousarray(values, np.float32) for values in (*points, *normals)
    )
    return Surface(faces, rest, source, target, source_normals, target_normals, material)


def _grid_normals(points: Array, closed: bool) -> Array:
    along, down = np.empty_like(points), np.empty_like(points)
    along[:, 1:-1] = points[:, 2:] - points[:, :-2]
    before, after = (-1, 1) if closed else (0, 1)
    along[:, 0] = points[:, after] - points[:, before]
    before, after = (-2, 0) if closed else (-2, -1)
    along[:, -1] = points[:, after] - points[:, before]
    down[1:-1] = points[2:] - points[:-2]
    down[0], down[-1] = points[1] - points[0], points[-1] - points[-2]
    (ax, ay, az), (bx, by, bz) = np.moveaxis(along, -1, 0), np.moveaxis(down, -1, 0)
    normals = np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], -1)
    return normals / np.maximum(np.sqrt((normals * normals).sum(axis=-1, keepdims=True)), 1e-12)


Move = Callable[[Array, int], Array]
"""Takes points of a thing to the camera's frame: (V, 3) and the moment, 0 or 1."""


def sheet(rng: np.random.Generator, size_m: float, change_rad: float, move: Move, material: int, cells: int) -> Surface:
    """Cloth of about `size_m`, seen from both sides: folded, bent about an axis, and moved."""
    cut_out = bool(rng.uniform() < 0.5)
    if cut_out:
        flat = _outlined(rng, size_m, cells // 2, 2 * cells)
    else:
        height = size_m * rng.uniform(0.6, 1.2)
        v, u = np.meshgrid(
            np.linspace(-0.5, 0.5, cells) * height, np.linspace(-0.5, 0.5, cells) * size_m, indexing="ij"
        )
        flat = np.stack([u, v, np.zeros_like(u)], -1)
    folds = Folds(rng, size_m, rng.uniform(0.05, 0.5), change_rad, waves=9)
    bend = rng.normal(0.0, 1.2), rng.normal(0.0, 0.35 * change_rad)
    turn = Rotation.from_euler("z", rng.uniform(0, np.pi)).as_matrix()
    posed = []
    for moment in (0, 1):
        p = folds(flat.reshape(-1, 3), moment)
        p = _bent(p @ turn, (bend[0] + moment * bend[1]) / size_m) @ turn.T
        posed.append(move(p, moment).reshape(flat.shape))
    return surface_of_grid(flat, posed[0], posed[1], material, closed=cut_out, both_sides=True)


def closed_shape(
    rng: np.random.Generator, size_m: float, change_rad: float, move: Move, material: int, cells: int
) -> Surface:
    """A ball, pillow, bag or tube of about `size_m`, squeezed, bent and moved."""
    kind = rng.choice(["ball", "pillow", "tube"])
    v, u = np.meshgrid(np.linspace(0.0, np.pi, cells), np.linspace(0, 2 * np.pi, 2 * cells, False), indexing="ij")
    power = {"ball": 1.0, "pillow": rng.uniform(0.35, 0.9), "tube": 0.5}[kind]
    radii = (
        0.5
        * size_m
        * {
            "ball": np.ones(3),
            "pillow": np.array([1.0, rng.uniform(0.6, 1.3), rng.uniform(0.25, 0.6)]),
            "tube": np.array([rng.uniform(0.12, 0.3), 1.3, rng.uniform(0.12, 0.3)]),
        }[kind]
    )
    shape = np.stack([_power(np.sin(v), power) * _power(np.cos(u), power), _power(-np.cos(v), power),
                      -_power(np.sin(v), power) * _power(np.sin(u), power)], -1) * radii  # fmt: skip
    strength = rng.uniform(0.02, 0.12) if kind == "ball" else rng.uniform(0.08, 0.3)
    folds = Folds(rng, size_m, strength, change_rad)
    most = {"ball": 0.0, "pillow": 0.8, "tube": 2.0}[kind]
    bend = most * rng.normal(), most * 0.4 * change_rad * rng.normal()
    posed = []
    for moment in (0, 1):
        p = _bent(folds(shape.reshape(-1, 3), moment)[:, [1, 0, 2]], (bend[0] + moment * bend[1]) / size_m)[
            :, [1, 0, 2]
        ]
        posed.append(move(p, moment).reshape(shape.shape))
    return surface_of_grid(shape, posed[0], posed[1], material, closed=True)


def flying_shape(rng: np.random.Generator, size_m: float, move: Move, material: int) -> Surface:
    """A flat piece with a random outline that faces the camera before it is moved."""
    flat = _outlined(rng, size_m, 6, 48)
    posed = [move(flat.reshape(-1, 3), moment).reshape(flat.shape) for moment in (0, 1)]
    return surface_of_grid(flat, posed[0], posed[1], material, closed=True)


def plane(corner: Array, across: Array, down: Array, move: Move, material: int, cells: int = 12) -> Surface:
    """A rectangle from `corner` [m], that is seen from where `across` points right and `down` points down."""
    s, t = np.meshgrid(np.linspace(0, 1, cells), np.linspace(0, 1, cells), indexing="ij")
    rest = corner + s[..., None] * across + t[..., None] * down
    posed = [move(rest.reshape(-1, 3), moment).reshape(rest.shape) for moment in (0, 1)]
    return surface_of_grid(rest, posed[0], posed[1], material)


def box(centre: Array, half_m: Array, turn: Array, move: Move, material: int) -> Surface:
    """The six sides of a box."""
    rest = (_unit_box() * half_m) @ turn.T + centre
    posed = [move(rest.reshape(-1, 3), moment).reshape(rest.shape) for moment in (0, 1)]
    normals = []
    for sides in posed:
        normal = np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0])
        normals.append(np.repeat(normal / np.linalg.norm(normal, axis=1, keepdims=True), 4, axis=0))
    faces = (np.array([[0, 1, 2], [1, 3, 2]]) + 4 * np.arange(6)[:, None, None]).reshape(-1, 3).astype(np.int32)
    points = (np.ascontiguousarray(values.reshape(-1, 3), np.float32) for values in (rest, *posed, *normals))
    rest_m, source_m, target_m, source_normals, target_normals = points
    return Surface(faces, rest_m, source_m, target_m, source_normals, target_normals, material)


@cache
def _unit_box() -> Array:
    """(6, 4, 3): of each side a corner, the next ones along two edges whose cross product points out, and the last."""
    sides = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            normal, first = np.zeros(3), np.zeros(3)
            normal[axis], first[(axis + 1) % 3] = sign, 1.0
            second = np.cross(normal, first)
            corner = normal - first - second
            sides.append([corner, corner + 2 * first, corner + 2 * second, corner + 2 * first + 2 * second])
    return np.array(sides)


def _outlined(rng: np.random.Generator, size_m: float, rows: int, columns: int) -> Array:
    """(rows, columns, 3): a flat piece with a random outline, from its middle outwards."""
    angle = np.linspace(0, 2 * np.pi, columns, False)
    outline = np.ones(columns)
    for k in (2, 3, 4, 5):
        outline += rng.normal(0.0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    radius = 0.5 * size_m * np.clip(outline, 0.25, 2.0) * np.linspace(0.002, 1.0, rows)[:, None]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros_like(radius)], -1)


def _power(values: Array, exponent: float) -> Array:
    return np.sign(values) * np.abs(values) ** exponent


def _bent(points: Array, curvature: float) -> Array:
    """Points bent about the y axis: a line along x becomes an arc of that curvature [1 / m]."""
    if abs(curvature) < 1e-6:
        return points
    x, y, z = points.T
    radius = 1.0 / curvature - z
    angle = x * curvature
    return np.stack([radius * np.sin(angle), y, 1.0 / curvature - radius * np.cos(angle)], -1)
