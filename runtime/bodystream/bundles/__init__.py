"""Bundles: folders of networks and data with a manifest, found by name and checked by hash before use."""

from bodystream.bundles.locate import (
    ENVIRONMENT_VARIABLE,
    Bundle,
    bundle_folders,
    find_bundle,
    load_npz,
    open_bundle,
    shipped_bundles,
)
from bodystream.bundles.manifest import BundleFile, Manifest, read_manifest, sha256_of

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "Bundle",
    "BundleFile",
    "Manifest",
    "bundle_folders",
    "find_bundle",
    "load_npz",
    "open_bundle",
    "read_manifest",
    "sha256_of",
    "shipped_bundles",
]
