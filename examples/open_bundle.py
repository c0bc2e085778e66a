"""Which bundles of networks and data are here, what their manifests say, and what is in one."""

from __future__ import annotations

import argparse

from bodystream import Bundle, BundleError, find_bundle, open_avatar, open_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", help="a folder or zip file; default: the bundles that are shipped")
    wanted = parser.parse_args()
    for name in ("person", "pose") if wanted.path is None else ():
        show(find_bundle(name))  # the user's own folder (BODYSTREAM_BUNDLES) or the package's; every hash was checked
    if wanted.path is not None:
        show(open_bundle(wanted.path))
    try:
        find_bundle("no-such-bundle")
    except BundleError as error:
        print(f"and one that is not there says: {error}")
    avatar = open_avatar()  # the shipped body, made of the bundle `person`
    print(f"the body has {len(avatar.faces)} faces and stands on {len(avatar.skeleton.offsets_m)} joints")


def show(bundle: Bundle) -> None:
    manifest = bundle.manifest
    print(f"{manifest.name} {manifest.version}: a {manifest.kind}, {manifest.licence}")
    for file in manifest.files:
        print(f"  {file.path}: {file.bytes} bytes")


if __name__ == "__main__":
    main()
