# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Grading of a depth image before fusion: which pixels to trust, how oblique they are, where to allocate."""

import warp as wp

from bodystream.device.camera_kernels import Camera, is_inside, ray_of

wp.set_module_options({"enable_backward": False, "max_unroll": 4})

TILE = wp.constant(16)


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


@wp.func
def incidence(z: float, dz_du: float, dz_dv: float, ray: wp.vec3, camera: Camera) -> float:
    """n . ray of the surface z(u, v): turns a difference of depth into distance from the tangent plane."""
    tangent_u = dz_du * ray + wp.vec3(z / camera.fx, 0.0, 0.0)
    tangent_v = dz_dv * ray + wp.vec3(0.0, z / camera.fy, 0.0)
    area = wp.length(wp.cross(tangent_u, tangent_v))
    return z * z / (camera.fx * camera.fy * area)


@wp.func
def grade_of(
    depth: wp.array2d(dtype=float),
    mask: wp.array2d(dtype=wp.uint8),
    u: int,
    v: int,
    camera: Camera,
    rules: PixelRules,
) -> float:
    """Incidence of a foreground pixel; 0 where a neighbour is background, across an edge, or the view too oblique."""
    e = rules.edge_px
    grade = float(0.0)
    if (
        mask[v, u - e] != wp.uint8(0)
        and mask[v, u + e] != wp.uint8(0)
        and mask[v - e, u] != wp.uint8(0)
        and mask[v + e, u] != wp.uint8(0)
    ):
        d = depth[v, u]
        left = depth[v, u - e]
        right = depth[v, u + e]
        up = depth[v - e, u]
        down = depth[v + e, u]
        limit = float(e) / camera.fx * rules.max_slope * d
        if (
            wp.abs(left - d) < limit
            and wp.abs(right - d) < limit
            and wp.abs(up - d) < limit
            and wp.abs(down - d) < limit
        ):
            ray = ray_of(camera, float(u), float(v))
            half = 0.5 / float(e)
            c = incidence(d, (right - left) * half, (down - up) * half, ray, camera)
            if c >= rules.min_cosine:
                grade = c
    return grade


@wp.func
def sample_step(z: float, camera: Camera, spacing: float) -> int:
    """Pixels between allocation samples: a divisor of the tile's edge."""
    step = int(4)
    if 8.0 * z < spacing * camera.fx:
        step = int(8)
    if 16.0 * z < spacing * camera.fx:
        step = int(16)
    return step


@wp.kernel(enable_backward=False)
def grade_pixels(
    begin: wp.int32,
    # Frame:
    depth: wp.array2d(dtype=float),  # (H, W) [m]
    mask: wp.array2d(dtype=wp.uint8),  # (H, W) 0 = background
    camera: Camera,
    # Options:
    rules: PixelRules,
    # Out:
    graded_out: wp.array2d(dtype=wp.vec2),  # (H, W) depth [m], incidence; incidence 0 = unusable, -1 = background
    tiles_out: wp.array(dtype=wp.vec3),  # (T,) from where to where voxels are updated, farthest background [m]
    sample_counts_out: wp.array(dtype=wp.int32),  # (T,)
):
    tile = begin + wp.tid()
    columns = (camera.width + TILE - 1) / TILE
    u0 = (tile % columns) * TILE
    v0 = (tile / columns) * TILE
    nearest = float(1.0e6)
    farthest = float(0.0)
    background = float(0.0)
    for v in range(v0, wp.min(v0 + TILE, camera.height)):
        for u in range(u0, wp.min(u0 + TILE, camera.width)):
            d = depth[v, u]
            grade = float(0.0)
            if d > rules.near and d < rules.far:
                if mask[v, u] == wp.uint8(0):
                    grade = -1.0
                    background = wp.max(background, d)
                elif is_inside(camera, wp.vec2i(u, v), rules.edge_px):
                    grade = grade_of(depth, mask, u, v, camera, rules)
                    if grade > 0.0:
                        nearest = wp.min(nearest, d - rules.truncation / grade)
                        farthest = wp.max(farthest, d + rules.truncation / grade)
            else:
                d = 0.0
            graded_out[v, u] = wp.vec2(d, grade)
    tiles_out[tile] = wp.vec3(nearest, farthest, background)
    samples = int(0)
    if farthest > 0.0:
        step = sample_step(nearest, camera, rules.spacing)
        for v in range(v0 + step / 2, wp.min(v0 + TILE, camera.height), step):
            for u in range(u0 + step / 2, wp.min(u0 + TILE, camera.width), step):
                if graded_out[v, u][1] > 0.0:
                    samples += 1
    sample_counts_out[tile] = samples


@wp.kernel(enable_backward=False)
def sample_points(
    begin: wp.int32,
    # Frame:
    graded: wp.array2d(dtype=wp.vec2),  # (H, W) depth [m], incidence
    tiles: wp.array(dtype=wp.vec3),  # (T,) from where to where voxels are updated, farthest background [m]
    sample_counts: wp.array(dtype=wp.int32),  # (T,)
    sample_begins: wp.array(dtype=wp.int32),  # (T,) place of a tile's first sample
    camera: Camera,
    # Options:
    rules: PixelRules,
    # Out:
    points_out: wp.array(dtype=wp.vec3),  # (P,) camera frame [m]
):
    tile = begin + wp.tid()
    if sample_counts[tile] > 0:
        columns = (camera.width + TILE - 1) / TILE
        u0 = (tile % columns) * TILE
        v0 = (tile / columns) * TILE
        step = sample_step(tiles[tile][0], camera, rules.spacing)
        target = int(sample_begins[tile])
        for v in range(v0 + step / 2, wp.min(v0 + TILE, camera.height), step):
            for u in range(u0 + step / 2, wp.min(u0 + TILE, camera.width), step):
                s = graded[v, u]
                if s[1] > 0.0:
                    points_out[target] = ray_of(camera, float(u), float(v)) * s[0]
                    target += 1
