"""One body for one scan, and the files that tell of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import BodyDecoder
from bodystream.body.fitting import FittedBody, fit_surface, landmarks_of, scan_points
from bodystream.errors import InputError
from bodystream.files import atomic_path, prepare_folder, read_text_bounded
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.sinks.error_map import write_error_map
from bodystream.sinks.mesh_files import write_mesh
from bodystream.sources.scans import read_scan
from bodystream.types import Mesh

__all__ = ["fit_scan", "write_body"]

_MAX_LANDMARKS = 1 << 20
_SEEMS_WRONG_M = 0.015
_AHEAD = np.array([0.0, 0.0, -1.0])


def fit_scan(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
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
    return FitReport(write_body(decoder, found, shown, options.out, facts), facts, notes)


def write_body(decoder: BodyDecoder, found: FittedBody, scan: Mesh, out: Path, facts: dict[str, Any]) -> list[Path]:
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
