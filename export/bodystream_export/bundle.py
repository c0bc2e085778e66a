"""Writes a bundle: its manifest over files that are in place, and the whole of it to where it belongs."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from bodystream.bundles import Bundle, GraphSection, open_bundle, sha256_of
from bodystream.bundles.manifest import MANIFEST_NAME, SCHEMA
from bodystream.errors import InputError
from bodystream.files import atomic_path, read_text_bounded

__all__ = ["evaluated_figures", "put_in_place", "write_graphs", "write_manifest", "write_metrics", "zip_in_place"]

_MAX_METRICS_BYTES = 64 << 20


def write_manifest(
    folder: Path,
    *,
    name: str,
    kind: str,
    version: int,
    licence: str,
    provenance: dict[str, Any],
    metrics: dict[str, float],
    graphs: Mapping[str, GraphSection],
    **section: Any,
) -> Bundle:
    """Hash every file of `folder`, write `manifest.json`, and open the bundle as a user would.

    Args:
        graphs: of the files that are networks' graphs.
        section: what this kind of bundle says beside the common fields.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST_NAME)
    manifest = {
        "schema": SCHEMA,
        "name": name,
        "version": version,
        "kind": kind,
        "licence": licence,
        "provenance": provenance,
        "files": [{"path": f.name, "sha256": sha256_of(f), "bytes": f.stat().st_size} for f in files],
        "metrics": metrics,
        "graphs": msgspec.to_builtins(dict(graphs)),
        **section,
    }
    _write(folder / MANIFEST_NAME, manifest)
    return open_bundle(folder)


def write_graphs(folder: Path, graphs: Mapping[str, GraphSection]) -> None:
    """Put sections into the manifest of a bundle's folder; everything else in it stays."""
    path = folder / MANIFEST_NAME
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["graphs"] = msgspec.to_builtins(dict(graphs))
    _write(path, manifest)


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Put figures into the manifest of a bundle's folder; everything else in it stays."""
    path = folder / MANIFEST_NAME
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["metrics"] = dict(metrics)
    _write(path, manifest)


def evaluated_figures(path: Path | None) -> dict[str, float]:
    """The model's figures in what an evaluation printed with `--json`; nothing where there is no such file.

    Raises:
        InputError: the file is none.
    """
    if path is None:
        return {}
    try:
        model = json.loads(read_text_bounded(path, _MAX_METRICS_BYTES))["model"]
        return {name: value for name, value in model.items() if isinstance(value, int | float)}
    except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not what an evaluation of a network prints with --json: {error}") from error


def put_in_place(made: Path, out: Path) -> Bundle:
    """Replace a bundle's folder by a new one; one that cannot be written whole leaves the old one as it was."""
    with ExitStack() as every:
        # All are written before the first takes its place.
        for path in sorted(made.iterdir()):
            shutil.copyfile(path, every.enter_context(atomic_path(out / path.name)))
    return open_bundle(out)


def zip_in_place(made: Path, out: Path) -> Bundle:
    """The same as one zip file."""
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(made.iterdir()):
            archive.write(path, path.name)
    return open_bundle(out)


def _write(path: Path, manifest: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
