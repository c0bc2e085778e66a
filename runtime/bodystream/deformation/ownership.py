"""Which part of the model explains which part of a depth image.

What passes before the body is near it in the image and in space, and far from it on the surface. So every step that
joins what is seen to the model asks here first whose it is: fusion, the allocation of blocks, and new nodes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import warp as wp

from bodystream.deformation import ownership_kernels as kernels
from bodystream.deformation.field import WarpField
from bodystream.device import LaunchCache, download, view_as
from bodystream.device.camera import device_camera
from bodystream.types import Array, CameraIntrinsics

__all__ = ["CELL_PX", "MOST_POINTS", "OwnedFrame", "Ownership", "unowned"]

CELL_PX = int(kernels.CELL_PX)
MOST_POINTS = 1 << int(kernels.INDEX_BITS)
"""That `Ownership.update` takes."""


def unowned(size: tuple[int, ...], device: wp.Device) -> Any:
    """The `Owners` of an image of (H, W) pixels in which no cell belongs to anybody."""
    shape = (-(-size[0] // CELL_PX), -(-size[1] // CELL_PX))
    owners = kernels.Owners()
    owners.points = wp.zeros(shape, dtype=wp.vec4, device=device)
    owners.nodes = wp.full(shape, -1, dtype=wp.int32, device=device)
    return owners


class OwnedFrame(NamedTuple):
    """What is known of a frame, on the host.

    Attributes:
        nodes: (h, w) int32, the node that carries the owner of each cell, -1 = nobody.
        points: (N,) int32, points of the model that go with each node most; 0 before `Ownership.tally`.
        through: (N,) int32, of these, how many the camera sees through.
    """

    nodes: Array
    points: Array
    through: Array


class Ownership:
    """The owner of each cell of the image: a point of the model that is seen there, or whose surface goes on there.

    Args:
        field: moves the model. intrinsics: of every image.
        seen_m: a point is seen where the depth agrees this well, beyond its noise.
        reach_m: how far surface may lie canonically from the point of the model that is seen at the same place.
        spread_cells: how far an owner's surface is followed beyond the model, in cells; it stops where depth jumps.
        through_m: a point is seen through where the depth is this far behind it, beyond its noise.
        rim_px: background this close to the foreground shows nothing to be seen through.

    Attributes:
        owners: the kernels' view, an `ownership_kernels.Owners`, valid after `update`.
    """

    def __init__(
        self,
        field: WarpField,
        intrinsics: CameraIntrinsics,
        seen_m: float = 0.03,
        reach_m: float = 0.08,
        spread_cells: int = 16,
        through_m: float = 0.05,
        rim_px: int = 6,
    ) -> None:
        self._field = field
        self._camera = device_camera(intrinsics)
        self._spread_cells = spread_cells
        self._launch = LaunchCache(field.device)
        device = field.device
        self.owners = unowned((intrinsics.height, intrinsics.width), device)
        self._shape = shape = self.owners.nodes.shape
        self._cells = wp.zeros(shape, dtype=float, device=device)
        self._keys = wp.zeros(shape, dtype=wp.int32, device=device)
        self._waiting = waiting = kernels.Waiting()
        waiting.columns = wp.zeros(shape, dtype=wp.int32, device=device)
        waiting.counts = wp.zeros(shape[0], dtype=wp.int32, device=device)
        waiting.taken = wp.zeros(shape, dtype=wp.int32, device=device)
        self._rules = rules = kernels.OwnerRules()
        rules.seen_m, rules.reach_m = seen_m, reach_m
        rules.min_cosine, rules.steepest, rules.through_m = 0.1, 2.0, through_m
        rules.rim_px = rim_px
        self._reserve()

    def _reserve(self) -> None:
        """The nodes of all cells and behind them the tallies of all nodes, so that they are read back as one."""
        cells, capacity = self._shape[0] * self._shape[1], self._field.capacity
        block = wp.zeros(cells + 2 * capacity, dtype=wp.int32, device=self._field.device)
        nodes = view_as(block, wp.int32, self._shape)
        wp.copy(nodes, self.owners.nodes)
        self._block, self.owners.nodes = block, nodes
        self._tallies = view_as(block, wp.vec2i, capacity, begin=4 * cells)

    def update(self, points: Any, count: int, depth: wp.array) -> None:
        """Find the owners in a frame, with the field's motion at it.

        Args:
            points: `deformation.kernels.Points` of the model, with normals; `count` of them, at most 65,536.
            depth: (H, W) float32 device array, the foreground's depth [m], 0 elsewhere.
        """
        if count > MOST_POINTS:
            raise ValueError(f"ownership takes at most {MOST_POINTS} points, got {count}")
        rows, rules, camera = self._shape[0], self._rules, self._camera
        self._launch(kernels.prepare_cells, rows, [depth, self._cells, self._keys], min_chunk=32)
        inputs = [points, self._field.motions, depth, camera, rules, self._keys]
        self._launch(kernels.claim_cells, count, inputs, split=False)
        inputs = [points, self._cells, self._keys, rules, self.owners, self._waiting]
        self._launch(kernels.name_owners, rows, inputs, min_chunk=128)
        if self._field.device.is_cpu:  # a launch for each step would cost more than the step
            self._spread(1, rows, 0, self._spread_cells)
        else:
            for step in range(self._spread_cells):
                self._spread(rows, 1, step, 1)

    def _spread(self, threads: int, rows: int, first: int, steps: int) -> None:
        inputs = [self._cells, self._camera, self._rules, rows, first, steps, self.owners, self._waiting]
        self._launch(kernels.spread_owners, threads, inputs, split=False)

    def clear(self) -> None:
        """Let nobody own anything."""
        self.owners.points.zero_()
        self.owners.nodes.fill_(-1)
        self._tallies.zero_()

    def tally(self, points: Any, count: int, depth: wp.array, scene_depth: wp.array) -> None:
        """Count the points of each node, and those that the camera sees through, in the frame of the last `update`.

        Args:
            points, count, depth: as for `update`.
            scene_depth: (H, W) float32 device array, all measurements [m], 0 = none.
        """
        if len(self._tallies) != self._field.capacity:
            self._reserve()
        self._tallies.zero_()
        inputs = [points, self._field.motions, depth, scene_depth, self._camera, self._rules, self._tallies]
        self._launch(kernels.tally_points, count, inputs, split=False)

    def read(self) -> OwnedFrame:
        """What is known of the frame of the last `update` and `tally`; read back at once."""
        count, cells = self._field.count, self._shape[0] * self._shape[1]
        block = download(self._block)
        tallies = np.zeros((count, 2), np.int32)
        known = block[cells:].reshape(-1, 2)[:count]
        tallies[: len(known)] = known
        return OwnedFrame(block[:cells].reshape(self._shape).copy(), tallies[:, 0], tallies[:, 1])
