"""One person for all of a marker sequence, and the files that tell of it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.alignment import upright
from bodystream.body.fitting.marker_places import (
    STAND_OFF_M,
    MarkedLabels,
    MarkerPlaces,
    labels_of_map,
    plain_label,
    usual_labels,
)
from bodystream.body.fitting.markers import FEWEST_MARKERS, MarkerFit, MarkerFrame
from bodystream.errors import InputError
from bodystream.files import prepare_folder, read_text_bounded
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.pipelines.fit.written import write_fit
from bodystream.sinks.marker_sheet import write_marker_sheet
from bodystream.sources.c3d import MarkerSequence, read_c3d
from bodystream.types import Array

__all__ = ["fit_markers"]

_MAX_MAP = 1 << 20
_SHOWN = 6
_SEEMS_WRONG_M = 0.025
_ALONG = 0.7
"""Cosine between an axis and the people's mean up within which it is up."""


def fit_markers(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
    """One person for all of a sequence: the shape of some frames together, a pose and a placement for each."""
    began = time.perf_counter()
    prepare_folder(options.out, "--out")
    decoder.open_gradient()
    sequence = read_c3d(path, options.unit)
    notes = list(sequence.notes)
    chosen, marked, unused = _known(decoder, sequence, options.markers, str(path), notes)
    every = max(1, -(-len(sequence.points_m) // options.most_frames))
    points = sequence.points_m[::every][:, list(chosen.values())]
    t_s = sequence.t_s[::every]
    seen = np.isfinite(points).all(axis=2).sum(axis=1)
    if (few := int((seen < FEWEST_MARKERS).sum())) and few < len(points):
        numbers = every * np.flatnonzero(seen < FEWEST_MARKERS) + sequence.first_frame
        notes.append(
            f"{few} of {len(points)} frames are left out, with fewer than {FEWEST_MARKERS} known markers: "
            f"{_some([str(number) for number in numbers])}"
        )
    fit = MarkerFit(decoder, MarkerPlaces(decoder, marked, list(chosen)), str(path))
    shape = fit.shape(points)
    frames = []
    for frame in fit.frames(points, t_s, shape):
        mean = 1e3 * float(np.nanmean(frame.distances_m))
        options.progress(f"frame at {t_s[frame.number]:.2f} s: {mean:.1f} mm from the markers")
        frames.append(frame)
    frames.sort(key=lambda frame: frame.number)
    distances = np.concatenate([frame.distances_m for frame in frames])
    mean_m = float(np.nanmean(distances))
    if mean_m > _SEEMS_WRONG_M:
        notes.append(f"markers are {1e3 * mean_m:.0f} mm from the body on average, which is much: look at markers.png")
    facts: dict[str, Any] = {
        "marker_mean_mm": 1e3 * mean_m,
        "frames": len(frames),
        "seconds": time.perf_counter() - began,
        "labels_used": list(chosen),
        "labels_unused": unused,
    }
    up = options.up or _up(frames)
    paths = _write(decoder, fit, frames, t_s, sequence, up, options.out, {**facts, "unit": sequence.unit, "up": up})
    _draw(paths[-1], decoder, frames, points, t_s, up)
    told = f"markers {1e3 * mean_m:.1f} mm from the body on average in {len(frames)} frames, after"
    return FitReport(paths, facts, notes, f"{told} {facts['seconds']:.1f} s")


def _known(
    decoder: BodyDecoder, sequence: MarkerSequence, given: Path | None, where: str, notes: list[str]
) -> tuple[dict[str, int], MarkedLabels, list[str]]:
    """Columns of the labels that have a place and are seen, what these places are, and labels that have none.

    Of several subjects, whose names stand before the labels' colons, that one is taken of whom most is seen.

    Raises:
        InputError: hardly a label has a place.
    """
    plain = [plain_label(label) for label in sequence.labels]
    marked = usual_labels(decoder, plain) if given is None else labels_of_map(_map(given), decoder, str(given))
    visible = np.isfinite(sequence.points_m).all(axis=2).sum(axis=0)
    subjects: dict[str, dict[str, int]] = {}
    for column, (label, whole) in enumerate(zip(plain, sequence.labels, strict=True)):
        if (label in marked.vertices or label in marked.joints) and visible[column]:
            of_one = subjects.setdefault(whole.rpartition(":")[0], {})
            if label not in of_one or visible[column] > visible[of_one[label]]:
                of_one[label] = column
    sizes = {name: int(sum(visible[column] for column in of_one.values())) for name, of_one in subjects.items()}
    subject = max(sizes, key=lambda name: sizes[name], default="")
    chosen = subjects.get(subject, {})
    if len(subjects) > 1:
        notes.append(f"there are markers of {_some([repr(name) for name in subjects])}; {subject!r} is fitted")
    own = [(label, whole) for label, whole in zip(plain, sequence.labels, strict=True) if label and label[0] != "*"]
    unused = sorted({whole for label, whole in own if not (label in chosen and whole.rpartition(":")[0] == subject)})
    if len(chosen) < FEWEST_MARKERS:
        empty = "" if visible.any() else ", and no marker is seen in any frame"
        raise InputError(
            f"{where}: {len(chosen)} of its labels have a place and are seen, at least {FEWEST_MARKERS} are needed"
            f"{empty}; its labels are {_some(sorted({label for label, _ in own})) or 'none'}: give --markers MAP.json, "
            'as {"LFHD": 1234, "LWRIST": "left_wrist"}'
        )
    for label in sorted({*marked.vertices, *marked.joints} - set(plain)) if given is not None else ():
        notes.append(f"{given}: there is no label {label!r} in {where}")
    return chosen, marked, unused


def _map(path: Path) -> Any:
    try:
        return json.loads(read_text_bounded(path, _MAX_MAP))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a map of markers (JSON): {error}") from error


def _some(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def _up(frames: Sequence[MarkerFrame]) -> str:
    """The axis along which people stand, that of most C3D files where they lie."""
    mean = np.mean([frame.placement.rotation[:, 1] for frame in frames], axis=0)
    axis = int(np.abs(mean).argmax())
    if abs(mean[axis]) < _ALONG:
        return "z"
    return ("" if mean[axis] > 0.0 else "-") + "xyz"[axis]


def _write(
    decoder: BodyDecoder, fit: MarkerFit, frames: Sequence[MarkerFrame], t_s: Array, sequence: MarkerSequence, up: str,
    out: Path, facts: dict[str, Any],
) -> list[Path]:  # fmt: skip
    turn = np.eye(4)
    turn[:3, :3] = upright(up)
    kept = {
        "shape": frames[0].codes.shape,
        "pose": np.stack([frame.codes.pose for frame in frames]),
        "data_from_body": np.stack([frame.placement.matrix for frame in frames]),
        "t_s": np.array([t_s[frame.number] for frame in frames]),
        "upright_from_data": turn,
    }
    places = fit.places
    told = {
        **facts, "rate_hz": sequence.rate_hz, "stand_off_mm": 1e3 * STAND_OFF_M,
        "vertices": {label: int(at) for label, at in zip(places.labels, places.at, strict=True) if at >= 0},
        "mean_mm_of_label": _means(places.labels, frames), "shape": kept["shape"].tolist(),
    }  # fmt: skip
    return [*write_fit(out, decoder, kept, told), out / "markers.png"]


def _means(labels: Sequence[str], frames: Sequence[MarkerFrame]) -> dict[str, float | None]:
    """Of each label its mean distance [mm], None where no fitted frame has it."""
    every = np.stack([frame.distances_m for frame in frames])
    seen = np.isfinite(every)
    sums = np.where(seen, every, 0.0).sum(axis=0)
    return {
        label: 1e3 * float(total / count) if count else None
        for label, total, count in zip(labels, sums, seen.sum(axis=0), strict=True)
    }


def _draw(
    path: Path, decoder: BodyDecoder, frames: Sequence[MarkerFrame], points: Array, t_s: Array, up: str
) -> None:  # fmt: skip
    turn = upright(up)
    chosen = [frames[n] for n in np.unique(np.linspace(0, len(frames) - 1, _SHOWN).round().astype(int))]
    bodies = [
        frame.placement.applied(decoder.vertices(frame.codes.shape, frame.codes.pose)) @ turn.T for frame in chosen
    ]
    ahead = [-(turn @ frame.placement.rotation[:, 2]) for frame in chosen]
    write_marker_sheet(
        path, bodies, decoder.space.faces,
        [points[frame.number] @ turn.T for frame in chosen], [frame.distances_m for frame in chosen],
        [float(np.arctan2(way[0], way[2])) + np.pi for way in ahead],
        [f"{t_s[frame.number]:.2f} s, {1e3 * np.nanmean(frame.distances_m):.1f} mm" for frame in chosen],
    )  # fmt: skip
