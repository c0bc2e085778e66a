"""Analytic depth images and deformation graphs for the tests of fusion."""

from __future__ import annotations

import numpy as np
import warp as wp
from scipy.spatial import KDTree

from bodystream.deformation import WarpField
from bodystream.device import select_device
from bodystream.types import Array, CameraIntrinsics

CAMERA = CameraIntrinsics(280.0, 285.0, 158.3, 120.8, 320, 240)
CENTRE = np.array([0.02, -0.01, 0.8])
RADIUS = 0.14


def rays(camera: CameraIntrinsics = CAMERA) -> Array:
    """(H, W, 3) directions with z = 1."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)


def sphere_depth(background_m: float = 2.0, camera: CameraIntrinsics = CAMERA) -> tuple[Array, Array]:
    """Depth [m] and mask of a sphere before a wall."""
    d = rays(camera)
    a = (d * d).sum(axis=-1)
    b = d @ CENTRE
    root = b * b - a * (CENTRE @ CENTRE - RADIUS * RADIUS)
    hit = root > 0
    depth = np.where(hit, (b - np.sqrt(np.where(hit, root, 0.0))) / a, background_m)
    return depth.astype(np.float32), hit


def sphere_nodes(spacing_m: float = 0.04) -> Array:
    """(N, 3) points spread evenly over the sphere."""
    count = int(4 * np.pi * RADIUS**2 / spacing_m**2 * 1.2)
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    unit = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
    return (CENTRE + RADIUS * unit).astype(np.float32)


def make_field(nodes: Array, rotations: Array | None = None, translations: Array | None = None) -> WarpField:
    """A graph with 8 nearest neighbours per node; identity motion unless given."""
    field = WarpField(select_device("cpu"))
    set_nodes(field, nodes, rotations, translations)
    return field


def set_nodes(
    field: WarpField, nodes: Array, rotations: Array | None = None, translations: Array | None = None
) -> None:
    edges = KDTree(nodes).query(nodes, k=9)[1][:, 1:].astype(np.int32)
    field.set_graph(nodes, edges, rotations, translations)


def set_rigid(field: WarpField, rotation: Array, translation: Array) -> None:
    """Move the whole graph by p -> R p + t."""
    v = field.host_positions.astype(np.float64)
    field.set_motion(np.tile(rotation, (field.count, 1, 1)), v @ rotation.T + translation - v)


def turn_about_centre(rotation: Array) -> Array:
    """The translation with which `rotation` keeps the sphere's centre in place."""
    return CENTRE - rotation @ CENTRE


def on_device(depth: Array, mask: Array, colour: Array | None = None) -> tuple[wp.array, wp.array | None, wp.array]:
    device = select_device("cpu")
    image = None if colour is None else wp.array(colour, dtype=wp.uint8, device=device)
    return (
        wp.array(depth, dtype=wp.float32, device=device),
        image,
        wp.array(mask.astype(np.uint8), dtype=wp.uint8, device=device),
    )


def bend(points: Array, amount: float) -> tuple[Array, Array]:
    """A smooth bend about the y axis, rotation growing with x: points' new places and local rotations.

    Args:
        amount: radians per metre.
    """
    x, y, z = points[:, 0], points[:, 1], points[:, 2] - 0.8
    angle = amount * x
    radius = 1.0 / amount if amount else 0.0
    if amount:
        moved = np.stack([(radius + z) * np.sin(angle), y, (radius + z) * np.cos(angle) - radius + 0.8], axis=1)
    else:
        moved = points.copy()
    c, s, o, one = np.cos(angle), np.sin(angle), np.zeros(len(x)), np.ones(len(x))
    rotations = np.stack([c, o, s, o, one, o, -s, o, c], axis=1).reshape(-1, 3, 3)
    return moved, rotations


def set_bend(field: WarpField, amount: float) -> None:
    nodes = field.host_positions.astype(np.float64)
    moved, rotations = bend(nodes, amount)
    field.set_motion(rotations, moved - nodes)


def height(x: Array, y: Array) -> Array:
    """The rest shape z(x, y) [m] of the bending sheet."""
    return 0.8 + 0.03 * np.cos(9 * x) + 0.02 * np.sin(11 * y)


def bent_depth(amount: float) -> Array:
    """(H, W) float32 depth [m] of the sheet |x| < 0.24, |y| < 0.2 after `bend`, by bisection along every ray."""

    def rest(depth: Array) -> Array:
        p = rays() * depth[..., None]
        if amount == 0:
            return p
        angle = np.arctan2(p[..., 0] * np.sign(amount), (p[..., 2] - 0.8 + 1 / amount) * np.sign(amount))
        radius = np.hypot(p[..., 0], p[..., 2] - 0.8 + 1 / amount) * np.sign(amount) - 1 / amount
        return np.stack([angle / amount, p[..., 1], radius + 0.8], axis=-1)

    size = (CAMERA.height, CAMERA.width)
    near, far = np.full(size, 0.6), np.full(size, 1.0)
    for _ in range(30):
        middle = 0.5 * (near + far)
        p = rest(middle)
        before = p[..., 2] < height(p[..., 0], p[..., 1])
        near, far = np.where(before, middle, near), np.where(before, far, middle)
    p = rest(near)
    hit = (np.abs(p[..., 0]) < 0.24) & (np.abs(p[..., 1]) < 0.2)
    return np.where(hit, near, 0.0).astype(np.float32)
