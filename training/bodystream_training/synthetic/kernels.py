"""Kernels that draw pairs of a moving scene: garments, texture that sticks to surfaces, exact flow and visibility.

Skinning, normals and the rasteriser are those of the synthetic camera (`bodystream.sources.synthetic.kernels`). Every
kernel gathers: a thread writes its own elements only.
"""

import warp as wp

from bodystream.device.camera_kernels import Camera, is_inside, pixel_of, project, project_vertex, ray_of

BLOBS = wp.constant(wp.int32(0))
STRIPES = wp.constant(wp.int32(1))
CHECKS = wp.constant(wp.int32(2))
DOTS = wp.constant(wp.int32(3))

# of the volume of noise, whose sides have a power of two of cells
ROW_CELLS = wp.constant(wp.int32(32))
PLANE_CELLS = wp.constant(wp.int32(1024))
LAST_CELL = wp.constant(wp.int32(31))

NEAR_M = wp.constant(wp.float32(0.05))


@wp.func
def smooth_noise(volume: wp.array(dtype=wp.float32), q: wp.vec3):
    """Periodic noise of unit variance at `q` in cells, trilinear."""
    x0 = wp.floor(q[0])
    y0 = wp.floor(q[1])
    z0 = wp.floor(q[2])
    fx = q[0] - x0
    fy = q[1] - y0
    fz = q[2] - z0
    i = (int(x0) & LAST_CELL) * PLANE_CELLS
    j = (int(y0) & LAST_CELL) * ROW_CELLS
    k = int(z0) & LAST_CELL
    i1 = (int(x0) + 1 & LAST_CELL) * PLANE_CELLS
    j1 = (int(y0) + 1 & LAST_CELL) * ROW_CELLS
    k1 = k + 1 & LAST_CELL
    a = volume[i + j + k] + fz * (volume[i + j + k1] - volume[i + j + k])
    b = volume[i + j1 + k] + fz * (volume[i + j1 + k1] - volume[i + j1 + k])
    c = volume[i1 + j + k] + fz * (volume[i1 + j + k1] - volume[i1 + j + k])
    d = volume[i1 + j1 + k] + fz * (volume[i1 + j1 + k1] - volume[i1 + j1 + k])
    e = a + fy * (b - a)
    return e + fx * (c + fy * (d - c) - e)


@wp.kernel(enable_backward=False)
def loosen_garments(
    begin: wp.int32,
    # Body:
    rest: wp.array(dtype=wp.vec3),  # (V,) [m]
    normals: wp.array(dtype=wp.vec3),  # (V,) at rest
    looseness_m: wp.array(dtype=wp.float32),  # (V,) mean distance of the cloth from the body, 0 = bare
    # Folds:
    volume: wp.array(dtype=wp.float32),  # (N * N * N,) noise
    cell_m: wp.float32,
    place: wp.vec3,  # where in the noise the body stands [cells]
    swing: wp.vec3,  # how far the folds have moved through it [cells]
    # Out:
    worn_out: wp.array(dtype=wp.vec3),  # (V,) [m]
):
    """Cloth at rest: the body's surface moved outwards by smooth folds, some of which swing and some of which stay."""
    i = begin + wp.tid()
    p = rest[i]
    loose = looseness_m[i]
    if loose > 0.0:
        q = p / cell_m + place
        folds = 0.3 * smooth_noise(volume, q * 0.5) + 0.25 * smooth_noise(volume, q + swing)
        p += wp.max(1.0 + folds * 1.6, 0.1) * loose * normals[i]
    worn_out[i] = p


@wp.kernel(enable_backward=False)
def project_vertices(
    begin: wp.int32,
    # In:
    posed: wp.array(dtype=wp.vec3),  # (V,) camera frame [m]
    camera: Camera,
    # Out:
    screen_out: wp.array(dtype=wp.vec3),  # (V,) u [px], v [px], 1 / z; 1 / z = 0 behind the near plane
):
    i = begin + wp.tid()
    screen_out[i] = project_vertex(camera, posed[i], NEAR_M)


@wp.struct
class Surfaces:
    """The triangles of a scene and what they are painted with; the same in both images."""

    faces: wp.array(dtype=wp.vec3i)  # (F,)
    face_material: wp.array(dtype=wp.int32)  # (F,)
    rest: wp.array(dtype=wp.vec3)  # (V,) [m] where the texture is looked up
    albedo: wp.array(dtype=wp.vec3)  # (V,) in [0, 255], of what is painted vertex by vertex
    # materials, M of them
    first_colour: wp.array(dtype=wp.vec3)  # (M,) in [0, 255]
    second_colour: wp.array(dtype=wp.vec3)  # (M,) in [0, 255]
    pattern: wp.array(dtype=wp.int32)  # (M,) BLOBS, STRIPES, CHECKS or DOTS
    pattern_from_rest: wp.array(dtype=wp.mat33)  # (M,) [periods / m]
    sharpness: wp.array(dtype=wp.float32)  # (M,) of the pattern's edges [1 / period]
    grain: wp.array(dtype=wp.vec4)  # (M,) strength of coarse, middle and fine noise, and size of its cells [m]
    painted: wp.array(dtype=wp.float32)  # (M,) share of the vertices' albedo in the colour
    patch: wp.array(
        dtype=wp.vec4
    )  # (M,) centre and radius [m] of the only place with the pattern; radius 0 = everywhere
    place: wp.array(dtype=wp.vec3)  # (M,) where in the noise the texture lies [cells]
    is_subject: wp.array(dtype=wp.uint8)  # (M,)
    volume: wp.array(dtype=wp.float32)  # (N * N * N,) noise


@wp.struct
class Moment:
    """One of the two images: where the vertices are, and the light."""

    posed: wp.array(dtype=wp.vec3)  # (V,) camera frame [m]
    normals: wp.array(dtype=wp.vec3)  # (V,) camera frame, unit
    face: wp.array(dtype=wp.int32)  # (P,) -1 = none
    to_light: wp.vec3  # unit, camera frame
    light: wp.vec3  # of each colour, straight on the surface
    ambient: wp.vec3  # of each colour


@wp.func
def fade(cell_m: wp.float32, footprint_m: wp.float32):
    """Detail that a pixel cannot show is left out: 1 where a cell covers two pixels and more, 0 below one."""
    return wp.clamp(cell_m / footprint_m - 1.0, 0.0, 1.0)


@wp.func
def paint(s: Surfaces, m: wp.int32, p: wp.vec3, albedo: wp.vec3, footprint_m: wp.float32):
    """Colour of material `m` at rest position `p`."""
    g = s.grain[m]
    q = p / g[3] + s.place[m]
    coarse = smooth_noise(s.volume, q * 0.125)
    middle = smooth_noise(s.volume, wp.vec3(q[1], q[2], q[0]) * 0.38)
    tone = 1.0 + g[0] * coarse + g[1] * middle * fade(2.6 * g[3], footprint_m)
    fine = fade(g[3], footprint_m)
    if fine > 0.0 and g[2] > 0.0:
        tone += g[2] * fine * smooth_noise(s.volume, wp.vec3(q[2], q[0], q[1]))
    colour = albedo
    if s.painted[m] < 1.0:
        t = s.pattern_from_rest[m] * p
        t += wp.vec3(0.25 * coarse, 0.25 * middle, 0.0)
        kind = s.pattern[m]
        level = coarse
        if kind == STRIPES:
            level = wp.sin(6.2831853 * t[0])
        elif kind == CHECKS:
            level = wp.sin(6.2831853 * t[0]) * wp.sin(6.2831853 * t[1]) * 2.0
        elif kind == DOTS:
            level = wp.cos(6.2831853 * t[0]) + wp.cos(6.2831853 * t[1]) + wp.cos(6.2831853 * t[2]) - 0.8
        # one period in less than two pixels is its mean
        period_m = 1.0 / wp.max(wp.length(s.pattern_from_rest[m][0]), 1.0e-3)
        share = 0.5 + 0.5 * fade(0.25 * period_m, 0.5 * footprint_m) * wp.clamp(level * s.sharpness[m], -1.0, 1.0)
        patch = s.patch[m]
        if patch[3] > 0.0:
            off = wp.vec3(p[0] - patch[0], p[1] - patch[1], p[2] - patch[2])
            share *= wp.clamp((patch[3] - wp.length(off) + 0.3 * patch[3] * middle) / footprint_m + 0.5, 0.0, 1.0)
        mixed = (1.0 - share) * s.first_colour[m] + share * s.second_colour[m]
        colour = (1.0 - s.painted[m]) * mixed + s.painted[m] * albedo
    else:
        colour = wp.cw_mul(albedo, s.first_colour[m]) * (1.0 / 255.0)
    return colour * wp.max(tone, 0.15)


@wp.func
def to_byte(value: wp.float32):
    return wp.uint8(wp.clamp(value + 0.5, 0.0, 255.0))


@wp.func
def barycentrics_on(a: wp.vec3, ab: wp.vec3, ac: wp.vec3, ray: wp.vec3):
    """Of the second and third corner, where a ray from the origin meets a face (Moeller and Trumbore, 1997)."""
    p = wp.cross(ray, ac)
    inverse = 1.0 / wp.dot(ab, p)
    wb = wp.clamp(-wp.dot(a, p) * inverse, 0.0, 1.0)
    wc = wp.clamp(wp.dot(ray, wp.cross(-a, ab)) * inverse, 0.0, 1.0 - wb)
    return wp.vec2(wb, wc)


@wp.kernel(enable_backward=False)
def shade_pixels(
    begin: wp.int32,
    # Scene:
    surfaces: Surfaces,
    moment: Moment,
    # Frame:
    camera: Camera,
    # Out:
    depth_out: wp.array(dtype=wp.float32),  # (P,) [m], 0 = nothing there
    colour_out: wp.array(dtype=wp.vec3ub),  # (P,)
    mask_out: wp.array(dtype=wp.uint8),  # (P,) 1 = the subject
):
    """Colour, clean depth and subject of each pixel."""
    i = begin + wp.tid()
    face = moment.face[i]
    depth = wp.float32(0.0)
    colour = wp.vec3(24.0, 24.0, 24.0)
    mask = wp.uint8(0)
    if face >= 0:
        f = surfaces.faces[face]
        a = moment.posed[f[0]]
        ab = moment.posed[f[1]] - a
        ac = moment.posed[f[2]] - a
        at = barycentrics_on(a, ab, ac, ray_of(camera, float(i % camera.width), float(i / camera.width)))
        wb = at[0]
        wc = at[1]
        wa = 1.0 - wb - wc
        depth = a[2] + wb * ab[2] + wc * ac[2]
        m = surfaces.face_material[face]
        p = wa * surfaces.rest[f[0]] + wb * surfaces.rest[f[1]] + wc * surfaces.rest[f[2]]
        albedo = wa * surfaces.albedo[f[0]] + wb * surfaces.albedo[f[1]] + wc * surfaces.albedo[f[2]]
        n = wp.normalize(wa * moment.normals[f[0]] + wb * moment.normals[f[1]] + wc * moment.normals[f[2]])
        colour = paint(surfaces, m, p, albedo, depth / camera.fx)
        colour = wp.cw_mul(colour, moment.ambient + moment.light * wp.max(wp.dot(n, moment.to_light), 0.0))
        mask = surfaces.is_subject[m]
    depth_out[i] = depth
    colour_out[i] = wp.vec3ub(to_byte(colour[0]), to_byte(colour[1]), to_byte(colour[2]))
    mask_out[i] = mask


@wp.kernel(enable_backward=False)
def trace_motion(
    begin: wp.int32,
    # Scene:
    surfaces: Surfaces,
    source: Moment,
    target: Moment,
    # Frame:
    camera: Camera,
    # Out:
    flow_out: wp.array(dtype=wp.vec2),  # (P,) [px], nan = unknown
    scene_flow_out: wp.array(dtype=wp.vec3),  # (P,) [m], nan = unknown
    visible_out: wp.array(dtype=wp.uint8),  # (P,) 1 = the source pixel's point is seen in the target image
):
    """Where the point behind each source pixel goes, from its barycentrics on the face that is seen there.

    It is seen in the target image if its face looks at the camera and nothing is in front of it: the face that the
    nearest target pixel shows, there or continued to the point's own ray, may be nearer by half a centimetre at most.
    """
    i = begin + wp.tid()
    face = source.face[i]
    flow = wp.vec2(wp.nan, wp.nan)
    scene_flow = wp.vec3(wp.nan, wp.nan, wp.nan)
    visible = wp.uint8(0)
    if face >= 0:
        u = float(i % camera.width)
        v = float(i / camera.width)
        f = surfaces.faces[face]
        a = source.posed[f[0]]
        ab = source.posed[f[1]] - a
        ac = source.posed[f[2]] - a
        at = barycentrics_on(a, ab, ac, ray_of(camera, u, v))
        ta = target.posed[f[0]]
        tab = target.posed[f[1]] - ta
        tac = target.posed[f[2]] - ta
        moved = ta + at[0] * tab + at[1] * tac
        scene_flow = moved - (a + at[0] * ab + at[1] * ac)
        if moved[2] > NEAR_M:
            point = project(camera, moved)
            flow = point - wp.vec2(u, v)
            pixel = pixel_of(point)
            if is_inside(camera, pixel, 0) and wp.dot(wp.cross(tab, tac), moved) < 0.0:
                other = target.face[pixel[1] * camera.width + pixel[0]]
                if other < 0 or other == face:
                    visible = wp.uint8(1)
                else:
                    g = surfaces.faces[other]
                    b = target.posed[g[0]]
                    n = wp.cross(target.posed[g[1]] - b, target.posed[g[2]] - b)
                    # where that face is seen, and where its plane meets the point's own ray: the farther one counts
                    there = wp.dot(n, b) / wp.dot(n, ray_of(camera, float(pixel[0]), float(pixel[1])))
                    reach = wp.dot(n, b) / wp.dot(n, moved)
                    if reach <= 0.0 or wp.max(there, reach * moved[2]) > moved[2] - 0.005:
                        visible = wp.uint8(1)
    flow_out[i] = flow
    scene_flow_out[i] = scene_flow
    visible_out[i] = visible
