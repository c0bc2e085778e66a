"""What can be said of a librealsense recording before it is played: whether it is whole, and what it should hold."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from bodystream.errors import InputError

__all__ = ["RecordingIndex", "check_recording"]

_MAGIC = {".db3": b"SQLite format 3\x00", ".bag": b"#ROSBAG V2.0"}
_AGAIN = "copy it again from where it was recorded, or record it again"


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
        InputError: absent, of another kind, cut short or damaged.
    """
    if not path.is_file():
        raise InputError(f"there is no recording {path}: check the path")
    magic = _MAGIC.get(path.suffix.lower())
    if magic is None:
        raise InputError(f"{path} ends in {path.suffix or 'nothing'}, wanted a recording that ends in .db3 or .bag")
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(magic):
        raise InputError(f"{path} is not a {path.suffix} recording (it begins with {header[:16]!r}): {_AGAIN}")
    if path.suffix.lower() == ".bag":
        return RecordingIndex()
    size, got = _database_size(header), path.stat().st_size
    if got < size:
        raise InputError(f"{path} is cut short: it holds {got} of {size} bytes; {_AGAIN}")
    try:
        return _read_index(path)
    except sqlite3.Error as error:
        raise InputError(f"{path} is damaged or not a RealSense recording ({error}): {_AGAIN}") from error


def _database_size(header: bytes) -> int:
    """Bytes that an SQLite file should have (file format, section 1.3: page size at 16, pages at 28)."""
    page = int.from_bytes(header[16:18], "big")
    return (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")


def _read_index(path: Path) -> RecordingIndex:
    # Immutable: a reader must never write a journal beside somebody's recording.
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        topics = dict(database.execute("SELECT name, id FROM topics").fetchall())

        def end(kind: str, order: str) -> bytes | None:
            for name, topic in topics.items():
                if re.search(kind, name):
                    row = database.execute(
                        f"SELECT data FROM messages WHERE topic_id = ? ORDER BY timestamp {order}, id {order} LIMIT 1",
                        (topic,),
                    ).fetchone()
                    if row is not None:
                        return row[0]
            return None

        def depth_number(order: str) -> int | None:
            found = re.search(rb"Frame number=(\d+)", end(r"/Depth_0/image/metadata$", order) or b"")
            return None if found is None else int(found.group(1))

        return RecordingIndex(
            depth_number("ASC"),
            depth_number("DESC"),
            any("/Depth_" in name for name in topics) and end(r"/Depth_0/image/data", "DESC") is None,
            any("/Color_" in name for name in topics) and end(r"/Color_0/image/data", "DESC") is None,
        )
    finally:
        database.close()
