"""Where the voxels of a block are: its live lattice, interpolated to rows of eight voxels along x."""

import warp as wp

from bodystream.fusion.blocks_kernels import LATTICE, LATTICE_STEP, Live
from bodystream.fusion.lanes_kernels import vec8

__all__ = ["HAT_0", "HAT_1", "HAT_2", "Columns", "columns_of"]

wp.set_module_options({"enable_backward": False, "max_unroll": 8})

# Shares of the three lattice points along an axis in the eight voxels between them.
HAT_0 = wp.constant(vec8(*(max(0.0, 1.0 - abs(x / LATTICE_STEP - 0)) for x in range(8))))
HAT_1 = wp.constant(vec8(*(max(0.0, 1.0 - abs(x / LATTICE_STEP - 1)) for x in range(8))))
HAT_2 = wp.constant(vec8(*(max(0.0, 1.0 - abs(x / LATTICE_STEP - 2)) for x in range(8))))


@wp.struct
class Columns:
    """The live lattice of a slice, interpolated to its eight rows: lattice column 0 to 2 along x, camera frame [m]."""

    x0: vec8
    x1: vec8
    x2: vec8
    y0: vec8
    y1: vec8
    y2: vec8
    z0: vec8
    z1: vec8
    z2: vec8


@wp.func
def along(p0: float, p1: float, p2: float) -> vec8:
    """Values at three lattice points, interpolated to the eight voxels between them."""
    return p0 * HAT_0 + p1 * HAT_1 + p2 * HAT_2


@wp.func
def columns_of(live: Live, block: int, z: int) -> Columns:
    """The live lattice of slice z of a block, at its rows."""
    along_z = float(z) / LATTICE_STEP
    below = wp.min(int(along_z), LATTICE - 2)
    share = along_z - float(below)
    layer = block * LATTICE + below
    c = Columns()
    p = live.x[layer] + share * (live.x[layer + 1] - live.x[layer])
    c.x0 = along(p[0], p[3], p[6])
    c.x1 = along(p[1], p[4], p[7])
    c.x2 = along(p[2], p[5], p[8])
    p = live.y[layer] + share * (live.y[layer + 1] - live.y[layer])
    c.y0 = along(p[0], p[3], p[6])
    c.y1 = along(p[1], p[4], p[7])
    c.y2 = along(p[2], p[5], p[8])
    p = live.z[layer] + share * (live.z[layer + 1] - live.z[layer])
    c.z0 = along(p[0], p[3], p[6])
    c.z1 = along(p[1], p[4], p[7])
    c.z2 = along(p[2], p[5], p[8])
    return c
