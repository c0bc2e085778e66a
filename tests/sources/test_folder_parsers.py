"""The parsers of files from outside give a right answer or an `InputError`, whatever the bytes."""

from __future__ import annotations

import functools
import io
import json
import struct
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from bodystream.errors import InputError
from bodystream.sources.layouts.deepdeform import parse_flow
from bodystream.sources.layouts.intrinsics import PinholeParameters, parse_intrinsics, read_intrinsics
from bodystream.sources.layouts.mat5 import list_variables, read_variable
from bodystream.sources.layouts.matlab import read_take
from bodystream.sources.layouts.tum import associate, parse_list

FOCAL = st.floats(1.0, 1e5)
CENTRE = st.floats(-1e5, 1e5)
XML = (
    '<?xml version="1.0"?>\n<opencv_storage>\n<camera_matrix type_id="opencv-matrix"><rows>3</rows><cols>3</cols>'
    "<dt>d</dt><data>\n{fx!r} 0. {cx!r} 0. {fy!r} {cy!r} 0. 0. 1.</data></camera_matrix>\n"
    "<image_width>640</image_width><image_height>480</image_height></opencv_storage>\n"
)
YAML = (
    "%YAML:1.0\n---\nK: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
    "   data: [ {fx!r}, 0., {cx!r}, 0., {fy!r}, {cy!r}, 0., 0., 1. ]\nimage_width: 640\nimage_height: 480\n"
)
LIST = (
    "K:\n  - {fx!r}\n  - 0\n  - {cx!r}\n  - 0\n  - {fy!r}\n  - {cy!r}\n  - 0\n  - 0\n  - 1\nwidth: 640\nheight: 480\n"
)
NESTED = "K: [[{fx!r}, 0, {cx!r}], [0, {fy!r}, {cy!r}],\n    [0, 0, 1]]  # rows\n"
ROS = (
    "image_width: 640\nimage_height: 480\ncamera_matrix:\n  rows: 3\n  cols: 3\n"
    "  data: [{fx!r}, 0., {cx!r}, 0., {fy!r}, {cy!r}, 0., 0., 1.]\n"
    "distortion_coefficients:\n  rows: 1\n  cols: 5\n  data: [0.1, 0., 0., 0., 0.]\n"
)


def _texts(fx: float, fy: float, cx: float, cy: float) -> list[tuple[str, str]]:
    rows = [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]
    values = {"fx": fx, "fy": fy, "cx": cx, "cy": cy}
    three = "\n".join(" ".join(repr(v) for v in row) for row in rows)
    four = "\n".join(" ".join(repr(v) for v in (*row, 0.0)) for row in rows) + "\n0 0 0 1\n"
    texts = [
        (f"{fx!r} {fy!r} {cx!r} {cy!r}", ".txt"),
        (f"# fx, fy, cx, cy\n{fx!r},{fy!r},{cx!r},{cy!r}\n", ".txt"),
        (three, ".txt"),
        (four, ".txt"),
        (json.dumps(rows), ".json"),
        (json.dumps(rows), ".txt"),
        (json.dumps({"fx": fx, "fy": fy, "ppx": cx, "ppy": cy, "width": 640, "height": 480}), ".json"),
        (json.dumps({"camera": values}), ".json"),
        (json.dumps({"K": [v for row in rows for v in row]}), ".json"),
        *(
            (template.format(**values), suffix)
            for template, suffix in ((XML, ".xml"), (YAML, ".yaml"), (ROS, ".yml"), (LIST, ".yaml"), (NESTED, ".yaml"))
        ),
    ]
    if cx > 1.0:  # column by column, told apart by where the principal point stands
        texts.append((json.dumps({"intrinsic_matrix": np.array(rows).T.ravel().tolist()}), ".json"))
    return texts


@settings(max_examples=40, deadline=None)
@given(FOCAL, FOCAL, CENTRE, CENTRE)
def test_every_format_gives_back_what_was_written(fx: float, fy: float, cx: float, cy: float) -> None:
    for text, suffix in _texts(fx, fy, cx, cy):
        got = parse_intrinsics(text, suffix, "file")
        np.testing.assert_allclose((got.fx, got.fy, got.cx, got.cy), (fx, fy, cx, cy), rtol=1e-7, err_msg=text)
        assert (got.width, got.height) in ((None, None), (640, 480))
        assert got.distorted == ("distortion" in text)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(_texts(525.0, 520.0, 320.0, 240.0)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 20), st.text(max_size=6)), max_size=4),
)
def test_damaged_intrinsics_are_refused_or_finite(written: tuple[str, str], edits: list[tuple[int, int, str]]) -> None:
    text, suffix = written
    for position, removed, added in edits:
        text = text[:position] + added + text[position + removed :]
    try:
        got = parse_intrinsics(text, suffix, "file")
    except InputError as error:
        assert "file" in str(error)
    else:
        assert isinstance(got, PinholeParameters) and got.fx > 0 and got.fy > 0
        assert np.isfinite((got.fx, got.fy, got.cx, got.cy)).all()


@settings(max_examples=300, deadline=None)
@given(st.text(), st.sampled_from([".txt", ".json", ".xml", ".yaml", ".yml"]))
def test_any_text_is_parsed_or_refused(text: str, suffix: str) -> None:
    try:
        parse_intrinsics(text, suffix, "file")
    except InputError as error:
        assert "file" in str(error)


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("1 2 3", ".txt", "expected 4 .* got 3"),
        ("500 500 320 nan", ".txt", "finite"),
        ("-500 500 320 240", ".txt", "positive focal"),
        ("500 0 320 1 500 240 0 0 1", ".txt", "row 2, column 1"),
        ("500 0 320 0 500 240 0 0 2", ".txt", "third row"),
        ("five hundred", ".txt", "expected numbers, got 'five'"),
        ("{", ".json", "not valid json"),
        ("3", ".json", "expected a json object"),
        ("{}", ".json", "found neither fx"),
        ('{"K": ["a", 1, 2]}', ".json", "numbers only"),
        (XML.replace("0. 0. 1.", "").format(fx=1.0, fy=1.0, cx=0.0, cy=0.0), ".xml", "got 6"),
        ("%YAML:1.0\n---\nother: 3\n", ".yaml", "no camera matrix.*found other"),
        ("[" * 60_000, ".json", "not valid json"),
        ('<?xml version="1.0"?>\n<opencv_storage>' + "<a>" * 20_000, ".xml", "no camera matrix.*found a;"),
        ("<K>" * 20_000, ".xml", "<K> does not end"),
        ("<!--" * 15_000, ".xml", "a comment does not end"),
        ("K: " + "[" * 60_000, ".yaml", "got 0"),
        ("K: {data: " + "[" * 60_000, ".yaml", "a list does not end"),
        ("K: " + "{a: " * 15_000, ".yaml", "damaged"),
        ("K:\n" + "- 1\n" * 15_000, ".yaml", "15000 values"),
        ("-" * 60_000, ".yaml", "no camera matrix"),
        ("K: {data:" + "\n" * 60_000, ".yaml", "got 0"),
        (
            '{"fx": 1' + "0" * 400 + ', "fy": 1, "cx": 1, "cy": 1, "width": 1' + "0" * 400 + "}",
            ".json",
            "numbers|finite",
        ),
    ],
)
def test_messages_of_bad_intrinsics(text: str, suffix: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_intrinsics(text, suffix, "file")


def test_agrees_with_what_opencv_writes(tmp_path: Path) -> None:
    matrix = np.array([[525.25, 0.0, 319.5], [0.0, 520.125, 1.0 / 3.0], [0.0, 0.0, 1.0]])
    for suffix in (".xml", ".yaml"):
        path = tmp_path / f"camera{suffix}"
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
        storage.write("image_width", 640)
        storage.write("image_height", 480)
        storage.write("camera_matrix", matrix)
        storage.write("distortion_coefficients", np.zeros((1, 5)))
        storage.release()
        got = read_intrinsics(path)
        assert (got.fx, got.fy, got.cx, got.cy) == (525.25, 520.125, 319.5, 1.0 / 3.0)
        assert (got.width, got.height, got.distorted) == (640, 480, False)


def test_intrinsics_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "intrinsics.txt"
    path.write_bytes(b"1 " * (1 << 20))
    with pytest.raises(InputError, match="larger than 64 KiB"):
        read_intrinsics(path)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([2, 3]), st.integers(0, 2**32 - 1), st.data())
def test_flow_round_trip_and_every_cut(width: int, height: int, channels: int, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    flow = rng.normal(size=(height, width, channels)).astype(np.float32)
    flow[rng.random(flow.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    header = struct.pack("<III", width, height, channels)
    written = header + b"".join(flow[..., c].astype("<f4").tobytes() for c in range(channels))
    expected = np.where(np.isfinite(flow).all(axis=2, keepdims=True), flow, np.nan)
    np.testing.assert_array_equal(parse_flow(written, channels, "file"), expected)
    cut = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(InputError, match="truncated"):
        parse_flow(written[:cut], channels, "file")
    with pytest.raises(InputError, match="too long"):
        parse_flow(written + b"\0", channels, "file")
    with pytest.raises(InputError, match="channels"):
        parse_flow(written, 5 - channels, "file")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_flow_or_refused(data: bytes) -> None:
    try:
        flow = parse_flow(data, 2, "file")
    except InputError as error:
        assert str(error).startswith("file: ")
    else:
        assert flow.nbytes + 12 == len(data)


def test_flow_header_cannot_ask_for_memory() -> None:
    with pytest.raises(InputError, match="4294967295x4294967295"):
        parse_flow(struct.pack("<III", 2**32 - 1, 2**32 - 1, 2), 2, "file")


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789. #\n/abe-,", max_size=120), st.sampled_from([2, 4]))
def test_any_list_is_parsed_or_refused(text: str, columns: int) -> None:
    try:
        rows, _ = parse_list(text, columns, "file")
    except InputError as error:
        assert "file line " in str(error)
    else:
        assert all(len(row) == columns // 2 and all(time_ns >= 0 for time_ns, _ in row) for row in rows)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 500_000_000), min_size=1, max_size=12, unique=True),
    st.lists(st.integers(0, 500_000_000), min_size=1, max_size=12, unique=True),
)
def test_association_is_mutually_nearest(depth_ns: list[int], colour_ns: list[int]) -> None:
    frames = associate([(t, f"d{t}") for t in depth_ns], [(t, f"c{t}") for t in colour_ns])
    pairs = [(t, int(colour[1:])) for t, depth, colour, problem in frames if depth and colour and not problem]
    assert sorted(t for t, depth, _, _ in frames if depth) == sorted(depth_ns)  # no depth image is forgotten
    assert len({c for _, c in pairs}) == len(pairs)
    for d, c in pairs:
        assert abs(d - c) <= 20_000_000
        assert abs(d - c) == min(abs(d - other) for other in colour_ns)
        assert abs(d - c) == min(abs(other - c) for other in depth_ns)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 4000),
)
def test_damaged_matlab_takes_are_read_or_refused(changes: list[tuple[int, int]], compressed: bool, cut: int) -> None:
    data = bytearray(_mat(compressed))
    for position, value in changes:
        data[position % len(data)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x_depth.mat"
        for content in (data, data[:cut]):
            path.write_bytes(content)
            try:
                got = read_take(path)
            except InputError as error:
                assert "x_depth.mat" in str(error)
            else:
                assert got.ndim == 3 and got.dtype.kind in "uf" and got.nbytes < 1 << 20


@functools.cache
def _mat(compressed: bool) -> bytes:
    file = io.BytesIO()
    depth = np.arange(16 * 20 * 2, dtype=np.uint16).reshape(16, 20, 2)
    savemat(file, {"before": np.ones((3, 3)), "d_depth": depth, "z": "text"}, do_compression=compressed)
    return file.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "i8"])
def test_matlab_arrays_agree_with_what_scipy_wrote(compressed: bool, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, (9, 11, 3)).astype(dtype)
    file = io.BytesIO()
    savemat(file, {"a": values, "long_name_of_a_cell": np.array([[1, "x"]], dtype=object)}, do_compression=compressed)
    array, cell = list_variables(file.getvalue(), "file")
    assert (array.name, array.shape) == ("a", (9, 11, 3)) and cell.kind == "other"
    got = read_variable(array, 1 << 20, "file")
    np.testing.assert_array_equal(got, values)
    assert got.dtype == values.dtype
    with pytest.raises(InputError, match="at most 10 are read"):
        read_variable(array, 10, "file")
    with pytest.raises(InputError, match="not a plain numeric"):
        read_variable(cell, 1 << 20, "file")
