"""How far a flow can be believed: smooth weights in [0, 1] from three independent checks.

With r the forward-backward error [px], d the local image difference and D the forward-backward error in space [m],

    weight = exp(-r^2 / 2 s_r^2)  *  exp(-(rms(d - mean d) / 2 (n + k (std0 + std1) / 2))^2 * 2)  *
             exp(-(mean d)^2 / 2 b^2)  *  exp(-D^2 / 2 s_D^2),   0 where D > 0.20 m (NNRT, appendix D.3).

Means and deviations are over a small window, so light that changes slowly over the image costs little (`b`), contrast
is judged relative to the window's own contrast (`k`), and flat windows by the noise of the camera (`n`).
"""
# pyright: reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import cv2
import numpy as np

from bodystream.types import Array, CameraIntrinsics

__all__ = ["back_project_pixels", "check_landing", "cycle_error_m", "image_confidence", "landing_confidence", "sampled"]


def image_confidence(
    source: Array,
    aligned: Array,
    forward: Array,
    backward: Array,
    grid: Array,
    *,
    consistency_px: float,
    noise: float,
    contrast: float,
    brightness: float,
    window_px: int,
) -> tuple[Array, Array]:
    """Weights of a flow from forward-backward consistency and the photometric residual.

    Args:
        source: (h, w) uint8, the whole image or every k-th pixel of it.
        aligned: (H, W) uint8, the target as it was searched.
        forward: (h, w, 2) flow source -> aligned [px].
        backward: (H, W, 2) flow aligned -> source [px].
        grid: (h, w, 2) float32, the (u, v) of each pixel of `source` in the whole image.
        consistency_px: s_r; noise: n [grey levels]; contrast: k; brightness: b [grey levels].
        window_px: edge of the window, in pixels of `source`.

    Returns:
        (h, w) float32 weight, and the (h, w, 2) place where each pixel arrives after going there and back.
    """
    landing = cv2.add(grid, forward)
    returned = cv2.add(cv2.remap(backward, landing, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), landing)
    gap = cv2.subtract(returned, grid)
    exponent = cv2.transform(cv2.multiply(gap, gap), np.array([[1.0, 1.0]]) / (2 * consistency_px**2))

    size = (window_px, window_px)
    moved = cv2.remap(aligned, landing, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    first, second = source.astype(np.float32), moved.astype(np.float32)
    difference = cv2.subtract(first, second)
    mean_first, mean_second = cv2.blur(first, size), cv2.blur(second, size)
    mean_difference = cv2.subtract(mean_first, mean_second)
    # sum of both variances: (std0 + std1)^2 / 2 <= var0 + var1, equal where both are alike
    variance = cv2.sqrBoxFilter(first, cv2.CV_32F, size) + cv2.sqrBoxFilter(second, cv2.CV_32F, size)
    variance -= mean_first * mean_first
    variance -= mean_second * mean_second
    residual = cv2.sqrBoxFilter(difference, cv2.CV_32F, size)
    residual -= mean_difference * mean_difference
    spread = cv2.sqrt(cv2.max(variance, 0.0)) * np.float32(contrast / np.sqrt(2.0)) + np.float32(noise)
    exponent += cv2.divide(cv2.max(residual, 0.0), cv2.multiply(spread, spread), scale=0.5)
    exponent += cv2.multiply(mean_difference, mean_difference, scale=1 / (2 * brightness**2))
    return cv2.exp(cv2.multiply(exponent, -1.0)), returned


def sampled(image: Array, pixels: Array) -> Array:
    """Values of an image (H, W) or (H, W, C) at (h, w, 2) pixels, bilinear; beyond its border that of the border."""
    return cv2.remap(image, pixels, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def back_project_pixels(pixels: Array, depth_m: Array, intrinsics: CameraIntrinsics) -> Array:
    """(..., 2) pixels and (...) depth to (..., 3) float32 points [m]."""
    points = np.empty((*depth_m.shape, 3), np.float32)
    points[..., 0] = (pixels[..., 0] - np.float32(intrinsics.cx)) * depth_m / np.float32(intrinsics.fx)
    points[..., 1] = (pixels[..., 1] - np.float32(intrinsics.cy)) * depth_m / np.float32(intrinsics.fy)
    points[..., 2] = depth_m
    return points


def cycle_error_m(
    own: Array, own_depth_m: Array, returned: Array, depth_m: Array, intrinsics: CameraIntrinsics
) -> Array:
    """Distance in space between each point and the point at the pixel where it returned to.

    Args:
        own, returned: (h, w, 2) pixels in the frame of `depth_m` and `intrinsics`.
        own_depth_m: (h, w) depth at `own`.
        depth_m: (H, W).

    Returns:
        (h, w) [m]; infinite where one of the two has no depth.
    """
    there = cv2.remap(depth_m, returned, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    gap = back_project_pixels(own, own_depth_m, intrinsics) - back_project_pixels(returned, there, intrinsics)
    distance = np.sqrt(np.einsum("hwc,hwc->hw", gap, gap))
    distance[(own_depth_m <= 0) | (there <= 0)] = np.inf
    return distance


def landing_confidence(landing: Array, target_depth_m: Array, *, jump: float) -> Array:
    """(h, w) uint8, 1 where a match lands on a measured, smooth piece of the target's surface, else 0.

    Args:
        landing: (h, w, 2) pixels of the target.
        target_depth_m: (H, W).
        jump: a 3x3 neighbourhood whose depths differ by more than this fraction is an edge, and its depth not usable.
    """
    kernel = np.ones((3, 3), np.uint8)
    low = cv2.erode(target_depth_m, kernel)  # a hole gives 0, so its neighbours are edges too
    high = cv2.dilate(target_depth_m, kernel)
    usable = cv2.compare(high, cv2.multiply(low, 1.0 + jump), cv2.CMP_LE) & cv2.compare(low, 0.0, cv2.CMP_GT)
    return cv2.remap(usable, landing, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0) >> 7


def check_landing(
    landing: Array,
    depth_m: Array,
    target_depth_m: Array,
    target_mask: Array | None,
    weight: Array,
    *,
    need_target_depth: bool,
    max_depth_change_m: float | None,
) -> None:
    """Set weights to 0 that land where they should not; per pixel, because outlines are what it is about.

    Args:
        landing: (h, w, 2) pixels of the target.
        depth_m: (h, w) of the source.
        target_depth_m, target_mask: (H, W) of the target.
        weight: (h, w), changed.
        need_target_depth: see `landing_confidence`.
        max_depth_change_m: of a match; what has no depth there is not judged by it.
    """
    if target_mask is not None:
        inside = target_mask.view(np.uint8)
        weight *= cv2.remap(inside, landing, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    if need_target_depth:
        weight *= landing_confidence(landing, target_depth_m, jump=0.05)
    if max_depth_change_m is not None:
        reached = cv2.remap(
            target_depth_m, landing, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0
        )
        too_far = cv2.absdiff(reached, depth_m) > np.float32(max_depth_change_m)
        weight[too_far & (reached > 0)] = 0
