# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Surface nets on sparse blocks (Gibson 1998): one vertex per cell with a change of sign, one quad per such edge.

A cell is named after its lowest corner voxel and belongs to that voxel's block. Work and lists are per z-slice of
a block (64 cells), so that no two threads write the same address.
"""

import warp as wp

from bodystream.fusion.blocks_kernels import EDGE, Blocks, find_slot
from bodystream.fusion.cells_kernels import (
    SLICE,
    cell_code,
    cell_colour,
    cell_corners,
    cell_gradient,
    cell_vertex,
    crossing_cells,
    fill_unknown,
    known_corners,
    published_row,
)
from bodystream.fusion.integrate_kernels import BLOCK_VOXELS, Voxels
from bodystream.fusion.lanes_kernels import most, vec8i

wp.set_module_options({"enable_backward": False, "max_unroll": 16})

SLICE_QUADS = wp.constant(192)  # at most three quads per cell


@wp.struct
class CellVertices:
    """Vertices of all cells, listed per slice: a list begins at its slice's first cell, and holds `counts` entries."""

    codes: wp.array(dtype=wp.uint8)  # (B * 512,) per cell, 0 = no vertex; see `HAS_VERTEX`
    ranks: wp.array(dtype=wp.uint8)  # (B * 512,) per cell, place of its vertex in its slice's list
    cells: wp.array(dtype=wp.uint8)  # (B * 512,) listed: cells with a vertex
    positions: wp.array(dtype=wp.vec3)  # (B * 512,) listed, canonical [m]
    normals: wp.array(dtype=wp.vec3)  # (B * 512,) listed, canonical, unit
    colours: wp.array(dtype=wp.vec3ub)  # (B * 512,) listed, RGB
    counts: wp.array(dtype=wp.int32)  # (B * 8,)
    bases: wp.array(dtype=wp.int32)  # (B * 8,) place of a list among all vertices


@wp.struct
class CellAnchors:
    """What carries the vertices of all cells."""

    anchors: wp.array(dtype=wp.vec4i)  # (B * 512,) per cell, nodes
    weights: wp.array(dtype=wp.vec4)  # (B * 512,) per cell, of the nodes, sum 1
    states: wp.array(dtype=wp.uint8)  # (B * 512,) per cell, 0 = has no anchors yet, 1 = has, 2 = should be renewed
    pending: wp.array(dtype=wp.int32)  # (B * 8,) vertices of a slice whose state is not 1


@wp.struct
class CellQuads:
    """Quads of all edges that cross the surface, listed per slice."""

    edges: wp.array(dtype=wp.uint16)  # (B * 8 * 192,) listed: cell + 64 axis + 256 if the lower end is inside
    counts: wp.array(dtype=wp.int32)  # (B * 8,)
    bases: wp.array(dtype=wp.int32)  # (B * 8,) place of a list among all quads


@wp.func
def octant_slots(blocks: Blocks, block: wp.vec3i, sign: int) -> vec8i:
    """Slots of the block and of its neighbours towards +++ (sign 1) or --- (sign -1), bits x, y, z."""
    slots = vec8i()
    for c in range(8):
        slots[c] = find_slot(blocks, block + sign * wp.vec3i(c & 1, (c >> 1) & 1, c >> 2))
    return slots


@wp.kernel(enable_backward=False)
def mark_changed(
    begin: wp.int32,
    # Blocks:
    voxels: Voxels,
    # Options:
    tolerance: float,  # [m]
    # Out:
    changed_out: wp.array(dtype=wp.int32),  # (B,) bit z is set where slice z deviates by more
):
    block = begin + wp.tid()
    changed = int(0)
    for z in range(EDGE):
        changed += wp.where(voxels.slices.change[block * EDGE + z] > tolerance, 1 << z, 0)
    changed_out[block] = changed


@wp.kernel(enable_backward=False)
def mark_readers(
    begin: wp.int32,
    # Blocks:
    marked: wp.array(dtype=wp.int32),  # (B,) bit z is set where slice z is marked
    blocks: Blocks,
    # Options:
    sign: wp.int32,  # 1: slices that read towards +++, so also the next one; -1: towards ---
    # Out:
    readers_out: wp.array(dtype=wp.int32),  # (B,) bit z is set where slice z reads a marked one
):
    block = begin + wp.tid()
    here = int(0)
    beyond = int(0)
    slots = octant_slots(blocks, blocks.coords[block], sign)
    for c in range(8):
        if slots[c] >= 0:
            if c < 4:
                here = here | marked[slots[c]]
            else:
                beyond = beyond | marked[slots[c]]
    if sign > 0:
        readers_out[block] = here | (here >> 1) | ((beyond & 1) << 7)
    else:
        readers_out[block] = here | ((here << 1) & 255) | (beyond >> 7)


@wp.kernel(enable_backward=False)
def extract_vertices(
    begin: wp.int32,
    # Blocks:
    listed: wp.array(dtype=wp.int32),  # (E,) slots
    marked: wp.array(dtype=wp.int32),  # (B,) bit z is set where slice z is to be looked at
    blocks: Blocks,
    voxels: Voxels,
    voxel_m: float,
    # Options:
    min_corners: int,  # known corners that a cell must have
    # Out (of anchors, the states are read):
    vertices_out: CellVertices,
    anchors_out: CellAnchors,
):
    i = begin + wp.tid()
    block = listed[i / EDGE]
    z = i % EDGE
    if (marked[block] >> z) & 1 == 0:
        return
    first = (block * EDGE + z) * SLICE
    at = blocks.coords[block]
    slots = octant_slots(blocks, at, 1)
    count = int(0)
    pending = int(0)
    for k in range(vertices_out.counts[block * EDGE + z]):
        vertices_out.codes[first + int(vertices_out.cells[first + k])] = wp.uint8(0)
    b = published_row(voxels.published, slots, 0, z)
    d = published_row(voxels.published, slots, 0, z + 1)
    for y in range(int(EDGE)):
        a = b
        c = d
        b = published_row(voxels.published, slots, y + 1, z)
        d = published_row(voxels.published, slots, y + 1, z + 1)
        crossing = crossing_cells(a, b, c, d, min_corners)
        if most(crossing) > 0.0:
            for x in range(int(EDGE)):
                if crossing[x] > 0.0:
                    f = cell_corners(a, b, c, d, x)
                    known = known_corners(f)
                    g = f
                    if known != 255:
                        g = fill_unknown(f, known)
                    p = cell_vertex(g)
                    cell = y * EDGE + x
                    lowest = wp.vec3(float(at[0] * EDGE + x), float(at[1] * EDGE + y), float(at[2] * EDGE + z))
                    target = first + count
                    vertices_out.positions[target] = voxel_m * (lowest + p)
                    vertices_out.normals[target] = wp.normalize(cell_gradient(g, p))
                    vertices_out.colours[target] = cell_colour(voxels.colours, slots, x, y, z, p)
                    vertices_out.cells[target] = wp.uint8(cell)
                    vertices_out.ranks[first + cell] = wp.uint8(count)
                    vertices_out.codes[first + cell] = wp.uint8(cell_code(f))
                    count += 1
                    if anchors_out.states[first + cell] != wp.uint8(1):
                        pending += 1
    vertices_out.counts[block * EDGE + z] = count
    anchors_out.pending[block * EDGE + z] = pending


@wp.func
def neighbour_cell(slots: vec8i, cell: wp.vec3i, dx: int, dy: int, dz: int) -> int:
    """Index over all blocks of the cell at a non-positive offset, or -1 where its block is absent."""
    x = cell[0] - dx
    y = cell[1] - dy
    z = cell[2] - dz
    slot = slots[wp.where(x < 0, 1, 0) + wp.where(y < 0, 2, 0) + wp.where(z < 0, 4, 0)]
    index = int(-1)
    if slot >= 0:
        index = slot * BLOCK_VOXELS + ((z & 7) * EDGE + (y & 7)) * EDGE + (x & 7)
    return index


@wp.func
def quad_cells(slots: vec8i, cell: wp.vec3i, axis: int) -> wp.vec4i:
    """The four cells around the edge that leaves a cell's lowest corner along `axis`, turning right-handed."""
    ux = wp.where(axis == 2, 1, 0)
    uy = wp.where(axis == 0, 1, 0)
    uz = wp.where(axis == 1, 1, 0)
    vx = wp.where(axis == 1, 1, 0)
    vy = wp.where(axis == 2, 1, 0)
    vz = wp.where(axis == 0, 1, 0)
    return wp.vec4i(
        neighbour_cell(slots, cell, 0, 0, 0),
        neighbour_cell(slots, cell, ux, uy, uz),
        neighbour_cell(slots, cell, ux + vx, uy + vy, uz + vz),
        neighbour_cell(slots, cell, vx, vy, vz),
    )


@wp.kernel(enable_backward=False)
def list_quads(
    begin: wp.int32,
    # Blocks:
    listed: wp.array(dtype=wp.int32),  # (E,) slots
    marked: wp.array(dtype=wp.int32),  # (B,) bit z is set where slice z is to be looked at
    blocks: Blocks,
    vertices: CellVertices,
    # Out:
    quads_out: CellQuads,
):
    i = begin + wp.tid()
    block = listed[i / EDGE]
    z = i % EDGE
    if (marked[block] >> z) & 1 == 0:
        return
    z_slice = block * EDGE + z
    found = int(0)
    if vertices.counts[z_slice] > 0:
        slots = octant_slots(blocks, blocks.coords[block], -1)
        for k in range(vertices.counts[z_slice]):
            cell = int(vertices.cells[z_slice * SLICE + k])
            code = int(vertices.codes[z_slice * SLICE + cell])
            inside = code & 1
            for axis in range(3):
                if (code >> (axis + 1)) & 1 != inside:
                    around = quad_cells(slots, wp.vec3i(cell & 7, cell >> 3, z), axis)
                    complete = bool(True)
                    for side in range(1, 4):
                        if around[side] < 0:
                            complete = False
                        elif vertices.codes[around[side]] == wp.uint8(0):
                            complete = False
                    if complete:
                        quads_out.edges[z_slice * SLICE_QUADS + found] = wp.uint16(cell + 64 * axis + 256 * inside)
                        found += 1
    quads_out.counts[z_slice] = found
