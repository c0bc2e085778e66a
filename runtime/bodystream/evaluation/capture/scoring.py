"""Figures of a capture against the true surface: of one frame, of a take, of all takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import warp as wp
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bodystream.device import LaunchCache, download
from bodystream.errors import InputError
from bodystream.geometry.camera import back_project
from bodystream.sources.synthetic import TruthSurface, kernels
from bodystream.types import Array, CameraIntrinsics, FrameTruth, Mesh

__all__ = ["FrameScore", "FrameScorer", "OverallScore", "SurfaceFigures", "TakeScore", "overall", "surface_figures"]

WRONG_M = 0.03
WRONG_SHARE = 0.02
"""A frame is wrong when more than this share of its vertices is more than `WRONG_M` off."""
OFF_M = 0.05
MISSING_M = 0.02
_PIXEL_STRIDE = 3
_FAR_M = 0.5


@dataclass(frozen=True, slots=True)
class FrameScore:
    """One frame.

    Attributes:
        index: of the frame. status: what the capture said of it.
        vertices: of the live model, 0 where there is none; the figures that follow are then nan.
        mean_m, p95_m: distance of its vertices to the true posed surface [m].
        off_50mm_share, off_30mm_share: of its vertices, how many are farther than that.
        seen_missing_share: of the true surface that the camera sees, how much has no model within 20 mm.
        node_slip_m: median slip over the true surface of the nodes that are seen, see `SlipMeter`.
    """

    index: int
    status: str
    vertices: int
    mean_m: float
    p95_m: float
    off_50mm_share: float
    off_30mm_share: float
    seen_missing_share: float
    node_slip_m: float = float("nan")

    @property
    def wrong(self) -> bool:
        """In truth; a frame without a model is."""
        return self.vertices == 0 or self.off_30mm_share > WRONG_SHARE

    @property
    def told(self) -> bool:
        """The capture said that something is wrong."""
        return self.vertices == 0 or self.status != "tracked"


class FrameScorer:
    """Measures live models against the truth; keeps the hierarchies of the true surface from frame to frame."""

    def __init__(self, intrinsics: CameraIntrinsics, device: wp.Device) -> None:
        self._intrinsics, self._device = intrinsics, device
        self._truth = TruthSurface(device)
        self._launch = LaunchCache(device)

    def vertex_errors_m(self, vertices: Array, truth: FrameTruth) -> Array:
        """(V,) distances of (V, 3) live vertices to the true posed surface, at most 0.5 m."""
        return self._truth.distance_m(vertices, truth, _FAR_M)

    def score(self, index: int, status: str, mesh: Mesh | None, truth: FrameTruth) -> FrameScore:
        """Of one frame.

        Args:
            mesh: the live model in the camera's frame, or None.
        """
        if mesh is None or len(mesh.vertices) == 0:
            nan = float("nan")
            return FrameScore(index, status, 0, nan, nan, nan, nan, 1.0)
        error = self.vertex_errors_m(mesh.vertices, truth)
        error = np.where(np.isfinite(error), error, _FAR_M)
        return FrameScore(
            index,
            status,
            len(mesh.vertices),
            float(error.mean()),
            float(np.percentile(error, 95.0)),
            float((error > OFF_M).mean()),
            float((error > WRONG_M).mean()),
            self._missing_share(mesh, truth),
        )

    def _missing_share(self, mesh: Mesh, truth: FrameTruth) -> float:
        pixels = np.zeros_like(truth.mask)
        pixels[::_PIXEL_STRIDE, ::_PIXEL_STRIDE] = truth.mask[::_PIXEL_STRIDE, ::_PIXEL_STRIDE]
        seen = back_project(truth.depth_m, self._intrinsics)[pixels]
        if len(seen) == 0:
            return 0.0
        if len(mesh.faces) == 0:
            return 1.0
        device = self._device
        vertices = wp.array(np.ascontiguousarray(mesh.vertices, np.float32), dtype=wp.vec3, device=device)
        faces = wp.array(np.ascontiguousarray(mesh.faces, np.int32).reshape(-1), dtype=wp.int32, device=device)
        model = wp.Mesh(vertices, faces)
        points = wp.array(np.ascontiguousarray(seen, np.float32), dtype=wp.vec3, device=device)
        distance = wp.zeros(len(seen), dtype=wp.float32, device=device)
        self._launch(kernels.distance_to_mesh, len(seen), [model.id, points, 2.0 * MISSING_M, distance], min_chunk=512)
        return float((download(distance) > MISSING_M).mean())


@dataclass(frozen=True, slots=True)
class SurfaceFigures:
    """Of a canonical surface: how whole it is.

    Attributes:
        largest_component_share: of its vertices, how many are in the largest connected piece.
        longest_edge_m: [m].
    """

    largest_component_share: float
    longest_edge_m: float


def surface_figures(mesh: Mesh | None) -> SurfaceFigures:
    """Of a mesh; nan where there is none."""
    if mesh is None or len(mesh.faces) == 0:
        return SurfaceFigures(float("nan"), float("nan"))
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    count = len(mesh.vertices)
    links = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    lengths = np.linalg.norm(mesh.vertices[edges[:, 0]] - mesh.vertices[edges[:, 1]], axis=1)
    return SurfaceFigures(float(np.bincount(labels).max() / count), float(lengths.max()))


@dataclass(frozen=True, slots=True)
class OverallScore:
    """Figures of one or several takes; None where they have no value: no frame was wrong, or none was told.

    Attributes:
        frames, fps: frames, and frames per second of the capture alone.
        surface_error_mean_mm, surface_error_p95_mm, off_50mm_share, seen_missing_share: means over the frames that
            have a model, of `FrameScore`'s; `worst_` of the worst frame.
        restarts: how often the model was started anew.
        lost_frames, no_model_frames: frames with status lost; frames without any model.
        wrong_frames, told_frames: in truth wrong, and told by the status.
        wrong_recall, wrong_precision: of wrong frames, how many were told; of told ones, how many are wrong.
        node_slip_mean_mm, node_slip_end_mm: mean over the frames of `FrameScore`'s slip, and over the last tenth of
            each take: a model slides over the person that it fits, which the distance to the surface does not show.
        largest_component_share, longest_edge_m: of the canonical surface at the end; the worst of several takes.
    """

    frames: int
    fps: float
    surface_error_mean_mm: float | None
    surface_error_p95_mm: float | None
    off_50mm_share: float | None
    seen_missing_share: float | None
    worst_surface_error_mean_mm: float | None
    worst_surface_error_p95_mm: float | None
    worst_off_50mm_share: float | None
    restarts: int
    lost_frames: int
    no_model_frames: int
    wrong_frames: int
    told_frames: int
    wrong_recall: float | None
    wrong_precision: float | None
    node_slip_mean_mm: float | None
    node_slip_end_mm: float | None
    largest_component_share: float | None
    longest_edge_m: float | None

    def as_json(self) -> dict[str, object]:
        """Its figures by their names."""
        return asdict(self)


@dataclass(slots=True)
class TakeScore:
    """One take, as far as it went.

    Attributes:
        name, held_out: of the take. frames: of each frame, in order.
        restarts: so far. step_s: time that the capture took [s]. surface: of the canonical surface at the end.
    """

    name: str
    held_out: bool
    frames: list[FrameScore] = field(default_factory=list)
    restarts: int = 0
    step_s: float = 0.0
    surface: SurfaceFigures = SurfaceFigures(float("nan"), float("nan"))

    def figures(self) -> OverallScore:
        """Its figures."""
        return overall([self])

    @property
    def worst(self) -> FrameScore | None:
        """The frame with the largest mean error; None where no frame has a model."""
        have = [frame for frame in self.frames if frame.vertices]
        return max(have, key=lambda frame: frame.mean_m) if have else None

    def no_model(self) -> list[int]:
        """Indices of the frames without a model."""
        return [frame.index for frame in self.frames if frame.vertices == 0]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _known_mean_mm(values_m: Sequence[float]) -> float | None:
    known = [value for value in values_m if np.isfinite(value)]
    return 1e3 * _mean(known) if known else None


def overall(takes: Sequence[TakeScore]) -> OverallScore:
    """The figures of all frames of some takes together.

    Raises:
        InputError: there is no frame.
    """
    frames = [frame for take in takes for frame in take.frames]
    if not frames:
        raise InputError("no frame was captured: there is nothing to score")
    have = [frame for frame in frames if frame.vertices]

    def over(name: str, pick: Callable[[list[float]], float], scale: float = 1.0) -> float | None:
        values = [scale * getattr(frame, name) for frame in have]
        return pick(values) if values else None

    wrong, told = sum(f.wrong for f in frames), sum(f.told for f in frames)
    both = sum(f.wrong and f.told for f in frames)
    slips = [[f.node_slip_m for f in take.frames] for take in takes]
    late = [slip for of_take in slips for slip in of_take[-max(1, len(of_take) // 10) :]]
    step_s = sum(take.step_s for take in takes)
    shares = [t.surface.largest_component_share for t in takes if np.isfinite(t.surface.largest_component_share)]
    edges = [t.surface.longest_edge_m for t in takes if np.isfinite(t.surface.longest_edge_m)]
    return OverallScore(
        frames=len(frames),
        fps=len(frames) / step_s if step_s > 0 else 0.0,
        surface_error_mean_mm=over("mean_m", _mean, 1e3),
        surface_error_p95_mm=over("p95_m", _mean, 1e3),
        off_50mm_share=over("off_50mm_share", _mean),
        seen_missing_share=float(np.mean([frame.seen_missing_share for frame in frames])),
        worst_surface_error_mean_mm=over("mean_m", max, 1e3),
        worst_surface_error_p95_mm=over("p95_m", max, 1e3),
        worst_off_50mm_share=over("off_50mm_share", max),
        restarts=sum(take.restarts for take in takes),
        lost_frames=sum(frame.status == "lost" for frame in frames),
        no_model_frames=len(frames) - len(have),
        wrong_frames=wrong,
        told_frames=told,
        wrong_recall=both / wrong if wrong else None,
        wrong_precision=both / told if told else None,
        node_slip_mean_mm=_known_mean_mm([slip for of_take in slips for slip in of_take]),
        node_slip_end_mm=_known_mean_mm(late),
        largest_component_share=min(shares) if shares else None,
        longest_edge_m=max(edges) if edges else None,
    )
