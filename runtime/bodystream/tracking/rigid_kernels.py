"""One rigid step of all nodes, from the information and gradients of the matches."""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, warp_point
from bodystream.tracking.term_kernels import Sums


@wp.func
def store_rigid(
    sums_out: wp.array2d(dtype=float),
    row: int,
    rr: wp.mat33,
    rt: wp.mat33,
    tt: wp.mat33,
    br: wp.vec3,
    bt: wp.vec3,
):
    """Write normal equations to the first 27 places of a row: rr and tt above the diagonal in turns, rt, right side."""
    place = int(0)
    for a in range(3):
        for b in range(3):
            if b >= a:
                sums_out[row, place] = rr[a, b]
                sums_out[row, place + 1] = tt[a, b]
                place += 2
    for a in range(3):
        for b in range(3):
            sums_out[row, place] = rt[a, b]
            place += 1
    for a in range(3):
        sums_out[row, 21 + a] = br[a]
        sums_out[row, 24 + a] = bt[a]


@wp.kernel(enable_backward=False)
def sum_rigid(
    begin: wp.int32,
    # Model:
    points: Points,
    graph: Graph,
    active: wp.array(dtype=wp.int32),  # (N,)
    # Matches:
    count: int,
    stride: int,  # every so many of them are looked at
    chunk: int,  # of these, a thread
    sums: Sums,
    # Out:
    sums_out: wp.array2d(dtype=float),  # (chunks, 27) 21 of the symmetric 6x6 matrix, 6 of the right side
):
    """Normal equations of one rigid step of all nodes, x' = exp([eps]x) x + t: d p' / d (eps, t) = [-[p']x | I]."""
    c = begin + wp.tid()
    rr = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    rt = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    tt = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    br = wp.vec3(0.0, 0.0, 0.0)
    bt = wp.vec3(0.0, 0.0, 0.0)
    for k in range(c * chunk, wp.min((count + stride - 1) / stride, (c + 1) * chunk)):
        i = k * stride
        m = sums.information[i]
        if wp.trace(m) > 0.0 and active[points.anchors[i][0]] != 0:
            y = wp.skew(warp_point(points.positions[i], points.anchors[i], points.weights[i], graph))
            ym = y * m
            rr -= ym * y
            rt += ym
            tt += m
            br += y * sums.gradient[i]
            bt += sums.gradient[i]
    store_rigid(sums_out, c, rr, rt, tt, br, bt)


@wp.kernel(enable_backward=False)
def solve_rigid(
    begin: wp.int32,
    # Matches:
    chunks: int,
    sums: wp.array2d(dtype=float),  # (chunks, 27) 21 of the symmetric 6x6 matrix, 6 of the right side
    damping: float,
    # Out:
    step_out: wp.array(dtype=wp.vec3),  # (2,): eps [rad], t [m]
):
    """One thread: sum the chunks and solve the 6x6 system by its Schur complement."""
    if begin + wp.tid() > 0:
        return
    rr = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    rt = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    tt = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    br = wp.vec3(0.0, 0.0, 0.0)
    bt = wp.vec3(0.0, 0.0, 0.0)
    for c in range(chunks):
        k = int(0)
        for a in range(3):
            for b in range(3):
                if b >= a:
                    rr[a, b] = rr[a, b] + sums[c, k]
                    tt[a, b] = tt[a, b] + sums[c, k + 1]
                    if b > a:
                        rr[b, a] = rr[b, a] + sums[c, k]
                        tt[b, a] = tt[b, a] + sums[c, k + 1]
                    k += 2
        for a in range(3):
            for b in range(3):
                rt[a, b] = rt[a, b] + sums[c, k]
                k += 1
        for a in range(3):
            br[a] = br[a] - sums[c, 21 + a]
            bt[a] = bt[a] - sums[c, 24 + a]
    for a in range(3):
        rr[a, a] = rr[a, a] * (1.0 + damping) + 1.0e-9
        tt[a, a] = tt[a, a] * (1.0 + damping) + 1.0e-9
    t_inverse = wp.inverse(tt)
    schur = rr - rt * t_inverse * wp.transpose(rt)
    eps = wp.inverse(schur) * (br - rt * t_inverse * bt)
    t = t_inverse * (bt - wp.transpose(rt) * eps)
    step_out[0] = eps
    step_out[1] = t


@wp.kernel(enable_backward=False)
def apply_rigid(
    begin: wp.int32,
    # Step:
    step: wp.array(dtype=wp.vec3),  # (2,): eps [rad], t [m]
    max_rotation: float,  # [rad]
    max_translation: float,  # of the nodes [m]
    # Out (read, too):
    graph_out: Graph,
):
    """Move every node rigidly: x' = exp([eps]x) x + t."""
    i = begin + wp.tid()
    eps = step[0]
    angle = wp.length(eps)
    x = graph_out.positions[i] + graph_out.translations[i]
    if not (angle < max_rotation):
        return  # also nan: too little was seen to tell a rigid motion
    turn = wp.identity(n=3, dtype=float)
    if angle > 1.0e-12:
        turn = wp.quat_to_matrix(wp.quat_from_axis_angle(eps / angle, angle))
    moved = turn * x + step[1]
    if not (wp.length(moved - x) < max_translation):
        return
    graph_out.rotations[i] = turn * graph_out.rotations[i]
    graph_out.translations[i] = moved - graph_out.positions[i]
