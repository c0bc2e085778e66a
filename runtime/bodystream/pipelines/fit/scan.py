"""One body for one scan, and the files that tell of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bodystream.body import STAGES, BodyDecoder, register, target_of_mesh, target_of_points
from bodystream.body.alignment import upright
from bodystream.body.fitting import (
    FittedBody,
    KnownPlaces,
    Placement,
    ScanPoints,
    Start,
    fit_surface,
    fit_vertices,
    landmarks_of,
    scan_points,
)
from bodystream.body.nearest import BodySurface
from bodystream.errors import InputError
from bodystream.files import prepare_folder, read_text_bounded
from bodystream.pipelines.fit.options import FitOptions, FitReport
from bodystream.pipelines.fit.written import write_fit
from bodystream.sinks.error_map import write_error_map
from bodystream.sinks.mesh_files import write_mesh
from bodystream.sources.scans import read_scan
from bodystream.types import Array, Mesh

__all__ = ["fit_scan"]

_MAX_LANDMARKS = 1 << 20
_SEEMS_WRONG_M = 0.015
_STAGES = STAGES[2:]
"""A fitted body is near."""
_AHEAD = np.array([0.0, 0.0, -1.0])


def fit_scan(decoder: BodyDecoder, path: Path, options: FitOptions) -> FitReport:
    """One body for one scan."""
    prepare_folder(options.out, "--out")
    decoder.open_gradient()
    where = str(path)
    turn = upright(options.up or "y")  # it is looked at with y up, and all that is written stands as the scan does
    given = read_scan(path)
    normals = None if given.normals is None else given.normals @ turn.T
    points = scan_points(Mesh(given.vertices @ turn.T, given.faces, normals), where)
    landmarks = None
    if options.landmarks is not None:
        marked = landmarks_of(_landmarks(options.landmarks), decoder, points.points @ turn, str(options.landmarks))
        landmarks = KnownPlaces(marked.weights, marked.points @ turn.T, marked.names)
    found = fit_surface(decoder, points, landmarks, where=where)
    registered: Array | None = None
    if options.register:
        options.progress("registering: each vertex is laid on the scan")
        registered = _registered(decoder, found, points, where)
        better = _better(decoder, found, registered, points, landmarks, where)
        if better.vertices is not found.vertices:
            again = _registered(decoder, better, points, where)
            registered = min(registered, again, key=lambda one: _mean_m(decoder, one, points))
        found = better
    notes = list(points.notes)
    if found.point_to_mesh_mean_m > _SEEMS_WRONG_M:
        notes.append(
            f"the body is {1e3 * found.point_to_mesh_mean_m:.0f} mm from the scan on average, which is much "
            "for a person without wide clothes: look at error.png, and give --landmarks where a limb is wrong"
        )
    facts: dict[str, Any] = {
        "point_to_mesh_mean_mm": 1e3 * found.point_to_mesh_mean_m,
        "seconds": found.seconds,
        "evaluations": found.evaluations,
        "points": len(found.distances_m),
    }
    written = []
    if registered is not None:
        facts["registered_mean_mm"] = 1e3 * _mean_m(decoder, registered, points)
        write_mesh(options.out / "registered.ply", Mesh(registered @ turn, decoder.space.faces))
        written.append(options.out / "registered.ply")
    elif (options.out / "registered.ply").is_file():
        (options.out / "registered.ply").unlink()
        notes.append("registered.ply of an earlier fit is taken away: this one has none")
    shown = Mesh(points.points, points.faces)
    _write_picture(decoder, found, shown, options.out / "error.png", facts)
    rotation, translation = turn.T @ found.placement.rotation, turn.T @ found.placement.translation
    body = replace(found, placement=Placement(rotation, translation), vertices=found.vertices @ turn)
    return FitReport(
        [*_write_body(decoder, body, options.out, facts), options.out / "error.png", *written], facts, notes
    )


def _registered(decoder: BodyDecoder, found: FittedBody, points: ScanPoints, where: str) -> Array:
    """(V, 3) vertices of a fitted body that were laid on its scan [m]."""
    if len(points.faces):
        target = target_of_mesh(Mesh(points.points, points.faces), where)
    else:
        target = target_of_points(points.chosen, points.normals, where)
    start = Mesh(found.vertices, decoder.space.faces)
    return register(start, target, rest=decoder.vertices(found.codes.shape), stages=_STAGES).vertices


def _mean_m(decoder: BodyDecoder, vertices: Array, points: ScanPoints) -> float:
    """Mean distance of a scan's points from a mesh of the body's topology [m]."""
    return float(BodySurface(vertices, decoder.space.faces).distances(points.points).mean())


def _better(
    decoder: BodyDecoder, found: FittedBody, registered: Array, points: ScanPoints, landmarks: KnownPlaces | None,
    where: str,
) -> FittedBody:  # fmt: skip
    """The fit that begins with the body nearest to a registered mesh, or the first one where that is better.

    Vertex by vertex codes find what distances to a surface do not show: an arm that is turned about itself, a foot that
    lies in the heel.
    """
    nearest = fit_vertices(decoder, registered, found.codes, where=where)
    start = Start(nearest.codes, nearest.placement, nearest.point_to_mesh_mean_m)
    again = fit_surface(decoder, points, landmarks, start=start, near=True, where=where)
    best = min(found, again, key=lambda one: one.point_to_mesh_mean_m)
    made = found.evaluations + nearest.evaluations + again.evaluations
    return replace(best, evaluations=made, seconds=found.seconds + nearest.seconds + again.seconds)


def _write_body(decoder: BodyDecoder, found: FittedBody, out: Path, facts: dict[str, Any]) -> list[Path]:
    codes = {"shape": found.codes.shape, "pose": found.codes.pose, "data_from_body": found.placement.matrix}
    written = write_fit(out, decoder, codes, {**facts, **{name: array.tolist() for name, array in codes.items()}})
    write_mesh(out / "body.ply", Mesh(found.vertices, decoder.space.faces))
    return [*written, out / "body.ply"]


def _write_picture(decoder: BodyDecoder, found: FittedBody, scan: Mesh, path: Path, facts: dict[str, Any]) -> None:
    ahead = found.placement.rotation @ _AHEAD
    label = f"body, {facts['point_to_mesh_mean_mm']:.1f} mm from the scan on average"
    yaw = float(np.arctan2(ahead[0], ahead[2])) + np.pi
    write_error_map(path, Mesh(found.vertices, decoder.space.faces), scan, found.distances_m, yaw, label)


def _landmarks(path: Path) -> dict[str, Any]:
    try:
        return json.loads(read_text_bounded(path, _MAX_LANDMARKS))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a file of landmarks (JSON): {error}") from error
