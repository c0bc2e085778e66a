"""A source of your own: anything that yields frames, with a name, a pace and counts."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from bodystream import CameraIntrinsics, CaptureSession, RgbdFrame, RgbdSource, SourceCounts, now_ns

CAMERA = CameraIntrinsics(fx=230.0, fy=230.0, cx=159.5, cy=119.5, width=320, height=240)


class Barrel:
    """A barrel of a body's size that sways in front of the camera; its mask says which pixels it is."""

    name = "barrel:1"
    live = False  # read as fast as it is processed; of a live source the newest frame wins
    rate_hz: float | None = 30.0

    def __init__(self, frames: int) -> None:
        self.counts = SourceCounts()  # lost frames, reconnects and warnings go here, and into the report
        self._frames = frames
        self._closed = False

    def __iter__(self) -> Iterator[RgbdFrame]:
        began_ns = now_ns()
        v, u = np.indices((CAMERA.height, CAMERA.width))
        x, y = (u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy
        for index in range(self._frames):
            if self._closed:
                return
            centre = 0.05 * np.sin(0.2 * index)  # of an upright cylinder, 2 m away, 0.3 m thick, 1.4 m high
            a, b, c = x * x + 1.0, x * centre + 2.0, centre * centre + 4.0 - 0.09
            root = b * b - a * c
            depth_m = (b - np.sqrt(np.maximum(root, 0.0))) / a
            mask = (root > 0) & (np.abs(y * depth_m) < 0.7)
            depth_m = np.where(mask, depth_m, 0.0).astype(np.float32)  # metres; 0 = nothing measured
            colour = np.zeros((*mask.shape, 3), np.uint8)  # RGB, with stripes to be followed
            colour[mask] = np.array([[200, 60, 60], [60, 60, 200]])[(40 * (x - centre / 2) % 2).astype(int)][mask]
            self.counts.delivered += 1
            yield RgbdFrame(index, began_ns + index * 33_333_333, depth_m, CAMERA, colour, mask=mask)

    def close(self) -> None:  # may be called twice and from another thread
        self._closed = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=12)
    source: RgbdSource = Barrel(parser.parse_args().frames)
    with CaptureSession(source) as session:
        report = session.run()
    print(f"{report.source.name}: {report.frames.processed} frames, {report.tracking.status}")


if __name__ == "__main__":
    main()
