"""One person for all of a capture: registered meshes and bones of each key frame, as avatars are learned from."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodystream.body import BodyDecoder, Person
from bodystream.body.fitting import FittedBody, ScanPoints, StartPoses, fit_surface, neutral_start, scan_points
from bodystream.errors import InputError
from bodystream.files import atomic_path, prepare_folder
from bodystream.pipelines.fit.following import (
    CaptureRegistration,
    check_take_folder,
    write_motion,
    write_registered,
)
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.sources.captures import read_capture

__all__ = ["fit_capture", "key_frame_step"]

_TO_CAMERA = np.array([0.0, 0.0, 1.0])


def _fit_first(decoder: BodyDecoder, surface: ScanPoints, where: str) -> FittedBody:
    """The body of a capture's first frame, of somebody who faces the camera, which is ahead (+z) of the surface.

    One side of a person is nearly that of somebody who looks the other way, or holds an arm where nothing is seen. So
    it begins with the neutral pose, and beside it with usual poses that lie best of those who face the camera.
    """
    decoder.open_gradient()
    poses = StartPoses(decoder)
    poses.check_upright(surface, where)
    starts = (neutral_start(decoder, surface.points), *poses.best(surface, facing=_TO_CAMERA))
    found, refused = [], None
    for start in starts:
        try:
            found.append(fit_surface(decoder, surface, start=start, where=where))
        except InputError as error:  # no body lies on it from there
            refused = error
    if not found:
        assert refused is not None
        raise refused
    return min(found, key=lambda one: one.point_to_mesh_mean_m)


def key_frame_step(lengths: Sequence[int], most: int) -> int:
    """Each how manyth key frame is taken of models of so many, so that there are `most` in all; the first one of each
    model always is, and of more models than that there are more."""
    step = max(1, -(-sum(lengths) // most))
    while _taken(lengths, step) > max(most, len(lengths)):
        step += 1
    return step


def _taken(lengths: Sequence[int], step: int) -> int:
    return sum(-(-length // step) for length in lengths)


def fit_capture(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
    """One person for all of a capture: the shape of its first frame, registered meshes and bones of each."""
    if decoder.skin is None:
        raise InputError(
            f"bundle {decoder.bundle.manifest.name!r} knows no joints, which an avatar's bones are: train on generated "
            "people, or with a skin.npz, and export again"
        )
    began = time.perf_counter()
    prepare_folder(options.out, "--out")
    models = read_capture(path)
    lengths = [len(model) for model in models]
    every = key_frame_step(lengths, options.most_frames)
    check_take_folder(options.out, _taken(lengths, every))
    where = f"{path}, first frame"
    surface = scan_points(models[0].mesh(0), where)
    found = _fit_first(decoder, surface, where)
    person = Person(decoder.skin, decoder.vertices(found.codes.shape), decoder.space.faces)
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
    paths = [options.out / name for name in ("take.json", "mesh.npz", "frames", "motion.bvh", "plain.npz")]
    write_motion(options.out / "motion.bvh", person, frames)
    with atomic_path(paths[-1]) as waiting, waiting.open("wb") as file:
        plain = np.stack([frame.plain for frame in frames]).astype(np.float32)
        seen = np.stack([frame.matched for frame in frames])
        np.savez_compressed(
            file, vertices=plain, seen=seen, t_s=np.array([frame.t_s for frame in frames]),
            shape=found.codes.shape, neutral=person.neutral.astype(np.float32),
            file_from_camera=models[0].file_from_camera,
        )  # fmt: skip
    return FitReport(paths, facts, [])
