"""The place of a mesh that is nearest to a point."""

import warp as wp


@wp.kernel(enable_backward=False)
def nearest_on_mesh(
    begin: wp.int32,
    # In:
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),  # (N,) [m]
    farthest_m: wp.float32,
    # Out:
    face_out: wp.array(dtype=wp.int32),  # (N,) the face, -1 where nothing is nearer than `farthest_m`
    shares_out: wp.array(dtype=wp.vec3),  # (N,) shares of the face's corners in that place
):
    i = begin + wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], farthest_m)
    face_out[i] = -1
    shares_out[i] = wp.vec3(0.0, 0.0, 0.0)
    if query.result:
        face_out[i] = query.face
        shares_out[i] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
