"""A take of a RealSense camera holds what the camera gave, and plays to the bits that were seen live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodystream.cli import main as cli
from bodystream.pipelines.recording.recorder import TakeRecorder
from bodystream.pipelines.recording.session import TakeRecording
from bodystream.pipelines.recording.taps import FrameTap
from bodystream.sources import open_source
from bodystream.sources.realsense.config import RealSenseConfig
from bodystream.sources.realsense.source import RealSenseSource
from bodystream.sources.take import TakeSource
from bodystream.types import CameraIntrinsics, RgbdFrame
from helpers.needs import needs
from helpers.realsense_fixture import DEPTH_SCALE_M, SoftwareCamera

needs("mcap", "pip install 'bodystream[mcap]'")
needs("pyrealsense2", "pip install 'bodystream[realsense]'")

DEPTH = CameraIntrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)
COLOUR = CameraIntrinsics(70.0, 70.0, 47.5, 31.5, 96, 64)
CONFIGS = {
    "depth": RealSenseConfig(),
    "colour": RealSenseConfig(align="colour", sampling="nearest", max_depth_m=1.5),
}

Recorded = dict[str, tuple[Path, list[RgbdFrame]]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """By what the frames are registered to: a take, and the frames that were seen while it was recorded.

    The camera's colour is another camera, with a lens, beside the depth camera.
    """
    folder = tmp_path_factory.mktemp("realsense")
    colour_from_depth = np.eye(4)
    colour_from_depth[0, 3] = 0.015
    camera = SoftwareCamera(
        DEPTH, COLOUR, colour_from_depth=colour_from_depth, lens=("inverse_brown_conrady", (0.1, -0.05, 0.0, 0.0, 0.0))
    )
    rng = np.random.default_rng(0)
    with camera.record(folder / "take.db3"):
        for number in range(8):
            depth = (1.0 + rng.random((48, 64))) / DEPTH_SCALE_M
            depth[rng.random(depth.shape) < 0.1] = 0.0
            depth[:4] = 12.0 / DEPTH_SCALE_M  # beyond what is used, and in the take all the same
            image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            camera.push(number, 1000.0 + number * 1000 / 30, depth.astype(np.uint16), image)
    made: Recorded = {}
    for name, config in CONFIGS.items():
        source, path, seen = RealSenseSource.open(str(folder / "take.db3"), config=config), folder / f"{name}.mcap", []
        assert not source.keep_raw
        with TakeRecorder(path, colour="png") as recorder:
            tap = FrameTap(recorder, source)
            for frame in source:
                tap(frame)
                seen.append(frame)
        assert recorder.rounded == recorder.dropped == 0
        made[name] = (path, seen)
    return made


def assert_same(got: list[RgbdFrame], want: list[RgbdFrame]) -> None:
    assert len(got) == len(want) == 8
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one.depth_m, other.depth_m)
        np.testing.assert_array_equal(one.colour, other.colour)
        for name in ("index", "t_ns", "device_t_ns", "intrinsics"):
            assert getattr(one, name) == getattr(other, name)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_take_plays_to_the_bits_that_were_seen(recorded: Recorded, name: str) -> None:
    path, seen = recorded[name]
    assert seen[0].colour is not None and seen[0].colour.any()
    assert_same(list(open_source(f"take:{path}")), seen)


def test_however_it_was_registered_it_can_be_registered_in_another_way(recorded: Recorded) -> None:
    """Since the take holds what the camera gave: also what was too far to be seen while it was recorded."""
    (first, seen), (second, other) = recorded["depth"], recorded["colour"]
    again = list(open_source(f"take:{first}?align=colour&sampling=nearest&max_depth_m=1.5"))
    back = list(open_source(f"take:{second}?align=depth&sampling=bilinear&max_depth_m=10"))
    for got, want in zip((*again, *back), (*other, *seen), strict=True):
        np.testing.assert_array_equal(got.depth_m, want.depth_m)
        np.testing.assert_array_equal(got.colour, want.colour)
        assert got.intrinsics == want.intrinsics


def test_a_recording_of_the_camera_library_is_converted(recorded: Recorded) -> None:
    path, seen = recorded["depth"]
    target = path.with_name("converted.mcap")
    assert cli.main(["convert", str(path.with_name("take.db3")), str(target), "--lossless-colour"]) == 0
    for got, want in zip(TakeSource(target), seen, strict=True):
        np.testing.assert_array_equal(got.depth_m, want.depth_m)
        np.testing.assert_array_equal(got.colour, want.colour)
        assert got.device_t_ns == want.device_t_ns


def test_a_take_of_a_take_holds_the_same_images(recorded: Recorded, tmp_path: Path) -> None:
    path, seen = recorded["colour"]
    TakeRecording(tmp_path / "again.mcap", TakeSource(path), colour="png").run()
    assert_same(list(TakeSource(tmp_path / "again.mcap")), seen)
    assert all(frame.raw is None for frame in TakeSource(tmp_path / "again.mcap"))
    source = TakeSource(tmp_path / "again.mcap")
    source.keep_raw = True
    for frame in source:
        assert frame.raw is not None and (frame.raw.depth[:4] == round(12.0 / DEPTH_SCALE_M)).all()
        assert frame.raw.colour is not None and frame.raw.colour.shape == (64, 96, 3)
