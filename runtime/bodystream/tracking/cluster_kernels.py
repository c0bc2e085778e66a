"""Which points share their nodes, which clusters of nodes have matches, and a tally of both for the host."""

import warp as wp

from bodystream.deformation.kernels import Points
from bodystream.tracking.term_kernels import FACES_AWAY, TURNED_AWAY, Sums


@wp.func
def ascending(anchors: wp.vec4i, weights: wp.vec4):
    """The anchors of a point by ascending node index, with their weights."""
    ids = anchors
    w = weights
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
    return ids, w


@wp.kernel(enable_backward=False)
def sort_anchors(
    begin: wp.int32,
    # Points:
    anchors: wp.array(dtype=wp.vec4i),  # (M,)
    # Out:
    anchors_out: wp.array(dtype=wp.vec4i),  # (M,) ascending node indices
):
    m = begin + wp.tid()
    ids, w = ascending(anchors[m], wp.vec4(0.0, 0.0, 0.0, 0.0))
    anchors_out[m] = ids


@wp.kernel(enable_backward=False)
def group_points(
    begin: wp.int32,
    # Points:
    points: Points,
    order: wp.array(dtype=wp.int32),  # (M,) points sorted by anchor set
    # Out:
    points_out: Points,  # with ascending anchors
):
    i = begin + wp.tid()
    m = order[i]
    ids, w = ascending(points.anchors[m], points.weights[m])
    points_out.positions[i] = points.positions[m]
    points_out.normals[i] = points.normals[m]
    points_out.anchors[i] = ids
    points_out.weights[i] = w


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
    seen: wp.array(dtype=wp.uint8),  # (M,) as `match_terms` says
    # Out (added to):
    tally_out: wp.array(dtype=float),  # (6,): ..., points that face away, explain a pixel, are far from it, are off
):
    """Not to be split on the CPU."""
    kind = int(seen[begin + wp.tid()])
    if kind == TURNED_AWAY:
        kind = FACES_AWAY
    wp.atomic_add(tally_out, 2 + kind, 1.0)
