# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Vertices that cannot be right, and forgetting what was fused around them."""

import warp as wp

from bodystream.deformation.kernels import blended, moved, turned, vec16
from bodystream.deformation.ownership_kernels import CELL_PX, Owners
from bodystream.device.camera_kernels import Camera, depth_noise, is_inside, pixel_of, project
from bodystream.fusion.blocks_kernels import EDGE, Blocks, SliceStates, find_slot
from bodystream.fusion.frame_kernels import Graded
from bodystream.fusion.integrate_kernels import is_silhouette
from bodystream.fusion.surface_kernels import SLICE, CellAnchors, CellVertices

THROUGH = wp.constant(wp.uint8(1))  # the camera sees through it
BEHIND = wp.constant(wp.uint8(2))  # its own part is seen before it
TORN = wp.constant(wp.uint8(3))  # it lies on a face that has become far too long
ASTRAY = wp.constant(wp.uint8(4))  # nobody knows where its node is
CHANGED_M = wp.constant(1.0)  # more than any voxel can deviate


@wp.struct
class DustRules:
    """When a vertex is wrong."""

    through_m: float  # what is seen this far behind it, noise apart, shows that it is not there
    behind_m: float  # so far behind what is seen, noise apart, it is hidden
    same_part_m: float  # canonical distance within which a surface does not lie before itself
    min_cosine: float  # of the angle between its normal and the view ray, to face the camera
    silhouette_px: int  # background this close to the mask says nothing
    longest_m: float  # faces with a longer edge are left out
    torn_m: float  # and with an edge longer than this, forgotten with what is around them
    voxel_m: float
    lost_nodes: wp.array(dtype=wp.uint8)  # (capacity,) 1 = lost
    node_count: int  # of which it is known


@wp.func
def contradicts(
    canonical: wp.vec3,
    p: wp.vec3,
    normal: wp.vec3,
    motion: vec16,
    graded: Graded,
    owners: Owners,
    camera: Camera,
    rules: DustRules,
) -> wp.uint8:
    """What a frame shows to be wrong with a vertex that its motion takes to p: THROUGH, BEHIND, or 0."""
    wrong = wp.uint8(0)
    if p[2] < 1.0e-3:
        return wrong
    pixel = pixel_of(project(camera, p))
    if not is_inside(camera, pixel, 0):
        return wrong
    place = (pixel[1] + 1) * graded.stride + pixel[0] + 1
    seen = graded.pixels[place]
    gap = seen[0] - p[2]
    noise = depth_noise(camera, seen[0])
    if seen[0] > 0.0 and gap > rules.through_m + noise:
        if seen[1] > 0.0 or (seen[1] == -1.0 and is_silhouette(graded, camera, place, rules.silhouette_px)):
            wrong = THROUGH
    elif seen[1] > 0.0 and gap < -rules.behind_m - noise:
        owner = owners.points[pixel[1] / CELL_PX, pixel[0] / CELL_PX]
        away = wp.vec3(owner[0], owner[1], owner[2]) - canonical
        if owner[3] > 0.0 and wp.length(away) < rules.same_part_m:
            if -wp.dot(turned(motion, normal), wp.normalize(p)) > rules.min_cosine:
                wrong = BEHIND
    return wrong


@wp.kernel(enable_backward=False)
def judge_vertices(
    begin: wp.int32,
    # Surface:
    vertices: CellVertices,
    anchors: CellAnchors,
    motions: wp.array(dtype=vec16),  # (N,) see `gather_motions`
    # Frame:
    graded: Graded,
    owners: Owners,
    camera: Camera,
    # Options:
    rules: DustRules,
    # Out:
    live_out: wp.array(dtype=wp.vec3),  # (V,) of all slices, camera frame [m]
    wrong_out: wp.array(dtype=wp.uint8),  # (V,) THROUGH, BEHIND, ASTRAY or 0
):
    """Vertices that a frame shows to be wrong: seen through, or facing the camera behind the very part they are of."""
    z_slice = begin + wp.tid()
    first = z_slice * SLICE
    for k in range(vertices.counts[z_slice]):
        i = vertices.bases[z_slice] + k
        cell = first + int(vertices.cells[first + k])
        nodes = anchors.anchors[cell]
        canonical = vertices.positions[first + k]
        motion = blended(motions, nodes, anchors.weights[cell])
        p = moved(motion, canonical)
        live_out[i] = p
        wrong = contradicts(canonical, p, vertices.normals[first + k], motion, graded, owners, camera, rules)
        if nodes[0] < rules.node_count and rules.lost_nodes[nodes[0]] != wp.uint8(0):
            wrong = ASTRAY
        wrong_out[i] = wrong


@wp.kernel(enable_backward=False)
def find_torn(
    begin: wp.int32,
    # Surface:
    live: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    rules: DustRules,
    # Out (of corners, read, too):
    corners_out: wp.array(dtype=wp.vec4i),  # (Q,) vertices of each quad, -1 where the quad is left out
    wrong_out: wp.array(dtype=wp.uint8),  # (V,)
):
    """Leave out quads that have an edge which is too long; the vertices of those that are far too long are wrong."""
    i = begin + wp.tid()
    q = corners_out[i]
    longest = float(0.0)
    for k in range(4):
        longest = wp.max(longest, wp.length_sq(live[q[k]] - live[q[(k + 1) % 4]]))
    longest = wp.max(longest, wp.length_sq(live[q[0]] - live[q[2]]))
    if longest > rules.longest_m * rules.longest_m:
        corners_out[i] = wp.vec4i(-1, -1, -1, -1)
        if longest > rules.torn_m * rules.torn_m:
            for k in range(4):
                wrong_out[q[k]] = TORN


@wp.kernel(enable_backward=False)
def cut_quads(
    begin: wp.int32,
    # Surface:
    wrong: wp.array(dtype=wp.uint8),  # (V,) 0 = nothing is wrong with it
    # Out (read, too):
    corners_out: wp.array(dtype=wp.vec4i),  # (Q,) -1 where the quad is left out
):
    """Leave out the quads of wrong vertices, too."""
    i = begin + wp.tid()
    q = corners_out[i]
    if q[0] >= 0:
        if wrong[q[0]] + wrong[q[1]] + wrong[q[2]] + wrong[q[3]] != wp.uint8(0):
            corners_out[i] = wp.vec4i(-1, -1, -1, -1)


@wp.func
def forget_voxel(at: wp.vec3i, blocks: Blocks, weights: wp.array(dtype=float), slices: SliceStates):
    """Take all weight from a voxel; its slice is to be fused at once, and extracted anew.

    Voxel by voxel and not by rows: the cells of neighbouring slices share rows, and are looked at at the same time.
    """
    edge = float(EDGE)
    block = wp.vec3i(
        int(wp.floor(float(at[0]) / edge)), int(wp.floor(float(at[1]) / edge)), int(wp.floor(float(at[2]) / edge))
    )
    slot = find_slot(blocks, block)
    if slot >= 0:
        z_slice = slot * EDGE + at[2] - block[2] * EDGE
        row = z_slice * EDGE + at[1] - block[1] * EDGE
        weights[row * EDGE + at[0] - block[0] * EDGE] = 0.0
        slices.change[z_slice] = CHANGED_M
        slices.unrest[z_slice] = wp.vec2(1.0, 1.0)


@wp.kernel(enable_backward=False)
def forget_around(
    begin: wp.int32,
    # Surface:
    vertices: CellVertices,
    wrong: wp.array(dtype=wp.uint8),  # (V,) 0 = nothing is wrong with it
    blocks: Blocks,
    rules: DustRules,
    # Out:
    weights_out: wp.array(dtype=float),  # (B * 512,) summed weights of observations
    slices_out: SliceStates,
):
    """Take all weight from the corners of the cell that each wrong vertex lies in."""
    z_slice = begin + wp.tid()
    for k in range(vertices.counts[z_slice]):
        if wrong[vertices.bases[z_slice] + k] != wp.uint8(0):
            cell = int(vertices.cells[z_slice * SLICE + k])
            low = blocks.coords[z_slice / EDGE] * EDGE + wp.vec3i(cell % EDGE, cell / EDGE, z_slice % EDGE)
            for corner in range(8):
                at = low + wp.vec3i(corner % 2, (corner / 2) % 2, corner / 4)
                forget_voxel(at, blocks, weights_out, slices_out)
