"""`manifest.json`: what a bundle is, which files it has, where it comes from, and how good it is."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from bodystream.errors import BundleError, InputError, excerpt
from bodystream.files import read_bounded

__all__ = ["MANIFEST_NAME", "MAX_FILE_BYTES", "BundleFile", "Manifest", "read_manifest", "sha256_of"]

MANIFEST_NAME = "manifest.json"
MAX_FILE_BYTES = 4 << 30
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_FILES = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
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
        name: the folder's name: lower-case letters, digits, `.`, `_`, `-`.
        version: of the bundle, grows with every change of its content.
        kind: which code reads it: `skinned-body`, `pose-sampler`...
        licence: SPDX identifier of the content.
        provenance: how and from what it was made.
        files: all files but the manifest.
        metrics: measured quality, `{name: value}`.
    """

    name: str
    version: int
    kind: str
    licence: str
    provenance: dict[str, Any]
    files: list[BundleFile]
    metrics: dict[str, float] = {}


def read_manifest(folder: Path) -> Manifest:
    """Read and check `folder/manifest.json` (the files that it names are not opened).

    Raises:
        BundleError: it is missing, too long, not JSON, lacks a field, or a name, path, size or hash is malformed.
    """
    path = folder / MANIFEST_NAME
    try:
        content = read_bounded(path, _MAX_MANIFEST_BYTES)
    except InputError as error:
        raise BundleError(f"bundle {folder}: {error}. Install the bundle again") from error
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not a bundle's manifest: {error}. Install the bundle again") from error
    problem = _problem(manifest)
    if problem:
        raise BundleError(f"{path}: {problem}. Install the bundle again")
    return manifest


def _problem(manifest: Manifest) -> str:
    """What is wrong with the manifest's values, or nothing."""
    if not _NAME.fullmatch(manifest.name):
        return f"name must match {_NAME.pattern}, got {excerpt(manifest.name)}"
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
    return ""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
