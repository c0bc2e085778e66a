"""Kernels between features and the right side of the sparse system whose solution is the mesh."""

import warp as wp


@wp.struct
class Neighbours:
    """Edges of the reference, those that leave a vertex one after another, and what they bring to its right side."""

    first: wp.array(dtype=wp.int32)  # (V + 1,)
    end: wp.array(dtype=wp.int32)  # (E,)
    pull: wp.array(dtype=wp.vec3)  # (E,) what the transforms of both ends are multiplied by [m]
    lift: wp.array(dtype=wp.float32)  # (E,) share of the end's normal [m]
    own_lift: wp.array(dtype=wp.float32)  # (V,) share of the vertex' own normal [m]


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
    # Out:
    wanted_out: wp.array(dtype=wp.vec3d),  # (V,) right side of the system [m]
):
    i = begin + wp.tid()
    own = transforms[i]
    total = -neighbours.own_lift[i] * normals[i]
    for edge in range(neighbours.first[i], neighbours.first[i + 1]):
        j = neighbours.end[edge]
        total += (own + transforms[j]) * neighbours.pull[edge] - neighbours.lift[edge] * normals[j]
    wanted_out[i] = wp.vec3d(total)
