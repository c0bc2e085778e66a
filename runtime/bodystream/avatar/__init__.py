"""Bodies that a pose drives: the shipped skinned body, and what every avatar offers."""

from bodystream.avatar.base import Avatar
from bodystream.avatar.lbs import LbsAvatar
from bodystream.avatar.open import AvatarChoice, open_avatar
from bodystream.avatar.rig import bone_transforms, load_rig, skin

__all__ = ["Avatar", "AvatarChoice", "LbsAvatar", "bone_transforms", "load_rig", "open_avatar", "skin"]
