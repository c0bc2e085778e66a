"""Block-sparse normal equations without a Jacobian (NNRT appendix B.1).

With y_i = R_i (p - v_i) and the left-multiplied rotation increment, d p' / d (eps_i, t_i) = a_i [-[y_i]x | I], so the
6x6 block of nodes i, j is

    a_i a_j [[y_i]x M [y_j]x^T, [y_i]x M; M [y_j]x^T, M].

Matches are sorted by their anchor set: a thread sums the ten blocks of one set and writes them once. A block is
stored as four 3x3 matrices: rotation-rotation, rotation-translation, translation-rotation, translation-translation.
"""

import warp as wp


@wp.kernel(enable_backward=False)
def accumulate_groups(
    begin: wp.int32,
    state: wp.array(dtype=float),
    group_start: wp.array(dtype=wp.int32),  # (G + 1,)
    order: wp.array(dtype=wp.int32),  # (M,) matches sorted by anchor set
    points: wp.array(dtype=wp.vec3),
    anchors: wp.array(dtype=wp.vec4i),  # every match of a group lists the same nodes in the same order
    weights: wp.array(dtype=wp.vec4),
    information: wp.array(dtype=wp.mat33),
    gradient: wp.array(dtype=wp.vec3),
    positions: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),
    active: wp.array(dtype=wp.int32),
    # Out:
    blocks_out: wp.array2d(dtype=wp.mat33),  # (G, 10 * 4)
    right_out: wp.array2d(dtype=wp.vec3),  # (G, 4 * 2): rotation, translation
):
    g = begin + wp.tid()
    if state[2] < 0.5:
        return
    ids = anchors[order[group_start[g]]]
    if active[ids[0]] == 0:
        return
    rr = wp.zeros(shape=10, dtype=wp.mat33)
    rt = wp.zeros(shape=16, dtype=wp.mat33)
    tt = wp.zeros(shape=10, dtype=wp.mat33)
    br = wp.zeros(shape=4, dtype=wp.vec3)
    bt = wp.zeros(shape=4, dtype=wp.vec3)
    y = wp.zeros(shape=4, dtype=wp.vec3)
    n = wp.zeros(shape=4, dtype=wp.mat33)
    for k in range(group_start[g], group_start[g + 1]):
        match = order[k]
        p = points[match]
        a = weights[match]
        m = information[match]
        r = gradient[match]
        m0 = wp.vec3(m[0, 0], m[1, 0], m[2, 0])
        m1 = wp.vec3(m[0, 1], m[1, 1], m[2, 1])
        m2 = wp.vec3(m[0, 2], m[1, 2], m[2, 2])
        for i in range(4):
            yi = rotations[ids[i]] * (p - positions[ids[i]])
            y[i] = yi
            n[i] = a[i] * wp.matrix_from_cols(wp.cross(yi, m0), wp.cross(yi, m1), wp.cross(yi, m2))
            br[i] = br[i] + a[i] * wp.cross(yi, r)
            bt[i] = bt[i] + a[i] * r
        for i in range(4):
            ni = n[i]
            n0 = wp.vec3(ni[0, 0], ni[0, 1], ni[0, 2])
            n1 = wp.vec3(ni[1, 0], ni[1, 1], ni[1, 2])
            n2 = wp.vec3(ni[2, 0], ni[2, 1], ni[2, 2])
            for j in range(4):
                rt[i * 4 + j] = rt[i * 4 + j] + a[j] * ni
                if j >= i:
                    s = i * 4 + j - (i * (i + 1)) // 2
                    yj = a[j] * y[j]
                    rr[s] = rr[s] + wp.matrix_from_rows(wp.cross(yj, n0), wp.cross(yj, n1), wp.cross(yj, n2))
                    tt[s] = tt[s] + (a[i] * a[j]) * m
    for i in range(4):
        right_out[g, i * 2] = br[i]
        right_out[g, i * 2 + 1] = bt[i]
        for j in range(4):
            if j >= i:
                s = i * 4 + j - (i * (i + 1)) // 2
                blocks_out[g, s * 4] = rr[s]
                blocks_out[g, s * 4 + 1] = rt[i * 4 + j]
                blocks_out[g, s * 4 + 2] = wp.transpose(rt[j * 4 + i])
                blocks_out[g, s * 4 + 3] = tt[s]


@wp.func
def add_block(values: wp.array2d(dtype=wp.mat33), slot: int, rr: wp.mat33, rt: wp.mat33, tr: wp.mat33, tt: wp.mat33):
    wp.atomic_add(values, slot, 0, rr)
    wp.atomic_add(values, slot, 1, rt)
    wp.atomic_add(values, slot, 2, tr)
    wp.atomic_add(values, slot, 3, tt)


@wp.kernel(enable_backward=False)
def clear_system(
    begin: wp.int32,
    state: wp.array(dtype=float),
    row_start: wp.array(dtype=wp.int32),  # (N + 1,)
    # Out:
    values_out: wp.array2d(dtype=wp.mat33),  # (S, 4)
    right_out: wp.array2d(dtype=wp.vec3),  # (N, 2)
):
    i = begin + wp.tid()
    if state[2] < 0.5:
        return
    zero = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for s in range(row_start[i], row_start[i + 1]):
        for k in range(4):
            values_out[s, k] = zero
    right_out[i, 0] = wp.vec3(0.0, 0.0, 0.0)
    right_out[i, 1] = wp.vec3(0.0, 0.0, 0.0)


@wp.kernel(enable_backward=False)
def scatter_groups(
    begin: wp.int32,
    state: wp.array(dtype=float),
    group_start: wp.array(dtype=wp.int32),
    order: wp.array(dtype=wp.int32),
    anchors: wp.array(dtype=wp.vec4i),
    blocks: wp.array2d(dtype=wp.mat33),
    right: wp.array2d(dtype=wp.vec3),
    slots: wp.array2d(dtype=wp.int32),  # (N, N) slot of the block of two nodes, -1 = not in the pattern
    active: wp.array(dtype=wp.int32),
    # Out (added to):
    values_out: wp.array2d(dtype=wp.mat33),
    right_out: wp.array2d(dtype=wp.vec3),
):
    """Anchors of a match ascend, so only blocks i <= j arise; `mirror_blocks` fills the rest. Not split on the CPU."""
    g = begin + wp.tid()
    if state[2] < 0.5:
        return
    ids = anchors[order[group_start[g]]]
    if active[ids[0]] == 0:
        return
    for i in range(4):
        wp.atomic_add(right_out, ids[i], 0, -right[g, i * 2])
        wp.atomic_add(right_out, ids[i], 1, -right[g, i * 2 + 1])
        for j in range(4):
            # An unused anchor repeats a node with zero weight: its off-diagonal block is zero.
            if j == i or (j > i and ids[i] != ids[j]):
                s = (i * 4 + j - (i * (i + 1)) // 2) * 4
                slot = slots[ids[i], ids[j]]
                # Anchors that are older than the graph may couple nodes outside of its pattern.
                if slot >= 0:
                    add_block(values_out, slot, blocks[g, s], blocks[g, s + 1], blocks[g, s + 2], blocks[g, s + 3])


@wp.kernel(enable_backward=False)
def regularisation_blocks(
    begin: wp.int32,
    state: wp.array(dtype=float),
    positions: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),
    translations: wp.array(dtype=wp.vec3),
    edges: wp.array2d(dtype=wp.int32),
    active: wp.array(dtype=wp.int32),
    slots: wp.array2d(dtype=wp.int32),
    reg: float,
    # Out (added to):
    values_out: wp.array2d(dtype=wp.mat33),
    right_out: wp.array2d(dtype=wp.vec3),
):
    """ARAP (eq. 11): d r / d eps_i = -[y]x, d r / d t_i = I, d r / d t_j = -I. Not to be split on the CPU."""
    i = begin + wp.tid()
    if state[2] < 0.5 or active[i] == 0:
        return
    zero = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    unit = wp.mat33(reg, 0.0, 0.0, 0.0, reg, 0.0, 0.0, 0.0, reg)
    for e in range(edges.shape[1]):
        j = edges[i, e]
        if j >= 0:
            y = rotations[i] * (positions[j] - positions[i])
            r = reg * (y + positions[i] + translations[i] - positions[j] - translations[j])
            k = wp.skew(y)
            kt = reg * k
            add_block(values_out, slots[i, i], -(k * kt), kt, -kt, unit)
            add_block(values_out, slots[j, j], zero, zero, zero, unit)
            if i < j:
                add_block(values_out, slots[i, j], zero, -kt, zero, -unit)
            else:
                add_block(values_out, slots[j, i], zero, zero, kt, -unit)
            wp.atomic_add(right_out, i, 0, -wp.cross(y, r))
            wp.atomic_add(right_out, i, 1, -r)
            wp.atomic_add(right_out, j, 1, r)


@wp.kernel(enable_backward=False)
def mirror_blocks(
    begin: wp.int32,
    state: wp.array(dtype=float),
    row_start: wp.array(dtype=wp.int32),
    columns: wp.array(dtype=wp.int32),
    slots: wp.array2d(dtype=wp.int32),
    active: wp.array(dtype=wp.int32),
    # Out:
    values_out: wp.array2d(dtype=wp.mat33),
):
    """Fill the lower triangle; give inactive nodes a unit diagonal so that their step is zero."""
    i = begin + wp.tid()
    if state[2] < 0.5:
        return
    for s in range(row_start[i], row_start[i + 1]):
        j = columns[s]
        if j < i:
            t = slots[j, i]
            values_out[s, 0] = wp.transpose(values_out[t, 0])
            values_out[s, 1] = wp.transpose(values_out[t, 2])
            values_out[s, 2] = wp.transpose(values_out[t, 1])
            values_out[s, 3] = wp.transpose(values_out[t, 3])
        if j == i and active[i] == 0:
            values_out[s, 0] = wp.identity(n=3, dtype=float)
            values_out[s, 3] = wp.identity(n=3, dtype=float)
