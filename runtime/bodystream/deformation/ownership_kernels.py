# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Which point of the model explains which part of a depth image, on a coarse grid of cells."""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, warp_direction, warp_point
from bodystream.device.camera_kernels import Camera, depth_noise, is_inside, pixel_of, project

CELL_PX = wp.constant(4)
NOBODY = wp.constant(2147483647)
# A key is the distance of a point from the measured depth [0.1 mm] and, below, the point: the least key is the nearest.
INDEX_BITS = wp.constant(16)
STEPS_PER_M = wp.constant(10000.0)


@wp.struct
class Owners:
    """What owns each cell of `CELL_PX` x `CELL_PX` pixels: `Ownership.owners`."""

    points: wp.array2d(dtype=wp.vec4)  # (h, w) canonical position of the owner [m], how far its surface may reach [m]
    nodes: wp.array2d(dtype=wp.int32)  # (h, w) the node that carries it most, -1 = nobody owns the cell


@wp.struct
class OwnerRules:
    """When a cell belongs to a point."""

    seen_m: float  # a point is seen where the depth agrees this well, noise apart
    min_cosine: float  # of the angle between its normal and the view ray
    steepest: float  # tangent of the most oblique view at which a surface is followed from cell to cell
    reach_m: float  # how far the surface of a point that is seen may be canonically from it


@wp.func
def cell_depth(depth_m: wp.array2d(dtype=float), row: int, column: int) -> float:
    """The nearest depth that was measured in a cell [m]; 0 = none."""
    nearest = float(1.0e6)
    for dv in range(0, CELL_PX, 2):
        for du in range(0, CELL_PX, 2):
            v = row * CELL_PX + dv
            u = column * CELL_PX + du
            if v < depth_m.shape[0] and u < depth_m.shape[1]:
                d = depth_m[v, u]
                if d > 0.0 and d < nearest:
                    nearest = d
    if nearest > 1.0e3:
        nearest = 0.0
    return nearest


@wp.kernel(enable_backward=False)
def prepare_cells(
    begin: wp.int32,
    # Frame:
    depth_m: wp.array2d(dtype=float),  # (H, W) foreground, 0 = none
    # Out:
    cells_out: wp.array2d(dtype=float),  # (h, w) depth [m], 0 = none
    keys_out: wp.array2d(dtype=wp.int32),  # (h, w) NOBODY
):
    i = begin + wp.tid()
    row = i / cells_out.shape[1]
    column = i % cells_out.shape[1]
    cells_out[row, column] = cell_depth(depth_m, row, column)
    keys_out[row, column] = NOBODY


@wp.kernel(enable_backward=False)
def claim_cells(
    begin: wp.int32,
    # Model:
    points: Points,
    graph: Graph,
    # Frame:
    depth_m: wp.array2d(dtype=float),  # (H, W) foreground, 0 = none
    camera: Camera,
    rules: OwnerRules,
    # Out (read, too):
    keys_out: wp.array2d(dtype=wp.int32),  # (h, w)
):
    """Each point that faces the camera and agrees with the depth claims its cell; the nearest to the depth gets it."""
    i = begin + wp.tid()
    w = points.weights[i]
    if w[0] + w[1] + w[2] + w[3] < 0.5:
        return
    anchors = points.anchors[i]
    p = warp_point(points.positions[i], anchors, w, graph)
    if p[2] < 1.0e-3:
        return
    n = warp_direction(points.normals[i], anchors, w, graph)
    if -wp.dot(n, wp.normalize(p)) < rules.min_cosine:
        return
    pixel = pixel_of(project(camera, p))
    if not is_inside(camera, pixel, 0):
        return
    z = depth_m[pixel[1], pixel[0]]
    away = wp.abs(z - p[2])
    if z <= 0.0 or away > rules.seen_m + depth_noise(camera, z):
        return
    key = (int(away * STEPS_PER_M) << INDEX_BITS) | i
    wp.atomic_min(keys_out, pixel[1] / CELL_PX, pixel[0] / CELL_PX, key)


@wp.kernel(enable_backward=False)
def name_owners(
    begin: wp.int32,
    # Model:
    points: Points,
    # Cells:
    keys: wp.array2d(dtype=wp.int32),  # (h, w)
    rules: OwnerRules,
    # Out:
    owners_out: Owners,
):
    i = begin + wp.tid()
    row = i / keys.shape[1]
    column = i % keys.shape[1]
    key = keys[row, column]
    node = int(-1)
    owner = wp.vec4(0.0, 0.0, 0.0, 0.0)
    if key != NOBODY:
        index = key & ((1 << INDEX_BITS) - 1)
        p = points.positions[index]
        owner = wp.vec4(p[0], p[1], p[2], rules.reach_m)
        node = points.anchors[index][0]
    owners_out.points[row, column] = owner
    owners_out.nodes[row, column] = node


@wp.kernel(enable_backward=False)
def spread_owners(
    begin: wp.int32,
    # Cells:
    cells: wp.array2d(dtype=float),  # (h, w) depth [m], 0 = none
    owners: Owners,
    camera: Camera,
    rules: OwnerRules,
    # Out:
    owners_out: Owners,
):
    """A cell that nobody owns takes the owner of the neighbour whose surface it continues best."""
    i = begin + wp.tid()
    columns = cells.shape[1]
    row = i / columns
    column = i % columns
    node = owners.nodes[row, column]
    owner = owners.points[row, column]
    z = cells[row, column]
    if node < 0 and z > 0.0:
        side_m = z * float(CELL_PX) / camera.fx
        best = rules.steepest * side_m + depth_noise(camera, z)
        for k in range(4):
            r = row + (k / 2) * (2 * (k % 2) - 1)
            c = column + (1 - k / 2) * (2 * (k % 2) - 1)
            if r >= 0 and c >= 0 and r < cells.shape[0] and c < columns:
                if owners.nodes[r, c] >= 0:
                    step = wp.abs(cells[r, c] - z)
                    if step < best:
                        best = step
                        node = owners.nodes[r, c]
                        owner = owners.points[r, c]
                        owner[3] = owner[3] + wp.sqrt(side_m * side_m + step * step)
    owners_out.nodes[row, column] = node
    owners_out.points[row, column] = owner


@wp.func
def is_strange(owners: Owners, pixel: wp.vec2i, p: wp.vec3) -> bool:
    """Whether a pixel inside the image belongs to another part of the model than the canonical point p."""
    owner = owners.points[pixel[1] / CELL_PX, pixel[0] / CELL_PX]
    away = wp.vec3(owner[0] - p[0], owner[1] - p[1], owner[2] - p[2])
    return owner[3] > 0.0 and wp.length_sq(away) > owner[3] * owner[3]
