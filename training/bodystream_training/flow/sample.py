"""One pair of images to learn correspondence from, with its truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodystream.errors import InputError
from bodystream.types import Array, CameraIntrinsics

__all__ = ["FlowSample"]

_COLUMNS: dict[str, tuple[tuple[int, ...], type]] = {
    "source_rgb": ((3,), np.uint8),
    "target_rgb": ((3,), np.uint8),
    "source_depth_m": ((), np.float32),
    "target_depth_m": ((), np.float32),
    "mask": ((), np.bool_),
    "target_mask": ((), np.bool_),
    "flow_px": ((2,), np.float32),
    "scene_flow_m": ((3,), np.float32),
    "visible": ((), np.bool_),
}


@dataclass(frozen=True, slots=True)
class FlowSample:
    """Two images of one camera, a moment apart, and how the points of the first one moved.

    Attributes:
        source_rgb, target_rgb: (H, W, 3) uint8.
        source_depth_m, target_depth_m: (H, W) float32 as the depth camera measured it [m], 0 = no measurement.
        intrinsics: of all images.
        mask, target_mask: (H, W) bool, the subject that deforms: exact, or as depth shows it, with holes and a few
            pixels that have its depth but not its colour.
        flow_px: (H, W, 2) float32, source pixel + flow = target pixel, nan = unknown. It is known for points of the
            subject also where they are hidden in the target or leave the image, and for the background where its
            motion is known.
        scene_flow_m: (H, W, 3) float32, motion of the pixel's point in the camera's frame [m], nan = unknown.
        visible: (H, W) bool, the pixel's point is seen in the target image; never set where the flow is unknown.

    Raises:
        InputError: an array has another shape or type.
    """

    source_rgb: Array
    target_rgb: Array
    source_depth_m: Array
    target_depth_m: Array
    intrinsics: CameraIntrinsics
    mask: Array
    target_mask: Array
    flow_px: Array
    scene_flow_m: Array
    visible: Array

    def __post_init__(self) -> None:
        size = (self.intrinsics.height, self.intrinsics.width)
        for name, (columns, dtype) in _COLUMNS.items():
            values = getattr(self, name)
            if values.shape != (*size, *columns) or values.dtype != dtype:
                raise InputError(
                    f"{name} of a flow sample must have shape {(*size, *columns)}, as its camera has, and type "
                    f"{np.dtype(dtype)}; got {values.shape} and {values.dtype}"
                )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) [px]."""
        return self.intrinsics.width, self.intrinsics.height
