"""What both flow networks are built of: warping by a flow, and the cost volume of two feature maps.

Only slices, multiplications, sums and GridSample, with fixed shapes, so that every engine runs an exported graph
without an operator of its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["cost_volume", "cost_volume_by_products", "up_twice", "warp"]


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample an image where each pixel's flow leads, bilinearly; 0 outside of it.

    Args:
        image: (B, C, H, W).
        flow: (B, 2, H, W) along x and y, in pixels of `image`.
    """
    height, width = image.shape[2:]
    x = torch.arange(width, dtype=flow.dtype, device=flow.device)
    y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None]
    # pixel centres from 0 to n - 1 are -1 to 1 in GridSample where corners are aligned
    grid = torch.stack(
        [(flow[:, 0] + x) * (2 / max(1, width - 1)) - 1, (flow[:, 1] + y) * (2 / max(1, height - 1)) - 1], dim=-1
    )
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def cost_volume(source: Tensor, target: Tensor, radius: int) -> Tensor:
    """Mean product over the channels of each source cell with the target's cells around the same place.

    All shifts along x are stacked once, so that each shift along y is one product; of the formulations that were
    compared (see `docs/learned-flow.md`) this one is the fastest where channels are few.

    Args:
        source, target: (B, C, H, W).
        radius: r, in cells; outside of the target there are zeros.

    Returns:
        (B, (2r + 1)^2, H, W); shifts run along x first, from -r to r.
    """
    height, width = source.shape[2:]
    shifts = 2 * radius + 1
    padded = F.pad(target, (radius, radius, radius, radius))
    columns = torch.stack([padded[..., x : x + width] for x in range(shifts)], dim=1)
    scaled = (source / source.shape[1])[:, None]
    return torch.cat([(scaled * columns[:, :, :, y : y + height]).sum(2) for y in range(shifts)], dim=1)


def cost_volume_by_products(source: Tensor, target: Tensor, radius: int) -> Tensor:
    """`cost_volume` by matrix products of whole rows, of which the band around the diagonal is cut out."""
    batch, channels, height, width = source.shape
    shifts, wide = 2 * radius + 1, width + 2 * radius
    padded = F.pad(target, (radius, radius, radius, radius))
    rows = torch.stack([padded[:, :, y : y + height] for y in range(shifts)], dim=1).permute(0, 3, 1, 2, 4)
    own = (source / channels).permute(0, 2, 3, 1)[:, :, None]
    products = torch.matmul(own, rows)  # (B, H, shift along y, W, W + 2r)
    # One element more per row, and the diagonals are columns.
    flat = F.pad(products.reshape(batch, height, shifts, width * wide), (0, width))
    band = flat.reshape(batch, height, shifts, width, wide + 1)[..., :shifts]
    return band.permute(0, 2, 4, 1, 3).reshape(batch, shifts * shifts, height, width)


def up_twice(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2H, 2W), bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
