"""Kernels of the synthetic camera: skinning, the z-buffer rasteriser, shading and the depth-noise model.

Every kernel gathers: a thread writes its own elements only, so that launches may be cut over CPU threads.
"""

import warp as wp

NO_FACE = wp.constant(wp.int32(-1))
NOISE_CHANNELS = wp.constant(wp.int32(4))


@wp.kernel(enable_backward=False)
def skin_vertices(
    begin: wp.int32,
    # Body:
    rest: wp.array(dtype=wp.vec3),  # (V,) [m]
    skin_joints: wp.array(dtype=wp.vec4i),  # (V,)
    skin_weights: wp.array(dtype=wp.vec4),  # (V,)
    # Pose, camera:
    camera_from_rest: wp.array(dtype=wp.mat44),  # (22,)
    fx: wp.float32,
    fy: wp.float32,
    cx: wp.float32,
    cy: wp.float32,
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
    near = float(0.05)
    if p[2] > near:
        w = 1.0 / p[2]
        screen_out[i] = wp.vec3(p[0] * w * fx + cx, p[1] * w * fy + cy, w)
    else:
        screen_out[i] = wp.vec3(0.0, 0.0, 0.0)


@wp.kernel(enable_backward=False)
def vertex_normals(
    begin: wp.int32,
    posed: wp.array(dtype=wp.vec3),  # (V,)
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
    faces: wp.array(dtype=wp.vec3i),  # (F,)
    screen: wp.array(dtype=wp.vec3),  # (V,)
    height: wp.int32,
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
    faces: wp.array(dtype=wp.vec3i),  # (F,)
    screen: wp.array(dtype=wp.vec3),  # (V,)
    rows: wp.array(dtype=wp.vec2i),  # (F,)
    # Tiling:
    tile_width: wp.int32,
    tile_height: wp.int32,
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
    normals: wp.array(dtype=wp.vec3)  # (V,)
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
    body: ShadedBody,
    pixel_face: wp.array(dtype=wp.int32),  # (P,)
    background_depth: wp.array(dtype=wp.float32),  # (P,) [m], 0 = none
    background_colour: wp.array(dtype=wp.vec3ub),  # (P,)
    # Camera:
    fx: wp.float32,
    fy: wp.float32,
    cx: wp.float32,
    cy: wp.float32,
    width: wp.int32,
    # Out:
    depth_out: wp.array(dtype=wp.float32),  # (P,) [m]
    colour_out: wp.array(dtype=wp.vec3ub),  # (P,)
    barycentric_out: wp.array(dtype=wp.vec2),  # (P,)
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
        ray = wp.vec3((float(i % width) - cx) / fx, (float(i / width) - cy) / fy, 1.0)
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
def noise_lattice(
    begin: wp.int32,
    seed: wp.int32,
    frame: wp.int32,
    # Out:
    lattice_out: wp.array2d(dtype=wp.float32),  # (L, 4) independent standard normal values
):
    """A counter-based generator: the values depend on (seed, frame, node) only, whatever ran before."""
    i = begin + wp.tid()
    state = wp.rand_init(seed ^ (frame * 747796405), i)
    for k in range(NOISE_CHANNELS):
        lattice_out[i, k] = wp.randn(state)


@wp.kernel(enable_backward=False)
def stereo_shadow(
    begin: wp.int32,
    depth: wp.array2d(dtype=wp.float32),  # (H, W) [m]
    focal_baseline: wp.float32,  # [px m]
    # Out:
    shadow_out: wp.array2d(dtype=wp.uint8),  # (H, W) 1 = the right imager does not see this pixel
):
    """Pixels of the left image that the right image does not show, one thread per row.

    Pixel x lies at x - d in the right image. A surface that covers it comes from a pixel x' > x with
    x' - d' <= x - d, so a running minimum from the right finds all of them.
    """
    y = begin + wp.tid()
    width = depth.shape[1]
    nearest = float(1.0e9)
    for k in range(width):
        x = width - 1 - k
        z = depth[y, x]
        hidden = wp.uint8(0)
        if z > 0.0:
            place = float(x) - focal_baseline / z
            if nearest <= place:
                hidden = wp.uint8(1)
            nearest = wp.min(nearest, place)
        shadow_out[y, x] = hidden


@wp.struct
class NoiseParameters:
    """`DepthNoiseModel` and the camera, for the kernel."""

    seed: wp.int32
    frame: wp.int32
    fx: wp.float32
    fy: wp.float32
    cx: wp.float32
    cy: wp.float32
    baseline_m: wp.float32
    subpixel_px: wp.float32
    sigma_px: wp.float32
    correlated: wp.float32  # share of the standard deviation that the lattice carries
    edge_jitter_px: wp.float32
    edge_step_px: wp.float32
    edge_dropout: wp.float32
    fattening: wp.float32
    grazing_cos_none: wp.float32
    grazing_cos_all: wp.float32
    speckle_sigma: wp.float32
    min_m: wp.float32
    max_m: wp.float32


@wp.func
def disparity_at(depth: wp.array2d(dtype=wp.float32), y: wp.int32, x: wp.int32, focal_baseline: wp.float32):
    z = depth[wp.clamp(y, 0, depth.shape[0] - 1), wp.clamp(x, 0, depth.shape[1] - 1)]
    d = float(0.0)
    if z > 0.0:
        d = focal_baseline / z
    return d


@wp.func
def smaller(a: wp.float32, b: wp.float32):
    r = b
    if wp.abs(a) < wp.abs(b):
        r = a
    return r


@wp.kernel(enable_backward=False)
def apply_depth_noise(
    begin: wp.int32,
    model: NoiseParameters,
    depth: wp.array2d(dtype=wp.float32),  # (H, W) [m]
    shadow: wp.array2d(dtype=wp.uint8),  # (H, W)
    lattice: wp.array2d(dtype=wp.vec4),  # (rows, columns), one node every `lattice_step_px`
    lattice_step_px: wp.int32,
    # Out:
    noisy_out: wp.array2d(dtype=wp.float32),  # (H, W) [m], whole millimetres, 0 = hole
):
    """The depth that a stereo camera would report at each pixel; see `DepthNoiseModel` for the steps."""
    i = begin + wp.tid()
    width = depth.shape[1]
    height = depth.shape[0]
    y = i / width
    x = i % width

    # bilinear lattice noise, scaled back to unit variance
    ly = y / lattice_step_px
    lx = x / lattice_step_px
    ty = (float(y - ly * lattice_step_px) + 0.5) / float(lattice_step_px)
    tx = (float(x - lx * lattice_step_px) + 0.5) / float(lattice_step_px)
    w00 = (1.0 - ty) * (1.0 - tx)
    w01 = (1.0 - ty) * tx
    w10 = ty * (1.0 - tx)
    w11 = ty * tx
    n = w00 * lattice[ly, lx] + w01 * lattice[ly, lx + 1] + w10 * lattice[ly + 1, lx] + w11 * lattice[ly + 1, lx + 1]
    n = n / wp.sqrt(w00 * w00 + w01 * w01 + w10 * w10 + w11 * w11)

    # the matching window sees a slightly displaced place
    px = wp.clamp(x + int(wp.floor(n[1] * model.edge_jitter_px + 0.5)), 0, width - 1)
    py = wp.clamp(y + int(wp.floor(n[2] * model.edge_jitter_px + 0.5)), 0, height - 1)
    out = float(0.0)
    z = depth[py, px]
    focal_baseline = model.fx * model.baseline_m
    if z >= model.min_m and z <= model.max_m and n[3] < model.speckle_sigma and shadow[py, px] == wp.uint8(0):
        state = wp.rand_init(model.seed ^ (model.frame * 277803737 + 1), i)
        d = focal_baseline / z
        east = disparity_at(depth, py, px + 2, focal_baseline)
        west = disparity_at(depth, py, px - 2, focal_baseline)
        south = disparity_at(depth, py + 2, px, focal_baseline)
        north = disparity_at(depth, py - 2, px, focal_baseline)
        front = wp.max(wp.max(east, west), wp.max(south, north))
        back = wp.min(wp.min(east, west), wp.min(south, north))
        keep = bool(True)
        if front - d > model.edge_step_px:
            u = wp.randf(state)
            if u < model.fattening:
                d = front
            elif u < model.fattening + model.edge_dropout:
                keep = False
        elif d - back > model.edge_step_px:
            keep = wp.randf(state) >= 0.5 * model.edge_dropout
        else:
            # disparity is affine over a plane: its gradient gives the normal, and so the angle of incidence
            gx = smaller(east - d, d - west) * 0.5
            gy = smaller(south - d, d - north) * 0.5
            rx = (float(px) - model.cx) / model.fx
            ry = (float(py) - model.cy) / model.fy
            nz = d - gx * (float(px) - model.cx) - gy * (float(py) - model.cy)
            normal = wp.vec3(gx * model.fx, gy * model.fy, nz)
            cosine = d / (wp.length(normal) * wp.sqrt(rx * rx + ry * ry + 1.0))
            if cosine < model.grazing_cos_none:
                chance = (model.grazing_cos_none - cosine) / (model.grazing_cos_none - model.grazing_cos_all)
                keep = wp.randf(state) >= chance
        if keep:
            # sum of two uniforms: unit variance after scaling by sqrt(6)
            white = (wp.randf(state) + wp.randf(state) - 1.0) * 2.449489743
            share = model.correlated
            d += model.sigma_px * (share * n[0] + wp.sqrt(1.0 - share * share) * white)
            d = wp.floor(d / model.subpixel_px + 0.5) * model.subpixel_px
            if d > 0.0:
                noisy = focal_baseline / d
                if noisy >= model.min_m and noisy <= model.max_m:
                    out = wp.floor(noisy * 1000.0 + 0.5) / 1000.0
    noisy_out[y, x] = out
