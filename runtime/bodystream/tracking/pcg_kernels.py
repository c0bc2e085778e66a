"""Preconditioned conjugate gradients on 6x6 blocks, without host synchronisation.

A vector has two vec3 per node (rotation, translation). On CUDA each step is a launch over the nodes and
`scalars[k]` belongs to iteration k: (r.z, p.Hp); on a CPU one thread runs the whole loop.
"""

import warp as wp


@wp.func
def start_row(
    i: int,
    row_start: wp.array(dtype=wp.int32),
    columns: wp.array(dtype=wp.int32),
    values: wp.array2d(dtype=wp.mat33),
    right: wp.array2d(dtype=wp.vec3),
    damping: float,
    inverse_out: wp.array2d(dtype=wp.mat33),
    x_out: wp.array2d(dtype=wp.vec3),
    r_out: wp.array2d(dtype=wp.vec3),
    p_out: wp.array2d(dtype=wp.vec3),
) -> float:
    """Inverse of the damped diagonal block by its Schur complement, and x = 0, r = b, p = z = M^-1 r; returns r.z."""
    for s in range(row_start[i], row_start[i + 1]):
        if columns[s] == i:
            a = values[s, 0]
            b = values[s, 1]
            d = values[s, 3]
            # The relative floor keeps nodes that nothing observes (no match, collinear matches) invertible.
            floor_a = 1.0e-7 + 1.0e-6 * wp.trace(a)
            floor_d = 1.0e-7 + 1.0e-6 * wp.trace(d)
            for k in range(3):
                a[k, k] = a[k, k] * (1.0 + damping) + floor_a
                d[k, k] = d[k, k] * (1.0 + damping) + floor_d
            d_inverse = wp.inverse(d)
            schur = wp.inverse(a - b * d_inverse * wp.transpose(b))
            cross = -(schur * b * d_inverse)
            inverse_out[i, 0] = schur
            inverse_out[i, 1] = cross
            inverse_out[i, 2] = wp.transpose(cross)
            inverse_out[i, 3] = d_inverse - d_inverse * wp.transpose(b) * cross
    r0 = right[i, 0]
    r1 = right[i, 1]
    z0 = inverse_out[i, 0] * r0 + inverse_out[i, 1] * r1
    z1 = inverse_out[i, 2] * r0 + inverse_out[i, 3] * r1
    x_out[i, 0] = wp.vec3(0.0, 0.0, 0.0)
    x_out[i, 1] = wp.vec3(0.0, 0.0, 0.0)
    r_out[i, 0] = r0
    r_out[i, 1] = r1
    p_out[i, 0] = z0
    p_out[i, 1] = z1
    return wp.dot(r0, z0) + wp.dot(r1, z1)


@wp.func
def multiply_row(
    i: int,
    row_start: wp.array(dtype=wp.int32),
    columns: wp.array(dtype=wp.int32),
    values: wp.array2d(dtype=wp.mat33),
    damping: float,
    p: wp.array2d(dtype=wp.vec3),
    q_out: wp.array2d(dtype=wp.vec3),
) -> float:
    """Row i of q = (H + damping diag H + floor) p; returns its part of p.q."""
    q0 = wp.vec3(0.0, 0.0, 0.0)
    q1 = wp.vec3(0.0, 0.0, 0.0)
    for s in range(row_start[i], row_start[i + 1]):
        j = columns[s]
        p0 = p[j, 0]
        p1 = p[j, 1]
        q0 += values[s, 0] * p0 + values[s, 1] * p1
        q1 += values[s, 2] * p0 + values[s, 3] * p1
        if j == i:
            a = values[s, 0]
            d = values[s, 3]
            floor_a = 1.0e-7 + 1.0e-6 * wp.trace(a)
            floor_d = 1.0e-7 + 1.0e-6 * wp.trace(d)
            q0 += damping * wp.cw_mul(wp.get_diag(a), p0) + floor_a * p0
            q1 += damping * wp.cw_mul(wp.get_diag(d), p1) + floor_d * p1
    q_out[i, 0] = q0
    q_out[i, 1] = q1
    return wp.dot(p[i, 0], q0) + wp.dot(p[i, 1], q1)


@wp.func
def advance_row(
    i: int,
    alpha: float,
    inverse: wp.array2d(dtype=wp.mat33),
    p: wp.array2d(dtype=wp.vec3),
    q: wp.array2d(dtype=wp.vec3),
    x_out: wp.array2d(dtype=wp.vec3),
    r_out: wp.array2d(dtype=wp.vec3),
    z_out: wp.array2d(dtype=wp.vec3),
) -> float:
    """Row i of x += alpha p, r -= alpha q, z = M^-1 r; returns its part of r.z."""
    x_out[i, 0] = x_out[i, 0] + alpha * p[i, 0]
    x_out[i, 1] = x_out[i, 1] + alpha * p[i, 1]
    r0 = r_out[i, 0] - alpha * q[i, 0]
    r1 = r_out[i, 1] - alpha * q[i, 1]
    r_out[i, 0] = r0
    r_out[i, 1] = r1
    z0 = inverse[i, 0] * r0 + inverse[i, 1] * r1
    z1 = inverse[i, 2] * r0 + inverse[i, 3] * r1
    z_out[i, 0] = z0
    z_out[i, 1] = z1
    return wp.dot(r0, z0) + wp.dot(r1, z1)


@wp.kernel(enable_backward=False)
def solve_serially(
    begin: wp.int32,
    nodes: int,
    max_iterations: int,
    tolerance: float,  # of sqrt(r.z) relative to its start
    row_start: wp.array(dtype=wp.int32),
    columns: wp.array(dtype=wp.int32),
    values: wp.array2d(dtype=wp.mat33),
    right: wp.array2d(dtype=wp.vec3),
    state: wp.array(dtype=float),  # [0] = damping
    # Work:
    inverse: wp.array2d(dtype=wp.mat33),
    r: wp.array2d(dtype=wp.vec3),
    z: wp.array2d(dtype=wp.vec3),
    p: wp.array2d(dtype=wp.vec3),
    q: wp.array2d(dtype=wp.vec3),
    # Out:
    x_out: wp.array2d(dtype=wp.vec3),
    report_out: wp.array(dtype=float),  # (3,) iterations, last r.z, largest translation along an axis
):
    """The whole solve in one thread: on a CPU the launches of the parallel form would cost more than the work."""
    if begin + wp.tid() > 0:
        return
    damping = state[0]
    rz = float(0.0)
    for i in range(nodes):
        rz += start_row(i, row_start, columns, values, right, damping, inverse, x_out, r, p)
    goal = tolerance * tolerance * rz
    done = int(0)
    while done < max_iterations and rz > goal and rz > 0.0:
        pq = float(0.0)
        for i in range(nodes):
            pq += multiply_row(i, row_start, columns, values, damping, p, q)
        alpha = float(0.0)
        if pq > 0.0:
            alpha = rz / pq
        next_rz = float(0.0)
        for i in range(nodes):
            next_rz += advance_row(i, alpha, inverse, p, q, x_out, r, z)
        beta = next_rz / rz
        for i in range(nodes):
            p[i, 0] = z[i, 0] + beta * p[i, 0]
            p[i, 1] = z[i, 1] + beta * p[i, 1]
        rz = next_rz
        done += 1
    largest = float(0.0)
    for i in range(nodes):
        t = x_out[i, 1]
        for k in range(3):
            a = wp.abs(t[k])
            if largest == largest and not (a <= largest):  # a nan stays
                largest = a
    report_out[0] = float(done)
    report_out[1] = rz
    report_out[2] = largest


@wp.kernel(enable_backward=False)
def start_pcg(
    begin: wp.int32,
    row_start: wp.array(dtype=wp.int32),
    columns: wp.array(dtype=wp.int32),
    values: wp.array2d(dtype=wp.mat33),  # (S, 4)
    right: wp.array2d(dtype=wp.vec3),  # (N, 2)
    state: wp.array(dtype=float),
    # Out:
    inverse_out: wp.array2d(dtype=wp.mat33),  # (N, 4) inverse of the damped diagonal blocks
    x_out: wp.array2d(dtype=wp.vec3),
    r_out: wp.array2d(dtype=wp.vec3),
    p_out: wp.array2d(dtype=wp.vec3),
    scalars_out: wp.array2d(dtype=float),  # (iterations + 1, 2)
):
    i = begin + wp.tid()
    rz = start_row(i, row_start, columns, values, right, state[0], inverse_out, x_out, r_out, p_out)
    wp.atomic_add(scalars_out, 0, 0, rz)


@wp.kernel(enable_backward=False)
def multiply(
    begin: wp.int32,
    iteration: int,
    row_start: wp.array(dtype=wp.int32),
    columns: wp.array(dtype=wp.int32),
    values: wp.array2d(dtype=wp.mat33),
    state: wp.array(dtype=float),
    p: wp.array2d(dtype=wp.vec3),
    # Out:
    q_out: wp.array2d(dtype=wp.vec3),
    scalars_out: wp.array2d(dtype=float),
):
    i = begin + wp.tid()
    pq = multiply_row(i, row_start, columns, values, state[0], p, q_out)
    wp.atomic_add(scalars_out, iteration, 1, pq)


@wp.kernel(enable_backward=False)
def advance(
    begin: wp.int32,
    iteration: int,
    inverse: wp.array2d(dtype=wp.mat33),
    p: wp.array2d(dtype=wp.vec3),
    q: wp.array2d(dtype=wp.vec3),
    # Out:
    x_out: wp.array2d(dtype=wp.vec3),
    r_out: wp.array2d(dtype=wp.vec3),
    z_out: wp.array2d(dtype=wp.vec3),
    scalars_out: wp.array2d(dtype=float),
):
    i = begin + wp.tid()
    pq = scalars_out[iteration, 1]
    alpha = float(0.0)
    if pq > 0.0:
        alpha = scalars_out[iteration, 0] / pq
    rz = advance_row(i, alpha, inverse, p, q, x_out, r_out, z_out)
    wp.atomic_add(scalars_out, iteration + 1, 0, rz)


@wp.kernel(enable_backward=False)
def turn(
    begin: wp.int32,
    iteration: int,
    z: wp.array2d(dtype=wp.vec3),
    scalars: wp.array2d(dtype=float),
    # Out:
    p_out: wp.array2d(dtype=wp.vec3),
):
    """p = z + beta p."""
    i = begin + wp.tid()
    beta = float(0.0)
    if scalars[iteration, 0] > 0.0:
        beta = scalars[iteration + 1, 0] / scalars[iteration, 0]
    p_out[i, 0] = z[i, 0] + beta * p_out[i, 0]
    p_out[i, 1] = z[i, 1] + beta * p_out[i, 1]
