"""One body for somebody's joints in a picture, and the files that tell of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.fitting.joints2d import PictureFit, fit_keypoints
from bodystream.errors import ConfigurationError
from bodystream.files import prepare_folder
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.pipelines.fit.written import write_fit
from bodystream.sinks.mesh_files import write_mesh
from bodystream.sinks.overlay import write_overlay
from bodystream.sources.keypoints import Keypoints, read_keypoints
from bodystream.types import Array, CameraIntrinsics, Mesh

__all__ = ["camera_of", "fit_joints2d"]

_FIELD_RAD = np.deg2rad(60.0)
_MOST_PX = 100_000
_SEEMS_WRONG = 0.03
_BONES = (
    ("nose", "neck"), ("neck", "middle_hip"), ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"),
    *((f"{side}_{one}", f"{side}_{other}") for side in ("left", "right") for one, other in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"),
        ("ankle", "big_toe"), ("eye", "ear"))),
)  # fmt: skip


def fit_joints2d(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
    """One body for one person of a picture."""
    camera, notes = camera_of(options.camera, options.image_size)
    prepare_folder(options.out, "--out")
    decoder.open_gradient()
    keypoints = read_keypoints(path, options.person)
    notes += list(keypoints.notes)
    found = fit_keypoints(
        decoder, keypoints.names, keypoints.points_px, keypoints.confidence, camera, str(path)
    )  # fmt: skip
    mean_px = float(found.distances_px.mean())
    extent = float(np.linalg.norm(np.ptp(keypoints.points_px, axis=0)))
    if mean_px > _SEEMS_WRONG * extent:
        notes.append(
            f"the body's joints are {mean_px:.0f} px from those of the picture on average, of a person who is "
            f"{extent:.0f} px large: look at overlay.png"
        )
    facts = {
        "reprojection_mean_px": mean_px,
        "seconds": found.seconds,
        "evaluations": found.evaluations,
        "keypoints": list(keypoints.names),
        "layout": keypoints.layout,
    }
    told = f"joints {mean_px:.1f} px from those of the picture on average, after {found.seconds:.1f} s"
    return FitReport(_write(decoder, found, keypoints, camera, options.out, facts), facts, notes, told)


def camera_of(words: str, image_size: str) -> tuple[CameraIntrinsics, list[str]]:
    """The camera of a picture, and what was assumed of it.

    Args:
        words: "fx,fy,cx,cy" [px], or nothing. image_size: "width,height" [px], or nothing.

    Raises:
        ConfigurationError: neither is given, or they are no numbers that can be.
    """
    size = _numbers(image_size, 2, "--image-size", "width,height") if image_size else None
    if size is not None and not all(1.0 <= one <= _MOST_PX for one in size):
        raise ConfigurationError(f"--image-size must be 1 to {_MOST_PX} px, got {image_size}")
    if words:
        fx, fy, cx, cy = _numbers(words, 4, "--camera", "fx,fy,cx,cy")
        if min(fx, fy) <= 0.0:
            raise ConfigurationError(f"--camera: focal lengths must be positive [px], got {words}")
        width, height = (max(1, round(one)) for one in (size or (2.0 * cx, 2.0 * cy)))
        return CameraIntrinsics(fx, fy, cx, cy, min(width, _MOST_PX), min(height, _MOST_PX)), []
    if size is None:
        raise ConfigurationError(
            "joints in a picture need its camera: give --camera fx,fy,cx,cy [px], or --image-size width,height, of "
            "which a field of view of 60 degrees along the longer side is assumed"
        )
    width, height = (round(one) for one in size)
    focal = 0.5 * max(width, height) / float(np.tan(0.5 * _FIELD_RAD))
    note = (
        f"a field of view of 60 degrees along the longer side is assumed, a focal length of {focal:.0f} px: how far "
        "away the person stands goes with it; --camera fx,fy,cx,cy says better"
    )
    return CameraIntrinsics(focal, focal, 0.5 * (width - 1), 0.5 * (height - 1), width, height), [note]


def _numbers(words: str, count: int, option: str, wanted: str) -> list[float]:
    try:
        found = [float(word) for word in words.split(",")]
    except ValueError:
        found = []
    if len(found) != count or not np.isfinite(found).all() or max(map(abs, found)) > 1e6:
        raise ConfigurationError(f"{option} must be {wanted}, {count} numbers [px], got {words!r}")
    return found


def _write(
    decoder: BodyDecoder, found: PictureFit, keypoints: Keypoints, camera: CameraIntrinsics, out: Path, facts: dict
) -> list[Path]:  # fmt: skip
    paths = [out / "body.ply", out / "overlay.png"]
    codes = {
        "shape": found.codes.shape,
        "pose": found.codes.pose,
        "data_from_body": found.placement.matrix,
        "camera": np.array([camera.fx, camera.fy, camera.cx, camera.cy]),
        "image_size": np.array([camera.width, camera.height]),
    }
    px = dict(zip(keypoints.names, _rounded(found.distances_px), strict=True))
    told = {**facts, "px_of_keypoint": px, **{name: array.tolist() for name, array in codes.items()}}
    written = write_fit(out, decoder, codes, told)
    body = Mesh(found.vertices, decoder.space.faces)
    write_mesh(paths[0], body)
    rows = {name: row for row, name in enumerate(keypoints.names)}
    bones = [(rows[one], rows[other]) for one, other in _BONES if one in rows and other in rows]
    label = f"green: given, orange: the body's, {facts['reprojection_mean_px']:.1f} px apart on average"
    write_overlay(paths[1], body, camera, keypoints.points_px, found.projected_px, bones, label)
    return [*written, *paths]


def _rounded(numbers: Array) -> list[float]:
    return [round(float(one), 3) for one in numbers]
