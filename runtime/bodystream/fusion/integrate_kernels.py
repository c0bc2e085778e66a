# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Non-rigid integration of a graded frame into the canonical voxels (DynamicFusion eq. 4-6, NNRT sec. 4.5).

A voxel is warped into the camera, and its distance from the measured surface is averaged in. The distance is that
from the tangent plane of the pixel, `(depth - z) (n . ray)`, so that oblique views agree with frontal ones.
"""

import warp as wp

from bodystream.fusion.blocks_kernels import EDGE, LATTICE, LATTICE_POINTS, LATTICE_STEP
from bodystream.fusion.frame_kernels import Camera

wp.set_module_options({"enable_backward": False, "max_unroll": 4})

BLOCK_VOXELS = wp.constant(512)
UNKNOWN = wp.constant(2.0)  # published value of a voxel that may not carry surface
COLOUR_ONE = wp.constant(256.0)  # fixed point of a stored colour
COLOUR_CAP = wp.constant(24.0)  # frames that the average of a colour remembers

vec4us = wp.types.vector(length=4, dtype=wp.uint16)


@wp.struct
class Rules:
    """How a distance enters a voxel."""

    truncation: float  # [m]
    full_weight_behind: float  # weight falls from here to the truncation behind the surface [m]
    carve_margin: float  # [m]
    carve_rate: float
    max_weight: float
    min_weight: float
    silhouette_px: int
    near: float  # [m]


@wp.func
def is_background(graded: wp.array2d(dtype=wp.vec2), u: int, v: int) -> bool:
    """Whether a pixel is measured background; beyond the image nothing contradicts."""
    background = bool(True)
    if u >= 0 and v >= 0 and u < graded.shape[1] and v < graded.shape[0]:
        background = graded[v, u][1] < 0.0
    return background


@wp.func
def lattice_edge(live: wp.array(dtype=wp.vec3), base: int, x: int, y: int, z: int, fy: float, fz: float) -> wp.vec3:
    """Live position at lattice column x, between lattice rows y, y + 1 and layers z, z + 1."""
    i = base + x + LATTICE * (y + LATTICE * z)
    a = wp.lerp(live[i], live[i + LATTICE], fy)
    b = wp.lerp(live[i + LATTICE * LATTICE], live[i + LATTICE * LATTICE + LATTICE], fy)
    return wp.lerp(a, b, fz)


@wp.func
def blend_colour(stored: vec4us, seen: wp.vec3ub) -> vec4us:
    """Running average of a colour; the last component counts observations."""
    count = float(stored[3])
    share = 1.0 / (count + 1.0)
    r = float(stored[0]) + (float(seen[0]) * COLOUR_ONE - float(stored[0])) * share
    g = float(stored[1]) + (float(seen[1]) * COLOUR_ONE - float(stored[1])) * share
    b = float(stored[2]) + (float(seen[2]) * COLOUR_ONE - float(stored[2])) * share
    n = wp.min(count + 1.0, COLOUR_CAP)
    return vec4us(wp.uint16(r), wp.uint16(g), wp.uint16(b), wp.uint16(n))


@wp.func
def deviation(tsdf: float, weight: float, shown: float, rules: Rules) -> float:
    """How far a voxel is from what the surface was last extracted from [m]; 1 where it became known or unknown."""
    away = float(0.0)
    if wp.abs(tsdf) < 0.6 or wp.abs(shown) < 0.6:
        known = weight >= rules.min_weight
        was_known = shown < 1.5
        if known and was_known:
            away = wp.abs(tsdf - shown) * rules.truncation
        elif known or was_known:
            away = 1.0
    return away


@wp.kernel(enable_backward=False)
def integrate_slices(
    begin: wp.int32,
    active: wp.array(dtype=wp.int32),  # (A,) slots
    live: wp.array(dtype=wp.vec3),  # (A * 64,) warped lattice, camera frame [m]
    graded: wp.array2d(dtype=wp.vec2),  # (H, W)
    colour: wp.array2d(dtype=wp.vec3ub),  # (H, W), or empty
    published: wp.array(dtype=float),  # (B * 512,)
    camera: Camera,
    rules: Rules,
    # Out:
    voxels_out: wp.array(dtype=wp.vec2),  # (B * 512,) truncated distance / truncation, weight
    colours_out: wp.array(dtype=vec4us),  # (B * 512,)
    change_out: wp.array(dtype=float),  # (B * 8,) [m]
    occupied_out: wp.array(dtype=wp.uint8),  # (B * 8,)
):
    i = begin + wp.tid()
    block = active[i / EDGE]
    z = i % EDGE
    base = (i / EDGE) * LATTICE_POINTS
    has_colour = colour.shape[0] > 0
    along_z = float(z) / LATTICE_STEP
    lattice_z = wp.min(int(along_z), LATTICE - 2)
    fz = along_z - float(lattice_z)
    change = float(0.0)
    touched = bool(False)
    for y in range(EDGE):
        along_y = float(y) / LATTICE_STEP
        lattice_y = wp.min(int(along_y), LATTICE - 2)
        fy = along_y - float(lattice_y)
        p0 = lattice_edge(live, base, 0, lattice_y, lattice_z, fy, fz)
        p1 = lattice_edge(live, base, 1, lattice_y, lattice_z, fy, fz)
        p2 = lattice_edge(live, base, 2, lattice_y, lattice_z, fy, fz)
        p3 = lattice_edge(live, base, 3, lattice_y, lattice_z, fy, fz)
        index = block * BLOCK_VOXELS + (z * EDGE + y) * EDGE
        for x in range(EDGE):
            along_x = float(x) / LATTICE_STEP
            q = p0 + (p1 - p0) * along_x
            if along_x > 1.0:
                q = p1 + (p2 - p1) * (along_x - 1.0)
            if along_x > 2.0:
                q = p2 + (p3 - p2) * (along_x - 2.0)
            if q[2] > rules.near:
                scale = 1.0 / q[2]
                u_float = wp.clamp(camera.fx * q[0] * scale + camera.cx + 0.5, -1.0, 1.0e6)
                v_float = wp.clamp(camera.fy * q[1] * scale + camera.cy + 0.5, -1.0, 1.0e6)
                u = int(wp.floor(u_float))
                v = int(wp.floor(v_float))
                if u >= 0 and v >= 0 and u < camera.width and v < camera.height:
                    s = graded[v, u]
                    gap = s[0] - q[2]
                    if s[1] > 0.0:
                        distance = gap * s[1]
                        if distance > -rules.truncation:
                            if distance <= rules.truncation:
                                w = wp.min(s[1], 1.0)
                                if distance < -rules.full_weight_behind:
                                    fade = rules.truncation - rules.full_weight_behind
                                    w *= (rules.truncation + distance) / fade
                                if w > 1.0e-3:
                                    old = voxels_out[index + x]
                                    total = old[1] + w
                                    tsdf = (old[0] * old[1] + distance / rules.truncation * w) / total
                                    total = wp.min(total, rules.max_weight)
                                    voxels_out[index + x] = wp.vec2(tsdf, total)
                                    touched = True
                                    change = wp.max(change, deviation(tsdf, total, published[index + x], rules))
                                    if has_colour and wp.abs(distance) < rules.full_weight_behind:
                                        colours_out[index + x] = blend_colour(colours_out[index + x], colour[v, u])
                            elif gap > rules.carve_margin:
                                old = voxels_out[index + x]
                                if old[1] > 0.0 and old[0] < 0.25:
                                    total = wp.max(old[1] - rules.carve_rate, 0.0)
                                    voxels_out[index + x] = wp.vec2(old[0], total)
                                    change = wp.max(change, deviation(old[0], total, published[index + x], rules))
                    elif s[1] < 0.0 and gap > rules.carve_margin:
                        old = voxels_out[index + x]
                        if old[1] > 0.0 and old[0] < 0.25:
                            m = rules.silhouette_px
                            if (
                                is_background(graded, u - m, v)
                                and is_background(graded, u + m, v)
                                and is_background(graded, u, v - m)
                                and is_background(graded, u, v + m)
                            ):
                                total = wp.max(old[1] - rules.carve_rate, 0.0)
                                voxels_out[index + x] = wp.vec2(old[0], total)
                                change = wp.max(change, deviation(old[0], total, published[index + x], rules))
    change_out[block * EDGE + z] = wp.max(change_out[block * EDGE + z], change)
    if touched:
        occupied_out[block * EDGE + z] = wp.uint8(1)


@wp.kernel(enable_backward=False)
def publish_slices(
    begin: wp.int32,
    blocks: wp.array(dtype=wp.int32),  # (C,) slots
    voxels: wp.array(dtype=wp.vec2),  # (B * 512,)
    min_weight: float,
    # Out:
    published_out: wp.array(dtype=float),  # (B * 512,)
    change_out: wp.array(dtype=float),  # (B * 8,)
):
    i = begin + wp.tid()
    z_slice = blocks[i / EDGE] * EDGE + i % EDGE
    for k in range(EDGE * EDGE):
        voxel = voxels[z_slice * EDGE * EDGE + k]
        value = float(UNKNOWN)
        if voxel[1] >= min_weight:
            value = voxel[0]
        published_out[z_slice * EDGE * EDGE + k] = value
    change_out[z_slice] = 0.0
