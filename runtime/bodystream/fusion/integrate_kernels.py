# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Non-rigid integration of a graded frame into the canonical voxels (DynamicFusion eq. 4-6, NNRT sec. 4.5).

A voxel is warped into the camera, and its distance from the measured surface is averaged in. The distance is that
from the tangent plane of the pixel, `(depth - z) (n . ray)`, so that oblique views agree with frontal ones. Voxels go
in rows of eight. A row is looked at only where the depth around its pixels can change it.
"""

import warp as wp

from bodystream.deformation.ownership_kernels import CELL_PX, Owners
from bodystream.device.camera_kernels import Camera
from bodystream.fusion.blocks_kernels import EDGE, Blocks, Live, SliceStates, has_turn, is_restless
from bodystream.fusion.frame_kernels import FINE, LANES, TILE, Graded
from bodystream.fusion.lanes_kernels import above, any_lane, chosen, larger, least, most, smaller, sum_of, vec8, vec8i
from bodystream.fusion.rows_kernels import HAT_0, HAT_1, HAT_2, Columns, columns_of

wp.set_module_options({"enable_backward": False, "max_unroll": 8})

BLOCK_VOXELS = wp.constant(512)
AT_SURFACE = wp.constant(0.6)  # distance / truncation up to which voxels shape the surface
UNKNOWN = wp.constant(2.0)  # published value of a voxel that may not carry surface
COLOUR_ONE = wp.constant(256.0)  # fixed point of a stored colour
COLOUR_CAP = wp.constant(24.0)  # frames that the average of a colour remembers

vec4us = wp.types.vector(length=4, dtype=wp.uint16)


@wp.struct
class Rules:
    """How a distance enters a voxel."""

    voxel: float  # [m]
    truncation: float  # [m]
    full_weight_behind: float  # weight falls from here to the truncation behind the surface [m]
    carve_margin: float  # [m]
    carve_rate: float  # weight that a frame takes from an empty voxel
    carve_share: float  # and share of what is left
    max_weight: float
    min_weight: float  # of a voxel that may carry surface
    silhouette_px: int  # background counts only where it reaches so far
    near: float  # [m]
    settled: float  # a voxel that goes farther in a frame has moved [m]
    young: float  # and so has one of less weight
    restless_share: float  # where less of an update's weight moved voxels, a slice is updated in some frames only


@wp.struct
class Voxels:
    """What was fused, in rows of eight voxels along x: row y + 8 z of each block, so that slice z begins at row 8 z."""

    distances: wp.array(dtype=vec8)  # (B * 64,) truncated distance / truncation
    weights: wp.array(dtype=vec8)  # (B * 64,) summed
    published: wp.array(dtype=vec8)  # (B * 64,) distance / truncation of which the surface was made, 2 = unknown
    colours: wp.array(dtype=vec4us)  # (B * 512,) RGB times 256, observations
    slices: SliceStates


@wp.func
def is_background(graded: Graded, camera: Camera, u: int, v: int) -> bool:
    """Whether a pixel is measured background; beyond the image nothing contradicts."""
    background = bool(True)
    if u >= 0 and v >= 0 and u < camera.width and v < camera.height:
        background = graded.pixels[(v + 1) * graded.stride + u + 1][1] < 0.0
    return background


@wp.func
def is_silhouette(graded: Graded, camera: Camera, place: int, reach_px: int) -> bool:
    """Whether a pixel of the background, by its place among the graded ones, lies well outside of the subject."""
    u = place % graded.stride - 1
    v = place / graded.stride - 1
    return (
        is_background(graded, camera, u - reach_px, v)
        and is_background(graded, camera, u + reach_px, v)
        and is_background(graded, camera, u, v - reach_px)
        and is_background(graded, camera, u, v + reach_px)
    )


@wp.func
def blend_colour(stored: vec4us, seen: wp.vec3ub) -> vec4us:
    """Running average of a colour; the last component counts observations."""
    count = float(stored[3])
    share = 1.0 / (count + 1.0)
    r = float(stored[0]) + (float(seen[0]) * COLOUR_ONE - float(stored[0])) * share
    g = float(stored[1]) + (float(seen[1]) * COLOUR_ONE - float(stored[1])) * share
    b = float(stored[2]) + (float(seen[2]) * COLOUR_ONE - float(stored[2])) * share
    n = wp.min(count + 1.0, COLOUR_CAP)
    return vec4us(wp.uint16(r), wp.uint16(g), wp.uint16(b), wp.uint16(n))


@wp.func
def publishable(distances: vec8, weights: vec8, min_weight: float) -> vec8:
    """What the surface may be made of: the distances of voxels with enough weight, 2 = unknown."""
    return chosen(above(vec8(min_weight), weights), vec8(UNKNOWN), distances)


@wp.func
def deviation(distances: vec8, weights: vec8, published: vec8, rules: Rules) -> float:
    """How far a row near its surface is from what the surface was last extracted from [m].

    Where a voxel became known or unknown, that is more than the truncation.
    """
    nearest = smaller(larger(distances, -distances), larger(published, -published))
    away = publishable(distances, weights, rules.min_weight) - published
    return most(chosen(above(vec8(AT_SURFACE), nearest), larger(away, -away), vec8(0.0))) * rules.truncation


@wp.struct
class Pixels:
    """The pixels that eight points are seen at, with the border of one pixel of the graded image: (1, 1) is (0, 0)."""

    u: vec8i
    v: vec8i


@wp.func
def pixels_of(x: vec8, y: vec8, z: vec8, camera: Camera, near: float) -> Pixels:
    """Pixels of eight points in the camera's frame [m].

    Beyond the image, and for points that are not beyond `near` [m], it is on the border, which says nothing.
    """
    scale = wp.cw_div(vec8(1.0), larger(z, vec8(near)))
    u = camera.fx * wp.cw_mul(x, scale) + vec8(camera.cx + 1.5)
    v = camera.fy * wp.cw_mul(y, scale) + vec8(camera.cy + 1.5)
    v = chosen(above(z, vec8(near)), v, vec8(0.0))
    u = smaller(larger(u, vec8(0.0)), vec8(float(camera.width + 1)))
    v = smaller(larger(v, vec8(0.0)), vec8(float(camera.height + 1)))
    pixels = Pixels()
    pixels.u = vec8i(u)
    pixels.v = vec8i(v)
    return pixels


@wp.func
def weights_of(distance: vec8, grade: vec8, rules: Rules) -> vec8:
    """What an observation counts at distances [m] from the surface: less where the view is oblique or far behind it.

    0 where nothing is fused.
    """
    fade = (1.0 / (rules.truncation - rules.full_weight_behind)) * (distance + vec8(rules.truncation))
    weight = wp.cw_mul(smaller(larger(grade, vec8(0.0)), vec8(1.0)), smaller(fade, vec8(1.0)))
    weight = chosen(above(distance, vec8(rules.truncation)), vec8(0.0), weight)
    return chosen(above(weight, vec8(1.0e-3)), weight, vec8(0.0))


@wp.func
def own_weights(weight: vec8, pixels: Pixels, first: wp.vec3, voxel_m: float, owners: Owners) -> vec8:
    """Weights of the voxels that are not strange to the owners of their pixels, see `is_strange`; 0 of the others.

    Args:
        first: canonical position of the row's first voxel [m].
    """
    x = vec8()
    y = vec8()
    z = vec8()
    reach = vec8()
    for k in range(8):
        # Pixels of the border have no weight: any cell will do.
        row = wp.min((pixels.v[k] + 3) / CELL_PX, owners.points.shape[0]) - 1
        column = wp.min((pixels.u[k] + 3) / CELL_PX, owners.points.shape[1]) - 1
        owner = owners.points[wp.max(row, 0), wp.max(column, 0)]
        x[k] = owner[0]
        y[k] = owner[1]
        z[k] = owner[2]
        reach[k] = owner[3]
    x -= vec8(first[0]) + voxel_m * LANES
    y -= vec8(first[1])
    z -= vec8(first[2])
    far = above(wp.cw_mul(x, x) + wp.cw_mul(y, y) + wp.cw_mul(z, z), wp.cw_mul(reach, reach))
    return chosen(wp.cw_mul(far, above(reach, vec8(0.0))), vec8(0.0), weight)


@wp.func
def held_behind(row: int, voxels: Voxels) -> vec8:
    """Weights of the voxels of a row on and behind a surface that was observed; 0 of others, which are empty."""
    return wp.cw_mul(voxels.weights[row], above(vec8(0.25), voxels.distances[row]))


@wp.func
def seen_through(gap: vec8, distance: vec8, grade: vec8, rules: Rules) -> vec8:
    """1 where the camera sees something well behind a voxel, else 0."""
    seen = larger(above(distance, vec8(rules.truncation)), above(vec8(0.0), grade))
    return wp.cw_mul(above(gap, vec8(rules.carve_margin)), seen)


@wp.func
def fuse_row(row: int, distance: vec8, weight: vec8, rules: Rules, voxels: Voxels) -> wp.vec3:
    """Average distances [m] into a row; returns its deviation [m], the weight that moved voxels, and all.

    Voxels of little weight count as moved.
    """
    old = voxels.distances[row]
    total = voxels.weights[row] + weight
    share = wp.cw_div(weight, larger(total, vec8(1.0e-6)))
    step = wp.cw_mul((1.0 / rules.truncation) * distance - old, share)
    mean = old + step
    total = smaller(total, vec8(rules.max_weight))
    voxels.distances[row] = mean
    voxels.weights[row] = total
    change = deviation(mean, total, voxels.published[row], rules)
    moved = larger(above(larger(step, -step), vec8(rules.settled / rules.truncation)), above(vec8(rules.young), total))
    return wp.vec3(change, wp.dot(moved, weight), sum_of(weight))


@wp.func
def colour_row(
    row: int,
    pixels: Pixels,
    distance: vec8,
    weight: vec8,
    colour: wp.array2d(dtype=wp.vec3ub),
    rules: Rules,
    voxels: Voxels,
):
    """Average colours into those voxels of a row that lie near the surface."""
    for k in range(8):
        if weight[k] > 0.0 and wp.abs(distance[k]) < rules.full_weight_behind:
            seen = colour[pixels.v[k] - 1, pixels.u[k] - 1]
            voxels.colours[row * 8 + k] = blend_colour(voxels.colours[row * 8 + k], seen)


@wp.func
def carve_row(
    row: int, empty: vec8, grade: vec8, places: vec8i, graded: Graded, camera: Camera, rules: Rules, voxels: Voxels
) -> float:
    """Take weight from the voxels that the camera sees through; returns the row's deviation."""
    weights = voxels.weights[row]
    for k in range(8):
        if empty[k] > 0.0:
            if grade[k] > 0.0 or is_silhouette(graded, camera, places[k], rules.silhouette_px):
                weights[k] = wp.max((1.0 - rules.carve_share) * weights[k] - rules.carve_rate, 0.0)
    voxels.weights[row] = weights
    return deviation(voxels.distances[row], weights, voxels.published[row], rules)


@wp.func
def rows_to_visit(c: Columns, graded: Graded, camera: Camera, occupied: bool, rules: Rules) -> vec8:
    """Which rows of a slice the frame may change: 2 = by fusing, 1 = only by carving, 0 = not.

    The depths around a row's middle are known for tiles with their neighbours: for all its pixels, where it is short.
    """
    front = smaller(smaller(c.z0, c.z1), c.z2)
    back = larger(larger(c.z0, c.z1), c.z2)
    first = wp.cw_div(vec8(1.0), larger(c.z0, vec8(rules.near)))
    last = wp.cw_div(vec8(1.0), larger(c.z2, vec8(rules.near)))
    u0 = camera.fx * wp.cw_mul(c.x0, first)
    v0 = camera.fy * wp.cw_mul(c.y0, first)
    u2 = camera.fx * wp.cw_mul(c.x2, last)
    v2 = camera.fy * wp.cw_mul(c.y2, last)
    half = 0.5 * most(larger(larger(u2 - u0, u0 - u2), larger(v2 - v0, v0 - v2))) + 1.0
    # Long rows, and those that come near the camera, are looked at in any case.
    visits = 2.0 * above(back, vec8(rules.near))
    if least(front) > rules.near and half < float(TILE):
        u = 0.5 * (u0 + u2) + vec8(camera.cx + 0.5)
        v = 0.5 * (v0 + v2) + vec8(camera.cy + 0.5)
        u = smaller(larger(u, vec8(0.0)), vec8(float(camera.width - 1)))
        v = smaller(larger(v, vec8(0.0)), vec8(float(camera.height - 1)))
        tile_px = wp.where(half < float(FINE), FINE, TILE)
        tiles = ((camera.width + tile_px - 1) / tile_px) * vec8i(v / float(tile_px)) + vec8i(u / float(tile_px))
        nearest = vec8()
        farthest = vec8()
        background = vec8()
        for y in range(8):
            seen = wp.vec3()
            if tile_px == FINE:
                seen = graded.around_fine[tiles[y]]
            else:
                seen = graded.around[tiles[y]]
            nearest[y] = seen[0]
            farthest[y] = seen[1]
            background[y] = seen[2]
        fused = wp.cw_mul(above(farthest, front), above(back, nearest))
        carved = vec8()
        if occupied:
            carved = above(larger(farthest, background) - vec8(rules.carve_margin), front)
        visits = wp.cw_mul(visits, larger(fused, 0.5 * carved))
    return visits


@wp.kernel(enable_backward=False)
def integrate_slices(
    begin: wp.int32,
    # Blocks:
    active: wp.array(dtype=wp.int32),  # (A,) slots
    blocks: Blocks,
    live: Live,
    # Frame:
    graded: Graded,
    owners: Owners,
    colour: wp.array2d(dtype=wp.vec3ub),  # (H, W) RGB, or empty
    camera: Camera,
    # Options:
    rules: Rules,
    turn: wp.vec2i,  # number of the frame, and of how many frames a settled slice sees one
    # Out (read, too):
    voxels_out: Voxels,
):
    i = begin + wp.tid()
    z_slice = active[i / EDGE] * EDGE + i % EDGE
    if not (has_turn(active[i / EDGE], turn) or is_restless(voxels_out.slices.unrest[z_slice], rules.restless_share)):
        return
    c = columns_of(live, active[i / EDGE], i % EDGE)
    occupied = voxels_out.slices.occupied[z_slice] != wp.uint8(0)
    visits = rows_to_visit(c, graded, camera, occupied, rules)
    done = wp.vec3(0.0, 0.0, 0.0)
    coords = blocks.coords[active[i / EDGE]] * EDGE
    corner = wp.vec3(float(coords[0]), float(coords[1]), float(coords[2] + i % EDGE)) * rules.voxel
    up = wp.vec3(0.0, rules.voxel, 0.0)
    for y in range(int(EDGE)):
        row = z_slice * EDGE + y
        visit = visits[y]
        if visit == 1.0 and not any_lane(held_behind(row, voxels_out)):
            visit = 0.0
        if visit > 0.0:
            x_live = c.x0[y] * HAT_0 + c.x1[y] * HAT_1 + c.x2[y] * HAT_2
            y_live = c.y0[y] * HAT_0 + c.y1[y] * HAT_1 + c.y2[y] * HAT_2
            z_live = c.z0[y] * HAT_0 + c.z1[y] * HAT_1 + c.z2[y] * HAT_2
            pixels = pixels_of(x_live, y_live, z_live, camera, rules.near)
            places = graded.stride * pixels.v + pixels.u
            depth = vec8()
            grade = vec8()
            for k in range(8):
                pixel = graded.pixels[places[k]]
                depth[k] = pixel[0]
                grade[k] = pixel[1]
            gap = depth - z_live
            distance = wp.cw_mul(gap, grade)
            weight = weights_of(distance, grade, rules)
            if occupied and most(gap) > rules.carve_margin:
                empty = wp.cw_mul(held_behind(row, voxels_out), seen_through(gap, distance, grade, rules))
                if any_lane(empty):
                    carved = carve_row(row, empty, grade, places, graded, camera, rules, voxels_out)
                    done = wp.vec3(wp.max(done[0], carved), done[1] + sum_of(empty), done[2] + sum_of(empty))
            if any_lane(weight):
                weight = own_weights(weight, pixels, corner + up * float(y), rules.voxel, owners)
            if any_lane(weight):
                fused = fuse_row(row, distance, weight, rules, voxels_out)
                done = wp.vec3(wp.max(done[0], fused[0]), done[1] + fused[1], done[2] + fused[2])
                if colour.shape[0] > 0:
                    colour_row(row, pixels, distance, weight, colour, rules, voxels_out)
                voxels_out.slices.occupied[z_slice] = wp.uint8(1)
    voxels_out.slices.change[z_slice] = wp.max(voxels_out.slices.change[z_slice], done[0])
    voxels_out.slices.unrest[z_slice] = wp.vec2(done[1], done[2])


@wp.kernel(enable_backward=False)
def publish_slices(
    begin: wp.int32,
    # Blocks:
    blocks: wp.array(dtype=wp.int32),  # (C,) slots
    changed: wp.array(dtype=wp.int32),  # (B,) bit z is set where slice z has changed
    # Options:
    min_weight: float,
    # Out (read, too):
    voxels_out: Voxels,
):
    i = begin + wp.tid()
    if (changed[blocks[i / EDGE]] >> (i % EDGE)) & 1 == 0:
        return
    z_slice = blocks[i / EDGE] * EDGE + i % EDGE
    for y in range(int(EDGE)):
        row = z_slice * EDGE + y
        voxels_out.published[row] = publishable(voxels_out.distances[row], voxels_out.weights[row], min_weight)
    voxels_out.slices.change[z_slice] = 0.0
