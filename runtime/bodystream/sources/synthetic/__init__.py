"""A synthetic depth camera: a skinned body in motion, D400-like noise, and exact ground truth."""

from bodystream.sources.synthetic.noise import DepthNoiseModel
from bodystream.sources.synthetic.people import Clothes, Person, build_person
from bodystream.sources.synthetic.recorded import RecordedMotion, strung_together
from bodystream.sources.synthetic.renderer import Scene
from bodystream.sources.synthetic.source import SyntheticConfig, SyntheticSource
from bodystream.sources.synthetic.truth import TruthSurface, surface_error_m, visible_points

__all__ = [
    "Clothes",
    "DepthNoiseModel",
    "Person",
    "RecordedMotion",
    "Scene",
    "SyntheticConfig",
    "SyntheticSource",
    "TruthSurface",
    "build_person",
    "strung_together",
    "surface_error_m",
    "visible_points",
]
