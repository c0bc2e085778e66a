"""Costs of a trial, the decision about it, and steps of non-rigid tracking (NNRT eq. 8, 11, 12) as Warp kernels."""

import warp as wp

from bodystream.deformation.kernels import Graph
from bodystream.tracking.term_kernels import Sums

# Places of `state`, which a solve keeps on the device.
DAMPING = wp.constant(0)  # Levenberg's, relative to the diagonal
ACCEPTED_COST = wp.constant(1)  # of the kept motion, < 0 = none yet
ACCEPTED = wp.constant(2)  # 1 where the last trial was kept, else 0
REJECTED = wp.constant(3)  # steps that were taken back
STATES = wp.constant(4)


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
    even: float,
    expected: wp.array(dtype=wp.vec3),  # (N,) translations that the solve began with [m]
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
            d = graph.translations[i] - expected[i] - graph.translations[j] + expected[j]
            total += reg * wp.length_sq(r) + even * wp.length_sq(d)
    wp.atomic_add(totals_out, iteration, 3, total)


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
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    # Out (read, too):
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
    # Out (read, too):
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
