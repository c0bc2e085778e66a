"""Bodies that a pose drives: the shipped skinned body, and what every avatar offers."""

from bodystream.avatar.base import Avatar
from bodystream.avatar.lbs import LbsAvatar
from bodystream.avatar.rig import Rig, bone_transforms, load_rig, skin

__all__ = ["Avatar", "Rig", "LbsAvatar", "bone_transforms", "load_rig", "skin"]
