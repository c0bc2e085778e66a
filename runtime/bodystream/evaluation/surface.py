"""How well the warped model explains a frame: silhouette, depth and, where it is known, the true surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.device import LaunchCache, download
from bodystream.device.camera import device_camera
from bodystream.evaluation.surface_kernels import project_vertices
from bodystream.pipelines.capture.result import LiveSurface
from bodystream.sources.synthetic import kernels as raster
from bodystream.sources.synthetic.truth import TruthSurface
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["FrameQuality", "QualityMeter"]


# Neighbouring vertices err alike: a quarter of them gives the same mean.
VERTEX_STRIDE = 4


@dataclass(frozen=True, slots=True)
class FrameQuality:
    """Figures of one frame; nan where they cannot be had.

    Attributes:
        silhouette_iou: of the model's silhouette and the reference mask.
        depth_residual_m: median |model depth - measured depth| over pixels that both cover, inside the mask.
        surface_error_m: mean distance of the model's vertices, seen or not, to the true surface (synthetic source).
    """

    silhouette_iou: float
    depth_residual_m: float
    surface_error_m: float


class QualityMeter:
    """Renders the warped model and compares it with the frame."""

    def __init__(self, intrinsics: CameraIntrinsics, device: wp.Device) -> None:
        self._intrinsics = intrinsics
        self._camera = device_camera(intrinsics)
        self._device = device
        self._launch = LaunchCache(device)
        shape = (intrinsics.height, intrinsics.width)
        self._inverse_depth = wp.zeros(shape, dtype=wp.float32, device=device)
        self._face = wp.zeros(shape, dtype=wp.int32, device=device)
        self._truth = TruthSurface(device)
        self._screen = wp.zeros(0, dtype=wp.vec3, device=device)
        self._rows = wp.zeros(0, dtype=wp.vec2i, device=device)

    def measure(self, frame: RgbdFrame, mask: Array, live: LiveSurface) -> FrameQuality:
        """Compare with the frame.

        Args:
            mask: (H, W) bool, the foreground that was found; the source's own mask or truth wins over it.
            live: the warped model.
        """
        if frame.truth is not None:
            mask = frame.truth.mask
        elif frame.mask is not None:
            mask = frame.mask
        model_m = self.render(live)
        model = model_m > 0
        union = np.count_nonzero(model | mask)
        iou = np.count_nonzero(model & mask) / union if union else float("nan")
        both = model & mask & (frame.depth_m > 0)
        residual = np.abs(model_m[both] - frame.depth_m[both])
        error = float("nan")
        if frame.truth is not None and live.vertex_count:
            vertices = download(live.vertices, live.vertex_count)[::VERTEX_STRIDE]
            error = float(np.mean(self._truth.distance_m(vertices, frame.truth)))
        return FrameQuality(float(iou), float(np.median(residual)) if residual.size else float("nan"), error)

    def render(self, live: LiveSurface) -> Array:
        """(H, W) depth [m] of the mesh seen from the camera, 0 = none."""
        if live.vertex_count > len(self._screen):
            self._screen = wp.zeros(2 * live.vertex_count, dtype=wp.vec3, device=self._device)
        if live.face_count > len(self._rows):
            self._rows = wp.zeros(2 * live.face_count, dtype=wp.vec2i, device=self._device)
        k = self._intrinsics
        inputs = [live.vertices, self._camera, self._screen]
        self._launch(project_vertices, live.vertex_count, inputs, min_chunk=1024)
        faces = live.faces[: live.face_count]
        inputs = [faces, self._screen, k.height, self._rows]
        self._launch(raster.triangle_rows, live.face_count, inputs, min_chunk=1024)
        tile = (8, 8) if self._device.is_cuda else (k.width, 16)
        tiles = (-(-k.width // tile[0]), -(-k.height // tile[1]))
        inputs = [faces, self._screen, self._rows, *tile, *tiles, self._inverse_depth, self._face]
        self._launch(raster.rasterise, tiles[0] * tiles[1], inputs, min_chunk=1)
        inverse = download(self._inverse_depth)
        return np.divide(1.0, inverse, out=np.zeros_like(inverse), where=inverse > 0)

    def faces_seen(self) -> Array:
        """(H, W) int32: the face that the last `render` drew at each pixel, -1 = none."""
        return download(self._face)
