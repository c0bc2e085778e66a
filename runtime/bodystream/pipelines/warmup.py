"""Builds or loads every kernel before the first frame is taken."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

import cv2
import warp as wp

__all__ = ["DRIVE_MODULES", "KERNEL_MODULES", "warm_up"]

KERNEL_MODULES = (
    "bodystream.avatar.kernels",
    "bodystream.deformation.kernels",
    "bodystream.tracking.assembly_kernels",
    "bodystream.tracking.kernels",
    "bodystream.tracking.match_kernels",
    "bodystream.tracking.pcg_kernels",
    "bodystream.fusion.kernels_blocks",
    "bodystream.fusion.kernels_frame",
    "bodystream.fusion.kernels_integrate",
    "bodystream.fusion.kernels_mesh",
    "bodystream.fusion.kernels_surface",
    "bodystream.pose.refine_kernels",
    "bodystream.sources.realsense_kernels",
    "bodystream.sources.synthetic.kernels",
    "bodystream.sources.synthetic.noise_kernels",
    "bodystream.pipelines.quality",
)


DRIVE_MODULES = ("bodystream.avatar.kernels", "bodystream.pose.refine_kernels")
"""What a driven body needs of them."""


def warm_up(
    device: wp.Device,
    on_module: Callable[[str, int, int], None] | None = None,
    modules: Sequence[str] = KERNEL_MODULES,
) -> None:
    """Load the kernels from Warp's cache in the user's cache folder, building those that are missing or changed.

    Args:
        on_module: called before each with its name, its number from 1, and how many there are.
        modules: those that are needed.
    """
    # Stages run side by side on threads of their own; OpenCV's pool on top of them only makes the cores spin.
    cv2.setNumThreads(1)
    for number, name in enumerate(modules, start=1):
        if on_module is not None:
            on_module(name, number, len(modules))
        wp.load_module(importlib.import_module(name), device=device)
