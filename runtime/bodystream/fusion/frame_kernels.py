# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Grading of a depth image before fusion: which pixels to trust, how oblique they are, where to allocate."""

import warp as wp

from bodystream.device.camera_kernels import Camera, ray_of
from bodystream.fusion.lanes_kernels import (
    above,
    any_lane,
    chosen,
    larger,
    least,
    most,
    smaller,
    vec8,
    vec8ub,
    vec16,
    within,
)

wp.set_module_options({"enable_backward": False, "max_unroll": 16})

TILE = wp.constant(16)
FARTHEST = wp.constant(1000.0)  # [m], and farther there is no measurement
FINE = wp.constant(8)  # pixels along a fine tile, a quarter of a tile
LANES = wp.constant(vec8(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0))


@wp.struct
class PixelRules:
    """What makes a pixel usable."""

    edge_px: int  # at this distance its neighbours must agree
    min_cosine: float
    max_slope: float  # tangent that goes with min_cosine
    near: float  # [m]
    far: float  # [m]
    spacing: float  # wanted distance of allocation samples on the surface [m]
    truncation: float  # [m]


@wp.struct
class Image:
    """Depth and mask in runs of eight pixels, one beginning at each pixel: run `v W + u` holds (u, v) to (u + 7, v)."""

    depth: wp.array(dtype=vec8)  # (H W - 7,) [m]
    mask: wp.array(dtype=vec8ub)  # (H W - 7,) 0 = background


@wp.struct
class Graded:
    """The graded image, and what its tiles hold: from where to where voxels are updated, farthest background [m].

    The image has a border of one pixel that says nothing: pixel (u, v) is at `(v + 1) stride + u + 1`.
    """

    pixels: wp.array(dtype=wp.vec2)  # ((H + 2) stride,) depth [m], incidence; incidence 0 = unusable, -1 = background
    runs: wp.array(dtype=vec16)  # ((H + 2) stride - 7,) the same in runs of eight, one beginning at each pixel
    stride: int  # W + 2
    fine: wp.array(dtype=wp.vec3)  # (T4,) of fine tiles
    tiles: wp.array(dtype=wp.vec3)  # (T,) of tiles
    around_fine: wp.array(dtype=wp.vec3)  # (T4,) of a fine tile and its eight neighbours
    around: wp.array(dtype=wp.vec3)  # (T,) of a tile and its eight neighbours


@wp.func
def marked(mask: vec8ub) -> vec8:
    """1 where a pixel is foreground, else 0."""
    lanes = vec8()
    for k in range(8):
        lanes[k] = wp.where(mask[k] != wp.uint8(0), 1.0, 0.0)
    return lanes


@wp.func
def incidences(z: vec8, dz_du: vec8, dz_dv: vec8, ray_x: vec8, ray_y: float, camera: Camera) -> vec8:
    """n . ray of the surface z(u, v): turns a difference of depth into distance from the tangent plane.

    The ray is (x, y, 1), and the normal the cross product of the surface's tangents over its length.
    """
    scale = wp.cw_div(vec8(1.0), z)
    s = camera.fx * wp.cw_mul(dz_du, scale)
    t = camera.fy * wp.cw_mul(dz_dv, scale)
    w = vec8(1.0) + wp.cw_mul(s, ray_x) + ray_y * t
    squares = wp.cw_mul(s, s) + wp.cw_mul(t, t) + wp.cw_mul(w, w)
    grades = vec8()
    for k in range(8):
        grades[k] = 1.0 / wp.sqrt(squares[k])
    return grades


@wp.func
def grades_of(image: Image, here: vec8, u: int, v: int, camera: Camera, rules: PixelRules) -> vec8:
    """Incidence of eight pixels from (u, v) on, as if they were foreground.

    0 where a neighbour is background, across an edge, or the view too oblique.
    """
    grades = vec8()
    e = rules.edge_px
    if v >= e and v < camera.height - e:
        at = v * camera.width + u
        left = image.depth[at - e]
        right = image.depth[at + e]
        up = image.depth[at - e * camera.width]
        down = image.depth[at + e * camera.width]
        usable = wp.cw_mul(marked(image.mask[at - e]), marked(image.mask[at + e]))
        usable = wp.cw_mul(usable, marked(image.mask[at - e * camera.width]))
        usable = wp.cw_mul(usable, marked(image.mask[at + e * camera.width]))
        columns = vec8(float(u)) + LANES
        usable = wp.cw_mul(usable, above(columns, vec8(float(e) - 0.5)))
        usable = wp.cw_mul(usable, above(vec8(float(camera.width - e) - 0.5), columns))
        limit = (float(e) / camera.fx * rules.max_slope) * here
        usable = wp.cw_mul(usable, wp.cw_mul(within(left - here, limit), within(right - here, limit)))
        usable = wp.cw_mul(usable, wp.cw_mul(within(up - here, limit), within(down - here, limit)))
        half = 0.5 / float(e)
        ray_x = (columns - vec8(camera.cx)) / camera.fx
        ray_y = (float(v) - camera.cy) / camera.fy
        z = larger(here, vec8(rules.near))
        grades = incidences(z, half * (right - left), half * (down - up), ray_x, ray_y, camera)
        usable = wp.cw_mul(usable, within(vec8(rules.min_cosine), grades))
        grades = chosen(usable, grades, vec8(0.0))
    return grades


@wp.func
def grade_fine_tile(u: int, v: int, image: Image, camera: Camera, rules: PixelRules, graded: Graded) -> wp.vec3:
    """Grade the fine tile whose first pixel is (u, v); returns what it holds."""
    nearest = vec8(1.0e6)
    farthest = vec8(0.0)
    background = vec8(0.0)
    for line in range(v, wp.min(v + FINE, camera.height)):
        depth = image.depth[line * camera.width + u]
        outside = vec8(1.0) - marked(image.mask[line * camera.width + u])
        # However far the background is, the space before it is empty.
        far = vec8(rules.far) + (FARTHEST - rules.far) * outside
        measured = wp.cw_mul(above(depth, vec8(rules.near)), above(far, depth))
        here = chosen(measured, depth, vec8(0.0))
        subject = measured - wp.cw_mul(outside, measured)
        grades = -0.5 * outside - 0.5 * wp.cw_mul(outside, measured)
        background = larger(background, wp.cw_mul(here, -grades))
        if any_lane(subject):
            fore = grades_of(image, here, u, line, camera, rules)
            grades = chosen(subject, fore, grades)
            used = above(grades, vec8(0.0))
            reach = rules.truncation * wp.cw_div(vec8(1.0), larger(grades, vec8(rules.min_cosine)))
            nearest = smaller(nearest, chosen(used, here - reach, vec8(1.0e6)))
            farthest = larger(farthest, wp.cw_mul(used, here + reach))
        run = vec16()
        for k in range(8):
            run[2 * k] = here[k]
            run[2 * k + 1] = grades[k]
        graded.runs[(line + 1) * graded.stride + u + 1] = run
    return wp.vec3(least(nearest), most(farthest), most(background))


@wp.func
def sample_step(z: float, camera: Camera, spacing: float) -> int:
    """Pixels between allocation samples: a divisor of the tile's edge."""
    step = int(4)
    if 8.0 * z < spacing * camera.fx:
        step = int(8)
    if 16.0 * z < spacing * camera.fx:
        step = int(16)
    return step


@wp.func
def sample_grid(z: float, camera: Camera, spacing: float, phase: int) -> wp.vec3i:
    """First column, first row and step [px] of a tile's allocation samples.

    Each of four frames takes a quarter of them, by its `phase` 0 to 3; -1 takes all.
    """
    step = sample_step(z, camera, spacing)
    grid = wp.vec3i(step / 2, step / 2, step)
    if phase >= 0 and step < TILE:
        grid = wp.vec3i(step / 2 + step * (phase & 1), step / 2 + step * (phase >> 1), 2 * step)
    return grid


@wp.func
def joined(a: wp.vec3, b: wp.vec3) -> wp.vec3:
    """What two tiles hold together."""
    nearest = wp.where(b[0] < a[0], b[0], a[0])
    farthest = wp.where(b[1] > a[1], b[1], a[1])
    return wp.vec3(nearest, farthest, wp.where(b[2] > a[2], b[2], a[2]))


@wp.func
def first_pixel(tile: int, size: int) -> int:
    """Where a fine tile begins: the last one is moved so that it ends with the image, which has at least 8 pixels."""
    return wp.min(tile * FINE, size - FINE)


@wp.kernel(enable_backward=False)
def grade_pixels(
    begin: wp.int32,
    # Frame:
    image: Image,
    camera: Camera,
    # Options:
    rules: PixelRules,
    listed: wp.array(dtype=wp.int32),  # (L,) tile, + T if it is only to be cleared
    phase: wp.int32,  # see `sample_grid`
    # Out (read, too):
    graded_out: Graded,
    sample_counts_out: wp.array(dtype=wp.int32),  # (T,)
):
    columns = (camera.width + TILE - 1) / TILE
    fine_columns = (camera.width + FINE - 1) / FINE
    tile = listed[begin + wp.tid()] % graded_out.tiles.shape[0]
    clear = listed[begin + wp.tid()] >= graded_out.tiles.shape[0]
    column = tile % columns
    row = tile / columns
    total = wp.vec3(1.0e6, 0.0, 0.0)
    for quarter in range(int(4)):
        fine_u = 2 * column + (quarter & 1)
        fine_v = 2 * row + quarter / 2
        if fine_u * FINE < camera.width and fine_v * FINE < camera.height:
            held = wp.vec3(1.0e6, 0.0, 0.0)
            u = first_pixel(fine_u, camera.width)
            v = fine_v * FINE
            if clear:
                for line in range(v + 1, wp.min(v + FINE, camera.height) + 1):
                    graded_out.runs[line * graded_out.stride + u + 1] = vec16(0.0)
            else:
                held = grade_fine_tile(u, v, image, camera, rules, graded_out)
            graded_out.fine[fine_v * fine_columns + fine_u] = held
            total = joined(total, held)
    graded_out.tiles[tile] = total
    samples = int(0)
    if total[1] > 0.0:
        grid = sample_grid(total[0], camera, rules.spacing, phase)
        for v in range(row * TILE + grid[1], wp.min((row + 1) * TILE, camera.height), grid[2]):
            for u in range(column * TILE + grid[0], wp.min((column + 1) * TILE, camera.width), grid[2]):
                if graded_out.pixels[(v + 1) * graded_out.stride + u + 1][1] > 0.0:
                    samples += 1
    sample_counts_out[tile] = samples


@wp.func
def joined_around(column: int, row: int, columns: int, tiles: wp.array(dtype=wp.vec3)) -> wp.vec3:
    """What a tile and its eight neighbours hold together."""
    held = wp.vec3(1.0e6, 0.0, 0.0)
    for v in range(wp.max(row - 1, 0), wp.min(row + 2, tiles.shape[0] / columns)):
        for u in range(wp.max(column - 1, 0), wp.min(column + 2, columns)):
            held = joined(held, tiles[v * columns + u])
    return held


@wp.kernel(enable_backward=False)
def join_neighbours(
    begin: wp.int32,
    # Frame:
    camera: Camera,
    # Options:
    listed: wp.array(dtype=wp.int32),  # (L,) tiles
    # Out (read, too):
    graded_out: Graded,
):
    columns = (camera.width + TILE - 1) / TILE
    fine_columns = (camera.width + FINE - 1) / FINE
    tile = listed[begin + wp.tid()]
    column = tile % columns
    row = tile / columns
    graded_out.around[tile] = joined_around(column, row, columns, graded_out.tiles)
    for quarter in range(int(4)):
        fine_u = 2 * column + (quarter & 1)
        fine_v = 2 * row + quarter / 2
        if fine_u * FINE < camera.width and fine_v * FINE < camera.height:
            held = joined_around(fine_u, fine_v, fine_columns, graded_out.fine)
            graded_out.around_fine[fine_v * fine_columns + fine_u] = held


@wp.kernel(enable_backward=False)
def sample_points(
    begin: wp.int32,
    # Frame:
    graded: Graded,
    sample_counts: wp.array(dtype=wp.int32),  # (T,)
    sample_begins: wp.array(dtype=wp.int32),  # (T,) place of a tile's first sample
    camera: Camera,
    # Options:
    rules: PixelRules,
    phase: wp.int32,  # see `sample_grid`
    # Out:
    points_out: wp.array(dtype=wp.vec3),  # (P,) camera frame [m]
):
    tile = begin + wp.tid()
    if sample_counts[tile] > 0:
        columns = (camera.width + TILE - 1) / TILE
        u0 = (tile % columns) * TILE
        v0 = (tile / columns) * TILE
        grid = sample_grid(graded.tiles[tile][0], camera, rules.spacing, phase)
        target = int(sample_begins[tile])
        for v in range(v0 + grid[1], wp.min(v0 + TILE, camera.height), grid[2]):
            for u in range(u0 + grid[0], wp.min(u0 + TILE, camera.width), grid[2]):
                s = graded.pixels[(v + 1) * graded.stride + u + 1]
                if s[1] > 0.0:
                    points_out[target] = ray_of(camera, float(u), float(v)) * s[0]
                    target += 1
