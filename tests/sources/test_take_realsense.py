"""A take of a RealSense camera holds what the camera gave, and plays to the bits that were seen live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodystream.pipelines.recording.session import TakeRecording
from bodystream.sources import open_source
from bodystream.sources.realsense.config import RealSenseConfig
from bodystream.sources.realsense.source import RealSenseSource
from bodystream.sources.take import TakeSource
from bodystream.sources.take_config import TakeConfig
from bodystream.types import CameraIntrinsics, RgbdFrame
from helpers.needs import needs
from helpers.realsense_fixture import DEPTH_SCALE_M, SoftwareCamera

needs("mcap", "pip install 'bodystream[mcap]'")
needs("pyrealsense2", "pip install 'bodystream[realsense]'")

DEPTH = CameraIntrinsics(60.0, 60.0, 31.5, 23.5, 64, 48)
COLOUR = CameraIntrinsics(70.0, 70.0, 47.5, 31.5, 96, 64)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.db3` of a camera whose colour is another camera, with a lens, beside the depth camera."""
    path = tmp_path_factory.mktemp("realsense") / "take.db3"
    colour_from_depth = np.eye(4)
    colour_from_depth[0, 3] = 0.015
    camera = SoftwareCamera(
        DEPTH, COLOUR, colour_from_depth=colour_from_depth, lens=("inverse_brown_conrady", (0.1, -0.05, 0.0, 0.0, 0.0))
    )
    rng = np.random.default_rng(0)
    with camera.record(path):
        for number in range(8):
            depth = (1.0 + rng.random((48, 64))) / DEPTH_SCALE_M
            depth[rng.random(depth.shape) < 0.1] = 0.0
            depth[:4] = 12.0 / DEPTH_SCALE_M  # beyond what is used, and in the take all the same
            image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
            camera.push(number, 1000.0 + number * 1000 / 30, depth.astype(np.uint16), image)
    return path


@pytest.fixture(scope="module")
def take(recording: Path) -> Path:
    path = recording.with_name("take.mcap")
    TakeRecording(path, RealSenseSource.open(str(recording)), colour="png").run()
    return path


def assert_same(got: list[RgbdFrame], want: list[RgbdFrame]) -> None:
    assert len(got) == len(want) == 8
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one.depth_m, other.depth_m)
        np.testing.assert_array_equal(one.colour, other.colour)
        assert (one.index, one.device_t_ns, one.intrinsics) == (other.index, other.device_t_ns, other.intrinsics)


@pytest.mark.parametrize("keys", ["", "?align=colour", "?sampling=nearest&max_depth_m=1.5"])
def test_a_take_plays_to_the_bits_of_the_camera_however_it_is_registered(
    recording: Path, take: Path, keys: str
) -> None:
    want = list(open_source(f"realsense:{recording}{keys}"))
    got = list(open_source(f"take:{take}{keys}"))
    assert_same(got, want)
    assert [g.t_ns - got[0].t_ns for g in got] == [w.t_ns - want[0].t_ns for w in want]


def test_what_was_asked_for_while_it_was_recorded_is_what_is_seen(recording: Path, tmp_path: Path) -> None:
    config = RealSenseConfig(align="colour", max_depth_m=1.5)
    TakeRecording(tmp_path / "take.mcap", RealSenseSource.open(str(recording), config=config), colour="png").run()
    want = list(RealSenseSource.open(str(recording), config=config))
    assert_same(list(TakeSource(tmp_path / "take.mcap")), want)
    # ... and nothing that the camera gave is lost by it.
    whole = list(RealSenseSource.open(str(recording)))
    assert_same(list(TakeSource(tmp_path / "take.mcap", TakeConfig(align="depth", max_depth_m=10.0))), whole)


def test_a_take_of_a_take_holds_the_same_images(take: Path, tmp_path: Path) -> None:
    TakeRecording(tmp_path / "again.mcap", TakeSource(take), colour="png").run()
    assert_same(list(TakeSource(tmp_path / "again.mcap")), list(TakeSource(take)))
    raw = TakeSource(tmp_path / "again.mcap")
    raw.keep_raw = True
    for frame in raw:
        assert frame.raw is not None and (frame.raw.depth[:4] == round(12.0 / DEPTH_SCALE_M)).all()
        assert frame.raw.colour is not None and frame.raw.colour.shape == (64, 96, 3)


def test_frames_keep_no_raw_images_unless_they_are_asked_to(recording: Path) -> None:
    assert all(frame.raw is None for frame in RealSenseSource.open(str(recording)))
