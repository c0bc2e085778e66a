"""Fits of the body embedding to what users have: what a target is, and the files that come of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import BodyCodes, BodyDecoder, Person
from bodystream.body.fitting import (
    FittedBody,
    Placement,
    ScanPoints,
    Start,
    StartPoses,
    fit_surface,
    landmarks_of,
    scan_points,
)
from bodystream.errors import ConfigurationError, InputError
from bodystream.files import atomic_path, prepare_folder, read_text_bounded
from bodystream.pipelines.fit_capture import CaptureRegistration, write_registered
from bodystream.sinks.error_map import write_error_map
from bodystream.sinks.mesh_files import write_mesh
from bodystream.sources.captures import read_capture
from bodystream.sources.scans import read_scan
from bodystream.types import Mesh

__all__ = ["KINDS", "FitOptions", "FitReport", "fit_target"]

_MAX_LANDMARKS = 1 << 20
_SEEMS_WRONG_M = 0.015
_AHEAD = np.array([0.0, 0.0, -1.0])


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a fit is given beside its target.

    Attributes:
        out: folder for its files. landmarks: file of landmarks, or None.
        frames: of a capture, at most so many are registered.
        progress: told of each frame.
    """

    out: Path
    landmarks: Path | None = None
    frames: int = 60
    progress: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ConfigurationError(f"--frames must be 2 or more, got {self.frames}")


@dataclass(frozen=True, slots=True)
class FitReport:
    """What came of it.

    Attributes:
        written: files. facts: figures by their names. notes: for a person.
    """

    written: list[Path]
    facts: dict[str, Any]
    notes: list[str]


def fit_target(decoder: BodyDecoder, target: str, options: FitOptions) -> FitReport:
    """Fit bodies to a target: a file of a scan, or `kind:PATH` of `KINDS`.

    Raises:
        ConfigurationError: there is no such kind.
        InputError: the target cannot be read, or nobody is found in it.
    """
    kind, colon, rest = target.partition(":")
    if colon and len(kind) > 1 and not Path(target).exists():  # one letter is a drive's
        if kind not in KINDS:
            raise ConfigurationError(
                f"there is no kind of target {kind!r}: give the file of a scan, or one of "
                f"{', '.join(f'{name}:PATH' for name in KINDS)}"
            )
        return KINDS[kind](decoder, Path(rest), options)
    return _fit_scan(decoder, Path(target), options)


def _fit_scan(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
    """One body for one scan."""
    prepare_folder(options.out, "--out")
    decoder.open_gradient()
    where = str(path)
    points = scan_points(read_scan(path), where)
    landmarks = None
    if options.landmarks is not None:
        landmarks = landmarks_of(_landmarks(options.landmarks), decoder, points.points, str(options.landmarks))
    found = fit_surface(decoder, points, landmarks, where=where)
    notes = list(points.notes)
    if found.point_to_mesh_mean_m > _SEEMS_WRONG_M:
        notes.append(
            f"the body is {1e3 * found.point_to_mesh_mean_m:.0f} mm from the scan on average, which is much "
            "for a person without wide clothes: look at error.png, and give --landmarks where a limb is wrong"
        )
    facts = {
        "point_to_mesh_mean_mm": 1e3 * found.point_to_mesh_mean_m,
        "seconds": found.seconds,
        "evaluations": found.evaluations,
        "points": len(found.distances_m),
    }
    shown = Mesh(points.points, points.faces)
    return FitReport(_written(decoder, found, shown, options.out, facts), facts, notes)


def _fit_first(decoder: BodyDecoder, surface: ScanPoints, where: str) -> FittedBody:
    """The body of a capture's first frame, of somebody who faces the camera, which is ahead (+z) of the surface.

    One side of a person is nearly that of somebody who looks the other way, or holds an arm where nothing is seen. So
    it begins with the neutral pose, and beside it with the usual pose that lies best.
    """
    decoder.open_gradient()
    poses = StartPoses(decoder)
    poses.check_upright(surface, where)
    usual = max(poses.best(surface), key=lambda start: float(start.placement.rotation[2] @ _AHEAD))
    turn = np.diag([-1.0, 1.0, -1.0])
    neutral = decoder.vertices(np.zeros(decoder.facts.shape)) @ turn
    low, high = np.percentile(surface.points, (1.0, 99.0), axis=0)
    move = 0.5 * (low + high) - 0.5 * (neutral.min(axis=0) + neutral.max(axis=0))
    codes = BodyCodes(np.zeros(decoder.facts.shape, np.float32), np.zeros(decoder.facts.pose, np.float32))
    starts = (Start(codes, Placement(turn, move), np.inf), usual)
    found = [fit_surface(decoder, surface, start=start, where=where) for start in starts]
    return min(found, key=lambda one: one.point_to_mesh_mean_m)


def _fit_capture(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
    """One person for all of a capture: the shape of its first frame, registered meshes and bones of each."""
    if options.landmarks is not None:
        raise ConfigurationError("landmarks are of one scan, and a capture has many frames: leave --landmarks out")
    if decoder.skin is None:
        raise InputError(
            f"bundle {decoder.bundle.manifest.name!r} knows no joints, which an avatar's bones are: train on generated "
            "people, or with a skin.npz, and export again"
        )
    began = time.perf_counter()
    prepare_folder(options.out, "--out")
    models = read_capture(path)
    where = f"{path}, first frame"
    surface = scan_points(models[0].mesh(0), where)
    found = _fit_first(decoder, surface, where)
    person = Person(decoder.skin, decoder.vertices(found.codes.shape), decoder.space.faces)
    every = max(1, -(-sum(len(model) for model in models) // options.frames))
    registration = CaptureRegistration(person, person.pose_of(found.vertices).state, every)
    frames = []
    for frame in registration.frames(models):
        options.progress(f"frame at {frame.t_s:.1f} s: {1e3 * frame.mean_m:.1f} mm from the surface")
        frames.append(frame)
    write_registered(options.out, person, frames, models, path.resolve().name)
    mean_mm = [1e3 * frame.mean_m for frame in frames]
    facts = {
        "point_to_mesh_mean_mm": float(np.mean(mean_mm)),
        "first_fit_mm": 1e3 * found.point_to_mesh_mean_m,
        "frames": len(frames),
        "seen_share": float(np.mean([frame.matched.mean() for frame in frames])),
        "seconds": time.perf_counter() - began,
    }
    paths = [options.out / "take.json", options.out / "mesh.npz", options.out / "frames", options.out / "plain.npz"]
    with atomic_path(paths[-1]) as waiting, waiting.open("wb") as file:
        plain = np.stack([frame.plain for frame in frames]).astype(np.float32)
        seen = np.stack([frame.matched for frame in frames])
        np.savez_compressed(
            file, vertices=plain, seen=seen, t_s=np.array([frame.t_s for frame in frames]),
            shape=found.codes.shape, neutral=person.neutral.astype(np.float32),
            file_from_camera=models[0].file_from_camera,
        )  # fmt: skip
    return FitReport(paths, facts, [])


def _written(decoder: BodyDecoder, found: FittedBody, scan: Mesh, out: Path, facts: dict[str, Any]) -> list[Path]:
    paths = [out / name for name in ("codes.npz", "fit.json", "body.ply", "error.png")]
    with atomic_path(paths[0]) as waiting, waiting.open("wb") as file:
        np.savez(
            file, shape=found.codes.shape, pose=found.codes.pose, data_from_body=found.placement.matrix
        )  # fmt: skip
    codes = {
        "shape": [float(x) for x in found.codes.shape],
        "pose": [float(x) for x in found.codes.pose],
        "data_from_body": found.placement.matrix.tolist(),
    }
    bundle = decoder.bundle.manifest
    with atomic_path(paths[1]) as waiting:
        waiting.write_text(
            json.dumps({**facts, "bundle": {"name": bundle.name, "version": bundle.version}, **codes}, indent=1) + "\n",
            encoding="utf-8",
        )
    body = Mesh(found.vertices, decoder.space.faces)
    write_mesh(paths[2], body)
    ahead = found.placement.rotation @ _AHEAD
    label = f"body, {facts['point_to_mesh_mean_mm']:.1f} mm from the scan on average"
    yaw = float(np.arctan2(ahead[0], ahead[2])) + np.pi
    write_error_map(paths[3], body, scan, found.distances_m, yaw, label)
    return paths


def _landmarks(path: Path) -> dict[str, Any]:
    try:
        return json.loads(read_text_bounded(path, _MAX_LANDMARKS))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a file of landmarks (JSON): {error}") from error


KINDS: dict[str, Callable[[BodyDecoder, Path, FitOptions], FitReport]] = {"scan": _fit_scan, "capture": _fit_capture}
"""Of targets, by the word before the colon; what each makes of a path."""
