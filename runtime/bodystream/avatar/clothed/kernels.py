"""Kernels of the clothed avatar: a PIN undone by tables, skinning in between, and which nodes of tables are asked for.

A PIN is three rounds of six layers that move x and y, z, y and z, x, z and x, y, and is undone from the last to the
first. What a layer does is a function of the coordinates that it leaves: of one of them where it moves two, of two
where it moves one. Per pose both kinds are tables, looked up by the cubic through four nodes along each axis.
"""

import warp as wp


@wp.struct
class Tables:
    """What the layers of a PIN do: those that move two coordinates, along the third, and those that move one, over the
    planes xy, yz and xz of the two others in turns."""

    lines: wp.array2d(dtype=wp.vec4)  # (9, N) shift along first and second coordinate [m], sine and cosine of the turn
    planes: wp.array2d(dtype=wp.vec4)  # (9, M) shift at the node before, there, and at the two after [m], row by row
    low: wp.vec3  # of the first node, by axis [m]
    lines_per_m: float  # nodes
    planes_per_m: float  # nodes along each axis
    count: wp.vec3i  # nodes of planes by axis


@wp.struct
class Surface:
    """What skinning alone knows of the vertices."""

    base: wp.array(dtype=wp.vec3)  # (V,) where the weights were taken [m]
    bones: wp.array2d(dtype=wp.vec4i)  # (V, K / 4) largest weight first
    weights: wp.array2d(dtype=wp.vec4)  # (V, K / 4) zero behind the last


@wp.struct
class Controls:
    """Those vertices that go all the way."""

    vertices: wp.array(dtype=wp.int32)  # (P,)
    canonical: wp.array(dtype=wp.vec3)  # (P,) [m]
    reach: wp.array(dtype=float)  # (P,) how far each may be, in H_d, from where skinning puts it [m]
    bones: wp.array2d(dtype=wp.int32)  # (K, P)
    logits: wp.array2d(dtype=wp.vec4)  # (K, P) what is added of x, y, z [1/m], and what they are at the base
    squares: wp.array2d(dtype=wp.vec3)  # (K, P) what is added of xx, yy, zz [1/m^2]
    products: wp.array2d(dtype=wp.vec3)  # (K, P) what is added of xy, yz, xz [1/m^2]


@wp.struct
class Bones:
    """A pose's bones, from the canonical pose, in the heading frame."""

    linear: wp.array(dtype=wp.mat33)  # (B,)
    shift: wp.array(dtype=wp.vec3)  # (B,) [m]


@wp.func
def through_four(t: float):
    """Weights of four nodes at -1, 0, 1, 2 for the cubic through them (Lagrange) at t."""
    a = t + 1.0
    b = t - 1.0
    c = t - 2.0
    bc = b * c
    at = a * t
    return wp.vec4(-t * bc / 6.0, a * bc * 0.5, -at * c * 0.5, at * b / 6.0)


@wp.func
def along(tables: Tables, layer: int, axis: int, place: float):
    at = (place - tables.low[axis]) * tables.lines_per_m
    node = wp.clamp(int(at), 1, tables.lines.shape[1] - 3)
    w = through_four(wp.clamp(at - float(node), -1.0, 2.0))
    return (
        w[0] * tables.lines[layer, node - 1]
        + w[1] * tables.lines[layer, node]
        + w[2] * tables.lines[layer, node + 1]
        + w[3] * tables.lines[layer, node + 2]
    )


@wp.func
def over(tables: Tables, layer: int, first: int, second: int, u: float, v: float):
    across = tables.count[second]
    x = (u - tables.low[first]) * tables.planes_per_m
    y = (v - tables.low[second]) * tables.planes_per_m
    i = wp.clamp(int(x), 1, tables.count[first] - 3)
    j = wp.clamp(int(y), 1, across - 3)
    w = through_four(wp.clamp(x - float(i), -1.0, 2.0))
    q = through_four(wp.clamp(y - float(j), -1.0, 2.0))
    node = (i - 1) * across + j
    return (
        w[0] * wp.dot(q, tables.planes[layer, node])
        + w[1] * wp.dot(q, tables.planes[layer, node + across])
        + w[2] * wp.dot(q, tables.planes[layer, node + 2 * across])
        + w[3] * wp.dot(q, tables.planes[layer, node + 3 * across])
    )


@wp.func
def over_each(tables: Tables, layer: int, first: int, second: int, u: wp.vec4, v: wp.vec4):
    return wp.vec4(
        over(tables, layer, first, second, u[0], v[0]),
        over(tables, layer, first, second, u[1], v[1]),
        over(tables, layer, first, second, u[2], v[2]),
        over(tables, layer, first, second, u[3], v[3]),
    )


@wp.func
def undo_round(tables: Tables, layer: int, axis: int, place: wp.vec4, u: wp.vec4, v: wp.vec4):
    """Undo a layer that moves coordinates u and v of four points at `place` along the third axis."""
    a = along(tables, layer, axis, place[0])
    b = along(tables, layer, axis, place[1])
    c = along(tables, layer, axis, place[2])
    d = along(tables, layer, axis, place[3])
    sine = wp.vec4(a[2], b[2], c[2], d[2])
    cosine = wp.vec4(a[3], b[3], c[3], d[3])
    u = u - wp.vec4(a[0], b[0], c[0], d[0])
    v = v - wp.vec4(a[1], b[1], c[1], d[1])
    return wp.cw_mul(cosine, u) + wp.cw_mul(sine, v), wp.cw_mul(cosine, v) - wp.cw_mul(sine, u)


@wp.func
def undo_pin(x: wp.vec4, y: wp.vec4, z: wp.vec4, tables: Tables):
    """Of four points: each look-up waits for the one before, and a processor waits for four at once."""
    for back in range(3):
        layer = 6 - 3 * back  # of its kind, the first of the round
        y = y - over_each(tables, layer + 2, 0, 2, x, z)
        z, x = undo_round(tables, layer + 2, 1, y, z, x)
        x = x - over_each(tables, layer + 1, 1, 2, y, z)
        y, z = undo_round(tables, layer + 1, 0, x, y, z)
        z = z - over_each(tables, layer, 0, 1, x, y)
        x, y = undo_round(tables, layer, 2, z, x, y)
    return x, y, z


@wp.func
def plainly(surface: Surface, bones: Bones, vertex: int):
    """Linear blend skinning of a vertex."""
    p = surface.base[vertex]
    posed = wp.vec3(0.0, 0.0, 0.0)
    for k in range(surface.bones.shape[1]):
        weights = surface.weights[vertex, k]
        if weights[0] <= 0.0:
            break
        four = surface.bones[vertex, k]
        for j in range(4):
            if weights[j] > 0.0:
                posed += weights[j] * (bones.linear[four[j]] * p + bones.shift[four[j]])
    return posed


@wp.func
def skinned(controls: Controls, bones: Bones, i: int, p: wp.vec3, moved: wp.vec3):
    """Linear blend skinning of a point that is `moved` from where the weights of a control were taken."""
    total = float(0.0)
    posed = wp.vec3(0.0, 0.0, 0.0)
    square = wp.cw_mul(moved, moved)
    product = wp.vec3(moved[0] * moved[1], moved[1] * moved[2], moved[0] * moved[2])
    for k in range(controls.bones.shape[0]):
        logit = controls.logits[k, i]
        logit_here = logit[3] + logit[0] * moved[0] + logit[1] * moved[1] + logit[2] * moved[2]
        logit_here += wp.dot(controls.squares[k, i], square) + wp.dot(controls.products[k, i], product)
        weight = wp.exp(wp.min(logit_here, 30.0))
        bone = controls.bones[k, i]
        posed += weight * (bones.linear[bone] * p + bones.shift[bone])
        total += weight
    return posed / wp.max(total, 1.0e-20)


@wp.func
def mark(marks: wp.array2d(dtype=wp.int32), plane: int, low: wp.vec2, high: wp.vec2, across: int, down: int):
    first = wp.clamp(int(low[1]), 0, across - 1)
    last = wp.clamp(int(high[1]), 0, across - 1)
    for i in range(wp.clamp(int(low[0]), 0, down - 1), wp.clamp(int(high[0]), 0, down - 1) + 1):
        for j in range(first, last + 1):
            marks[plane, i * across + j] = 1


@wp.kernel(enable_backward=False)
def mark_nodes(
    begin: wp.int32,
    # Body:
    surface: Surface,
    controls: Controls,
    # Pose:
    bones: Bones,
    # Tables:
    low: wp.vec3,
    step: float,
    count: wp.vec3i,
    # Out:
    plain_out: wp.array(dtype=wp.vec3),  # (P,) controls by skinning alone, in the heading frame [m]
    marks_out: wp.array2d(dtype=wp.int32),  # (3, M) 1 where a control may be behind the node, of planes xy, yz, xz
):
    """Writes of two threads to the same place write the same."""
    i = begin + wp.tid()
    p = plainly(surface, bones, controls.vertices[i])
    plain_out[i] = p
    reach = controls.reach[i] / step
    at = (p - low) / step
    a = at - wp.vec3(reach, reach, reach)
    b = at + wp.vec3(reach, reach, reach)
    mark(marks_out, 0, wp.vec2(a[0], a[1]), wp.vec2(b[0], b[1]), count[1], count[0])
    mark(marks_out, 1, wp.vec2(a[1], a[2]), wp.vec2(b[1], b[2]), count[2], count[1])
    mark(marks_out, 2, wp.vec2(a[0], a[2]), wp.vec2(b[0], b[2]), count[2], count[0])


@wp.func
def size_of(plane: int, count: wp.vec3i):
    """Rows and nodes of each."""
    down = count[0]
    across = count[1]
    if plane == 1:
        down = count[1]
    if plane > 0:
        across = count[2]
    return wp.vec2i(down, across)


@wp.kernel(enable_backward=False)
def widen(
    begin: wp.int32,
    # In:
    marks: wp.array2d(dtype=wp.int32),  # (3, M) 1 = marked
    count: wp.vec3i,
    # Out:
    wanted_out: wp.array2d(dtype=wp.int32),  # (3, M) 1 = looked up behind a marked node
    rows_out: wp.array2d(dtype=wp.int32),  # (3, R) how many such nodes each row has
):
    """Behind a node the one before it, it, and two after it are looked up, along both axes. A thread has a row."""
    i = begin + wp.tid()
    plane = i // rows_out.shape[1]
    row = i - plane * rows_out.shape[1]
    size = size_of(plane, count)
    across = size[1]
    found = int(0)
    if row < size[0]:
        first = wp.max(row - 2, 0)
        last = wp.min(row + 1, size[0] - 1)
        seen = int(0)  # the last columns, one bit each
        for column in range(-1, across):
            ahead = int(0)
            if column + 1 < across:
                for r in range(first, last + 1):
                    ahead = ahead | marks[plane, r * across + column + 1]
            seen = ((seen << 1) | ahead) & 15
            if column >= 0:
                wanted = wp.min(seen, 1)
                wanted_out[plane, row * across + column] = wanted
                found += wanted
    rows_out[plane, row] = found


@wp.kernel(enable_backward=False)
def list_nodes(
    begin: wp.int32,
    # In:
    wanted: wp.array2d(dtype=wp.int32),  # (3, M) 1 = needed
    rows: wp.array2d(dtype=wp.int32),  # (3, R) how many each row has
    count: wp.vec3i,
    listed: wp.vec3i,
    # Out:
    nodes_out: wp.array(dtype=float),  # (C,) numbers of the needed nodes of each plane, those of a plane `listed` long
):
    """A thread has a row. Nodes for which there is no place are left out, and who looks there is lost."""
    i = begin + wp.tid()
    plane = i // rows.shape[1]
    row = i - plane * rows.shape[1]
    if rows[plane, row] > 0:
        place = int(0)
        for r in range(row):
            place += rows[plane, r]
        first = int(0)
        if plane > 0:
            first = listed[0]
        if plane > 1:
            first += listed[1]
        across = size_of(plane, count)[1]
        for node in range(row * across, (row + 1) * across):
            if wanted[plane, node] > 0:
                if place < listed[plane]:
                    nodes_out[first + place] = float(node)
                place += 1


@wp.kernel(enable_backward=False)
def spread_nodes(
    begin: wp.int32,
    # In:
    nodes: wp.array(dtype=float),  # (C,) numbers of nodes, plane by plane
    listed: wp.vec3i,
    shifts: wp.array(dtype=float),  # (3 C,) of these nodes in three rounds, plane by plane [m]
    # Out:
    planes_out: wp.array2d(dtype=wp.vec4),  # (9, M) shift at the node before, there, and at the two after [m]
):
    i = begin + wp.tid()
    plane = int(0)
    first = int(0)
    while plane < 2 and i >= 3 * (first + listed[plane]):
        first += listed[plane]
        plane += 1
    own = i - 3 * first
    turn = own // listed[plane]
    node = int(nodes[first + own - turn * listed[plane]])
    shift = shifts[i]
    layer = 3 * turn + plane
    last = planes_out.shape[1] - 1
    planes_out[layer, wp.min(node + 1, last)][0] = shift
    planes_out[layer, node][1] = shift
    planes_out[layer, wp.max(node - 1, 0)][2] = shift
    planes_out[layer, wp.max(node - 2, 0)][3] = shift


@wp.kernel(enable_backward=False)
def undo_network(
    begin: wp.int32,
    # Body:
    surface: Surface,
    controls: Controls,
    plain: wp.array(dtype=wp.vec3),  # (P,) controls by skinning alone, in the heading frame [m]
    # Pose:
    canonical: Tables,
    bones: Bones,
    deformed: Tables,
    # Out:
    beyond_out: wp.array(dtype=wp.vec3),  # (P,) from where skinning alone puts it, in the heading frame [m]
    lost_out: wp.array(dtype=wp.int32),  # (1,) 1 where a node is not listed that a control looks up; else as it was
):
    """A thread has four controls; in the last one some may be the same. All that write `lost_out` write the same."""
    first = (begin + wp.tid()) * 4
    last = plain.shape[0] - 1
    x = wp.vec4(0.0, 0.0, 0.0, 0.0)
    y = wp.vec4(0.0, 0.0, 0.0, 0.0)
    z = wp.vec4(0.0, 0.0, 0.0, 0.0)
    for k in range(4):
        p = controls.canonical[wp.min(first + k, last)]
        x[k] = p[0]
        y[k] = p[1]
        z[k] = p[2]
    x, y, z = undo_pin(x, y, z, canonical)
    for k in range(4):
        i = wp.min(first + k, last)
        p = wp.vec3(x[k], y[k], z[k])
        p = skinned(controls, bones, i, p, p - surface.base[controls.vertices[i]])
        x[k] = p[0]
        y[k] = p[1]
        z[k] = p[2]
    x, y, z = undo_pin(x, y, z, deformed)
    for k in range(4):
        i = first + k
        if i <= last:
            beyond_out[i] = wp.vec3(x[k], y[k], z[k]) - plain[i]
            if wp.isnan(x[k] + y[k] + z[k]):
                lost_out[0] = 1


@wp.func
def placed(frame: wp.array(dtype=wp.vec3), p: wp.vec3):
    return frame[0] * p[0] + frame[1] * p[1] + frame[2] * p[2] + frame[3]


@wp.kernel(enable_backward=False)
def pose_vertices(
    begin: wp.int32,
    # Surface:
    surface: Surface,
    near: wp.array2d(dtype=wp.vec4i),  # (V, N / 4) numbers of controls
    shares: wp.array2d(dtype=wp.vec4),  # (V, N / 4) of what these are beyond skinning
    # Pose:
    bones: Bones,
    beyond: wp.array(dtype=wp.vec3),  # (P,) of the controls, in the heading frame [m]
    frame: wp.array(dtype=wp.vec3),  # (4,) world from heading: columns of the rotation, and its place [m]
    # Out:
    posed_out: wp.array(dtype=wp.vec3),  # (V,) world [m]
):
    """Linear blend skinning, and what the controls are beyond it."""
    i = begin + wp.tid()
    posed = plainly(surface, bones, i)
    for k in range(near.shape[1]):
        four = near[i, k]
        share = shares[i, k]
        posed += share[0] * beyond[four[0]] + share[1] * beyond[four[1]]
        posed += share[2] * beyond[four[2]] + share[3] * beyond[four[3]]
    posed_out[i] = placed(frame, posed)


@wp.kernel(enable_backward=False)
def to_world(
    begin: wp.int32,
    # In:
    points: wp.array(dtype=wp.vec3),  # (V,) in the heading frame [m]
    frame: wp.array(dtype=wp.vec3),  # (4,) world from heading: columns of the rotation, and its place [m]
    # Out:
    posed_out: wp.array(dtype=wp.vec3),  # (V,) world [m]
):
    i = begin + wp.tid()
    posed_out[i] = placed(frame, points[i])
