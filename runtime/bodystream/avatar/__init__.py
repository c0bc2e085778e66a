"""Bodies that a pose drives: the shipped skinned body, and what every avatar offers."""

from bodystream.avatar.base import Avatar
from bodystream.avatar.body import Body, bone_transforms, load_body, skin
from bodystream.avatar.lbs import LbsAvatar

__all__ = ["Avatar", "Body", "LbsAvatar", "bone_transforms", "load_body", "skin"]
