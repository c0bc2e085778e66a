"""Where the points of a graph are seen in the target image, from dense flow: the input of the solver."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bodystream_training.flow.graphs import GraphBatch

__all__ = ["MatchTargets", "back_project", "match_targets", "sample_at", "sample_depth"]

# Depth beside a jump larger than this is of two surfaces: the runtime's `PairConfig.step_m`.
STEP_M = 0.03


@dataclass
class MatchTargets:
    """Of each point of a graph.

    Attributes:
        pixels: (B, M, 2) c_u [px]. depth_m: (B, M) of the target there, 0 = none: the match has then no depth term.
        weight: (B, M) w_u, 0 = no match.
    """

    pixels: Tensor
    depth_m: Tensor
    weight: Tensor

    def to(self, kind: torch.dtype) -> MatchTargets:
        """The same in another floating-point type."""
        return MatchTargets(self.pixels.to(kind), self.depth_m.to(kind), self.weight.to(kind))


def sample_at(image: Tensor, pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Values of an image between its pixels, bilinear; at and beyond its border those of the border.

    Args:
        image: (B, C, h, w), of the image's size or coarser: its cells tile the image.
        pixels: (B, M, 2) of the image at full size. size: (H, W) of it.

    Returns:
        (B, M, C).
    """
    # Pixel centres are at integers, so the image spans -0.5 to W - 0.5, which grid_sample calls -1 to 1.
    extent = pixels.new_tensor([size[1], size[0]])
    grid = (2.0 * pixels + 1.0) / extent - 1.0
    # In the precision of the pixels: 16 bits cannot tell them apart.
    with torch.autocast(image.device.type, enabled=False):
        values = F.grid_sample(image.to(grid.dtype), grid[:, :, None], padding_mode="border", align_corners=False)
    return values[..., 0].transpose(1, 2)


def sample_depth(depth_m: Tensor, pixels: Tensor, step_m: float = STEP_M) -> Tensor:
    """Depth between pixels, bilinear, (B, M) [m]; 0 outside, beside a hole, or across a jump larger than `step_m`.

    Gradients flow to the pixels: the depth changes where a match moves along a slanted surface.

    Args:
        depth_m: (B, 1, H, W) [m], 0 = none. pixels: (B, M, 2).
    """
    height, width = depth_m.shape[-2:]
    finite = torch.isfinite(pixels).all(dim=-1)
    pixels = torch.where(finite[..., None], pixels, torch.full_like(pixels, -1.0))
    low = pixels.detach().floor()
    u0, v0 = low[..., 0].clamp(0, width - 2).long(), low[..., 1].clamp(0, height - 2).long()
    inside = (pixels >= 0).all(dim=-1) & (pixels[..., 0] <= width - 1) & (pixels[..., 1] <= height - 1)
    flat = depth_m.flatten(1)
    corners = torch.stack([flat.gather(1, (v0 + dv) * width + u0 + du) for dv in (0, 1) for du in (0, 1)], dim=-1)
    corners = torch.where(torch.isfinite(corners), corners, torch.zeros_like(corners))
    nearest, farthest = corners.amin(dim=-1), corners.amax(dim=-1)
    good = inside & (nearest > 0) & (farthest - nearest <= step_m)
    fu, fv = pixels[..., 0] - u0, pixels[..., 1] - v0
    a, b, c, d = corners.unbind(-1)
    value = (1 - fv) * ((1 - fu) * a + fu * b) + fv * ((1 - fu) * c + fu * d)
    return torch.where(good, value, torch.zeros_like(value))


def back_project(pixels: Tensor, depth_m: Tensor, intrinsics: Tensor) -> Tensor:
    """(B, M, 3) points in the camera's frame [m] of (B, M, 2) pixels with (B, M) depth; intrinsics (B, 4)."""
    ray = (pixels - intrinsics[:, None, 2:]) / intrinsics[:, None, :2]
    return torch.cat([ray * depth_m[..., None], depth_m[..., None]], dim=-1)


def match_targets(
    graph: GraphBatch, flow_px: Tensor, target_depth_m: Tensor, weight: Tensor | None = None
) -> MatchTargets:
    """What a flow field says of the graph's points; differentiable with respect to flow and weight.

    Args:
        flow_px: (B, 2, h, w) in pixels of the image, at its size or coarser.
        target_depth_m: (B, 1, H, W) [m], 0 = none.
        weight: (B, 1, h, w); 1 everywhere where None.
    """
    size = (target_depth_m.shape[-2], target_depth_m.shape[-1])
    source = graph.pixels.to(graph.points.dtype)
    pixels = source + sample_at(flow_px, source, size).to(source.dtype)
    inside = (pixels >= 0).all(dim=-1) & (pixels[..., 0] <= size[1] - 1) & (pixels[..., 1] <= size[0] - 1)
    confidence = torch.ones_like(pixels[..., 0])
    if weight is not None:
        confidence = sample_at(weight, source, size)[..., 0].to(source.dtype)
    confidence = torch.where(inside & graph.point_mask, confidence, torch.zeros_like(confidence))
    depth = sample_depth(target_depth_m.to(source.dtype), pixels)
    return MatchTargets(pixels, torch.where(inside, depth, torch.zeros_like(depth)), confidence)
