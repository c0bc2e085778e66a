"""How well the whole model fits a frame at several rigid placements, and the step of each towards the depth."""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, warp_direction, warp_point
from bodystream.device.camera_kernels import Camera, is_inside, pixel_of, project, ray_of
from bodystream.tracking.rigid_kernels import store_rigid

PLACEMENT_TERMS = wp.constant(29)  # 21 of the symmetric 6x6 matrix, 6 of the right side, points facing, points near


@wp.kernel(enable_backward=False)
def live_points(
    begin: wp.int32,
    # Model:
    points: Points,
    stride: int,  # every so many points are taken
    graph: Graph,
    # Out:
    positions_out: wp.array(dtype=wp.vec3),  # (M,) camera frame [m]; the origin where not covered
    normals_out: wp.array(dtype=wp.vec3),  # (M,) unit, camera frame
):
    m = begin + wp.tid()
    i = m * stride
    positions_out[m] = warp_point(points.positions[i], points.anchors[i], points.weights[i], graph)
    normals_out[m] = warp_direction(points.normals[i], points.anchors[i], points.weights[i], graph)


@wp.kernel(enable_backward=False)
def measure_placements(
    begin: wp.int32,
    # Model:
    positions: wp.array(dtype=wp.vec3),  # (M,) camera frame [m]
    normals: wp.array(dtype=wp.vec3),  # (M,) unit, camera frame
    count: int,
    chunk: int,  # of the points, a thread
    # Placements:
    placements: wp.array(dtype=wp.mat44),  # (C,) of the live model
    # Frame:
    camera: Camera,
    depth_m: wp.array2d(dtype=float),  # (H, W) foreground [m], 0 = none
    reach_m: float,  # depth farther than this is another surface
    near_m: float,  # depth nearer than this is explained
    # Out:
    sums_out: wp.array2d(dtype=float),  # (C chunks, 29) see `PLACEMENT_TERMS`
):
    """Projective point-to-plane ICP of one chunk of points at one placement, x' = exp([eps]x) x + t."""
    row = begin + wp.tid()
    chunks = (count + chunk - 1) / chunk
    c = row / chunks
    first = (row % chunks) * chunk
    rr = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    rt = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    tt = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    br = wp.vec3(0.0, 0.0, 0.0)
    bt = wp.vec3(0.0, 0.0, 0.0)
    facing = float(0.0)
    near = float(0.0)
    for i in range(first, wp.min(first + chunk, count)):
        if positions[i][2] > 0.0:
            p = wp.transform_point(placements[c], positions[i])
            n = wp.transform_vector(placements[c], normals[i])
            if p[2] >= 0.05 and -wp.dot(n, wp.normalize(p)) >= 0.3:
                facing += 1.0
                pixel = pixel_of(project(camera, p))
                if is_inside(camera, pixel, 0):
                    z = depth_m[pixel[1], pixel[0]]
                    d = p - z * ray_of(camera, float(pixel[0]), float(pixel[1]))
                    if z > 0.0 and wp.length_sq(d) < reach_m * reach_m:
                        r = wp.dot(n, d)
                        if wp.abs(d[2]) < near_m:
                            near += 1.0
                        s = 1.0 / (1.0 + 9.0 * (r / reach_m) * (r / reach_m))
                        turn = wp.cross(p, n)
                        rr += s * wp.outer(turn, turn)
                        rt += s * wp.outer(turn, n)
                        tt += s * wp.outer(n, n)
                        br += (s * r) * turn
                        bt += (s * r) * n
    store_rigid(sums_out, row, rr, rt, tt, br, bt)
    sums_out[row, 27] = facing
    sums_out[row, 28] = near


@wp.kernel(enable_backward=False)
def place_nodes(
    begin: wp.int32,
    # Placement:
    placements: wp.array(dtype=wp.mat44),  # (C,) the first one is used
    # Out (read, too):
    graph_out: Graph,
):
    """Move every node rigidly."""
    i = begin + wp.tid()
    m = placements[0]
    turn = wp.mat33(m[0, 0], m[0, 1], m[0, 2], m[1, 0], m[1, 1], m[1, 2], m[2, 0], m[2, 1], m[2, 2])
    moved = wp.transform_point(m, graph_out.positions[i] + graph_out.translations[i])
    graph_out.rotations[i] = turn * graph_out.rotations[i]
    graph_out.translations[i] = moved - graph_out.positions[i]
