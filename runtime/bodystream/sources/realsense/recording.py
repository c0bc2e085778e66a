"""What can be said of a librealsense recording before it is played: whether it is whole, and what it should hold."""

from __future__ import annotations

import re
import sqlite3
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from bodystream.errors import InputError

__all__ = ["RecordingIndex", "check_recording"]

_MAGIC = {".db3": b"SQLite format 3\x00", ".bag": b"#ROSBAG V2.0"}
_AGAIN = "copy it again from where it was recorded, or record it again"
_MOST_TOPICS = 1000
_MOST_METADATA_BYTES = 1 << 16
_MOST_ROW_BYTES = 256 << 20
_LIMIT_S = 20.0
"""For the table of contents; that of an hour's recording takes well under one."""


@dataclass(frozen=True, slots=True)
class RecordingIndex:
    """What the file's table of contents says.

    Attributes:
        first_depth_number, last_depth_number: the device's count of these depth frames, None where the file does not
            tell.
        depth_is_empty, colour_is_empty: whether the stream has no image at all; false where the file does not tell.
    """

    first_depth_number: int | None = None
    last_depth_number: int | None = None
    depth_is_empty: bool = False
    colour_is_empty: bool = False


def check_recording(path: Path) -> RecordingIndex:
    """Check that a file is a whole recording, without reading its images.

    A `.db3` is an SQLite database of rosbag2 (tables `topics` and `messages`): its header tells its size, and its
    last depth metadata the frame with which playback must end. A `.bag` is known by its first line only.

    Raises:
        InputError: absent, no ordinary file, of another kind, cut short or damaged.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"there is no recording {path} ({reason}): check the path") from error
    if not stat.S_ISREG(found.st_mode):  # the opening of a FIFO waits for ever, and the camera library's, too
        raise InputError(f"{path} is no ordinary file: give a recording, or a copy of it")
    magic = _MAGIC.get(path.suffix.lower())
    if magic is None:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'}, wanted a recording that ends in .db3 or .bag")
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    if not header.startswith(magic):
        raise InputError(f"{path} is not a {path.suffix} recording (it begins with {header[:16]!r}): {_AGAIN}")
    if path.suffix.lower() == ".bag":
        return RecordingIndex()
    size, got = _database_size(header), found.st_size
    if got < size:
        raise InputError(f"{path} is cut short: it holds {got} of {size} bytes; {_AGAIN}")
    try:
        return _read_index(path)
    # A damaged database gives fields of any type and size.
    except (sqlite3.Error, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"{path} is damaged or not a RealSense recording ({error}): {_AGAIN}") from error


def _database_size(header: bytes) -> int:
    """Bytes that an SQLite file should have (file format, section 1.3: page size at 16, pages at 28)."""
    page = int.from_bytes(header[16:18], "big")
    return (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")


def _restrict(database: sqlite3.Connection) -> None:
    """Let a file that is not what it seems cost neither time nor memory: a table may be a view that never ends.

    Raises:
        sqlite3.Error: one of the two tables is none.
    """
    deadline_s = time.monotonic() + _LIMIT_S
    database.set_progress_handler(lambda: int(time.monotonic() > deadline_s), 100_000)
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_ROW_BYTES)
    database.execute("PRAGMA trusted_schema = OFF")
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('topics', 'messages')"
    if database.execute(query).fetchone() != (2,):
        raise sqlite3.DatabaseError("no tables topics and messages")


def _read_index(path: Path) -> RecordingIndex:
    # Immutable: a reader must never write a journal beside somebody's recording.
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        _restrict(database)
        topics = {
            name: topic
            for name, topic in database.execute("SELECT name, id FROM topics LIMIT ?", (_MOST_TOPICS,))
            if isinstance(name, str) and isinstance(topic, int)
        }

        def end(kind: str, order: str) -> bytes | None:
            for name, topic in topics.items():
                if re.search(kind, name):
                    row = database.execute(
                        "SELECT substr(data, 1, ?) FROM messages WHERE topic_id = ? "
                        f"ORDER BY timestamp {order}, id {order} LIMIT 1",
                        (_MOST_METADATA_BYTES, topic),
                    ).fetchone()
                    if row is not None:
                        return row[0] if isinstance(row[0], bytes) else b""
            return None

        def depth_number(order: str) -> int | None:
            found = re.search(rb"Frame number=(\d{1,18})(?!\d)", end(r"/Depth_0/image/metadata$", order) or b"")
            return None if found is None else int(found.group(1))

        return RecordingIndex(
            depth_number("ASC"),
            depth_number("DESC"),
            any("/Depth_" in name for name in topics) and end(r"/Depth_0/image/data", "DESC") is None,
            any("/Color_" in name for name in topics) and end(r"/Color_0/image/data", "DESC") is None,
        )
    finally:
        database.close()
