"""One person in a depth recording: who it is, and how they stand in each frame."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.fitting import DepthFrame, DepthView, depth_view, fit_depth_sequence
from bodystream.bundles import load_npz
from bodystream.errors import InputError
from bodystream.files import prepare_folder
from bodystream.foreground import ForegroundConfig, ForegroundSegmenter, largest_body
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.pipelines.fit.written import write_fit
from bodystream.sinks.error_map import write_error_sheet
from bodystream.sources.open import open_source
from bodystream.types import Array, Mesh

__all__ = ["fit_depth"]

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
    decoder.open_gradient()
    shape = None if options.shape is None else _shape(options.shape, decoder)
    views, t_s, notes = _views(path, options)
    frames = fit_depth_sequence(decoder, views, t_s, shape, progress=options.progress, where=f"the frames of {path}")
    means_mm = [1e3 * frame.mean_m for frame in frames]
    facts: dict[str, Any] = {
        "point_to_mesh_mean_mm": float(np.mean(means_mm)),
        "worst_frame_mm": float(np.max(means_mm)),
        "flips": _flips(frames),
        "frames": len(frames),
        "seconds": time.perf_counter() - began,
    }
    return FitReport(_written(decoder, frames, views, options.out, facts), facts, notes)


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


def _views(path: Path, options: FitOptions) -> tuple[list[DepthView], list[float], list[str]]:
    """What a fit sees of the frames, of which --frames at most are taken, their times and what the reader told."""
    source = open_source(f"folder:{path}" if path.suffix.lower() != ".mcap" else f"take:{path}", "cpu")
    frames, count, every, begin_ns = [], 0, 1, None
    segmenter: ForegroundSegmenter | None = None
    try:
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
    return views, [t_s for *_, t_s, _ in frames], notes


def _flips(frames: list[DepthFrame]) -> int:
    """How often somebody looks the other way from one frame to the next."""
    ways = np.stack([frame.body.placement.rotation @ _AHEAD for frame in frames])
    return int((np.vecdot(ways[1:], ways[:-1]) < _TURNED).sum())


def _written(
    decoder: BodyDecoder, frames: list[DepthFrame], views: list[DepthView], out: Path, facts: dict[str, Any]
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
        [Mesh(views[n].points, none) for n in some],
        [frames[n].distances_m for n in some],
        [f"{frames[n].t_s:.1f} s: {1e3 * frames[n].mean_m:.1f} mm" for n in some],
        _FROM_CAMERA_RAD,
    )
    return paths
