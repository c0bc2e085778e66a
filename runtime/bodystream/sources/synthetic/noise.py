"""What a stereo depth camera of the D400 kind makes of a clean depth image."""
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.device import RecordedLaunch
from bodystream.device.camera import device_camera
from bodystream.errors import ConfigurationError
from bodystream.sources.synthetic import noise_kernels as kernels
from bodystream.types import CameraIntrinsics

__all__ = ["DepthNoise", "DepthNoiseModel"]


@dataclass(frozen=True, slots=True)
class DepthNoiseModel:
    """Noise of a D435-like stereo camera, applied to disparity d = fx * baseline / z [px].

    For each pixel: (1) the place that the matching window sees is displaced by a smooth random field, so outlines
    wobble (Barron and Malik, "Intrinsic Scene Properties from a Single RGB-D Image", CVPR 2013); (2) what the right
    imager does not see is a hole, a shadow at the left of near things; (3) beside a step in disparity the background
    takes the near disparity (fattening) or is lost; (4) surfaces seen at a grazing angle are lost; (5) some blobs are
    lost anywhere; (6) disparity gets spatially correlated normal noise, since neighbouring matching windows overlap;
    (7) it is rounded to the subpixel step, and depth to whole millimetres (z16).

    The error in depth therefore grows as z^2 sigma / (fx baseline): Grunnet-Jepsen, Sweetser, Woodfill, "Best-known
    methods for tuning Intel RealSense D400 depth cameras for best performance", which gives a subpixel error of
    0.05 px for a well textured surface and at most 0.1 px; Keselman et al., "Intel RealSense Stereoscopic Depth
    Cameras", CVPR workshops 2017, describes the pipeline and its 1/32 px disparities.

    Attributes:
        baseline_m: between the two imagers [m].
        subpixel_px: step of the disparity [px].
        sigma_px: standard deviation of the disparity [px].
        correlated: share of the standard deviation that is smooth over `correlation_px`; the rest is white.
        correlation_px: distance of the lattice nodes that carry the smooth fields [px].
        edge_jitter_px: standard deviation of the displacement of step 1 [px].
        edge_step_px: change of disparity within 2 px that counts as an edge [px].
        edge_dropout, fattening: chances of the background pixels beside an edge; half the first for the near side.
        grazing_deg: angles of incidence at which pixels begin to be lost, and at which all are [deg].
        speckle_sigma: a pixel is lost where a normal field exceeds this.
        min_m, max_m: range of the camera [m].
    """

    baseline_m: float = 0.05
    subpixel_px: float = 1.0 / 32.0
    sigma_px: float = 0.05
    correlated: float = 0.9
    correlation_px: int = 4
    edge_jitter_px: float = 0.6
    edge_step_px: float = 0.8
    edge_dropout: float = 0.35
    fattening: float = 0.3
    grazing_deg: tuple[float, float] = (76.0, 87.0)
    speckle_sigma: float = 2.9
    min_m: float = 0.28
    max_m: float = 10.0

    def __post_init__(self) -> None:
        positive = {"baseline_m": self.baseline_m, "subpixel_px": self.subpixel_px, "min_m": self.min_m}
        for name, value in positive.items():
            if not value > 0:
                raise ConfigurationError(f"{name} of the depth noise must be positive, got {value}")
        if not 0.0 <= self.correlated <= 1.0 or self.correlation_px < 1 or self.sigma_px < 0:
            raise ConfigurationError(
                "depth noise needs 0 <= correlated <= 1, correlation_px >= 1 and sigma_px >= 0, got "
                f"{self.correlated}, {self.correlation_px} and {self.sigma_px}"
            )
        if not 0.0 <= self.grazing_deg[0] < self.grazing_deg[1] <= 90.0:
            raise ConfigurationError(f"grazing_deg must be two growing angles within 0 to 90, got {self.grazing_deg}")


class DepthNoise:
    """Applies a `DepthNoiseModel` to depth images on the device; the same seed and frame give the same bits.

    Args:
        depth_m: (H, W) float32 device array that every call reads.
        intrinsics: of that image.
        seed: of the whole sequence.
    """

    def __init__(
        self, model: DepthNoiseModel, depth_m: wp.array, intrinsics: CameraIntrinsics, seed: int, device: wp.Device
    ) -> None:
        height, width = depth_m.shape
        step = model.correlation_px
        rows, columns = height // step + 2, width // step + 2
        self.noisy_m = wp.zeros((height, width), dtype=wp.float32, device=device)
        lattice = wp.zeros((rows * columns, 4), dtype=wp.float32, device=device)
        nodes = wp.array(
            ptr=lattice.ptr, shape=(rows, columns), dtype=wp.vec4, device=device, capacity=lattice.capacity
        )
        disparity = wp.zeros((height, width), dtype=wp.float32, device=device)
        shadow = wp.zeros((height, width), dtype=wp.uint8, device=device)
        self._keep = (lattice, nodes, disparity, shadow)
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0] & 0x7FFFFFFF)
        self._parameters = self._pack(model, intrinsics)
        self._step = step
        self._lattice = RecordedLaunch(
            kernels.noise_lattice, rows * columns, [self._seed, 0, lattice], device, min_chunk=1024
        )
        focal_baseline = intrinsics.fx * model.baseline_m
        self._shadow = RecordedLaunch(
            kernels.stereo_shadow, height, [depth_m, focal_baseline, disparity, shadow], device, min_chunk=16
        )
        self._apply = RecordedLaunch(
            kernels.apply_depth_noise,
            height * -(-width // int(kernels.STRIP)),
            [self._parameters, disparity, shadow, nodes, step, self.noisy_m],
            device,
            min_chunk=128,
        )

    def __call__(self, frame: int) -> wp.array:
        """The noisy image of frame number `frame`: (H, W) float32 [m], valid until the next call."""
        counter = frame & 0x7FFFFFFF
        self._lattice.set_param("frame", counter)
        self._parameters.frame = counter
        self._apply.set_param("model", self._parameters)
        self._lattice()
        self._shadow()
        self._apply()
        return self.noisy_m

    def aim(self, model: DepthNoiseModel, intrinsics: CameraIntrinsics) -> None:
        """From now on the images are of another camera, with other noise.

        Raises:
            ConfigurationError: its images have another size, or its noise another lattice.
        """
        height, width = self.noisy_m.shape
        size = (intrinsics.width, intrinsics.height, model.correlation_px)
        if size != (width, height, self._step):
            raise ConfigurationError(
                f"this depth noise is of {width}x{height} pixels with nodes {self._step} px apart, the other camera "
                f"has {size[0]}x{size[1]} and {size[2]}: make another DepthNoise"
            )
        self._parameters = self._pack(model, intrinsics)
        self._shadow.set_param("focal_baseline", intrinsics.fx * model.baseline_m)

    def _pack(self, model: DepthNoiseModel, intrinsics: CameraIntrinsics) -> kernels.NoiseParameters:
        p = kernels.NoiseParameters()
        p.seed = self._seed
        p.frame = 0
        p.camera = device_camera(intrinsics)
        p.baseline_m = model.baseline_m
        p.subpixel_px = model.subpixel_px
        p.sigma_px = model.sigma_px
        p.correlated = model.correlated
        p.edge_jitter_px = model.edge_jitter_px
        p.edge_step_px = model.edge_step_px
        p.edge_dropout = model.edge_dropout
        p.fattening = model.fattening
        p.grazing_cos_none, p.grazing_cos_all = (float(np.cos(np.radians(a))) for a in model.grazing_deg)
        p.speckle_sigma = model.speckle_sigma
        p.min_m, p.max_m = model.min_m, model.max_m
        return p
