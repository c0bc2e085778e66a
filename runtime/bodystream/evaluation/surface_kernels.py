"""The model's vertices as a camera sees them."""

import warp as wp


@wp.kernel(enable_backward=False)
def project_vertices(
    begin: wp.int32,
    vertices: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    fx: wp.float32,
    fy: wp.float32,
    cx: wp.float32,
    cy: wp.float32,
    # Out:
    screen_out: wp.array(dtype=wp.vec3),  # (V,) u [px], v [px], 1 / z
):
    i = begin + wp.tid()
    p = vertices[i]
    screen_out[i] = wp.vec3(0.0, 0.0, 0.0)
    if p[2] > 0.05:
        w = 1.0 / p[2]
        screen_out[i] = wp.vec3(p[0] * w * fx + cx, p[1] * w * fy + cy, w)
