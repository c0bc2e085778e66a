"""Grading of a frame before it is fused: of the tiles that show what the graph may reach, and of no others."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import warp as wp

from bodystream.deformation import WarpField
from bodystream.device import LaunchCache, Staged, view_as
from bodystream.device.camera import device_camera
from bodystream.fusion import frame_kernels
from bodystream.fusion.config import FusionConfig
from bodystream.fusion.lanes_kernels import vec8, vec8ub, vec16
from bodystream.fusion.rules import pixel_rules
from bodystream.types import Array, CameraIntrinsics

__all__ = ["FrameGrader"]

_TILE, _FINE = int(frame_kernels.TILE), int(frame_kernels.FINE)


class FrameGrader:
    """Says of each pixel near the model how far it is to be trusted, and of each tile what it can change.

    Args:
        config: see `FusionConfig`.
        device: where its arrays live.

    Attributes:
        graded: the kernels' view of the last graded frame. One struct for life; its arrays depend on the image's size.
        camera: the kernels' view of its camera.
        rules: the kernels' view of the configuration.
        sample_counts: (tiles,) int32, places at which the tiles may need blocks.
    """

    def __init__(self, config: FusionConfig, device: wp.Device) -> None:
        self.graded = frame_kernels.Graded()
        self.rules = pixel_rules(config)
        self._near_m = config.near_m
        self._device = device
        self._launch = LaunchCache(device)
        self._image = frame_kernels.Image()
        self._images: tuple[Any, Any] = (None, None)
        self._size = (0, 0)
        self._phase = -1

    @property
    def bytes(self) -> int:
        """Device memory of its buffers."""
        if self._size == (0, 0):
            return 0
        g = self.graded
        return sum(a.capacity for a in (g.pixels, g.fine, g.tiles, g.around_fine, g.around))

    def grade(
        self,
        depth: wp.array,
        mask: wp.array,
        intrinsics: CameraIntrinsics,
        field: WarpField,
        *,
        samples: Literal["all", "quarter", "none"],
    ) -> int:
        """Grade the pixels; returns how many samples the tiles have in all.

        Args:
            depth, mask, intrinsics, field: as for `TsdfVolume.integrate`, and checked.
            samples: which are wanted; `quarter` is another one at each call.
        """
        if samples != "none":
            self._phase = -1 if samples == "all" else (self._phase + 1) % 4
        if depth.shape != self._size:
            self._set_size(depth.shape)
        if depth is not self._images[0] or mask is not self._images[1]:
            self._images = (depth, mask)
            runs = depth.size - 7
            self._image.depth = view_as(depth, vec8, runs, strides=(4,))
            self._image.mask = view_as(mask, vec8ub, runs, strides=(1,))
        self.camera = device_camera(intrinsics)
        reached = self._reached_tiles(intrinsics, field)
        # What only the last frame graded is cleared.
        cleared = self._reached & ~reached
        self._reached = reached
        tiles = reached.size
        listed = np.concatenate([np.flatnonzero(reached), tiles + np.flatnonzero(cleared)])
        if len(listed) == 0:
            return 0
        self._listed.upload(listed)
        inputs = [self._image, self.camera, self.rules, self._listed.array, self._phase, self.graded]
        self._launch(frame_kernels.grade_pixels, len(listed), [*inputs, self.sample_counts.array])
        inputs = [self.camera, self._listed.array, self.graded]
        self._launch(frame_kernels.join_neighbours, int(np.count_nonzero(reached)), inputs, min_chunk=1024)
        return 0 if samples == "none" else int(self.sample_counts.download().sum())

    def sample(self, points_out: wp.array) -> None:
        """Write the samples [m] in the camera's frame: as many as `grade` said."""
        counts = self.sample_counts.host
        self._sample_begins.upload(np.cumsum(counts, dtype=np.int32) - counts)
        inputs = [self.graded, self.sample_counts.array, self._sample_begins.array, self.camera, self.rules]
        self._launch(frame_kernels.sample_points, len(counts), [*inputs, self._phase, points_out], min_chunk=4096)

    def _set_size(self, size: tuple[int, int]) -> None:
        """Buffers that depend on the image."""
        self._size = size
        graded, device = self.graded, self._device
        graded.stride = size[1] + 2
        count = (size[0] + 2) * graded.stride
        graded.pixels = wp.zeros(count, dtype=wp.vec2, device=device)
        graded.runs = view_as(graded.pixels, vec16, count - 7, strides=(8,))
        rows, columns = _tiles_of(size, _TILE)
        tiles, fine = rows * columns, int(np.prod(_tiles_of(size, _FINE)))
        graded.fine, graded.around_fine = (wp.zeros(fine, dtype=wp.vec3, device=device) for _ in range(2))
        graded.tiles, graded.around = (wp.zeros(tiles, dtype=wp.vec3, device=device) for _ in range(2))
        self._reached = np.zeros((rows, columns), bool)
        self._listed = Staged(tiles, wp.int32, device)
        self.sample_counts = Staged(tiles, wp.int32, device)
        self._sample_begins = Staged(tiles, wp.int32, device)

    def _reached_tiles(self, intrinsics: CameraIntrinsics, field: WarpField) -> Array:
        """(rows, columns) bool: tiles that show what some node may reach.

        Points that are farther from each node are neither fused nor give new blocks.
        """
        rows, columns = self._reached.shape
        live = field.host_positions + field.motion()[1]
        reach = 1.5 * field.reach_m
        live = live[live[:, 2] > -reach]
        near, far = live[:, 2] - reach, live[:, 2] + reach
        if len(live) and near.min() <= self._near_m:
            return np.ones_like(self._reached)
        # Corners of each node's rectangle in a table of differences, whose sums count the rectangles over a tile.
        bounds = []
        for axis, focal, centre, limit in (
            (0, intrinsics.fx, intrinsics.cx, columns),
            (1, intrinsics.fy, intrinsics.cy, rows),
        ):
            low, high = live[:, axis] - reach, live[:, axis] + reach
            first = np.minimum(low / near, low / far) * (focal / _TILE) + centre / _TILE
            last = np.maximum(high / near, high / far) * (focal / _TILE) + (centre / _TILE + 1.0)
            bounds += [np.clip(first, 0, limit).astype(np.intp), np.clip(last, 0, limit).astype(np.intp)]
        u, u_end, v, v_end = bounds
        places = np.concatenate([row * (columns + 1) + column for row in (v, v_end) for column in (u, u_end)])
        steps = np.repeat([1.0, -1.0, -1.0, 1.0], len(u))
        table = np.bincount(places, steps, minlength=(rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
        reached = np.cumsum(np.cumsum(table, axis=0), axis=1)[:-1, :-1] > 0.5
        if intrinsics.width % _FINE:
            # The last fine tiles are moved into the ones before: both are graded or neither is.
            reached[:, -2:] |= reached[:, -2:].any(axis=1, keepdims=True)
        return reached


def _tiles_of(size: tuple[int, int], tile_px: int) -> tuple[int, int]:
    """Rows and columns of tiles that cover an image of so many lines and columns."""
    return -(-size[0] // tile_px), -(-size[1] // tile_px)
