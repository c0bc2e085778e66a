"""A session's `headset.csv` drives to the same poses again, and a recording in a loop to the same poses each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodystream.pipelines.drive.pipeline import DriveResult
from bodystream.pipelines.reader import length_of
from bodystream.sources.headset.checks import HeadsetOptions
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.headset.table import write_headset_csv
from bodystream.sources.headset.trace import TraceHeadset, read_trace
from bodystream.types import HeadsetSample
from helpers.drive_parts import new_driver
from helpers.headset_motions import walking


def drive(source: TraceHeadset, options: HeadsetOptions | None = None) -> list[DriveResult]:
    driver = new_driver(headset=options or HeadsetOptions(), lossless=True)
    driver.checker.prime(source.samples)
    try:
        return [result for sample in source if (result := driver.step(sample)) is not None]
    finally:
        driver.close()


def assert_same(got: list[DriveResult], want: list[DriveResult]) -> None:
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one.pose.rotations_xyzw, other.pose.rotations_xyzw)
        np.testing.assert_array_equal(one.pose.root_position_m, other.pose.root_position_m)
        np.testing.assert_array_equal(one.joints_m, other.joints_m)
        assert (one.pose.status, one.pose.flags, one.pose.reason) == (
            other.pose.status,
            other.pose.flags,
            other.pose.reason,
        )
        assert one.sample.t_ns - got[0].sample.t_ns == other.sample.t_ns - want[0].sample.t_ns
        assert (one.sample.origin_moved, one.sample.emulated) == (other.sample.origin_moved, other.sample.emulated)
        for side in ("head", "left", "right"):
            a, b = getattr(one.sample, side), getattr(other.sample, side)
            assert (a is None) == (b is None)
            if a is not None:
                assert a.kind is b.kind
                np.testing.assert_array_equal(a.position_m, b.position_m)
                np.testing.assert_array_equal(a.rotation_xyzw, b.rotation_xyzw)


def again(first: list[DriveResult], path: Path) -> list[DriveResult]:
    write_headset_csv(path, [result.sample for result in first])
    return drive(TraceHeadset(read_trace(path)))


def test_the_recording_of_a_quest_replays_to_the_same_bits(shared_data: Path, tmp_path: Path) -> None:
    """Controllers, then hands, then one hand; guessed hands and a recentred view are put in."""
    trace = read_trace(shared_data / "headset" / "quest3_session.json")
    samples = list(trace.samples[560:960])
    samples[100] = replace(samples[100], origin_moved=True)
    samples[150:180] = [replace(sample, left=None, emulated=("left",)) for sample in samples[150:180]]
    first = drive(TraceHeadset(replace(trace, samples=tuple(samples))))
    flags = {flag for result in first for flag in result.pose.flags}
    assert {"left_emulated", "head_teleport", "left_lost"} <= flags
    assert len({result.sample.left.kind for result in first if result.sample.left is not None}) == 2
    assert_same(again(first, tmp_path / "headset.csv"), first)


def test_what_was_corrected_is_not_corrected_again(tmp_path: Path) -> None:
    def unity(sample: HeadsetSample) -> HeadsetSample:
        def turned(d):
            return replace(
                d, position_m=d.position_m * (100, 100, -100), rotation_xyzw=1.3 * d.rotation_xyzw * (-1, -1, 1, 1)
            )

        return replace(
            sample, head=turned(sample.head), left=turned(sample.left), right=turned(sample.right), truth=None
        )

    trace = TraceHeadset(
        replace(
            read_trace(_table(tmp_path)),
            samples=tuple(unity(sample) for sample in MotionHeadset(walking(3.0))),
        )
    )
    first = drive(trace, HeadsetOptions(left_handed=True))
    second = again(first, tmp_path / "headset.csv")
    assert {flag for result in first for flag in result.pose.flags} >= {"units_suspected", "not_normalised"}
    for one, other in zip(second, first, strict=True):
        np.testing.assert_array_equal(one.pose.rotations_xyzw, other.pose.rotations_xyzw)
        np.testing.assert_array_equal(one.joints_m, other.joints_m)
        assert not {"units_suspected", "not_normalised"} & set(one.pose.flags)


def _table(folder: Path) -> Path:
    write_headset_csv(folder / "walk.csv", MotionHeadset(walking(0.1)))
    return folder / "walk.csv"


@pytest.mark.parametrize("realtime", [False, True])
def test_a_loop_goes_on_in_time_and_repeats_its_poses(realtime: bool) -> None:
    source = MotionHeadset(walking(0.5), realtime=realtime)
    assert length_of(source) == len(source)
    source.loop = True
    assert length_of(source) is None
    driver = new_driver(skeleton=source.clip.skeleton, lossless=True)
    results = []
    for sample in source:
        result = driver.step(sample)
        assert result is not None
        results.append(result)
        if len(results) == 3 * len(source):
            source.close()
    driver.close()
    steps = np.diff([result.sample.t_ns for result in results])
    assert steps.min() > 11_000_000 and steps.max() < 11_300_000
    assert [result.sample.index for result in results] == list(range(3 * len(source)))
    assert source.counts.lost == 0 and driver.restarts == 2 and not driver.checker.counts
    laps = [results[k * len(source) : (k + 1) * len(source)] for k in range(3)]
    for lap in laps[1:]:
        for one, other in zip(lap, laps[0], strict=True):
            np.testing.assert_allclose(one.joints_m, other.joints_m, atol=2e-4)  # times in the last bits differ
