"""The synthetic depth camera: a moving body, what a D400 would measure of it, and the truth."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import warp as wp

from bodystream.avatar.rig import load_rig
from bodystream.device import select_device
from bodystream.errors import ConfigurationError
from bodystream.sources.base import SourceCounts
from bodystream.sources.synthetic.motion import Motion, MotionName
from bodystream.sources.synthetic.noise import DepthNoise, DepthNoiseModel
from bodystream.sources.synthetic.recorded import RecordedMotion
from bodystream.sources.synthetic.renderer import BodyRenderer, Scene, background_images
from bodystream.timing import now_ns
from bodystream.types import CameraIntrinsics, FrameTruth, Mesh, RgbdFrame, SkinnedMesh

__all__ = ["SyntheticConfig", "SyntheticSource"]

_FOCAL_PER_WIDTH = 460.0 / 640.0


@dataclass(frozen=True, slots=True)
class SyntheticConfig:
    """What the synthetic camera shows.

    Attributes:
        seed: the same seed gives the same depth, colour and truth, bit for bit, on one machine and device.
        width, height: image size [px].
        rate_hz: frames per second of the body's time.
        frames: number of frames until the source ends, or None for an endless one.
        noise: "d400" for a stereo camera's noise and holes, "none" for the clean depth.
        motion: what the body does; see `Motion`.
        background: draw a floor and a wall, else there is nothing behind the body.
        live: frames come at `rate_hz` of the wall clock, and those that nobody took in time are lost.
        paced: no more than `rate_hz` frames come per second of the wall clock, and none is lost: however slowly they
            are taken, the body moves by one frame's time from one to the next.
    """

    seed: int = 0
    width: int = 640
    height: int = 480
    rate_hz: float = 30.0
    frames: int | None = None
    noise: Literal["d400", "none"] = "d400"
    motion: MotionName = "limbs"
    background: bool = True
    live: bool = False
    paced: bool = False

    def __post_init__(self) -> None:
        if not (16 <= self.width <= 8192 and 16 <= self.height <= 8192):
            raise ConfigurationError(
                f"the synthetic camera's image must be 16 to 8192 pixels wide and high, got {self.width}x{self.height}"
            )
        if not (np.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise ConfigurationError(f"rate_hz must be positive, got {self.rate_hz}")
        if self.frames is not None and self.frames < 0:
            raise ConfigurationError(f"frames must be None or at least 0, got {self.frames}")
        if self.noise not in ("d400", "none"):
            raise ConfigurationError(f"noise must be d400 or none, got {self.noise!r}")
        if self.live and self.paced:
            raise ConfigurationError("a synthetic camera is live or paced, not both: live follows the wall clock")
        if self.seed < 0:
            raise ConfigurationError(f"seed must be at least 0, got {self.seed}")


class SyntheticSource:
    """An `RgbdSource` that draws its frames.

    The level camera stands 0.95 m above the floor and 2.2 m in front of the body, whose whole figure of 1.67 m it
    sees, arms raised as well; a wall is 1.2 m behind. Its focal length is 460 px at a width of 640 (69.7 degrees
    across; a D435 has 386 px there), so that the body is 350 px high. `mask` stays None: the foreground must be found.

    Args:
        config: what to show.
        device: where to draw it, a Warp device or a name for `select_device`.
        noise_model: parameters of the "d400" noise.
        scene: where camera, body and wall stand.
        body: whom it shows; default: the shipped body.
        motion: what that body does, a recorded motion; default: the programme that the configuration names.

    Raises:
        ConfigurationError, DeviceError, BundleError: see `SyntheticConfig`, `select_device` and `load_rig`.
    """

    def __init__(
        self,
        config: SyntheticConfig | None = None,
        device: wp.Device | str = "auto",
        noise_model: DepthNoiseModel | None = None,
        scene: Scene | None = None,
        body: SkinnedMesh | None = None,
        motion: RecordedMotion | None = None,
    ) -> None:
        self.config = SyntheticConfig() if config is None else config
        self.device = select_device(device) if isinstance(device, str) else device
        self.name = f"synthetic:{self.config.seed}"
        self.live = self.config.live
        self.on_demand = True  # drawing takes the time that tracking needs
        self.rate_hz: float | None = self.config.rate_hz
        self.counts = SourceCounts()
        self.scene = Scene() if scene is None else scene
        width, height = self.config.width, self.config.height
        focal = _FOCAL_PER_WIDTH * width
        self.intrinsics = CameraIntrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)
        self.body = load_rig() if body is None else body
        self.motion = Motion(self.body, self.config.motion, self.config.seed) if motion is None else motion
        background = background_images(self.scene, self.intrinsics, self.config.background)
        self._renderer = BodyRenderer(self.body, self.intrinsics, background, self.device)
        self._noise: DepthNoise | None = None
        if self.config.noise == "d400":
            model = DepthNoiseModel() if noise_model is None else noise_model
            self._noise = DepthNoise(model, self._renderer.depth_m, self.intrinsics, self.config.seed, self.device)
        self._next = 0
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[RgbdFrame]:
        """Frames from the next one on; pacing starts with the first frame that is asked for.

        Timestamps are one period apart for each frame number. A live camera's keep up with the wall clock; those of
        one that is not stay behind it where frames are taken slowly, as a recording's do.
        """
        period_ns = 1e9 / self.config.rate_hz
        start_ns = now_ns() - round(self._next * period_ns)
        given_ns: int | None = None
        while not self._closed.is_set():
            t_ns = start_ns + round(self._next * period_ns)
            if self.live:
                t_ns = now_ns()
                # the newest frame that the clock has reached, or the next one to come
                due = max(self._next, int((t_ns - start_ns) / period_ns))
                if self.config.frames is not None:
                    due = min(due, self.config.frames)
                self.counts.lost += due - self._next
                self._next = due
                t_ns = start_ns + round(due * period_ns)
            if self.config.frames is not None and self._next >= self.config.frames:
                return
            if self.live and self._closed.wait(max(0, t_ns - now_ns()) * 1e-9):
                return
            frame = self.render(self._next, t_ns)
            if self.config.paced and given_ns is not None:
                # From when the last frame was given, so that a pause is not made up for by a burst.
                if self._closed.wait(max(0.0, given_ns + period_ns - now_ns()) * 1e-9):
                    return
            given_ns = now_ns()
            self._next += 1
            self.counts.delivered += 1
            yield frame

    def render(self, index: int, t_ns: int) -> RgbdFrame:
        """Frame number `index`, stamped `t_ns`; does not depend on the frames drawn before.

        `device_t_ns` is the body's own time, index / rate_hz.
        """
        time_s = index / self.config.rate_hz
        transforms = self.motion.transforms(np.array([time_s]))[0]
        drawn = self._renderer
        drawn(self.scene.camera_from_body @ transforms)
        clean_m = np.array(drawn.depth_m.numpy())
        depth_m = clean_m if self._noise is None else np.array(self._noise(index).numpy())
        mesh = Mesh(
            np.array(drawn.posed.numpy()), self.body.mesh.faces, np.array(drawn.normals.numpy()), self.body.mesh.colours
        )
        truth = FrameTruth(
            mesh=mesh,
            pixel_face=np.array(drawn.face.numpy()),
            pixel_barycentric=np.array(drawn.barycentric.numpy()),
            depth_m=clean_m,
            mask=np.array(drawn.mask.numpy()).view(np.bool_),
        )
        return RgbdFrame(
            index=index,
            t_ns=t_ns,
            depth_m=depth_m,
            intrinsics=self.intrinsics,
            colour=np.array(drawn.colour.numpy()),
            device_t_ns=round(time_s * 1e9),
            truth=truth,
            name=f"{self.name} frame {index}",
        )

    def close(self) -> None:
        """End the iteration; safe to call twice and from another thread."""
        self._closed.set()
