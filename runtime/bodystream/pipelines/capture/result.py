"""What live capture gives for each frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import warp as wp

from bodystream.errors import NotReadyError
from bodystream.fusion import Surface
from bodystream.tracking import SolveSummary
from bodystream.types import Foreground, Mesh, RgbdFrame, Status

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
        make_mesh: of a session's `push`, what `mesh` asks; else None.
    """

    frame: RgbdFrame
    foreground: Foreground
    status: Status
    reason: str
    solve: SolveSummary | None
    surface: Surface | None
    nodes: int
    vertices: int
    make_mesh: Callable[[], Mesh] | None = field(default=None, repr=False, compare=False)

    def mesh(self) -> Mesh:
        """The surface in the pose of this frame, in the camera's frame [m]: `vertices, faces = result.mesh()`.

        Raises:
            NotReadyError: there is no surface yet; the session has gone on to another frame; or the result came to a
                listener or sink, which may be late: `CaptureSession.live_mesh` gives the newest surface at any time.
        """
        if self.make_mesh is None:
            raise NotReadyError(
                f"frame {self.frame.label}: only a result that push returned has a surface: call live_mesh() of the "
                "session for the newest"
            )
        return self.make_mesh()
