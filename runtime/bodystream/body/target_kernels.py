"""Kernels that ask a target mesh what of it is nearest."""

import warp as wp


@wp.kernel(enable_backward=False)
def distance_to_mesh(
    begin: int,
    # In:
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),  # (N,) [m]
    farthest_m: float,
    # Out:
    distance_out: wp.array(dtype=wp.float32),  # (N,) [m], farthest_m where nothing is nearer
):
    i = begin + wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], farthest_m)
    distance_out[i] = farthest_m
    if query.result:
        distance_out[i] = wp.length(points[i] - wp.mesh_eval_position(mesh, query.face, query.u, query.v))
