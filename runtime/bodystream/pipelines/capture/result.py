"""What live capture gives for each frame."""

from __future__ import annotations

from dataclasses import dataclass

import warp as wp

from bodystream.fusion import Surface
from bodystream.tracking import SolveSummary
from bodystream.types import Foreground, RgbdFrame, Status

__all__ = ["CaptureResult", "LiveSurface"]


@dataclass(frozen=True, slots=True)
class LiveSurface:
    """The canonical surface moved to the camera's frame; device arrays, valid until the next step.

    Attributes:
        vertices, normals: vec3 [m]. faces: vec3i.
    """

    vertices: wp.array
    normals: wp.array
    faces: wp.array
    vertex_count: int
    face_count: int


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What one frame gave.

    Attributes:
        frame: the input, with its timestamp. foreground: its mask.
        status, reason: how tracking fared; on LOST the model keeps its last pose and nothing is fused.
        solve: summary of the solver, None on the first frame and where nothing could be matched.
        surface: the canonical surface, its device arrays valid until the next step; None before the first frame.
        nodes, vertices: sizes of graph and surface.
    """

    frame: RgbdFrame
    foreground: Foreground
    status: Status
    reason: str
    solve: SolveSummary | None
    surface: Surface | None
    nodes: int
    vertices: int
