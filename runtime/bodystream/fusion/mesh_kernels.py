# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""The pieces of surface as one mesh: anchors per vertex, joined arrays, and the live mesh."""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, gather_anchors, warp_direction, warp_point
from bodystream.fusion.blocks_kernels import EDGE, LATTICE, LATTICE_POINTS, Blocks, Lattice, is_covered, is_stale
from bodystream.fusion.integrate_kernels import BLOCK_VOXELS
from bodystream.fusion.surface_kernels import (
    SLICE,
    SLICE_QUADS,
    CellAnchors,
    CellQuads,
    CellVertices,
    octant_slots,
    quad_cells,
    vec8i,
)

wp.set_module_options({"enable_backward": False, "max_unroll": 4})


@wp.kernel(enable_backward=False)
def gather_pending(
    begin: wp.int32,
    # Slices:
    slices: wp.array(dtype=wp.vec3i),  # (S,) a slice with cells that need anchors, where their points begin and end
    # Surface:
    vertices: CellVertices,
    # Out:
    positions_out: wp.array(dtype=wp.vec3),  # (P,) canonical [m]
    indices_out: wp.array(dtype=wp.int32),  # (P,) cells over all blocks
    anchors_out: CellAnchors,  # whose states are read, and whose slices have none pending afterwards
):
    i = begin + wp.tid()
    z_slice = slices[i][0]
    first = z_slice * SLICE
    target = int(slices[i][1])
    for k in range(vertices.counts[z_slice]):
        index = first + int(vertices.cells[first + k])
        if anchors_out.states[index] != wp.uint8(1) and target < slices[i][2]:
            positions_out[target] = vertices.positions[first + k]
            indices_out[target] = index
            target += 1
    anchors_out.pending[z_slice] = 0


@wp.func
def nearest_of_all(nodes: wp.array(dtype=wp.vec3), count: int, p: wp.vec3) -> int:
    """Index of the node nearest to p, however far it is."""
    nearest = int(0)
    least = float(1.0e10)
    for i in range(count):
        d2 = wp.length_sq(nodes[i] - p)
        if d2 < least:
            least = d2
            nearest = i
    return nearest


@wp.kernel(enable_backward=False)
def store_anchors(
    begin: wp.int32,
    # Points:
    indices: wp.array(dtype=wp.int32),  # (P,) cells over all blocks
    points: Points,  # with the anchors that the graph gives them
    # Graph:
    lattice: Lattice,
    graph: Graph,
    node_count: wp.int32,  # at least 1
    sigma: float,  # [m]
    # Out:
    anchors_out: CellAnchors,
):
    i = begin + wp.tid()
    index = indices[i]
    chosen = points.anchors[i]
    w = points.weights[i]
    if not is_covered(w):
        # At the rim of what the graph covers a vertex moves with the lattice that its voxels were fused through.
        cell = index % BLOCK_VOXELS
        corner_index = (index / BLOCK_VOXELS) * LATTICE_POINTS
        corner_index += (cell & 7) * 2 / 7 + LATTICE * (((cell >> 3) & 7) * 2 / 7)
        corner_index += LATTICE * LATTICE * ((cell >> 6) * 2 / 7)
        chosen = lattice.anchors[corner_index]
        w = lattice.weights[corner_index]
    if not is_covered(w):
        # No node reaches it: it goes with the nearest one. Without weights it would go to the camera's origin.
        nearest = nearest_of_all(graph.positions, node_count, points.positions[i])
        chosen, w = gather_anchors(points.positions[i], nearest, graph.positions, graph.edges, sigma)
    anchors_out.anchors[index] = chosen
    anchors_out.weights[index] = w
    anchors_out.states[index] = wp.uint8(1)


@wp.kernel(enable_backward=False)
def mark_stale_vertices(
    begin: wp.int32,
    # Surface:
    vertices: CellVertices,
    # Graph:
    graph: Graph,
    node_changed: wp.array(dtype=wp.uint8),  # (N,) 1 = points nearest to it may have other anchors
    trusted_distance: float,  # [m]
    # Out (read, too):
    anchors_out: CellAnchors,
):
    z_slice = begin + wp.tid()
    first = z_slice * SLICE
    pending = int(0)
    for k in range(vertices.counts[z_slice]):
        index = first + int(vertices.cells[first + k])
        if anchors_out.states[index] == wp.uint8(1):
            p = vertices.positions[first + k]
            w = anchors_out.weights[index]
            if is_stale(p, anchors_out.anchors[index], w, graph.positions, node_changed, trusted_distance):
                anchors_out.states[index] = wp.uint8(2)
        if anchors_out.states[index] != wp.uint8(1):
            pending += 1
    anchors_out.pending[z_slice] = pending


@wp.kernel(enable_backward=False)
def emit_vertices(
    begin: wp.int32,
    # Surface:
    vertices: CellVertices,
    anchors: CellAnchors,
    # Out:
    points_out: Points,
    colours_out: wp.array(dtype=wp.vec3ub),  # (V,) RGB
):
    z_slice = begin + wp.tid()
    base = vertices.bases[z_slice]
    if base >= 0:
        first = z_slice * SLICE
        for k in range(vertices.counts[z_slice]):
            points_out.positions[base + k] = vertices.positions[first + k]
            points_out.normals[base + k] = vertices.normals[first + k]
            colours_out[base + k] = vertices.colours[first + k]
            index = first + int(vertices.cells[first + k])
            points_out.anchors[base + k] = anchors.anchors[index]
            points_out.weights[base + k] = anchors.weights[index]


@wp.func
def quad_corners(z_slice: int, quad: int, slots: vec8i, vertices: CellVertices) -> wp.vec4i:
    """Vertices of a listed quad; all -1 where one of them is in a slice that is left out."""
    around = quad_cells(slots, wp.vec3i(quad & 7, (quad >> 3) & 7, z_slice % EDGE), (quad >> 6) & 3)
    corners = wp.vec4i(-1, -1, -1, -1)
    whole = bool(True)
    for side in range(4):
        if vertices.bases[around[side] / SLICE] < 0:
            whole = False
    if whole:
        for side in range(4):
            corners[side] = vertices.bases[around[side] / SLICE] + int(vertices.ranks[around[side]])
    return corners


@wp.kernel(enable_backward=False)
def count_whole_quads(
    begin: wp.int32,
    # Surface:
    slices: wp.array(dtype=wp.int32),  # (S,)
    blocks: Blocks,
    vertices: CellVertices,
    quads: CellQuads,
    # Out:
    whole_out: wp.array(dtype=wp.int32),  # (S,) quads without a vertex that is left out
):
    i = begin + wp.tid()
    z_slice = slices[i]
    slots = octant_slots(blocks, blocks.coords[z_slice / EDGE], -1)
    whole = int(0)
    for k in range(quads.counts[z_slice]):
        corners = quad_corners(z_slice, int(quads.edges[z_slice * SLICE_QUADS + k]), slots, vertices)
        if corners[0] >= 0:
            whole += 1
    whole_out[i] = whole


@wp.kernel(enable_backward=False)
def emit_faces(
    begin: wp.int32,
    # Surface:
    blocks: Blocks,
    vertices: CellVertices,
    quads: CellQuads,
    # Out:
    faces_out: wp.array(dtype=wp.vec3i),  # (F,) counter-clockwise seen from outside
):
    z_slice = begin + wp.tid()
    base = quads.bases[z_slice]
    if base >= 0 and quads.counts[z_slice] > 0:
        slots = octant_slots(blocks, blocks.coords[z_slice / EDGE], -1)
        target = int(2 * base)
        for k in range(quads.counts[z_slice]):
            quad = int(quads.edges[z_slice * SLICE_QUADS + k])
            q = quad_corners(z_slice, quad, slots, vertices)
            if q[0] >= 0:
                # Inside at the lower end: outwards is along the axis, about which the corners turn right-handed.
                if quad >= 256:
                    faces_out[target] = wp.vec3i(q[0], q[1], q[2])
                    faces_out[target + 1] = wp.vec3i(q[0], q[2], q[3])
                else:
                    faces_out[target] = wp.vec3i(q[0], q[2], q[1])
                    faces_out[target + 1] = wp.vec3i(q[0], q[3], q[2])
                target += 2


@wp.kernel(enable_backward=False)
def warp_vertices(
    begin: wp.int32,
    # Surface:
    points: Points,
    # Graph:
    graph: Graph,
    # Out:
    vertices_out: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    normals_out: wp.array(dtype=wp.vec3),  # (V,) camera frame, unit
):
    i = begin + wp.tid()
    anchors = points.anchors[i]
    w = points.weights[i]
    vertices_out[i] = warp_point(points.positions[i], anchors, w, graph)
    normals_out[i] = warp_direction(points.normals[i], anchors, w, graph)
