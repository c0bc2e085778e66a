"""Dense correspondence between two frames, behind one interface."""

from bodystream.correspondence.base import ConstantCorrespondence, CorrespondenceEstimator
from bodystream.correspondence.dis import DisConfig, DisCorrespondence
from bodystream.correspondence.images import matching_image, shade_normals
from bodystream.correspondence.learned import LearnedConfig, LearnedCorrespondence

__all__ = [
    "ConstantCorrespondence",
    "CorrespondenceEstimator",
    "DisConfig",
    "DisCorrespondence",
    "LearnedConfig",
    "LearnedCorrespondence",
    "matching_image",
    "shade_normals",
]
