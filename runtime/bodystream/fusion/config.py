"""What fusion may be told."""

from __future__ import annotations

from dataclasses import dataclass

from bodystream.errors import ConfigurationError

__all__ = ["BLOCK_EDGE", "FusionConfig"]

BLOCK_EDGE = 8
"""Voxels along the edge of a block."""


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """The canonical volume and how frames enter it.

    Attributes:
        voxel_m: edge of a voxel [m].
        truncation_m: signed distances are kept within +- this [m]; two voxels to half a block.
        max_weight: observations that the running average remembers.
        min_weight: summed weight from which a voxel may carry surface; frontal views add about 1 each.
        min_corners: known corners of a cell that may carry surface; with 8, a surface ends a cell before its border.
        near_m, far_m: range of depth that is used [m].
        edge_px: pixels nearer than this to the mask's border or to a depth jump are not fused.
        min_cosine: views more oblique than this are not fused.
        carve_rate, carve_share: weight that a surface voxel loses when a frame sees through it, and the share of the
            rest: the longest remembered surface is gone in a third of a second.
        silhouette_px: background this close to the mask says nothing: tracking errs most there.
        surface_tolerance_m: a block is extracted again once a voxel near its surface moved by this [m].
        settled_m, settled_weight: a voxel that goes farther than this in a frame, or has less weight, has moved [m].
        restless_share: blocks, and slices of them, where moved voxels took less of a frame's weight are settled.
        settled_every: what is settled is updated in every n-th frame only.
        min_component_vertices: smaller separate pieces of surface are left out as noise; 0 = nothing is left out.
        min_component_share: and those with less than this share of the vertices of the largest piece.
        longest_edge_m: faces that have become longer than this join what is apart, and are left out.
        torn_edge_m: and where they have become longer than this, the voxels around them are forgotten.
        anchor_budget: cached anchors that are refreshed per frame after the graph grew.
        allocate_every: blocks are allocated for a quarter of the image in every n-th frame.
        block_capacity: blocks that fit before the buffers are doubled.
        max_blocks: no more are allocated; what would need them is counted as refused.
    """

    voxel_m: float = 0.008
    truncation_m: float = 0.03
    max_weight: float = 64.0
    min_weight: float = 1.5
    min_corners: int = 4
    near_m: float = 0.2
    far_m: float = 6.0
    edge_px: int = 2
    min_cosine: float = 0.2
    carve_rate: float = 1.0
    carve_share: float = 0.4
    silhouette_px: int = 6
    surface_tolerance_m: float = 0.0005
    settled_m: float = 0.0005
    settled_weight: float = 4.0
    restless_share: float = 0.25
    settled_every: int = 2
    min_component_vertices: int = 60
    min_component_share: float = 0.01
    longest_edge_m: float = 0.035
    torn_edge_m: float = 0.05
    anchor_budget: int = 2048
    allocate_every: int = 2
    block_capacity: int = 1024
    max_blocks: int = 32768

    def __post_init__(self) -> None:
        block_m = BLOCK_EDGE * self.voxel_m
        checks = [
            (self.voxel_m > 0, f"voxel_m must be positive, got {self.voxel_m}"),
            (
                2 * self.voxel_m <= self.truncation_m <= 0.5 * block_m,
                f"truncation_m must be from 2 to {BLOCK_EDGE // 2} voxels ({2 * self.voxel_m:.4g} to "
                f"{0.5 * block_m:.4g} m), got {self.truncation_m}",
            ),
            (self.max_weight >= 1, f"max_weight must be at least 1, got {self.max_weight}"),
            (
                0 < self.min_weight <= self.max_weight,
                f"min_weight must lie in (0, max_weight], got {self.min_weight}",
            ),
            (4 <= self.min_corners <= 8, f"min_corners must be from 4 to 8, got {self.min_corners}"),
            (0 < self.near_m < self.far_m, f"need 0 < near_m < far_m, got {self.near_m} and {self.far_m}"),
            (self.edge_px >= 1, f"edge_px must be at least 1, got {self.edge_px}"),
            (0 < self.min_cosine < 1, f"min_cosine must lie in (0, 1), got {self.min_cosine}"),
            (self.carve_rate >= 0, f"carve_rate must not be negative, got {self.carve_rate}"),
            (0 <= self.carve_share < 1, f"carve_share must lie in [0, 1), got {self.carve_share}"),
            (self.silhouette_px >= 0, f"silhouette_px must not be negative, got {self.silhouette_px}"),
            (
                self.surface_tolerance_m >= 0,
                f"surface_tolerance_m must not be negative, got {self.surface_tolerance_m}",
            ),
            (self.settled_m >= 0, f"settled_m must not be negative, got {self.settled_m}"),
            (0 <= self.restless_share <= 1, f"restless_share must lie in [0, 1], got {self.restless_share}"),
            (
                0 <= self.min_component_share <= 1,
                f"min_component_share must lie in [0, 1], got {self.min_component_share}",
            ),
            (self.settled_every >= 1, f"settled_every must be at least 1, got {self.settled_every}"),
            (
                self.longest_edge_m >= 2 * self.voxel_m,
                f"longest_edge_m must be at least two voxels ({2 * self.voxel_m:g} m), got {self.longest_edge_m}",
            ),
            (
                self.torn_edge_m >= self.longest_edge_m,
                f"torn_edge_m must be at least longest_edge_m ({self.longest_edge_m:g} m), got {self.torn_edge_m}",
            ),
            (self.allocate_every >= 1, f"allocate_every must be at least 1, got {self.allocate_every}"),
            (self.anchor_budget >= 1, f"anchor_budget must be at least 1, got {self.anchor_budget}"),
            (
                1 <= self.block_capacity <= self.max_blocks,
                f"block_capacity must lie in [1, max_blocks], got {self.block_capacity} of {self.max_blocks}",
            ),
        ]
        for good, message in checks:
            if not good:
                raise ConfigurationError(f"fusion: {message}")

    @property
    def block_m(self) -> float:
        """Edge of a block [m]."""
        return BLOCK_EDGE * self.voxel_m
