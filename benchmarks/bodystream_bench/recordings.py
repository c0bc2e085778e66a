"""Where benchmarks find recordings, and what they make instead where there are none."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import warp as wp

from bodystream.errors import InputError
from bodystream.geometry.camera import depth_edges, project, sample_bilinear
from bodystream.sources.layouts.deepdeform import read_oflow, read_sflow
from bodystream.tracking.graph import DepthMesh, mesh_from_depth
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["MatchedSurface", "find_recording", "matched_surface", "person_frames", "synthetic_frames"]

# Beside a source checkout.
_DEFAULT_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"
_STEP_M = 0.03


def find_recording(name: str) -> Path | None:
    """The folder `name` below BODYSTREAM_DATA (or `../shared/data` of a checkout), or None."""
    folder = Path(os.environ.get("BODYSTREAM_DATA") or _DEFAULT_FOLDER) / name
    return folder if folder.is_dir() else None


@dataclass(frozen=True)
class MatchedSurface:
    """A surface with the pixel and depth at which each of its points is seen later.

    Attributes:
        name: of the recording, or `generated`.
        mesh: of the first frame. matched: (P,) bool, points with a target.
        target_px: (P, 2). target_depth_m: (P,), 0 = none. truth: (P, 3) true positions [m], nan = unknown.
        limit_mm: mean error after tracking that a working solver stays below.
    """

    name: str
    intrinsics: CameraIntrinsics
    mesh: DepthMesh
    matched: Array
    target_px: Array
    target_depth_m: Array
    truth: Array
    limit_mm: float


def matched_surface() -> MatchedSurface:
    """DeepDeform's sequence 258 with its true flow, else a generated sheet of the same size."""
    folder = find_recording("depth/deepdeform_seq258")
    return _generated_surface() if folder is None else _recorded_surface(folder)


def _read_depth(path: Path) -> Array:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise InputError(f"{path}: not an image that OpenCV reads")
    return image.astype(np.float32) * np.float32(1e-3)


def _recorded_surface(folder: Path) -> MatchedSurface:
    source, target = (_read_depth(folder / "depth" / f"{name}.png") for name in ("000000", "000110"))
    mask = cv2.imread(str(folder / "mask" / "000000_shirt.png"), cv2.IMREAD_UNCHANGED)
    if mask is None:
        raise InputError(f"{folder}: mask/000000_shirt.png is not there or not an image")
    matrix = np.loadtxt(folder / "intrinsics.txt")
    height, width = source.shape
    camera = CameraIntrinsics(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], width, height)
    mesh = mesh_from_depth(source, mask > 0, camera)
    u, v = mesh.pixels.T
    landed = (mesh.pixels + read_oflow(folder / "optical_flow" / "shirt_000000_000110.oflow")[v, u]).astype(np.float32)
    truth = mesh.points + read_sflow(folder / "scene_flow" / "shirt_000000_000110.sflow")[v, u]
    usable = (target > 0) & ~depth_edges(target, _STEP_M)
    depth_m, good = sample_bilinear(target, landed, usable)
    return MatchedSurface(
        folder.name, camera, mesh, np.all(np.isfinite(landed), axis=1),
        landed, np.where(good, depth_m, 0).astype(np.float32), truth, 6.0,
    )  # fmt: skip


def _generated_surface() -> MatchedSurface:
    """A sheet of about 52,000 pixels with folds, 1.4 m away, that swings to the side and bends."""
    camera = CameraIntrinsics(575.0, 575.0, 319.5, 239.5, 640, 480)
    v, u = np.indices((camera.height, camera.width))
    x, y = (u - camera.cx) / 320.0, (v - camera.cy) / 240.0
    depth = (1.4 + 0.03 * np.sin(9 * x) * np.cos(5 * y) + 0.02 * np.sin(6 * (x + y))).astype(np.float32)
    mesh = mesh_from_depth(depth, (np.abs(x) < 0.36) & (np.abs(y) < 0.475), camera)
    points = mesh.points.astype(np.float64)
    angle = 0.5 + 0.6 * (points[:, 1] + 0.3)
    centre = np.array([0.0, 0.0, 1.4])
    c, s = np.cos(angle), np.sin(angle)
    off = points - centre
    truth = np.stack([c * off[:, 0] + s * off[:, 2], off[:, 1], c * off[:, 2] - s * off[:, 0]], axis=1) + centre
    truth += [0.18, 0.05, -0.05]
    target_px = project(truth, camera).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.002, len(truth))
    return MatchedSurface(
        "generated", camera, mesh, np.ones(len(truth), bool),
        target_px, (truth[:, 2] + noise).astype(np.float32), truth, 6.0,
    )  # fmt: skip


def person_frames(count: int, device: wp.Device) -> tuple[str, list[RgbdFrame]]:
    """Where they come from, and frames of a person with a mask: `turning_person`, else the synthetic camera."""
    folder = find_recording("depth/turning_person")
    if folder is None:
        return "synthetic camera", synthetic_frames(count, device)
    from bodystream.sources.folder import FolderSource

    source = FolderSource.open(folder)
    try:
        return folder.name, list(islice(source, count))
    finally:
        source.close()


def synthetic_frames(count: int, device: wp.Device) -> list[RgbdFrame]:
    """The first frames of the synthetic camera with seed 0, with their true masks in `truth`."""
    from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource

    source = SyntheticSource(SyntheticConfig(seed=0, frames=count), device)
    try:
        return list(source)
    finally:
        source.close()
