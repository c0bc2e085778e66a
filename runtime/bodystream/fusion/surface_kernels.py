# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Surface nets on sparse blocks (Gibson 1998): one vertex per cell with a change of sign, one quad per such edge.

A cell is named after its lowest corner voxel and belongs to that voxel's block. Work and lists are per z-slice of
a block (64 cells), so that no two threads write the same address.
"""

import warp as wp

from bodystream.fusion.blocks_kernels import EDGE, Blocks, find_slot
from bodystream.fusion.integrate_kernels import BLOCK_VOXELS, Voxels, vec4us

wp.set_module_options({"enable_backward": False, "max_unroll": 16})

SLICE = wp.constant(64)  # cells of a slice
SLICE_QUADS = wp.constant(192)  # at most three quads per cell
HAS_VERTEX = wp.constant(16)  # bit of a cell's code; bits 0, 1, 2, 3: sign of its corner and of the next along x, y, z

vec8 = wp.types.vector(length=8, dtype=float)
vec8i = wp.types.vector(length=8, dtype=int)


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
    bases: wp.array(dtype=wp.int32)  # (B * 8,) place of a list in the mesh, -1 = left out


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
    bases: wp.array(dtype=wp.int32)  # (B * 8,) place of a list in the mesh, -1 = left out


@wp.func
def corner(c: int) -> wp.vec3:
    return wp.vec3(float(c & 1), float((c >> 1) & 1), float(c >> 2))


@wp.func
def octant_slots(blocks: Blocks, block: wp.vec3i, sign: int) -> vec8i:
    """Slots of the block and of its neighbours towards +++ (sign 1) or --- (sign -1), bits x, y, z."""
    slots = vec8i()
    for c in range(8):
        slots[c] = find_slot(blocks, block + sign * wp.vec3i(c & 1, (c >> 1) & 1, c >> 2))
    return slots


@wp.func
def cell_vertex(f: vec8) -> wp.vec3:
    """Mean of the zero crossings on a cell's edges, in cells."""
    total = wp.vec3(0.0, 0.0, 0.0)
    count = float(0.0)
    for c in range(8):
        for axis in range(3):
            if (c >> axis) & 1 == 0:
                a = f[c]
                b = f[c + (1 << axis)]
                if (a < 0.0) != (b < 0.0):
                    p = corner(c)
                    p[axis] = a / (a - b)
                    total += p
                    count += 1.0
    return total / count


@wp.func
def cell_gradient(f: vec8, p: wp.vec3) -> wp.vec3:
    """Gradient of the trilinear interpolant at p in [0, 1]^3."""
    x = p[0]
    y = p[1]
    z = p[2]
    gx = wp.lerp(wp.lerp(f[1] - f[0], f[3] - f[2], y), wp.lerp(f[5] - f[4], f[7] - f[6], y), z)
    gy = wp.lerp(wp.lerp(f[2] - f[0], f[3] - f[1], x), wp.lerp(f[6] - f[4], f[7] - f[5], x), z)
    gz = wp.lerp(wp.lerp(f[4] - f[0], f[5] - f[1], x), wp.lerp(f[6] - f[2], f[7] - f[3], x), y)
    return wp.vec3(gx, gy, gz)


@wp.func
def published_at(published: wp.array(dtype=float), slots: vec8i, x: int, y: int, z: int) -> float:
    """Value of a voxel with coordinates in [0, 8], from the block or its + neighbours; 2 = unknown."""
    value = float(2.0)
    slot = slots[(x >> 3) + 2 * (y >> 3) + 4 * (z >> 3)]
    if slot >= 0:
        value = published[slot * BLOCK_VOXELS + ((z & 7) * EDGE + (y & 7)) * EDGE + (x & 7)]
    return value


@wp.func
def cell_colour(colours: wp.array(dtype=vec4us), slots: vec8i, x: int, y: int, z: int, p: wp.vec3) -> wp.vec3ub:
    """Trilinear mean of the coloured voxels around a vertex; mid grey where there is none."""
    total = wp.vec3(0.0, 0.0, 0.0)
    weight = float(0.0)
    for c in range(8):
        cx = x + (c & 1)
        cy = y + ((c >> 1) & 1)
        cz = z + (c >> 2)
        slot = slots[(cx >> 3) + 2 * (cy >> 3) + 4 * (cz >> 3)]
        if slot >= 0:
            stored = colours[slot * BLOCK_VOXELS + ((cz & 7) * EDGE + (cy & 7)) * EDGE + (cx & 7)]
            if stored[3] > wp.uint16(0):
                away = p - corner(c)
                w = (1.01 - wp.abs(away[0])) * (1.01 - wp.abs(away[1])) * (1.01 - wp.abs(away[2]))
                total += w * wp.vec3(float(stored[0]), float(stored[1]), float(stored[2]))
                weight += w
    result = wp.vec3ub(wp.uint8(128), wp.uint8(128), wp.uint8(128))
    if weight > 0.0:
        mean = total / (256.0 * weight) + wp.vec3(0.5, 0.5, 0.5)
        r = wp.uint8(wp.min(mean[0], 255.0))
        g = wp.uint8(wp.min(mean[1], 255.0))
        b = wp.uint8(wp.min(mean[2], 255.0))
        result = wp.vec3ub(r, g, b)
    return result


@wp.kernel(enable_backward=False)
def mark_changed(
    begin: wp.int32,
    # Blocks:
    voxels: Voxels,
    # Options:
    tolerance: float,  # [m]
    # Out:
    changed_out: wp.array(dtype=wp.int32),  # (B,) 1 = some slice deviates by more
):
    block = begin + wp.tid()
    most = float(0.0)
    for z in range(EDGE):
        most = wp.max(most, voxels.change[block * EDGE + z])
    changed_out[block] = wp.where(most > tolerance, 1, 0)


@wp.kernel(enable_backward=False)
def mark_readers(
    begin: wp.int32,
    # Blocks:
    marked: wp.array(dtype=wp.int32),  # (B,) 0 = not marked
    blocks: Blocks,
    # Options:
    sign: wp.int32,  # 1: blocks that read towards +++; -1: towards ---
    # Out:
    readers_out: wp.array(dtype=wp.int32),  # (B,) 1 = reads a marked block
):
    block = begin + wp.tid()
    reads = int(0)
    slots = octant_slots(blocks, blocks.coords[block], sign)
    for c in range(8):
        if slots[c] >= 0:
            if marked[slots[c]] != 0:
                reads = 1
    readers_out[block] = reads


@wp.func
def fill_unknown(f: vec8, known: int) -> vec8:
    """Values of a cell's corners, unknown ones replaced by the mean of their known neighbours along the cell's edges.

    Args:
        known: bit c is set where corner c is known.
    """
    filled = f
    for c in range(8):
        if (known >> c) & 1 == 0:
            total = float(0.0)
            count = float(0.0)
            for axis in range(3):
                n = c ^ (1 << axis)
                if (known >> n) & 1 == 1:
                    total += f[n]
                    count += 1.0
            if count > 0.0:
                filled[c] = total / count
    return filled


@wp.kernel(enable_backward=False)
def extract_vertices(
    begin: wp.int32,
    # Blocks:
    listed: wp.array(dtype=wp.int32),  # (E,) slots
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
    first = (block * EDGE + z) * SLICE
    at = blocks.coords[block]
    slots = octant_slots(blocks, at, 1)
    count = int(0)
    pending = int(0)
    for y in range(int(EDGE)):
        f = vec8()
        f[1] = published_at(voxels.published, slots, 0, y, z)
        f[3] = published_at(voxels.published, slots, 0, y + 1, z)
        f[5] = published_at(voxels.published, slots, 0, y, z + 1)
        f[7] = published_at(voxels.published, slots, 0, y + 1, z + 1)
        for x in range(int(EDGE)):
            f[0] = f[1]
            f[2] = f[3]
            f[4] = f[5]
            f[6] = f[7]
            f[1] = published_at(voxels.published, slots, x + 1, y, z)
            f[3] = published_at(voxels.published, slots, x + 1, y + 1, z)
            f[5] = published_at(voxels.published, slots, x + 1, y, z + 1)
            f[7] = published_at(voxels.published, slots, x + 1, y + 1, z + 1)
            low = float(2.0)
            high = float(-2.0)
            known = int(0)
            corners = int(0)
            for c in range(8):
                if f[c] < 1.5:
                    low = wp.min(low, f[c])
                    high = wp.max(high, f[c])
                    known += 1 << c
                    corners += 1
            cell = y * EDGE + x
            code = int(0)
            if low < 0.0 and high >= 0.0 and corners >= min_corners:
                g = f
                if corners < 8:
                    g = fill_unknown(f, known)
                p = cell_vertex(g)
                lowest = wp.vec3(float(at[0] * EDGE + x), float(at[1] * EDGE + y), float(at[2] * EDGE + z))
                target = first + count
                vertices_out.positions[target] = voxel_m * (lowest + p)
                vertices_out.normals[target] = wp.normalize(cell_gradient(g, p))
                vertices_out.colours[target] = cell_colour(voxels.colours, slots, x, y, z, p)
                vertices_out.cells[target] = wp.uint8(cell)
                vertices_out.ranks[first + cell] = wp.uint8(count)
                count += 1
                if anchors_out.states[first + cell] != wp.uint8(1):
                    pending += 1
                # Signs of the corners 0, 1, 2 and 4; an edge with an unknown end does not cross the surface.
                code = int(HAS_VERTEX)
                inside = wp.where(f[0] < 0.0, 1, 0)
                code += inside
                for axis in range(3):
                    end = f[1 << axis]
                    sign = wp.where(end < 0.0, 1, 0)
                    if end >= 1.5 or f[0] >= 1.5:
                        sign = inside
                    code += sign << (axis + 1)
            vertices_out.codes[first + cell] = wp.uint8(code)
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
    blocks: Blocks,
    vertices: CellVertices,
    # Out:
    quads_out: CellQuads,
):
    i = begin + wp.tid()
    block = listed[i / EDGE]
    z = i % EDGE
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
