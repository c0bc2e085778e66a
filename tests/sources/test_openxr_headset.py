"""The OpenXR source: states of the session, pace, faults and options, on a runtime that does as it is told."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, MissingDependencyError, SourceError
from bodystream.sources.headset.base import HeadsetSource
from bodystream.sources.headset.openxr import OpenXrHeadset
from bodystream.sources.headset.openxr_types import (
    HeadsetAbsentError,
    RuntimeInfo,
    SessionState,
    XrConnection,
    XrEvent,
    XrEventKind,
)
from bodystream.types import DeviceKind, HeadsetSample
from helpers.openxr_fake import XR_EPOCH_NS, FakeConnection, guessed, pose, state


def opened(connection: FakeConnection, **options: float) -> OpenXrHeadset:
    return OpenXrHeadset("tests", opener=lambda _: connection, **{"rate_hz": 500.0, **options})  # type: ignore[arg-type]


def take(source: OpenXrHeadset, count: int) -> list[HeadsetSample]:
    return list(itertools.islice(source, count))


def in_turn(*outcomes: FakeConnection | Exception) -> Callable[[str], XrConnection]:
    """An opener that gives or raises these one after another, and the last one for ever."""
    left = list(outcomes)

    def open_next(_: str) -> XrConnection:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return open_next


def test_samples_hold_head_and_hands_and_both_times() -> None:
    connection = FakeConnection()
    connection.controllers["left"] = pose(-0.2, 1.2, -0.3)
    connection.wrists["right"] = pose(0.2, 1.1, -0.3)
    with opened(connection) as source:
        assert isinstance(source, HeadsetSource)
        assert (source.name, source.live, source.rate_hz) == ("openxr:Fake 1.0", True, 500.0)
        samples = take(source, 5)
    assert connection.calls.count("begin") == 1 and connection.closed == 1
    assert source.counts.delivered == 5 and source.counts.warnings == []
    for sample in samples:
        assert sample.head is not None and sample.left is not None and sample.right is not None
        assert (sample.head.kind, sample.left.kind, sample.right.kind) == (
            DeviceKind.VIEW,
            DeviceKind.GRIP,
            DeviceKind.HAND_WRIST,
        )
        np.testing.assert_array_equal(sample.left.position_m, (-0.2, 1.2, -0.3))
        assert sample.device_t_ns == sample.t_ns - XR_EPOCH_NS
    assert all(a.t_ns < b.t_ns for a, b in itertools.pairwise(samples))


def test_hand_joints_are_not_asked_for_while_controllers_are_held() -> None:
    connection = FakeConnection()
    connection.controllers = {"left": pose(), "right": pose()}
    connection.wrists = {"left": pose(), "right": pose()}
    with opened(connection) as source:
        assert all(s.left is not None and s.left.kind is DeviceKind.GRIP for s in take(source, 3))
    assert not {"wrist-left", "wrist-right"} & set(connection.calls)


@pytest.mark.parametrize(("info_rate", "asked", "rate"), [(72.0, None, 72.0), (None, None, 90.0), (72.0, 30.0, 30.0)])
def test_the_rate_is_asked_for_or_that_of_the_display_or_90(
    info_rate: float | None, asked: float | None, rate: float
) -> None:
    connection = FakeConnection(info=RuntimeInfo("Fake", "Fake", "STAGE", rate_hz=info_rate))
    with opened(connection, rate_hz=asked) as source:  # type: ignore[arg-type]
        assert source.rate_hz == rate


def test_a_slow_consumer_loses_samples_and_they_are_counted() -> None:
    with opened(FakeConnection(), rate_hz=100.0) as source:
        indices = []
        for sample in source:
            indices.append(sample.index)
            if len(indices) == 3:
                time.sleep(0.1)
            if len(indices) == 6:
                break
    lost = indices[3] - indices[2] - 1
    assert lost >= 8 and source.counts.lost >= lost
    assert indices[-1] + 1 == source.counts.delivered + source.counts.lost


def test_nothing_comes_before_the_session_runs_and_it_must_run_in_time() -> None:
    connection = FakeConnection(ready=False)
    source = opened(connection, start_timeout_s=0.1)
    with pytest.raises(SourceError, match=r"Fake 1\.0 did not let the session run within 0\.1 s \(its state is IDLE\)"):
        take(source, 1)
    assert source.counts.delivered == 0 and connection.closed == 1 and "begin" not in connection.calls


def test_a_headset_that_rests_gives_samples_without_a_head() -> None:
    connection = FakeConnection()
    connection.controllers["left"] = pose()
    with opened(connection) as source:
        samples = iter(source)
        assert next(samples).head is not None
        connection.events += [state(SessionState.STOPPING), state(SessionState.IDLE)]
        resting = next(samples)
        assert (resting.head, resting.left, connection.calls.count("end")) == (None, None, 1)
        connection.events.append(state(SessionState.READY))
        assert next(samples).head is not None and connection.calls.count("begin") == 2
        assert any("paused the session" in warning for warning in source.counts.warnings)


def test_the_iteration_ends_when_the_runtime_quits() -> None:
    connection = FakeConnection()
    source = opened(connection)
    samples = iter(source)
    next(samples)
    connection.events += [state(SessionState.STOPPING), state(SessionState.EXITING)]
    assert list(samples) == []
    assert connection.closed == 1 and source.counts.warnings[-1] == "Fake 1.0 asked this program to quit"


def test_a_moved_origin_and_lost_events_are_told() -> None:
    connection = FakeConnection()
    with opened(connection) as source:
        connection.events += [XrEvent(kind) for kind in (XrEventKind.ORIGIN_MOVED, XrEventKind.EVENTS_LOST)] * 2
        connection.events.append(XrEvent(XrEventKind.OTHER))
        assert [sample.origin_moved for sample in take(source, 3)] == [True, False, False]
        moved, lost = source.counts.warnings
    assert "moved the origin" in moved and "lost events" in lost


def test_a_head_that_is_guessed_is_passed_on_and_told() -> None:
    connection = FakeConnection()
    connection.head_pose = guessed(pose(0, 1.5, 0))
    with opened(connection) as source:
        assert all(sample.head is not None for sample in take(source, 3))
        assert len(source.counts.warnings) == 1 and "only guesses where the head is" in source.counts.warnings[0]


def test_a_head_pose_that_is_none_is_not_passed_on() -> None:
    connection = FakeConnection()
    connection.head_pose = pose(rotation=(0, 0, 0, 0))
    with opened(connection) as source:
        assert all(sample.head is None for sample in take(source, 3))
        assert "head pose that is not one" in source.counts.warnings[0]


def test_without_focus_there_are_hands_but_no_controllers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodystream.sources.headset.openxr._UNFOCUSED_S", 0.01)
    connection = FakeConnection()
    connection.focused = False
    connection.controllers["left"] = connection.wrists["right"] = pose()
    with opened(connection) as source:
        samples = take(source, 20)
        assert samples[-1].left is None and samples[-1].right is not None
        assert any("keeps the controllers from this program" in warning for warning in source.counts.warnings)


def test_a_palm_pose_becomes_a_wrist_and_its_absence_is_told() -> None:
    connection = FakeConnection(info=RuntimeInfo("Fake", "Fake", "STAGE", palm=True))
    connection.controllers = {"left": pose(), "right": pose()}
    connection.palms["left"] = pose()
    with opened(connection) as source:
        sample = take(source, 2)[-1]
        assert sample.left is not None and sample.left.kind is DeviceKind.HAND_WRIST
        assert sample.right is not None and sample.right.kind is DeviceKind.GRIP
        assert source.counts.warnings == ["Fake gives no palm pose for the right controller: its grip pose is used"]


# Faults


@pytest.mark.parametrize("how", ["call", "session", "instance"])
def test_a_connection_that_is_lost_is_made_anew(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodystream.sources.headset.openxr._RETRY_S", 0.01)
    first, second = FakeConnection(), FakeConnection(info=RuntimeInfo("Fake", "Fake", "LOCAL", warnings=("no floor",)))
    absent = HeadsetAbsentError("no headset")
    source = OpenXrHeadset(rate_hz=20.0, opener=in_turn(first, absent, MissingDependencyError("a", "b", "c"), second))
    samples = iter(source)
    before = next(samples)
    first.lost = how == "call"
    first.events += {"session": [state(SessionState.LOSS_PENDING)], "instance": [XrEvent(XrEventKind.LOSS)]}.get(
        how, []
    )
    after = next(samples)
    assert (first.closed, second.closed, source.counts.reconnects, source.counts.lost) == (1, 0, 1, 0)
    assert after.head is not None and after.index == before.index + 1
    assert "waiting 30 s for it to come back" in source.counts.warnings[0] and "no floor" in source.counts.warnings
    source.close()
    assert second.closed == 1


def test_a_connection_that_stays_lost_is_an_error() -> None:
    first = FakeConnection()
    source = OpenXrHeadset(rate_hz=500.0, reconnect_s=0.05, opener=in_turn(first, HeadsetAbsentError("no headset")))
    samples = iter(source)
    next(samples)
    first.lost = True
    with pytest.raises(SourceError, match=r"Fake 1\.0 is gone, and did not come back within 0\.05 s: connect it"):
        next(samples)
    source.close()
    assert list(source) == []


def test_another_error_of_the_runtime_ends_the_iteration_and_the_session() -> None:
    connection = FakeConnection()
    source = opened(connection)
    samples = iter(source)
    next(samples)

    def fail(_: int) -> None:
        raise SourceError("Fake failed while locating a pose")

    connection.head = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(SourceError, match="locating a pose"):
        next(samples)
    assert connection.closed == 1


def test_ctrl_c_closes_the_session() -> None:
    connection = FakeConnection()
    source = opened(connection)
    samples = iter(source)
    next(samples)

    def interrupt() -> None:
        raise KeyboardInterrupt

    connection.poll = interrupt  # type: ignore[method-assign, assignment]
    with pytest.raises(KeyboardInterrupt):
        next(samples)
    assert connection.closed == 1


@pytest.mark.parametrize("lost", [False, True])
def test_close_from_another_thread_ends_the_iteration_within_a_second(lost: bool) -> None:
    connection = FakeConnection()
    source = OpenXrHeadset(rate_hz=1.0, opener=in_turn(connection, HeadsetAbsentError("no headset")))
    seen: list[HeadsetSample] = []
    thread = threading.Thread(target=lambda: seen.extend(source))
    thread.start()
    time.sleep(0.05)
    connection.lost = lost
    started_s = time.monotonic()
    source.close()
    source.close()
    thread.join(2)
    assert not thread.is_alive() and time.monotonic() - started_s < 1.0
    assert connection.closed == 1


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 0.0}, "rate_hz must be between 1 and 1000 Hz, got 0"),
        ({"rate_hz": float("nan")}, "rate_hz must be"),
        ({"application_name": ""}, "application_name must have 1 to 127 bytes, got 0"),
        ({"application_name": "ö" * 64}, "got 128"),
        ({"controller_pose": "aim"}, "controller_pose must be one of grip, palm, got 'aim'"),
        ({"inferred_s": -1.0}, "inferred_s must be 0 or more seconds, got -1"),
        ({"reconnect_s": float("inf")}, "reconnect_s must be"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_opened(
    options: dict[str, object], message: str
) -> None:
    def never(_: str) -> XrConnection:
        raise AssertionError("opened")

    with pytest.raises(ConfigurationError, match=message):
        OpenXrHeadset(**options, opener=never)  # type: ignore[arg-type]


def test_warnings_of_the_connection_are_passed_on() -> None:
    connection = FakeConnection(info=RuntimeInfo("Fake", "Fake", "LOCAL", warnings=("no floor",)))
    with opened(connection) as source:
        assert source.counts.warnings == ["no floor"]
