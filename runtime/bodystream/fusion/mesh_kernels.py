# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""The pieces of surface as one mesh: anchors per vertex, joined arrays, and the live mesh."""

import warp as wp

from bodystream.deformation.kernels import gather_anchors, warp_direction, warp_point
from bodystream.fusion.blocks_kernels import EDGE, LATTICE, LATTICE_POINTS, is_stale
from bodystream.fusion.integrate_kernels import BLOCK_VOXELS
from bodystream.fusion.surface_kernels import SLICE, SLICE_QUADS, octant_slots, quad_cells, vec8i

wp.set_module_options({"enable_backward": False, "max_unroll": 4})


@wp.kernel(enable_backward=False)
def gather_unanchored(
    begin: wp.int32,
    slices: wp.array(dtype=wp.int32),  # (S,) slices with cells that need anchors
    targets: wp.array(dtype=wp.int32),  # (S,) where their points begin
    limits: wp.array(dtype=wp.int32),  # (S,) how many to take
    cells: wp.array(dtype=wp.uint8),
    counts: wp.array(dtype=wp.int32),
    anchored: wp.array(dtype=wp.uint8),
    positions: wp.array(dtype=wp.vec3),
    # Out:
    points_out: wp.array(dtype=wp.vec3),  # (P,) canonical [m]
    indices_out: wp.array(dtype=wp.int32),  # (P,) cells over all blocks
):
    i = begin + wp.tid()
    z_slice = slices[i]
    target = int(targets[i])
    end = targets[i] + limits[i]
    for k in range(counts[z_slice]):
        index = z_slice * SLICE + int(cells[z_slice * SLICE + k])
        if anchored[index] != wp.uint8(1) and target < end:
            points_out[target] = positions[z_slice * SLICE + k]
            indices_out[target] = index
            target += 1


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
    indices: wp.array(dtype=wp.int32),  # (P,)
    anchors: wp.array(dtype=wp.vec4i),  # (P,)
    weights: wp.array(dtype=wp.vec4),  # (P,)
    lattice_anchors: wp.array(dtype=wp.vec4i),  # (B * 64,)
    lattice_weights: wp.array(dtype=wp.vec4),
    points: wp.array(dtype=wp.vec3),  # (P,) canonical [m]
    nodes: wp.array(dtype=wp.vec3),  # (capacity,) canonical [m]
    node_count: wp.int32,  # at least 1
    edges: wp.array2d(dtype=wp.int32),  # (capacity, K), -1 = unused
    sigma: float,
    # Out, per cell (B * 512,):
    anchors_out: wp.array(dtype=wp.vec4i),
    weights_out: wp.array(dtype=wp.vec4),
    anchored_out: wp.array(dtype=wp.uint8),
):
    i = begin + wp.tid()
    index = indices[i]
    chosen = anchors[i]
    w = weights[i]
    if w[0] + w[1] + w[2] + w[3] == 0.0:
        # At the rim of what the graph covers a vertex moves with the lattice that its voxels were fused through.
        cell = index % BLOCK_VOXELS
        corner_index = (index / BLOCK_VOXELS) * LATTICE_POINTS
        corner_index += (cell & 7) * 3 / 7 + LATTICE * (((cell >> 3) & 7) * 3 / 7)
        corner_index += LATTICE * LATTICE * ((cell >> 6) * 3 / 7)
        chosen = lattice_anchors[corner_index]
        w = lattice_weights[corner_index]
    if w[0] + w[1] + w[2] + w[3] == 0.0:
        # No node reaches it: it goes with the nearest one. Without weights it would go to the camera's origin.
        nearest = nearest_of_all(nodes, node_count, points[i])
        chosen, w = gather_anchors(points[i], nearest, nodes, edges, sigma)
    anchors_out[index] = chosen
    weights_out[index] = w
    anchored_out[index] = wp.uint8(1)


@wp.kernel(enable_backward=False)
def mark_stale_vertices(
    begin: wp.int32,
    cells: wp.array(dtype=wp.uint8),
    counts: wp.array(dtype=wp.int32),  # (B * 8,)
    positions: wp.array(dtype=wp.vec3),
    anchors: wp.array(dtype=wp.vec4i),  # (B * 512,) per cell
    weights: wp.array(dtype=wp.vec4),
    nodes: wp.array(dtype=wp.vec3),
    node_changed: wp.array(dtype=wp.uint8),
    trusted_distance: float,  # [m]
    # Out:
    anchored_out: wp.array(dtype=wp.uint8),  # (B * 512,) 2 = has anchors that should be refreshed
    unanchored_out: wp.array(dtype=wp.int32),  # (B * 8,)
):
    z_slice = begin + wp.tid()
    pending = int(0)
    for k in range(counts[z_slice]):
        first = z_slice * SLICE
        index = first + int(cells[first + k])
        if anchored_out[index] == wp.uint8(1):
            if is_stale(positions[first + k], anchors[index], weights[index], nodes, node_changed, trusted_distance):
                anchored_out[index] = wp.uint8(2)
        if anchored_out[index] != wp.uint8(1):
            pending += 1
    unanchored_out[z_slice] = pending


@wp.kernel(enable_backward=False)
def emit_vertices(
    begin: wp.int32,
    bases: wp.array(dtype=wp.int32),  # (B * 8,) first vertex of a slice, -1 = left out
    cells: wp.array(dtype=wp.uint8),
    counts: wp.array(dtype=wp.int32),
    positions: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    colours: wp.array(dtype=wp.vec3ub),
    anchors: wp.array(dtype=wp.vec4i),  # per cell
    weights: wp.array(dtype=wp.vec4),
    # Out:
    vertices_out: wp.array(dtype=wp.vec3),  # (V,)
    normals_out: wp.array(dtype=wp.vec3),
    colours_out: wp.array(dtype=wp.vec3ub),
    anchors_out: wp.array(dtype=wp.vec4i),
    weights_out: wp.array(dtype=wp.vec4),
):
    z_slice = begin + wp.tid()
    base = bases[z_slice]
    if base >= 0:
        first = z_slice * SLICE
        for k in range(counts[z_slice]):
            vertices_out[base + k] = positions[first + k]
            normals_out[base + k] = normals[first + k]
            colours_out[base + k] = colours[first + k]
            index = first + int(cells[first + k])
            anchors_out[base + k] = anchors[index]
            weights_out[base + k] = weights[index]


@wp.func
def quad_corners(
    z_slice: int,
    quad: int,
    slots: vec8i,
    ranks: wp.array(dtype=wp.uint8),
    bases: wp.array(dtype=wp.int32),
) -> wp.vec4i:
    """Vertices of a listed quad; all -1 where one of them is in a slice that is left out."""
    around = quad_cells(slots, wp.vec3i(quad & 7, (quad >> 3) & 7, z_slice % EDGE), (quad >> 6) & 3)
    corners = wp.vec4i(-1, -1, -1, -1)
    whole = bool(True)
    for side in range(4):
        if bases[around[side] / SLICE] < 0:
            whole = False
    if whole:
        for side in range(4):
            corners[side] = bases[around[side] / SLICE] + int(ranks[around[side]])
    return corners


@wp.kernel(enable_backward=False)
def count_whole_quads(
    begin: wp.int32,
    slices: wp.array(dtype=wp.int32),  # (S,)
    quads: wp.array(dtype=wp.uint16),
    quad_counts: wp.array(dtype=wp.int32),
    coords: wp.array(dtype=wp.vec3i),
    table: wp.array3d(dtype=wp.int32),
    origin: wp.vec3i,
    ranks: wp.array(dtype=wp.uint8),  # per cell
    bases: wp.array(dtype=wp.int32),  # (B * 8,) first vertex of a slice, -1 = left out
    # Out:
    whole_out: wp.array(dtype=wp.int32),  # (S,) quads without a vertex that is left out
):
    i = begin + wp.tid()
    z_slice = slices[i]
    slots = octant_slots(table, origin, coords[z_slice / EDGE], -1)
    whole = int(0)
    for k in range(quad_counts[z_slice]):
        corners = quad_corners(z_slice, int(quads[z_slice * SLICE_QUADS + k]), slots, ranks, bases)
        if corners[0] >= 0:
            whole += 1
    whole_out[i] = whole


@wp.kernel(enable_backward=False)
def emit_faces(
    begin: wp.int32,
    quad_bases: wp.array(dtype=wp.int32),  # (B * 8,) first quad of a slice, -1 = left out
    quads: wp.array(dtype=wp.uint16),
    quad_counts: wp.array(dtype=wp.int32),
    coords: wp.array(dtype=wp.vec3i),
    table: wp.array3d(dtype=wp.int32),
    origin: wp.vec3i,
    ranks: wp.array(dtype=wp.uint8),  # per cell
    bases: wp.array(dtype=wp.int32),  # (B * 8,) first vertex of a slice, -1 = left out
    # Out:
    faces_out: wp.array(dtype=wp.vec3i),  # (F,) counter-clockwise seen from outside
):
    z_slice = begin + wp.tid()
    base = quad_bases[z_slice]
    if base >= 0 and quad_counts[z_slice] > 0:
        slots = octant_slots(table, origin, coords[z_slice / EDGE], -1)
        target = int(2 * base)
        for k in range(quad_counts[z_slice]):
            quad = int(quads[z_slice * SLICE_QUADS + k])
            q = quad_corners(z_slice, quad, slots, ranks, bases)
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
    vertices: wp.array(dtype=wp.vec3),  # (V,) canonical [m]
    normals: wp.array(dtype=wp.vec3),
    anchors: wp.array(dtype=wp.vec4i),
    weights: wp.array(dtype=wp.vec4),
    positions: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),
    translations: wp.array(dtype=wp.vec3),
    # Out:
    vertices_out: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    normals_out: wp.array(dtype=wp.vec3),
):
    i = begin + wp.tid()
    vertices_out[i] = warp_point(vertices[i], anchors[i], weights[i], positions, rotations, translations)
    normals_out[i] = warp_direction(normals[i], anchors[i], weights[i], rotations)
