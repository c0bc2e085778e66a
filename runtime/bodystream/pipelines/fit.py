"""Fits of the body embedding to what users have: what a target is, and the files that come of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.fitting import FittedBody, fit_surface, landmarks_of, scan_points
from bodystream.errors import ConfigurationError, InputError
from bodystream.files import atomic_path, prepare_folder, read_text_bounded
from bodystream.sinks.error_map import write_error_map
from bodystream.sinks.mesh_files import write_mesh
from bodystream.sources.scans import read_scan
from bodystream.types import Mesh

__all__ = ["KINDS", "FitOptions", "FitReport", "fit_target"]

_MAX_LANDMARKS = 1 << 20
_SEEMS_WRONG_M = 0.015


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a fit is given beside its target.

    Attributes:
        out: folder for its files. landmarks: file of landmarks, or None.
    """

    out: Path
    landmarks: Path | None = None


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
    ahead = found.placement.rotation @ np.array([0.0, 0.0, -1.0])
    label = f"body, {facts['point_to_mesh_mean_mm']:.1f} mm from the scan on average"
    yaw = float(np.arctan2(ahead[0], ahead[2])) + np.pi
    write_error_map(paths[3], body, scan, found.distances_m, yaw, label)
    return paths


def _landmarks(path: Path) -> dict[str, Any]:
    try:
        return json.loads(read_text_bounded(path, _MAX_LANDMARKS))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a file of landmarks (JSON): {error}") from error


KINDS: dict[str, Callable[[BodyDecoder, Path, FitOptions], FitReport]] = {"scan": _fit_scan}
"""Of targets, by the word before the colon; what each makes of a path."""
