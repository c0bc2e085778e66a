"""Kernels between features and the right side of the sparse system whose solution is the mesh, and their adjoints: from
derivatives by the right side to those by features."""

import warp as wp


@wp.struct
class Neighbours:
    """Edges of the reference, those that leave a vertex one after another, and what they bring to its right side."""

    first: wp.array(dtype=wp.int32)  # (V + 1,)
    end: wp.array(dtype=wp.int32)  # (E,)
    pull: wp.array(dtype=wp.vec3)  # (E,) what the transforms of both ends are multiplied by [m]
    lift: wp.array(dtype=wp.float32)  # (E,) share of the end's normal [m]
    lift_back: wp.array(dtype=wp.float32)  # (E,) share of the vertex' normal in the end's right side [m]
    own_lift: wp.array(dtype=wp.float32)  # (V,) share of the vertex' own normal [m]


@wp.func
def skew_part(m: wp.mat33) -> wp.vec3:
    """v for which the sum of m's products with skew(d) is v . d."""
    return wp.vec3(m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1])


@wp.func
def entries(a: wp.mat33, b: wp.mat33) -> wp.float32:
    """The sum of products of equal entries."""
    return wp.trace(wp.transpose(a) * b)


@wp.kernel(enable_backward=False)
def deform(
    begin: wp.int32,
    # In:
    features: wp.array2d(dtype=wp.float32),  # (V, 9) rotation vectors [rad] and symmetric matrices
    plane_a: wp.array(dtype=wp.vec3),  # (V,) first unit axis of each ring's plane
    plane_b: wp.array(dtype=wp.vec3),  # (V,) second one
    # Out:
    transforms_out: wp.array(dtype=wp.mat33),  # (V,) T = R S
    normals_out: wp.array(dtype=wp.vec3),  # (V,) where the normals of the reference go, as `Rings.lifted`
):
    i = begin + wp.tid()
    r = wp.vec3(features[i, 0], features[i, 1], features[i, 2])
    square = wp.dot(r, r)
    sine = 1.0 - square / 6.0
    versine = 0.5 - square / 24.0
    if square > 1.0e-4:
        angle = wp.sqrt(square)
        half = wp.sin(0.5 * angle)
        sine = wp.sin(angle) / angle
        versine = 2.0 * half * half / square
    k = wp.skew(r)
    turn = wp.identity(n=3, dtype=float) + sine * k + versine * (k * k)
    xy, xz, yz = features[i, 4], features[i, 5], features[i, 7]
    t = turn * wp.mat33(features[i, 3], xy, xz, xy, features[i, 6], yz, xz, yz, features[i, 8])
    transforms_out[i] = t
    normal = wp.cross(t * plane_a[i], t * plane_b[i])
    normals_out[i] = normal / wp.sqrt(wp.max(wp.length(normal), 1.0e-30))


@wp.kernel(enable_backward=False)
def gather(
    begin: wp.int32,
    # In:
    neighbours: Neighbours,
    transforms: wp.array(dtype=wp.mat33),  # (V,) T
    normals: wp.array(dtype=wp.vec3),  # (V,) of `deform`
    place: wp.array(dtype=wp.int32),  # (V,) the row of each vertex
    # Out:
    rows_out: wp.array(dtype=wp.vec4d),  # (N,) right side of the system [m], and a zero
):
    i = begin + wp.tid()
    own = transforms[i]
    total = -neighbours.own_lift[i] * normals[i]
    for edge in range(neighbours.first[i], neighbours.first[i + 1]):
        j = neighbours.end[edge]
        total += (own + transforms[j]) * neighbours.pull[edge] - neighbours.lift[edge] * normals[j]
    rows_out[place[i]] = wp.vec4d(wp.float64(total[0]), wp.float64(total[1]), wp.float64(total[2]), wp.float64(0.0))


@wp.kernel(enable_backward=False)
def gather_back(
    begin: wp.int32,
    # In:
    neighbours: Neighbours,
    wanted_bar: wp.array(dtype=wp.vec3d),  # (V,) derivatives by the right side
    # Out:
    transforms_bar_out: wp.array(dtype=wp.mat33),  # (V,) by T
    normals_bar_out: wp.array(dtype=wp.vec3),  # (V,) by the normals of `deform`
):
    i = begin + wp.tid()
    own = wanted_bar[i]
    turned = wp.mat33(0.0)
    lifted = -neighbours.own_lift[i] * wp.vec3(own)
    for edge in range(neighbours.first[i], neighbours.first[i + 1]):
        other = wanted_bar[neighbours.end[edge]]
        # The edge that comes back pulls by the opposite. Neighbours differ little: they are subtracted first.
        turned += wp.outer(wp.vec3(own - other), neighbours.pull[edge])
        lifted -= neighbours.lift_back[edge] * wp.vec3(other)
    transforms_bar_out[i] = turned
    normals_bar_out[i] = lifted


@wp.kernel(enable_backward=False)
def deform_back(
    begin: wp.int32,
    # In:
    features: wp.array2d(dtype=wp.float32),  # (V, 9) of `deform`
    plane_a: wp.array(dtype=wp.vec3),  # (V,) of `deform`
    plane_b: wp.array(dtype=wp.vec3),  # (V,) of `deform`
    transforms_bar: wp.array(dtype=wp.mat33),  # (V,) of `gather_back`
    normals_bar: wp.array(dtype=wp.vec3),  # (V,) of `gather_back`
    # Out:
    features_bar_out: wp.array2d(dtype=wp.float32),  # (V, 9) derivatives by features
):
    i = begin + wp.tid()
    r = wp.vec3(features[i, 0], features[i, 1], features[i, 2])
    q = wp.dot(r, r)
    sine = 1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0))
    versine = 0.5 - q / 24.0 * (1.0 - q / 30.0 * (1.0 - q / 56.0))
    sine_rate = -1.0 / 3.0 + q / 30.0 * (1.0 - q / 28.0 * (1.0 - q / 54.0))  # by half of q, as the next one
    versine_rate = -1.0 / 12.0 + q / 180.0 * (1.0 - 3.0 * q / 112.0 * (1.0 - 2.0 * q / 135.0))
    if q > 0.04:
        angle = wp.sqrt(q)
        half = wp.sin(0.5 * angle)
        sine = wp.sin(angle) / angle
        versine = 2.0 * half * half / q
        sine_rate = (wp.cos(angle) - sine) / q
        versine_rate = (sine - 2.0 * versine) / q
    k = wp.skew(r)
    turn = wp.identity(n=3, dtype=float) + sine * k + versine * (k * k)
    xy, xz, yz = features[i, 4], features[i, 5], features[i, 7]
    symmetric = wp.mat33(features[i, 3], xy, xz, xy, features[i, 6], yz, xz, yz, features[i, 8])
    a, b = plane_a[i], plane_b[i]
    along_a, along_b = turn * (symmetric * a), turn * (symmetric * b)
    normal = wp.cross(along_a, along_b)
    length = wp.length(normal)
    t_bar = transforms_bar[i]
    if length > 1.0e-20:
        given = normals_bar[i]
        normal_bar = (given - 0.5 * wp.dot(given, normal) / (length * length) * normal) / wp.sqrt(length)
        t_bar += wp.outer(wp.cross(along_b, normal_bar), a) + wp.outer(wp.cross(normal_bar, along_a), b)
    turn_bar = t_bar * symmetric
    r_bar = sine * skew_part(turn_bar) - versine * skew_part(turn_bar * k + k * turn_bar)
    r_bar += (sine_rate * entries(turn_bar, k) + versine_rate * entries(turn_bar, k * k)) * r
    s_bar = wp.transpose(turn) * t_bar
    for axis in range(3):
        features_bar_out[i, axis] = r_bar[axis]
    features_bar_out[i, 3] = s_bar[0, 0]
    features_bar_out[i, 4] = s_bar[0, 1] + s_bar[1, 0]
    features_bar_out[i, 5] = s_bar[0, 2] + s_bar[2, 0]
    features_bar_out[i, 6] = s_bar[1, 1]
    features_bar_out[i, 7] = s_bar[1, 2] + s_bar[2, 1]
    features_bar_out[i, 8] = s_bar[2, 2]
