"""A synthetic depth camera: a skinned body in motion, D400-like noise, and exact ground truth."""

from bodystream.sources.synthetic.noise import DepthNoiseModel
from bodystream.sources.synthetic.renderer import Scene
from bodystream.sources.synthetic.source import SyntheticConfig, SyntheticSource
from bodystream.sources.synthetic.truth import TruthSurface, surface_error_m, visible_points

__all__ = [
    "DepthNoiseModel",
    "Scene",
    "SyntheticConfig",
    "SyntheticSource",
    "TruthSurface",
    "surface_error_m",
    "visible_points",
]
