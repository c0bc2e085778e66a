"""Recordings of the camera library that are damaged: told by their file, and never let it spin or crash here."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bodystream.errors import InputError
from bodystream.sources.realsense import probe, recording
from bodystream.sources.realsense.probe import probe_recording
from bodystream.sources.realsense.recording import RecordingIndex, check_recording
from helpers.fuzzing import fuzz_file

DEPTH, COLOUR = "/device_0/sensor_0/Depth_0/image", "/device_0/sensor_1/Color_0/image"


def write_recording(path: Path, edit: Callable[[sqlite3.Connection], object] = lambda database: None) -> Path:
    """A `.db3` with three frames of depth and colour, in rosbag2's tables; no image in it can be decoded."""
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA page_size = 512")
        database.execute("CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT, type TEXT)")
        database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id, timestamp, data)")
        for topic, name in enumerate((f"{DEPTH}/data", f"{DEPTH}/metadata", f"{COLOUR}/data"), start=1):
            database.execute("INSERT INTO topics VALUES (?, ?, 'x')", (topic, name))
            for number in range(3):
                data = b"Frame number=%d\nx" % (number + 7) if topic == 2 else bytes(40)
                database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
                                 (topic, number * 33, data))  # fmt: skip
        edit(database)
    database.close()
    return path


def run(statement: str, *values: object) -> Callable[[sqlite3.Connection], object]:
    return lambda database: database.execute(statement, values)


def test_the_index_tells_the_first_and_the_last_frame(tmp_path: Path) -> None:
    assert check_recording(write_recording(tmp_path / "a.db3")) == RecordingIndex(7, 9)


@pytest.mark.parametrize(
    ("edit", "index"),
    [
        (run("UPDATE messages SET data = 12"), RecordingIndex()),
        (run("UPDATE messages SET data = 'Frame number=3'"), RecordingIndex()),
        (run("UPDATE messages SET data = NULL"), RecordingIndex()),
        (run("UPDATE messages SET data = 2.5, timestamp = 'now'"), RecordingIndex()),
        (run("UPDATE messages SET data = ? WHERE topic_id = 2", b"Frame number=" + b"9" * 5000), RecordingIndex()),
        (run("UPDATE messages SET timestamp = x'00ff'"), RecordingIndex(7, 9)),
        (run("UPDATE topics SET name = NULL"), RecordingIndex()),
        (run("UPDATE topics SET name = x'ff00'"), RecordingIndex()),
        (run("UPDATE topics SET name = 3"), RecordingIndex()),
        (run("DELETE FROM messages WHERE topic_id = 1"), RecordingIndex(7, 9, depth_is_empty=True)),
    ],
)
def test_fields_of_other_types_tell_nothing(tmp_path: Path, edit: Callable, index: RecordingIndex) -> None:
    assert check_recording(write_recording(tmp_path / "a.db3", edit)) == index


@pytest.mark.parametrize(
    "edit",
    [
        run("DROP TABLE topics"),
        run("ALTER TABLE messages RENAME COLUMN data TO image"),
        run("UPDATE topics SET name = CAST(x'ff' AS TEXT)"),
    ],
)
def test_other_tables_are_told(tmp_path: Path, edit: Callable) -> None:
    with pytest.raises(InputError, match=r"a\.db3 is damaged or not a RealSense recording .*copy it again"):
        check_recording(write_recording(tmp_path / "a.db3", edit))


def test_a_table_that_never_ends_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view in place of a table, and a table so large that the look takes longer than it may."""
    endless = "CREATE VIEW topics AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i, i AS name, i AS id FROM n"  # noqa: E501

    def edit(database: sqlite3.Connection) -> None:
        database.execute("DROP TABLE topics")
        database.execute(endless)

    with pytest.raises(InputError, match="no tables topics and messages"):
        check_recording(write_recording(tmp_path / "a.db3", edit))

    def large(database: sqlite3.Connection) -> None:
        rows = ((2, i, b"x") for i in range(60_000))
        database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)

    path = write_recording(tmp_path / "b.db3", large)
    monkeypatch.setattr(recording, "_LIMIT_S", -1.0)
    with pytest.raises(InputError, match="interrupted"):
        check_recording(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("name", ["a.db3", "a.bag"])
def test_what_is_no_file_is_never_opened(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is no ordinary file"):
        check_recording(tmp_path / name)
    (tmp_path / "folder.db3").mkdir()
    with pytest.raises(InputError, match="is no ordinary file"):
        check_recording(tmp_path / "folder.db3")
    with pytest.raises(InputError, match="there is no recording"):
        check_recording(tmp_path / "a\0.db3")


def test_a_library_that_spins_is_ended_and_the_file_is_named(tmp_path: Path) -> None:
    """A process that sleeps stands for the library."""
    spins = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(InputError, match=r"take\.bag: the camera library was not done with it after 0\.2 s.*copy it"):
        probe_recording(tmp_path / "take.bag", 0.2, spins)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no signals")
def test_a_library_that_crashes_takes_nobody_with_it(tmp_path: Path) -> None:
    crashes = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]
    with pytest.raises(InputError, match=r"take\.db3: the camera library crashed when it opened it \(signal 9\)"):
        probe_recording(tmp_path / "take.db3", 30.0, crashes)


def test_what_ends_well_or_is_not_there_is_told_apart(tmp_path: Path) -> None:
    probe_recording(tmp_path / "take.db3", 30.0, [sys.executable, "-c", "print('fine')"])
    with pytest.raises(InputError, match=r"could not be tried out \(.*No module named 'pyrealsense_3.*doctor"):
        probe_recording(tmp_path / "take.db3", 30.0, [sys.executable, "-c", "import pyrealsense_3"])


def test_the_script_knows_the_errors_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library refuses comes to an end; it is told when the recording is opened for use."""

    class Library:
        def context(self) -> None:
            raise RuntimeError("damaged")

    monkeypatch.setitem(sys.modules, "pyrealsense2", Library())  # type: ignore[arg-type]
    probe._main("take.db3")


def test_fuzz_recordings(tmp_path: Path) -> None:
    seed = write_recording(tmp_path / "seed.db3").read_bytes()
    fuzz_file(check_recording, [seed], tmp_path / "a.db3")


def test_fuzz_bags(tmp_path: Path) -> None:
    seed = b"#ROSBAG V2.0\n" + bytes(range(200))
    fuzz_file(check_recording, [seed], tmp_path / "a.bag")
