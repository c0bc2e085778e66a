"""Which avatar a pose drives: by name, by a VRM file, by a bundle, or by what a program makes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import warp as wp

from bodystream.avatar.base import Avatar
from bodystream.avatar.lbs import LbsAvatar
from bodystream.avatar.rig import load_rig
from bodystream.avatar.vrm import VrmAvatar, VrmModel
from bodystream.bundles import Bundle, find_bundle, open_bundle
from bodystream.device import select_device
from bodystream.errors import InputError
from bodystream.files import read_head
from bodystream.geometry.skeleton import Skeleton

__all__ = [
    "AVATARS", "CLOTHED_AVATAR", "SHIPPED_AVATAR", "AvatarChoice", "AvatarMaker", "avatar_label", "avatar_maker",
    "open_avatar",
]  # fmt: skip

AvatarMaker = Callable[[Skeleton | None, wp.Device], Avatar]
"""Makes an avatar for a person's proportions, None = its own, on a device. It is called again for another person, on
a thread of its own. Its `__name__` is what it is called in files and messages."""
AvatarChoice = str | Path | Bundle | AvatarMaker
"""A name of `AVATARS`, a `.vrm` file, the folder or zip file of a bundle, an open one, or what makes an avatar."""

SHIPPED_AVATAR, CLOTHED_AVATAR = "default", "default-clothed"
_KINDS = {
    "skinned-body": "a body posed by linear blend skinning",
    "avatar": "a person in clothes, learned from scans",
}
_GLTF = b"glTF"


def _skinned(bundle: Bundle | None, name: str) -> AvatarMaker:
    rig = load_rig(bundle)
    return _named(lambda skeleton, device: LbsAvatar(skeleton, device, rig=rig), name)


def _clothed(bundle: Bundle, name: str) -> AvatarMaker:
    from bodystream.avatar.clothed.avatar import ClothedAvatar, ClothedModel  # it needs an engine, the others do not

    model = ClothedModel(bundle)
    return _named(lambda skeleton, device: ClothedAvatar(model, skeleton, device), name)


def _vrm(path: Path, name: str) -> AvatarMaker:
    model = VrmModel(path)
    return _named(lambda skeleton, device: VrmAvatar(model, skeleton, device), name)


def _named(make: AvatarMaker, name: str) -> AvatarMaker:
    make.__name__ = name
    return make


AVATARS: dict[str, Callable[[], AvatarMaker]] = {
    SHIPPED_AVATAR: lambda: _skinned(None, SHIPPED_AVATAR),
    CLOTHED_AVATAR: lambda: _clothed(find_bundle(CLOTHED_AVATAR), CLOTHED_AVATAR),
}
"""Avatars that have a name: `default`, the shipped body, and `default-clothed`, a person in shirt and shorts."""


def avatar_maker(choice: AvatarChoice = SHIPPED_AVATAR) -> AvatarMaker:
    """What makes the chosen avatar; its files are read once, here.

    Raises:
        InputError: there is no such avatar, the bundle is of another kind, or a VRM cannot be driven.
        BundleError: the bundle is missing or damaged.
    """
    if callable(choice):
        return choice
    if isinstance(choice, str) and choice in AVATARS:
        return AVATARS[choice]()
    if isinstance(choice, str) and not Path(choice).exists():
        raise InputError(
            f"there is no avatar {choice!r}: choose {', '.join(AVATARS)}, or give a .vrm file, or a bundle of the kind "
            f"{' or '.join(_KINDS)}"
        )
    if isinstance(choice, (str, Path)) and _is_gltf(Path(choice)):
        return _vrm(Path(choice), str(choice))
    bundle = choice if isinstance(choice, Bundle) else open_bundle(Path(choice))
    kind = bundle.manifest.kind
    if kind not in _KINDS:
        known = ", ".join(f"{name} ({what})" for name, what in _KINDS.items())
        raise InputError(f"the bundle {bundle.manifest.name!r} is a {kind}, which is no avatar: give one of {known}")
    if kind == "avatar":
        return _clothed(bundle, avatar_label(choice))
    return _skinned(bundle, avatar_label(choice))


def _is_gltf(path: Path) -> bool:
    return path.suffix.lower() in (".vrm", ".glb") or (path.is_file() and read_head(path, 4) == _GLTF)


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
        choice: a name of `AVATARS`, a `.vrm` file, the folder or zip file of a bundle, an open one, or what makes an
            avatar.
        skeleton: the person's; default: the avatar's own.
        device: where it is posed: a name for `select_device`, or a Warp device.

    Raises:
        InputError: there is no such avatar, the bundle is of another kind, or a skeleton that no body has.
        BundleError: the bundle is missing or damaged.
    """
    return avatar_maker(choice)(skeleton, select_device(device) if isinstance(device, str) else device)
