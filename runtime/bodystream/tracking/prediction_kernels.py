"""How nodes moved last, where they go on to, and the optical flow that this causes."""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, warp_point
from bodystream.device.camera_kernels import Camera, is_inside, pixel_of, project
from bodystream.tracking.match_kernels import Past, existed


@wp.struct
class Velocities:
    """How each node moved last."""

    turn: wp.array(dtype=wp.vec3)  # (N,) rotation vector a second [rad/s]
    shift: wp.array(dtype=wp.vec3)  # (N,) [m/s]


@wp.func
def oldest_known(node: int, parents: wp.array(dtype=wp.int32), known: int) -> int:
    """The node, or the first of its ancestors that is among the first `known`; a parent is older than its child."""
    i = node
    while i >= known:
        i = parents[i]
    return i


@wp.func
def rotation_vector(r: wp.mat33) -> wp.vec3:
    """Logarithm of a rotation [rad], below half a turn."""
    sine = 0.5 * wp.vec3(r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1])
    length = wp.length(sine)
    if length < 1.0e-6:
        return sine
    return sine * (wp.atan2(length, 0.5 * (wp.trace(r) - 1.0)) / length)


@wp.kernel(enable_backward=False)
def measure_velocities(
    begin: wp.int32,
    # Motion:
    graph: Graph,
    before: Graph,  # the first `known` nodes as they lay before
    known: int,
    parents: wp.array(dtype=wp.int32),  # (N,)
    per_second: float,  # [1/s] one over the time between both
    # Out:
    velocities_out: Velocities,
):
    """A node that was just added goes on as its parent does."""
    i = begin + wp.tid()
    k = oldest_known(i, parents, known)
    turn = graph.rotations[k] * wp.transpose(before.rotations[k])
    velocities_out.turn[i] = per_second * rotation_vector(turn)
    velocities_out.shift[i] = per_second * (graph.translations[k] - before.translations[k])


@wp.kernel(enable_backward=False)
def move_on(
    begin: wp.int32,
    # Motion:
    velocities: Velocities,  # of the first `known` nodes
    known: int,
    parents: wp.array(dtype=wp.int32),  # (N,)
    seconds: float,
    max_step_m: float,
    # Out (read, too):
    graph_out: Graph,
):
    i = begin + wp.tid()
    k = oldest_known(i, parents, known)
    turn = seconds * velocities.turn[k]
    angle = wp.length(turn)
    if angle > 1.0e-9:
        graph_out.rotations[i] = (
            wp.quat_to_matrix(wp.quat_from_axis_angle(turn / angle, angle)) * graph_out.rotations[i]
        )
    step = seconds * velocities.shift[k]
    length = wp.length(step)
    if length > max_step_m:
        step = step * (max_step_m / length)
    graph_out.translations[i] = graph_out.translations[i] + step


@wp.kernel(enable_backward=False)
def predict_flow(
    begin: wp.int32,
    # Model:
    points: Points,
    stride: int,  # every so many points are looked at
    graph: Graph,  # predicted motion
    camera: Camera,
    # Reference frame:
    past: Past,
    visible_m: float,
    # Out:
    moved_out: wp.array(dtype=wp.vec4),  # (M,) pixel in the reference frame and its flow [px]; u < 0 = not seen there
):
    m = begin + wp.tid()
    i = m * stride
    moved_out[m] = wp.vec4(-1.0, -1.0, 0.0, 0.0)
    w = points.weights[i]
    anchors = points.anchors[i]
    if not existed(anchors, w, past.node_count):
        return
    p = warp_point(points.positions[i], anchors, w, past.graph)
    if p[2] < 1.0e-3:
        return
    at = project(camera, p)
    pixel = pixel_of(at)
    if not is_inside(camera, pixel, 0):
        return
    if wp.abs(past.depth[pixel[1], pixel[0]] - p[2]) > visible_m:
        return
    q = warp_point(points.positions[i], anchors, w, graph)
    if q[2] < 1.0e-3:
        return
    moved = project(camera, q) - at
    moved_out[m] = wp.vec4(wp.max(at[0], 0.0), wp.max(at[1], 0.0), moved[0], moved[1])
