"""Markers of C3D files that ezc3d writes: units, labels, markers that were not seen, and what is no such file."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import InputError, MissingDependencyError
from bodystream.sources import c3d, c3d_child
from bodystream.sources.c3d import read_c3d
from bodystream.types import Array
from helpers.fuzzing import fuzz_file
from helpers.needs import needs

ezc3d = needs("ezc3d", "pip install 'bodystream[c3d]'")

from helpers.c3d_files import write_c3d  # noqa: E402

RNG = np.random.default_rng(0)
POINTS = RNG.uniform(-0.9, 0.9, (4, 3, 3)) + (0.0, 0.0, 1.0)  # frames, markers, [m]
LABELS = ("sub:LFHD", "sub:RFHD", "*12")


def test_places_come_in_metres_whatever_the_unit(tmp_path: Path) -> None:
    for unit, metres in (("mm", 1e-3), ("m", 1.0), ("cm", 1e-2), ("Millimeters", 1e-3), ("in", 0.0254)):
        path = write_c3d(tmp_path / "a.c3d", LABELS, POINTS / metres, unit, 120.0)
        found = read_c3d(path)
        np.testing.assert_allclose(found.points_m, POINTS, atol=1e-6)
        assert found.labels == LABELS and found.rate_hz == 120.0 and not found.notes
        np.testing.assert_allclose(found.t_s, np.arange(4) / 120.0)


def test_a_unit_that_nobody_names_is_that_of_a_person(tmp_path: Path) -> None:
    for unit, metres in (("", 1e-3), ("furlong", 1.0)):
        found = read_c3d(write_c3d(tmp_path / "a.c3d", LABELS, POINTS / metres, unit))
        np.testing.assert_allclose(found.points_m, POINTS, atol=1e-6)
        assert len(found.notes) == 1 and "was taken" in found.notes[0]
    path = write_c3d(tmp_path / "a.c3d", LABELS, 1e6 * POINTS, "furlong")
    with pytest.raises(
        InputError, match=r"a.c3d: its markers are .* apart in 'furlong': say what they are in by --unit"
    ):
        read_c3d(path)


def test_a_unit_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    path = write_c3d(tmp_path / "a.c3d", LABELS, 1e3 * POINTS, "m")
    np.testing.assert_allclose(read_c3d(path, "mm").points_m, POINTS, atol=1e-6)
    with pytest.raises(InputError, match="'yd' is no unit of markers: give one of mm, cm"):
        read_c3d(path, "yd")


def test_markers_that_were_not_seen_are_nan(tmp_path: Path) -> None:
    points, residuals = POINTS.copy(), np.zeros(POINTS.shape[:2])
    points[0, 0], points[1, 1] = np.nan, 0.0
    residuals[2, 2] = -1.0
    found = read_c3d(write_c3d(tmp_path / "a.c3d", LABELS, 1e3 * points, "mm", residuals=residuals)).points_m
    gone = np.zeros((4, 3), bool)
    gone[0, 0] = gone[1, 1] = gone[2, 2] = True
    assert np.array_equal(np.isnan(found).all(axis=2), gone)
    np.testing.assert_allclose(found[~gone], POINTS[~gone], atol=1e-6)


def test_more_than_255_markers_keep_their_labels(tmp_path: Path) -> None:
    labels = tuple(f"M{number}" for number in range(300))
    points = RNG.uniform(-500.0, 500.0, (2, 300, 3))
    assert read_c3d(write_c3d(tmp_path / "a.c3d", labels, points, "mm")).labels == labels


def test_markers_without_a_label_have_an_empty_one(tmp_path: Path) -> None:
    found = read_c3d(write_c3d(tmp_path / "a.c3d", LABELS[:1], 1e3 * POINTS[:, :1], "mm"))
    assert found.labels == LABELS[:1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a.c3d is no C3D file: it is empty"),
        (b"hello, this is no such file", "a.c3d is no C3D file: export the markers"),
        (b"\x02\x50" + 4000 * b"\x07", "a.c3d is not a readable C3D file|ezc3d crashed|was not done"),
    ],
)
def test_what_is_no_c3d_file_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.c3d").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_c3d(tmp_path / "a.c3d")


def test_frames_beyond_what_the_header_counts_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.zeros((65540, 1, 3)) + (0.1, 0.2, 1.0)
    points[:, 0, 0] += np.arange(65540) * 1e-6
    path = write_c3d(tmp_path / "long.c3d", ("LFHD",), points, "m", 240.0)
    found = read_c3d(path)  # ezc3d writes all, and reads what 16 bits can count
    assert len(found.points_m) == 65535
    assert found.notes == (
        "the file has perhaps more frames than its header can count, of which the first 65535 were read: cut the "
        "recording into pieces",
    )
    by_library = c3d._by_library

    def with_frames(read: int, said: int) -> None:
        with np.load(io.BytesIO(by_library(path)), allow_pickle=False) as arrays:
            kept = dict(arrays)
        more = ((0, 0), (0, 0), (0, read - kept["points"].shape[2]))
        kept |= {"points": np.pad(kept["points"], more), "residuals": np.pad(kept["residuals"], more)}
        buffer = io.BytesIO()
        np.savez(buffer, **(kept | {"frames": np.array(said)}))
        monkeypatch.setattr(c3d, "_by_library", lambda path: buffer.getvalue())

    with_frames(70016, 70000)  # of a file whose parameters say how long it is, the filling of its last block is read
    found = read_c3d(path)
    assert len(found.points_m) == 70000 and found.notes == ()
    with_frames(65535, 70000)
    assert "has 70000 frames, of which the first 65535 were read" in read_c3d(path).notes[0]
    with_frames(65535, 65535)
    assert read_c3d(path).notes == ()


@pytest.mark.parametrize(
    ("trial", "frames"),
    [
        ({"ACTUAL_START_FIELD": {"value": [1, 0]}, "ACTUAL_END_FIELD": {"value": [4464, 1]}}, 70000),
        ({"ACTUAL_START_FIELD": {"value": [11, 0]}, "ACTUAL_END_FIELD": {"value": [-26, 0]}}, 65500),
        ({"ACTUAL_START_FIELD": {"value": [9, 0]}, "ACTUAL_END_FIELD": {"value": [4, 0]}}, 0),
        ({"ACTUAL_START_FIELD": {"value": []}, "ACTUAL_END_FIELD": {"value": [4, 0]}}, 0),
        ({"ACTUAL_END_FIELD": {"value": [4, 0]}}, 0),
    ],
)
def test_words_of_16_bits_count_frames(trial: dict, frames: int) -> None:
    assert c3d_child._frames({"TRIAL": trial}) == frames
    assert c3d_child._frames({}) == 0


def test_a_file_that_is_absent_or_a_folder_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.c3d", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            read_c3d(path)


def test_no_frames_no_markers_and_no_rate_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_c3d(tmp_path / "a.c3d", LABELS, 1e3 * POINTS, "mm")
    for said, points in (("has no frames", np.zeros((4, 3, 0))), ("has no markers", np.zeros((4, 0, 5)))):
        made = io.BytesIO()  # the library writes no such file
        np.savez(
            made, points=points, residuals=points[:1], rate_hz=100.0, first_frame=0, labels=np.array(LABELS),
            labelled=True, unit="mm",
        )  # fmt: skip
        content = made.getvalue()
        with monkeypatch.context() as patch:
            patch.setattr(c3d, "_by_library", lambda path, content=content: content)
            with pytest.raises(InputError, match=f"a.c3d {said}"):
                read_c3d(path)
    path = write_c3d(tmp_path / "a.c3d", LABELS, 1e3 * POINTS, "mm", 77.0)
    path.write_bytes(path.read_bytes().replace(struct.pack("<f", 77.0), struct.pack("<f", -1.0)))
    with pytest.raises(InputError, match="a.c3d says that it has -1 frames in a second"):
        read_c3d(path)


def test_a_library_that_crashes_or_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_c3d(tmp_path / "a.c3d", LABELS, 1e3 * POINTS, "mm")
    crash = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"]
    with pytest.raises(InputError, match=r"a.c3d: ezc3d crashed on it \(signal 11\): it is damaged"):
        c3d._by_library(path, crash)
    monkeypatch.setattr(c3d, "_LIMIT_S", 0.3)
    with pytest.raises(InputError, match="a.c3d: ezc3d was not done with it after 0.3 s"):
        c3d._by_library(path, [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(c3d, "_MAX_BYTES", 100)
    with pytest.raises(InputError, match="a.c3d has more than"):
        read_c3d(path)


def test_the_extra_is_named_where_it_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_c3d(tmp_path / "a.c3d", LABELS, 1e3 * POINTS, "mm")
    monkeypatch.setattr(c3d.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"ezc3d is needed to read .c3d files.*bodystream\[c3d\]"):
        read_c3d(path)


def test_fuzz_c3d(tmp_path: Path) -> None:
    def read(path: Path) -> Array:
        found = read_c3d(path)
        assert found.points_m.ndim == 3 and len(found.labels) == found.points_m.shape[1]
        return found.points_m

    seed = write_c3d(tmp_path / "seed.c3d", LABELS, 1e3 * POINTS, "mm").read_bytes()
    fuzz_file(read, [seed], tmp_path / "a.c3d", share=0.1)  # each is read in a process of its own
