"""Fusion of a deforming subject into one canonical surface."""

from bodystream.fusion.config import FusionConfig
from bodystream.fusion.surface import Surface
from bodystream.fusion.volume import IntegrateStats, TsdfVolume, VolumeStats

__all__ = ["FusionConfig", "IntegrateStats", "Surface", "TsdfVolume", "VolumeStats"]
