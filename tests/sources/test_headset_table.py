"""Tables of headset poses: reading what others write, writing, and back again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.errors import InputError, SourceError
from bodystream.geometry.hands import hand_bytes
from bodystream.sources.headset.table import HeadsetCsvWriter, parse_table, write_headset_csv
from bodystream.sources.headset.trace import TraceHeadset, parse_trace, read_trace
from bodystream.types import DeviceKind, HeadsetSample, TrackedDevice
from helpers.hands import a_hand

PARTS = ("px", "py", "pz", "qx", "qy", "qz", "qw")
HEAD_COLUMNS = ",".join(f"head_{part}" for part in PARTS)
LEFT_COLUMNS = ",".join(f"left_{part}" for part in PARTS)
HEAD_CELLS = "0.1,1.6,-0.2,0,0,0,1"


HAND_TABLE = f"t_s,{HEAD_COLUMNS},{LEFT_COLUMNS},left_joints\n0,{HEAD_CELLS},{HEAD_CELLS},{{}}\n"


def sample(index, t_ns, left=DeviceKind.GRIP, right=None):
    rng = np.random.default_rng(index)

    def device(kind):
        q = rng.normal(size=4)
        return None if kind is None else TrackedDevice(rng.normal(size=3), q / np.linalg.norm(q), kind)

    return HeadsetSample(index, t_ns, device(DeviceKind.VIEW), device(left), device(right))


def assert_close(got, want):
    assert (got is None) == (want is None)
    if want is not None:
        np.testing.assert_allclose(got.position_m, want.position_m, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(got.rotation_xyzw, want.rotation_xyzw, rtol=1e-8, atol=1e-9)
        assert got.kind is want.kind
        assert (got.hand is None) == (want.hand is None)
        assert want.hand is None or hand_bytes(got.hand) == hand_bytes(want.hand)


def test_what_is_written_is_read_back(tmp_path):
    start = 5 * 10**18 + 1  # nanoseconds that no float holds
    samples = [
        sample(0, start),
        sample(1, start + 11_111_111, DeviceKind.HAND_WRIST, DeviceKind.JOINT),
        replace(sample(2, start + 22_222_222, None, DeviceKind.GRIP), head=None),
    ]
    samples[1] = replace(samples[1], left=replace(samples[1].left, hand=a_hand()))
    path = tmp_path / "deep" / "take.csv"
    assert write_headset_csv(path, samples) == 3
    assert [p.name for p in path.parent.iterdir()] == ["take.csv"]
    trace = read_trace(path)
    assert not trace.warnings
    assert [s.device_t_ns for s in trace.samples] == [s.t_ns for s in samples]
    assert [s.t_ns for s in trace.samples] == [0, 11_111_111, 22_222_222]
    for got, want in zip(trace.samples, samples, strict=True):
        for side in ("head", "left", "right"):
            assert_close(getattr(got, side), getattr(want, side))


def test_a_recording_replays_the_same_after_a_round_through_a_table(shared_data, tmp_path):
    trace = read_trace(shared_data / "headset" / "quest3_session.json")
    write_headset_csv(tmp_path / "quest.csv", TraceHeadset(trace))
    again = read_trace(tmp_path / "quest.csv")
    assert [s.t_ns for s in again.samples] == [s.t_ns for s in trace.samples]
    for got, want in zip(again.samples, trace.samples, strict=True):
        for side in ("head", "left", "right"):
            assert_close(getattr(got, side), getattr(want, side))


def test_a_table_of_before_hands_had_joints_is_one_of_ours(tmp_path):
    path = tmp_path / "take.csv"
    write_headset_csv(path, [sample(0, 0), sample(1, 10)])
    old = [line.rsplit(",", 2)[0] for line in path.read_text().splitlines()]
    assert old[0].endswith(",origin_moved,emulated")
    assert parse_table("\n".join([*old, ""]).encode(), "old.csv").samples[1].left.hand is None
    cut = "\n".join([*old[:2], old[2][:-30]])  # told from a row that ends early on purpose
    assert any("cut off" in warning for warning in parse_table(cut.encode(), "old.csv").warnings)


@pytest.mark.parametrize(
    ("column", "cells", "step_ns"),
    [("t_s", ("12.5", "12.51"), 10_000_000), ("t_ms", ("1e3", "1011.5"), 11_500_000), ("t_ns", ("7", "18"), 11)],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_units_of_time_and_separators(column, cells, step_ns, separator):
    text = f"{column},{HEAD_COLUMNS}\n{cells[0]},{HEAD_CELLS}\n\n{cells[1]},{HEAD_CELLS}\n".replace(",", separator)
    trace = parse_table(b"\xef\xbb\xbf" + text.encode(), "take.csv")
    assert [s.t_ns for s in trace.samples] == [0, step_ns]
    np.testing.assert_array_equal(trace.samples[0].head.position_m, [0.1, 1.6, -0.2])
    assert trace.samples[0].left is None and trace.samples[0].head.kind is DeviceKind.VIEW


@pytest.mark.parametrize(
    ("column", "held_ns"),
    [("t_ms", 1e9), ("t_ns", 1e3), ("t_ns", 1e6)],
)
def test_times_of_another_unit_than_their_column_are_told(column, held_ns):
    """Seconds under `t_ms`: all samples within milliseconds, which nothing else notices."""
    times = [i / 90 * 1e9 / held_ns for i in range(90)]
    text = (
        "\n".join([f"{column},{HEAD_COLUMNS}"] + [f"{round(t) if column == 't_ns' else t},{HEAD_CELLS}" for t in times])
        + "\n"
    )
    trace = parse_trace(text.encode(), "a.csv")
    (warning,) = trace.warnings
    assert "times are probably of another unit" in warning and "t_ns, t_ms or t_s" in warning


@pytest.mark.parametrize("rate_hz", [30, 90, 250, 1000, 2000])
def test_rates_of_real_trackers_are_not_doubted(rate_hz):
    text = "\n".join([f"t_s,{HEAD_COLUMNS}"] + [f"{i / rate_hz:.6f},{HEAD_CELLS}" for i in range(50)]) + "\n"
    assert parse_trace(text.encode(), "a.csv").warnings == ()


def test_columns_in_any_order_with_others_and_hands_that_come_and_go():
    header = f"note,{LEFT_COLUMNS},right_kind,{HEAD_COLUMNS},t_ms"
    rows = [f"hello,{HEAD_CELLS},,{HEAD_CELLS},0", f",,,,,,,,,{HEAD_CELLS},10", f",{'nan,' * 7},{HEAD_CELLS},20"]
    trace = parse_table("\n".join([header, *rows]).encode(), "take.csv")
    assert [s.left is not None for s in trace.samples] == [True, False, False]
    assert trace.samples[0].left.kind is DeviceKind.GRIP
    assert trace.warnings == ("take.csv: columns left alone: 'note'",)


@pytest.mark.parametrize(
    "word", ["null", "NaN", "None", "NA", "n/a", "", " ", '""', '"null"', "-nan(ind)", "undefined", "-"]
)
def test_words_for_a_number_that_is_not_there_are_a_lost_device(word):
    header = f"t_s,{HEAD_COLUMNS},{LEFT_COLUMNS},left_kind"
    lost = ",".join([word] * 8)
    rows = [f"0,{HEAD_CELLS},{HEAD_CELLS},grip", f"1,{HEAD_CELLS},{lost}", f"2,{','.join([word] * 7)},{HEAD_CELLS},"]
    trace = parse_table("\n".join([header, *rows, ""]).encode(), "take.csv")
    assert [s.left is not None for s in trace.samples] == [True, False, True]
    assert [s.head is not None for s in trace.samples] == [True, True, False]
    assert not trace.warnings


def test_rows_may_end_before_a_device_that_is_not_tracked():
    header = f"t_s,{HEAD_COLUMNS},{LEFT_COLUMNS}"
    rows = [f"0,{HEAD_CELLS},{HEAD_CELLS}", f"1,{HEAD_CELLS}", f"2,{HEAD_CELLS},,", f"3,{HEAD_CELLS},{HEAD_CELLS},,"]
    trace = parse_table("\n".join([header, *rows, ""]).encode(), "take.csv")
    assert [s.left is not None for s in trace.samples] == [True, False, False, True]
    with pytest.raises(InputError, match="line 3 has 10 cells, the header has 15"):
        parse_table("\n".join([header, rows[0], f"1,{HEAD_CELLS},0.1,1.2", ""]).encode(), "take.csv")


def test_a_table_whose_recorder_was_killed_is_read_but_for_its_last_line(tmp_path):
    path = tmp_path / "take.csv"
    write_headset_csv(path, [sample(0, 0), sample(1, 10), sample(2, 20, DeviceKind.GRIP, DeviceKind.GRIP)])
    data = path.read_bytes()
    last = len(data.splitlines(keepends=True)[-1])
    assert len(parse_table(data[:-1], "take.csv").samples) == 3
    for cut in range(2, last):
        trace = parse_table(data[:-cut], "take.csv")
        assert [s.t_ns for s in trace.samples] == [0, 10]
        assert any("line, 4, is cut off" in warning for warning in trace.warnings)
        for got, want in zip(trace.samples, [sample(0, 0), sample(1, 10)], strict=True):
            assert_close(got.head, want.head)
            assert_close(got.left, want.left)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_ends_of_lines_and_line_numbers(ends):
    lines = [
        "",
        f"t_s,{HEAD_COLUMNS}",
        "",
        f"0,{HEAD_CELLS}",
        f"1,{HEAD_CELLS}",
        f"soon,{HEAD_CELLS}",
        f"2,{HEAD_CELLS}",
    ]
    data = ends.join(lines)
    assert len(parse_table(data.replace("soon,", "1.5,").encode(), "take.csv").samples) == 4
    with pytest.raises(InputError, match="line 6: the time"):
        parse_table(data.encode(), "take.csv")


@pytest.mark.parametrize(
    ("column", "cell"),
    [("t_ns", str(2**63)), ("t_ns", "9" * 30), ("t_s", "1e10"), ("t_ms", "1e13"), ("t_s", "-1e300"), ("t_s", "inf")],
)
def test_times_beyond_64_bits(column, cell):
    with pytest.raises(InputError, match="within 250 years"):
        parse_table(f"{column},{HEAD_COLUMNS}\n{cell},{HEAD_CELLS}\n".encode(), "take.csv")
    with pytest.raises(InputError, match="line 3: the time is 57 years after the first"):
        parse_table(f"t_s,{HEAD_COLUMNS}\n0,{HEAD_CELLS}\n1.8e9,{HEAD_CELLS}\n".encode(), "take.csv")


def test_a_line_without_end_is_refused():
    with pytest.raises(InputError, match="line 2 has over 65536 characters"):
        parse_table(f"t_s,{HEAD_COLUMNS}\n".encode() + b"0," * 100_000, "take.csv")


def test_a_half_empty_device_is_passed_on_for_the_checks():
    trace = parse_table(f"t_s,{HEAD_COLUMNS}\n0,1,,3,0,0,0,1\n".encode(), "take.csv")
    assert np.isnan(trace.samples[0].head.position_m[1])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"{HEAD_COLUMNS}\n{HEAD_CELLS}\n", "the first line must name the columns"),
        ("0,1,2,3\n1,2,3,4\n", "the first line must name the columns"),
        (f"t_s,t_ms,{HEAD_COLUMNS}\n", "leave one"),
        (f"t_s,t_s,{HEAD_COLUMNS}\n", "'t_s' is there twice"),
        (f"t_s,{LEFT_COLUMNS}\n0,{HEAD_CELLS}\n", "head has no column head_px"),
        (f"t_s,{HEAD_COLUMNS},left_px\n", "left has no column left_py"),
        (f"t_s,{HEAD_COLUMNS}\n", "no rows"),
        (f"t_s,{HEAD_COLUMNS}\n0,{HEAD_CELLS}\n1,2,3\n", "line 3 has 3 cells"),
        (f"t_s;{HEAD_COLUMNS}\n".replace(",", ";") + "0,5;" + HEAD_CELLS.replace(",", ";"), "time must be a number"),
        (f"t_s,{HEAD_COLUMNS}\nsoon,{HEAD_CELLS}\n", "line 2: the time must be a number, got 'soon'"),
        (f"t_s,{HEAD_COLUMNS}\nnan,{HEAD_CELLS}\n", "time must be a number"),
        (f"t_s,{HEAD_COLUMNS}\n,{HEAD_CELLS}\n", "time must be a number"),
        (f"t_ns,{HEAD_COLUMNS}\n{'9' * 5000},{HEAD_CELLS}\n", "time must be a number"),
        (f"t_s,{HEAD_COLUMNS}\n0,x,1,2,0,0,0,1\n", "line 2: 'head_px' must be a number or empty, got 'x'"),
        (f"t_s,{HEAD_COLUMNS},head_kind\n0,{HEAD_CELLS},nose\n", "head_kind is 'nose', wanted one of view, grip"),
        (",".join(f"c{k}" for k in range(2000)), "2000 columns"),
        (HAND_TABLE.format("AAAA"), "line 2: left_joints have 3 bytes, wanted 800"),
        (HAND_TABLE.format("%%%%"), "line 2: left_joints must be base64, got '%%%%'"),
        (HAND_TABLE.format("A" * 1067 + "="), "norm of its quaternion"),
    ],
)
def test_broken_tables_are_named(text, says):
    with pytest.raises(InputError, match=says) as caught:
        parse_table(text.encode(), "take.csv")
    assert "take.csv" in str(caught.value) and len(str(caught.value)) < 600


def test_rows_are_bounded(monkeypatch):
    monkeypatch.setattr("bodystream.sources.headset.table.MAX_SAMPLES", 2)
    with pytest.raises(InputError, match="more than 2 rows"):
        parse_table(f"t_s,{HEAD_COLUMNS}\n".encode() + f"0,{HEAD_CELLS}\n".encode() * 3, "take.csv")


def test_a_recording_that_is_not_finished_has_another_name(tmp_path):
    path = tmp_path / "take.csv"
    writer = HeadsetCsvWriter(path)
    writer.write(sample(0, 0))
    assert not path.exists() and (tmp_path / "take.csv.part").exists()
    writer.close()
    writer.close()
    assert len(read_trace(path).samples) == 1


def test_what_was_recorded_before_an_interruption_is_kept(tmp_path):
    path = tmp_path / "take.csv"
    with pytest.raises(KeyboardInterrupt), HeadsetCsvWriter(path) as writer:
        writer.write(sample(0, 0))
        raise KeyboardInterrupt
    assert len(read_trace(path).samples) == 1


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot record the headset to"):
        HeadsetCsvWriter(tmp_path / "file" / "take.csv")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["t_s", "t_ns", *HEAD_COLUMNS.split(","), "left_px", "0", "1.5", "-3", "", "nan", "inf", "1e999"]
            )
            | st.text(max_size=4),
            max_size=10,
        ).map(",".join),
        max_size=4,
    ),
    st.booleans(),
)
def test_arbitrary_tables_give_samples_or_an_input_error(lines, with_header):
    header = [f"t_s,{HEAD_COLUMNS}"] if with_header else []
    data = "\n".join(header + lines).encode("utf-8", "surrogatepass")
    try:
        trace = parse_trace(data, "take.csv")
    except InputError:
        return
    assert trace.samples and all(s.head is None or s.head.position_m.shape == (3,) for s in trace.samples)
