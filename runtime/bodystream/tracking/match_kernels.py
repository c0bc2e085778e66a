"""Where model points should be seen in the new frame, from flow fields of earlier frames (NNRT sec. 4.5, app. D.3)."""

import warp as wp

from bodystream.deformation.kernels import Graph, Points, warp_direction, warp_point
from bodystream.device.camera_kernels import Camera, is_inside, pixel_of, project, ray_of
from bodystream.tracking.term_kernels import Targets

SILHOUETTE_STEP = wp.constant(3)  # [px]
SILHOUETTE_RINGS = wp.constant(20)  # of so many pixels each: what is farther from the silhouette is not pulled


@wp.struct
class Past:
    """A past frame, its foreground and the motion that was solved for it."""

    graph: Graph  # the nodes as they lay then
    node_count: int  # that existed then
    depth: wp.array2d(dtype=float)  # (H, W) foreground [m]


@wp.struct
class Flow:
    """Dense flow from a past frame to the new one, of a window outside of which nothing is known."""

    flow_px: wp.array2d(dtype=wp.vec2)  # (h, w) of cells [px]
    weight: wp.array2d(dtype=float)  # (h, w) confidence, 0 = unknown
    cell_px: int  # edge of a cell
    window: wp.vec2i  # (u, v) of the window's first cell


@wp.struct
class Candidates:
    """Of each reference, where it says that the points should be seen."""

    pixels: wp.array2d(dtype=wp.vec2)  # (R, M) [px]
    depth: wp.array2d(dtype=float)  # (R, M) [m], 0 = none
    weight: wp.array2d(dtype=float)  # (R, M) 0 = no match


@wp.struct
class MatchRules:
    """The kernels' view of `MatchConfig`."""

    least_weight: float
    visible_m: float  # a point is seen where the depth agrees this well
    step_m: float
    spread_m: float
    see_through_m: float
    silhouette_weight: float


@wp.func
def existed(anchors: wp.vec4i, weights: wp.vec4, node_count: int) -> bool:
    """Whether a point is covered, and by nodes that are among the first `node_count`."""
    for k in range(4):
        if weights[k] > 0.02 and anchors[k] >= node_count:
            return False
    return weights[0] + weights[1] + weights[2] + weights[3] >= 0.5


@wp.func
def smooth_depth(depth_m: wp.array2d(dtype=float), u: float, v: float, step_m: float) -> float:
    """Bilinear depth [m]; 0 at the border of the image, beside a hole, or across a jump larger than `step_m`."""
    u0 = int(wp.floor(u))
    v0 = int(wp.floor(v))
    if u0 < 0 or v0 < 0 or u0 + 1 >= depth_m.shape[1] or v0 + 1 >= depth_m.shape[0]:
        return 0.0
    a = depth_m[v0, u0]
    b = depth_m[v0, u0 + 1]
    c = depth_m[v0 + 1, u0]
    d = depth_m[v0 + 1, u0 + 1]
    low = wp.min(wp.min(a, b), wp.min(c, d))
    high = wp.max(wp.max(a, b), wp.max(c, d))
    if low <= 0.0 or high - low > step_m:
        return 0.0
    fu = u - float(u0)
    fv = v - float(v0)
    return (a * (1.0 - fu) + b * fu) * (1.0 - fv) + (c * (1.0 - fu) + d * fu) * fv


@wp.kernel(enable_backward=False)
def follow_flow(
    begin: wp.int32,
    # Model:
    points: Points,
    camera: Camera,
    rules: MatchRules,
    # Reference frame:
    past: Past,
    flow: Flow,
    # New frame:
    target_depth: wp.array2d(dtype=float),  # (H, W) foreground [m]
    row: int,
    # Out:
    found_out: Candidates,
):
    i = begin + wp.tid()
    found_out.weight[row, i] = 0.0
    w = points.weights[i]
    anchors = points.anchors[i]
    if not existed(anchors, w, past.node_count):
        return
    p = warp_point(points.positions[i], anchors, w, past.graph)
    if p[2] < 1.0e-3:
        return
    n = warp_direction(points.normals[i], anchors, w, past.graph)
    if -wp.dot(n, wp.normalize(p)) < 0.15:
        return
    at = project(camera, p)
    pixel = pixel_of(at)
    if not is_inside(camera, pixel, 1):
        return
    z = past.depth[pixel[1], pixel[0]]
    if z <= 0.0 or wp.abs(z - p[2]) > rules.visible_m:
        return
    wu = pixel[0] / flow.cell_px - flow.window[0]
    wv = pixel[1] / flow.cell_px - flow.window[1]
    if wu < 0 or wv < 0 or wu >= flow.flow_px.shape[1] or wv >= flow.flow_px.shape[0]:
        return
    strength = flow.weight[wv, wu]
    if strength < rules.least_weight:
        return
    c = at + flow.flow_px[wv, wu]
    found_out.pixels[row, i] = c
    found_out.depth[row, i] = smooth_depth(target_depth, c[0], c[1], rules.step_m)
    found_out.weight[row, i] = strength


@wp.kernel(enable_backward=False)
def agree(
    begin: wp.int32,
    # References:
    references: int,
    found: Candidates,
    camera: Camera,
    rules: MatchRules,
    # Out:
    targets_out: Targets,
):
    """Multi-keyframe consistency: predictions of one point that disagree by more than the spread are all rejected."""
    i = begin + wp.tid()
    total = float(0.0)
    c = wp.vec2(0.0, 0.0)
    z_total = float(0.0)
    z = float(0.0)
    mean = wp.vec3(0.0, 0.0, 0.0)
    seen = int(0)
    for r in range(references):
        w = found.weight[r, i]
        if w > 0.0:
            total += w
            c += w * found.pixels[r, i]
            d = found.depth[r, i]
            if d > 0.0:
                z += w * d
                z_total += w
                mean += d * ray_of(camera, found.pixels[r, i][0], found.pixels[r, i][1])
                seen += 1
    targets_out.weight[i] = 0.0
    targets_out.depth[i] = 0.0
    if total <= 0.0:
        return
    if seen > 1:
        mean = mean / float(seen)
        for r in range(references):
            d = found.depth[r, i]
            if found.weight[r, i] > 0.0 and d > 0.0:
                q = d * ray_of(camera, found.pixels[r, i][0], found.pixels[r, i][1])
                if wp.length(q - mean) > rules.spread_m:
                    return
    targets_out.pixels[i] = c / total
    if z_total > 0.0:
        targets_out.depth[i] = z / z_total
    targets_out.weight[i] = total / float(references)


@wp.func
def nearest_inside(mask: wp.array2d(dtype=wp.uint8), u: int, v: int, step: int, rings: int) -> wp.vec2i:
    """The pixel inside of the mask that is nearest to one outside, of every `step`-th in both directions; -1 = none.

    Rings of squares are looked at from the inside out, up to `rings` of them: few points ask, and most are near.
    """
    best = wp.vec2i(-1, -1)
    best_squared = rings * rings + 1
    r = int(1)
    while r * r < best_squared:
        for k in range(8 * r):
            side = k / (2 * r)
            along = k - side * 2 * r - r
            du = wp.where(side == 0, along, wp.where(side == 1, r, wp.where(side == 2, -along, -r)))
            dv = wp.where(side == 0, -r, wp.where(side == 1, along, wp.where(side == 2, r, -along)))
            x = u + du * step
            y = v + dv * step
            if x >= 0 and y >= 0 and x < mask.shape[1] and y < mask.shape[0]:
                squared = du * du + dv * dv
                if squared < best_squared and mask[y, x] != wp.uint8(0):
                    best_squared = squared
                    best = wp.vec2i(x, y)
        r += 1
    return best


@wp.kernel(enable_backward=False)
def pull_inside(
    begin: wp.int32,
    # Model:
    points: Points,
    graph: Graph,  # predicted motion
    camera: Camera,
    rules: MatchRules,
    # New frame:
    scene_depth: wp.array2d(dtype=float),  # (H, W) all measurements [m]
    mask: wp.array2d(dtype=wp.uint8),  # (H, W) foreground
    # Out (read, too):
    targets_out: Targets,
):
    """Where the camera sees through the model, pull the point to the nearest pixel of the silhouette.

    Pixels without a measurement say nothing; so a point outside of the mask is wrong only where the depth behind it
    was measured.
    """
    i = begin + wp.tid()
    w = points.weights[i]
    if targets_out.weight[i] > 0.0 or w[0] + w[1] + w[2] + w[3] < 0.5:
        return
    p = warp_point(points.positions[i], points.anchors[i], w, graph)
    if p[2] < 1.0e-3:
        return
    pixel = pixel_of(project(camera, p))
    if not is_inside(camera, pixel, 0):
        return
    if scene_depth[pixel[1], pixel[0]] < p[2] + rules.see_through_m:
        return
    # The outline is looked at on a lattice, which is as good as the flow beside it.
    u = (pixel[0] / SILHOUETTE_STEP) * SILHOUETTE_STEP
    v = (pixel[1] / SILHOUETTE_STEP) * SILHOUETTE_STEP
    if mask[v, u] != wp.uint8(0):
        return
    target = nearest_inside(mask, u, v, SILHOUETTE_STEP, SILHOUETTE_RINGS)
    if target[0] < 0:
        return
    targets_out.pixels[i] = wp.vec2(float(target[0]), float(target[1]))
    targets_out.depth[i] = 0.0
    targets_out.weight[i] = rules.silhouette_weight


@wp.kernel(enable_backward=False)
def take_every(
    begin: wp.int32,
    # Surface:
    stride: int,
    points: Points,
    # Out:
    points_out: Points,
):
    i = begin + wp.tid()
    points_out.positions[i] = points.positions[i * stride]
    points_out.normals[i] = points.normals[i * stride]
    points_out.anchors[i] = points.anchors[i * stride]
    points_out.weights[i] = points.weights[i * stride]
