"""Track frames of your own: depth images from anywhere, pushed into a capture."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from bodystream import CameraIntrinsics, CaptureSession, InputError, now_ns, open_source

CAMERA = CameraIntrinsics(fx=230.0, fy=230.0, cx=159.5, cy=119.5, width=320, height=240)


def grab(count: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Depth (H, W) float32 [m], 0 where nothing was measured, and colour (H, W, 3) uint8 RGB: put your camera here."""
    source = open_source(f"synthetic?width=320&height=240&frames={count}")
    for frame in source:
        yield frame.depth_m, frame.colour
    source.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=12)
    wanted = parser.parse_args()
    # Told its camera, a session makes the pipeline at once, so that the first push is as fast as the others.
    with CaptureSession(CAMERA) as session:
        for index, (depth_m, colour) in enumerate(grab(wanted.frames)):
            try:
                result = session.push(depth_m, colour, now_ns())
            except InputError as error:  # a frame with nan, or of another size: named and left out
                print(error)
                continue
            if result is not None:
                print(f"{index}: {result.status} {result.reason} {result.nodes} nodes, {result.vertices} vertices")
        vertices, faces = session.live_mesh()  # where the person is now, in the camera's frame [m]
        bones = session.pose_at(now_ns())  # the deformation graph at any time, from any thread
        print(f"surface of {len(vertices)} vertices around {vertices.mean(axis=0).round(2)} m, {len(faces)} faces")
        print(f"{len(bones.positions_m)} bones; latency {session.report.latency.p50_ms:.0f} ms per frame")


if __name__ == "__main__":
    main()
