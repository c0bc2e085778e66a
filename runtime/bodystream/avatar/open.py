"""Which avatar a pose drives: by name, by a bundle, or by what a program makes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import warp as wp

from bodystream.avatar.base import Avatar
from bodystream.avatar.lbs import LbsAvatar
from bodystream.avatar.rig import load_rig
from bodystream.bundles import Bundle, open_bundle
from bodystream.device import select_device
from bodystream.errors import InputError
from bodystream.geometry.skeleton import Skeleton

__all__ = ["AVATARS", "SHIPPED_AVATAR", "AvatarChoice", "AvatarMaker", "avatar_label", "avatar_maker", "open_avatar"]

AvatarMaker = Callable[[Skeleton | None, wp.Device], Avatar]
"""Makes an avatar with a person's proportions, None = its own, on a device. It is called again for another person, on
a thread of its own."""
AvatarChoice = str | Path | Bundle | AvatarMaker
"""A name of `AVATARS`, the folder or zip file of a bundle, an open one, or what makes an avatar."""

SHIPPED_AVATAR = "default"
_KINDS = {"skinned-body": "a body posed by linear blend skinning"}


def _skinned(bundle: Bundle | None) -> AvatarMaker:
    rig = load_rig(bundle)
    return lambda skeleton, device: LbsAvatar(skeleton, device, rig=rig)


AVATARS: dict[str, Callable[[], AvatarMaker]] = {SHIPPED_AVATAR: lambda: _skinned(None)}
"""Avatars that have a name: `default`, the shipped body."""


def avatar_maker(choice: AvatarChoice = SHIPPED_AVATAR) -> AvatarMaker:
    """What makes the chosen avatar; its files are read once, here.

    Raises:
        InputError: there is no such avatar, or the bundle is of another kind.
        BundleError: the bundle is missing or damaged.
    """
    if callable(choice):
        return choice
    if isinstance(choice, str) and choice in AVATARS:
        return AVATARS[choice]()
    if isinstance(choice, str) and not Path(choice).exists():
        raise InputError(
            f"there is no avatar {choice!r}: choose {', '.join(AVATARS)}, or give a bundle of the kind "
            f"{' or '.join(_KINDS)}"
        )
    bundle = choice if isinstance(choice, Bundle) else open_bundle(Path(choice))
    kind = bundle.manifest.kind
    if kind not in _KINDS:
        known = ", ".join(f"{name} ({what})" for name, what in _KINDS.items())
        raise InputError(f"the bundle {bundle.manifest.name!r} is a {kind}, which is no avatar: give one of {known}")
    return _skinned(bundle)


def avatar_label(choice: AvatarChoice) -> str:
    """What to call the choice in files and messages."""
    if isinstance(choice, Bundle):
        return f"{choice.manifest.name} {choice.manifest.version}"
    return getattr(choice, "__name__", type(choice).__name__) if callable(choice) else str(choice)


def open_avatar(
    choice: AvatarChoice = SHIPPED_AVATAR, skeleton: Skeleton | None = None, device: str | wp.Device = "cpu"
) -> Avatar:
    """The chosen avatar with a person's proportions.

    Args:
        choice: a name of `AVATARS`, the folder or zip file of a bundle, an open one, or what makes an avatar.
        skeleton: the person's; default: the avatar's own.
        device: where it is posed: a name for `select_device`, or a Warp device.

    Raises:
        InputError: there is no such avatar, the bundle is of another kind, or a skeleton that no body has.
        BundleError: the bundle is missing or damaged.
    """
    return avatar_maker(choice)(skeleton, select_device(device) if isinstance(device, str) else device)
