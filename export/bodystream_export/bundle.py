"""Writes a bundle's manifest over files that are in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bodystream.bundles import Bundle, open_bundle, sha256_of
from bodystream.bundles.manifest import MANIFEST_NAME
from bodystream.files import atomic_path

__all__ = ["write_manifest"]


def write_manifest(
    folder: Path,
    *,
    kind: str,
    version: int,
    licence: str,
    provenance: dict[str, Any],
    metrics: dict[str, float],
    **section: Any,
) -> Bundle:
    """Hash every file of `folder`, write `manifest.json`, and open the bundle as a user would.

    Args:
        section: what this kind of bundle says beside the common fields.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST_NAME)
    manifest = {
        "name": folder.name,
        "version": version,
        "kind": kind,
        "licence": licence,
        "provenance": provenance,
        "files": [{"path": f.name, "sha256": sha256_of(f), "bytes": f.stat().st_size} for f in files],
        "metrics": metrics,
        **section,
    }
    with atomic_path(folder / MANIFEST_NAME) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return open_bundle(folder)
