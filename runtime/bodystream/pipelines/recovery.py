"""What sessions that were killed left behind: found in a folder, and made into files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bodystream.avatar import Avatar, open_avatar
from bodystream.avatar.open import SHIPPED_AVATAR
from bodystream.errors import BodystreamError, InputError
from bodystream.pipelines.capture.take_files import FileSet, WrittenFiles, write_take
from bodystream.sinks.body_files import body_files, write_body
from bodystream.sinks.bvh import finish_bvh
from bodystream.sinks.capture_take import CaptureTake
from bodystream.sinks.drive_take import DriveTake
from bodystream.sinks.journal import JournalReader, is_being_written
from bodystream.sources.headset.table import finish_table

__all__ = ["journals_in", "recover_folder", "recover_journal"]

_SUFFIX = ".journal"
_KINDS = {"nodes": "capture", "motion": "capture", "mesh": "capture", "person": "drive", "poses": "drive"}


def journals_in(folder: Path) -> list[Path]:
    """Journals of sessions that ended without making their files, the oldest first.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == _SUFFIX and path.is_file())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error}): give the folder of --out") from error
    return [path for path in found if not is_being_written(path)]


def recover_journal(path: Path) -> WrittenFiles:
    """Make the files of one session, each under its own name and the session's: `capture-20261231-235959.glb`.

    Nothing that is there is replaced. The journal is removed when all of it is in files.

    Raises:
        InputError: it is no journal, belongs to a session that still runs, or a file could not be written; the journal
            is kept then.
    """
    reader = JournalReader(path)
    if is_being_written(path):
        raise InputError(f"{path}: its session still runs, and makes the files at its end: end that first")
    files = FileSet()
    kind = _what(reader)
    if kind == "capture":
        take = CaptureTake(reader)
        if take.segments:
            write_take(take, _names(path), files)
    elif kind == "drive":
        _write_drive(reader, path, files)
    elif kind is not None:
        raise InputError(f"{path}: is a journal of another version of bodystream: recover it with that one")
    elif reader.passed_over or reader.cut:
        raise InputError(f"{path}: holds no whole record of a session, so that nothing can be made of it: remove it")
    if reader.passed_over:
        files.notes.append(f"{reader.passed_over} damaged bytes of {path.name} were passed over")
    written = files.result(f"the journal is kept: {path}")
    path.unlink(missing_ok=True)
    return written


def _what(reader: JournalReader) -> str | None:
    """What the session was, also where the record that says so was damaged."""
    for record in reader:
        told = record.fields.get("what") if record.kind == "session" else _KINDS.get(record.kind)
        if isinstance(told, str):
            return told
    return None


def _write_drive(reader: JournalReader, path: Path, files: FileSet) -> None:
    """The body's files of the journal; the parts that grew beside it get their number of frames and their names."""
    take, name = DriveTake(reader), _names(path)
    if len(take.recorder):
        avatar = _avatar(take, files)
        for file in body_files(avatar, take.rig):
            with files.writing(name(file)):
                write_body(name(file), avatar, take.recorder, take.rig)
    if take.unusable:
        files.notes.append(f"{take.unusable} record(s) of the journal hold something else and are left out")
    session = path.stem.removeprefix("drive-")
    for stem, suffix, finish in (("driven", ".bvh", finish_bvh), ("headset", ".csv", finish_table)):
        part = path.with_name(f"{stem}-{session}.part{suffix}")
        if part.is_file():
            with files.writing(name(f"{stem}{suffix}")):
                finish(part, name(f"{stem}{suffix}"))


def _avatar(take: DriveTake, files: FileSet) -> Avatar:
    """What was driven, where it can be found again; else the shipped body."""
    if take.avatar == SHIPPED_AVATAR:
        return open_avatar(skeleton=take.skeleton)
    try:
        avatar = open_avatar(take.avatar, take.skeleton)
        if body_files(avatar):
            return avatar
        reason = "it has no skin"
    except BodystreamError as error:
        reason = str(error)
    files.notes.append(f"driven.glb shows the shipped body: the avatar {take.avatar} cannot be had ({reason})")
    return open_avatar(skeleton=take.skeleton)


def recover_folder(folder: Path, on_note: Callable[[str], None]) -> int:
    """Recover all that killed sessions left in a folder, and tell it in a line each; gives how many there were.

    A session whose files cannot be made is told, too, and left for another time.
    """
    journals = journals_in(folder) if folder.is_dir() else []
    for path in journals:
        try:
            written = recover_journal(path)
        except InputError as error:
            on_note(f"warning: {error}")
            continue
        names = ", ".join(p.name for p in written.paths)
        told = "; ".join([names or "it had recorded nothing", *written.notes])
        on_note(f"recovered an earlier session in {folder}: {told}")
    return len(journals)


def _names(journal: Path) -> Callable[[str], Path]:
    """`capture-DATE.journal` and `live.ply` to `live-DATE.ply`, or `live-DATE-2.ply` where that is there."""
    session = journal.stem.partition("-")[2] or journal.stem
    chosen: dict[str, Path] = {}

    def name(file: str) -> Path:
        if file not in chosen:
            stem, suffix = Path(file).stem, Path(file).suffix
            tries = [f"{stem}-{session}{suffix}", *(f"{stem}-{session}-again{n}{suffix}" for n in range(1, 1000))]
            chosen[file] = next(p for p in (journal.with_name(each) for each in tries) if not p.exists())
        return chosen[file]

    return name
