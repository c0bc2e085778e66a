"""Frames and samples come out of a take as they went in, each time the same; what is damaged is told."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bodystream.errors import ConfigurationError, InputError
from bodystream.pipelines.recording.convert import copy_take
from bodystream.sources import open_source
from bodystream.sources.headset.open import open_headset
from bodystream.sources.headset.take import TakeHeadset
from bodystream.sources.take import TakeSource
from bodystream.sources.take_config import TakeConfig
from bodystream.takes import TakeReader
from bodystream.types import HeadsetSample, RgbdFrame
from helpers.needs import needs
from helpers.takes import GivenSource, frames, samples, write_take

mcap = needs("mcap", "pip install 'bodystream[mcap]'")


def assert_same_frames(got: list[RgbdFrame], want: list[RgbdFrame]) -> None:
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        for name in ("index", "t_ns", "device_t_ns", "name", "intrinsics"):
            assert getattr(one, name) == getattr(other, name)
        for name in ("depth_m", "colour", "mask"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None) == (b is None)
            if a is not None:
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)


def assert_same_samples(got: list[HeadsetSample], want: list[HeadsetSample]) -> None:
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        for name in ("index", "t_ns", "device_t_ns", "origin_moved", "emulated"):
            assert getattr(one, name) == getattr(other, name)
        for name in ("head", "left", "right"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a is None) == (b is None)
            if a is not None:
                assert a.kind is b.kind
                np.testing.assert_array_equal(a.position_m, b.position_m)
                np.testing.assert_array_equal(a.rotation_xyzw, b.rotation_xyzw)


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("take") / "take.mcap"
    write_take(path, frames(20, mask=True), samples(60))
    return path


@pytest.mark.parametrize("unit_m", [0.001, 0.0001, 0.00025, 0.0002])
def test_frames_come_back_to_the_bit(tmp_path: Path, unit_m: float) -> None:
    want = frames(8, unit_m=unit_m, mask=True)
    recorder = write_take(tmp_path / "take.mcap", want)
    assert recorder.rounded == 0
    assert_same_frames(list(open_source(f"take:{tmp_path / 'take.mcap'}")), want)


def test_frames_without_colour_and_without_any_depth_come_back(tmp_path: Path) -> None:
    want = frames(4, colour=False)
    want[0].depth_m[:] = 0.0
    write_take(tmp_path / "take.mcap", want)
    assert_same_frames(list(TakeSource(tmp_path / "take.mcap")), want)


def test_depth_that_is_divided_comes_back_to_the_bit(tmp_path: Path) -> None:
    """As the synthetic camera computes it: of 0.001 float32 a multiple, or a thousandth of a whole number."""
    want = frames(2)
    for frame in want:
        frame.depth_m[:] = np.rint(frame.depth_m * 1000.0).astype(np.float32) / np.float32(1000.0)
    assert any((f.depth_m != np.rint(f.depth_m * 1000.0).astype(np.float32) * np.float32(0.001)).any() for f in want)
    recorder = write_take(tmp_path / "take.mcap", want)
    assert recorder.rounded == 0
    assert_same_frames(list(TakeSource(tmp_path / "take.mcap")), want)


def test_depth_in_no_whole_units_is_rounded_and_told(tmp_path: Path) -> None:
    want = frames(3)
    for frame in want:
        frame.depth_m[frame.depth_m > 0] += np.float32(0.00007)
    notes: list[str] = []
    from bodystream.pipelines.recording.recorder import TakeRecorder

    with TakeRecorder(tmp_path / "take.mcap", on_note=notes.append) as recorder:
        for frame in want:
            recorder.add_frame(frame, GivenSource([]), wait=True)
    assert recorder.rounded == 3
    assert len(notes) == 1 and "steps of 0.25 mm" in notes[0]
    for got, frame in zip(TakeSource(tmp_path / "take.mcap"), want, strict=True):
        assert np.abs(got.depth_m - frame.depth_m).max() <= 0.000126
        np.testing.assert_array_equal(got.depth_m == 0, frame.depth_m == 0)


def test_jpeg_is_of_the_quality_that_is_stated(tmp_path: Path) -> None:
    import cv2

    want = frames(1)
    write_take(tmp_path / "take.mcap", want, colour="jpeg 80")
    assert want[0].colour is not None
    coded = cv2.imencode(".jpg", want[0].colour[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    (got,) = TakeSource(tmp_path / "take.mcap")
    np.testing.assert_array_equal(got.colour, cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def test_samples_come_back_to_the_bit(take: Path) -> None:
    assert_same_samples(list(open_headset(f"take:{take}")), samples(60))


def test_two_replays_are_the_same_and_frames_go_with_samples(take: Path) -> None:
    first, second = list(TakeSource(take)), list(TakeSource(take))
    assert_same_frames(first, second)
    heard = list(TakeHeadset(take))
    assert_same_samples(heard, list(TakeHeadset(take)))
    together = sorted([*first, *heard], key=lambda item: item.t_ns)
    made = sorted([*frames(20, mask=True), *samples(60)], key=lambda item: item.t_ns)
    assert [(type(item), item.t_ns) for item in together] == [(type(item), item.t_ns) for item in made]


def test_a_loop_goes_on_in_time_and_number(take: Path) -> None:
    source = TakeSource(take, TakeConfig(loop=True))
    got = []
    for frame in source:
        got.append(frame)
        if len(got) == 45:
            source.close()
    assert np.all(np.diff([f.t_ns for f in got]) > 0) and np.all(np.diff([f.index for f in got]) == 1)
    np.testing.assert_array_equal(got[20].depth_m, got[0].depth_m)


def test_real_time_comes_at_its_pace_and_its_times_are_now(take: Path) -> None:
    from bodystream.timing import now_ns

    source = TakeSource(take, TakeConfig(realtime=True))
    assert source.live
    start_ns = now_ns()
    late = [now_ns() - frame.t_ns for frame in source]
    assert now_ns() - start_ns >= 19 * 33_333_333
    assert all(value >= 0 for value in late)


def test_a_slow_replay_changes_the_pace_and_no_time(take: Path) -> None:
    from bodystream.timing import now_ns

    start_ns = now_ns()
    slow = list(open_headset(f"trace:{_table(take)}", realtime=True, speed=2.0))
    took_ns = now_ns() - start_ns
    assert took_ns >= (slow[-1].t_ns - slow[0].t_ns) / 2
    assert np.diff([s.t_ns for s in slow]).tolist() == np.diff([s.t_ns for s in samples(60)]).tolist()


def _table(take: Path) -> Path:
    from bodystream.sources.headset.table import write_headset_csv

    path = take.with_name("headset.csv")
    write_headset_csv(path, samples(60))
    return path


@pytest.mark.parametrize("spec", ["openxr", "webxr", "vmc", "take:{take}?realtime=0"])
def test_what_has_no_speed_says_so(take: Path, spec: str) -> None:
    with pytest.raises(ConfigurationError, match="speed"):
        open_headset(spec.format(take=take), speed=0.5)


def test_the_other_half_is_named_where_it_is_absent(tmp_path: Path) -> None:
    write_take(tmp_path / "depth.mcap", frames(2))
    write_take(tmp_path / "hands.mcap", [], samples(2))
    with pytest.raises(InputError, match="without head and hands"):
        TakeHeadset(tmp_path / "depth.mcap")
    with pytest.raises(InputError, match=r"without a camera .*--headset take:"):
        TakeSource(tmp_path / "hands.mcap")


# Files that are no whole take


def test_a_file_that_is_no_mcap_is_named(tmp_path: Path) -> None:
    for content, said in ((b"", "is empty"), (b"#ROSBAG V2.0\n" * 9, "no MCAP file")):
        (tmp_path / "other.mcap").write_bytes(content)
        with pytest.raises(InputError, match=said):
            TakeSource(tmp_path / "other.mcap")
    with pytest.raises(InputError, match="there is no take"):
        TakeSource(tmp_path / "absent.mcap")


def test_a_foreign_mcap_is_named_by_its_topics(tmp_path: Path) -> None:
    from mcap.writer import Writer

    with open(tmp_path / "foreign.mcap", "wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        channel = writer.register_channel("/imu", "json", 0)
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    with pytest.raises(InputError, match=r"another program \(its topics: '/imu'\)"):
        TakeSource(tmp_path / "foreign.mcap")


def test_a_take_of_a_later_format_is_refused(tmp_path: Path) -> None:
    from mcap.writer import Writer

    with open(tmp_path / "later.mcap", "wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_metadata("bodystream.take", {"format": "2"})
        writer.finish()
    with pytest.raises(InputError, match="a take of the format '2'"):
        TakeSource(tmp_path / "later.mcap")


def test_wherever_a_take_is_cut_off_its_whole_frames_are_read(tmp_path: Path) -> None:
    """The library itself takes a cut chunk for a whole one."""
    from bodystream.takes import TakeWriter
    from bodystream.takes.messages import FrameMessage, TakeCamera
    from bodystream.types import LensCamera, RgbdCalibration
    from helpers.takes import CAMERA

    given = frames(6)
    with open(tmp_path / "whole.mcap", "wb") as file:
        writer = TakeWriter(file, 0)
        calibration = RgbdCalibration(LensCamera(CAMERA), 0.001)
        about = TakeCamera(source="x", rate_hz=30.0, calibration=calibration, registered=True, colour_coding="png")
        writer.add_camera(about, given[0].t_ns)
        for frame in given:
            units = np.rint(frame.depth_m * 1000).astype(np.uint16)
            message = FrameMessage(
                index=frame.index, t_ns=frame.t_ns, device_t_ns=None, name="", colour=True, mask=False
            )
            writer.add_frame(message, units, frame.colour, None, coding="png", registered=True)
            writer.flush()
        writer.close()
    with TakeReader(tmp_path / "whole.mcap") as reader:
        ends = [chunk.offset + chunk.length for chunk in reader._chunks or ()]
    assert len(ends) == len(given)
    content = (tmp_path / "whole.mcap").read_bytes()
    cut = tmp_path / "cut.mcap"
    rng = np.random.default_rng(0)
    for size in sorted({ends[0], ends[3], ends[3] - 1, ends[3] + 1, *rng.integers(ends[0], len(content), 40).tolist()}):
        cut.write_bytes(content[:size])
        whole = sum(end <= size for end in ends)
        got = list(TakeSource(cut))
        assert [frame.index for frame in got] == list(range(whole)), size
        for frame, want in zip(got, given, strict=False):
            np.testing.assert_array_equal(frame.colour, want.colour)
    said = " ".join(TakeSource(cut).counts.warnings)
    assert "no table of contents" in said and "as far as its chunks are whole" in said
    cut.write_bytes(content[: ends[0] // 2])
    with pytest.raises(InputError, match="not one whole frame"):
        TakeSource(cut)


def test_a_copy_of_a_cut_take_has_its_end_again(take: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(take.read_bytes()[:-300])
    written, problems = copy_take(cut, tmp_path / "mended.mcap")
    assert written.messages > 100 and "no table of contents" in problems[0]
    with TakeReader(tmp_path / "mended.mcap") as reader:
        assert reader.whole
    assert_same_frames(list(TakeSource(tmp_path / "mended.mcap")), list(TakeSource(cut)))


def test_a_damaged_chunk_is_left_out_and_told(take: Path, tmp_path: Path) -> None:
    content = bytearray(take.read_bytes())
    with TakeReader(take) as reader:
        chunks = reader._chunks
    assert chunks
    spoilt = chunks[-1]  # of the samples
    content[spoilt.offset + spoilt.length // 2] ^= 0xFF
    (tmp_path / "spoilt.mcap").write_bytes(content)
    assert_same_frames(list(TakeSource(tmp_path / "spoilt.mcap")), list(TakeSource(take)))
    with pytest.raises(InputError, match="without head and hands"):
        TakeHeadset(tmp_path / "spoilt.mcap")


def rewritten(source: Path, target: Path, **how) -> Path:
    """The same messages as another program writes them."""
    from mcap.reader import make_reader
    from mcap.writer import Writer

    with source.open("rb") as file, target.open("wb") as out:
        reader = make_reader(file)
        writer = Writer(out, **how)
        writer.start(library="another")
        for record in reader.iter_metadata():
            writer.add_metadata(record.name, record.metadata)
        schemas: dict[str, int] = {}
        channels: dict[str, int] = {}
        for schema, channel, message in reader.iter_messages(log_time_order=False):
            assert schema is not None
            if schema.name not in schemas:
                schemas[schema.name] = writer.register_schema(schema.name, schema.encoding, schema.data)
            if channel.topic not in channels:
                channels[channel.topic] = writer.register_channel(
                    channel.topic, channel.message_encoding, schemas[schema.name]
                )
            writer.add_message(
                channels[channel.topic], message.log_time, message.data, message.publish_time, message.sequence
            )
        writer.finish()
    return target


@pytest.mark.parametrize("packed", ["NONE", "LZ4", "ZSTD"])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_take_that_another_program_wrote_anew_is_read(take: Path, tmp_path: Path, packed: str, chunked: bool) -> None:
    from mcap.writer import CompressionType

    path = rewritten(
        take, tmp_path / "anew.mcap", compression=CompressionType[packed], use_chunking=chunked, chunk_size=5000
    )
    assert_same_frames(list(TakeSource(path)), list(TakeSource(take)))
    assert_same_samples(list(TakeHeadset(path)), list(TakeHeadset(take)))


@pytest.mark.parametrize("packed", ["zstd", "lz4"])
@pytest.mark.parametrize("said", [1 << 50, 1000])
def test_a_chunk_that_lies_about_its_size_takes_no_memory(take: Path, packed: str, said: int) -> None:
    """A hundred megabytes of zeros in a few kilobytes, said to be a petabyte, or a kilobyte."""
    import lz4.frame
    import psutil
    import zstandard
    from mcap.records import Chunk

    bomb = bytes(100 << 20)
    data = zstandard.compress(bomb) if packed == "zstd" else lz4.frame.compress(bomb)
    del bomb
    before = psutil.Process().memory_info().rss
    with TakeReader(take) as reader:
        chunk = Chunk(
            compression=packed,
            data=data,
            message_end_time=1,
            message_start_time=0,
            uncompressed_crc=0,
            uncompressed_size=said,
        )
        assert reader._records_of(chunk) == []
        assert "is damaged and left out" in reader.problems[-1]
    assert psutil.Process().memory_info().rss - before < 20 << 20


# Units of depth


def _with_unit(path: Path, take: Path, unit_m: float) -> Path:
    """The take, whose camera states another unit."""
    import msgspec

    from bodystream.takes import TakeMessage, TakeWriter
    from bodystream.takes.messages import CAMERA as CAMERA_TOPIC

    with TakeReader(take) as reader, open(path, "wb") as file:
        writer = TakeWriter(file, reader.host_utc_offset_ns)
        for message in reader.messages():
            if message.topic == CAMERA_TOPIC:
                changed = msgspec.json.encode({**msgspec.json.decode(message.data), "depth_unit_m": unit_m})
                message = TakeMessage(message.topic, message.utc_ns, message.sequence, changed, message.where)
            writer.copy(message)
        writer.close()
    return path


def test_depth_of_another_unit_is_taken_from_the_take(tmp_path: Path) -> None:
    write_take(tmp_path / "take.mcap", frames(3, unit_m=0.0001))
    assert TakeSource(tmp_path / "take.mcap").counts.warnings == []
    for frame in TakeSource(tmp_path / "take.mcap"):
        assert 2.3 < float(np.median(frame.depth_m[frame.depth_m > 0])) < 2.5


def test_a_unit_that_makes_no_scene_is_refused_and_one_that_makes_a_strange_one_is_told(
    take: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"states 0\.1 m per unit of depth.*depth_scale_m"):
        TakeSource(_with_unit(tmp_path / "far.mcap", take, 0.1))
    near = _with_unit(tmp_path / "near.mcap", take, 0.00005)
    assert any("which is unlikely" in text for text in TakeSource(near).counts.warnings)


def test_a_unit_that_is_given_comes_first(take: Path, tmp_path: Path) -> None:
    far = _with_unit(tmp_path / "far.mcap", take, 0.1)
    got = list(open_source(f"take:{far}?depth_scale_m=0.001"))
    for one, other in zip(got, frames(20), strict=True):
        np.testing.assert_allclose(one.depth_m, other.depth_m, rtol=1e-6)


# Fuzz


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "take.mcap"
    write_take(path, frames(2, mask=True), samples(3))
    return path.read_bytes()


def _read_all(path: Path) -> None:
    for kind in (TakeSource, TakeHeadset):
        try:
            list(kind(path))
        except InputError:
            pass


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzz_of_a_take_gives_frames_or_an_error_that_says_why(
    small: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes that are changed, cut out, put in, and lengths that lie."""
    content = bytearray(small)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(("change", "cut", "insert", "length"))):
            case "change":
                content[at] = data.draw(st.integers(0, 255))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 200))]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=40))
            case "length":
                value = data.draw(st.sampled_from((0, 1, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1)))
                content[at : at + 8] = struct.pack("<Q", value)
        if not content:
            break
    path = tmp_path / "fuzz.mcap"
    path.write_bytes(content)
    _read_all(path)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fuzz_of_messages_behind_good_checksums(take: Path, tmp_path: Path, data: st.DataObject) -> None:
    """As a program would write them that means something else: the container is whole, messages are not."""
    from bodystream.takes import TakeMessage, TakeWriter

    path = tmp_path / "odd.mcap"
    with TakeReader(take) as reader, open(path, "wb") as file:
        writer = TakeWriter(file, reader.host_utc_offset_ns)
        for number, message in enumerate(reader.messages()):
            if number > 40:
                break
            content = bytearray(message.data)
            if content and data.draw(st.booleans()):
                at = data.draw(st.integers(0, len(content) - 1))
                content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
            writer.copy(TakeMessage(message.topic, message.utc_ns, message.sequence, bytes(content), message.where))
        writer.close()
    _read_all(path)
