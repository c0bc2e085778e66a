"""Builds or loads every kernel before the first frame is taken."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import cv2
import warp as wp

__all__ = ["KERNEL_MODULES", "warm_up"]

KERNEL_MODULES = (
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
    "bodystream.sources.realsense_kernels",
    "bodystream.sources.synthetic.kernels",
    "bodystream.sources.synthetic.noise_kernels",
    "bodystream.pipelines.quality",
)


def warm_up(device: wp.Device, on_module: Callable[[str, int, int], None] | None = None) -> None:
    """Load the kernels from Warp's cache in the user's cache folder, building those that are missing or changed.

    Args:
        on_module: called before each with its name, its number from 1, and how many there are.
    """
    # Stages run side by side on threads of their own; OpenCV's pool on top of them only makes the cores spin.
    cv2.setNumThreads(1)
    for number, name in enumerate(KERNEL_MODULES, start=1):
        if on_module is not None:
            on_module(name, number, len(KERNEL_MODULES))
        wp.load_module(importlib.import_module(name), device=device)
