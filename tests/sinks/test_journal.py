"""A journal gives back every whole record, whatever was cut off, damaged or put in between."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.errors import InputError
from bodystream.geometry.skinning import unturned_bones
from bodystream.sinks.capture_take import CaptureTake, mesh_record, nodes_record
from bodystream.sinks.journal import MAGIC, JournalReader, JournalWriter, Record, encode_record, is_being_written
from bodystream.types import Mesh, SkinnedMesh
from helpers.fuzzing import fuzz, fuzz_file


def records(count: int = 5) -> list[Record]:
    rng = np.random.default_rng(1)
    return [
        Record(
            "motion",
            {"segment": 0, "number": i, "t_ns": i * 33_000_000},
            {"motion": rng.normal(size=(7 + i, 7)).astype(np.float32)},
        )
        for i in range(count)
    ]


def same(a: Record, b: Record) -> bool:
    return (
        a.kind == b.kind
        and dict(a.fields) == dict(b.fields)
        and set(a.arrays) == set(b.arrays)
        and all(np.array_equal(a.arrays[k], b.arrays[k]) and a.arrays[k].dtype == b.arrays[k].dtype for k in a.arrays)
    )


def take_bytes() -> bytes:
    """A whole small capture."""
    rng = np.random.default_rng(2)
    v = rng.normal(size=(6, 3)).astype(np.float32)
    motions = []
    for i in range(4):
        motion = rng.normal(size=(6, 7)).astype(np.float32)
        fields = {"segment": 0, "number": i, "t_ns": i * 10}
        motions.append(encode_record(Record("motion", fields, {"motion": motion})))
    mesh = Mesh(v, np.array([[0, 1, 2], [3, 4, 5]], np.int32), v, np.zeros((6, 3), np.uint8))
    skin = SkinnedMesh(mesh, np.zeros((6, 4), np.int32), np.full((6, 4), 0.25, np.float32), unturned_bones(v))
    surface = mesh_record(0, skin, np.array([0, -1, 0, 1.0]))
    return MAGIC + encode_record(nodes_record(0, v)) + b"".join(motions) + encode_record(surface)


def test_what_was_added_comes_back(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "a.journal")
    for record in records():
        writer.add(record)
    assert writer.close()
    got = list(JournalReader(tmp_path / "a.journal"))
    assert all(map(same, got, records())) and len(got) == 5
    with pytest.raises(InputError, match="File exists"):
        JournalWriter(tmp_path / "a.journal")


def test_it_is_on_disk_half_a_second_later_without_being_asked(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "a.journal")
    writer.add(records()[0])
    deadline = time.monotonic() + 10
    while not list(JournalReader(writer.path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(JournalReader(writer.path))) == 1
    writer.close()


def test_adding_returns_at_once_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = JournalWriter(tmp_path / "a.journal")
    go, write = threading.Event(), os.write

    def slow(descriptor: int, data: bytes) -> int:
        if threading.current_thread().name == "journal-writer":
            go.wait(10)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", slow)
    for record in records(50):
        writer.add(record)
    go.set()
    assert writer.close() and len(list(JournalReader(writer.path))) == 50


def test_what_cannot_be_made_costs_itself(tmp_path: Path) -> None:
    def broken() -> Record:
        raise InputError("not finite")

    writer = JournalWriter(tmp_path / "a.journal")
    for record in (records()[0], broken, Record("x", {}, {"a": np.zeros(2, complex)}), lambda: records()[1]):
        writer.add(record)
    assert writer.close() and writer.unusable == 2
    assert len(list(JournalReader(writer.path))) == 2


def test_a_disk_that_refuses_for_long_costs_what_can_be_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodystream.sinks.journal.writer._MAX_WAITING", 4000)
    told: list[str] = []
    writer = JournalWriter(tmp_path / "a.journal", told.append, may_thin=("motion",))
    write, full = os.write, True

    def refusing(descriptor: int, data: bytes) -> int:
        if full and descriptor == writer._file:
            raise OSError(errno.EROFS, "Read-only file system")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", refusing)
    writer.add(Record("mesh"))
    for record in records(40):
        writer.add(record)
        writer.flush(0.5)
    assert writer.thinned > 10 and len(told) == 1
    full = False
    assert writer.close()
    got = list(JournalReader(writer.path))
    assert got[0].kind == "mesh" and len(got) == 41 - writer.thinned


def test_a_disk_that_fills_up_takes_the_records_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = JournalWriter(tmp_path / "a.journal")
    sizes = [len(encode_record(record)) for record in records()]
    room, write = len(MAGIC) + sum(sizes[:3]) + sizes[3] // 2, os.write

    def filling(descriptor: int, data: bytes) -> int:
        left = room - os.lseek(descriptor, 0, os.SEEK_CUR)
        if descriptor != writer._file or left >= len(data):
            return write(descriptor, data)
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:left])

    monkeypatch.setattr(os, "write", filling)
    for record in records():
        writer.add(record)
    assert not writer.flush(5.0)
    reader = JournalReader(writer.path)
    assert len(list(reader)) == 3 and reader.cut == 0
    room = 1 << 20
    assert writer.close() and all(map(same, JournalReader(writer.path), records()))
    assert len(list(JournalReader(writer.path))) == 5


@pytest.mark.skipif(os.name == "nt", reason="Windows lets nobody remove an open file")
@pytest.mark.parametrize("how", ["the file removed", "the folder removed", "the folder moved", "a file in the way"])
def test_a_journal_that_was_taken_away_comes_back_whole(tmp_path: Path, how: str) -> None:
    folder, told = tmp_path / "out", list[str]()
    folder.mkdir()
    writer = JournalWriter(folder / "a.journal", told.append)
    for record in records(3):
        writer.add(record)
    assert writer.flush()
    if how == "the file removed":
        writer.path.unlink()
    elif how == "the folder moved":
        folder.rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(folder)
    if how == "a file in the way":
        folder.write_text("not a folder")
    writer.add(records(4)[3])
    if how == "a file in the way":
        assert not writer.flush(5.0) and len(told) == 1 and writer.trouble is not None
        folder.unlink()
    assert writer.flush() and is_being_written(writer.path)
    assert writer.close()
    got = list(JournalReader(writer.path))
    assert len(got) == 4 and all(map(same, got, records(4))) and len(told) == (how == "a file in the way")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_journal_that_cannot_begin_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refusing(descriptor: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refusing)
        with pytest.raises(InputError, match=r"cannot record to .*a\.journal"):
            JournalWriter(tmp_path / "a.journal")
    assert not list(tmp_path.iterdir())


def test_who_writes_is_known_and_who_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    code = (
        "import sys, time; from pathlib import Path; from bodystream.sinks.journal import JournalWriter, Record\n"
        f"w = JournalWriter(Path({str(path)!r})); w.add(Record('session')); w.flush()\n"
        "print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        assert is_being_written(path)
        process.kill()
    assert not is_being_written(path) and len(list(JournalReader(path))) == 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.journal").write_bytes(b"something else")
    for path, message in (
        (tmp_path / "a.journal", "is no journal"),
        (tmp_path / "b", "no such journal"),
        (tmp_path, "no such"),
    ):
        with pytest.raises(InputError, match=message):
            JournalReader(path)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_whole_record_comes_back_whatever_lies_between(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    """Cut anywhere, and with any bytes put between records: the whole ones come back in order, and nothing else."""
    path = tmp_path_factory.getbasetemp() / "property.journal"
    whole = records(4)
    parts = [MAGIC]
    for record in whole:
        parts += [
            data.draw(st.binary(max_size=40) | st.just(b"BSJ1") | st.just(encode_record(record)[:30])),
            encode_record(record),
        ]
    text = b"".join(parts)
    cut = data.draw(st.integers(len(MAGIC), len(text)))
    path.write_bytes(text[:cut])
    ends = np.cumsum([len(part) for part in parts])[2::2]
    got = list(JournalReader(path))
    assert len(got) == int(np.count_nonzero(ends <= cut))
    assert all(map(same, got, whole))


@given(st.integers(0, 2**31), st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_byte_costs_one_record(tmp_path_factory: pytest.TempPathFactory, place: int, value: int) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.journal"
    text = bytearray(MAGIC + b"".join(map(encode_record, records(5))))
    place = len(MAGIC) + place % (len(text) - len(MAGIC))
    text[place] = value if text[place] != value else value ^ 1
    path.write_bytes(text)
    reader = JournalReader(path)
    got = list(reader)
    assert len(got) == 4 and reader.passed_over + reader.cut > 0
    assert all(any(same(record, other) for other in records(5)) for record in got)


@pytest.mark.parametrize("shape", [(), (7,), (0, 7), (6, 6), (6, 7, 1), (7, 7), (5, 7)])
def test_records_that_do_not_fit_the_others_cost_themselves(tmp_path: Path, shape: tuple[int, ...]) -> None:
    fields = {"segment": 0, "number": 4, "t_ns": 40}
    odd = Record("motion", fields, {"motion": np.ones(shape, np.float32)})
    late = Record("motion", {**fields, "t_ns": 1 << 62}, {"motion": np.ones((6, 7), np.float32)})
    (tmp_path / "a.journal").write_bytes(take_bytes() + encode_record(odd) + encode_record(late))
    take = CaptureTake(JournalReader(tmp_path / "a.journal"))
    assert take.unusable == 2 and len(take.segments[0].recorder) == 4
    assert any("2 record(s) of the journal do not fit" in note for note in take.notes)


def test_fuzz_journal(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        take = CaptureTake(JournalReader(path))
        for segment in take.segments:
            take.model(segment)

    fuzz_file(read, [take_bytes()], tmp_path / "x.journal")


def test_fuzz_journal_of_records_whose_sums_are_right(tmp_path: Path) -> None:
    """What damaged bytes never reach: a record that is whole and means nonsense."""
    (tmp_path / "seed").write_bytes(take_bytes())
    seeds = [encode_record(record)[24:] for record in JournalReader(tmp_path / "seed")]

    def framed(body: bytes) -> bytes:
        text = body.find(b"}]}") + 3 if b"}]}" in body else body.rfind(b"}") + 1
        head = b"BSJ1" + text.to_bytes(4, "little") + (len(body) - text).to_bytes(4, "little")
        head += zlib.crc32(body).to_bytes(4, "little") + bytes(4)
        return head + zlib.crc32(head).to_bytes(4, "little") + body

    def read(body: bytes) -> None:
        path = tmp_path / "x.journal"
        path.write_bytes(take_bytes()[:-1000] + framed(body))
        take = CaptureTake(JournalReader(path))
        for segment in take.segments:
            take.model(segment)

    fuzz(read, seeds)
