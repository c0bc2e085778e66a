# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""A cell between eight voxels: whether the surface crosses it, and the vertex, normal and colour that it gets."""

import warp as wp

from bodystream.fusion.blocks_kernels import EDGE
from bodystream.fusion.integrate_kernels import BLOCK_VOXELS, UNKNOWN, vec4us
from bodystream.fusion.lanes_kernels import larger, least, smaller, vec8, vec8i

wp.set_module_options({"enable_backward": False, "max_unroll": 16})

SLICE = wp.constant(64)  # cells of a slice
HAS_VERTEX = wp.constant(16)  # bit of a cell's code; bits 0, 1, 2, 3: sign of its corner and of the next along x, y, z


@wp.func
def corner(c: int) -> wp.vec3:
    return wp.vec3(float(c & 1), float((c >> 1) & 1), float(c >> 2))


@wp.func
def crossings(a: wp.vec4, b: wp.vec4) -> wp.vec4:
    """1 for the edges from a to b that cross the surface, else 0."""
    crossed = wp.vec4()
    for k in range(4):
        crossed[k] = wp.abs(wp.where(a[k] < 0.0, 1.0, 0.0) - wp.where(b[k] < 0.0, 1.0, 0.0))
    return crossed


@wp.func
def crossing_places(a: wp.vec4, b: wp.vec4, crossed: wp.vec4) -> float:
    """Sum of where the crossed edges from a to b are crossed, 0 to 1 each."""
    total = float(0.0)
    for k in range(4):
        total += wp.where(crossed[k] > 0.0, a[k] / wp.where(crossed[k] > 0.0, a[k] - b[k], 1.0), 0.0)
    return total


@wp.func
def cell_vertex(f: vec8) -> wp.vec3:
    """Mean of the zero crossings on a cell's edges, in cells."""
    left = wp.vec4(f[0], f[2], f[4], f[6])
    right = wp.vec4(f[1], f[3], f[5], f[7])
    top = wp.vec4(f[0], f[1], f[4], f[5])
    bottom = wp.vec4(f[2], f[3], f[6], f[7])
    front = wp.vec4(f[0], f[1], f[2], f[3])
    back = wp.vec4(f[4], f[5], f[6], f[7])
    x = crossings(left, right)
    y = crossings(top, bottom)
    z = crossings(front, back)
    # Of four edges along an axis, the second and fourth, and the third and fourth, are on the far side of the others.
    second = wp.vec4(0.0, 1.0, 0.0, 1.0)
    third = wp.vec4(0.0, 0.0, 1.0, 1.0)
    total = wp.vec3(
        crossing_places(left, right, x) + wp.dot(y, second) + wp.dot(z, second),
        crossing_places(top, bottom, y) + wp.dot(x, second) + wp.dot(z, third),
        crossing_places(front, back, z) + wp.dot(x, third) + wp.dot(y, third),
    )
    all_edges = wp.vec4(1.0)
    return total / (wp.dot(x, all_edges) + wp.dot(y, all_edges) + wp.dot(z, all_edges))


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


@wp.struct
class RowOfVoxels:
    """Published values of nine voxels along x: those of a block, and the first of the next."""

    values: vec8
    next: float


@wp.func
def published_row(published: wp.array(dtype=vec8), slots: vec8i, y: int, z: int) -> RowOfVoxels:
    """The row y, z, each in [0, 8], of the block or of its + neighbours; 2 = unknown."""
    row = RowOfVoxels()
    row.values = vec8(UNKNOWN)
    row.next = UNKNOWN
    side = 2 * (y >> 3) + 4 * (z >> 3)
    place = (z & 7) * EDGE + (y & 7)
    if slots[side] >= 0:
        row.values = published[slots[side] * SLICE + place]
    if slots[side + 1] >= 0:
        row.next = published[slots[side + 1] * SLICE + place][0]
    return row


@wp.func
def shifted(row: RowOfVoxels) -> vec8:
    """The values one voxel further along x."""
    v = row.values
    return vec8(v[1], v[2], v[3], v[4], v[5], v[6], v[7], row.next)


@wp.func
def value_after(row: RowOfVoxels, x: int) -> float:
    """The value behind the x-th."""
    return wp.where(x < 7, row.values[wp.min(x + 1, 7)], row.next)


@wp.func
def known_or(values: vec8, other: float) -> vec8:
    """Values, `other` where they are unknown."""
    known = vec8()
    for k in range(8):
        known[k] = wp.where(values[k] < 1.5, values[k], other)
    return known


@wp.func
def known_count(values: vec8) -> vec8:
    """1 where a value is known, else 0."""
    known = vec8()
    for k in range(8):
        known[k] = wp.where(values[k] < 1.5, 1.0, 0.0)
    return known


@wp.func
def crossing_cells(a: RowOfVoxels, b: RowOfVoxels, c: RowOfVoxels, d: RowOfVoxels, min_corners: int) -> vec8:
    """1 for the cells between four rows that have a change of sign and enough known corners, else 0.

    Args:
        a, b, c, d: the rows y, z; y + 1, z; y, z + 1; y + 1, z + 1.
    """
    crossing = vec8()
    lowest = smaller(smaller(a.values, b.values), smaller(c.values, d.values))
    least_next = wp.min(wp.min(a.next, b.next), wp.min(c.next, d.next))
    if wp.min(least(lowest), least_next) < 0.0:
        a1 = shifted(a)
        b1 = shifted(b)
        c1 = shifted(c)
        d1 = shifted(d)
        lowest = smaller(lowest, smaller(smaller(a1, b1), smaller(c1, d1)))
        highest = larger(
            larger(
                larger(known_or(a.values, -2.0), known_or(b.values, -2.0)),
                larger(known_or(c.values, -2.0), known_or(d.values, -2.0)),
            ),
            larger(larger(known_or(a1, -2.0), known_or(b1, -2.0)), larger(known_or(c1, -2.0), known_or(d1, -2.0))),
        )
        corners = known_count(a.values) + known_count(b.values) + known_count(c.values) + known_count(d.values)
        corners += known_count(a1) + known_count(b1) + known_count(c1) + known_count(d1)
        for k in range(8):
            enough = lowest[k] < 0.0 and highest[k] >= 0.0 and corners[k] >= float(min_corners)
            crossing[k] = wp.where(enough, 1.0, 0.0)
    return crossing


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


@wp.func
def cell_corners(a: RowOfVoxels, b: RowOfVoxels, c: RowOfVoxels, d: RowOfVoxels, x: int) -> vec8:
    """Values of the corners of the x-th cell between four rows, bits x, y, z."""
    return vec8(
        a.values[x],
        value_after(a, x),
        b.values[x],
        value_after(b, x),
        c.values[x],
        value_after(c, x),
        d.values[x],
        value_after(d, x),
    )


@wp.func
def known_corners(f: vec8) -> int:
    """Bit c is set where corner c is known."""
    known = int(0)
    for c in range(8):
        known += wp.where(f[c] < 1.5, 1 << c, 0)
    return known


@wp.func
def cell_code(f: vec8) -> int:
    """Signs of the corners 0, 1, 2 and 4; an edge with an unknown end does not cross the surface."""
    inside = wp.where(f[0] < 0.0, 1, 0)
    code = HAS_VERTEX + inside
    for axis in range(3):
        end = f[1 << axis]
        sign = wp.where(end < 0.0, 1, 0)
        if end >= 1.5 or f[0] >= 1.5:
            sign = inside
        code += sign << (axis + 1)
    return code
