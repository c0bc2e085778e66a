"""Numbers in lists and names: what they mean, and which files they pair."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import InputError
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts.matching import match_files, mutually_nearest
from bodystream.sources.layouts.names import NameNumbers, in_order_of_time, natural, numbers_of
from bodystream.sources.layouts.number_times import E9, meaning_of_names, meaning_of_times
from bodystream.sources.layouts.tum import parse_list
from helpers.folder_takes import colour_rgb, depth_mm, write_intrinsics, write_png
from helpers.fuzzing import fuzz, fuzz_file

PERIOD_S = 1 / 30
COUNT = 8


def _seconds(index: int) -> float:
    return index * PERIOD_S + 0.0007 * (index % 3)  # as a clock reads it


def _write(
    folder: Path, depth_name: Callable[[int], str], colour_name: Callable[[int], str], count: int = COUNT
) -> Path:
    for index in range(count):
        write_png(folder / "depth" / f"{depth_name(index)}.png", depth_mm(index))
        write_png(folder / "image" / f"{colour_name(index)}.png", colour_rgb(index))
    write_intrinsics(folder)
    return folder


def _check_pairs(source: FolderSource, wanted: list[int]) -> list[int]:
    """Every frame has its own colour; returns the times after the first [ns]."""
    frames = list(source)
    assert source.counts.lost == 0 and len(frames) == len(wanted)
    for frame, index in zip(frames, wanted, strict=True):
        np.testing.assert_allclose(frame.depth_m, depth_mm(index) * 1e-3, rtol=1e-6)
        np.testing.assert_array_equal(frame.colour, colour_rgb(index))
    return [frame.t_ns - frames[0].t_ns for frame in frames]


def _tum(folder: Path, written: Callable[[int], str], lists: bool = False) -> Path:
    lines: dict[str, list[str]] = {"depth": [], "rgb": []}
    for index in range(COUNT):
        write_png(folder / "depth" / f"{index}.png", depth_mm(index) * 5)
        write_png(folder / "rgb" / f"{index}.png", colour_rgb(index))
        for kind, list_ in lines.items():
            list_.append(f"{written(index)} {kind}/{index}.png")
    write_intrinsics(folder)
    if lists:
        for kind, list_ in lines.items():
            (folder / f"{kind}.txt").write_text("# timestamp filename\n" + "\n".join(list_) + "\n")
    else:
        text = "\n".join(f"{d} {c}" for d, c in zip(lines["depth"], lines["rgb"], strict=True))
        (folder / "associations.txt").write_text(text + "\n")
    return folder


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (lambda i: f"{_seconds(i):.6f}", None),
        (lambda i: f"{1305031102 + _seconds(i):.6f}", None),
        (lambda i: f"{1000 * _seconds(i):.0f}", "milliseconds"),
        (lambda i: f"{1000 * _seconds(i):.3f}", "milliseconds"),
        (lambda i: f"{1305031102000 + 1000 * _seconds(i):.0f}", "milliseconds"),
        (lambda i: f"{1e6 * _seconds(i):.0f}", "microseconds"),
        (lambda i: f"{1305031102000000 + round(1e6 * _seconds(i))}", "microseconds"),
        (lambda i: f"{round(1e9 * _seconds(i))}", "nanoseconds"),
        (lambda i: f"{1305031102 * 10**9 + round(1e9 * _seconds(i))}", "nanoseconds"),
    ],
)
def test_times_in_any_unit(tmp_path: Path, written: Callable[[int], str], said: str | None, lists: bool) -> None:
    source = FolderSource.open(_tum(tmp_path, written, lists))
    times_ns = _check_pairs(source, list(range(COUNT)))
    np.testing.assert_allclose(times_ns, [1e9 * _seconds(i) for i in range(COUNT)], atol=1.1e6)
    if said is None:
        assert source.counts.warnings == []
    else:
        (warning,) = source.counts.warnings
        assert f"times are read as {said} (" in warning and "rate_hz=" in warning


@pytest.mark.parametrize("lists", [False, True])
@pytest.mark.parametrize(
    ("written", "stride"),
    [
        (lambda i: f"{i}", 1),
        (lambda i: f"{i + 1}", 1),
        (lambda i: f"{i:06d}", 1),
        (lambda i: f"{i:.6f}", 1),
        (lambda i: f"{i:.5e}", 1),
        (lambda i: f"{5 * i}", 5),
        (lambda i: f"{i + (i > 4)}", 1),
    ],
)
def test_frame_numbers_are_no_seconds(tmp_path: Path, written: Callable[[int], str], stride: int, lists: bool) -> None:
    source = FolderSource.open(_tum(tmp_path, written, lists))
    times_ns = _check_pairs(source, list(range(COUNT)))
    numbers = [float(written(i)) - float(written(0)) for i in range(COUNT)]
    np.testing.assert_allclose(times_ns, [1e9 * number / 30 for number in numbers], atol=2)
    (warning,) = source.counts.warnings
    assert "frame numbers at 30 Hz, not as seconds" in warning and "rate_hz=" in warning
    source = FolderSource.open(tmp_path, FolderConfig(rate_hz=10.0 * stride))
    assert source.counts.warnings == []
    np.testing.assert_allclose(_check_pairs(source, list(range(COUNT)))[1], 1e8, atol=2)


def test_list_of_numbers_and_list_of_times(tmp_path: Path) -> None:
    _tum(tmp_path, lambda i: f"{i}", lists=True)
    (tmp_path / "rgb.txt").write_text("".join(f"{_seconds(i):.6f} rgb/{i}.png\n" for i in range(COUNT)))
    with pytest.raises(InputError, match="holds frame numbers and the other times"):
        FolderSource.open(tmp_path)


def test_lists_that_hardly_meet(tmp_path: Path) -> None:
    _tum(tmp_path, lambda i: f"{_seconds(i):.6f}", lists=True)
    shifted = "".join(f"{_seconds(i) + (0.2 if i else 0):.6f} rgb/{i}.png\n" for i in range(COUNT))
    (tmp_path / "rgb.txt").write_text(shifted)
    source = FolderSource.open(tmp_path)
    assert any("only 2 of 8 depth images have a colour image" in w for w in source.counts.warnings)
    (tmp_path / "rgb.txt").write_text(shifted.replace("\n0.", "\n7."))
    with pytest.raises(InputError, match="only 1 of 8 depth images"):
        FolderSource.open(tmp_path)


def test_list_without_end_is_refused(tmp_path: Path) -> None:
    _tum(tmp_path, lambda i: f"{_seconds(i):.6f}")
    (tmp_path / "associations.txt").write_bytes(b"\n" * 600_000)
    with pytest.raises(InputError, match="more than 500000 lines"):
        FolderSource.open(tmp_path)


@pytest.mark.parametrize("word", ["9" * 25, "9" * 400, "1e19", "1e400", "nan", "inf", "-1", "0x10", "²", "1_000", "٣"])
def test_times_beyond_64_bits(tmp_path: Path, word: str) -> None:
    _tum(tmp_path, lambda i: f"{_seconds(i):.6f}")
    text = (tmp_path / "associations.txt").read_text()
    (tmp_path / "associations.txt").write_text(f"{word} depth/0.png {word} rgb/0.png\n{text}")
    with pytest.raises(InputError, match="associations.txt") as caught:
        FolderSource.open(tmp_path)
    assert len(str(caught.value)) < 400


def test_times_that_leave_64_bits_by_their_unit(tmp_path: Path) -> None:
    _tum(tmp_path, lambda i: f"{95 * 10**17 + 34 * 10**6 * i}")
    with pytest.raises(InputError, match="associations.txt: its times reach"):
        FolderSource.open(tmp_path)


def _index_and(unit: float, separator: str, drift: float = 0.0) -> Callable[[int], str]:
    return lambda i: f"{i + 1:07d}{separator}{round((_seconds(i) + drift * i) / unit):012d}"


@pytest.mark.parametrize("separator", ["-", "_", " ", "t", "--"])
@pytest.mark.parametrize("unit", [1e-3, 1e-6, 1e-9])
def test_names_of_index_and_time(tmp_path: Path, unit: float, separator: str) -> None:
    """As Redwood and SUN3D name them: only the first frame's names agree."""
    source = FolderSource.open(_write(tmp_path, _index_and(unit, separator), _index_and(unit, separator, 3e-4)))
    times_ns = _check_pairs(source, list(range(COUNT)))
    np.testing.assert_allclose(times_ns, [1e9 * _seconds(i) for i in range(COUNT)], atol=1.1e6)
    assert any("paired by the times in their names" in w for w in source.counts.warnings)
    assert FolderSource.open(tmp_path, FolderConfig(rate_hz=15.0)).rate_hz == 15.0


def test_names_of_index_and_time_after_dropped_frames(tmp_path: Path) -> None:
    """Each stream counts its own images, so only the times tell."""
    numbers = [0, 1, 2, 4, 5, 6, 7, 9]  # what the depth stream kept; colour kept all
    for place, index in enumerate(numbers):
        write_png(tmp_path / "depth" / f"{place:04d}-{round(1e6 * _seconds(index)):09d}.png", depth_mm(index))
    for index in range(10):
        write_png(tmp_path / "rgb" / f"{index:04d}-{round(1e6 * _seconds(index) + 900):09d}.png", colour_rgb(index))
    write_intrinsics(tmp_path)
    source = FolderSource.open(tmp_path)
    frames = list(source)
    assert [int(frame.name[:4]) for frame in frames] == list(range(8)) and source.counts.lost == 2
    for frame, index in zip(frames, numbers, strict=True):
        np.testing.assert_array_equal(frame.colour, colour_rgb(index))


@pytest.mark.parametrize(
    "written",
    [
        lambda i: f"{1305031102 + _seconds(i):.6f}",
        lambda i: f"rgbd_{round(1305031102 + _seconds(i), 4)}",
        lambda i: f"1305031102-{round(1e6 * _seconds(i)):06d}",
        lambda i: f"1305031102_{round(1e9 * _seconds(i))}",
        lambda i: f"{1305031102000 + round(1000 * _seconds(i))}",
        lambda i: f"frame_{1305031102000000 + round(1e6 * _seconds(i))}",
        lambda i: f"{round(1000 * _seconds(i)):06d}",
        lambda i: f"{round(1e6 * _seconds(i))}us",
    ],
)
@pytest.mark.parametrize("late_s", [0.0, 0.004])
def test_names_that_are_times(tmp_path: Path, written: Callable[[int], str], late_s: float) -> None:
    def colour(index: int) -> str:
        return written(index + late_s / PERIOD_S) if late_s else written(index)  # type: ignore[arg-type]

    source = FolderSource.open(_write(tmp_path, written, colour))
    times_ns = _check_pairs(source, list(range(COUNT)))
    np.testing.assert_allclose(times_ns, [1e9 * _seconds(i) for i in range(COUNT)], atol=1.1e6)


def _clock(form: str, digits: int, period_s: float = 0.1) -> Callable[[float], str]:
    """Names as a recorder's clock writes them, over the end of a minute, an hour and a day."""
    first = datetime.datetime(2023, 12, 31, 23, 59, 59, 650_000)

    def written(index: float) -> str:
        time = first + datetime.timedelta(seconds=round(index * period_s, 3))
        return time.strftime(form).replace("?", f"{time.microsecond:06d}000"[:digits])

    return written


@pytest.mark.parametrize("late", [0.0, 0.04])
@pytest.mark.parametrize(
    ("form", "digits"),
    [
        ("%Y-%m-%d_%H-%M-%S.?", 6),
        ("%Y-%m-%dT%H:%M:%S.?", 6),
        ("%Y%m%dT%H%M%S.?", 6),
        ("%Y%m%d_%H%M%S_?", 3),
        ("%Y%m%d%H%M%S?", 3),
        ("%Y%m%d%H%M%S?", 6),
        ("depth_%Y%m%d-%H%M%S-?", 9),
        ("%Y_%m_%d_%H_%M_%S_?_raw", 3),
    ],
)
def test_names_of_dates_with_a_fraction(tmp_path: Path, form: str, digits: int, late: float) -> None:
    """At 10 Hz, which is no rate that anybody assumes; as plain numbers they leap when a minute is full."""
    written = _clock(form, digits)
    source = FolderSource.open(_write(tmp_path, written, lambda i: written(i + late)))
    np.testing.assert_allclose(_check_pairs(source, list(range(COUNT))), [1e8 * i for i in range(COUNT)], atol=2)
    assert [w for w in source.counts.warnings if "paired by the times" not in w] == []


@pytest.mark.parametrize("form", ["%H_%M_%S_?", "%H-%M-%S.?", "%H%M%S?", "cam1 %H:%M:%S.?"])
def test_names_of_a_time_of_day(form: str) -> None:
    first = datetime.datetime(2023, 1, 1, 8, 59, 59, 700_000)
    times = [first + datetime.timedelta(seconds=i / 10) for i in range(COUNT)]
    names = [Path(time.strftime(form).replace("?", f"{time.microsecond // 1000:03d}") + ".png") for time in times]
    numbers = NameNumbers.of(names)
    assert numbers.times_ns is not None and numbers.note == ""
    assert list(np.diff(numbers.times_ns)) == [10**8] * (COUNT - 1)


@pytest.mark.parametrize(
    ("written", "step_ns"),
    [
        (lambda i: f"20230101_120059_{i:03d}", None),  # a session's date, and a running number
        (lambda i: f"20230101_{115959 + 4041 * (i > 3)}_{i:06d}", None),  # which goes on over two of them
        (lambda i: f"20231301_1200{i:02d}_000", None),  # month 13
        (lambda i: f"20230230_1200{i:02d}_000", None),  # no such day
        (lambda i: f"{i * 33333:09d}", 33_333_000),  # microseconds, which as a time of day are 33 s
        (lambda i: f"{i * 33333333:012d}", 33_333_333),
        (lambda i: f"{10**8 + i * 33333:012d}", 33_333_000),
        (lambda i: f"scene_01_02_0{i // 4}_{i:03d}", None),
    ],
)
def test_names_that_are_no_time_of_a_clock(written: Callable[[int], str], step_ns: int | None) -> None:
    times_ns = NameNumbers.of([Path(f"{written(i)}.png") for i in range(COUNT)]).times_ns
    assert (None if times_ns is None else int(np.median(np.diff(times_ns)))) == step_ns


@pytest.mark.parametrize(
    "written",
    [
        lambda i: f"{i:04d}",
        lambda i: f"{10 * i:04d}",
        lambda i: f"take2_{i:05d}_v3",
        lambda i: f"2023-01-01 {i:03d}",
        lambda i: f"202301011230{10 + i}",
        lambda i: f"1305031102-{i:06d}",
        lambda i: f"IMG_2{i**2 + 3000}",
        lambda i: f"9305031102.{100000 + i}" if i > 3 else f"1305031102.{100000 + i}",
    ],
)
def test_names_that_are_no_times(tmp_path: Path, written: Callable[[int], str]) -> None:
    source = FolderSource.open(_write(tmp_path, written, written))
    times_ns = _check_pairs(source, list(range(COUNT)))
    np.testing.assert_allclose(np.diff(times_ns), 1e9 / 30, atol=2)
    assert source.counts.warnings == []


def test_numbered_files_that_are_times(tmp_path: Path) -> None:
    for index in range(COUNT):
        number = round(1000 * _seconds(index))
        write_png(tmp_path / f"{number}.png", colour_rgb(index))
        write_png(tmp_path / f"{number}_depth.png", depth_mm(index))
    write_intrinsics(tmp_path)
    source = FolderSource.open(tmp_path)
    times_ns = _check_pairs(source, list(range(COUNT)))
    assert source.layout == "numbered"
    np.testing.assert_allclose(times_ns, [1e9 * _seconds(i) for i in range(COUNT)], atol=1.1e6)
    (warning,) = source.counts.warnings
    assert "read as milliseconds" in warning


def test_six_digits_that_are_times(tmp_path: Path) -> None:
    """The names of DeepDeform count frames; those of other recorders with as many digits may not."""
    for index in range(COUNT):
        name = f"{round(1000 * _seconds(index)):06d}.png"
        write_png(tmp_path / "color" / name, colour_rgb(index))
        write_png(tmp_path / "depth" / name, depth_mm(index))
    write_intrinsics(tmp_path)
    source = FolderSource.open(tmp_path)
    assert source.layout == "deepdeform"
    times_ns = _check_pairs(source, list(range(COUNT)))
    np.testing.assert_allclose(times_ns, [1e9 * _seconds(i) for i in range(COUNT)], atol=1.1e6)
    assert "read as milliseconds" in source.counts.warnings[0]


def test_names_in_even_steps_name_the_option(tmp_path: Path) -> None:
    source = FolderSource.open(_write(tmp_path, lambda i: f"{100 * i:05d}", lambda i: f"{100 * i:05d}"))
    (warning,) = source.counts.warnings
    assert "100 apart" in warning and "milliseconds" in warning and "?rate_hz=10" in warning
    assert FolderSource.open(tmp_path, FolderConfig(rate_hz=10.0)).counts.warnings == []


def test_one_common_name_does_not_decide(tmp_path: Path) -> None:
    """Numbers that agree by chance once; there are as many of both, so the order pairs them."""
    source = FolderSource.open(_write(tmp_path, lambda i: f"{7 * i + 1}x", lambda i: f"{9 * i + 1}y"))
    _check_pairs(source, list(range(COUNT)))
    assert any("paired in their order" in w for w in source.counts.warnings)


def test_few_common_names_among_many_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, lambda i: f"{7 * i + 1}x", lambda i: f"{9 * i + 1}y")
    write_png(tmp_path / "image" / "z.png", colour_rgb())
    with pytest.raises(InputError, match=r"counts differ \(9 and 8\)"):
        FolderSource.open(tmp_path)


def test_recording_of_which_most_frames_have_no_colour(tmp_path: Path) -> None:
    _write(tmp_path, lambda i: f"{i:04d}", lambda i: f"{i:04d}", 12)
    for index in range(4, 12):
        (tmp_path / "image" / f"{index:04d}.png").unlink()
    source = FolderSource.open(tmp_path)
    assert any("only 4 of 12 depth images have a colour image" in w for w in source.counts.warnings)
    for index in range(1, 4):
        (tmp_path / "image" / f"{index:04d}.png").unlink()
    with pytest.raises(InputError, match="only 1 of 12 depth images.*rename the colour folder"):
        FolderSource.open(tmp_path)


def test_colour_of_a_faster_camera_is_no_loss(tmp_path: Path) -> None:
    _write(tmp_path, lambda i: f"{3 * i:04d}", lambda i: f"{3 * i:04d}")
    for index in range(22):
        write_png(tmp_path / "image" / f"{index:04d}.png", colour_rgb(index // 3))
    source = FolderSource.open(tmp_path)
    _check_pairs(source, list(range(COUNT)))
    assert any("14 colour images have no depth image, as of a faster camera" in w for w in source.counts.warnings)


def test_masks_by_number_by_order_or_not_at_all(tmp_path: Path) -> None:
    _write(tmp_path, lambda i: f"depth_{i:03d}", lambda i: f"rgb_{i:03d}")
    mask = np.zeros(depth_mm().shape, np.uint8)
    mask[8:24, 16:32] = 255
    for index in range(COUNT):
        write_png(tmp_path / "mask" / f"m{index:03d}.png", mask)
    assert all(frame.mask is not None and frame.mask.sum() == 16 * 16 for frame in FolderSource.open(tmp_path))
    for index in range(COUNT):
        (tmp_path / "mask" / f"m{index:03d}.png").rename(tmp_path / "mask" / f"{'abcdefgh'[index]}.png")
    source = FolderSource.open(tmp_path)
    assert all(frame.mask is not None for frame in source)
    assert any("masks are used in their order" in w for w in source.counts.warnings)
    (tmp_path / "mask" / "a.png").unlink()
    source = FolderSource.open(tmp_path)
    assert all(frame.mask is None for frame in source)
    assert any("none of its 7 masks has the name or number" in w for w in source.counts.warnings)


def test_stray_number_does_not_make_a_recording_of_centuries(tmp_path: Path) -> None:
    write_png(tmp_path / "0_depth.png", depth_mm())
    write_png(tmp_path / f"{10**18}_depth.png", depth_mm())
    write_intrinsics(tmp_path)
    with pytest.raises(InputError, match=f"frames 0 and {10**18} are .* apart"):
        FolderSource.open(tmp_path)


def test_meanings_of_single_numbers() -> None:
    assert meaning_of_times([]).unit_ns == E9
    assert meaning_of_times([1305031102 * E9]).unit_ns == E9
    assert meaning_of_times([1305031102000 * E9]).unit_ns == 10**6
    assert meaning_of_times([1305031102000000 * E9]).unit_ns == 10**3
    assert meaning_of_times([1305031102000000000 * E9]).unit_ns == 1
    assert meaning_of_names([5 * E9]).unit_ns is None


def test_order_of_decimal_names() -> None:
    paths = [Path(f"t{word}.png") for word in ("1.5", "1.25", "0.75", "1.125")]
    assert [path.stem for path in in_order_of_time(paths)] == ["t0.75", "t1.125", "t1.25", "t1.5"]
    assert in_order_of_time([Path("v1.10.png"), Path("b.png")]) == [Path("v1.10.png"), Path("b.png")]


def test_mutually_nearest_of_any_size() -> None:
    assert mutually_nearest([], [1]) == {} and mutually_nearest([1], []) == {}
    assert mutually_nearest([2**63 - 1, 0], [0, 2**63 - 1]) == {1: 0, 0: 1}
    assert mutually_nearest([0, 30], [10, 25], limit_ns=6) == {1: 1}


def test_fuzz_tum_list(tmp_path: Path) -> None:
    text = "# timestamp filename\n" + "".join(f"{_seconds(i):.6f} depth/{i}.png\n" for i in range(4))
    numbers = "".join(f"{i} depth/{i}.png {i} rgb/{i}.png\n" for i in range(4))
    nanoseconds = "".join(f"{1305031102 * 10**9 + i} rgb/{i}.png\n" for i in range(4))
    for columns, seeds in ((2, [text, nanoseconds]), (4, [numbers])):

        def parse(data: bytes, columns: int = columns) -> None:
            rows, _ = parse_list(data.decode("utf-8", errors="replace"), columns, "file")
            if rows:
                meaning_of_times([row[0][0] for row in rows])

        fuzz(parse, [seed.encode() for seed in seeds], share=0.5)


def test_fuzz_tum_folder(tmp_path: Path) -> None:
    _tum(tmp_path, lambda i: f"{_seconds(i):.6f}", lists=True)
    seeds = [(tmp_path / name).read_bytes() for name in ("depth.txt", "rgb.txt")]
    fuzz_file(lambda path: list(FolderSource.open(path.parent)), seeds[:1], tmp_path / "depth.txt", share=0.2)


def test_fuzz_names() -> None:
    """Names of files, one a line of the input, are paired with those of the seed."""
    colour = [Path("rgb") / f"{_index_and(1e-6, '-')(i)}.png" for i in range(COUNT)]

    def parse(data: bytes) -> None:
        stems = [line[:255].replace("/", "") for line in data.decode("utf-8", errors="replace").split("\n")[:100]]
        depth = sorted((Path("depth") / f"{stem}.png" for stem in stems), key=lambda path: natural(path.stem))
        depth = in_order_of_time(depth)
        names = NameNumbers.of(depth)
        assert names.times_ns is None or len(names.times_ns) == len(depth)
        assert all(0 <= number for number in numbers_of(stems[0]))
        matches = match_files(depth, colour, names, NameNumbers.of(colour))
        used = [j for _, j in matches.pairs if j is not None]
        assert [i for i, _ in matches.pairs if i is not None] == list(range(len(depth)))
        assert len(set(used)) == len(used) and all(0 <= j < COUNT for j in used)

    seeds = ["\n".join(_index_and(unit, "_")(i) for i in range(COUNT)) for unit in (1e-3, 1e-6)]
    seeds += ["\n".join(f"{1305031102 + _seconds(i):.6f}" for i in range(COUNT))]
    seeds += ["\n".join(f"frame-{i:06d}.depth" for i in range(COUNT))]
    fuzz(parse, [seed.encode() for seed in seeds])
