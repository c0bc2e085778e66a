"""Bundles: folders or zip files of networks and data with a manifest, checked by hash before use."""

from bodystream.bundles.arrays import load_npz, read_npz
from bodystream.bundles.bundle import Bundle, open_bundle
from bodystream.bundles.choice import BundleChoice
from bodystream.bundles.graphs import GraphSection, Signature, TensorSpec
from bodystream.bundles.known import KNOWN, KnownBundle
from bodystream.bundles.locate import ENVIRONMENT_VARIABLE, bundle_folders, find_bundle, has_bundle, shipped_bundles
from bodystream.bundles.manifest import BundleFile, Manifest, sha256_of

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "KNOWN",
    "Bundle",
    "BundleChoice",
    "BundleFile",
    "GraphSection",
    "KnownBundle",
    "Manifest",
    "Signature",
    "TensorSpec",
    "bundle_folders",
    "find_bundle",
    "has_bundle",
    "load_npz",
    "open_bundle",
    "read_npz",
    "sha256_of",
    "shipped_bundles",
]
