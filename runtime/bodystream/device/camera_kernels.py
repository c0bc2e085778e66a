"""The pinhole camera on the device: from points to image points, to pixels, and back to rays.

Pixel centres are at integers, so an image spans -0.5 to width - 0.5. `device.camera` fills the struct.
"""

import warp as wp

# A stereo camera of 5 cm baseline that finds disparities to a sixteenth of a pixel: the steps of its depth.
STEREO_STEPS_PER_M = wp.constant(1.6)


@wp.struct
class Camera:
    """A pinhole camera without distortion."""

    fx: float  # [px]
    fy: float  # [px]
    cx: float  # [px]
    cy: float  # [px]
    width: int  # [px]
    height: int  # [px]


@wp.func
def project(camera: Camera, p: wp.vec3) -> wp.vec2:
    """Image point (u, v) [px] of a point in the camera's frame, whose z must not be 0."""
    return wp.vec2(camera.fx * p[0] / p[2] + camera.cx, camera.fy * p[1] / p[2] + camera.cy)


@wp.func
def project_ray(camera: Camera, x: float, y: float) -> wp.vec2:
    """Image point (u, v) [px] of the ray (x, y, 1): `project` for who needs 1 / z anyway; it rounds differently."""
    return wp.vec2(camera.fx * x + camera.cx, camera.fy * y + camera.cy)


@wp.func
def project_vertex(camera: Camera, p: wp.vec3, near: float) -> wp.vec3:
    """(u [px], v [px], 1 / z) of a vertex for the rasteriser; zeros where it is not beyond `near` [m]."""
    screen = wp.vec3(0.0, 0.0, 0.0)
    if p[2] > near:
        w = 1.0 / p[2]
        point = project_ray(camera, p[0] * w, p[1] * w)
        screen = wp.vec3(point[0], point[1], w)
    return screen


@wp.func
def pixel_of(point: wp.vec2) -> wp.vec2i:
    """The pixel (u, v) that an image point lies on; it may be outside of the image."""
    return wp.vec2i(int(wp.floor(point[0] + 0.5)), int(wp.floor(point[1] + 0.5)))


@wp.func
def is_inside(camera: Camera, pixel: wp.vec2i, border: int) -> bool:
    """Whether a pixel is on the image, and at least `border` pixels away from its rim."""
    u = pixel[0]
    v = pixel[1]
    return u >= border and v >= border and u < camera.width - border and v < camera.height - border


@wp.func
def ray_of(camera: Camera, u: float, v: float) -> wp.vec3:
    """The ray (x, y, 1) of an image point [px]; times the depth it is the point that is seen there."""
    return wp.vec3((u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, 1.0)


@wp.func
def depth_noise(camera: Camera, z: float) -> float:
    """How far a stereo camera's depth may be off at z [m]: it grows with the square of the distance, and with pixels.

    Source: the disparity's step, as in Khoshelham and Elberink 2012, eq. 4. Other depth cameras are better than that.
    """
    return z * z / (camera.fx * STEREO_STEPS_PER_M)
