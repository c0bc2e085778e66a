"""Kernels that ask a surface: what of it is nearest to a point, and whether the point is inside."""

import warp as wp


@wp.kernel(enable_backward=False)
def nearest_of_mesh(
    begin: int,
    # In:
    mesh: wp.uint64,  # made with support_winding_number
    points: wp.array(dtype=wp.vec3),  # (N,) [m]
    farthest_m: float,
    accuracy: float,
    threshold: float,
    # Out:
    nearest_out: wp.array(dtype=wp.vec3),  # (N,) [m]
    face_out: wp.array(dtype=wp.int32),  # (N,) -1 beyond farthest_m
    weights_out: wp.array(dtype=wp.vec3),  # (N,) of the face's corners
    inside_out: wp.array(dtype=wp.int32),  # (N,) 1 where the winding number exceeds the threshold
):
    i = begin + wp.tid()
    query = wp.mesh_query_point_sign_winding_number(mesh, points[i], farthest_m, accuracy, threshold)
    face_out[i] = -1
    inside_out[i] = 0
    if query.result:
        nearest_out[i] = wp.mesh_eval_position(mesh, query.face, query.u, query.v)
        face_out[i] = query.face
        weights_out[i] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
        if query.sign < 0.0:
            inside_out[i] = 1


@wp.kernel(enable_backward=False)
def hit_by_rays(
    begin: int,
    # In:
    mesh: wp.uint64,
    starts: wp.array(dtype=wp.vec3),  # (N,) [m]
    direction: wp.vec3,
    # Out:
    face_out: wp.array(dtype=wp.int32),  # (N,) -1 = none
    weights_out: wp.array(dtype=wp.vec3),  # (N,) of the face's corners
):
    i = begin + wp.tid()
    face_out[i] = -1
    query = wp.mesh_query_ray(mesh, starts[i], direction, 1.0e4)
    if query.result:
        face_out[i] = query.face
        weights_out[i] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
