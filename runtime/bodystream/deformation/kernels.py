"""Embedded deformation on the device: a point moves to Q(p) = sum_i a_i (R_i (p - v_i) + v_i + t_i).

Source: NNRT eq. 2 and 17; the weights are DoubleFusion's a_i ~ exp(-|v_i - p|^2 / (2 sigma^2)), normalised.
"""

import warp as wp

ANCHORS = wp.constant(4)

vec16 = wp.types.vector(length=16, dtype=float)


@wp.struct
class Graph:
    """Nodes and their motion: `WarpField.graph`, or the same nodes as they lay at another time."""

    positions: wp.array(dtype=wp.vec3)  # (N,) canonical [m]
    rotations: wp.array(dtype=wp.mat33)  # (N,)
    translations: wp.array(dtype=wp.vec3)  # (N,) [m]
    edges: wp.array2d(dtype=wp.int32)  # (N, K) neighbours, -1 = unused


@wp.struct
class Points:
    """Points of the canonical surface, and what carries them."""

    positions: wp.array(dtype=wp.vec3)  # (P,) canonical [m]
    normals: wp.array(dtype=wp.vec3)  # (P,) canonical, unit, outwards; empty where nobody asks for them
    anchors: wp.array(dtype=wp.vec4i)  # (P,) nodes
    weights: wp.array(dtype=wp.vec4)  # (P,) of the nodes, sum 1; all 0 = not covered


@wp.func
def warp_point(p: wp.vec3, anchors: wp.vec4i, weights: wp.vec4, graph: Graph) -> wp.vec3:
    """Q(p) of a canonical point; the origin when all weights are zero."""
    q = wp.vec3(0.0, 0.0, 0.0)
    for k in range(ANCHORS):
        i = anchors[k]
        v = graph.positions[i]
        q += weights[k] * (graph.rotations[i] * (p - v) + v + graph.translations[i])
    return q


@wp.func
def warp_direction(n: wp.vec3, anchors: wp.vec4i, weights: wp.vec4, graph: Graph) -> wp.vec3:
    """A canonical unit normal turned by the blended rotation, normalised."""
    d = wp.vec3(0.0, 0.0, 0.0)
    for k in range(ANCHORS):
        d += weights[k] * (graph.rotations[anchors[k]] * n)
    return wp.normalize(d)


@wp.func
def blended(motions: wp.array(dtype=vec16), anchors: wp.vec4i, weights: wp.vec4) -> vec16:
    """The motion of a point that goes with four nodes, as `gather_motions` stores it; zeros when all weights are."""
    m = weights[0] * motions[anchors[0]] + weights[1] * motions[anchors[1]]
    return m + weights[2] * motions[anchors[2]] + weights[3] * motions[anchors[3]]


@wp.func
def moved(motion: vec16, p: wp.vec3) -> wp.vec3:
    """Where a motion takes a point: `warp_point`, several times as fast, and rounded differently."""
    return wp.vec3(
        motion[0] * p[0] + motion[1] * p[1] + motion[2] * p[2] + motion[9],
        motion[3] * p[0] + motion[4] * p[1] + motion[5] * p[2] + motion[10],
        motion[6] * p[0] + motion[7] * p[1] + motion[8] * p[2] + motion[11],
    )


@wp.func
def turned(motion: vec16, n: wp.vec3) -> wp.vec3:
    """Where a motion turns a direction, normalised: `warp_direction`."""
    return wp.normalize(
        wp.vec3(
            motion[0] * n[0] + motion[1] * n[1] + motion[2] * n[2],
            motion[3] * n[0] + motion[4] * n[1] + motion[5] * n[2],
            motion[6] * n[0] + motion[7] * n[1] + motion[8] * n[2],
        )
    )


@wp.kernel(enable_backward=False)
def gather_motions(
    begin: wp.int32,
    # Graph:
    graph: Graph,
    # Out:
    motions_out: wp.array(dtype=vec16),  # (N,) rotation, and where the canonical origin goes [m]; four are unused
):
    i = begin + wp.tid()
    r = graph.rotations[i]
    t = graph.positions[i] + graph.translations[i] - r * graph.positions[i]
    motions_out[i] = vec16(
        r[0, 0],
        r[0, 1],
        r[0, 2],
        r[1, 0],
        r[1, 1],
        r[1, 2],
        r[2, 0],
        r[2, 1],
        r[2, 2],
        t[0],
        t[1],
        t[2],
        0.0,
        0.0,
        0.0,
        0.0,
    )


@wp.func
def nearest_within(grid: wp.uint64, nodes: wp.array(dtype=wp.vec3), p: wp.vec3, radius: float) -> int:
    """Index of the node nearest to p within `radius`, or -1; ties go to the older node."""
    best = int(-1)
    best_d2 = radius * radius
    query = wp.hash_grid_query(grid, p, radius)
    index = int(0)
    while wp.hash_grid_query_next(query, index):
        d2 = wp.length_sq(nodes[index] - p)
        if d2 < best_d2 or (d2 == best_d2 and index < best):
            best_d2 = d2
            best = index
    return best


@wp.func
def nearest_node(grid: wp.uint64, nodes: wp.array(dtype=wp.vec3), p: wp.vec3, sigma: float, reach: float) -> int:
    """Index of the node nearest to p within `reach`, or -1; sigma-coverage makes the small ball the common case."""
    nearest = nearest_within(grid, nodes, p, sigma)
    if nearest < 0:
        nearest = nearest_within(grid, nodes, p, reach)
    return nearest


@wp.func
def insert_sorted(distances: wp.vec4, indices: wp.vec4i, d2: float, index: int):
    """Keep the four smallest distances in ascending order."""
    d = distances
    ids = indices
    if d2 < d[3]:
        d[3] = d2
        ids[3] = index
        for back in range(3):
            k = 3 - back
            if d[k] < d[k - 1]:
                swap_d = d[k]
                d[k] = d[k - 1]
                d[k - 1] = swap_d
                swap_i = ids[k]
                ids[k] = ids[k - 1]
                ids[k - 1] = swap_i
    return d, ids


@wp.func
def gather_anchors(
    p: wp.vec3,
    nearest: int,
    nodes: wp.array(dtype=wp.vec3),
    edges: wp.array2d(dtype=wp.int32),
    sigma: float,
):
    """The four nearest of `nearest` and its graph neighbours, with normalised weights.

    Neighbours are geodesic, so a point on an arm is never anchored on the torso that it nearly touches.
    """
    far = float(1.0e10)
    d = wp.vec4(far, far, far, far)
    ids = wp.vec4i(nearest, nearest, nearest, nearest)
    d[0] = wp.length_sq(nodes[nearest] - p)
    for e in range(edges.shape[1]):
        j = edges[nearest, e]
        if j >= 0:
            d, ids = insert_sorted(d, ids, wp.length_sq(nodes[j] - p), j)
    # Distances relative to the nearest node keep the exponentials in range far from the surface.
    scale = -0.5 / (sigma * sigma)
    w = wp.vec4(0.0, 0.0, 0.0, 0.0)
    total = float(0.0)
    for k in range(ANCHORS):
        if d[k] < far:
            w[k] = wp.exp(scale * (d[k] - d[0]))
            total += w[k]
    return ids, w / total


@wp.kernel(enable_backward=False)
def anchor_points(
    begin: wp.int32,
    # Points:
    points: wp.array(dtype=wp.vec3),  # (P,) canonical [m]
    # Graph:
    graph: Graph,
    grid: wp.uint64,  # over its positions
    sigma: float,  # [m]
    reach: float,  # points farther than this from every node are not covered [m]
    # Out:
    anchors_out: wp.array(dtype=wp.vec4i),  # (P,)
    weights_out: wp.array(dtype=wp.vec4),  # (P,), zero = not covered
):
    i = begin + wp.tid()
    p = points[i]
    nearest = nearest_node(grid, graph.positions, p, sigma, reach)
    if nearest < 0:
        anchors_out[i] = wp.vec4i(0, 0, 0, 0)
        weights_out[i] = wp.vec4(0.0, 0.0, 0.0, 0.0)
    else:
        ids, w = gather_anchors(p, nearest, graph.positions, graph.edges, sigma)
        anchors_out[i] = ids
        weights_out[i] = w


@wp.kernel(enable_backward=False)
def move_nodes(
    begin: wp.int32,
    # Graph:
    graph: Graph,
    # Out:
    live_out: wp.array(dtype=wp.vec3),  # (N,) live node positions [m]
):
    i = begin + wp.tid()
    live_out[i] = graph.positions[i] + graph.translations[i]


@wp.kernel(enable_backward=False)
def unwarp_points(
    begin: wp.int32,
    # Points:
    points_live: wp.array(dtype=wp.vec3),  # (P,) camera frame [m]
    # Graph:
    graph: Graph,
    live: wp.array(dtype=wp.vec3),  # (N,) live node positions [m]
    grid: wp.uint64,  # over `live`
    sigma: float,  # [m]
    reach: float,  # [m]
    # Out:
    points_out: wp.array(dtype=wp.vec3),  # (P,) canonical [m]
    valid_out: wp.array(dtype=wp.int32),  # (P,) 0 = no node within reach
):
    i = begin + wp.tid()
    p = points_live[i]
    nearest = nearest_node(grid, live, p, sigma, reach)
    if nearest < 0:
        points_out[i] = wp.vec3(0.0, 0.0, 0.0)
        valid_out[i] = 0
    else:
        ids, w = gather_anchors(p, nearest, live, graph.edges, sigma)
        q = wp.vec3(0.0, 0.0, 0.0)
        for k in range(ANCHORS):
            j = ids[k]
            q += w[k] * (wp.transpose(graph.rotations[j]) * (p - live[j]) + graph.positions[j])
        points_out[i] = q
        valid_out[i] = 1


@wp.kernel(enable_backward=False)
def warp_points(
    begin: wp.int32,
    # Points:
    points: wp.array(dtype=wp.vec3),  # (P,) canonical [m]
    anchors: wp.array(dtype=wp.vec4i),  # (P,)
    weights: wp.array(dtype=wp.vec4),  # (P,)
    # Graph:
    graph: Graph,
    # Out:
    points_out: wp.array(dtype=wp.vec3),  # (P,) live [m]
):
    i = begin + wp.tid()
    points_out[i] = warp_point(points[i], anchors[i], weights[i], graph)
