"""Pictures of the worst frame of each take: what the camera saw, the true surface, the model coloured by its error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import warp as wp

from bodystream.errors import InputError
from bodystream.evaluation.capture.scoring import FrameScore, FrameScorer
from bodystream.evaluation.surface import QualityMeter
from bodystream.files import atomic_path, prepare_folder
from bodystream.pipelines.capture.result import LiveSurface
from bodystream.types import Array, CameraIntrinsics, Mesh, RgbdFrame

__all__ = ["Pictures", "WorstFrame"]

_BAR_M = 0.05
_BAR_PX, _TITLE_PX = 56, 24
_MARGIN_PX = 16
_INK, _PAPER = (235, 235, 235), 24
_SHEET_COLUMNS = 3


@dataclass(slots=True)
class WorstFrame:
    """The frame of a take with the largest mean error so far, with its model."""

    frame: RgbdFrame | None = None
    mesh: Mesh | None = None
    score: FrameScore | None = None

    def look(self, frame: RgbdFrame, mesh: Mesh | None, score: FrameScore) -> None:
        """Keep the frame if it is worse than what was kept; those without a model are not."""
        if mesh is not None and score.vertices and (self.score is None or score.mean_m > self.score.mean_m):
            self.frame, self.mesh, self.score = frame, mesh, score


class Pictures:
    """Writes one picture per take, and one of all.

    Args:
        folder: is made.

    Raises:
        InputError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, device: wp.Device) -> None:
        prepare_folder(folder, "pictures")
        self._folder, self._device = folder, device
        self._drawn: list[Array] = []

    def add(self, name: str, worst: WorstFrame) -> Path | None:
        """Draw the worst frame of a take as NAME.png; None where no frame had a model."""
        if worst.frame is None or worst.mesh is None or worst.score is None:
            return None
        picture = draw(name, worst.frame, worst.mesh, worst.score, self._device)
        self._drawn.append(picture)
        return _write(self._folder / f"{name}.png", picture)

    def finish(self) -> Path | None:
        """Write all pictures side by side as contact_sheet.png; None where there is none."""
        if not self._drawn:
            return None
        height, width = (max(p.shape[axis] for p in self._drawn) for axis in (0, 1))
        cells = [_padded(p, height, width) for p in self._drawn]
        columns = min(_SHEET_COLUMNS, len(cells))
        while len(cells) % columns:
            cells.append(np.full((height, width, 3), _PAPER, np.uint8))
        rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
        return _write(self._folder / "contact_sheet.png", np.concatenate(rows))


def draw(name: str, frame: RgbdFrame, mesh: Mesh, score: FrameScore, device: wp.Device) -> Array:
    """(H, W, 3) uint8 RGB: colour, true surface, and live model from blue (right) to red (50 mm off and more)."""
    truth = frame.truth
    if truth is None or frame.colour is None:
        raise InputError(f"{frame.label}: only a frame with colour and truth can be drawn beside its model")
    k = frame.intrinsics
    error_m = FrameScorer(k, device).vertex_errors_m(mesh.vertices, truth)
    error_m = np.where(np.isfinite(error_m), error_m, _BAR_M)
    model, seen = _shaded(mesh, k, device, _heat(error_m[mesh.faces].mean(axis=1)))
    true, _ = _shaded(truth.mesh, k, device, np.full((len(truth.mesh.faces), 3), 200.0))
    rows, columns = _around(seen | truth.mask)
    panels = np.concatenate([image[rows, columns] for image in (frame.colour, true, model)], axis=1)
    panels = np.concatenate([panels, _bar(panels.shape[0])], axis=1)
    title = np.full((_TITLE_PX, panels.shape[1], 3), _PAPER, np.uint8)
    text = f"{name} #{score.index}: {1e3 * score.mean_m:.1f} mm, p95 {1e3 * score.p95_m:.0f} mm, {score.status}"
    cv2.putText(title, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return np.concatenate([title, panels])


def _shaded(mesh: Mesh, k: CameraIntrinsics, device: wp.Device, colours: Array) -> tuple[Array, Array]:
    """(H, W, 3) uint8 picture of a mesh whose (F, 3) faces have these colours, and (H, W) bool where it is."""
    vertices = np.ascontiguousarray(mesh.vertices, np.float32)
    points = wp.array(vertices, dtype=wp.vec3, device=device)
    faces = wp.array(np.ascontiguousarray(mesh.faces, np.int32), dtype=wp.vec3i, device=device)
    meter = QualityMeter(k, device)
    meter.render(LiveSurface(points, points, faces, len(vertices), len(mesh.faces)))
    face = meter.faces_seen()
    a, b, c = (vertices[mesh.faces[:, corner]] for corner in range(3))
    normals = np.cross(b - a, c - a) if mesh.normals is None else mesh.normals[mesh.faces].sum(axis=1)
    centres = (a + b + c) / 3.0
    lengths = np.linalg.norm(normals, axis=1) * np.linalg.norm(centres, axis=1)
    facing = np.abs((normals * centres).sum(axis=1)) / np.maximum(lengths, 1e-12)
    lit = np.clip(colours * (0.25 + 0.75 * facing)[:, None], 0, 255).astype(np.uint8)
    picture = np.full((*face.shape, 3), _PAPER, np.uint8)
    picture[face >= 0] = lit[face[face >= 0]]
    return picture, face >= 0


def _heat(error_m: Array) -> Array:
    """(N, 3) float colours of (N,) errors."""
    levels = np.clip(255.0 * error_m / _BAR_M, 0, 255).astype(np.uint8)
    return cv2.applyColorMap(levels.reshape(-1, 1), cv2.COLORMAP_TURBO)[:, 0, ::-1].astype(np.float64)


def _bar(height: int) -> Array:
    """The colours of 0 to 50 mm, from the bottom to the top."""
    bar = np.full((height, _BAR_PX, 3), _PAPER, np.uint8)
    span = slice(_MARGIN_PX, height - _MARGIN_PX)
    count = span.stop - span.start
    bar[span, 6:20] = _heat(np.linspace(_BAR_M, 0.0, count))[:, None]
    for part, text in ((0.0, "0"), (0.5, "25"), (1.0, "50mm")):
        row = span.stop - round(part * count) + 4
        cv2.putText(bar, text, (22, row), cv2.FONT_HERSHEY_SIMPLEX, 0.35, _INK, 1, cv2.LINE_AA)
    return bar


def _around(mask: Array) -> tuple[slice, slice]:
    """Rows and columns of what is set, with a margin; everything where nothing is."""
    spans = []
    for axis in (1, 0):
        at = np.flatnonzero(mask.any(axis=axis))
        low, high = (at[0], at[-1] + 1) if len(at) else (0, mask.shape[1 - axis])
        spans.append(slice(max(0, int(low) - _MARGIN_PX), min(mask.shape[1 - axis], int(high) + _MARGIN_PX)))
    return spans[0], spans[1]


def _padded(picture: Array, height: int, width: int) -> Array:
    out = np.full((height, width, 3), _PAPER, np.uint8)
    out[: picture.shape[0], : picture.shape[1]] = picture
    return out


def _write(path: Path, picture: Array) -> Path:
    ok, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    if not ok:
        raise InputError(f"{path}: the picture could not be encoded")
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return path
