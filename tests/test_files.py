from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from bodystream.errors import InputError
from bodystream.files import atomic_path, check_output, growing_path, read_bounded, read_text_bounded


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
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(InputError, match=r"it is a folder.*whole file is kept as \S+") as error:
        with atomic_path(tmp_path / "folder.txt") as temporary:
            temporary.write_text("x")
    kept = Path(str(error.value).rsplit(" ", 1)[1])
    assert kept.read_text() == "x" and kept.name.startswith("folder.kept-") and kept.suffix == ".txt"
    assert sorted(os.listdir(tmp_path)) == sorted(["file", "folder.txt", kept.name])


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


def put(path: str | Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@pytest.mark.skipif(os.name == "nt", reason="links and devices of Unix")
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "report.json").write_text("earlier")
    (tmp_path / "link.json").symlink_to("real/report.json")
    (tmp_path / "again.json").symlink_to("link.json")
    (tmp_path / "dangling.json").symlink_to("made/new.json")
    for name in ("link.json", "again.json", "dangling.json"):
        check_output(tmp_path / name, "--report")
        put(tmp_path / name, name.encode())
        assert (tmp_path / name).is_symlink() and (tmp_path / name).read_bytes() == name.encode()
    assert (tmp_path / "real" / "report.json").read_bytes() == b"again.json"
    assert os.listdir(tmp_path / "real") == ["report.json"] and os.listdir(tmp_path / "made") == ["new.json"]


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="no /dev/null")
def test_devices_are_written_to_and_never_replaced(tmp_path: Path) -> None:
    before = os.stat("/dev/null")
    (tmp_path / "null").symlink_to("/dev/null")
    for path in ("/dev/null", tmp_path / "null"):
        check_output(path, "--report")
        put(path, b"x" * 100_000)
    after = os.stat("/dev/null")
    assert stat.S_ISCHR(after.st_mode) and (after.st_ino, after.st_rdev) == (before.st_ino, before.st_rdev)
    assert os.path.islink(tmp_path / "null") and os.listdir(tmp_path) == ["null"]
    if os.path.exists("/dev/full"):
        with pytest.raises(InputError, match="/dev/full could not be written: the disk is full"):
            put("/dev/full", b"x")
        assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_fifo_gets_all_where_somebody_reads_and_is_refused_where_nobody_does(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="--report: cannot write to .*pipe: no program reads it"):
        check_output(pipe, "--report")
    with pytest.raises(InputError, match="no program reads it"):
        put(pipe, b"x")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # the reader opens it when it comes to it
        try:
            put(pipe, b"y" * 300_000)  # more than a pipe holds
            break
        except InputError:
            time.sleep(0.02)
    reader.join()
    assert got == [b"y" * 300_000] and stat.S_ISFIFO(os.stat(pipe).st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="no /dev/stdout")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path: Path, name: str) -> None:
    if name == "link":
        (tmp_path / "link").symlink_to("/dev/stdout")
        name = str(tmp_path / "link")
    code = (
        "import sys; from bodystream.files import atomic_path, check_output\n"
        f"print('before', flush=True); check_output({name!r}, '--report')\n"
        f"with atomic_path({name!r}) as t: t.write_text('report\\n')\n"
        "print('after')"
    )
    with open(tmp_path / "log", "wb") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "before\nreport\nafter\n"


def test_places_where_no_file_can_be_are_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for path, message in (
        ("", "--report: '.?' is no name of a file: give one"),
        (".", "is no name of a file"),
        (tmp_path, "--report: .* is a folder: give the name of a file in it"),
        (tmp_path / "file" / "r.json", "--report: cannot write to the folder .*file"),
        (tmp_path / "nul\0", "--report: .* is no name of a file"),
    ):
        with pytest.raises(InputError, match=message):
            check_output(path, "--report")
    check_output(tmp_path / "made" / "r.json", "--report")
    check_output(tmp_path / "file", "--report")
    assert os.listdir(tmp_path / "made") == [] and (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the permissions are POSIX's")
def test_a_folder_without_permission_is_refused_beforehand() -> None:
    """As another user where this one is root, who may write everywhere; pytest's folders are closed to that user."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        locked = Path(folder) / "locked"
        locked.mkdir(mode=0o555)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            with pytest.raises(InputError, match="Permission denied.*choose another folder"):
                check_output(locked / "r.json", "--report")
        finally:
            os.seteuid(user)


def test_a_growing_file_keeps_its_content_whatever_ends_it(tmp_path: Path) -> None:
    with growing_path(tmp_path / "a.txt", tmp_path / "a.part.txt") as part:
        part.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole" and os.listdir(tmp_path) == ["a.txt"]
    for number, error in enumerate((KeyboardInterrupt(), ValueError("broken"))):
        with pytest.raises(type(error)), growing_path(tmp_path / "a.txt", tmp_path / f"{number}.part") as part:
            part.write_text("so far")
            raise error
        assert (tmp_path / f"{number}.part").read_text() == "so far"
    with pytest.raises(InputError, match="earlier file is unchanged.*disk is full.*what was recorded is in .*b.part"):
        with growing_path(tmp_path / "a.txt", tmp_path / "b.part"):
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InputError, match="a.txt"), growing_path(tmp_path / "a.txt", tmp_path / "b.part"):
        pass  # a part of another session is never taken over
    assert (tmp_path / "a.txt").read_text() == "whole"
