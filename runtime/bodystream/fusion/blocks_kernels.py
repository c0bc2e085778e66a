# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Blocks of the canonical volume: which are missing, which the camera sees, and how their lattices move.

The warp is evaluated on a 3 x 3 x 3 lattice per block (every 3.5 voxels) and interpolated to the voxels.
"""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, blended, moved, vec16
from bodystream.device.camera_kernels import Camera
from bodystream.fusion.frame_kernels import TILE, Graded, joined
from bodystream.fusion.lanes_kernels import vec9

wp.set_module_options({"enable_backward": False, "max_unroll": 4})

EDGE = wp.constant(8)  # voxels along a block
LATTICE = wp.constant(3)  # lattice points along a block
LATTICE_POINTS = wp.constant(27)
LATTICE_STEP = wp.constant(3.5)  # voxels between lattice points
UNREACHED = wp.constant(0.0)  # no node covers a point
COMPLETE = wp.constant(1.0)  # all blocks within reach of a point are allocated
MISSING = wp.constant(2.0)  # some are not
UNCOVERED = wp.constant(-1.0e8)  # depth of a lattice point that no node carries


@wp.struct
class Blocks:
    """Which blocks exist, and where: `BlockDirectory.blocks`."""

    coords: wp.array(dtype=wp.vec3i)  # (B,) block coordinates of a slot
    table: wp.array3d(dtype=wp.int32)  # (T, T, T) slot of a block, -1 = none
    origin: wp.vec3i  # block coordinates of the table's first entry


@wp.struct
class Lattice:
    """What carries the lattice points of all blocks, point k = x + 3 y + 9 z of each."""

    anchors: wp.array(dtype=wp.vec4i)  # (B * 27,) nodes
    weights: wp.array(dtype=wp.vec4)  # (B * 27,) of the nodes, sum 1; all 0 = not covered
    stale: wp.array(dtype=wp.uint8)  # (B * 27,) 1 = to be asked for again


@wp.struct
class Live:
    """The lattices of blocks in the camera's frame [m]: layer z of nine points, x + 3 y, is at 3 block + z."""

    x: wp.array(dtype=vec9)  # (B * 3,)
    y: wp.array(dtype=vec9)  # (B * 3,)
    z: wp.array(dtype=vec9)  # (B * 3,)


@wp.struct
class SliceStates:
    """What is known of the slices of blocks, slice z at 8 block + z."""

    change: wp.array(dtype=float)  # (B * 8,) largest deviation from what is published [m]
    unrest: wp.array(dtype=wp.vec2)  # (B * 8,) weight of the last update that moved voxels, and all its weight
    occupied: wp.array(dtype=wp.uint8)  # (B * 8,) 1 = some voxel was observed


@wp.struct
class BlockRules:
    """When a block is updated."""

    voxel: float  # edge of a voxel [m]
    near: float  # [m]
    restless_share: float  # where less of an update's weight moved voxels, a block is updated in some frames only


@wp.func
def find_slot(blocks: Blocks, block: wp.vec3i) -> int:
    """The slot of a block, or -1 where it is not allocated."""
    x = block[0] - blocks.origin[0]
    y = block[1] - blocks.origin[1]
    z = block[2] - blocks.origin[2]
    slot = int(-1)
    table = blocks.table
    if x >= 0 and y >= 0 and z >= 0 and x < table.shape[0] and y < table.shape[1] and z < table.shape[2]:
        slot = table[x, y, z]
    return slot


@wp.func
def block_of(p: wp.vec3, block_m: float) -> wp.vec3i:
    return wp.vec3i(int(wp.floor(p[0] / block_m)), int(wp.floor(p[1] / block_m)), int(wp.floor(p[2] / block_m)))


@wp.func
def lattice_position(coord: wp.vec3i, k: int, voxel_m: float) -> wp.vec3:
    """Canonical position of lattice point k = x + 3 y + 9 z of a block [m]."""
    x = float(coord[0] * EDGE) + float(k % LATTICE) * LATTICE_STEP
    y = float(coord[1] * EDGE) + float((k / LATTICE) % LATTICE) * LATTICE_STEP
    z = float(coord[2] * EDGE) + float(k / (LATTICE * LATTICE)) * LATTICE_STEP
    return wp.vec3(x, y, z) * voxel_m


@wp.func
def is_covered(weights: wp.vec4) -> bool:
    """Whether some node carries a point."""
    return weights[0] + weights[1] + weights[2] + weights[3] > 0.0


@wp.kernel(enable_backward=False)
def scatter_slots(
    begin: wp.int32,
    # Options:
    first: wp.int32,  # slot from which the table does not know them yet
    # Out (read, too):
    blocks_out: Blocks,
):
    slot = first + begin + wp.tid()
    c = blocks_out.coords[slot] - blocks_out.origin
    blocks_out.table[c[0], c[1], c[2]] = slot


@wp.kernel(enable_backward=False)
def find_missing(
    begin: wp.int32,
    # Frame:
    points: wp.array(dtype=wp.vec3),  # (P,) canonical [m]
    valid: wp.array(dtype=wp.int32),  # (P,) 0 = no node covers it
    # Blocks:
    blocks: Blocks,
    block_m: float,
    # Options:
    reach: float,  # [m], at most half a block: the box around a point then touches 2 blocks per axis
    # Out:
    found_out: wp.array(dtype=wp.vec4),  # (P,) the point, and UNREACHED, COMPLETE or MISSING
):
    i = begin + wp.tid()
    p = points[i]
    found = float(UNREACHED)
    if valid[i] != 0:
        found = float(COMPLETE)
        r = wp.vec3(reach, reach, reach)
        low = block_of(p - r, block_m)
        high = block_of(p + r, block_m)
        for x in range(low[0], high[0] + 1):
            for y in range(low[1], high[1] + 1):
                for z in range(low[2], high[2] + 1):
                    if find_slot(blocks, wp.vec3i(x, y, z)) < 0:
                        found = float(MISSING)
    found_out[i] = wp.vec4(p[0], p[1], p[2], found)


@wp.kernel(enable_backward=False)
def place_lattice(
    begin: wp.int32,
    # Blocks:
    indices: wp.array(dtype=wp.int32),  # (P,) block * 27 + lattice point
    blocks: Blocks,
    voxel_m: float,
    # Out:
    points_out: wp.array(dtype=wp.vec3),  # (P,) canonical [m]
):
    i = begin + wp.tid()
    index = indices[i]
    points_out[i] = lattice_position(blocks.coords[index / LATTICE_POINTS], index % LATTICE_POINTS, voxel_m)


@wp.kernel(enable_backward=False)
def scatter_anchors(
    begin: wp.int32,
    # Points:
    indices: wp.array(dtype=wp.int32),  # (P,) block * 27 + lattice point
    points: Points,
    # Out:
    lattice_out: Lattice,
):
    i = begin + wp.tid()
    lattice_out.anchors[indices[i]] = points.anchors[i]
    lattice_out.weights[indices[i]] = points.weights[i]
    lattice_out.stale[indices[i]] = wp.uint8(0)


@wp.func
def is_stale(
    p: wp.vec3,
    anchors: wp.vec4i,
    weights: wp.vec4,
    positions: wp.array(dtype=wp.vec3),
    node_changed: wp.array(dtype=wp.uint8),
    trusted_distance: float,
) -> bool:
    """Whether a change of the graph may have changed a point's anchors; the first anchor is the nearest node."""
    stale = bool(weights[0] + weights[1] + weights[2] + weights[3] == 0.0)
    if not stale:
        stale = node_changed[anchors[0]] != wp.uint8(0)
        if wp.length_sq(positions[anchors[0]] - p) > trusted_distance * trusted_distance:
            stale = True
    return stale


@wp.kernel(enable_backward=False)
def mark_stale_lattice(
    begin: wp.int32,
    # Blocks:
    blocks: Blocks,
    voxel_m: float,
    # Graph:
    graph: Graph,
    node_changed: wp.array(dtype=wp.uint8),  # (N,) 1 = points nearest to it may have other anchors
    trusted_distance: float,  # [m]
    # Out (read, too):
    lattice_out: Lattice,
):
    i = begin + wp.tid()
    p = lattice_position(blocks.coords[i / LATTICE_POINTS], i % LATTICE_POINTS, voxel_m)
    anchors = lattice_out.anchors[i]
    if is_stale(p, anchors, lattice_out.weights[i], graph.positions, node_changed, trusted_distance):
        lattice_out.stale[i] = wp.uint8(1)


@wp.func
def may_be_updated(low: wp.vec3, high: wp.vec3, occupied: bool, graded: Graded, camera: Camera, near: float) -> bool:
    """Whether a frame may update a box in the camera's frame [m]: by fusing, or by carving what it holds."""
    update = bool(False)
    if high[2] > near:
        a = 1.0 / wp.max(low[2], near)
        b = 1.0 / high[2]
        columns = (camera.width + TILE - 1) / TILE
        rows = (camera.height + TILE - 1) / TILE
        u_first = camera.fx * wp.min(low[0] * a, low[0] * b) + camera.cx
        u_last = camera.fx * wp.max(high[0] * a, high[0] * b) + camera.cx
        v_first = camera.fy * wp.min(low[1] * a, low[1] * b) + camera.cy
        v_last = camera.fy * wp.max(high[1] * a, high[1] * b) + camera.cy
        edge = float(TILE)
        u_low = int(wp.clamp((u_first - 1.0) / edge, 0.0, float(columns)))
        u_high = int(wp.clamp((u_last + 1.0) / edge + 1.0, 0.0, float(columns)))
        v_low = int(wp.clamp((v_first - 1.0) / edge, 0.0, float(rows)))
        v_high = int(wp.clamp((v_last + 1.0) / edge + 1.0, 0.0, float(rows)))
        seen = wp.vec3(1.0e6, 0.0, 0.0)
        for row in range(v_low, v_high):
            for column in range(u_low, u_high):
                seen = joined(seen, graded.tiles[row * columns + column])
        update = low[2] <= seen[1] and high[2] >= seen[0]
        if occupied and wp.max(seen[1], seen[2]) > low[2]:
            update = True
    return update


@wp.func
def has_turn(block: int, turn: wp.vec2i) -> bool:
    """Whether what is settled of a block is updated, too."""
    return (block + turn[0]) % turn[1] == 0


@wp.func
def is_restless(unrest: wp.vec2, share: float) -> bool:
    """Whether an update moved enough of what it touched."""
    return unrest[0] > share * unrest[1]


@wp.func
def is_due(block: int, unrest: wp.array(dtype=wp.vec2), turn: wp.vec2i, restless_share: float) -> bool:
    """Whether a block is to be updated: in every frame while it changes, else when it is its turn."""
    total = wp.vec2(0.0, 0.0)
    for z_slice in range(int(EDGE)):
        total += unrest[block * EDGE + z_slice]
    return is_restless(total, restless_share) or has_turn(block, turn)


@wp.kernel(enable_backward=False)
def warp_blocks(
    begin: wp.int32,
    # Blocks:
    blocks: Blocks,
    lattice: Lattice,
    states: SliceStates,
    # Graph:
    motions: wp.array(dtype=vec16),  # (N,) see `gather_motions`
    # Frame:
    graded: Graded,
    camera: Camera,
    # Options:
    rules: BlockRules,
    turn: wp.vec2i,  # number of the frame, and of how many frames a settled block sees one
    # Out:
    live_out: Live,
    active_out: wp.array(dtype=wp.int32),  # (B,) 1 = some voxel may be updated by this frame
):
    block = begin + wp.tid()
    active = int(0)
    if is_due(block, states.unrest, turn, rules.restless_share):
        low = wp.vec3(1.0e9, 1.0e9, 1.0e9)
        high = wp.vec3(-1.0e9, -1.0e9, -1.0e9)
        coord = blocks.coords[block]
        for layer in range(int(LATTICE)):
            x = vec9()
            y = vec9()
            z = vec9()
            for k in range(int(LATTICE * LATTICE)):
                index = block * LATTICE_POINTS + layer * LATTICE * LATTICE + k
                w = lattice.weights[index]
                q = wp.vec3(0.0, 0.0, UNCOVERED)
                if is_covered(w):
                    p = lattice_position(coord, layer * LATTICE * LATTICE + k, rules.voxel)
                    a = lattice.anchors[index]
                    q = moved(blended(motions, a, w), p)
                    low = wp.min(low, q)
                    high = wp.max(high, q)
                x[k] = q[0]
                y[k] = q[1]
                z[k] = q[2]
            live_out.x[block * LATTICE + layer] = x
            live_out.y[block * LATTICE + layer] = y
            live_out.z[block * LATTICE + layer] = z
        # Voxels lie between lattice points, so that the box of those holds all of them.
        occupied = int(0)
        for z_slice in range(int(EDGE)):
            occupied += int(states.occupied[block * EDGE + z_slice])
        active = wp.where(may_be_updated(low, high, occupied > 0, graded, camera, rules.near), 1, 0)
    active_out[block] = active
