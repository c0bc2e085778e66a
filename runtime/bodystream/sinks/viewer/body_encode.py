"""A driven body as what the page is sent: spheres and lines. Pure functions."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import PARENTS
from bodystream.types import Array, BodyPose, TrackedDevice

__all__ = [
    "AXIS_COLOURS",
    "CERTAIN_M",
    "UNCERTAIN_M",
    "axes_segments",
    "bone_segments",
    "facing_yaw",
    "linear",
    "uncertainty_colours",
    "wxyz_of",
]

AXIS_COLOURS = np.array([[235, 87, 87], [111, 207, 110], [86, 147, 245]], np.uint8)
"""Of x, y and z, (3, 3) sRGB."""
_LOST = (125, 130, 138)
_BONES = np.array([(parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0])
CERTAIN_M, UNCERTAIN_M = 0.01, 0.10
"""Standard deviations of a joint that are shown in pure green and red [m]."""
_SURE, _UNSURE, _LOST_TRACK = (82.0, 196.0, 112.0), (240.0, 196.0, 70.0), (226.0, 74.0, 74.0)


def linear(colours: Array | tuple[int, int, int]) -> Array:
    """sRGB as uint8 to what the page takes for lines and spheres, which it does not decode: linear, uint8."""
    return (((np.asarray(colours, np.float64) / 255.0) ** 2.2) * 255.0).round().astype(np.uint8)


def wxyz_of(quaternions_xyzw: Array) -> Array:
    """(..., 4) from our order to the page's."""
    return np.roll(quaternions_xyzw, 1, axis=-1)


def facing_yaw(pose: BodyPose) -> float:
    """Angle about y by which the pelvis is turned from looking along -z [rad]; 0 where it looks straight up or down."""
    ahead = -matrix_from_quaternion(pose.rotations_xyzw[0])[:, 2]
    return float(np.arctan2(-ahead[0], -ahead[2])) if np.hypot(ahead[0], ahead[2]) > 1e-3 else 0.0


def bone_segments(joints_m: Array) -> Array:
    """(..., 22, 3) joints to the (N, 2, 3) float32 lines from each joint's parent to it, of all skeletons in turn."""
    return np.ascontiguousarray(joints_m[..., _BONES, :].reshape(-1, 2, 3), np.float32)


def axes_segments(devices: dict[str, tuple[TrackedDevice, bool]], length_m: float) -> tuple[Array, Array]:
    """Axes of each device and whether it is tracked, grey where not.

    Returns:
        (3 D, 2, 3) float32 lines [m], and their colours (3 D, 2, 3) uint8 sRGB.
    """
    lines, colours = [], []
    for device, tracked in devices.values():
        ends = device.position_m + length_m * matrix_from_quaternion(device.rotation_xyzw).T
        lines.append(np.stack([np.broadcast_to(device.position_m, (3, 3)), ends], axis=1))
        colours.append(AXIS_COLOURS if tracked else np.full((3, 3), _LOST, np.uint8))
    if not lines:
        return np.zeros((0, 2, 3), np.float32), np.zeros((0, 2, 3), np.uint8)
    return np.concatenate(lines).astype(np.float32), np.repeat(np.concatenate(colours)[:, None], 2, axis=1)


def uncertainty_colours(std_m: Array) -> Array:
    """(N,) standard deviations to (N, 3) uint8 sRGB: green up to 1 cm, through yellow, to red from 10 cm on."""
    share = np.log(np.clip(std_m, CERTAIN_M, UNCERTAIN_M) / CERTAIN_M) / np.log(UNCERTAIN_M / CERTAIN_M)
    stops = np.array([_SURE, _UNSURE, _LOST_TRACK])
    return np.stack([np.interp(share, (0.0, 0.5, 1.0), stop) for stop in stops.T], axis=-1).round().astype(np.uint8)
