"""Small recordings written for the tests of the folder source."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bodystream.types import Array

WIDTH, HEIGHT = 48, 32
FX, FY, CX, CY = 50.0, 51.0, 23.5, 15.5


def depth_mm(index: int = 0, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Array:
    """A tilted plane about 1.5 m away with a hole, different in every frame."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    depth = 1400 + 3 * u + 2 * v + 10 * index
    depth[2:5, 2:5] = 0
    return depth.astype(np.uint16)


def colour_rgb(index: int = 0, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Array:
    """Red grows to the right, green downwards, blue with the frame."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    return np.stack([u * 4, v * 6, np.full(shape, 10 * index)], axis=2).astype(np.uint8)


def write_png(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        image = np.ascontiguousarray(image[..., ::-1])
    assert cv2.imwrite(str(path), image)


def write_intrinsics(folder: Path) -> None:
    (folder / "intrinsics.txt").write_text(f"{FX} {FY} {CX} {CY}\n")


def write_plain(folder: Path, count: int = 4, colour: str = "colour", intrinsics: bool = True) -> Path:
    """`colour/` and `depth/` with png files 0000 ..., and intrinsics.txt."""
    for index in range(count):
        write_png(folder / colour / f"{index:04d}.png", colour_rgb(index))
        write_png(folder / "depth" / f"{index:04d}.png", depth_mm(index))
    if intrinsics:
        write_intrinsics(folder)
    return folder


def truncate(path: Path, keep: float = 0.6) -> None:
    """Cut a file as a full disk or a killed recorder does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def triangulated(focal_times_baseline_m: float, steps_per_pixel: int, unit_m: float, seed: int = 0) -> Array:
    """A scene of 1-4 m as a triangulating camera measures it: disparity in fixed steps, depth in `unit_m`."""
    rng = np.random.default_rng(seed)
    depth_m = np.sort(rng.uniform(1.0, 4.0, 480 * 640)).reshape(480, 640)
    disparity = np.round(focal_times_baseline_m / depth_m * steps_per_pixel) / steps_per_pixel
    return np.round(focal_times_baseline_m / disparity / unit_m).astype(np.uint16)
