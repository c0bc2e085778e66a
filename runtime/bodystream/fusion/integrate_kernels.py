# ruff: noqa: UP018 - in a kernel `int(0)` declares a variable, a bare 0 is a constant
"""Non-rigid integration of a graded frame into the canonical voxels (DynamicFusion eq. 4-6, NNRT sec. 4.5).

A voxel is warped into the camera, and its distance from the measured surface is averaged in. The distance is that
from the tangent plane of the pixel, `(depth - z) (n . ray)`, so that oblique views agree with frontal ones.
"""

import warp as wp

from bodystream.device.camera_kernels import Camera, is_inside
from bodystream.fusion.blocks_kernels import EDGE, LATTICE, LATTICE_POINTS, LATTICE_STEP

wp.set_module_options({"enable_backward": False, "max_unroll": 4})

BLOCK_VOXELS = wp.constant(512)
SLICE_VOXELS = wp.constant(64)
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
    carve_rate: float  # weight that a frame takes from an empty voxel
    max_weight: float
    min_weight: float  # of a voxel that may carry surface
    silhouette_px: int  # background counts only where it reaches so far
    near: float  # [m]


@wp.struct
class Voxels:
    """What was fused: voxel x + 8 y + 64 z of each block, so that slice z begins at 64 (8 block + z)."""

    values: wp.array(dtype=wp.vec2)  # (B * 512,) truncated distance / truncation, weight
    colours: wp.array(dtype=vec4us)  # (B * 512,) RGB times 256, observations
    published: wp.array(dtype=float)  # (B * 512,) distance / truncation of which the surface was made, 2 = unknown
    change: wp.array(dtype=float)  # (B * 8,) largest deviation from it in a slice [m]
    occupied: wp.array(dtype=wp.uint8)  # (B * 8,) 1 = some voxel of the slice was observed


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


@wp.func
def is_silhouette(graded: wp.array2d(dtype=wp.vec2), u: int, v: int, reach_px: int) -> bool:
    """Whether a pixel of the background lies well outside of the subject."""
    return (
        is_background(graded, u - reach_px, v)
        and is_background(graded, u + reach_px, v)
        and is_background(graded, u, v - reach_px)
        and is_background(graded, u, v + reach_px)
    )


@wp.func
def voxel_pixel(camera: Camera, q: wp.vec3) -> wp.vec2i:
    """Where a voxel is seen. One division for both coordinates, clamped before it becomes a whole number."""
    scale = 1.0 / q[2]
    u = wp.clamp(camera.fx * q[0] * scale + camera.cx + 0.5, -1.0, 1.0e6)
    v = wp.clamp(camera.fy * q[1] * scale + camera.cy + 0.5, -1.0, 1.0e6)
    return wp.vec2i(int(wp.floor(u)), int(wp.floor(v)))


@wp.func
def may_be_carved(voxel: wp.vec2) -> bool:
    """Only voxels on and behind a surface that was observed: what lies well in front of it is empty already."""
    return voxel[1] > 0.0 and voxel[0] < 0.25


@wp.func
def carve(at: int, rules: Rules, voxels: Voxels) -> float:
    """Take weight from a voxel that the camera sees through; returns its deviation."""
    old = voxels.values[at]
    total = wp.max(old[1] - rules.carve_rate, 0.0)
    voxels.values[at] = wp.vec2(old[0], total)
    return deviation(old[0], total, voxels.published[at], rules)


@wp.func
def fuse(at: int, distance: float, incidence: float, rules: Rules, voxels: Voxels) -> float:
    """Average a distance [m] into a voxel; returns its deviation, -1 where the observation counts nothing.

    An observation counts less where the view is oblique, and fades out behind the surface.
    """
    weight = wp.min(incidence, 1.0)
    if distance < -rules.full_weight_behind:
        weight *= (rules.truncation + distance) / (rules.truncation - rules.full_weight_behind)
    change = float(-1.0)
    if weight > 1.0e-3:
        old = voxels.values[at]
        total = old[1] + weight
        tsdf = (old[0] * old[1] + distance / rules.truncation * weight) / total
        total = wp.min(total, rules.max_weight)
        voxels.values[at] = wp.vec2(tsdf, total)
        voxels.occupied[at / SLICE_VOXELS] = wp.uint8(1)
        change = deviation(tsdf, total, voxels.published[at], rules)
    return change


@wp.func
def observe(
    at: int,
    q: wp.vec3,
    graded: wp.array2d(dtype=wp.vec2),
    colour: wp.array2d(dtype=wp.vec3ub),
    camera: Camera,
    rules: Rules,
    voxels: Voxels,
) -> float:
    """Update the voxel that the warp brings to q in the camera's frame [m]; returns its deviation."""
    change = float(0.0)
    pixel = voxel_pixel(camera, q)
    if q[2] > rules.near and is_inside(camera, pixel, 0):
        seen = graded[pixel[1], pixel[0]]
        gap = seen[0] - q[2]
        distance = gap * seen[1]
        if seen[1] > 0.0 and distance <= rules.truncation:
            if distance > -rules.truncation:
                change = fuse(at, distance, seen[1], rules, voxels)
                if change >= 0.0 and colour.shape[0] > 0 and wp.abs(distance) < rules.full_weight_behind:
                    voxels.colours[at] = blend_colour(voxels.colours[at], colour[pixel[1], pixel[0]])
        elif seen[1] != 0.0 and gap > rules.carve_margin and may_be_carved(voxels.values[at]):
            if seen[1] > 0.0 or is_silhouette(graded, pixel[0], pixel[1], rules.silhouette_px):
                change = carve(at, rules, voxels)
    return change


@wp.kernel(enable_backward=False)
def integrate_slices(
    begin: wp.int32,
    # Blocks:
    active: wp.array(dtype=wp.int32),  # (A,) slots
    live: wp.array(dtype=wp.vec3),  # (A * 64,) warped lattice, camera frame [m]
    # Frame:
    graded: wp.array2d(dtype=wp.vec2),  # (H, W) depth [m], incidence
    colour: wp.array2d(dtype=wp.vec3ub),  # (H, W) RGB, or empty
    camera: Camera,
    # Options:
    rules: Rules,
    # Out (read, too):
    voxels_out: Voxels,
):
    i = begin + wp.tid()
    z_slice = active[i / EDGE] * EDGE + i % EDGE
    base = (i / EDGE) * LATTICE_POINTS
    along_z = float(i % EDGE) / LATTICE_STEP
    lattice_z = wp.min(int(along_z), LATTICE - 2)
    fz = along_z - float(lattice_z)
    change = float(0.0)
    for y in range(EDGE):
        along_y = float(y) / LATTICE_STEP
        lattice_y = wp.min(int(along_y), LATTICE - 2)
        fy = along_y - float(lattice_y)
        p0 = lattice_edge(live, base, 0, lattice_y, lattice_z, fy, fz)
        p1 = lattice_edge(live, base, 1, lattice_y, lattice_z, fy, fz)
        p2 = lattice_edge(live, base, 2, lattice_y, lattice_z, fy, fz)
        p3 = lattice_edge(live, base, 3, lattice_y, lattice_z, fy, fz)
        row = z_slice * SLICE_VOXELS + y * EDGE
        for x in range(EDGE):
            along_x = float(x) / LATTICE_STEP
            q = p0 + (p1 - p0) * along_x
            if along_x > 1.0:
                q = p1 + (p2 - p1) * (along_x - 1.0)
            if along_x > 2.0:
                q = p2 + (p3 - p2) * (along_x - 2.0)
            change = wp.max(change, observe(row + x, q, graded, colour, camera, rules, voxels_out))
    voxels_out.change[z_slice] = wp.max(voxels_out.change[z_slice], change)


@wp.kernel(enable_backward=False)
def publish_slices(
    begin: wp.int32,
    # Blocks:
    blocks: wp.array(dtype=wp.int32),  # (C,) slots
    # Options:
    min_weight: float,
    # Out (read, too):
    voxels_out: Voxels,
):
    i = begin + wp.tid()
    z_slice = blocks[i / EDGE] * EDGE + i % EDGE
    for k in range(SLICE_VOXELS):
        voxel = voxels_out.values[z_slice * SLICE_VOXELS + k]
        value = float(UNKNOWN)
        if voxel[1] >= min_weight:
            value = voxel[0]
        voxels_out.published[z_slice * SLICE_VOXELS + k] = value
    voxels_out.change[z_slice] = 0.0
