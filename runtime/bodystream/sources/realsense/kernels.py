"""Warp kernels that bring the depth and the colour image of a RealSense camera onto one pixel grid."""

import warp as wp

__all__ = ["Projection", "colour_to_depth", "depth_to_metres", "finish_depth", "splat_depth"]


@wp.struct
class Projection:
    """From a pixel of the depth image and its depth to a pixel of the colour image.

    ray_from_pixel: maps (u, v, 1) of the depth image to its ray of depth 1, in the colour camera's axes.
    offset_m: the depth camera's origin in the colour camera [m].
    focal, centre: of the colour image [px].
    lens: 0 none, 1 modified (= inverse) Brown-Conrady, 2 Brown-Conrady.
    k1, k2, p1, p2, k3: the lens' coefficients.
    """

    ray_from_pixel: wp.mat33
    offset_m: wp.vec3
    focal: wp.vec2
    centre: wp.vec2
    lens: wp.int32
    k1: wp.float32
    k2: wp.float32
    p1: wp.float32
    p2: wp.float32
    k3: wp.float32


@wp.func
def distort(q: wp.vec2, projection: Projection) -> wp.vec2:
    """Normalised image coordinates as the lens bends them (librealsense, rs2_project_point_to_pixel)."""
    x = q[0]
    y = q[1]
    r2 = x * x + y * y
    f = 1.0 + r2 * (projection.k1 + r2 * (projection.k2 + r2 * projection.k3))
    xf = x * f
    yf = y * f
    if projection.lens == 1:
        # The modified model feeds the radially bent point to the tangential terms; r2 stays that of the ideal point.
        x = xf
        y = yf
    return wp.vec2(
        xf + 2.0 * projection.p1 * x * y + projection.p2 * (r2 + 2.0 * x * x),
        yf + 2.0 * projection.p2 * x * y + projection.p1 * (r2 + 2.0 * y * y),
    )


@wp.func
def to_colour_camera(u: wp.float32, v: wp.float32, z_m: wp.float32, projection: Projection) -> wp.vec3:
    return projection.ray_from_pixel * wp.vec3(u, v, 1.0) * z_m + projection.offset_m


@wp.func
def to_colour_pixel(point: wp.vec3, projection: Projection) -> wp.vec2:
    q = wp.vec2(point[0] / point[2], point[1] / point[2])
    if projection.lens != 0:
        q = distort(q, projection)
    return wp.vec2(q[0] * projection.focal[0] + projection.centre[0], q[1] * projection.focal[1] + projection.centre[1])


@wp.func
def blend(a: wp.uint8, b: wp.uint8, c: wp.uint8, d: wp.uint8, fu: wp.float32, fv: wp.float32) -> wp.uint8:
    top = wp.float32(a) + fu * (wp.float32(b) - wp.float32(a))
    bottom = wp.float32(c) + fu * (wp.float32(d) - wp.float32(c))
    return wp.uint8(wp.int32(top + fv * (bottom - top) + 0.5))


@wp.kernel(enable_backward=False)
def depth_to_metres(
    begin: wp.int32,
    # In:
    raw: wp.array(dtype=wp.uint16),  # (H*W,) in units of the sensor
    scale_m: wp.float32,
    max_depth_m: wp.float32,
    # Out:
    depth_out: wp.array(dtype=wp.float32),  # (H*W,) [m]
):
    i = begin + wp.tid()
    z_m = wp.float32(raw[i]) * scale_m
    if z_m > max_depth_m:
        z_m = 0.0
    depth_out[i] = z_m


@wp.kernel(enable_backward=False)
def colour_to_depth(
    begin: wp.int32,
    # In:
    raw: wp.array(dtype=wp.uint16),  # (H*W,) in units of the sensor
    scale_m: wp.float32,
    max_depth_m: wp.float32,
    width: wp.int32,
    projection: Projection,
    colour: wp.array(dtype=wp.vec3ub),  # (Hc*Wc,) RGB
    colour_width: wp.int32,
    colour_height: wp.int32,
    bilinear: wp.int32,
    # Out:
    depth_out: wp.array(dtype=wp.float32),  # (H*W,) [m]
    colour_out: wp.array(dtype=wp.vec3ub),  # (H*W,) RGB, black where there is no depth or no colour
):
    """Depth in metres, and for each of its pixels the colour that the colour camera sees at that point."""
    i = begin + wp.tid()
    z_m = wp.float32(raw[i]) * scale_m
    rgb = wp.vec3ub()
    if z_m > max_depth_m:
        z_m = 0.0
    if z_m > 0.0:
        v = i / width
        point = to_colour_camera(wp.float32(i - v * width), wp.float32(v), z_m, projection)
        if point[2] > 0.0:
            pixel = to_colour_pixel(point, projection)
            if bilinear != 0:
                # Half a pixel beyond the outermost centres still lies on the image.
                if (
                    pixel[0] >= -0.5
                    and pixel[1] >= -0.5
                    and pixel[0] < wp.float32(colour_width) - 0.5
                    and pixel[1] < wp.float32(colour_height) - 0.5
                ):
                    cu = wp.clamp(pixel[0], 0.0, wp.float32(colour_width - 1))
                    cv = wp.clamp(pixel[1], 0.0, wp.float32(colour_height - 1))
                    u0 = wp.int32(cu)
                    v0 = wp.int32(cv)
                    u1 = wp.min(u0 + 1, colour_width - 1)
                    row0 = v0 * colour_width
                    row1 = wp.min(v0 + 1, colour_height - 1) * colour_width
                    fu = cu - wp.float32(u0)
                    fv = cv - wp.float32(v0)
                    a = colour[row0 + u0]
                    b = colour[row0 + u1]
                    c = colour[row1 + u0]
                    d = colour[row1 + u1]
                    rgb = wp.vec3ub(
                        blend(a[0], b[0], c[0], d[0], fu, fv),
                        blend(a[1], b[1], c[1], d[1], fu, fv),
                        blend(a[2], b[2], c[2], d[2], fu, fv),
                    )
            else:
                # Truncation after adding one: exact for the pixels that lie on the image, and cheaper than floor.
                un = wp.int32(pixel[0] + 1.5) - 1
                vn = wp.int32(pixel[1] + 1.5) - 1
                if un >= 0 and vn >= 0 and un < colour_width and vn < colour_height:
                    rgb = colour[vn * colour_width + un]
    depth_out[i] = z_m
    colour_out[i] = rgb


@wp.kernel(enable_backward=False)
def splat_depth(
    begin: wp.int32,
    # In:
    raw: wp.array(dtype=wp.uint16),  # (H*W,) in units of the sensor
    scale_m: wp.float32,
    max_depth_m: wp.float32,
    width: wp.int32,
    projection: Projection,
    colour_width: wp.int32,
    colour_height: wp.int32,
    # Out (read, too):
    nearest_out: wp.array(dtype=wp.float32),  # (Hc*Wc,) [m], starts as a large number
):
    """Each depth pixel as the rectangle that it covers in the colour image; the nearest one stays."""
    i = begin + wp.tid()
    z_m = wp.float32(raw[i]) * scale_m
    if z_m <= 0.0 or z_m > max_depth_m:
        return
    v = i / width
    u = wp.float32(i - v * width)
    first = to_colour_camera(u - 0.5, wp.float32(v) - 0.5, z_m, projection)
    last = to_colour_camera(u + 0.5, wp.float32(v) + 0.5, z_m, projection)
    z_colour_m = 0.5 * (first[2] + last[2])
    if first[2] <= 0.0 or last[2] <= 0.0:
        return
    a = to_colour_pixel(first, projection)
    b = to_colour_pixel(last, projection)
    # Pixel centres in the half-open rectangle: neighbours share an edge, and each centre falls to one of them.
    u0 = wp.max(wp.int32(wp.ceil(wp.min(a[0], b[0]))), 0)
    v0 = wp.max(wp.int32(wp.ceil(wp.min(a[1], b[1]))), 0)
    u1 = wp.min(wp.int32(wp.ceil(wp.max(a[0], b[0]))), colour_width)
    v1 = wp.min(wp.int32(wp.ceil(wp.max(a[1], b[1]))), colour_height)
    for y in range(v0, v1):
        for x in range(u0, u1):
            wp.atomic_min(nearest_out, y * colour_width + x, z_colour_m)


@wp.kernel(enable_backward=False)
def finish_depth(
    begin: wp.int32,
    # In:
    limit_m: wp.float32,
    # Out (nearest_out is read, too):
    nearest_out: wp.array(dtype=wp.float32),  # (Hc*Wc,) [m], made large again for the next frame
    depth_out: wp.array(dtype=wp.float32),  # (Hc*Wc,) [m]
):
    i = begin + wp.tid()
    z_m = nearest_out[i]
    nearest_out[i] = 2.0 * limit_m
    if z_m > limit_m:
        z_m = 0.0
    depth_out[i] = z_m
