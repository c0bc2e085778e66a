"""Where model points should be seen in the new frame, from flow fields of earlier frames (NNRT sec. 4.5, app. D.3)."""

import warp as wp

from bodystream.deformation.kernels import warp_direction, warp_point
from bodystream.tracking.kernels import Pinhole


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
    points: wp.array(dtype=wp.vec3),  # (M,) canonical [m]
    normals: wp.array(dtype=wp.vec3),
    anchors: wp.array(dtype=wp.vec4i),
    weights: wp.array(dtype=wp.vec4),
    positions: wp.array(dtype=wp.vec3),
    camera: Pinhole,
    # Reference frame:
    rotations: wp.array(dtype=wp.mat33),  # motion from canonical to the reference frame
    translations: wp.array(dtype=wp.vec3),
    node_count: int,  # nodes that existed then
    reference_depth: wp.array2d(dtype=float),  # (H, W) foreground [m]
    flow_px: wp.array2d(dtype=wp.vec2),  # (h, w) to the new frame, of a window outside of which nothing is known
    flow_weight: wp.array2d(dtype=float),  # (h, w)
    window_px: wp.vec2i,  # (u, v) of the window's first pixel
    least_weight: float,
    visible_m: float,  # a point is seen where the depth agrees this well
    # New frame:
    target_depth: wp.array2d(dtype=float),
    step_m: float,
    row: int,
    # Out:
    pixels_out: wp.array2d(dtype=wp.vec2),  # (R, M)
    depth_out: wp.array2d(dtype=float),
    weight_out: wp.array2d(dtype=float),  # 0 = no match
):
    i = begin + wp.tid()
    weight_out[row, i] = 0.0
    w = weights[i]
    for k in range(4):
        if w[k] > 0.02 and anchors[i][k] >= node_count:
            return
    if w[0] + w[1] + w[2] + w[3] < 0.5:
        return
    p = warp_point(points[i], anchors[i], w, positions, rotations, translations)
    if p[2] < 1.0e-3:
        return
    n = warp_direction(normals[i], anchors[i], w, rotations)
    if -wp.dot(n, wp.normalize(p)) < 0.15:
        return
    u = camera.fx * p[0] / p[2] + camera.cx
    v = camera.fy * p[1] / p[2] + camera.cy
    ui = int(wp.floor(u + 0.5))
    vi = int(wp.floor(v + 0.5))
    if ui < 1 or vi < 1 or ui >= camera.width - 1 or vi >= camera.height - 1:
        return
    z = reference_depth[vi, ui]
    if z <= 0.0 or wp.abs(z - p[2]) > visible_m:
        return
    wu = ui - window_px[0]
    wv = vi - window_px[1]
    if wu < 0 or wv < 0 or wu >= flow_px.shape[1] or wv >= flow_px.shape[0]:
        return
    strength = flow_weight[wv, wu]
    if strength < least_weight:
        return
    c = wp.vec2(u, v) + flow_px[wv, wu]
    pixels_out[row, i] = c
    depth_out[row, i] = smooth_depth(target_depth, c[0], c[1], step_m)
    weight_out[row, i] = strength


@wp.kernel(enable_backward=False)
def agree(
    begin: wp.int32,
    references: int,
    camera: Pinhole,
    pixels: wp.array2d(dtype=wp.vec2),  # (R, M)
    depth: wp.array2d(dtype=float),
    weight: wp.array2d(dtype=float),
    spread_m: float,
    # Out:
    pixels_out: wp.array(dtype=wp.vec2),  # (M,)
    depth_out: wp.array(dtype=float),
    weight_out: wp.array(dtype=float),
):
    """Multi-keyframe consistency: predictions of one point that disagree by more than `spread_m` are all rejected."""
    i = begin + wp.tid()
    total = float(0.0)
    c = wp.vec2(0.0, 0.0)
    z_total = float(0.0)
    z = float(0.0)
    mean = wp.vec3(0.0, 0.0, 0.0)
    seen = int(0)
    for r in range(references):
        w = weight[r, i]
        if w > 0.0:
            total += w
            c += w * pixels[r, i]
            d = depth[r, i]
            if d > 0.0:
                z += w * d
                z_total += w
                mean += wp.vec3(
                    (pixels[r, i][0] - camera.cx) / camera.fx * d, (pixels[r, i][1] - camera.cy) / camera.fy * d, d
                )
                seen += 1
    weight_out[i] = 0.0
    depth_out[i] = 0.0
    if total <= 0.0:
        return
    if seen > 1:
        mean = mean / float(seen)
        for r in range(references):
            d = depth[r, i]
            if weight[r, i] > 0.0 and d > 0.0:
                q = wp.vec3(
                    (pixels[r, i][0] - camera.cx) / camera.fx * d, (pixels[r, i][1] - camera.cy) / camera.fy * d, d
                )
                if wp.length(q - mean) > spread_m:
                    return
    pixels_out[i] = c / total
    if z_total > 0.0:
        depth_out[i] = z / z_total
    weight_out[i] = total / float(references)


@wp.kernel(enable_backward=False)
def pull_inside(
    begin: wp.int32,
    # Model:
    points: wp.array(dtype=wp.vec3),
    anchors: wp.array(dtype=wp.vec4i),
    weights: wp.array(dtype=wp.vec4),
    positions: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),  # predicted motion
    translations: wp.array(dtype=wp.vec3),
    camera: Pinhole,
    # New frame:
    scene_depth: wp.array2d(dtype=float),  # (H, W) all measurements [m]
    inside_px: wp.array2d(dtype=wp.vec2s),  # (H / scale, W / scale) nearest foreground pixel, < 0 = far away
    scale: int,
    margin_m: float,
    strength: float,
    # In and out:
    pixels_out: wp.array(dtype=wp.vec2),
    depth_out: wp.array(dtype=float),
    weight_out: wp.array(dtype=float),
):
    """Where the camera sees through the model, pull the point to the nearest pixel of the silhouette.

    Pixels without a measurement say nothing; so a point outside of the mask is wrong only where the depth behind it
    was measured.
    """
    i = begin + wp.tid()
    w = weights[i]
    if weight_out[i] > 0.0 or w[0] + w[1] + w[2] + w[3] < 0.5:
        return
    p = warp_point(points[i], anchors[i], w, positions, rotations, translations)
    if p[2] < 1.0e-3:
        return
    u = int(wp.floor(camera.fx * p[0] / p[2] + camera.cx + 0.5))
    v = int(wp.floor(camera.fy * p[1] / p[2] + camera.cy + 0.5))
    if u < 0 or v < 0 or u >= camera.width or v >= camera.height:
        return
    if scene_depth[v, u] < p[2] + margin_m:
        return
    target = inside_px[wp.min(v / scale, inside_px.shape[0] - 1), wp.min(u / scale, inside_px.shape[1] - 1)]
    if target[0] < wp.int16(0):
        return
    pixels_out[i] = wp.vec2(float(target[0]), float(target[1]))
    depth_out[i] = 0.0
    weight_out[i] = strength


@wp.kernel(enable_backward=False)
def predict_flow(
    begin: wp.int32,
    # Model:
    points: wp.array(dtype=wp.vec3),
    anchors: wp.array(dtype=wp.vec4i),
    weights: wp.array(dtype=wp.vec4),
    positions: wp.array(dtype=wp.vec3),
    rotations: wp.array(dtype=wp.mat33),  # predicted motion
    translations: wp.array(dtype=wp.vec3),
    camera: Pinhole,
    # Reference frame:
    reference_rotations: wp.array(dtype=wp.mat33),
    reference_translations: wp.array(dtype=wp.vec3),
    node_count: int,
    reference_depth: wp.array2d(dtype=float),
    visible_m: float,
    # Out:
    moved_out: wp.array(dtype=wp.vec4),  # pixel in the reference frame and its flow [px]; u < 0 = not seen there
):
    i = begin + wp.tid()
    moved_out[i] = wp.vec4(-1.0, -1.0, 0.0, 0.0)
    w = weights[i]
    for k in range(4):
        if w[k] > 0.02 and anchors[i][k] >= node_count:
            return
    if w[0] + w[1] + w[2] + w[3] < 0.5:
        return
    p = warp_point(points[i], anchors[i], w, positions, reference_rotations, reference_translations)
    q = warp_point(points[i], anchors[i], w, positions, rotations, translations)
    if p[2] < 1.0e-3 or q[2] < 1.0e-3:
        return
    u = camera.fx * p[0] / p[2] + camera.cx
    v = camera.fy * p[1] / p[2] + camera.cy
    ui = int(wp.floor(u + 0.5))
    vi = int(wp.floor(v + 0.5))
    if ui < 0 or vi < 0 or ui >= camera.width or vi >= camera.height:
        return
    if wp.abs(reference_depth[vi, ui] - p[2]) > visible_m:
        return
    du = camera.fx * q[0] / q[2] + camera.cx - u
    dv = camera.fy * q[1] / q[2] + camera.cy - v
    moved_out[i] = wp.vec4(wp.max(u, 0.0), wp.max(v, 0.0), du, dv)


@wp.kernel(enable_backward=False)
def take_every(
    begin: wp.int32,
    stride: int,
    points: wp.array(dtype=wp.vec3),
    normals: wp.array(dtype=wp.vec3),
    anchors: wp.array(dtype=wp.vec4i),
    weights: wp.array(dtype=wp.vec4),
    # Out:
    points_out: wp.array(dtype=wp.vec3),
    normals_out: wp.array(dtype=wp.vec3),
    anchors_out: wp.array(dtype=wp.vec4i),
    weights_out: wp.array(dtype=wp.vec4),
):
    i = begin + wp.tid()
    points_out[i] = points[i * stride]
    normals_out[i] = normals[i * stride]
    anchors_out[i] = anchors[i * stride]
    weights_out[i] = weights[i * stride]
