"""The model's vertices as a camera sees them."""

import warp as wp

from bodystream.device.camera_kernels import Camera, project_vertex


@wp.kernel(enable_backward=False)
def project_vertices(
    begin: wp.int32,
    # Surface:
    vertices: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    # Frame:
    camera: Camera,
    # Out:
    screen_out: wp.array(dtype=wp.vec3),  # (V,) u [px], v [px], 1 / z; zeros behind the near plane
):
    i = begin + wp.tid()
    screen_out[i] = project_vertex(camera, vertices[i], 0.05)
