"""The silhouette of a frame: for each pixel outside, the nearest one inside."""
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import cv2
import numpy as np

from bodystream.types import Array

__all__ = ["nearest_inside"]


def nearest_inside(mask: Array, scale: int = 3, reach_px: float = 60.0) -> Array:
    """Nearest foreground pixel of each pixel.

    Args:
        mask: (H, W) bool. scale: looked at on every n-th pixel. reach_px: farther ones have none.

    Returns:
        (ceil(H / scale), ceil(W / scale), 2) int16 (u, v) of the full image; (-1, -1) inside and out of reach.
    """
    small = np.ascontiguousarray(mask[::scale, ::scale])
    out = np.full((*small.shape, 2), -1, np.int16)
    if not small.any():
        return out
    distance, labels = cv2.distanceTransformWithLabels(
        (~small).view(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    v, u = np.nonzero(small)
    pixel_of_label = np.zeros((int(labels.max()) + 1, 2), np.int16)
    pixel_of_label[labels[v, u]] = np.stack([u, v], axis=1) * scale
    outside = (distance > 0) & (distance * scale <= reach_px)
    out[outside] = pixel_of_label[labels[outside]]
    return out
