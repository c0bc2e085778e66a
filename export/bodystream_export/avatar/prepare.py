"""What the runtime needs of an avatar beside graphs: its surface, colours, weights, and how fine tables have to be."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from bodystream.avatar.clothed.body import PLANES, Grid
from bodystream.avatar.heading import bones_in_heading
from bodystream.avatar.take.frames import AvatarTake
from bodystream.types import Array
from bodystream_export.avatar.graphs import TablePlaces
from bodystream_training.avatar.data.sampling import QuerySurface
from bodystream_training.avatar.model import CouplingLayer, Ins, Pin

__all__ = [
    "Ways",
    "carried_colours",
    "along_a_curve",
    "asked_nodes",
    "grid_of",
    "heading_bones",
    "listed_nodes",
    "table_places",
    "ways_through",
]

_COLOUR_FRAMES = 6
_MARGIN_M = 0.03
"""How far beyond the training's poses tables reach."""


@dataclass(frozen=True)
class Ways:
    """Where vertices go while a PIN is undone, over many poses.

    Attributes:
        low_m, high_m: (3,) of all coordinates.
        seen: by plane, (looks, V, 2) of the coordinates that layers looked at.
        ends: (poses, V, 3) where they come out.
        longest_m: (V,) how far any coordinate of a vertex was from that of its origin.
    """

    low_m: Array
    high_m: Array
    seen: dict[tuple[int, int], Array]
    ends: Array
    longest_m: Array


def heading_bones(posed_from_canonical: Array) -> Tensor:
    """(B, 4, 4) bones, in the frame of their heading."""
    return torch.from_numpy(bones_in_heading(posed_from_canonical.astype(np.float64))[0].astype(np.float32))


@torch.no_grad()
def ways_through(
    model: Ins, pin: Pin, starts: list[Tensor], bones: list[Tensor], origins: list[Tensor] | None = None
) -> Ways:
    """Undo a PIN in each pose, and keep where vertices were on the way; origins are the starts unless given."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    seen: dict[tuple[int, int], list[Array]] = {plane: [] for plane in PLANES}
    ends, longest = [], torch.zeros(len(starts[0]))
    for points, pose, origin in zip(starts, bones, starts if origins is None else origins, strict=True):
        e_pose = model.embed(pose[None]).expand(len(points), -1)
        for layer in reversed(pin.layers):
            assert isinstance(layer, CouplingLayer)
            low, high = np.minimum(low, points.numpy().min(0)), np.maximum(high, points.numpy().max(0))
            if len(layer.seen) == 2:
                seen[layer.seen].append(points[:, list(layer.seen)].numpy())
            longest = torch.maximum(longest, (points - origin).abs().amax(1))
            points = layer.inverse(points, e_pose)
        low, high = np.minimum(low, points.numpy().min(0)), np.maximum(high, points.numpy().max(0))
        longest = torch.maximum(longest, (points - origin).abs().amax(1))
        ends.append(points.numpy())
    places = {plane: np.stack(parts) for plane, parts in seen.items()}
    return Ways(low, high, places, np.stack(ends), longest.numpy())


def along_a_curve(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """The same surface with vertices that lie side by side near each other in memory, too (Morton's order)."""
    cells = ((vertices - vertices.min(0)) / 0.01).astype(np.uint64)
    key = np.zeros(len(vertices), np.uint64)
    for bit in range(12):
        for axis in range(3):
            key |= ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    order = np.argsort(key, kind="stable")
    place = np.empty(len(order), np.int32)
    place[order] = np.arange(len(order))
    moved = place[faces]
    return vertices[order], moved[np.argsort(moved.min(1), kind="stable")]


def grid_of(
    low_m: Array, high_m: Array, line_step_m: float, plane_step_m: float, listed: tuple[int, int, int] = (0, 0, 0)
) -> Grid:
    """Nodes from a little before to a little beyond, at least the four that a look-up asks for."""
    low, high = low_m - _MARGIN_M, high_m + _MARGIN_M
    x, y, z = (int(np.ceil(extent / plane_step_m)) + 4 for extent in high - low)
    lines = int(np.ceil((high - low).max() / line_step_m)) + 4
    low = low - max(line_step_m, plane_step_m)
    return Grid((float(low[0]), float(low[1]), float(low[2])), line_step_m, plane_step_m, lines, (x, y, z), listed)


def listed_nodes(ways: Ways, controls: Array, grid: Grid) -> list[Array]:
    """Numbers of the nodes of each plane that are looked up where controls come by, or near there."""
    reach_m = np.full(1, _MARGIN_M)
    return [_nodes_about(ways.seen[a, b][:, controls].reshape(-1, 2), reach_m, grid, a, b) for a, b in PLANES]


def asked_nodes(points: Array, reach_m: Array, grid: Grid) -> tuple[int, int, int]:
    """How many nodes of each plane are looked up about (V, 3) points, up to (V,) from each, as `mark_nodes` counts."""
    xy, yz, xz = (len(_nodes_about(points[:, [a, b]], reach_m, grid, a, b)) for a, b in PLANES)
    return xy, yz, xz


def _nodes_about(places: Array, reach_m: Array, grid: Grid, a: int, b: int) -> Array:
    marks = np.zeros((grid.plane_nodes[a], grid.plane_nodes[b]), np.uint8)
    low, most = np.array(grid.low_m)[[a, b]], np.array(marks.shape) - 1
    first, last = (
        np.clip(((places + sign * reach_m[:, None] - low) / grid.plane_step_m).astype(int), 0, most)
        for sign in (-1.0, 1.0)
    )
    for i in range(int((last - first).max()) + 1):
        for j in range(int((last - first).max()) + 1):
            at = np.minimum(first + (i, j), last)
            marks[at[:, 0], at[:, 1]] = 1
    # a look-up behind a node asks for the one before it and two after it
    return np.flatnonzero(cv2.dilate(marks, np.ones((4, 4), np.uint8)))


def table_places(grid: Grid, nodes: list[Array] | None = None) -> TablePlaces:
    """Coordinates of nodes along lines and of the listed nodes of planes; None = of all."""
    low, planes = np.array(grid.low_m), []
    for plane, (a, b) in enumerate(PLANES):
        across = grid.plane_nodes[b]
        numbers = np.arange(grid.planes[plane]) if nodes is None else nodes[plane]
        places = low[[a, b]] + np.stack([numbers // across, numbers % across], 1) * grid.plane_step_m
        planes.append(torch.from_numpy(places.astype(np.float32)))
    steps = np.arange(grid.line_nodes) * grid.line_step_m
    x, y, z = (torch.from_numpy((low[axis] + steps).astype(np.float32)) for axis in range(3))
    return TablePlaces((x, y, z), (planes[0], planes[1], planes[2]))


@torch.no_grad()
def carried_colours(model: Ins, take: AvatarTake, canonical: Array) -> Array | None:
    """(V, 3) uint8 of the canonical surface: the median of what the nearest places of several scans have.

    None where the take has no colours.
    """
    frames = take.split("train")
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, min(_COLOUR_FRAMES, len(frames))).round().astype(int)]
    seen = []
    for frame in chosen:
        colours = take.colours_of(frame)
        if colours is None:
            return None
        bones, heading = bones_in_heading(frame.posed_from_canonical.astype(np.float64))
        posed = model.repose(torch.from_numpy(canonical), torch.from_numpy(bones.astype(np.float32))).numpy()
        world = posed @ heading[:3, :3].T + heading[:3, 3]
        faces = take.faces_of(frame)
        nearest = QuerySurface(frame.vertices, faces).nearest(world.astype(np.float32))
        seen.append(nearest.interpolated(faces, colours))
    return np.clip(np.round(np.median(seen, axis=0)), 0, 255).astype(np.uint8)
