"""Where bundles are found by name."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from bodystream.bundles.bundle import Bundle, open_bundle
from bodystream.bundles.known import remedy_for
from bodystream.bundles.manifest import MANIFEST_NAME, NAME
from bodystream.errors import BundleError

__all__ = ["ENVIRONMENT_VARIABLE", "bundle_folders", "find_bundle", "has_bundle", "shipped_bundles"]

ENVIRONMENT_VARIABLE = "BODYSTREAM_BUNDLES"
_FURTHER = "bodystream_bundles"
_SHIPPED = Path(__file__).resolve().parent / "shipped"


def bundle_folders() -> list[Path]:
    """Folders that are searched in this order: the shipped one, that of the distribution bodystream-bundles where it is
    installed, and those of `BODYSTREAM_BUNDLES` (split as PATH is).
    """
    extra = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return [_SHIPPED, *_installed(), *(Path(part) for part in extra.split(os.pathsep) if part)]


def _installed() -> list[Path]:
    """The folder of the package that holds further bundles and nothing else; it is not imported."""
    spec = importlib.util.find_spec(_FURTHER)
    return [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]


def shipped_bundles() -> list[str]:
    """Names of the bundles that came with this installation."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{MANIFEST_NAME}"))


def find_bundle(name: str) -> Bundle:
    """Find a bundle by name, as the folder `name` or the file `name.zip`, and check every file of it.

    A shipped bundle wins over one of the same name elsewhere, so that a stray folder never changes what a shipped name
    means. Who wants another one chooses it, see `BundleChoice`.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    place = _place_of(name)
    if place is not None:
        bundle = open_bundle(place)
        if bundle.manifest.name != name:
            raise BundleError(
                f"{place} holds the bundle {bundle.manifest.name!r}: where bundles are found by their names, they lie "
                "under them, so rename one of them"
            )
        return bundle
    folders = bundle_folders()
    searched = ", ".join(str(folder) for folder in folders)
    remedy = remedy_for(name) or f"put its folder there, or set {ENVIRONMENT_VARIABLE}"
    raise BundleError(f"there is no bundle {name!r} in {searched}: {remedy}")


def has_bundle(name: str) -> bool:
    """Whether there is something to open under this name; it may be damaged."""
    return _place_of(name) is not None


def _place_of(name: str) -> Path | None:
    if not NAME.fullmatch(name):
        raise BundleError(f"a bundle's name must match {NAME.pattern}, got {name!r}")
    for folder in bundle_folders():
        # false also where a folder must not be looked into
        for place, seen in ((folder / name, folder / name / MANIFEST_NAME), (folder / f"{name}.zip",) * 2):
            if os.path.isfile(seen):
                return place
    return None
