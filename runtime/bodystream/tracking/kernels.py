"""Terms, costs and steps of non-rigid tracking (NNRT eq. 8-12, appendix B) as Warp kernels.

No Jacobian is ever stored. A match whose warped point is p' contributes residuals r with d r / d p' = A, and all its
terms enter only through M = sum A^T A (3x3, "information") and g = sum A^T r ("gradient"); `assembly_kernels` turns
these into normal equations.
"""

import warp as wp

from bodystream.deformation.kernels import warp_direction, warp_point


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
class Pinhole:
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int


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
    anchors: wp.array(dtype=wp.vec4i),
    weights: wp.array(dtype=wp.vec4),
    # Out:
    anchors_out: wp.array(dtype=wp.vec4i),  # ascending node indices
    weights_out: wp.array(dtype=wp.vec4),
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
    information_out: wp.array(dtype=wp.mat33),
    gradient_out: wp.array(dtype=wp.vec3),
    cost_out: wp.array(dtype=wp.vec3),
):
    i = begin + wp.tid()
    information_out[i] = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    gradient_out[i] = wp.vec3(0.0, 0.0, 0.0)
    cost_out[i] = wp.vec3(0.0, 0.0, 0.0)


@wp.kernel(enable_backward=False)
def flow_terms(
    begin: wp.int32,
    # Model:
    points: wp.array(dtype=wp.vec3),  # (M,) canonical [m]
    anchors: wp.array(dtype=wp.vec4i),
    weights: wp.array(dtype=wp.vec4),
    positions: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),
    translations: wp.array(dtype=wp.vec3),
    active: wp.array(dtype=wp.int32),  # (N,)
    camera: Pinhole,
    term: TermWeights,
    # Frame:
    target_px: wp.array(dtype=wp.vec2),  # (M,) c_u
    target_z: wp.array(dtype=float),  # (M,) [m], 0 = none
    flow_weight: wp.array(dtype=float),  # (M,) w_u
    # Out (added to):
    information_out: wp.array(dtype=wp.mat33),
    gradient_out: wp.array(dtype=wp.vec3),
    cost_out: wp.array(dtype=wp.vec3),  # (M,) flow, depth, icp
):
    """2D reprojection (eq. 9) and depth (eq. 10) terms."""
    i = begin + wp.tid()
    w = flow_weight[i]
    if not (w > 0.0) or active[anchors[i][0]] == 0:
        return
    q = warp_point(points[i], anchors[i], weights[i], positions, rotations, translations)
    if q[2] < 1.0e-3:
        if wp.length_sq(weights[i]) > 0.0:
            # Behind the camera there is no pixel; the loss of a match must not look like progress.
            lost = term.flow * w * w * huber_cost(float(camera.width + camera.height), term.flow_huber_px)
            cost_out[i] = cost_out[i] + wp.vec3(lost, 0.0, 0.0)
        return
    iz = 1.0 / q[2]
    x = q[0] * iz
    y = q[1] * iz
    c = target_px[i]
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
    if target_z[i] > 0.0:
        sz = term.depth * w * w
        rz = q[2] - target_z[i]
        m[2, 2] = m[2, 2] + sz
        g[2] = g[2] + sz * rz
        cost[1] = sz * rz * rz
    information_out[i] = information_out[i] + m
    gradient_out[i] = gradient_out[i] + g
    cost_out[i] = cost_out[i] + cost


@wp.kernel(enable_backward=False)
def icp_terms(
    begin: wp.int32,
    # Model:
    points: wp.array(dtype=wp.vec3),  # (M,) canonical [m]
    normals: wp.array(dtype=wp.vec3),  # (M,) canonical
    anchors: wp.array(dtype=wp.vec4i),
    weights: wp.array(dtype=wp.vec4),
    positions: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),
    translations: wp.array(dtype=wp.vec3),
    active: wp.array(dtype=wp.int32),
    camera: Pinhole,
    term: TermWeights,
    # Frame:
    depth_m: wp.array2d(dtype=float),  # (H, W) foreground only, 0 = none
    # Out (added to):
    information_out: wp.array(dtype=wp.mat33),
    gradient_out: wp.array(dtype=wp.vec3),
    cost_out: wp.array(dtype=wp.vec3),
    # Out:
    seen_out: wp.array(dtype=wp.uint8),  # (M,) 0 = faces away, 1 = explains a pixel, 2 = far from it, 3 = off the mask
):
    """Dense projective point-to-plane ICP (NNRT sec. 4.5) against the pixel that the warped point falls on."""
    i = begin + wp.tid()
    seen_out[i] = wp.uint8(0)
    if active[anchors[i][0]] == 0:
        return
    p = warp_point(points[i], anchors[i], weights[i], positions, rotations, translations)
    if p[2] < 1.0e-3:
        return
    n = warp_direction(normals[i], anchors[i], weights[i], rotations)
    if -wp.dot(n, wp.normalize(p)) < term.icp_min_cosine:
        return
    u = int(wp.floor(camera.fx * p[0] / p[2] + camera.cx + 0.5))
    v = int(wp.floor(camera.fy * p[1] / p[2] + camera.cy + 0.5))
    if u < 0 or v < 0 or u >= camera.width or v >= camera.height:
        return
    seen_out[i] = wp.uint8(3)
    z = depth_m[v, u]
    if not (z > 0.0 and z < 1.0e3):
        return  # also nan and infinity
    q = wp.vec3((float(u) - camera.cx) / camera.fx * z, (float(v) - camera.cy) / camera.fy * z, z)
    r = wp.dot(n, p - q)
    if wp.abs(r) > term.icp_reach_m or wp.length(p - q) > 2.0 * term.icp_reach_m:
        seen_out[i] = wp.uint8(2)
        # The loss of a match must not look like progress.
        cost_out[i] = cost_out[i] + wp.vec3(0.0, 0.0, term.icp * huber_cost(term.icp_reach_m, term.icp_huber_m))
        return
    seen_out[i] = wp.uint8(1)
    a = wp.abs(r)
    s = term.icp * huber_weight(a, term.icp_huber_m)
    information_out[i] = information_out[i] + s * wp.outer(n, n)
    gradient_out[i] = gradient_out[i] + (s * r) * n
    cost_out[i] = cost_out[i] + wp.vec3(0.0, 0.0, term.icp * huber_cost(a, term.icp_huber_m))


@wp.kernel(enable_backward=False)
def sum_costs(
    begin: wp.int32,
    count: int,
    chunk: int,
    cost: wp.array(dtype=wp.vec3),  # (M,)
    anchors: wp.array(dtype=wp.vec4i),
    active: wp.array(dtype=wp.int32),
    iteration: int,
    # Out:
    totals_out: wp.array2d(dtype=float),  # (iterations + 1, 4): flow, depth, icp, reg
):
    c = begin + wp.tid()
    total = wp.vec3(0.0, 0.0, 0.0)
    for i in range(c * chunk, wp.min(count, (c + 1) * chunk)):
        if active[anchors[i][0]] != 0:
            total += cost[i]
    for k in range(3):
        wp.atomic_add(totals_out, iteration, k, total[k])


@wp.kernel(enable_backward=False)
def regularisation_cost(
    begin: wp.int32,
    positions: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),
    translations: wp.array(dtype=wp.vec3),
    edges: wp.array2d(dtype=wp.int32),
    active: wp.array(dtype=wp.int32),
    reg: float,
    iteration: int,
    # Out:
    totals_out: wp.array2d(dtype=float),
):
    i = begin + wp.tid()
    if active[i] == 0:
        return
    total = float(0.0)
    for e in range(edges.shape[1]):
        j = edges[i, e]
        if j >= 0:
            y = rotations[i] * (positions[j] - positions[i])
            total += wp.length_sq(y + positions[i] + translations[i] - positions[j] - translations[j])
    wp.atomic_add(totals_out, iteration, 3, reg * total)


@wp.kernel(enable_backward=False)
def decide(
    begin: wp.int32,
    iteration: int,
    totals: wp.array2d(dtype=float),
    # Out:
    state_out: wp.array(dtype=float),  # damping, accepted cost (< 0 = none yet), accepted flag, rejected steps
):
    """Levenberg: keep the trial motion when the cost fell, else return to the last one with more damping."""
    if begin + wp.tid() > 0:
        return
    cost = totals[iteration, 0] + totals[iteration, 1] + totals[iteration, 2] + totals[iteration, 3]
    if state_out[1] < 0.0:
        state_out[1] = cost
        state_out[2] = 1.0
    elif cost <= state_out[1] * (1.0 + 1.0e-6):
        state_out[0] = state_out[0] * 0.3
        state_out[1] = cost
        state_out[2] = 1.0
    else:
        state_out[0] = wp.max(state_out[0] * 10.0, 1.0e-3)
        state_out[2] = 0.0
        state_out[3] = state_out[3] + 1.0


@wp.kernel(enable_backward=False)
def keep_or_revert(
    begin: wp.int32,
    state: wp.array(dtype=float),
    # In and out:
    rotations: wp.array(dtype=wp.mat33),  # trial
    translations: wp.array(dtype=wp.vec3),
    kept_rotations: wp.array(dtype=wp.mat33),
    kept_translations: wp.array(dtype=wp.vec3),
):
    i = begin + wp.tid()
    if state[2] > 0.5:
        kept_rotations[i] = rotations[i]
        kept_translations[i] = translations[i]
    else:
        rotations[i] = kept_rotations[i]
        translations[i] = kept_translations[i]


@wp.kernel(enable_backward=False)
def apply_step(
    begin: wp.int32,
    step: wp.array2d(dtype=wp.vec3),  # (N, 2): eps [rad], t [m]
    active: wp.array(dtype=wp.int32),
    max_rotation: float,  # [rad] a longer step is shortened: the system is hardly constrained there
    max_translation: float,  # [m]
    # In and out:
    rotations: wp.array(dtype=wp.mat33),
    translations: wp.array(dtype=wp.vec3),
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
        r = wp.quat_to_matrix(q) * rotations[i]
        # Gram-Schmidt keeps a long-lived rotation orthonormal in float32.
        c0 = wp.normalize(wp.vec3(r[0, 0], r[1, 0], r[2, 0]))
        c1 = wp.vec3(r[0, 1], r[1, 1], r[2, 1])
        c1 = wp.normalize(c1 - wp.dot(c0, c1) * c0)
        rotations[i] = wp.matrix_from_cols(c0, c1, wp.cross(c0, c1))
    translations[i] = translations[i] + dt


@wp.kernel(enable_backward=False)
def count_matches(
    begin: wp.int32,
    anchors: wp.array(dtype=wp.vec4i),
    used: wp.array(dtype=wp.mat33),  # information of each match
    clusters: wp.array(dtype=wp.int32),  # (N,)
    # Out (added to):
    counts_out: wp.array(dtype=wp.int32),  # (clusters,)
):
    """Matches per cluster (NNRT appendix C.2). Not to be split on the CPU."""
    i = begin + wp.tid()
    if wp.trace(used[i]) > 0.0:
        wp.atomic_add(counts_out, clusters[anchors[i][0]], 1)


@wp.kernel(enable_backward=False)
def activate_nodes(
    begin: wp.int32,
    clusters: wp.array(dtype=wp.int32),
    counts: wp.array(dtype=wp.int32),
    minimum: int,
    # Out:
    active_out: wp.array(dtype=wp.int32),
):
    i = begin + wp.tid()
    active_out[i] = 0
    if counts[clusters[i]] >= minimum:
        active_out[i] = 1


@wp.kernel(enable_backward=False)
def tally_nodes(
    begin: wp.int32,
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
    seen: wp.array(dtype=wp.uint8),  # (M,) as `icp_terms` says
    # Out (added to):
    tally_out: wp.array(dtype=float),  # (6,): ..., points that face away, explain a pixel, are far from it, are off
):
    """Not to be split on the CPU."""
    wp.atomic_add(tally_out, 2 + int(seen[begin + wp.tid()]), 1.0)
