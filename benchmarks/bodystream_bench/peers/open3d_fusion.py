"""Open3D's rigid fusion of the same frames: integration into a voxel block grid, and its mesh.

It has no deformation and no anchors, so it does less than the fusion it is compared with. Open3D is a package for
comparison only; the runtime never imports it.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from bodystream.errors import MissingDependencyError
from bodystream.types import Array, CameraIntrinsics

__all__ = ["Open3dFusion"]


class Open3dFusion:
    """`open3d.t.geometry.VoxelBlockGrid` on the CPU, set up like `FusionConfig`.

    Args:
        voxel_m: edge of a voxel [m].
        truncation_m: truncation of the signed distance [m].
        block_capacity: blocks of 8 x 8 x 8 voxels to reserve.

    Raises:
        MissingDependencyError: Open3D is not installed.
    """

    def __init__(self, voxel_m: float = 0.008, truncation_m: float = 0.03, block_capacity: int = 4000) -> None:
        try:
            self._o3d: Any = importlib.import_module("open3d")
        except ImportError as error:
            raise MissingDependencyError(
                "open3d", "to compare fusion with Open3D's", "Run `pip install open3d`, or leave this comparison out."
            ) from error
        o3d = self._o3d
        self.version: str = o3d.__version__
        self._device = o3d.core.Device("CPU:0")
        self._truncation_voxels = truncation_m / voxel_m
        self._grid = o3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight", "color"),
            (o3d.core.float32, o3d.core.float32, o3d.core.float32),
            ((1), (1), (3)),
            voxel_m,
            8,
            block_capacity,
            self._device,
        )

    def prepare(self, depth_m: Array, colour: Array, mask: Array) -> tuple[Any, Any]:
        """Images in Open3D's types; what is not foreground has no depth.

        Args:
            depth_m: (H, W) float32 [m]. colour: (H, W, 3) uint8 RGB. mask: (H, W) bool.
        """
        o3d = self._o3d
        depth = np.where(mask, depth_m, 0.0).astype(np.float32)[..., None]
        image = np.ascontiguousarray(colour, np.float32) / 255.0
        return (
            o3d.t.geometry.Image(o3d.core.Tensor(depth, device=self._device)),
            o3d.t.geometry.Image(o3d.core.Tensor(image, device=self._device)),
        )

    def integrate(self, images: tuple[Any, Any], intrinsics: CameraIntrinsics, camera_from_world: Array) -> None:
        """Fuse one frame.

        Args:
            images: from `prepare`.
            intrinsics: of the images.
            camera_from_world: (4, 4) rigid transform.
        """
        core = self._o3d.core
        depth, colour = images
        matrix = core.Tensor(intrinsics.matrix, core.float64)
        extrinsic = core.Tensor(np.asarray(camera_from_world, np.float64), core.float64)
        scale, farthest = 1.0, 6.0
        blocks = self._grid.compute_unique_block_coordinates(
            depth, matrix, extrinsic, scale, farthest, self._truncation_voxels
        )
        self._grid.integrate(blocks, depth, colour, matrix, matrix, extrinsic, scale, farthest, self._truncation_voxels)

    def extract(self, min_weight: float = 1.5) -> tuple[int, int]:
        """Mesh the whole grid; returns the numbers of vertices and faces."""
        mesh = self._grid.extract_triangle_mesh(min_weight)
        return len(mesh.vertex.positions), len(mesh.triangle.indices)
