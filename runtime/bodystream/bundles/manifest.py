"""`manifest.json`: what a bundle is, which files it has, where it comes from, and how good it is."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from bodystream.bundles.graphs import GraphSection, graph_problem
from bodystream.errors import BundleError, excerpt

__all__ = [
    "MANIFEST_NAME",
    "MAX_FILE_BYTES",
    "MAX_MANIFEST_BYTES",
    "NAME",
    "REINSTALL",
    "SCHEMA",
    "BundleFile",
    "Manifest",
    "parse_manifest",
    "sha256_of",
]

MANIFEST_NAME = "manifest.json"
SCHEMA = 1
"""Of manifests. Grows only where a reader that does not know the change would take a bundle for something else; fields
and sections that may be overlooked come without."""
MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = 4 << 30
_MAX_FILES = 1000
REINSTALL = "Install the bundle again; one of your own has to be a folder or zip file with a whole manifest.json"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BundleFile(msgspec.Struct, frozen=True):
    """One file of a bundle.

    Attributes:
        path: relative to the bundle's folder, with `/`, never leaving it.
        sha256: of its content, 64 lower-case hexadecimal digits.
        bytes: its size.
    """

    path: str
    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True):
    """What `manifest.json` says. Fields that a kind of bundle adds are left to the code that reads that kind.

    Attributes:
        name: what it is called, wherever it lies: lower-case letters, digits, `.`, `_`, `-`.
        version: of the bundle, from 1, grows with every change of its content.
        kind: which code reads it: `skinned-body`, `pose-sampler`...
        licence: SPDX identifier of the content.
        provenance: how and from what it was made.
        files: all files but the manifest.
        schema: of this file, see `SCHEMA`.
        metrics: measured quality, `{name: value}`.
        graphs: of each file that is a network's graph, what goes in and comes out, see `GraphSection`.
    """

    name: str
    version: int
    kind: str
    licence: str
    provenance: dict[str, Any]
    files: list[BundleFile]
    schema: int = 1
    metrics: dict[str, float] = {}
    graphs: dict[str, GraphSection] = {}


class _Schema(msgspec.Struct):
    """Read first, since the rest of a newer manifest may look different."""

    schema: int = 1


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """The content of a `manifest.json`, checked (the files that it names are not looked at).

    Args:
        path: for messages.

    Raises:
        BundleError: it is not JSON, of a newer schema, or lacks a field, or a name, path, size or hash is malformed.
    """
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema > SCHEMA:
            raise BundleError(
                f"{path} has the schema {schema}, this version of bodystream reads up to {SCHEMA}: the bundle was made "
                "for a newer one. Install that (pip install --upgrade bodystream), or export the bundle with this one"
            )
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not a bundle's manifest: {error}. {REINSTALL}") from error
    problem = _problem(manifest)
    if problem:
        raise BundleError(f"{path}: {problem}. {REINSTALL}")
    return manifest


def _problem(manifest: Manifest) -> str:
    """What is wrong with the manifest's values, or nothing."""
    if not NAME.fullmatch(manifest.name):
        return f"name must match {NAME.pattern}, got {excerpt(manifest.name)}"
    if manifest.schema < 1:
        return f"schema must be at least 1, got {manifest.schema}"
    if manifest.version < 1:
        return f"version must be at least 1, got {manifest.version}"
    if not 1 <= len(manifest.files) <= _MAX_FILES:
        return f"a bundle has 1 to {_MAX_FILES} files, got {len(manifest.files)}"
    if len({file.path for file in manifest.files}) != len(manifest.files):
        return "a file is listed twice"
    for file in manifest.files:
        parts = PurePosixPath(file.path).parts
        strange = "\\" in file.path or ":" in file.path or "\0" in file.path
        if not parts or strange or PurePosixPath(file.path).is_absolute() or ".." in parts:
            return f"path of a file must stay inside the bundle, got {excerpt(file.path)}"
        if not _SHA256.fullmatch(file.sha256):
            return (
                f"sha256 of {excerpt(file.path)} must be 64 lower-case hexadecimal digits, got {excerpt(file.sha256)}"
            )
        if not 0 <= file.bytes <= MAX_FILE_BYTES:
            return f"size of {excerpt(file.path)} must be 0 to {MAX_FILE_BYTES} bytes, got {file.bytes}"
    listed = {file.path for file in manifest.files}
    for name, graph in manifest.graphs.items():
        if name not in listed:
            return f"graphs describes {excerpt(name)}, which is none of its files"
        problem = graph_problem(name, graph)
        if problem:
            return problem
    return ""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
