# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Connected pieces of the surface: vertices that quads join get one root (ECL-CC: Jaiganesh and Burtscher 2018)."""

import warp as wp

from bodystream.fusion.blocks_kernels import EDGE, Blocks
from bodystream.fusion.surface_kernels import SLICE, SLICE_QUADS, CellQuads, CellVertices, octant_slots, quad_cells

wp.set_module_options({"enable_backward": False, "max_unroll": 4})


@wp.kernel(enable_backward=False)
def list_corners(
    begin: wp.int32,
    # Surface:
    blocks: Blocks,
    vertices: CellVertices,
    quads: CellQuads,
    # Out:
    corners_out: wp.array(dtype=wp.vec4i),  # (Q,) vertices of each quad, counter-clockwise seen from outside
):
    z_slice = begin + wp.tid()
    if quads.counts[z_slice] > 0:
        slots = octant_slots(blocks, blocks.coords[z_slice / EDGE], -1)
        for k in range(quads.counts[z_slice]):
            quad = int(quads.edges[z_slice * SLICE_QUADS + k])
            around = quad_cells(slots, wp.vec3i(quad & 7, (quad >> 3) & 7, z_slice % EDGE), (quad >> 6) & 3)
            a = vertices.bases[around[0] / SLICE] + int(vertices.ranks[around[0]])
            b = vertices.bases[around[1] / SLICE] + int(vertices.ranks[around[1]])
            c = vertices.bases[around[2] / SLICE] + int(vertices.ranks[around[2]])
            d = vertices.bases[around[3] / SLICE] + int(vertices.ranks[around[3]])
            # Inside at the lower end: outwards is along the axis, about which the corners turn right-handed.
            corners = wp.vec4i(a, b, c, d)
            if quad < 256:
                corners = wp.vec4i(a, d, c, b)
            corners_out[quads.bases[z_slice] + k] = corners


@wp.kernel(enable_backward=False)
def begin_components(
    begin: wp.int32,
    # Out:
    roots_out: wp.array(dtype=wp.int32),  # (V,) each vertex its own
    sizes_out: wp.array(dtype=wp.int32),  # (V,) 0
):
    i = begin + wp.tid()
    roots_out[i] = i
    sizes_out[i] = 0


@wp.func
def root_of(roots: wp.array(dtype=wp.int32), vertex: int) -> int:
    """The vertex at the end of the chain, which is halved on the way."""
    i = int(vertex)
    above = int(roots[i])
    while above != i:
        next_above = roots[above]
        roots[i] = next_above
        i = above
        above = next_above
    return i


@wp.func
def join(roots: wp.array(dtype=wp.int32), vertex: int, other: int):
    """Give two vertices one root: the smaller one. Another thread that was faster is heeded."""
    a = root_of(roots, vertex)
    b = root_of(roots, other)
    while a != b:
        high = wp.max(a, b)
        low = wp.min(a, b)
        before = wp.atomic_min(roots, high, low)
        a = low
        b = low
        if before != high:
            a = root_of(roots, low)
            b = root_of(roots, before)


@wp.kernel(enable_backward=False)
def join_corners(
    begin: wp.int32,
    # Surface:
    corners: wp.array(dtype=wp.vec4i),  # (Q,) vertices, -1 = left out
    # Out (read, too):
    roots_out: wp.array(dtype=wp.int32),  # (V,)
):
    q = corners[begin + wp.tid()]
    if q[0] < 0:
        return
    for side in range(1, 4):
        join(roots_out, q[0], q[side])


@wp.kernel(enable_backward=False)
def count_members(
    begin: wp.int32,
    # Out (read, too):
    roots_out: wp.array(dtype=wp.int32),  # (V,) the component's least vertex afterwards
    sizes_out: wp.array(dtype=wp.int32),  # (V,) of a root, vertices of its component
):
    i = begin + wp.tid()
    root = root_of(roots_out, i)
    roots_out[i] = root
    wp.atomic_add(sizes_out, root, 1)


@wp.kernel(enable_backward=False)
def spread_sizes(
    begin: wp.int32,
    # Components:
    roots: wp.array(dtype=wp.int32),  # (V,)
    sizes: wp.array(dtype=wp.int32),  # (V,) of a root, vertices of its component
    vertex_count: int,  # V
    corners: wp.array(dtype=wp.vec4i),  # (Q,) vertices, -1 = left out
    # Out:
    sizes_out: wp.array(dtype=wp.int32),  # (V + Q,) vertices of the component of each vertex and quad, 0 = left out
):
    i = begin + wp.tid()
    vertex = int(i)
    if i >= vertex_count:
        vertex = corners[i - vertex_count][0]
    size = int(0)
    if vertex >= 0:
        size = sizes[roots[vertex]]
    sizes_out[i] = size
