# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Which point of the model explains which part of a depth image, on a coarse grid of cells."""

import warp as wp

from bodystream.deformation.kernels import Points, blended, moved, turned, vec16
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
    through_m: float  # what is seen this far behind a point, noise apart, shows that it is not there
    rim_px: int  # background this close to the foreground says nothing: outlines err most


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


@wp.struct
class Waiting:
    """Cells that show something and that nobody owns yet, listed per row, and when the others were taken."""

    columns: wp.array2d(dtype=wp.int32)  # (h, w) listed: their columns
    counts: wp.array(dtype=wp.int32)  # (h,)
    taken: wp.array2d(dtype=wp.int32)  # (h, w) the step of spreading after which a cell has an owner, -1 = has none


@wp.kernel(enable_backward=False)
def prepare_cells(
    begin: wp.int32,
    # Frame:
    depth_m: wp.array2d(dtype=float),  # (H, W) foreground, 0 = none
    # Out:
    cells_out: wp.array2d(dtype=float),  # (h, w) depth [m], 0 = none
    keys_out: wp.array2d(dtype=wp.int32),  # (h, w) NOBODY
):
    row = begin + wp.tid()
    for column in range(cells_out.shape[1]):
        cells_out[row, column] = cell_depth(depth_m, row, column)
        keys_out[row, column] = NOBODY


@wp.kernel(enable_backward=False)
def claim_cells(
    begin: wp.int32,
    # Model:
    points: Points,
    motions: wp.array(dtype=vec16),  # (N,) see `gather_motions`
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
    motion = blended(motions, points.anchors[i], w)
    p = moved(motion, points.positions[i])
    if p[2] < 1.0e-3:
        return
    n = turned(motion, points.normals[i])
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


@wp.func
def is_near_foreground(depth_m: wp.array2d(dtype=float), pixel: wp.vec2i, reach_px: int) -> bool:
    """Whether there is foreground so far to the left, right, above or below."""
    near = bool(False)
    for side in range(4):
        away = reach_px * (2 * (side % 2) - 1)
        v = pixel[1] + (side / 2) * away
        u = pixel[0] + (1 - side / 2) * away
        if v >= 0 and u >= 0 and v < depth_m.shape[0] and u < depth_m.shape[1]:
            near = near or depth_m[v, u] > 0.0
    return near


@wp.kernel(enable_backward=False)
def tally_points(
    begin: wp.int32,
    # Model:
    points: Points,
    motions: wp.array(dtype=vec16),  # (N,) see `gather_motions`
    # Frame:
    depth_m: wp.array2d(dtype=float),  # (H, W) foreground, 0 = none
    scene_depth_m: wp.array2d(dtype=float),  # (H, W) all measurements, 0 = none
    camera: Camera,
    rules: OwnerRules,
    # Out (added to):
    tallies_out: wp.array(dtype=wp.vec2i),  # (capacity,) per node: its points, of these those seen through
):
    i = begin + wp.tid()
    w = points.weights[i]
    if w[0] + w[1] + w[2] + w[3] < 0.5:
        return
    anchors = points.anchors[i]
    p = moved(blended(motions, anchors, w), points.positions[i])
    through = int(0)
    if p[2] > 1.0e-3:
        pixel = pixel_of(project(camera, p))
        if is_inside(camera, pixel, 0):
            z = scene_depth_m[pixel[1], pixel[0]]
            if z > 0.0 and z - p[2] > rules.through_m + depth_noise(camera, z):
                if depth_m[pixel[1], pixel[0]] > 0.0 or not is_near_foreground(depth_m, pixel, rules.rim_px):
                    through = int(1)
    wp.atomic_add(tallies_out, anchors[0], wp.vec2i(1, through))


@wp.kernel(enable_backward=False)
def name_owners(
    begin: wp.int32,
    # Model:
    points: Points,
    # Cells:
    cells: wp.array2d(dtype=float),  # (h, w) depth [m], 0 = none
    keys: wp.array2d(dtype=wp.int32),  # (h, w)
    rules: OwnerRules,
    # Out:
    owners_out: Owners,
    waiting_out: Waiting,
):
    row = begin + wp.tid()
    count = int(0)
    for column in range(keys.shape[1]):
        key = keys[row, column]
        node = int(-1)
        owner = wp.vec4(0.0, 0.0, 0.0, 0.0)
        if key != NOBODY:
            index = key & ((1 << INDEX_BITS) - 1)
            p = points.positions[index]
            owner = wp.vec4(p[0], p[1], p[2], rules.reach_m)
            node = points.anchors[index][0]
        elif cells[row, column] > 0.0:
            waiting_out.columns[row, count] = column
            count += 1
        owners_out.points[row, column] = owner
        owners_out.nodes[row, column] = node
        waiting_out.taken[row, column] = wp.where(node >= 0, 0, -1)
    waiting_out.counts[row] = count


@wp.func
def spread_row(
    row: int,
    step: int,
    cells: wp.array2d(dtype=float),
    camera: Camera,
    rules: OwnerRules,
    owners: Owners,
    waiting: Waiting,
):
    """Give owners to the cells of a row that wait, from neighbours that had one before this step; others wait on."""
    left = int(0)
    for k in range(waiting.counts[row]):
        column = waiting.columns[row, k]
        z = cells[row, column]
        side_m = z * float(CELL_PX) / camera.fx
        best = rules.steepest * side_m + depth_noise(camera, z)
        from_row = int(-1)
        from_column = int(0)
        for side in range(4):
            r = row + (side / 2) * (2 * (side % 2) - 1)
            c = column + (1 - side / 2) * (2 * (side % 2) - 1)
            if r >= 0 and c >= 0 and r < cells.shape[0] and c < cells.shape[1]:
                if waiting.taken[r, c] >= 0 and waiting.taken[r, c] <= step:
                    away = wp.abs(cells[r, c] - z)
                    if away < best:
                        best = away
                        from_row = r
                        from_column = c
        if from_row >= 0:
            owner = owners.points[from_row, from_column]
            owner[3] = owner[3] + wp.sqrt(side_m * side_m + best * best)
            owners.points[row, column] = owner
            owners.nodes[row, column] = owners.nodes[from_row, from_column]
            waiting.taken[row, column] = step + 1
        else:
            waiting.columns[row, left] = column
            left += 1
    waiting.counts[row] = left


@wp.kernel(enable_backward=False)
def spread_owners(
    begin: wp.int32,
    # Cells:
    cells: wp.array2d(dtype=float),  # (h, w) depth [m], 0 = none
    camera: Camera,
    # Options:
    rules: OwnerRules,
    rows: wp.int32,  # of a thread
    first: wp.int32,  # step
    steps: wp.int32,
    # Out (read, too):
    owners_out: Owners,
    waiting_out: Waiting,
):
    """A cell that nobody owns takes the owner of the neighbour whose surface it continues best.

    Threads of several rows may do several steps only where one thread has all of them.
    """
    row = (begin + wp.tid()) * rows
    for step in range(first, first + steps):
        for r in range(row, wp.min(row + rows, cells.shape[0])):
            spread_row(r, step, cells, camera, rules, owners_out, waiting_out)


@wp.func
def is_strange(owners: Owners, pixel: wp.vec2i, p: wp.vec3) -> bool:
    """Whether a pixel inside the image belongs to another part of the model than the canonical point p."""
    owner = owners.points[pixel[1] / CELL_PX, pixel[0] / CELL_PX]
    away = wp.vec3(owner[0] - p[0], owner[1] - p[1], owner[2] - p[2])
    return owner[3] > 0.0 and wp.length_sq(away) > owner[3] * owner[3]
