"""One person in one depth recording or several: who it is, and how they stand in each frame."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.fitting import DepthClip, DepthFrame, depth_view, fit_depth_clips
from bodystream.bundles import load_npz
from bodystream.errors import ConfigurationError, InputError
from bodystream.files import prepare_folder
from bodystream.foreground import ForegroundConfig, ForegroundSegmenter, largest_body
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.pipelines.fit.written import write_fit
from bodystream.sinks.error_map import write_error_sheet
from bodystream.sources.grammar import split_keys
from bodystream.sources.open import open_source
from bodystream.types import Array, Mesh

__all__ = ["fit_clips", "fit_depth"]

_MOST_CODES_BYTES = 1 << 24
_CUT_OUT = 0.9
"""Of what was measured, the share that is a person from which on an image shows nobody and nothing else."""
_SHOWN = 8
_TURNED = 0.0
_FROM_CAMERA_RAD = np.pi + 0.3
_AHEAD = np.array([0.0, 0.0, -1.0])


def fit_depth(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
    """One shape for all of a recording, and pose and placement of each frame that is taken of it."""
    began = time.perf_counter()
    prepare_folder(options.out, "--out")
    shape = _begun(decoder, options)
    clip, notes = _clip(path, options)
    (frames,) = fit_depth_clips(decoder, [clip], shape, progress=options.progress)
    facts = {**_facts(frames), "seconds": time.perf_counter() - began}
    return FitReport(_written(decoder, frames, clip, options.out, facts), facts, notes)


def fit_clips(decoder: BodyDecoder, paths: Sequence[Path], options: FitOptions) -> FitReport:
    """The same of several recordings of one person, who has one shape in all of them. The files of each go into a
    folder of their own, by its name, and the shape into `codes.npz` of --out.

    Raises:
        ConfigurationError: a recording is given twice.
    """
    began = time.perf_counter()
    names = _names(paths)
    prepare_folder(options.out, "--out")
    shape = _begun(decoder, options)
    clips, notes = [], []
    for path in paths:
        clip, told = _clip(path, options)
        clips.append(clip)
        notes += [note if str(path) in note else f"{path}: {note}" for note in told]
    for name in names:
        prepare_folder(options.out / name, "--out")
    found = fit_depth_clips(decoder, clips, shape, progress=options.progress)
    written: list[Path] = []
    of_clips: list[dict[str, Any]] = []
    for name, clip, frames in zip(names, clips, found, strict=True):
        written += _written(decoder, frames, clip, options.out / name, _facts(frames))
        of_clips.append({"clip": name, **_facts(frames)})
    facts = {
        **_facts([frame for frames in found for frame in frames]),
        "flips": sum(one["flips"] for one in of_clips),
        "seconds": time.perf_counter() - began,
        "clips": of_clips,
    }
    written = [*write_fit(options.out, decoder, {"shape": found[0][0].body.codes.shape}, facts), *written]
    told = f"one shape in {len(clips)} recordings, {facts['point_to_mesh_mean_mm']:.1f} mm from the points on average"
    return FitReport(written, facts, notes, f"{told}, after {facts['seconds']:.1f} s")


def _names(paths: Sequence[Path]) -> list[str]:
    """A folder's name for each recording: its own, with a number where another has the same."""
    names: list[str] = []
    seen: dict[Path, Path] = {}
    for path in map(_without_keys, paths):
        if path.resolve() in seen:
            raise ConfigurationError(f"{path} is given twice, or as {seen[path.resolve()]}: give each recording once")
        seen[path.resolve()] = path
        plain = path.resolve().name if path.is_dir() else path.stem
        name, number = plain, 1
        while name in names:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names


def _without_keys(path: Path) -> Path:
    """Of `walk?rate_hz=30`, as sources are told how they are read, where the recording is."""
    return Path(split_keys(str(path))[0])


def _begun(decoder: BodyDecoder, options: FitOptions) -> Array | None:
    """Who it is, where that is given; the decoder's derivatives are read."""
    decoder.open_gradient()
    return None if options.shape is None else _shape(options.shape, decoder)


def _facts(frames: list[DepthFrame]) -> dict[str, Any]:
    means_mm = [1e3 * frame.mean_m for frame in frames]
    return {
        "point_to_mesh_mean_mm": float(np.mean(means_mm)),
        "worst_frame_mm": float(np.max(means_mm)),
        "flips": _flips(frames),
        "frames": len(frames),
    }


def _shape(path: Path, decoder: BodyDecoder) -> Array:
    """(S,) who it is, of an earlier fit.

    Raises:
        InputError: the file has no shape, or one of another bundle.
    """
    shape = load_npz(path, _MOST_CODES_BYTES).get("shape")
    if shape is None or shape.shape != (decoder.facts.shape,) or not np.isfinite(shape).all():
        raise InputError(
            f"{path} must hold a shape of {decoder.facts.shape} finite numbers, as codes.npz of a fit does"
        )
    return shape.astype(np.float64)


def _clip(path: Path, options: FitOptions) -> tuple[DepthClip, list[str]]:
    """What a fit sees of the frames, of which --frames at most are taken, and what the reader told."""
    kind = "take" if _without_keys(path).suffix.lower() == ".mcap" else "folder"
    source = open_source(f"{kind}:{path}", "cpu")
    frames, count, every, begin_ns = [], 0, 1, None
    segmenter: ForegroundSegmenter | None = None
    try:
        if getattr(source, "loops", False):
            raise ConfigurationError(f"{path} has no end with loop=1: leave loop out, a fit looks at each frame once")
        for number, frame in enumerate(source):
            count = number + 1
            if segmenter is None:
                segmenter = ForegroundSegmenter(ForegroundConfig(), frame.intrinsics)
            mask = segmenter.step(frame).mask
            begin_ns = frame.t_ns if begin_ns is None else begin_ns
            if number % every == 0:
                frames.append((frame.depth_m, mask, frame.intrinsics, 1e-9 * (frame.t_ns - begin_ns), frame.label))
            if len(frames) > options.most_frames:  # how many there are, the source may not know
                frames, every = frames[::2], 2 * every
    finally:
        source.close()
    if not frames:
        raise InputError(f"{path} has no frames")
    views = []
    for depth_m, mask, camera, _, label in frames:
        alone = bool(mask.sum() > _CUT_OUT * (depth_m > 0.0).sum())
        person = largest_body(depth_m, mask, camera)
        views.append(depth_view(depth_m, person, camera, f"{path}, frame {label}", cut_out=alone))
    notes = list(source.counts.warnings)
    if every > 1:
        notes.append(f"{len(views)} of {count} frames are taken, one in {every}: --frames says how many at most")
    return DepthClip(views, [t_s for *_, t_s, _ in frames], f"the frames of {path}"), notes


def _flips(frames: list[DepthFrame]) -> int:
    """How often somebody looks the other way from one frame to the next."""
    ways = np.stack([frame.body.placement.rotation @ _AHEAD for frame in frames])
    return int((np.vecdot(ways[1:], ways[:-1]) < _TURNED).sum())


def _written(
    decoder: BodyDecoder, frames: list[DepthFrame], clip: DepthClip, out: Path, facts: dict[str, Any]
) -> list[Path]:
    of_frames = [{"t_s": frame.t_s, "point_to_mesh_mean_mm": 1e3 * frame.mean_m} for frame in frames]
    codes = {
        "shape": frames[0].body.codes.shape,
        "pose": np.stack([frame.body.codes.pose for frame in frames]),
        "data_from_body": np.stack([frame.body.placement.matrix for frame in frames]),
        "t_s": np.array([frame.t_s for frame in frames]),
    }
    paths = [*write_fit(out, decoder, codes, {**facts, "of_frames": of_frames}), out / "frames.png"]
    some = np.unique(np.linspace(0, len(frames) - 1, _SHOWN).round().astype(int))
    none = np.zeros((0, 3), np.int32)
    write_error_sheet(
        paths[-1],
        [Mesh(frames[n].body.vertices, decoder.space.faces) for n in some],
        [Mesh(clip.views[n].points, none) for n in some],
        [frames[n].distances_m for n in some],
        [f"{frames[n].t_s:.1f} s: {1e3 * frames[n].mean_m:.1f} mm" for n in some],
        _FROM_CAMERA_RAD,
    )
    return paths
