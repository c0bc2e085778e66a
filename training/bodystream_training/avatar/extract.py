"""The canonical surface as a mesh: found once, never per pose."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import trimesh
import warp as wp
import warp.geometry

from bodystream.errors import InputError
from bodystream.types import Array, Mesh
from bodystream_training.avatar.model import Ins

__all__ = ["canonical_mesh"]

_LEVELS = 3  # each halves the cells
_AROUND_M = 0.4
_CHUNK = 32_768
_ROUNDS = 4
"""Of Newton's method for a vertex' place."""
_LEAST_SHARE = 0.01
"""Of the surface, what a part that hangs on nothing has to be to stay."""


@torch.no_grad()
def canonical_mesh(model: Ins, joints_m: Array, spacing_m: float) -> Mesh:
    """The level set of the occupancy (eq. 1): octree refinement, then marching cubes.

    Like MISE, only cells that the surface passes through are looked at more closely. What no node of the coarse ones
    lies in, as hands, is followed from where the surface leaves the cells that were looked at.

    Args:
        joints_m: (B, 3) of the bones in the canonical pose, around which the surface is looked for.
        spacing_m: edge of the smallest cells.

    Returns:
        Vertices (V, 3) float32 [m] and faces (F, 3) int32, without normals and colours.

    Raises:
        InputError: nothing is inside: the network is not trained.
    """
    low, high = joints_m.min(0) - _AROUND_M, joints_m.max(0) + _AROUND_M
    coarse_m = spacing_m * 2**_LEVELS
    cells = np.ceil((high - low) / coarse_m).astype(int)
    values = _sample(model, low, coarse_m, np.ones(cells + 1, bool), np.zeros(cells + 1, np.float32))
    for level in range(_LEVELS):
        step = coarse_m / 2 ** (level + 1)
        finer = np.repeat(np.repeat(np.repeat(values, 2, 0), 2, 1), 2, 2)[:-1, :-1, :-1]
        known = _nodes_of(_crossed(values), finer.shape)
        values = _sample(model, low, step, known, finer)
        while True:
            wanted = _corners_of(_crossed(values)) & ~known
            if not wanted.any():
                break
            values = _sample(model, low, step, wanted, values)
            known |= wanted
    if not (values > 0).any():
        raise InputError("the canonical shape is empty: train the avatar longer, or look at whether its take is sound")
    field: Any = wp.array(np.ascontiguousarray(values), dtype=wp.float32, device="cpu")
    upper = low + spacing_m * (np.array(values.shape) - 1)
    found = warp.geometry.IsoSurfaceMarchingCubes.extract(
        field, threshold=0.0, lower=wp.vec3(*low), upper=wp.vec3(*upper)
    )
    surface = trimesh.Trimesh(found[0].numpy(), found[1].numpy().reshape(-1, 3), process=False)
    mesh = _largest(surface)
    return Mesh(_on_the_level(model, mesh.vertices, spacing_m), mesh.faces)


def _on_the_level(model: Ins, vertices: Array, spacing_m: float) -> Array:
    """The vertices moved along the logit's gradient to where it is zero, at most half an edge of a cell.

    Marching cubes takes the logit for linear between two nodes. It is steeper on one side of the surface than on the
    other, so that a smooth thigh would have steps as a terrace.
    """
    out = []
    for start in torch.from_numpy(vertices).split(_CHUNK):
        places = start
        for _ in range(_ROUNDS):
            with torch.enable_grad():
                leaf = places.clone().requires_grad_()
                logit = model.occupied(leaf, torch.zeros(len(leaf), model.config.embedding))
                (slope,) = torch.autograd.grad(logit.sum(), leaf)
            step = logit.detach()[:, None] * slope / slope.square().sum(-1, keepdim=True).clamp_min(1e-12)
            way = places - step - start
            length = way.norm(dim=-1, keepdim=True)
            places = start + way * (0.5 * spacing_m / length.clamp_min(1e-12)).clamp_max(1.0)
        out.append(places)
    return torch.cat(out).numpy()


def _sample(model: Ins, low: Array, step: float, wanted: Array, values: Array) -> Array:
    """`values` with those at the nodes of `wanted` computed."""
    nodes = np.argwhere(wanted)
    places = torch.from_numpy((low + nodes * step).astype(np.float32))
    logits = [model.occupied(part, torch.zeros(len(part), model.config.embedding)) for part in places.split(_CHUNK)]
    out = values.copy()
    out[wanted] = torch.cat(logits).numpy()
    return out


def _crossed(values: Array) -> Array:
    """Cells, one fewer along each axis than nodes, whose corners lie on both sides, and the cells beside them."""
    inside = values > 0
    corners = np.stack(
        [
            inside[i : i - 1 or None, j : j - 1 or None, k : k - 1 or None]
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        ]
    )
    crossed: Array = np.logical_and(corners.any(0), ~corners.all(0))
    padded = np.pad(crossed, 1)
    near = crossed.copy()
    for axis in range(3):
        for shift in (-1, 1):
            near |= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
    return near


def _nodes_of(cells: Array, shape: tuple[int, ...]) -> Array:
    """The nodes, of half the spacing, in and around cells."""
    nodes = np.zeros(shape, bool)
    where = np.argwhere(cells) * 2
    for i in range(3):
        for j in range(3):
            for k in range(3):
                nodes[where[:, 0] + i, where[:, 1] + j, where[:, 2] + k] = True
    return nodes


def _corners_of(cells: Array) -> Array:
    """The nodes of cells of the same spacing."""
    nodes = np.zeros([size + 1 for size in cells.shape], bool)
    for i in (0, 1):
        for j in (0, 1):
            for k in (0, 1):
                nodes[i : i + cells.shape[0], j : j + cells.shape[1], k : k + cells.shape[2]] |= cells
    return nodes


def _largest(surface: trimesh.Trimesh) -> Mesh:
    """Without specks, and facing outwards."""
    labels = trimesh.graph.connected_component_labels(surface.face_adjacency, len(surface.faces))
    areas = np.bincount(labels, surface.area_faces)
    kept = trimesh.Trimesh(surface.vertices, surface.faces[(areas >= _LEAST_SHARE * areas.sum())[labels]], process=True)
    kept.update_faces(kept.nondegenerate_faces())  # where the surface goes through a node
    if kept.volume < 0:
        kept.invert()
    return Mesh(np.asarray(kept.vertices, np.float32), np.asarray(kept.faces, np.int32))
