"""Terms of non-rigid tracking (NNRT eq. 9, 10, sec. 4.5, appendix B) as Warp kernels.

No Jacobian is ever stored. A match whose warped point is p' contributes residuals r with d r / d p' = A, and all its
terms enter only through M = sum A^T A (3x3, "information") and g = sum A^T r ("gradient"); `assembly_kernels` turns
these into normal equations.
"""

import warp as wp

from bodystream.deformation.kernels import Points, blended, moved, turned, vec16
from bodystream.device.camera_kernels import Camera, is_inside, pixel_of, project, ray_of

# What `seen` says of a point.
FACES_AWAY = wp.constant(0)
EXPLAINS = wp.constant(1)  # a pixel
FAR = wp.constant(2)  # from the pixel that it falls on
OFF = wp.constant(3)  # the mask
TURNED_AWAY = wp.constant(4)  # so far at the start of a solve that it is not looked at again, and without a flow match

TURNED_AWAY_COSINE = wp.constant(0.3)  # of normal and view ray: what shows after a step has turned by half a radian


@wp.struct
class TermWeights:
    """Weights of NNRT eq. 8 and the bounds of dense ICP."""

    flow: float  # lambda_2D, with pixels
    depth: float  # lambda_depth, with metres
    icp: float  # weight of point-to-plane, with metres
    flow_huber_px: float  # residuals above this grow linearly; <= 0 = plain squares
    icp_huber_m: float
    icp_reach_m: float  # depth farther than this from the warped point is another surface
    icp_min_cosine: float  # of the angle between model normal and view ray
    use_flow: int  # 0 = this frame has no flow targets
    use_icp: int  # 0 = this frame has no depth
    first: int  # 1 = the first pass of a solve, which finds the points that are turned away


@wp.struct
class Targets:
    """Where model points should be seen in the new frame."""

    pixels: wp.array(dtype=wp.vec2)  # (M,) c_u [px]
    depth: wp.array(dtype=float)  # (M,) [m], 0 = none
    weight: wp.array(dtype=float)  # (M,) w_u, 0 = no match


@wp.struct
class Sums:
    """What the terms of each match come to."""

    information: wp.array(dtype=wp.mat33)  # (M,) sum of A^T A
    gradient: wp.array(dtype=wp.vec3)  # (M,) sum of A^T r
    cost: wp.array(dtype=wp.vec3)  # (M,) of flow, depth and ICP


@wp.func
def huber_weight(r: float, k: float) -> float:
    """d rho / d (r^2) of the Huber loss; 1 inside k, and everywhere for k <= 0."""
    w = float(1.0)
    if k > 0.0 and r > k:
        w = k / r
    return w


@wp.func
def huber_cost(r: float, k: float) -> float:
    c = r * r
    if k > 0.0 and r > k:
        c = k * (2.0 * r - k)
    return c


@wp.func
def flow_term(q: wp.vec3, pixel: wp.vec2, depth: float, w: float, camera: Camera, term: TermWeights):
    """2D reprojection (eq. 9) and depth (eq. 10) of a warped point before the camera: information, gradient, costs."""
    iz = 1.0 / q[2]
    x = q[0] * iz
    y = q[1] * iz
    ru = camera.fx * x + camera.cx - pixel[0]
    rv = camera.fy * y + camera.cy - pixel[1]
    r = wp.sqrt(ru * ru + rv * rv)
    s = term.flow * w * w
    cost = wp.vec3(s * huber_cost(r, term.flow_huber_px), 0.0, 0.0)
    s = s * huber_weight(r, term.flow_huber_px)
    ju = wp.vec3(camera.fx * iz, 0.0, -camera.fx * x * iz)
    jv = wp.vec3(0.0, camera.fy * iz, -camera.fy * y * iz)
    m = s * (wp.outer(ju, ju) + wp.outer(jv, jv))
    g = s * (ru * ju + rv * jv)
    if depth > 0.0:
        sz = term.depth * w * w
        rz = q[2] - depth
        m[2, 2] = m[2, 2] + sz
        g[2] = g[2] + sz * rz
        cost[1] = sz * rz * rz
    return m, g, cost


@wp.kernel(enable_backward=False)
def match_terms(
    begin: wp.int32,
    # Model:
    points: Points,  # grouped by anchors
    stride: int,  # every so many points are looked at
    motions: wp.array(dtype=vec16),  # (N,) see `gather_motions`
    active: wp.array(dtype=wp.int32),  # (N,)
    # Frame:
    camera: Camera,
    targets: Targets,
    depth_m: wp.array2d(dtype=float),  # (H, W) foreground only, 0 = none
    term: TermWeights,
    # Out (read, too):
    sums_out: Sums,
    seen_out: wp.array(dtype=wp.uint8),  # (M,) `FACES_AWAY` and so on
):
    """2D reprojection, depth, and dense projective point-to-plane ICP against the pixel that the warped point falls on.

    NNRT eq. 9 and 10, and sec. 4.5. The loss of a match must not look like progress, so its cost stays.
    """
    i = (begin + wp.tid()) * stride
    if term.first == 0 and int(seen_out[i]) == TURNED_AWAY:
        return
    information = wp.mat33(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    gradient = wp.vec3(0.0, 0.0, 0.0)
    cost = wp.vec3(0.0, 0.0, 0.0)
    seen = int(FACES_AWAY)
    anchors = points.anchors[i]
    weights = points.weights[i]
    if active[anchors[0]] != 0:
        motion = blended(motions, anchors, weights)
        p = moved(motion, points.positions[i])
        if term.use_flow != 0:
            w = targets.weight[i]
            if w > 0.0:
                if p[2] >= 1.0e-3:
                    information, gradient, cost = flow_term(p, targets.pixels[i], targets.depth[i], w, camera, term)
                elif wp.length_sq(weights) > 0.0:
                    # Behind the camera there is no pixel.
                    cost[0] = term.flow * w * w * huber_cost(float(camera.width + camera.height), term.flow_huber_px)
        if term.use_icp != 0 and p[2] >= 1.0e-3:
            n = turned(motion, points.normals[i])
            pixel = pixel_of(project(camera, p))
            cosine = wp.dot(n, wp.normalize(p))
            if term.first != 0 and cosine > TURNED_AWAY_COSINE and not (term.use_flow != 0 and targets.weight[i] > 0.0):
                seen = TURNED_AWAY
            if -cosine >= term.icp_min_cosine and is_inside(camera, pixel, 0):
                seen = OFF
                z = depth_m[pixel[1], pixel[0]]
                if z > 0.0 and z < 1.0e3:  # neither nan nor infinity
                    d = p - z * ray_of(camera, float(pixel[0]), float(pixel[1]))
                    r = wp.dot(n, d)
                    a = wp.abs(r)
                    if a > term.icp_reach_m or wp.length_sq(d) > 4.0 * term.icp_reach_m * term.icp_reach_m:
                        seen = FAR
                        cost[2] = term.icp * huber_cost(term.icp_reach_m, term.icp_huber_m)
                    else:
                        seen = EXPLAINS
                        s = term.icp * huber_weight(a, term.icp_huber_m)
                        information = information + s * wp.outer(n, n)
                        gradient = gradient + (s * r) * n
                        cost[2] = term.icp * huber_cost(a, term.icp_huber_m)
    sums_out.information[i] = information
    sums_out.gradient[i] = gradient
    sums_out.cost[i] = cost
    seen_out[i] = wp.uint8(seen)
