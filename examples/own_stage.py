"""A stage of your own: a config, a `step`, buffers that it owns, a kernel. Here: depth that flickers is held."""

from __future__ import annotations

from dataclasses import dataclass, replace

import warp as wp

from bodystream import CaptureSession, ConfigurationError, RgbdFrame, open_source, select_device


@wp.kernel(enable_backward=False)
def hold(
    # In: depth (H, W) [m], 0 = not measured
    depth: wp.array2d[float],
    longest: int,
    # Out: depth (H, W) [m], and (H, W) frames since it was measured
    held_out: wp.array2d[float],
    age_out: wp.array2d[int],
):
    y, x = wp.tid()
    age_out[y, x] = wp.where(depth[y, x] > 0.0, 0, age_out[y, x] + 1)
    if depth[y, x] > 0.0 or age_out[y, x] > longest:
        held_out[y, x] = depth[y, x]


@dataclass(frozen=True, slots=True)
class DepthHoldConfig:
    """longest: for so many frames a pixel without a measurement keeps its last one."""

    longest: int = 1

    def __post_init__(self) -> None:
        if self.longest < 0:
            raise ConfigurationError(f"longest must be 0 or more frames, got {self.longest}")


class DepthHold:
    """Keeps the last depth of pixels that a camera loses for a frame or two."""

    def __init__(self, config: DepthHoldConfig, shape: tuple[int, int], device: wp.Device) -> None:
        self.config, self.device = config, device
        self._held, self._age = (wp.zeros(shape, kind, device=device) for kind in (float, int))

    def step(self, frame: RgbdFrame) -> RgbdFrame:
        inputs = [wp.array(frame.depth_m, dtype=float, device=self.device), self.config.longest]
        outputs = [self._held, self._age]
        wp.launch(hold, dim=frame.depth_m.shape, inputs=inputs, outputs=outputs, device=self.device)
        return replace(frame, depth_m=self._held.numpy().copy())


if __name__ == "__main__":
    stage = DepthHold(DepthHoldConfig(), (240, 320), select_device("auto"))
    with CaptureSession() as session:
        for frame in open_source("synthetic?width=320&height=240&frames=6"):
            filled = stage.step(frame)
            session.push(filled)
            print(f"{(filled.depth_m > 0).sum() - (frame.depth_m > 0).sum()} measurements were held")
