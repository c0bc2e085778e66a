"""Two replays of a take agree bit for bit, with each other and with what came in when it was recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.pipelines.drive.pipeline import DriveResult
from bodystream.sources.headset.take import TakeHeadset
from bodystream.sources.take import TakeSource
from bodystream.types import HeadsetSample, RgbdFrame
from helpers.drive_parts import new_driver, samples_of
from helpers.headset_motions import walking
from helpers.needs import needs
from helpers.pipeline_frames import frames, model_bits, new_capture
from helpers.takes import write_take

needs("mcap", "pip install 'bodystream[mcap]'")


def captured(given: list[RgbdFrame]) -> list[tuple]:
    """Sizes and exact contents of the model after each frame."""
    capture = new_capture()
    try:
        bits = []
        for frame in given:
            result = capture.step(frame)
            capture.warp_surface()
            bits.append((result.status, *model_bits(capture, result)))
        return bits
    finally:
        capture.close()


def driven(given: list[HeadsetSample]) -> list[tuple]:
    driver = new_driver(lossless=True)
    try:
        results: list[DriveResult] = [result for sample in given if (result := driver.step(sample)) is not None]
        return [
            (r.pose.t_ns, r.pose.status, r.pose.flags, r.pose.rotations_xyzw.tobytes(), r.joints_m.tobytes())
            for r in results
        ]
    finally:
        driver.close()


def test_a_capture_of_a_take_is_that_of_the_camera_each_time(tmp_path: Path) -> None:
    given = list(frames(count=8))
    write_take(tmp_path / "take.mcap", given)
    first = captured(list(TakeSource(tmp_path / "take.mcap")))
    assert first == captured(list(TakeSource(tmp_path / "take.mcap")))
    assert first == captured(given)
    assert len({bits[-1] for bits in first}) == 8  # the model moves


def test_poses_of_a_take_are_those_of_the_headset_each_time(tmp_path: Path) -> None:
    given = samples_of(walking(0.7))
    write_take(tmp_path / "take.mcap", [], given)
    first = driven(list(TakeHeadset(tmp_path / "take.mcap")))
    assert first == driven(list(TakeHeadset(tmp_path / "take.mcap")))
    assert first == driven(given)
    assert len(first) == len(given) and np.any([bits[3] != first[0][3] for bits in first])
