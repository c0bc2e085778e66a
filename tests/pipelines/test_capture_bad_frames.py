"""Frames that say nothing new or come out of order: what they give, and that the model is as if they had not come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodystream.pipelines.capture.files import CaptureFiles
from bodystream.pipelines.capture.frame_watch import SET_BACK_FRAMES
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.types import RgbdFrame, Status
from helpers.gltf_player import Player
from helpers.pipeline_frames import DEVICE, empty, frames, model_bits, new_capture

PERIOD_NS = 33_333_333


def later(frame: RgbdFrame, periods: int) -> RgbdFrame:
    """The same picture at another time."""
    return replace(
        frame, index=frame.index + periods, t_ns=frame.t_ns + periods * PERIOD_NS, depth_m=frame.depth_m.copy()
    )


def test_a_picture_that_comes_again_is_told_and_changes_nothing(capture: Capture) -> None:
    for frame in frames()[:8]:
        tracked = capture.step(frame)
    before, count = model_bits(capture, tracked), capture.frame_count
    for periods in range(1, 41):
        frozen = capture.step(later(frames()[7], periods))
        assert frozen.status is Status.DEGRADED and frozen.reason == "the camera gives the same picture again"
        assert frozen.foreground.status is Status.DEGRADED
        np.testing.assert_array_equal(frozen.foreground.mask, tracked.foreground.mask)
    assert model_bits(capture, frozen) == before and capture.frame_count == count, "nothing moved, nothing was fused"
    # The person went on meanwhile by no more than a frame's motion: it is followed from where the model stood.
    on = capture.step(replace(frames()[8], t_ns=frames()[8].t_ns + 40 * PERIOD_NS))
    assert on.status is Status.TRACKED and on.solve is not None, on.reason
    assert capture.restart_count == 0


def test_one_picture_twice_is_worth_one(capture: Capture) -> None:
    other = new_capture()
    try:
        for frame in frames()[:6]:
            result = capture.step(frame)
            wanted = other.step(frame)
            repeated = other.step(replace(frame, t_ns=frame.t_ns + PERIOD_NS // 4, depth_m=frame.depth_m.copy()))
            assert repeated.status is Status.DEGRADED
        assert model_bits(capture, result) == model_bits(other, wanted)
    finally:
        other.close()


def test_an_empty_picture_that_comes_again_is_lost_for_what_it_is(capture: Capture) -> None:
    for index in range(3):
        result = capture.step(later(empty(frames()[0]), index))
        assert result.status is Status.LOST and "no depth" in result.reason


def test_a_picture_of_a_lost_person_that_comes_again_is_lost(capture: Capture) -> None:
    nobody = replace(frames()[0], mask=np.zeros(frames()[0].depth_m.shape, np.bool_))
    assert capture.step(nobody).status is Status.LOST
    again = capture.step(later(nobody, 1))
    assert again.status is Status.LOST and "same picture" in again.reason and not again.foreground.mask.any()


@pytest.mark.parametrize("behind_ns", [0, 2 * PERIOD_NS])
def test_a_frame_out_of_order_is_left_out(capture: Capture, behind_ns: int) -> None:
    whole = new_capture()
    try:
        for frame in frames()[:6]:
            capture.step(frame)
            whole.step(frame)
        late = capture.step(replace(frames()[3], t_ns=frames()[5].t_ns - behind_ns))
        assert late.status is Status.LOST and late.reason.startswith("out of order")
        assert not late.foreground.mask.any() and late.solve is None
        for frame in frames()[6:9]:
            ours, theirs = capture.step(frame), whole.step(frame)
            assert ours.status is Status.TRACKED, ours.reason
        assert model_bits(capture, ours) == model_bits(whole, theirs)
    finally:
        whole.close()


def test_a_clock_that_was_set_back_is_believed_after_half_a_second(capture: Capture) -> None:
    for frame in frames()[:4]:
        capture.step(frame)
    hour_ns = 3_600_000_000_000
    results = [capture.step(replace(frame, t_ns=frame.t_ns - hour_ns)) for frame in frames()[4:22]]
    lost = [result.status is Status.LOST for result in results]
    assert lost == [True] * (SET_BACK_FRAMES - 1) + [False] * (len(results) - SET_BACK_FRAMES + 1)
    assert results[-1].status is Status.TRACKED and capture.restart_count == 0


def test_frames_that_swap_places_for_long_are_no_other_clock(capture: Capture) -> None:
    """Every second frame is two behind: each is left out, however many they are."""
    told = []
    for frame in frames()[: SET_BACK_FRAMES + 3]:
        capture.step(frame)
        told.append(capture.step(replace(frame, t_ns=frame.t_ns - 2 * PERIOD_NS)).status)
    assert told == [Status.LOST] * len(told)


def test_a_session_counts_them_with_their_reasons_and_its_files_are_whole(tmp_path: Path) -> None:
    hour_ns = 3_600_000_000_000
    with CaptureSession(device=DEVICE, sinks=[CaptureFiles(tmp_path)]) as session:
        for frame in frames()[:4]:
            session.push(frame)
        late = session.push(replace(frames()[2], depth_m=frames()[2].depth_m.copy()))
        frozen = session.push(later(frames()[3], 1))
        for frame in frames()[4 : 4 + SET_BACK_FRAMES + 2]:
            last = session.push(replace(frame, t_ns=frame.t_ns - hour_ns))
        report = session.report
        notes = session.close()
    assert late is not None and late.status is Status.LOST
    assert frozen is not None and frozen.status is Status.DEGRADED
    assert last is not None and last.status is Status.TRACKED
    assert report.tracking.status == {"tracked": 7, "degraded": 1, "lost": SET_BACK_FRAMES}
    assert report.tracking.reasons["the camera gives the same picture again"] == 1
    assert any("out of order" in reason for reason in report.tracking.reasons)
    times = Player(tmp_path / "capture.glb").key_times
    assert len(times) == 8 and (np.diff(times) > 0).all() and times[-1] < 1.0
    assert any("clock was set back 1 time" in note for note in notes)
