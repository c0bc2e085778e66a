from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from bodystream.errors import InputError
from bodystream.files import atomic_path, read_bounded, read_text_bounded


def test_new_file_appears_whole_and_keeps_its_suffix(tmp_path: Path) -> None:
    target = tmp_path / "new" / "take.ply"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"whole")
        assert temporary.parent == target.parent and temporary.suffix == ".ply"
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert os.listdir(target.parent) == ["take.ply"]


@pytest.mark.parametrize("error", [ValueError("broken mesh"), KeyboardInterrupt()])
def test_error_keeps_the_last_whole_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "report.json"
    target.write_text("earlier")
    with pytest.raises(type(error)), atomic_path(target) as temporary:
        temporary.write_text("half of it")
        raise error
    assert target.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["report.json"]


def test_full_disk_is_said_and_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "canonical.ply"
    target.write_text("earlier")
    with pytest.raises(InputError, match=r"canonical.ply.*earlier file is unchanged.*disk is full.*free some space"):
        with atomic_path(target) as temporary:
            temporary.write_text("half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert target.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["canonical.ply"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full, whose writes fail as on a full disk")
def test_a_write_that_really_fails(tmp_path: Path) -> None:
    target = tmp_path / "live.ply"
    with pytest.raises(InputError, match="disk is full"), atomic_path(target) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 10_000)
    assert os.listdir(tmp_path) == []


def test_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file"), atomic_path(tmp_path / "file" / "out.ply") as temporary:
        temporary.write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder"), atomic_path(tmp_path / "folder") as temporary:
        temporary.write_text("x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing.json"), atomic_path(tmp_path / "nothing.json"):
        pass
    assert os.listdir(tmp_path) == []


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    size = 200_000
    target.write_bytes(b"0" * size)
    done = threading.Event()

    def write() -> None:
        for digit in b"123456789" * 3:
            with atomic_path(target) as temporary:
                temporary.write_bytes(bytes([digit]) * size)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not done.is_set():
        data = target.read_bytes()
        assert len(data) == size and len(set(data)) == 1
        seen.add(data[0])
    thread.join()
    assert len(seen) > 1


def test_reading_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "take.bvh"
    path.write_bytes(b"x" * 100)
    assert read_bounded(path, 100) == b"x" * 100
    with pytest.raises(InputError, match=r"take.bvh: is larger than 99 bytes"):
        read_bounded(path, 99)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"take.bvh: is empty"):
        read_bounded(path, 99)


def test_text_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfone\xff")
    assert read_text_bounded(path, 99) == "one\ufffd"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="no ordinary file"):
            read_bounded(path, 99)
    for path in (tmp_path, tmp_path / "absent", tmp_path / "nul\0"):
        with pytest.raises(InputError, match="cannot be read"):
            read_bounded(path, 99)
