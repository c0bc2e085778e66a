"""Kernels of the synthetic camera: skinning, the z-buffer rasteriser, shading, and distances to the truth.

Every kernel gathers: a thread writes its own elements only, so that launches may be cut over CPU threads.
"""

import warp as wp

from bodystream.device.camera_kernels import Camera, project_vertex, ray_of

NO_FACE = wp.constant(wp.int32(-1))


@wp.kernel(enable_backward=False)
def skin_vertices(
    begin: wp.int32,
    # Body:
    rest: wp.array(dtype=wp.vec3),  # (V,) [m]
    skin_joints: wp.array(dtype=wp.vec4i),  # (V,)
    skin_weights: wp.array(dtype=wp.vec4),  # (V,)
    # Pose:
    camera_from_rest: wp.array(dtype=wp.mat44),  # (22,)
    # Frame:
    camera: Camera,
    # Out:
    posed_out: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    screen_out: wp.array(dtype=wp.vec3),  # (V,) u [px], v [px], 1 / z; 1 / z = 0 behind the near plane
):
    """Linear blend skinning into the camera's frame, and the projection of each vertex."""
    i = begin + wp.tid()
    joints = skin_joints[i]
    weights = skin_weights[i]
    p = wp.vec3(0.0, 0.0, 0.0)
    for k in range(4):
        w = weights[k]
        if w > 0.0:
            p += w * wp.transform_point(camera_from_rest[joints[k]], rest[i])
    posed_out[i] = p
    screen_out[i] = project_vertex(camera, p, 0.05)


@wp.kernel(enable_backward=False)
def vertex_normals(
    begin: wp.int32,
    # Body:
    posed: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    faces: wp.array(dtype=wp.vec3i),  # (F,)
    ring_start: wp.array(dtype=wp.int32),  # (V + 1,)
    ring_faces: wp.array(dtype=wp.int32),  # (3 F,) the faces around each vertex
    # Out:
    normals_out: wp.array(dtype=wp.vec3),  # (V,) unit, outwards
):
    """Area-weighted mean of the normals of the faces around each vertex."""
    i = begin + wp.tid()
    n = wp.vec3(0.0, 0.0, 0.0)
    for r in range(ring_start[i], ring_start[i + 1]):
        f = faces[ring_faces[r]]
        a = posed[f[0]]
        n += wp.cross(posed[f[1]] - a, posed[f[2]] - a)
    normals_out[i] = wp.normalize(n)


@wp.kernel(enable_backward=False)
def triangle_rows(
    begin: wp.int32,
    # Surface:
    faces: wp.array(dtype=wp.vec3i),  # (F,)
    screen: wp.array(dtype=wp.vec3),  # (V,) u [px], v [px], 1 / z
    # Frame:
    height: wp.int32,  # [px]
    # Out:
    rows_out: wp.array(dtype=wp.vec2i),  # (F,) first and last pixel row; first > last for a face not to be drawn
):
    """Rows whose pixel centres a front-facing triangle may cover.

    Outside is counter-clockwise and v points down, so the faces that look at the camera have negative area here.
    """
    i = begin + wp.tid()
    f = faces[i]
    a = screen[f[0]]
    b = screen[f[1]]
    c = screen[f[2]]
    rows = wp.vec2i(1, 0)
    if a[2] > 0.0 and b[2] > 0.0 and c[2] > 0.0:
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area < 0.0:
            first = wp.max(int(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])))), 0)
            last = wp.min(int(wp.floor(wp.max(a[1], wp.max(b[1], c[1])))), height - 1)
            rows = wp.vec2i(first, last)
    rows_out[i] = rows


@wp.kernel(enable_backward=False)
def rasterise(
    begin: wp.int32,
    # Surface:
    faces: wp.array(dtype=wp.vec3i),  # (F,)
    screen: wp.array(dtype=wp.vec3),  # (V,) u [px], v [px], 1 / z
    rows: wp.array(dtype=wp.vec2i),  # (F,)
    # Tiling:
    tile_width: wp.int32,  # [px]
    tile_height: wp.int32,  # [px]
    tiles_x: wp.int32,
    tiles_y: wp.int32,
    # Out:
    inverse_depth_out: wp.array2d(dtype=wp.float32),  # (H, W) 1 / z of the nearest face, 0 = none
    face_out: wp.array2d(dtype=wp.int32),  # (H, W) -1 = none
):
    """One thread owns one tile of pixels and walks all triangles in order, so no atomics are needed.

    Tiles are numbered so that neighbours fall into different chunks (even rows of tiles first), which balances two
    CPU threads. 1 / z is linear on the screen, so depth is exact. Of equal depths the first face wins: the result does
    not depend on the tiling.
    """
    index = begin + wp.tid()
    slot = index / tiles_x
    even = (tiles_y + 1) / 2
    tile_row = 2 * slot
    if slot >= even:
        tile_row = 2 * (slot - even) + 1
    height = face_out.shape[0]
    width = face_out.shape[1]
    top = tile_row * tile_height
    bottom = wp.min(top + tile_height, height) - 1
    left = (index % tiles_x) * tile_width
    right = wp.min(left + tile_width, width) - 1
    for y in range(top, bottom + 1):
        for x in range(left, right + 1):
            inverse_depth_out[y, x] = 0.0
            face_out[y, x] = NO_FACE
    for t in range(faces.shape[0]):
        span = rows[t]
        y0 = wp.max(span[0], top)
        y1 = wp.min(span[1], bottom)
        if y0 <= y1:
            f = faces[t]
            a = screen[f[0]]
            b = screen[f[1]]
            c = screen[f[2]]
            x0 = wp.max(int(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])))), left)
            x1 = wp.min(int(wp.floor(wp.max(a[0], wp.max(b[0], c[0])))), right)
            if x0 <= x1:
                # edge functions relative to a, scaled so that they are the screen barycentrics
                scale = 1.0 / ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
                gb_x = (c[1] - a[1]) * scale
                gb_y = (a[0] - c[0]) * scale
                gc_x = (a[1] - b[1]) * scale
                gc_y = (b[0] - a[0]) * scale
                wb = b[2] - a[2]
                wc = c[2] - a[2]
                for y in range(y0, y1 + 1):
                    dy = float(y) - a[1]
                    for x in range(x0, x1 + 1):
                        dx = float(x) - a[0]
                        sb = gb_x * dx + gb_y * dy
                        sc = gc_x * dx + gc_y * dy
                        if sb >= 0.0 and sc >= 0.0 and sb + sc <= 1.0:
                            w = a[2] + sb * wb + sc * wc
                            if w > inverse_depth_out[y, x]:
                                inverse_depth_out[y, x] = w
                                face_out[y, x] = t


@wp.struct
class ShadedBody:
    """What a pixel needs to know of the body."""

    faces: wp.array(dtype=wp.vec3i)  # (F,)
    posed: wp.array(dtype=wp.vec3)  # (V,) camera frame [m]
    normals: wp.array(dtype=wp.vec3)  # (V,) camera frame, unit
    rest: wp.array(dtype=wp.vec3)  # (V,) [m]
    albedo: wp.array(dtype=wp.vec3)  # (V,) in [0, 255]
    grain: wp.array3d(dtype=wp.float32)  # (G, G, G) factor of the albedo, periodic
    grain_cell_m: wp.float32
    to_light: wp.vec3  # unit, camera frame


@wp.func
def shade(body: ShadedBody, f: wp.vec3i, wa: wp.float32, wb: wp.float32, wc: wp.float32):
    """Lambert with an ambient part; the grain sticks to the rest shape, and so to the skin and cloth."""
    size = body.grain.shape[0]
    q = (wa * body.rest[f[0]] + wb * body.rest[f[1]] + wc * body.rest[f[2]]) / body.grain_cell_m
    gx = int(wp.floor(q[0])) & (size - 1)
    gy = int(wp.floor(q[1])) & (size - 1)
    gz = int(wp.floor(q[2])) & (size - 1)
    n = wp.normalize(wa * body.normals[f[0]] + wb * body.normals[f[1]] + wc * body.normals[f[2]])
    light = 0.42 + 0.62 * wp.max(wp.dot(n, body.to_light), 0.0) + 0.08 * n[1] * -1.0
    albedo = wa * body.albedo[f[0]] + wb * body.albedo[f[1]] + wc * body.albedo[f[2]]
    return albedo * (light * body.grain[gx, gy, gz])


@wp.func
def to_byte(value: wp.float32):
    return wp.uint8(wp.clamp(value + 0.5, 0.0, 255.0))


@wp.kernel(enable_backward=False)
def resolve_pixels(
    begin: wp.int32,
    # Body:
    body: ShadedBody,
    pixel_face: wp.array(dtype=wp.int32),  # (P,) -1 = none
    # Background:
    background_depth: wp.array(dtype=wp.float32),  # (P,) [m], 0 = none
    background_colour: wp.array(dtype=wp.vec3ub),  # (P,)
    # Frame:
    camera: Camera,
    # Out:
    depth_out: wp.array(dtype=wp.float32),  # (P,) [m]
    colour_out: wp.array(dtype=wp.vec3ub),  # (P,)
    barycentric_out: wp.array(dtype=wp.vec2),  # (P,) of the second and third corner
    mask_out: wp.array(dtype=wp.uint8),  # (P,)
):
    """Depth, colour and exact barycentrics of each pixel of the body; the background elsewhere.

    The pixel's ray is intersected with the plane of its face in 3D (Moeller and Trumbore, 1997), relative to the
    face's first corner: float32 keeps a relative error of about 1e-6.
    """
    i = begin + wp.tid()
    face = pixel_face[i]
    if face < 0:
        depth_out[i] = background_depth[i]
        colour_out[i] = background_colour[i]
        barycentric_out[i] = wp.vec2(0.0, 0.0)
        mask_out[i] = wp.uint8(0)
    else:
        ray = ray_of(camera, float(i % camera.width), float(i / camera.width))
        f = body.faces[face]
        a = body.posed[f[0]]
        ab = body.posed[f[1]] - a
        ac = body.posed[f[2]] - a
        p = wp.cross(ray, ac)
        inverse = 1.0 / wp.dot(ab, p)
        wb = -wp.dot(a, p) * inverse
        wc = wp.dot(ray, wp.cross(-a, ab)) * inverse
        wb = wp.clamp(wb, 0.0, 1.0)
        wc = wp.clamp(wc, 0.0, 1.0 - wb)
        depth_out[i] = a[2] + wb * ab[2] + wc * ac[2]
        c = shade(body, f, 1.0 - wb - wc, wb, wc)
        colour_out[i] = wp.vec3ub(to_byte(c[0]), to_byte(c[1]), to_byte(c[2]))
        barycentric_out[i] = wp.vec2(wb, wc)
        mask_out[i] = wp.uint8(1)


@wp.kernel(enable_backward=False)
def distance_to_mesh(
    begin: wp.int32,
    # In:
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),  # (N,) [m]
    max_distance_m: wp.float32,
    # Out:
    distance_out: wp.array(dtype=wp.float32),  # (N,) [m], nan for points that are not finite
):
    """Distance of each point to the nearest triangle, `max_distance_m` where none is closer."""
    i = begin + wp.tid()
    p = points[i]
    distance = wp.nan
    if wp.isfinite(p[0]) and wp.isfinite(p[1]) and wp.isfinite(p[2]):
        distance = max_distance_m
        query = wp.mesh_query_point_no_sign(mesh, p, max_distance_m)
        if query.result:
            distance = wp.length(wp.mesh_eval_position(mesh, query.face, query.u, query.v) - p)
    distance_out[i] = distance
