"""Device buffers of the tracking solver."""

from __future__ import annotations

from typing import Any

import warp as wp

from bodystream.tracking import assembly_kernels, term_kernels

__all__ = ["group_blocks", "match_buffers"]


def match_buffers(capacity: int, device: wp.Device) -> tuple[Any, Any]:
    """`term_kernels.Targets` and `term_kernels.Sums` of so many matches."""
    targets, sums = term_kernels.Targets(), term_kernels.Sums()
    targets.pixels = wp.zeros(capacity, dtype=wp.vec2, device=device)
    targets.depth = wp.zeros(capacity, dtype=float, device=device)
    targets.weight = wp.zeros(capacity, dtype=float, device=device)
    sums.information = wp.zeros(capacity, dtype=wp.mat33, device=device)
    sums.gradient = wp.zeros(capacity, dtype=wp.vec3, device=device)
    sums.cost = wp.zeros(capacity, dtype=wp.vec3, device=device)
    return targets, sums


def group_blocks(capacity: int, device: wp.Device) -> Any:
    """`assembly_kernels.GroupBlocks` of so many groups."""
    parts = assembly_kernels.GroupBlocks()
    parts.blocks = wp.zeros((capacity, 40), dtype=wp.mat33, device=device)
    parts.right = wp.zeros((capacity, 8), dtype=wp.vec3, device=device)
    return parts
