"""Preconditioned conjugate gradients on 6x6 blocks, without host synchronisation.

A vector has two vec3 per node (rotation, translation). On CUDA each step is a launch over the nodes and
`scalars[k]` belongs to iteration k: (r.z, p.Hp); on a CPU one thread runs the whole loop.
"""

import warp as wp

from bodystream.tracking.step_kernels import DAMPING


@wp.struct
class System:
    """Block-sparse normal equations H x = b of 6 unknowns a node; see `pattern.BlockPattern`."""

    row_start: wp.array(dtype=wp.int32)  # (N + 1,)
    columns: wp.array(dtype=wp.int32)  # (S,)
    slots: wp.array2d(dtype=wp.int32)  # (N, N) slot of the block of two nodes, -1 = not in the pattern
    values: wp.array2d(dtype=wp.mat33)  # (S, 4) rotation-rotation, rotation-translation, and so on
    right: wp.array2d(dtype=wp.vec3)  # (N, 2) rotation, translation


@wp.struct
class Work:
    """Vectors of the iteration; r, z, p and q as in every book."""

    inverse: wp.array2d(dtype=wp.mat33)  # (N, 4) inverse of the damped diagonal blocks
    r: wp.array2d(dtype=wp.vec3)  # (N, 2) residual
    z: wp.array2d(dtype=wp.vec3)  # (N, 2) residual, preconditioned
    p: wp.array2d(dtype=wp.vec3)  # (N, 2) direction
    q: wp.array2d(dtype=wp.vec3)  # (N, 2) H p
    x: wp.array2d(dtype=wp.vec3)  # (N, 2) the step: eps [rad], t [m]


@wp.func
def start_row(i: int, system: System, damping: float, work: Work) -> float:
    """Inverse of the damped diagonal block by its Schur complement, and x = 0, r = b, p = z = M^-1 r; returns r.z."""
    for s in range(system.row_start[i], system.row_start[i + 1]):
        if system.columns[s] == i:
            a = system.values[s, 0]
            b = system.values[s, 1]
            d = system.values[s, 3]
            # The relative floor keeps nodes that nothing observes (no match, collinear matches) invertible.
            floor_a = 1.0e-7 + 1.0e-6 * wp.trace(a)
            floor_d = 1.0e-7 + 1.0e-6 * wp.trace(d)
            for k in range(3):
                a[k, k] = a[k, k] * (1.0 + damping) + floor_a
                d[k, k] = d[k, k] * (1.0 + damping) + floor_d
            d_inverse = wp.inverse(d)
            schur = wp.inverse(a - b * d_inverse * wp.transpose(b))
            cross = -(schur * b * d_inverse)
            work.inverse[i, 0] = schur
            work.inverse[i, 1] = cross
            work.inverse[i, 2] = wp.transpose(cross)
            work.inverse[i, 3] = d_inverse - d_inverse * wp.transpose(b) * cross
    r0 = system.right[i, 0]
    r1 = system.right[i, 1]
    z0 = work.inverse[i, 0] * r0 + work.inverse[i, 1] * r1
    z1 = work.inverse[i, 2] * r0 + work.inverse[i, 3] * r1
    work.x[i, 0] = wp.vec3(0.0, 0.0, 0.0)
    work.x[i, 1] = wp.vec3(0.0, 0.0, 0.0)
    work.r[i, 0] = r0
    work.r[i, 1] = r1
    work.p[i, 0] = z0
    work.p[i, 1] = z1
    return wp.dot(r0, z0) + wp.dot(r1, z1)


@wp.func
def multiply_row(i: int, system: System, damping: float, work: Work) -> float:
    """Row i of q = (H + damping diag H + floor) p; returns its part of p.q."""
    q0 = wp.vec3(0.0, 0.0, 0.0)
    q1 = wp.vec3(0.0, 0.0, 0.0)
    for s in range(system.row_start[i], system.row_start[i + 1]):
        j = system.columns[s]
        p0 = work.p[j, 0]
        p1 = work.p[j, 1]
        q0 += system.values[s, 0] * p0 + system.values[s, 1] * p1
        q1 += system.values[s, 2] * p0 + system.values[s, 3] * p1
        if j == i:
            a = system.values[s, 0]
            d = system.values[s, 3]
            floor_a = 1.0e-7 + 1.0e-6 * wp.trace(a)
            floor_d = 1.0e-7 + 1.0e-6 * wp.trace(d)
            q0 += damping * wp.cw_mul(wp.get_diag(a), p0) + floor_a * p0
            q1 += damping * wp.cw_mul(wp.get_diag(d), p1) + floor_d * p1
    work.q[i, 0] = q0
    work.q[i, 1] = q1
    return wp.dot(work.p[i, 0], q0) + wp.dot(work.p[i, 1], q1)


@wp.func
def advance_row(i: int, alpha: float, work: Work) -> float:
    """Row i of x += alpha p, r -= alpha q, z = M^-1 r; returns its part of r.z."""
    work.x[i, 0] = work.x[i, 0] + alpha * work.p[i, 0]
    work.x[i, 1] = work.x[i, 1] + alpha * work.p[i, 1]
    r0 = work.r[i, 0] - alpha * work.q[i, 0]
    r1 = work.r[i, 1] - alpha * work.q[i, 1]
    work.r[i, 0] = r0
    work.r[i, 1] = r1
    z0 = work.inverse[i, 0] * r0 + work.inverse[i, 1] * r1
    z1 = work.inverse[i, 2] * r0 + work.inverse[i, 3] * r1
    work.z[i, 0] = z0
    work.z[i, 1] = z1
    return wp.dot(r0, z0) + wp.dot(r1, z1)


@wp.kernel(enable_backward=False)
def solve_serially(
    begin: wp.int32,
    # System:
    nodes: int,
    system: System,
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    max_iterations: int,
    tolerance: float,  # of sqrt(r.z) relative to its start
    # Out:
    work_out: Work,
    report_out: wp.array(dtype=float),  # (3,) iterations, last r.z, root mean square of the nodes' translations [m]
):
    """The whole solve in one thread: on a CPU the launches of the parallel form would cost more than the work."""
    if begin + wp.tid() > 0:
        return
    damping = state[DAMPING]
    rz = float(0.0)
    for i in range(nodes):
        rz += start_row(i, system, damping, work_out)
    goal = tolerance * tolerance * rz
    done = int(0)
    while done < max_iterations and rz > goal and rz > 0.0:
        pq = float(0.0)
        for i in range(nodes):
            pq += multiply_row(i, system, damping, work_out)
        alpha = float(0.0)
        if pq > 0.0:
            alpha = rz / pq
        next_rz = float(0.0)
        for i in range(nodes):
            next_rz += advance_row(i, alpha, work_out)
        beta = next_rz / rz
        for i in range(nodes):
            work_out.p[i, 0] = work_out.z[i, 0] + beta * work_out.p[i, 0]
            work_out.p[i, 1] = work_out.z[i, 1] + beta * work_out.p[i, 1]
        rz = next_rz
        done += 1
    squares = float(0.0)
    for i in range(nodes):
        squares += wp.length_sq(work_out.x[i, 1])
    report_out[0] = float(done)
    report_out[1] = rz
    report_out[2] = wp.sqrt(squares / float(wp.max(nodes, 1)))


@wp.kernel(enable_backward=False)
def start_pcg(
    begin: wp.int32,
    # System:
    system: System,
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    # Out:
    work_out: Work,
    scalars_out: wp.array2d(dtype=float),  # (iterations + 1, 2) r.z, p.Hp
):
    i = begin + wp.tid()
    rz = start_row(i, system, state[DAMPING], work_out)
    wp.atomic_add(scalars_out, 0, 0, rz)


@wp.kernel(enable_backward=False)
def multiply(
    begin: wp.int32,
    # System:
    iteration: int,
    system: System,
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    # Out:
    work_out: Work,
    scalars_out: wp.array2d(dtype=float),  # (iterations + 1, 2) r.z, p.Hp
):
    i = begin + wp.tid()
    pq = multiply_row(i, system, state[DAMPING], work_out)
    wp.atomic_add(scalars_out, iteration, 1, pq)


@wp.kernel(enable_backward=False)
def advance(
    begin: wp.int32,
    # Iteration:
    iteration: int,
    # Out:
    work_out: Work,
    scalars_out: wp.array2d(dtype=float),  # (iterations + 1, 2) r.z, p.Hp
):
    i = begin + wp.tid()
    pq = scalars_out[iteration, 1]
    alpha = float(0.0)
    if pq > 0.0:
        alpha = scalars_out[iteration, 0] / pq
    rz = advance_row(i, alpha, work_out)
    wp.atomic_add(scalars_out, iteration + 1, 0, rz)


@wp.kernel(enable_backward=False)
def turn(
    begin: wp.int32,
    # Iteration:
    iteration: int,
    scalars: wp.array2d(dtype=float),  # (iterations + 1, 2) r.z, p.Hp
    # Out:
    work_out: Work,
):
    """p = z + beta p."""
    i = begin + wp.tid()
    beta = float(0.0)
    if scalars[iteration, 0] > 0.0:
        beta = scalars[iteration + 1, 0] / scalars[iteration, 0]
    work_out.p[i, 0] = work_out.z[i, 0] + beta * work_out.p[i, 0]
    work_out.p[i, 1] = work_out.z[i, 1] + beta * work_out.p[i, 1]
