"""The body that a synthetic frame shows, as a surface that a tracker follows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from bodystream.tracking import Tracker
from bodystream.types import Array, RgbdFrame
from helpers.pipeline_frames import DEVICE

__all__ = ["TrueSurface", "mask_of"]


def mask_of(frame: RgbdFrame) -> Array:
    assert frame.truth is not None
    return frame.truth.mask & (frame.depth_m > 0)


@dataclass
class TrueSurface:
    """The vertices of the body that the first frame shows, in its pose, anchored in the tracker's graph."""

    ids: Array
    vertices: wp.array
    normals: wp.array
    anchors: wp.array
    weights: wp.array
    vertex_count: int
    version: int = 0
    graph_version: int = -1

    @classmethod
    def of(cls, tracker: Tracker, frame: RgbdFrame) -> TrueSurface:
        assert frame.truth is not None and frame.truth.mesh.normals is not None
        faces = frame.truth.pixel_face[mask_of(frame)]
        ids = np.unique(frame.truth.mesh.faces[faces])
        points, normals = frame.truth.mesh.vertices[ids], frame.truth.mesh.normals[ids]
        surface = cls(
            ids,
            wp.array(points, dtype=wp.vec3, device=DEVICE),
            wp.array(normals, dtype=wp.vec3, device=DEVICE),
            wp.zeros(len(ids), dtype=wp.vec4i, device=DEVICE),
            wp.zeros(len(ids), dtype=wp.vec4, device=DEVICE),
            len(ids),
        )
        surface.anchor(tracker)
        return surface

    def anchor(self, tracker: Tracker) -> None:
        """Anchor it anew where the graph has changed."""
        if tracker.field.version != self.graph_version:
            tracker.field.anchor(self.vertices, self.vertex_count, self.anchors, self.weights)
            self.version, self.graph_version = self.version + 1, tracker.field.version

    def error_m(self, tracker: Tracker, frame: RgbdFrame) -> Array:
        """(V,) distance of each covered vertex to where it truly is in that frame [m]."""
        assert frame.truth is not None
        moved = wp.zeros(self.vertex_count, dtype=wp.vec3, device=DEVICE)
        tracker.field.warp(self.vertices, self.anchors, self.weights, self.vertex_count, moved)
        covered = self.weights.numpy().any(axis=1)
        return np.linalg.norm(moved.numpy() - frame.truth.mesh.vertices[self.ids], axis=1)[covered]
