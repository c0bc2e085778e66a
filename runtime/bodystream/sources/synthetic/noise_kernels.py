"""Kernels of the depth-noise model. A thread writes its own elements only, so launches may be cut over CPU threads."""

import warp as wp

from bodystream.device.camera_kernels import Camera

NOISE_CHANNELS = wp.constant(wp.int32(4))
STRIP = wp.constant(wp.int32(32))


@wp.kernel(enable_backward=False)
def noise_lattice(
    begin: wp.int32,
    # In:
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
    # Frame:
    depth: wp.array2d(dtype=wp.float32),  # (H, W) [m]
    focal_baseline: wp.float32,  # [px m]
    # Out:
    disparity_out: wp.array2d(dtype=wp.float32),  # (H, W) [px], 0 where there is no depth
    shadow_out: wp.array2d(dtype=wp.uint8),  # (H, W) 1 = the right imager does not see this pixel
):
    """Disparity, and the pixels of the left image that the right image does not show; one thread per row.

    Pixel x lies at x - d in the right image. A surface that covers it comes from a pixel x' > x with
    x' - d' <= x - d, so a running minimum from the right finds all of them.
    """
    y = begin + wp.tid()
    width = depth.shape[1]
    nearest = wp.float32(1.0e9)
    for k in range(width):
        x = width - 1 - k
        z = depth[y, x]
        hidden = wp.uint8(0)
        d = wp.float32(0.0)
        if z > 0.0:
            d = focal_baseline / z
            place = float(x) - d
            if nearest <= place:
                hidden = wp.uint8(1)
            nearest = wp.min(nearest, place)
        disparity_out[y, x] = d
        shadow_out[y, x] = hidden


@wp.struct
class NoiseParameters:
    """`DepthNoiseModel` and the camera, for the kernel."""

    seed: wp.int32
    frame: wp.int32
    camera: Camera
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
def smaller(a: wp.float32, b: wp.float32):
    r = b
    if wp.abs(a) < wp.abs(b):
        r = a
    return r


@wp.kernel(enable_backward=False)
def apply_depth_noise(
    begin: wp.int32,
    # Model:
    model: NoiseParameters,
    # Frame:
    disparity: wp.array2d(dtype=wp.float32),  # (H, W) [px], 0 = none
    shadow: wp.array2d(dtype=wp.uint8),  # (H, W)
    # Noise:
    lattice: wp.array2d(dtype=wp.vec4),  # (rows, columns), one node every `lattice_step_px`
    lattice_step_px: wp.int32,
    # Out:
    noisy_out: wp.array2d(dtype=wp.float32),  # (H, W) [m], whole millimetres, 0 = hole
):
    """The depth that a stereo camera would report; see `DepthNoiseModel` for the steps.

    A thread owns `STRIP` pixels of one row, which saves divisions on the CPU and leaves thousands of threads on CUDA.
    """
    i = begin + wp.tid()
    width = disparity.shape[1]
    height = disparity.shape[0]
    strips = (width + STRIP - 1) / STRIP
    y = i / strips
    first = (i - y * strips) * STRIP
    last = wp.min(first + STRIP, width)
    ly = y / lattice_step_px
    ty = (float(y - ly * lattice_step_px) + 0.5) / float(lattice_step_px)
    focal_baseline = model.camera.fx * model.baseline_m
    for x in range(first, last):
        # bilinear lattice noise, scaled back to unit variance
        lx = x / lattice_step_px
        tx = (float(x - lx * lattice_step_px) + 0.5) / float(lattice_step_px)
        w00 = (1.0 - ty) * (1.0 - tx)
        w01 = (1.0 - ty) * tx
        w10 = ty * (1.0 - tx)
        w11 = ty * tx
        n = (
            w00 * lattice[ly, lx]
            + w01 * lattice[ly, lx + 1]
            + w10 * lattice[ly + 1, lx]
            + w11 * lattice[ly + 1, lx + 1]
        )
        n = n / wp.sqrt(w00 * w00 + w01 * w01 + w10 * w10 + w11 * w11)

        # the matching window sees a slightly displaced place
        px = wp.clamp(x + int(wp.floor(n[1] * model.edge_jitter_px + 0.5)), 0, width - 1)
        py = wp.clamp(y + int(wp.floor(n[2] * model.edge_jitter_px + 0.5)), 0, height - 1)
        out = wp.float32(0.0)
        d = disparity[py, px]
        if d > 0.0 and n[3] < model.speckle_sigma and shadow[py, px] == wp.uint8(0):
            state = wp.rand_init(model.seed ^ (model.frame * 277803737 + 1), y * width + x)
            east = disparity[py, wp.min(px + 2, width - 1)]
            west = disparity[py, wp.max(px - 2, 0)]
            south = disparity[wp.min(py + 2, height - 1), px]
            north = disparity[wp.max(py - 2, 0), px]
            front = wp.max(wp.max(east, west), wp.max(south, north))
            back = wp.min(wp.min(east, west), wp.min(south, north))
            keep = wp.bool(True)
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
                du = float(px) - model.camera.cx
                dv = float(py) - model.camera.cy
                rx = du / model.camera.fx
                ry = dv / model.camera.fy
                nx = gx * model.camera.fx
                ny = gy * model.camera.fy
                nz = d - gx * du - gy * dv
                cosine_squared = d * d / ((nx * nx + ny * ny + nz * nz) * (rx * rx + ry * ry + 1.0))
                if cosine_squared < model.grazing_cos_none * model.grazing_cos_none:
                    chance = model.grazing_cos_none - wp.sqrt(cosine_squared)
                    keep = wp.randf(state) * (model.grazing_cos_none - model.grazing_cos_all) >= chance
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
