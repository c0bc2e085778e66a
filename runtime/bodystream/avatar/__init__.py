"""Bodies that a pose drives: the shipped skinned body, those of VRM files, and what every avatar offers."""

from bodystream.avatar.base import Avatar
from bodystream.avatar.lbs import LbsAvatar
from bodystream.avatar.open import AvatarChoice, open_avatar
from bodystream.avatar.rig import bone_transforms, load_rig, skin
from bodystream.avatar.vrm import VrmAvatar, VrmModel

__all__ = [
    "Avatar",
    "AvatarChoice",
    "LbsAvatar",
    "VrmAvatar",
    "VrmModel",
    "bone_transforms",
    "load_rig",
    "open_avatar",
    "skin",
]
