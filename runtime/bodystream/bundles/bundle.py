"""A bundle, from a folder or a zip file: every file is compared with the manifest's size and hash before it is used."""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

import msgspec

from bodystream.bundles.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    REINSTALL,
    Manifest,
    parse_manifest,
    sha256_of,
)
from bodystream.errors import BundleError, InputError, excerpt
from bodystream.files import read_bounded

__all__ = ["Bundle", "open_bundle"]

Section = TypeVar("Section")

_MAX_ZIP_BYTES = 1 << 30
_MAX_MEMBERS = 10_000
_MEMBER = b"PK\x01\x02"
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were found to be those that its manifest names.

    Attributes:
        place: the folder or zip file that it was opened from.
        manifest: what it says of itself.
    """

    place: Path
    manifest: Manifest
    _manifest_bytes: bytes = field(repr=False)
    _members: Mapping[str, bytes] | None = field(default=None, repr=False)  # of a zip

    def read(self, name: str) -> bytes:
        """The content of the file `name`, as it was hashed.

        Raises:
            BundleError: the manifest does not list it, or it was changed after the bundle was opened.
        """
        self._check_name(name)
        if self._members is not None:
            return self._members[name]
        (file,) = (file for file in self.manifest.files if file.path == name)
        path = self.place / name
        try:
            content = read_bounded(path, max(1, file.bytes)) if file.bytes else b""
        except InputError as error:
            raise BundleError(f"bundle {self.manifest.name!r}: {error}. {REINSTALL}") from error
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise BundleError(f"bundle {self.manifest.name!r}: {path} was changed since it was checked: open it again")
        return content

    def path(self, name: str) -> Path:
        """Where the file `name` of a bundle in a folder lies.

        Raises:
            BundleError: the manifest does not list it, or the bundle is a zip file, whose files are got by `read`.
        """
        self._check_name(name)
        if self._members is not None:
            raise BundleError(f"bundle {self.manifest.name!r}: {self.place} is a zip file: unpack it to have {name!r}")
        return self.place / name

    def label(self, name: str) -> str:
        """The file `name` for messages."""
        return f"{self.place / name}"

    def section(self, kind: type[Section]) -> Section:
        """What the manifest says beside the common fields, by the `msgspec.Struct` of those who use this bundle.

        Raises:
            BundleError: a field is missing or of another type.
        """
        try:
            return msgspec.json.decode(self._manifest_bytes, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BundleError(
                f"bundle {self.manifest.name!r}: {self.place / MANIFEST_NAME} is none of a bundle of the kind "
                f"{self.manifest.kind!r}: {error}. {REINSTALL}"
            ) from error

    def require_kind(self, kind: str) -> None:
        """Refuse a bundle of another kind.

        Raises:
            BundleError: `kind` is not the manifest's.
        """
        if self.manifest.kind != kind:
            raise BundleError(
                f"bundle {self.manifest.name!r} ({self.place}) is of the kind {self.manifest.kind!r}, not {kind!r}: "
                "choose another one"
            )

    def _check_name(self, name: str) -> None:
        names = [file.path for file in self.manifest.files]
        if name not in names:
            raise BundleError(f"bundle {self.manifest.name!r} has no file {name!r}, only {', '.join(names)}")


def open_bundle(place: str | Path) -> Bundle:
    """The bundle in a folder or zip file of any name, with the size and hash of every file checked.

    A zip file holds the bundle's files, or one folder with them. Nothing is unpacked to a disk; what the manifest does
    not list is not read.

    Raises:
        BundleError: there is none; the manifest is malformed or of a newer schema; or a file is missing, not the one
            that was hashed, no ordinary file, or a link that leads out of the folder.
    """
    place = Path(place)
    return _open_folder(place) if _resolved(place).is_dir() else _open_zip(place)


def _open_folder(folder: Path) -> Bundle:
    root = _resolved(folder)
    try:
        content = read_bounded(folder / MANIFEST_NAME, MAX_MANIFEST_BYTES)
    except InputError as error:
        raise BundleError(f"{folder} holds no bundle: {error}. {REINSTALL}") from error
    manifest = parse_manifest(content, folder / MANIFEST_NAME)
    for file in manifest.files:
        path = folder / file.path
        if not _resolved(path).is_relative_to(root):
            raise BundleError(f"bundle {manifest.name!r}: {file.path} is a link to a place outside of {root}")
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):  # opening a FIFO would wait for ever
                raise BundleError(f"bundle {manifest.name!r}: {path} is no ordinary file: install it again")
            size = found.st_size
            digest = sha256_of(path) if size == file.bytes else ""
        except OSError as error:
            raise BundleError(
                f"bundle {manifest.name!r}: {path} cannot be read ({error.strerror}): install it again"
            ) from error
        _compare(manifest, str(path), size, file.bytes, digest, file.sha256)
    return Bundle(folder, manifest, content)


def _open_zip(path: Path) -> Bundle:
    try:
        content = read_bounded(path, _MAX_ZIP_BYTES)
    except InputError as error:
        raise BundleError(f"{error}. A bundle is a folder with {MANIFEST_NAME} or a zip file of one") from error
    # Before the list of members is read, which takes memory for each of them.
    if content.count(_MEMBER) > 2 * _MAX_MEMBERS:
        raise BundleError(f"{path} is no bundle: it lists far more than {_MAX_MEMBERS} files. {REINSTALL}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read_zip(archive, path)
    # The ways in which zipfile and zlib tell of damage.
    except (
        zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, OSError, LookupError, RuntimeError,
        NotImplementedError, ArithmeticError, MemoryError,
    ) as error:  # fmt: skip
        raise BundleError(
            f"{path} is neither a bundle's folder nor a readable zip file of one ({type(error).__name__}: {error}). "
            f"{REINSTALL}"
        ) from error


def _read_zip(archive: zipfile.ZipFile, path: Path) -> Bundle:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = PurePosixPath(member.filename)
        if "\\" in member.filename or ":" in member.filename or name.is_absolute() or ".." in name.parts:
            raise BundleError(f"{path} is refused: its member {excerpt(member.filename)} leads out of it. {REINSTALL}")
        if member.filename in members:
            raise BundleError(f"{path} is refused: it holds {excerpt(member.filename)} twice. {REINSTALL}")
        members[member.filename] = member
    places = [name for name in members if PurePosixPath(name).name == MANIFEST_NAME and name.count("/") <= 1]
    if not places:
        raise BundleError(f"{path} holds no bundle: {MANIFEST_NAME} is neither at its top nor in one folder there")
    if MANIFEST_NAME in places:
        places = [MANIFEST_NAME]
    if len(places) > 1:
        raise BundleError(f"{path} holds {len(places)} bundles ({', '.join(sorted(places))}): give each its own file")
    top = places[0].removesuffix(MANIFEST_NAME)
    described = members[places[0]]
    if described.file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: {places[0]} has {described.file_size} bytes, more than a manifest has. {REINSTALL}")
    text = _read_member(archive, described, path)
    manifest = parse_manifest(text, path / places[0])
    total = sum(file.bytes for file in manifest.files)
    if total > _MAX_ZIP_BYTES:
        raise BundleError(f"bundle {manifest.name!r}: {path} has {total} bytes unpacked: unpack it to a folder")
    found: dict[str, bytes] = {}
    for file in manifest.files:
        member = members.get(top + file.path)
        if member is None or member.is_dir():
            raise BundleError(f"bundle {manifest.name!r}: {path} lacks {file.path}: install it again")
        # Before anything of it is unpacked.
        _compare(manifest, f"{path}/{file.path}", member.file_size, file.bytes, file.sha256, file.sha256)
        content = _read_member(archive, member, path)
        digest = hashlib.sha256(content).hexdigest()
        _compare(manifest, f"{path}/{file.path}", len(content), file.bytes, digest, file.sha256)
        found[file.path] = content
    return Bundle(path, manifest, text, found)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bytes:
    """At most as much as the list of members says; a member that goes on is told by its length."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG) or member.flag_bits & _ENCRYPTED:
        raise BundleError(f"{path} is refused: {excerpt(member.filename)} is a link or encrypted, and no ordinary file")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundleError(f"{path} is refused: {excerpt(member.filename)} is neither stored nor deflated: zip it again")
    with archive.open(member) as stream:
        return stream.read(member.file_size + 1)


def _compare(manifest: Manifest, path: str, size: int, wanted_size: int, digest: str, wanted: str) -> None:
    if size != wanted_size:
        raise BundleError(
            f"bundle {manifest.name!r}: {path} has {size} bytes, its manifest says {wanted_size}: install it again"
        )
    if digest != wanted:
        raise BundleError(
            f"bundle {manifest.name!r}: {path} has the sha256 {digest}, its manifest says {wanted}: "
            "the file was damaged or edited, so install it again"
        )


def _resolved(path: Path) -> Path:
    """Without links.

    Raises:
        BundleError: the links lead in a circle, or a name is impossible.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise BundleError(f"{path} cannot be found ({error}): install the bundle again") from error
