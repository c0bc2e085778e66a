# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""The pieces of surface as one mesh: anchors per vertex, joined arrays, and the live mesh."""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, blended, gather_anchors, moved, turned, vec16
from bodystream.fusion.blocks_kernels import LATTICE, LATTICE_POINTS, Lattice, is_covered, is_stale
from bodystream.fusion.integrate_kernels import BLOCK_VOXELS
from bodystream.fusion.surface_kernels import SLICE, CellAnchors, CellVertices

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
    places: wp.array(dtype=wp.int32),  # (V,) place in the mesh of each vertex of all slices, -1 = left out
    # Out:
    points_out: Points,
    colours_out: wp.array(dtype=wp.vec3ub),  # (V,) RGB
):
    z_slice = begin + wp.tid()
    first = z_slice * SLICE
    for k in range(vertices.counts[z_slice]):
        place = places[vertices.bases[z_slice] + k]
        if place >= 0:
            points_out.positions[place] = vertices.positions[first + k]
            points_out.normals[place] = vertices.normals[first + k]
            colours_out[place] = vertices.colours[first + k]
            index = first + int(vertices.cells[first + k])
            points_out.anchors[place] = anchors.anchors[index]
            points_out.weights[place] = anchors.weights[index]


@wp.kernel(enable_backward=False)
def emit_faces(
    begin: wp.int32,
    # Surface:
    corners: wp.array(dtype=wp.vec4i),  # (Q,) vertices of the quads of all slices
    vertex_places: wp.array(dtype=wp.int32),  # (V,) place in the mesh
    quad_places: wp.array(dtype=wp.int32),  # (Q,) place in the mesh, -1 = left out
    # Out:
    faces_out: wp.array(dtype=wp.vec3i),  # (F,) counter-clockwise seen from outside
):
    i = begin + wp.tid()
    target = 2 * quad_places[i]
    if target >= 0:
        q = corners[i]
        a = vertex_places[q[0]]
        c = vertex_places[q[2]]
        faces_out[target] = wp.vec3i(a, vertex_places[q[1]], c)
        faces_out[target + 1] = wp.vec3i(a, c, vertex_places[q[3]])


@wp.kernel(enable_backward=False)
def warp_vertices(
    begin: wp.int32,
    # Surface:
    points: Points,
    # Graph:
    motions: wp.array(dtype=vec16),  # (N,) see `gather_motions`
    # Out:
    vertices_out: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    normals_out: wp.array(dtype=wp.vec3),  # (V,) camera frame, unit
):
    i = begin + wp.tid()
    motion = blended(motions, points.anchors[i], points.weights[i])
    vertices_out[i] = moved(motion, points.positions[i])
    normals_out[i] = turned(motion, points.normals[i])
