"""Kernels of the clothed avatar: a PIN undone by tables, skinning in between, and which nodes of tables are asked for.

A PIN is three rounds of six layers that move x and y, z, y and z, x, z and x, y, and is undone from the last to the
first. What a layer does is a function of the coordinates that it leaves: of one of them where it moves two, of two
where it moves one. Per pose both kinds are tables.
"""

import warp as wp


@wp.struct
class LineTables:
    """What layers that move two coordinates do, along the third."""

    values: wp.array2d(dtype=wp.vec4)  # (9, N) shift along first and second coordinate [m], sine and cosine of the turn
    low: wp.vec3  # of the first node, by axis [m]
    step: float  # between nodes [m]


@wp.struct
class PlaneTables:
    """How far layers that move one coordinate move it, over the planes xy, yz and xz of the two others in turns."""

    values: wp.array2d(dtype=float)  # (9, N) [m], rows of a plane behind each other
    low: wp.vec3  # of the first node, by axis [m]
    step: float  # between nodes [m]
    count: wp.vec3i  # nodes by axis


@wp.func
def along(tables: LineTables, layer: int, axis: int, place: float):
    last = tables.values.shape[1] - 2
    at = (place - tables.low[axis]) / tables.step
    node = wp.clamp(int(at), 0, last)
    share = wp.clamp(at - float(node), 0.0, 1.0)
    return tables.values[layer, node] * (1.0 - share) + tables.values[layer, node + 1] * share


@wp.func
def over(tables: PlaneTables, layer: int, first: int, second: int, u: float, v: float):
    across = tables.count[second]
    x = (u - tables.low[first]) / tables.step
    y = (v - tables.low[second]) / tables.step
    i = wp.clamp(int(x), 0, tables.count[first] - 2)
    j = wp.clamp(int(y), 0, across - 2)
    a = wp.clamp(x - float(i), 0.0, 1.0)
    b = wp.clamp(y - float(j), 0.0, 1.0)
    node = i * across + j
    low = tables.values[layer, node] * (1.0 - b) + tables.values[layer, node + 1] * b
    high = tables.values[layer, node + across] * (1.0 - b) + tables.values[layer, node + across + 1] * b
    return low * (1.0 - a) + high * a


@wp.func
def undo_pin(p: wp.vec3, lines: LineTables, planes: PlaneTables):
    x = p[0]
    y = p[1]
    z = p[2]
    for back in range(3):
        layer = 6 - 3 * back  # of its kind, the first of the round
        y -= over(planes, layer + 2, 0, 2, x, z)
        does = along(lines, layer + 2, 1, y)
        z -= does[0]
        x -= does[1]
        turned = does[3] * z + does[2] * x
        x = does[3] * x - does[2] * z
        z = turned
        x -= over(planes, layer + 1, 1, 2, y, z)
        does = along(lines, layer + 1, 0, x)
        y -= does[0]
        z -= does[1]
        turned = does[3] * y + does[2] * z
        z = does[3] * z - does[2] * y
        y = turned
        z -= over(planes, layer, 0, 1, x, y)
        does = along(lines, layer, 2, z)
        x -= does[0]
        y -= does[1]
        turned = does[3] * x + does[2] * y
        y = does[3] * y - does[2] * x
        x = turned
    return wp.vec3(x, y, z)


@wp.kernel(enable_backward=False)
def undo_canonical_and_skin(
    begin: wp.int32,
    # Body:
    canonical: wp.array(dtype=wp.vec3),  # (V,) [m]
    base: wp.array(dtype=wp.vec3),  # (V,) where the weights were taken [m]
    bones: wp.array2d(dtype=wp.int32),  # (K, V)
    weights: wp.array2d(dtype=wp.vec4),  # (K, V) what they change by along x, y, z [1/m], and the weights there
    # Pose:
    lines: LineTables,
    planes: PlaneTables,
    linear: wp.array(dtype=wp.mat33),  # (B,) bones in the heading frame
    shift: wp.array(dtype=wp.vec3),  # (B,) [m]
    # Out:
    skinned_out: wp.array(dtype=wp.vec3),  # (V,) in the heading frame [m]
):
    i = begin + wp.tid()
    p = undo_pin(canonical[i], lines, planes)
    moved = p - base[i]
    total = float(0.0)
    posed = wp.vec3(0.0, 0.0, 0.0)
    for k in range(bones.shape[0]):
        w = weights[k, i]
        weight = w[3] + w[0] * moved[0] + w[1] * moved[1] + w[2] * moved[2]
        if weight > 0.0:
            bone = bones[k, i]
            posed += weight * (linear[bone] * p + shift[bone])
            total += weight
    skinned_out[i] = posed / wp.max(total, 1.0e-6)


@wp.func
def placed(frame: wp.array(dtype=wp.vec3), p: wp.vec3):
    return frame[0] * p[0] + frame[1] * p[1] + frame[2] * p[2] + frame[3]


@wp.kernel(enable_backward=False)
def undo_deformed(
    begin: wp.int32,
    # Body:
    skinned: wp.array(dtype=wp.vec3),  # (V,) in the heading frame [m]
    # Pose:
    lines: LineTables,
    planes: PlaneTables,
    frame: wp.array(dtype=wp.vec3),  # (4,) world from heading: columns of the rotation, and its place [m]
    # Out:
    posed_out: wp.array(dtype=wp.vec3),  # (V,) world [m]
):
    i = begin + wp.tid()
    posed_out[i] = placed(frame, undo_pin(skinned[i], lines, planes))


@wp.func
def mark(marks: wp.array2d(dtype=wp.int32), plane: int, u: float, v: float, across: int, down: int):
    i = wp.clamp(int(u), 0, down - 1)
    j = wp.clamp(int(v), 0, across - 1)
    marks[plane, i * across + j] = 1


@wp.kernel(enable_backward=False)
def mark_nodes(
    begin: wp.int32,
    # Body:
    skinned: wp.array(dtype=wp.vec3),  # (V,) in the heading frame [m]
    # Tables:
    low: wp.vec3,
    step: float,
    count: wp.vec3i,
    # Out:
    marks_out: wp.array2d(dtype=wp.int32),  # (3, N) 1 where a vertex is before the node, of the planes xy, yz, xz
):
    """Writes of two threads to the same place write the same."""
    i = begin + wp.tid()
    at = (skinned[i] - low) / step
    mark(marks_out, 0, at[0], at[1], count[1], count[0])
    mark(marks_out, 1, at[1], at[2], count[2], count[1])
    mark(marks_out, 2, at[0], at[2], count[2], count[0])


@wp.kernel(enable_backward=False)
def widen(
    begin: wp.int32,
    # In:
    marks: wp.array2d(dtype=wp.int32),  # (3, N) 1 = before a node that is needed
    count: wp.vec3i,
    around: int,
    # Out:
    wanted_out: wp.array(dtype=wp.int32),  # (3 N,) 1 = the node is needed
):
    """A node is needed where one before or around it is marked; a look-up reads the node after it, too."""
    i = begin + wp.tid()
    nodes = marks.shape[1]
    plane = i // nodes
    node = i - plane * nodes
    down = count[0]
    across = count[1]
    if plane == 1:
        down = count[1]
        across = count[2]
    if plane == 2:
        across = count[2]
    found = int(0)
    if node < down * across:
        row = node // across
        column = node - row * across
        for r in range(wp.max(row - around - 1, 0), wp.min(row + around + 1, down)):
            for c in range(wp.max(column - around - 1, 0), wp.min(column + around + 1, across)):
                if marks[plane, r * across + c] > 0:
                    found = 1
    wanted_out[i] = found


@wp.kernel(enable_backward=False)
def list_nodes(
    begin: wp.int32,
    # In:
    wanted: wp.array(dtype=wp.int32),  # (3 N,) 1 = needed
    before: wp.array(dtype=wp.int32),  # (3 N,) how many needed ones come before each
    # Out:
    nodes_out: wp.array2d(dtype=float),  # (3, C) numbers of the needed nodes of each plane
    lost_out: wp.array(dtype=wp.int32),  # (1,) 1 where a plane needs more than C; else as it was
):
    """Writes of two threads to the same place write the same."""
    i = begin + wp.tid()
    if wanted[i] > 0:
        nodes = wanted.shape[0] // 3
        plane = i // nodes
        place = before[i] - before[plane * nodes]
        if place < nodes_out.shape[1]:
            nodes_out[plane, place] = float(i - plane * nodes)
        else:
            lost_out[0] = 1


@wp.kernel(enable_backward=False)
def spread_nodes(
    begin: wp.int32,
    # In:
    nodes: wp.array2d(dtype=float),  # (3, C) numbers of nodes
    listed: wp.array2d(dtype=float),  # (9, C) what layers do there [m]
    # Out:
    values_out: wp.array2d(dtype=float),  # (9, N) [m]
):
    i = begin + wp.tid()
    capacity = nodes.shape[1]
    layer = i // capacity
    place = i - layer * capacity
    values_out[layer, int(nodes[layer % 3, place])] = listed[layer, place]


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
