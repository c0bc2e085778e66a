"""Kernels around the cloth solver: the body between two poses, and the drag of air."""

import warp as wp


@wp.kernel(enable_backward=False)
def blend_points(
    begin: int,
    # In:
    start: wp.array(dtype=wp.vec3),  # (V,) [m]
    end: wp.array(dtype=wp.vec3),  # (V,) [m]
    part: float,
    interval_s: float,
    # Out:
    points_out: wp.array(dtype=wp.vec3),  # (V,) [m]
    velocities_out: wp.array(dtype=wp.vec3),  # (V,) [m/s]
):
    i = begin + wp.tid()
    points_out[i] = (1.0 - part) * start[i] + part * end[i]
    velocities_out[i] = (end[i] - start[i]) / interval_s


@wp.kernel(enable_backward=False)
def place_pins(
    begin: int,
    # Body:
    points: wp.array(dtype=wp.vec3),  # (V,) [m]
    faces: wp.array(dtype=wp.vec3i),  # (F,)
    # Pins:
    particles: wp.array(dtype=wp.int32),  # (P,)
    held_by: wp.array(dtype=wp.int32),  # (P,) faces
    weights: wp.array(dtype=wp.vec3),  # (P,) of the face's corners
    off_m: wp.array(dtype=wp.float32),  # (P,) from the skin [m]
    # Out:
    positions_out: wp.array(dtype=wp.vec3),  # (N,) [m]
):
    i = begin + wp.tid()
    face = faces[held_by[i]]
    a = points[face[0]]
    b = points[face[1]]
    c = points[face[2]]
    w = weights[i]
    normal = wp.normalize(wp.cross(b - a, c - a))
    positions_out[particles[i]] = w[0] * a + w[1] * b + w[2] * c + off_m[i] * normal


@wp.kernel(enable_backward=False)
def slow_down(
    begin: int,
    # In:
    kept: float,
    most_m_s: float,
    # Out (read, too):
    velocities_out: wp.array(dtype=wp.vec3),  # (N,) [m/s]
):
    i = begin + wp.tid()
    v = kept * velocities_out[i]
    speed = wp.length(v)
    if speed > most_m_s:
        v = v * (most_m_s / speed)
    velocities_out[i] = v
