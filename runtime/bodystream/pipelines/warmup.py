"""What is done before the first frame is taken: kernels are built or loaded, and there are frames to warm up with."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import warp as wp

from bodystream.device import heal_kernel_cache, kernels_are_built, load_kernels
from bodystream.types import CameraIntrinsics, RgbdFrame

__all__ = ["AVATAR_MODULES", "DRIVE_MODULES", "KERNEL_MODULES", "ball_frames", "warm_up"]

KERNEL_MODULES = (
    "bodystream.avatar.kernels",
    "bodystream.deformation.kernels",
    "bodystream.deformation.ownership_kernels",
    "bodystream.device.frame_kernels",
    "bodystream.tracking.assembly_kernels",
    "bodystream.tracking.cluster_kernels",
    "bodystream.tracking.match_kernels",
    "bodystream.tracking.pcg_kernels",
    "bodystream.tracking.placement_kernels",
    "bodystream.tracking.prediction_kernels",
    "bodystream.tracking.rigid_kernels",
    "bodystream.tracking.step_kernels",
    "bodystream.tracking.term_kernels",
    "bodystream.fusion.blocks_kernels",
    "bodystream.fusion.component_kernels",
    "bodystream.fusion.dust_kernels",
    "bodystream.fusion.frame_kernels",
    "bodystream.fusion.integrate_kernels",
    "bodystream.fusion.mesh_kernels",
    "bodystream.fusion.surface_kernels",
    "bodystream.pose.refine_kernels",
    "bodystream.sources.realsense.kernels",
    "bodystream.sources.synthetic.kernels",
    "bodystream.sources.synthetic.noise_kernels",
    "bodystream.evaluation.surface_kernels",
)


DRIVE_MODULES = ("bodystream.avatar.kernels", "bodystream.pose.refine_kernels")
"""What a driven body needs of them."""

AVATAR_MODULES = ("bodystream.avatar.kernels",)
"""What an avatar needs of them that is posed by a motion."""


def warm_up(
    device: wp.Device,
    on_build: Callable[[str, int, int], None] | None = None,
    modules: Sequence[str] = KERNEL_MODULES,
) -> list[str]:
    """Load the kernels from Warp's cache in the user's cache folder, building those that are missing or changed.

    Args:
        on_build: called before each module that has to be built, and not where all are there, with its name, its
            number from 1, and how many have to be built.
        modules: those that are needed.

    Returns:
        The modules that were built.

    Raises:
        DeviceError: kernels cannot be built; says where and what to do.
    """
    for name in modules:
        importlib.import_module(name)
    missing = [name for name in modules if not kernels_are_built(name, device)]
    for name in modules:
        if name in missing and on_build is not None:
            on_build(name, missing.index(name) + 1, len(missing))
        load_kernels(name, device)
    if missing:
        heal_kernel_cache()  # records them
    return missing


def ball_frames(intrinsics: CameraIntrinsics, count: int) -> Iterator[RgbdFrame]:
    """A textured ball of 25 cm radius, 1.2 m away, that moves 1 cm per frame: something to warm up capture with."""
    k = intrinsics
    v, u = np.indices((k.height, k.width), np.float32)
    for index in range(count):
        x, y = (u - k.cx) / k.fx * 1.2 - 0.01 * index, (v - k.cy) / k.fy * 1.2
        inside = np.maximum(0.25**2 - x * x - y * y, 0.0)
        depth_m = np.where(inside > 0, 1.2 - np.sqrt(inside), 0.0).astype(np.float32)
        pattern = 128 + 60 * np.sin(90 * x) * np.cos(80 * y)
        colour = np.repeat(pattern.astype(np.uint8)[..., None], 3, axis=2)
        yield RgbdFrame(index, index * 33_333_333, depth_m, k, colour, mask=depth_m > 0, name=f"warm-up {index}")
