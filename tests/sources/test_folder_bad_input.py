"""The folder source and recordings that are not as they should be: a clear error, or nothing lost but the bad frame."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from bodystream.errors import ConfigurationError, InputError, SourceError
from bodystream.sources.folder import FolderSource
from bodystream.sources.folder_config import FolderConfig
from bodystream.sources.layouts.images import DamagedFileError, read_colour, read_depth
from bodystream.sources.layouts.matlab import read_take
from bodystream.types import CameraIntrinsics
from helpers.folder_takes import (
    HEIGHT,
    WIDTH,
    colour_rgb,
    depth_mm,
    truncate,
    write_intrinsics,
    write_plain,
    write_png,
)


def test_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        FolderSource.open(tmp_path / "nowhere")


def test_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "take.png").write_bytes(b"x")
    with pytest.raises(InputError, match="is a file; give the folder"):
        FolderSource.open(tmp_path / "take.png")


def test_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the folder is empty.*associations.txt.*_depth.png.*depth/"):
        FolderSource.open(tmp_path)


def test_empty_depth_folder_and_unknown_layout(tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    with pytest.raises(InputError, match="no recording found.*it holds depth"):
        FolderSource.open(tmp_path)
    with pytest.raises(InputError, match="Looked for tum: "):
        FolderSource.open(tmp_path, FolderConfig(layout="tum"))
    with pytest.raises(ConfigurationError, match="choose one of auto, deepdeform"):
        FolderSource.open(tmp_path, FolderConfig(layout="kinect"))  # type: ignore[arg-type]


def test_no_intrinsics_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no camera intrinsics found. Add .*intrinsics.txt.*or pass .intrinsics="):
        FolderSource.open(write_plain(tmp_path, intrinsics=False))


def test_intrinsics_of_another_size(tmp_path: Path) -> None:
    write_plain(tmp_path)
    with pytest.raises(InputError, match="given are for 640x480 pixels.*48x32"):
        FolderSource.open(tmp_path, FolderConfig(intrinsics=CameraIntrinsics(525, 525, 320, 240, 640, 480)))
    (tmp_path / "intrinsics.txt").write_text("525 525 320 240")
    with pytest.raises(InputError, match=r"principal point \(320, 240\) lies outside the 48x32"):
        FolderSource.open(tmp_path)
    (tmp_path / "intrinsics.txt").unlink()
    (tmp_path / "camera.json").write_text('{"fx": 50, "fy": 50, "cx": 20, "cy": 10, "width": 96, "height": 64}')
    with pytest.raises(InputError, match="is for images of 96x64, but the depth images are 48x32"):
        FolderSource.open(tmp_path)


def test_mismatched_sizes_name_both_files_and_sizes(tmp_path: Path) -> None:
    write_plain(tmp_path)
    for index in range(4):
        write_png(tmp_path / "colour" / f"{index:04d}.png", colour_rgb(index, (64, 96)))
    with pytest.raises(InputError, match=r"colour/0000.png is 96x64, but .*depth/0000.png is 48x32"):
        FolderSource.open(tmp_path)


def test_one_frame_of_another_size_is_lost_alone(tmp_path: Path) -> None:
    write_plain(tmp_path)
    write_png(tmp_path / "depth" / "0001.png", depth_mm(1, (64, 96)))
    write_png(tmp_path / "colour" / "0002.png", colour_rgb(2, (64, 96)))
    source = FolderSource.open(tmp_path)
    assert [frame.index for frame in source] == [0, 3]
    assert source.counts.lost == 2 and source.counts.delivered == 2
    assert any("0001" in w and "96x64" in w for w in source.counts.warnings)
    assert any("0002" in w and "96x64" in w for w in source.counts.warnings)


@pytest.mark.parametrize("file", ["depth/0001.png", "colour/0001.png"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.98])
def test_truncated_file_in_the_middle(
    tmp_path: Path, file: str, keep: float, capfd: pytest.CaptureFixture[str]
) -> None:
    write_plain(tmp_path)
    truncate(tmp_path / file, keep)
    source = FolderSource.open(tmp_path)
    assert [frame.index for frame in source] == [0, 2, 3]
    assert source.counts.lost == 1
    (warning,) = source.counts.warnings
    assert "frame 0001 is lost" in warning and file in warning
    assert capfd.readouterr().err == ""  # nothing of libpng's own


def test_truncated_jpeg(tmp_path: Path) -> None:
    write_plain(tmp_path, count=3)
    for index in range(3):
        (tmp_path / "colour" / f"{index:04d}.png").unlink()
        cv2.imwrite(str(tmp_path / "colour" / f"{index:04d}.jpg"), colour_rgb(index)[..., ::-1])
    whole = tmp_path / "colour" / "0001.jpg"
    assert read_colour(whole).shape == (HEIGHT, WIDTH, 3)
    truncate(whole, 0.9)
    with pytest.raises(DamagedFileError, match="truncated jpg"):
        read_colour(whole)
    source = FolderSource.open(tmp_path)
    assert [frame.index for frame in source] == [0, 2] and source.counts.lost == 1


def test_every_cut_of_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "d.png"
    write_png(path, depth_mm())
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DamagedFileError):
            read_depth(path)


def test_flipped_bit_in_a_png_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "d.png"
    write_png(path, depth_mm())
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 3, len(data) - 12, 7):
        changed = data.copy()
        changed[position] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(DamagedFileError):
            read_depth(path)


def test_png_that_claims_a_huge_image_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "d.png"
    write_png(path, depth_mm())
    data = bytearray(path.read_bytes())
    data[16:24] = (200_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match="200000x200000 pixels"):
        read_depth(path)


def test_picture_of_depth_is_no_depth(tmp_path: Path) -> None:
    write_plain(tmp_path)
    write_png(tmp_path / "depth" / "0000.png", colour_rgb())
    with pytest.raises(InputError, match="one channel"):
        FolderSource.open(tmp_path)
    write_png(tmp_path / "depth" / "0000.png", (depth_mm() // 16).astype(np.uint8))
    with pytest.raises(InputError, match="16-bit"):
        FolderSource.open(tmp_path)


def test_pickled_npy_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "depth").mkdir()
    np.save(tmp_path / "depth" / "0.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    write_intrinsics(tmp_path)
    with pytest.raises(InputError, match="not one of its 1 frames is whole.*npy"):
        FolderSource.open(tmp_path)


def test_empty_frames_are_delivered_and_said(tmp_path: Path) -> None:
    write_plain(tmp_path)
    for index in (0, 2):
        write_png(tmp_path / "depth" / f"{index:04d}.png", np.zeros((HEIGHT, WIDTH), np.uint16))
    source = FolderSource.open(tmp_path)
    frames = list(source)
    assert len(frames) == 4 and not frames[2].depth_m.any() and frames[3].depth_m.any()
    assert source.empty_frames == 2 and source.counts.lost == 0
    (warning,) = source.counts.warnings
    assert "frame 0000 holds no depth at all" in warning


def test_recording_that_ends_with_colour_only(tmp_path: Path) -> None:
    write_plain(tmp_path)
    write_png(tmp_path / "colour" / "0004.png", colour_rgb(4))
    source = FolderSource.open(tmp_path)
    assert len(list(source)) == 4 and source.counts.lost == 1
    (warning,) = source.counts.warnings
    assert "0004" in warning and "no depth file" in warning and "ends mid-frame" in warning


@pytest.mark.parametrize("last", ["depth/0003.png", "colour/0003.png"])
def test_recording_that_ends_in_the_middle_of_a_file(tmp_path: Path, last: str) -> None:
    write_plain(tmp_path)
    truncate(tmp_path / last)
    source = FolderSource.open(tmp_path)
    assert [frame.index for frame in source] == [0, 1, 2] and source.counts.lost == 1
    assert "ends mid-frame" in source.counts.warnings[0]


def test_tum_list_that_ends_mid_line(tmp_path: Path) -> None:
    for index in range(3):
        write_png(tmp_path / "rgb" / f"{index}.png", colour_rgb(index))
        write_png(tmp_path / "depth" / f"{index}.png", depth_mm(index) * 5)
    write_intrinsics(tmp_path)
    text = "".join(f"{index}.5 rgb/{index}.png {index}.5 depth/{index}.png\n" for index in range(3))
    listing = tmp_path / "associations.txt"
    listing.write_text(text[:-12])
    source = FolderSource.open(tmp_path)
    assert [frame.name for frame in source] == ["0", "1"]
    assert source.counts.lost == 1 and "cut off" in source.counts.warnings[0]
    listing.write_text("0.5 rgb/0.png\n" + text)
    with pytest.raises(InputError, match="associations.txt line 1: expected 4 columns, got 2"):
        FolderSource.open(tmp_path)
    listing.write_text("yesterday rgb/0.png 0.5 depth/0.png\n" + text)
    with pytest.raises(InputError, match="'yesterday' is no time"):
        FolderSource.open(tmp_path)
    listing.write_text("0.5 rgb/../../0.png 0.5 depth/0.png\n" + text)
    with pytest.raises(InputError, match="leaves the recording's folder"):
        FolderSource.open(tmp_path)
    listing.write_text("# nothing\n")
    with pytest.raises(InputError, match=r"cannot tell which column|name no frame"):
        FolderSource.open(tmp_path)


def test_tum_listed_file_that_is_absent_and_repeated_time(tmp_path: Path) -> None:
    for index in range(4):
        write_png(tmp_path / "rgb" / f"{index}.png", colour_rgb(index))
        write_png(tmp_path / "depth" / f"{index}.png", depth_mm(index) * 5)
    write_intrinsics(tmp_path)
    times = (0.0, 0.1, 0.1, 0.2)
    text = "".join(f"{times[index]} rgb/{index}.png {times[index]} depth/{index}.png\n" for index in range(4))
    (tmp_path / "associations.txt").write_text(text)
    (tmp_path / "depth" / "0.png").unlink()
    source = FolderSource.open(tmp_path)
    frames = list(source)
    assert [frame.name for frame in frames] == ["1", "3"] and source.counts.lost == 2
    assert all(b.t_ns > a.t_ns for a, b in zip(frames, frames[1:], strict=False))
    assert any("same" in w or "time stamp of the frame before" in w for w in source.counts.warnings)


def test_no_whole_frame_at_all(tmp_path: Path) -> None:
    write_plain(tmp_path)
    for file in (tmp_path / "depth").iterdir():
        truncate(file)
    with pytest.raises(InputError, match="not one of its 4 frames is whole.*truncated png"):
        FolderSource.open(tmp_path)


def test_recording_that_vanishes_while_looping(tmp_path: Path) -> None:
    source = FolderSource.open(write_plain(tmp_path, count=2), FolderConfig(loop=True))
    for file in (tmp_path / "depth").iterdir():
        file.unlink()
    with pytest.raises(SourceError, match="can be read any more"):
        list(source)


def test_many_losses_are_counted_but_not_all_named(tmp_path: Path) -> None:
    write_plain(tmp_path, count=40)
    for index in range(1, 40):
        truncate(tmp_path / "depth" / f"{index:04d}.png")
    source = FolderSource.open(tmp_path)
    assert len(list(source)) == 1 and source.counts.lost == 39
    assert len(source.counts.warnings) == 11 and "only counted" in source.counts.warnings[-1]


def test_unrelated_colour_and_depth_names(tmp_path: Path) -> None:
    write_plain(tmp_path, count=2)
    write_png(tmp_path / "colour" / "0000.png", colour_rgb())
    for index, file in enumerate(sorted((tmp_path / "depth").iterdir())):
        file.rename(file.with_name(f"{'ab'[index]}.png"))
    write_png(tmp_path / "depth" / "c.png", depth_mm())
    with pytest.raises(InputError, match="counts differ"):
        FolderSource.open(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"other": np.ones((4, 3))},
        {"d_depth": np.ones((240, 320), np.uint16)},
        {"d_depth": np.zeros((240, 320, 0), np.uint16)},
        {"d_depth": np.array([[{"a": 1}]], dtype=object)},
        {"d_depth": "text"},
    ],
)
def test_matlab_without_a_take(tmp_path: Path, content: dict[str, object]) -> None:
    savemat(tmp_path / "x_depth.mat", content)
    with pytest.raises(InputError, match="x_depth.mat"):
        FolderSource.open(tmp_path / "x_depth.mat")


def test_truncated_matlab_file(tmp_path: Path) -> None:
    path = tmp_path / "x_depth.mat"
    savemat(path, {"d_depth": np.stack([depth_mm(i) for i in range(4)], axis=2)}, do_compression=True)
    assert read_take(path).shape == (HEIGHT, WIDTH, 4)
    data = path.read_bytes()
    for length in (0, 4, 60, 128, 140, 200, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            read_take(path)
