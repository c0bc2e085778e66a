"""What the runtime needs of an avatar beside graphs: its surface, colours, weights, and how fine tables have to be."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from bodystream.avatar.clothed.body import PLANES, Grid
from bodystream.avatar.heading import bones_in_heading
from bodystream.types import Array
from bodystream_training.avatar.data.sampling import QuerySurface
from bodystream_training.avatar.data.take import AvatarTake, PosedFrame
from bodystream_training.avatar.model import CouplingLayer, Ins, Pin

__all__ = [
    "Ways",
    "carried_colours",
    "grid_of",
    "heading_bones",
    "line_places",
    "listed_nodes",
    "node_places",
    "skin_data",
    "ways_through",
]

_COLOUR_FRAMES = 6
_MARGIN_M = 0.05
"""How far beyond the training's poses tables reach."""


@dataclass(frozen=True)
class Ways:
    """Where vertices go while a PIN is undone, over many poses.

    Attributes:
        low_m, high_m: (3,) of all coordinates.
        seen: by plane, (N, 2) of the coordinates that layers looked at.
        ends: (poses, V, 3) where they come out.
        longest_m: how far any coordinate was carried.
    """

    low_m: Array
    high_m: Array
    seen: dict[tuple[int, int], Array]
    ends: Array
    longest_m: float


def heading_bones(frames: list[PosedFrame]) -> list[Tensor]:
    """(B, 4, 4) of each, in the frame of its heading."""
    return [
        torch.from_numpy(bones_in_heading(frame.posed_from_canonical.astype(np.float64))[0].astype(np.float32))
        for frame in frames
    ]


@torch.no_grad()
def ways_through(model: Ins, pin: Pin, starts: list[Tensor], bones: list[Tensor]) -> Ways:
    """Undo a PIN in each pose, and keep where vertices were on the way."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    seen: dict[tuple[int, int], list[Array]] = {plane: [] for plane in PLANES}
    ends, longest = [], 0.0
    for points, pose in zip(starts, bones, strict=True):
        e_pose = model.embed(pose[None]).expand(len(points), -1)
        begin = points
        for layer in reversed(pin.layers):
            assert isinstance(layer, CouplingLayer)
            low, high = np.minimum(low, points.numpy().min(0)), np.maximum(high, points.numpy().max(0))
            if len(layer.seen) == 2:
                seen[layer.seen].append(points[:, list(layer.seen)].numpy())
            points = layer.inverse(points, e_pose)
            longest = max(longest, float((points - begin).abs().max()))
        low, high = np.minimum(low, points.numpy().min(0)), np.maximum(high, points.numpy().max(0))
        ends.append(points.numpy())
    return Ways(low, high, {plane: np.concatenate(parts) for plane, parts in seen.items()}, np.stack(ends), longest)


def grid_of(low_m: Array, high_m: Array, line_step_m: float, plane_step_m: float, listed: int) -> Grid:
    """Nodes from a little before to a little beyond."""
    low, high = low_m - _MARGIN_M, high_m + _MARGIN_M
    x, y, z = (int(np.ceil(extent / plane_step_m)) + 2 for extent in high - low)
    lines = int(np.ceil((high - low).max() / line_step_m)) + 2
    return Grid((float(low[0]), float(low[1]), float(low[2])), line_step_m, plane_step_m, lines, (x, y, z), listed)


def listed_nodes(ways: Ways, grid: Grid) -> Array:
    """(3, C) float32 numbers of the nodes of each plane that vertices come by, filled up with the last one."""
    found = []
    reach = int(np.ceil(_MARGIN_M / grid.plane_step_m))
    for a, b in PLANES:
        marks = np.zeros((grid.plane_nodes[a], grid.plane_nodes[b]), np.uint8)
        at = ((ways.seen[a, b] - np.array(grid.low_m)[[a, b]]) / grid.plane_step_m).astype(int)
        marks[at[:, 0], at[:, 1]] = 1
        found.append(np.flatnonzero(cv2.dilate(marks, np.ones((2 * reach + 2, 2 * reach + 2), np.uint8))))
    size = max(map(len, found))
    return np.stack([np.pad(nodes, (0, size - len(nodes)), mode="edge") for nodes in found]).astype(np.float32)


def node_places(grid: Grid, nodes: Array | None = None) -> list[Tensor]:
    """(C, 2) coordinates of the listed nodes of each plane; None = of all."""
    out = []
    for plane, (a, b) in enumerate(PLANES):
        across = grid.plane_nodes[b]
        numbers = np.arange(grid.plane_nodes[a] * across) if nodes is None else nodes[plane].astype(int)
        low = np.array(grid.low_m)
        places = low[[a, b]] + np.stack([numbers // across, numbers % across], 1) * grid.plane_step_m
        out.append(torch.from_numpy(places.astype(np.float32)))
    return out


def line_places(grid: Grid) -> dict[int, Tensor]:
    """(N,) coordinates of the nodes along each axis."""
    steps = np.arange(grid.line_nodes) * grid.line_step_m
    return {axis: torch.from_numpy((grid.low_m[axis] + steps).astype(np.float32)) for axis in range(3)}


@torch.no_grad()
def skin_data(model: Ins, base: Array, kept: int) -> tuple[Array, Array]:
    """(V, K) bones and (V, K, 4) how their weights change by along x, y, z [1/m], and the weights, at `base` (V, 3)."""
    assert model.weights is not None
    weights, change = model.weights.with_derivative(torch.from_numpy(base))
    top = weights.topk(kept, -1).indices
    values = torch.cat([change, weights[..., None]], -1)
    return top.numpy().astype(np.int32), torch.gather(values, 1, top[..., None].expand(-1, -1, 4)).numpy()


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
