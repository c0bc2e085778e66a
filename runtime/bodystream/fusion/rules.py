"""Configurations as the kernels of fusion take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bodystream.fusion import blocks_kernels, frame_kernels, integrate_kernels
from bodystream.fusion.config import FusionConfig

__all__ = ["block_rules", "pixel_rules", "voxel_rules"]


def pixel_rules(config: FusionConfig) -> Any:
    """The `frame_kernels.PixelRules` of a configuration."""
    rules = frame_kernels.PixelRules()
    rules.edge_px = config.edge_px
    rules.min_cosine = config.min_cosine
    rules.max_slope = float(np.sqrt(1.0 / config.min_cosine**2 - 1.0))
    rules.near, rules.far = config.near_m, config.far_m
    rules.spacing = 0.5 * config.truncation_m
    rules.truncation = config.truncation_m
    return rules


def block_rules(config: FusionConfig) -> Any:
    """The `blocks_kernels.BlockRules` of a configuration."""
    rules = blocks_kernels.BlockRules()
    rules.voxel = config.voxel_m
    rules.near = 0.5 * config.near_m
    rules.restless_share = config.restless_share
    return rules


def voxel_rules(config: FusionConfig) -> Any:
    """The `integrate_kernels.Rules` of a configuration."""
    rules = integrate_kernels.Rules()
    rules.voxel = config.voxel_m
    rules.truncation = config.truncation_m
    rules.full_weight_behind = 1.5 * config.voxel_m
    rules.carve_margin = config.truncation_m + 2.0 * config.voxel_m
    rules.carve_rate, rules.carve_share = config.carve_rate, config.carve_share
    rules.max_weight, rules.min_weight = config.max_weight, config.min_weight
    rules.silhouette_px = config.silhouette_px
    rules.near = 0.5 * config.near_m
    rules.settled, rules.young = config.settled_m, config.settled_weight
    rules.restless_share = config.restless_share
    return rules
