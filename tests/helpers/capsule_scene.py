"""A person made of capsules on a floor before a wall: exact depth and mask, by analytic ray casting in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodystream.types import Array, CameraIntrinsics

__all__ = ["BOX", "CapsuleScene", "box", "person"]

BOX = 100  # label of the first box


def person(offset: tuple[float, float, float] = (0.0, 0.0, 0.0), *, swing: float = 0.0, height: float = 1.75) -> Array:
    """(n, 7) capsules (two ends and radius [m]) in the room's frame: x right, y up from the floor, z away.

    Args:
        offset: where the feet stand.
        swing: angle of the arms against the body [rad].
    """
    s = height / 1.75
    reach_x, reach_y = 0.55 * np.sin(0.25 + swing), 0.55 * np.cos(0.25 + swing)
    parts = [
        (0.0, 1.00, 0.0, 0.0, 1.32, 0.0, 0.16),  # trunk
        (0.0, 1.45, 0.0, 0.0, 1.50, 0.0, 0.06),  # neck
        (0.0, 1.62, 0.0, 0.0, 1.66, 0.0, 0.10),  # head
    ]
    for side in (-1.0, 1.0):
        parts.append((side * 0.10, 0.92, 0.0, side * 0.12, 0.09, 0.0, 0.07))  # leg
        parts.append((side * 0.12, 0.04, 0.04, side * 0.14, 0.04, -0.16, 0.04))  # foot, towards the camera
        parts.append((side * 0.17, 1.40, 0.0, side * (0.17 + reach_x), 1.40 - reach_y, 0.0, 0.045))  # arm
    capsules = np.array(parts) * s
    capsules[:, 0:3] += offset
    capsules[:, 3:6] += offset
    return capsules


def box(centre: tuple[float, float, float], size: tuple[float, float, float], yaw: float = 0.0) -> Array:
    """(7,): centre, size [m] and turn about the vertical [rad], in the room's frame."""
    return np.array([*centre, *size, yaw])


@dataclass(frozen=True)
class CapsuleScene:
    """A camera that looks into a room.

    Attributes:
        camera_height_m, pitch: the camera above the floor, and how far it looks down [rad].
        roll: about the view direction [rad].
        wall_m: distance of the wall along the floor; None = no wall.
        floor: whether there is one.
        noise: standard deviation of depth over z^2 [1/m].
    """

    intrinsics: CameraIntrinsics
    camera_height_m: float = 1.2
    pitch: float = 0.15
    roll: float = 0.0
    wall_m: float | None = 3.6
    floor: bool = True
    noise: float = 0.0015

    def render(self, people: list[Array], *, boxes: Sequence[Array] = (), seed: int = 0) -> tuple[Array, Array]:
        """Depth (H, W) float32 [m] with noise and mask (H, W) int32: 1 + index of the person, `BOX` + that of the box,
        0 elsewhere."""
        k = self.intrinsics
        u, v = np.meshgrid(np.arange(k.width), np.arange(k.height))
        rays = np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones(u.shape)], axis=2)
        cos_p, sin_p = np.cos(self.pitch), np.sin(self.pitch)
        cos_r, sin_r = np.cos(self.roll), np.sin(self.roll)
        # camera (x right, y down, z forward) to room (x right, y up, z away)
        roll = np.array([[cos_r, -sin_r, 0], [sin_r, cos_r, 0], [0, 0, 1]])
        tilt = np.array([[1, 0, 0], [0, -cos_p, -sin_p], [0, -sin_p, cos_p]])
        directions = rays @ (tilt @ roll).T
        origin = np.array([0.0, self.camera_height_m, 0.0])
        depth = np.full(u.shape, np.inf)
        label = np.zeros(u.shape, np.int32)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.floor:
                hit = -origin[1] / directions[..., 1]
                depth = np.where(hit > 0, hit, depth)
            if self.wall_m is not None:
                hit = self.wall_m / directions[..., 2]
                depth = np.where((hit > 0) & (hit < depth), hit, depth)
        flat = directions.reshape(-1, 3)
        for index, capsules in enumerate(people):
            for capsule in capsules:
                hit = _capsule_hit(origin, flat, capsule[:3], capsule[3:6], capsule[6]).reshape(u.shape)
                closer = hit < depth
                depth[closer], label[closer] = hit[closer], index + 1
        for index, each in enumerate(boxes):
            hit = _box_hit(origin, flat, each).reshape(u.shape)
            closer = hit < depth
            depth[closer], label[closer] = hit[closer], BOX + index
        depth[~np.isfinite(depth)] = 0
        noise = np.random.default_rng(seed).normal(0, 1, depth.shape) * self.noise * depth**2
        return np.maximum(depth + noise * (depth > 0), 0).astype(np.float32), label


def _box_hit(origin: Array, directions: Array, box: Array) -> Array:
    """(n,) ray parameter of the first hit, infinite for none; the ray starts outside."""
    turn = np.array([[np.cos(box[6]), 0, -np.sin(box[6])], [0, 1, 0], [np.sin(box[6]), 0, np.cos(box[6])]])
    o, d = turn @ (origin - box[:3]), directions @ turn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = (-box[3:6] / 2 - o) / d, (box[3:6] / 2 - o) / d
    near, far = np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
    return np.where((near < far) & (near > 0), near, np.inf)


def _capsule_hit(origin: Array, directions: Array, a: Array, b: Array, radius: float) -> Array:
    """(n,) ray parameter of the first hit, infinite for none; the ray starts outside."""
    axis = b - a
    best = np.full(len(directions), np.inf)
    # cheap bound first: rays whose distance from the capsule's middle is too large
    middle, reach = (a + b) / 2 - origin, np.linalg.norm(axis) / 2 + radius
    squared = np.einsum("ij,ij->i", directions, directions)
    along = directions @ middle / squared
    near = np.nonzero(middle @ middle - along**2 * squared < reach**2)[0]
    d, dd = directions[near], squared[near]
    hits = np.full(len(near), np.inf)
    m = origin - a
    length2, dn, mn = axis @ axis, d @ axis, m @ axis
    qa = length2 * dd - dn**2
    qb = length2 * (d @ m) - dn * mn
    qc = length2 * (m @ m - radius**2) - mn**2
    root = qb**2 - qa * qc
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (-qb - np.sqrt(np.maximum(root, 0))) / qa
        side = mn + t * dn
        hits = np.where((root > 0) & (t > 0) & (side > 0) & (side < length2), t, hits)
    for end in (a, b):
        offset = origin - end
        qb = d @ offset
        root = qb**2 - dd * (offset @ offset - radius**2)
        t = (-qb - np.sqrt(np.maximum(root, 0))) / dd
        hits = np.where((root > 0) & (t > 0), np.minimum(hits, t), hits)
    best[near] = hits
    return best
