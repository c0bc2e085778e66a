"""Where bundles are found by name."""

from __future__ import annotations

import os
from pathlib import Path

from bodystream.bundles.bundle import Bundle, open_bundle
from bodystream.bundles.manifest import MANIFEST_NAME, NAME
from bodystream.errors import BundleError

__all__ = ["ENVIRONMENT_VARIABLE", "bundle_folders", "find_bundle", "shipped_bundles"]

ENVIRONMENT_VARIABLE = "BODYSTREAM_BUNDLES"
_SHIPPED = Path(__file__).resolve().parent / "shipped"


def bundle_folders() -> list[Path]:
    """Folders that are searched, first the shipped one, then those of `BODYSTREAM_BUNDLES` (split as PATH is)."""
    extra = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return [_SHIPPED, *(Path(part) for part in extra.split(os.pathsep) if part)]


def shipped_bundles() -> list[str]:
    """Names of the bundles that came with this installation."""
    return sorted(path.parent.name for path in _SHIPPED.glob(f"*/{MANIFEST_NAME}"))


def find_bundle(name: str) -> Bundle:
    """Find a bundle by name, as the folder `name` or the file `name.zip`, and check every file of it.

    A shipped bundle wins over one of the same name in `BODYSTREAM_BUNDLES`, so that a stray folder never changes
    what a shipped name means.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    if not NAME.fullmatch(name):
        raise BundleError(f"a bundle's name must match {NAME.pattern}, got {name!r}")
    folders = bundle_folders()
    for folder in folders:
        # false also where a folder must not be looked into
        for place, seen in ((folder / name, folder / name / MANIFEST_NAME), (folder / f"{name}.zip",) * 2):
            if os.path.isfile(seen):
                bundle = open_bundle(place)
                if bundle.manifest.name != name:
                    raise BundleError(
                        f"{place} holds the bundle {bundle.manifest.name!r}: where bundles are found by their names, "
                        "they lie under them, so rename one of them"
                    )
                return bundle
    searched = ", ".join(str(folder) for folder in folders)
    raise BundleError(f"there is no bundle {name!r} in {searched}: put its folder there, or set {ENVIRONMENT_VARIABLE}")
