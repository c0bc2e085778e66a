"""Block-sparse normal equations without a Jacobian (NNRT appendix B.1).

With y_i = R_i (p - v_i) and the left-multiplied rotation increment, d p' / d (eps_i, t_i) = a_i [-[y_i]x | I], so the
6x6 block of nodes i, j is

    a_i a_j [[y_i]x M [y_j]x^T, [y_i]x M; M [y_j]x^T, M].

Matches are sorted by their anchor set: a thread sums the ten blocks of one set and writes them once. A block is
stored as four 3x3 matrices: rotation-rotation, rotation-translation, translation-rotation, translation-translation.
"""

import warp as wp

from bodystream.deformation.kernels import Graph, Points
from bodystream.tracking.pcg_kernels import System
from bodystream.tracking.step_kernels import ACCEPTED
from bodystream.tracking.term_kernels import Sums


@wp.struct
class GroupBlocks:
    """What each group adds to the normal equations."""

    blocks: wp.array2d(dtype=wp.mat33)  # (G, 10 * 4)
    right: wp.array2d(dtype=wp.vec3)  # (G, 4 * 2): rotation, translation


@wp.kernel(enable_backward=False)
def accumulate_groups(
    begin: wp.int32,
    # Trial:
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    # Model:
    starts: wp.array(dtype=wp.int32),  # (G + 1,) the points of a group lie together
    points: Points,  # grouped by anchors
    graph: Graph,
    active: wp.array(dtype=wp.int32),  # (N,)
    sums: Sums,
    # Out:
    groups_out: GroupBlocks,
):
    g = begin + wp.tid()
    if state[ACCEPTED] < 0.5:
        return
    ids = points.anchors[starts[g]]
    if active[ids[0]] == 0:
        return
    rr = wp.zeros(shape=10, dtype=wp.mat33)
    rt = wp.zeros(shape=16, dtype=wp.mat33)
    tt = wp.zeros(shape=10, dtype=wp.mat33)
    br = wp.zeros(shape=4, dtype=wp.vec3)
    bt = wp.zeros(shape=4, dtype=wp.vec3)
    y = wp.zeros(shape=4, dtype=wp.vec3)
    n = wp.zeros(shape=4, dtype=wp.mat33)
    for match in range(starts[g], starts[g + 1]):
        m = sums.information[match]
        if wp.trace(m) > 0.0:
            p = points.positions[match]
            a = points.weights[match]
            r = sums.gradient[match]
            m0 = wp.vec3(m[0, 0], m[1, 0], m[2, 0])
            m1 = wp.vec3(m[0, 1], m[1, 1], m[2, 1])
            m2 = wp.vec3(m[0, 2], m[1, 2], m[2, 2])
            for i in range(4):
                yi = graph.rotations[ids[i]] * (p - graph.positions[ids[i]])
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
        groups_out.right[g, i * 2] = br[i]
        groups_out.right[g, i * 2 + 1] = bt[i]
        for j in range(4):
            if j >= i:
                s = i * 4 + j - (i * (i + 1)) // 2
                groups_out.blocks[g, s * 4] = rr[s]
                groups_out.blocks[g, s * 4 + 1] = rt[i * 4 + j]
                groups_out.blocks[g, s * 4 + 2] = wp.transpose(rt[j * 4 + i])
                groups_out.blocks[g, s * 4 + 3] = tt[s]


@wp.func
def add_block(system: System, slot: int, rr: wp.mat33, rt: wp.mat33, tr: wp.mat33, tt: wp.mat33):
    wp.atomic_add(system.values, slot, 0, rr)
    wp.atomic_add(system.values, slot, 1, rt)
    wp.atomic_add(system.values, slot, 2, tr)
    wp.atomic_add(system.values, slot, 3, tt)


@wp.kernel(enable_backward=False)
def clear_system(
    begin: wp.int32,
    # Trial:
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    # Out:
    system_out: System,
):
    i = begin + wp.tid()
    if state[ACCEPTED] < 0.5:
        return
    zero = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for s in range(system_out.row_start[i], system_out.row_start[i + 1]):
        for k in range(4):
            system_out.values[s, k] = zero
    system_out.right[i, 0] = wp.vec3(0.0, 0.0, 0.0)
    system_out.right[i, 1] = wp.vec3(0.0, 0.0, 0.0)


@wp.kernel(enable_backward=False)
def scatter_groups(
    begin: wp.int32,
    # Trial:
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    # Model:
    starts: wp.array(dtype=wp.int32),  # (G + 1,) the points of a group lie together
    anchors: wp.array(dtype=wp.vec4i),  # (M,)
    active: wp.array(dtype=wp.int32),  # (N,)
    parts: GroupBlocks,
    # Out (added to):
    system_out: System,
):
    """Anchors of a match ascend, so only blocks i <= j arise; `mirror_blocks` fills the rest. Not split on the CPU."""
    g = begin + wp.tid()
    if state[ACCEPTED] < 0.5:
        return
    ids = anchors[starts[g]]
    if active[ids[0]] == 0:
        return
    for i in range(4):
        wp.atomic_add(system_out.right, ids[i], 0, -parts.right[g, i * 2])
        wp.atomic_add(system_out.right, ids[i], 1, -parts.right[g, i * 2 + 1])
        for j in range(4):
            # An unused anchor repeats a node with zero weight: its off-diagonal block is zero.
            if j == i or (j > i and ids[i] != ids[j]):
                s = (i * 4 + j - (i * (i + 1)) // 2) * 4
                slot = system_out.slots[ids[i], ids[j]]
                # Anchors that are older than the graph may couple nodes outside of its pattern.
                if slot >= 0:
                    add_block(
                        system_out,
                        slot,
                        parts.blocks[g, s],
                        parts.blocks[g, s + 1],
                        parts.blocks[g, s + 2],
                        parts.blocks[g, s + 3],
                    )


@wp.kernel(enable_backward=False)
def regularisation_blocks(
    begin: wp.int32,
    # Trial:
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    # Graph:
    graph: Graph,
    active: wp.array(dtype=wp.int32),  # (N,)
    reg: float,
    even: float,
    expected: wp.array(dtype=wp.vec3),  # (N,) translations that the solve began with [m]
    # Out (added to):
    system_out: System,
):
    """ARAP (eq. 11): d r / d eps_i = -[y]x, d r / d t_i = I, d r / d t_j = -I. Not to be split on the CPU.

    And, with weight `even`, neighbours depart alike from what was expected: d r / d t_i = I, d r / d t_j = -I.
    """
    i = begin + wp.tid()
    if state[ACCEPTED] < 0.5 or active[i] == 0:
        return
    zero = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    both = reg + even
    unit = wp.mat33(both, 0.0, 0.0, 0.0, both, 0.0, 0.0, 0.0, both)
    departs = graph.translations[i] - expected[i]
    for e in range(graph.edges.shape[1]):
        j = graph.edges[i, e]
        if j >= 0:
            y = graph.rotations[i] * (graph.positions[j] - graph.positions[i])
            r = reg * (y + graph.positions[i] + graph.translations[i] - graph.positions[j] - graph.translations[j])
            k = wp.skew(y)
            kt = reg * k
            add_block(system_out, system_out.slots[i, i], -(k * kt), kt, -kt, unit)
            add_block(system_out, system_out.slots[j, j], zero, zero, zero, unit)
            if i < j:
                add_block(system_out, system_out.slots[i, j], zero, -kt, zero, -unit)
            else:
                add_block(system_out, system_out.slots[j, i], zero, zero, kt, -unit)
            wp.atomic_add(system_out.right, i, 0, -wp.cross(y, r))
            r += even * (departs - graph.translations[j] + expected[j])
            wp.atomic_add(system_out.right, i, 1, -r)
            wp.atomic_add(system_out.right, j, 1, r)


@wp.kernel(enable_backward=False)
def mirror_blocks(
    begin: wp.int32,
    # Trial:
    state: wp.array(dtype=float),  # (4,) see `DAMPING` and those after it
    # Graph:
    active: wp.array(dtype=wp.int32),  # (N,)
    # Out:
    system_out: System,
):
    """Fill the lower triangle; give inactive nodes a unit diagonal so that their step is zero."""
    i = begin + wp.tid()
    if state[ACCEPTED] < 0.5:
        return
    for s in range(system_out.row_start[i], system_out.row_start[i + 1]):
        j = system_out.columns[s]
        if j < i:
            t = system_out.slots[j, i]
            system_out.values[s, 0] = wp.transpose(system_out.values[t, 0])
            system_out.values[s, 1] = wp.transpose(system_out.values[t, 2])
            system_out.values[s, 2] = wp.transpose(system_out.values[t, 1])
            system_out.values[s, 3] = wp.transpose(system_out.values[t, 3])
        if j == i and active[i] == 0:
            system_out.values[s, 0] = wp.identity(n=3, dtype=float)
            system_out.values[s, 3] = wp.identity(n=3, dtype=float)
