"""Terms, costs and steps of non-rigid tracking (NNRT eq. 8-12, appendix B) as Warp kernels.

No Jacobian is ever stored. A match whose warped point is p' contributes residuals r with d r / d p' = A, and all its
terms enter only through M = sum A^T A (3x3, "information") and g = sum A^T r ("gradient"); `assembly_kernels` turns
these into normal equations.
"""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, warp_direction, warp_point
from bodystream.device.camera_kernels import Camera, is_inside, pixel_of, project, ray_of
from bodystream.tracking.pcg_kernels import DAMPING

# Places of `state`, which a solve keeps on the device; the damping's is in `pcg_kernels`.
ACCEPTED_COST = wp.constant(1)  # of the kept motion, < 0 = none yet
ACCEPTED = wp.constant(2)  # 1 where the last trial was kept, else 0
REJECTED = wp.constant(3)  # steps that were taken back


@wp.struct
class TermWeights:
    """Weights of NNRT eq. 8 and the bounds of dense ICP."""

    flow: float  # lambda_2D, with pixels
    depth: float  # lambda_depth, with metres
    icp: float  # weight of point-to-plane, with metres
    reg: float  # lambda_reg, with metres
    flow_huber_px: float  # residuals above this grow linearly; <= 0 = plain squares
    icp_huber_m: float
    icp_reach_m: float  # depth farther than this from the warped point is another surface
    icp_min_cosine: float  # of the angle between model normal and view ray


@wp.struct
class Targets:
    """Where model points should be seen in the new frame."""

    pixels: wp.array(dtype=wp.vec2)  # (M,) c_u [px]
    depth: wp.array(dtype=float)  # (M,) [m], 0 = none
    weight: wp.array(dtype=float)  # (M,) w_u, 0 = no match


@wp.struct
class Sums:
    """What the terms of each match come to."""

    information: wp.array(dtype=wp.mat33)  # (M,) sum of A^T A
    gradient: wp.array(dtype=wp.vec3)  # (M,) sum of A^T r
    cost: wp.array(dtype=wp.vec3)  # (M,) of flow, depth and ICP


@wp.func
def huber_weight(r: float, k: float) -> float:
    """d rho / d (r^2) of the Huber loss; 1 inside k, and everywhere for k <= 0."""
    w = float(1.0)
    if k > 0.0 and r > k:
        w = k / r
    return w


@wp.func
def huber_cost(r: float, k: float) -> float:
    c = r * r
    if k > 0.0 and r > k:
        c = k * (2.0 * r - k)
    return c


@wp.kernel(enable_backward=False)
def sort_anchors(
    begin: wp.int32,
    # Points:
    anchors: wp.array(dtype=wp.vec4i),  # (M,)
    weights: wp.array(dtype=wp.vec4),  # (M,)
    # Out:
    anchors_out: wp.array(dtype=wp.vec4i),  # (M,) ascending node indices
    weights_out: wp.array(dtype=wp.vec4),  # (M,)
):
    m = begin + wp.tid()
    ids = anchors[m]
    w = weights[m]
    for i in range(3):
        for j in range(3):
            if j < 3 - i:
                if ids[j] > ids[j + 1]:
                    swap_i = ids[j]
                    ids[j] = ids[j + 1]
                    ids[j + 1] = swap_i
                    swap_w = w[j]
                    w[j] = w[j + 1]
                    w[j + 1] = swap_w
    anchors_out[m] = ids
    weights_out[m] = w


@wp.kernel(enable_backward=False)
def clear_terms(
    begin: wp.int32,
    # Out:
    sums_out: Sums,
):
    i = begin + wp.tid()
    sums_out.information[i] = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    sums_out.gradient[i] = wp.vec3(0.0, 0.0, 0.0)
    sums_out.cost[i] = wp.vec3(0.0, 0.0, 0.0)


@wp.kernel(enable_backward=False)
def flow_terms(
    begin: wp.int32,
    # Model:
    points: Points,  # sorted anchors
    graph: Graph,
    active: wp.array(dtype=wp.int32),  # (N,)
    # Frame:
    camera: Camera,
    targets: Targets,
    term: TermWeights,
    # Out (added to):
    sums_out: Sums,
):
    """2D reprojection (eq. 9) and depth (eq. 10) terms."""
    i = begin + wp.tid()
    w = targets.weight[i]
    anchors = points.anchors[i]
    if not (w > 0.0) or active[anchors[0]] == 0:
        return
    q = warp_point(points.positions[i], anchors, points.weights[i], graph)
    if q[2] < 1.0e-3:
        if wp.length_sq(points.weights[i]) > 0.0:
            # Behind the camera there is no pixel; the loss of a match must not look like progress.
            lost = term.flow * w * w * huber_cost(float(camera.width + camera.height), term.flow_huber_px)
            sums_out.cost[i] = sums_out.cost[i] + wp.vec3(lost, 0.0, 0.0)
        return
    iz = 1.0 / q[2]
    x = q[0] * iz
    y = q[1] * iz
    c = targets.pixels[i]
    ru = camera.fx * x + camera.cx - c[0]
    rv = camera.fy * y + camera.cy - c[1]
    r = wp.sqrt(ru * ru + rv * rv)
    s = term.flow * w * w
    cost = wp.vec3(s * huber_cost(r, term.flow_huber_px), 0.0, 0.0)
    s = s * huber_weight(r, term.flow_huber_px)
    ju = wp.vec3(camera.fx * iz, 0.0, -camera.fx * x * iz)
    jv = wp.vec3(0.0, camera.fy * iz, -camera.fy * y * iz)
    m = s * (wp.outer(ju, ju) + wp.outer(jv, jv))
    g = s * (ru * ju + rv * jv)
    if targets.depth[i] > 0.0:
        sz = term.depth * w * w
        rz = q[2] - targets.depth[i]
        m[2, 2] = m[2, 2] + sz
        g[2] = g[2] + sz * rz
        cost[1] = sz * rz * rz
    sums_out.information[i] = sums_out.information[i] + m
    sums_out.gradient[i] = sums_out.gradient[i] + g
    sums_out.cost[i] = sums_out.cost[i] + cost


@wp.kernel(enable_backward=False)
def icp_terms(
    begin: wp.int32,
    # Model:
    points: Points,  # sorted anchors
    graph: Graph,
    active: wp.array(dtype=wp.int32),  # (N,)
    # Frame:
    camera: Camera,
    depth_m: wp.array2d(dtype=float),  # (H, W) foreground only, 0 = none
    term: TermWeights,
    # Out:
    sums_out: Sums,  # added to
    seen_out: wp.array(dtype=wp.uint8),  # (M,) 0 = faces away, 1 = explains a pixel, 2 = far from it, 3 = off the mask
):
    """Dense projective point-to-plane ICP (NNRT sec. 4.5) against the pixel that the warped point falls on."""
    i = begin + wp.tid()
    seen_out[i] = wp.uint8(0)
    anchors = points.anchors[i]
    if active[anchors[0]] == 0:
        return
    p = warp_point(points.positions[i], anchors, points.weights[i], graph)
    if p[2] < 1.0e-3:
        return
    n = warp_direction(points.normals[i], anchors, points.weights[i], graph)
    if -wp.dot(n, wp.normalize(p)) < term.icp_min_cosine:
        return
    pixel = pixel_of(project(camera, p))
    if not is_inside(camera, pixel, 0):
        return
    seen_out[i] = wp.uint8(3)
    z = depth_m[pixel[1], pixel[0]]
    if not (z > 0.0 and z < 1.0e3):
        return  # also nan and infinity
    q = z * ray_of(camera, float(pixel[0]), float(pixel[1]))
    r = wp.dot(n, p - q)
    if wp.abs(r) > term.icp_reach_m or wp.length(p - q) > 2.0 * term.icp_reach_m:
        seen_out[i] = wp.uint8(2)
        # The loss of a match must not look like progress.
        sums_out.cost[i] = sums_out.cost[i] + wp.vec3(
            0.0, 0.0, term.icp * huber_cost(term.icp_reach_m, term.icp_huber_m)
        )
        return
    seen_out[i] = wp.uint8(1)
    a = wp.abs(r)
    s = term.icp * huber_weight(a, term.icp_huber_m)
    sums_out.information[i] = sums_out.information[i] + s * wp.outer(n, n)
    sums_out.gradient[i] = sums_out.gradient[i] + (s * r) * n
    sums_out.cost[i] = sums_out.cost[i] + wp.vec3(0.0, 0.0, term.icp * huber_cost(a, term.icp_huber_m))


@wp.kernel(enable_backward=False)
def sum_costs(
    begin: wp.int32,
    # Matches:
    count: int,
    chunk: int,  # matches a thread
    sums: Sums,
    anchors: wp.array(dtype=wp.vec4i),  # (M,)
    active: wp.array(dtype=wp.int32),  # (N,)
    # Trial:
    iteration: int,
    # Out (added to):
    totals_out: wp.array2d(dtype=float),  # (iterations + 1, 4): flow, depth, icp, reg
):
    c = begin + wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for i in range(c * chunk, wp.min(count, (c + 1) * chunk)):
        if active[anchors[i][0]] != 0:
            total += sums.cost[i]
    for k in range(3):
        wp.atomic_add(totals_out, iteration, k, total[k])


@wp.kernel(enable_backward=False)
def regularisation_cost(
    begin: wp.int32,
    # Graph:
    graph: Graph,
    active: wp.array(dtype=wp.int32),  # (N,)
    reg: float,
    # Trial:
    iteration: int,
    # Out (added to):
    totals_out: wp.array2d(dtype=float),  # (iterations + 1, 4): flow, depth, icp, reg
):
    i = begin + wp.tid()
    if active[i] == 0:
        return
    total = float(0.0)
    for e in range(graph.edges.shape[1]):
        j = graph.edges[i, e]
        if j >= 0:
            y = graph.rotations[i] * (graph.positions[j] - graph.positions[i])
            r = y + graph.positions[i] + graph.translations[i] - graph.positions[j] - graph.translations[j]
            total += wp.length_sq(r)
    wp.atomic_add(totals_out, iteration, 3, reg * total)


@wp.kernel(enable_backward=False)
def decide(
    begin: wp.int32,
    # Trial:
    iteration: int,
    totals: wp.array2d(dtype=float),  # (iterations + 1, 4): flow, depth, icp, reg
    # Out:
    state_out: wp.array(dtype=float),  # (4,) damping, accepted cost (< 0 = none yet), accepted flag, rejected steps
):
    """Levenberg: keep the trial motion when the cost fell, else return to the last one with more damping."""
    if begin + wp.tid() > 0:
        return
    cost = totals[iteration, 0] + totals[iteration, 1] + totals[iteration, 2] + totals[iteration, 3]
    if state_out[ACCEPTED_COST] < 0.0:
        state_out[ACCEPTED_COST] = cost
        state_out[ACCEPTED] = 1.0
    elif cost <= state_out[ACCEPTED_COST] * (1.0 + 1.0e-6):
        state_out[DAMPING] = state_out[DAMPING] * 0.3
        state_out[ACCEPTED_COST] = cost
        state_out[ACCEPTED] = 1.0
    else:
        state_out[DAMPING] = wp.max(state_out[DAMPING] * 10.0, 1.0e-3)
        state_out[ACCEPTED] = 0.0
        state_out[REJECTED] = state_out[REJECTED] + 1.0


@wp.kernel(enable_backward=False)
def keep_or_revert(
    begin: wp.int32,
    # Trial:
    state: wp.array(dtype=float),  # (4,)
    # In and out:
    graph_out: Graph,  # the motion of the trial
    kept_rotations_out: wp.array(dtype=wp.mat33),  # (N,)
    kept_translations_out: wp.array(dtype=wp.vec3),  # (N,) [m]
):
    i = begin + wp.tid()
    if state[ACCEPTED] > 0.5:
        kept_rotations_out[i] = graph_out.rotations[i]
        kept_translations_out[i] = graph_out.translations[i]
    else:
        graph_out.rotations[i] = kept_rotations_out[i]
        graph_out.translations[i] = kept_translations_out[i]


@wp.kernel(enable_backward=False)
def apply_step(
    begin: wp.int32,
    # Step:
    step: wp.array2d(dtype=wp.vec3),  # (N, 2): eps [rad], t [m]
    active: wp.array(dtype=wp.int32),  # (N,)
    max_rotation: float,  # [rad] a longer step is shortened: the system is hardly constrained there
    max_translation: float,  # [m]
    # In and out:
    graph_out: Graph,
):
    """R <- exp([eps]x) R, t <- t + dt."""
    i = begin + wp.tid()
    if active[i] == 0:
        return
    eps = step[i, 0]
    angle = wp.length(eps)
    dt = step[i, 1]
    length = wp.length(dt)
    if not (angle < 1.0e6 and length < 1.0e6):
        return  # nan or runaway: the cost of the unchanged motion decides
    if angle > max_rotation:
        eps = eps * (max_rotation / angle)
        angle = max_rotation
    if length > max_translation:
        dt = dt * (max_translation / length)
    if angle > 1.0e-12:
        q = wp.quat_from_axis_angle(eps / angle, angle)
        r = wp.quat_to_matrix(q) * graph_out.rotations[i]
        # Gram-Schmidt keeps a long-lived rotation orthonormal in float32.
        c0 = wp.normalize(wp.vec3(r[0, 0], r[1, 0], r[2, 0]))
        c1 = wp.vec3(r[0, 1], r[1, 1], r[2, 1])
        c1 = wp.normalize(c1 - wp.dot(c0, c1) * c0)
        graph_out.rotations[i] = wp.matrix_from_cols(c0, c1, wp.cross(c0, c1))
    graph_out.translations[i] = graph_out.translations[i] + dt


@wp.kernel(enable_backward=False)
def count_matches(
    begin: wp.int32,
    # Matches:
    anchors: wp.array(dtype=wp.vec4i),  # (M,)
    sums: Sums,
    # Graph:
    clusters: wp.array(dtype=wp.int32),  # (N,)
    # Out (added to):
    counts_out: wp.array(dtype=wp.int32),  # (clusters,)
):
    """Matches per cluster (NNRT appendix C.2). Not to be split on the CPU."""
    i = begin + wp.tid()
    if wp.trace(sums.information[i]) > 0.0:
        wp.atomic_add(counts_out, clusters[anchors[i][0]], 1)


@wp.kernel(enable_backward=False)
def activate_nodes(
    begin: wp.int32,
    # Graph:
    clusters: wp.array(dtype=wp.int32),  # (N,)
    counts: wp.array(dtype=wp.int32),  # (clusters,) matches
    minimum: int,
    # Out:
    active_out: wp.array(dtype=wp.int32),  # (N,)
):
    i = begin + wp.tid()
    active_out[i] = 0
    if counts[clusters[i]] >= minimum:
        active_out[i] = 1


@wp.kernel(enable_backward=False)
def tally_nodes(
    begin: wp.int32,
    # Graph:
    active: wp.array(dtype=wp.int32),  # (N,)
    cluster_counts: wp.array(dtype=wp.int32),  # (clusters,), at most N
    # Out (added to):
    tally_out: wp.array(dtype=float),  # (6,): matches, dropped nodes, ...
):
    """Matches of all clusters and nodes that are not active. Not to be split on the CPU."""
    i = begin + wp.tid()
    if i < cluster_counts.shape[0]:
        wp.atomic_add(tally_out, 0, float(cluster_counts[i]))
    if active[i] == 0:
        wp.atomic_add(tally_out, 1, 1.0)


@wp.kernel(enable_backward=False)
def tally_seen(
    begin: wp.int32,
    # Points:
    seen: wp.array(dtype=wp.uint8),  # (M,) as `icp_terms` says
    # Out (added to):
    tally_out: wp.array(dtype=float),  # (6,): ..., points that face away, explain a pixel, are far from it, are off
):
    """Not to be split on the CPU."""
    wp.atomic_add(tally_out, 2 + int(seen[begin + wp.tid()]), 1.0)
