"""Sessions as others embed them: what is pushed, poses at any time, several at once, and ends of all sorts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, InputError, NotReadyError, SessionError, SourceError
from bodystream.geometry.skinning import graph_motion
from bodystream.pipelines.capture.pipeline import CaptureResult
from bodystream.pipelines.capture.session import CaptureSession
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.run import State
from bodystream.sinks import Occasion
from bodystream.sinks.base import SinkBase
from bodystream.sources.base import SourceCounts
from bodystream.sources.headset.replay import ReplayedHeadset
from bodystream.types import HeadsetSample, RgbdFrame, Status
from helpers.drive_parts import ESTIMATOR, samples_of
from helpers.hands import a_hand
from helpers.headset_motions import walking
from helpers.pipeline_frames import DEVICE, frames, model_bits, new_capture
from helpers.session_sinks import Collector, Gate, Held

MS = 1_000_000
CONFIG = DriveConfig(estimator=replace(ESTIMATOR, refine=False, foot_lock=False))


@pytest.fixture
def session() -> Iterator[CaptureSession]:
    with CaptureSession(device=DEVICE) as made:
        yield made


@pytest.fixture(scope="module")
def samples() -> list[HeadsetSample]:
    return samples_of(walking(1.0))[:40]


@pytest.fixture(scope="module")
def refusing() -> Iterator[DriveSession]:
    with DriveSession(config=CONFIG, device=DEVICE) as made:
        yield made


def wrong_depth(value: float, pixels: int) -> RgbdFrame:
    depth_m = frames()[1].depth_m.copy()
    depth_m.reshape(-1)[7 : 7 + pixels] = value
    return replace(frames()[1], depth_m=depth_m, name="frame-of-mine")


# What is pushed


def test_pushed_frames_give_the_bits_of_the_bare_pipeline(session: CaptureSession) -> None:
    bare = new_capture()
    try:
        bare.warm_up()
        for frame in frames()[:6]:
            wanted, got = bare.step(frame), session.push(frame)
            assert got is not None and session._capture is not None
            assert model_bits(session._capture, got) == model_bits(bare, wanted)
            assert got.surface is not None and session.result is not None and session.result.surface is None
    finally:
        bare.close()
    report = session.report
    assert (report.frames.received, report.frames.processed, report.frames.dropped) == (6, 6, 0)
    assert report.source.name == "pushed frames"
    np.testing.assert_array_equal(session.live_mesh().vertices, session._capture.live_mesh().vertices)  # type: ignore[union-attr]


@pytest.mark.parametrize(("value", "pixels"), [(np.nan, 3), (np.inf, 1), (-0.5, 2), (-np.inf, 4)])
def test_depth_that_no_source_gives_is_refused_by_name_and_count(
    session: CaptureSession, value: float, pixels: int
) -> None:
    session.push(frames()[0])
    for push in (session.push, session.push_nowait):
        with pytest.raises(InputError, match=rf"frame-of-mine: depth of {pixels} of 76800 pixels is nan, infinite"):
            push(wrong_depth(value, pixels))
    result = session.push(frames()[1])
    assert result is not None and result.status is Status.TRACKED, "the session goes on"
    assert session.report.frames.received == 2


def test_frames_of_another_shape_or_type_are_refused(session: CaptureSession) -> None:
    frame = frames()[0]
    with pytest.raises(InputError, match="depth must be float32 of 320x240"):
        replace(frame, depth_m=frame.depth_m[:-1])
    with pytest.raises(InputError, match="depth must be float32"):
        replace(frame, depth_m=frame.depth_m.astype(np.float64))
    for item in (None, "frame"):
        with pytest.raises(InputError, match=rf"takes frames of bodystream.types.RgbdFrame, got {type(item).__name__}"):
            session.push(item)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="RgbdFrame"):
            session.push_nowait(item)  # type: ignore[arg-type]


def test_intrinsics_that_change_are_refused_and_the_session_goes_on() -> None:
    told: list[str] = []
    heard = threading.Event()
    other = replace(frames()[1], intrinsics=replace(frames()[1].intrinsics, fx=300.0))
    with CaptureSession(device=DEVICE, on_note=lambda line: (told.append(line), heard.set())) as session:
        session.push(frames()[0])
        with pytest.raises(SourceError, match=r"the camera changed from 320x240 pixels .* with fx=300"):
            session.push(other)
        session.push_nowait(other)
        assert heard.wait(30) and "a pushed frame was left out" in told[0] and "fx=300" in told[0]
        result = session.push(frames()[1])
        assert result is not None and result.status is Status.TRACKED
        frames_told = session.report.frames
    assert (frames_told.received, frames_told.processed, frames_told.dropped) == (3, 2, 1)


def test_the_newest_of_what_is_not_waited_for_wins(session: CaptureSession) -> None:
    gate, got = Gate(), Collector()
    entered, go_on = threading.Event(), threading.Event()

    def hold(result: CaptureResult, number: int) -> None:
        entered.set()
        assert go_on.wait(60)

    gate.after = hold
    session.add_sink(gate)
    session.add_sink(got)
    session.push_nowait(frames()[0])
    assert entered.wait(60)
    for frame in frames()[1:5]:
        session.push_nowait(frame)
    go_on.set()
    session.close()
    assert [result.frame.index for result in got.results] == [0, 4]
    told = session.report.frames
    assert (told.received, told.processed, told.dropped) == (5, 2, 3)


def test_pushed_samples_are_posed_and_wrong_ones_refused(samples: list[HeadsetSample]) -> None:
    with DriveSession(config=CONFIG, device="cpu") as session:
        with pytest.raises(NotReadyError, match="no sample was posed yet"):
            session.posed_mesh()
        results = [session.push(sample) for sample in samples[:10]]
        assert all(result is not None and result.pose.status is not Status.LOST for result in results)
        assert session.push(samples[9]) is None, "its time is not after the last"
        assert samples[0].head is not None
        flat = replace(samples[0].head, position_m=np.zeros((1, 3)))
        with pytest.raises(InputError, match=r"position_m of head must have shape \(3,\), got \(1, 3\)"):
            session.push(replace(samples[10], head=flat))
        with pytest.raises(InputError, match="HeadsetSample, got RgbdFrame"):
            session.push(frames()[0])  # type: ignore[arg-type]
        left = samples[10].left
        assert left is not None
        few = replace(a_hand(), radii_m=np.zeros(24, np.float32))
        with pytest.raises(InputError, match=r"radii_m of left of sample 10 .* shape \(25,\), got .* \(24,\)"):
            session.push(replace(samples[10], left=replace(left, hand=few)))
        untracked = replace(samples[0].head, position_m=np.full(3, np.nan))
        result = session.push(replace(samples[10], head=untracked))
        assert result is None or "head_lost" in result.pose.flags, "as from a headset that says so"
        assert len(session.posed_mesh().vertices) > 1000
        told = session.report.frames
    assert told.received == told.processed + told.dropped and told.dropped >= 1


# Poses at any time


def test_bones_of_a_capture_between_frames_beyond_and_far_ahead(session: CaptureSession) -> None:
    with pytest.raises(NotReadyError, match="no frame was tracked yet"):
        session.pose_at(0)
    known = []
    for frame in frames()[:6]:
        session.push(frame)
        assert session._capture is not None
        known.append(graph_motion(session._capture.field.snapshot(frame.t_ns)))
    for motion in known:
        at = session.pose_at(motion.t_ns)
        assert at.t_ns == motion.t_ns
        np.testing.assert_allclose(at.positions_m, motion.positions_m, atol=1e-6)
    before, after = known[-2], known[-1]
    count = len(before.positions_m)
    middle = session.pose_at((before.t_ns + after.t_ns) // 2)
    assert middle.t_ns == (before.t_ns + after.t_ns) // 2
    half = (before.positions_m + after.positions_m[:count]) / 2
    np.testing.assert_allclose(middle.positions_m[:count], half, atol=1e-6)
    turned = Rotation.from_quat(before.rotations_xyzw).inv() * Rotation.from_quat(after.rotations_xyzw[:count])
    wanted = Rotation.from_quat(before.rotations_xyzw) * Rotation.from_rotvec(turned.as_rotvec() / 2)
    apart = (wanted.inv() * Rotation.from_quat(middle.rotations_xyzw[:count])).magnitude()
    assert apart.max() < 1e-3
    ahead, far, farther = (session.pose_at(after.t_ns + ms * MS) for ms in (20, 500, 60_000))
    assert ahead.t_ns == after.t_ns + 20 * MS
    moved = ahead.positions_m[:count] - after.positions_m[:count]
    way = after.positions_m[:count] - before.positions_m
    assert np.sum(moved * way) > 0, "it goes on as it went"
    assert np.linalg.norm(moved, axis=1).max() < np.linalg.norm(way, axis=1).max()
    assert far.t_ns == farther.t_ns == after.t_ns + 100 * MS, "held: its time is before the one asked for"
    np.testing.assert_array_equal(far.positions_m, farther.positions_m)
    early = session.pose_at(0)
    assert early.t_ns == known[0].t_ns


def test_poses_before_the_first_sample_and_far_ahead(samples: list[HeadsetSample]) -> None:
    with DriveSession(config=CONFIG, device="cpu") as session:
        with pytest.raises(NotReadyError, match="no sample was posed yet"):
            session.pose_at(samples[0].t_ns)
        for sample in samples[:12]:
            session.push(sample)
        newest = samples[11].t_ns
        near, far, farther = (session.pose_at(newest + ms * MS) for ms in (20, 500, 60_000))
        assert near.t_ns == far.t_ns == newest and "held" not in near.flags
        assert "held" in far.flags and "held" in farther.flags
        np.testing.assert_array_equal(far.rotations_xyzw, farther.rotations_xyzw)
        assert session.pose_at(newest).flags == session.result.pose.flags  # type: ignore[union-attr]


# Ends


def test_closing_twice_is_closing_once_and_what_comes_after_is_refused() -> None:
    sink = Collector()
    session = CaptureSession(device=DEVICE, sinks=[sink])
    session.push(frames()[0])
    assert session.close() == session.close() == session.notes == ("collector took 1",)
    assert sink.closed == 1 and session.state is State.CLOSED
    after: list[Callable[[], Any]] = [
        lambda: session.push(frames()[1]),
        lambda: session.push_nowait(frames()[1]),
        lambda: session.add_sink(Collector()),
        session.run,
        session.start,
    ]
    for call in after:
        with pytest.raises(SessionError, match="the session is closed"):
            call()
    session.stop()
    session.pause()
    assert session.report.frames.processed == 1 and session.result is not None
    assert session.pose_at(frames()[0].t_ns).t_ns == frames()[0].t_ns, "what was captured is still there"


def test_sessions_side_by_side_end_in_any_order() -> None:
    first, second = (CaptureSession(device=DEVICE) for _ in range(2))
    first.push(frames()[0])
    second.push(frames()[0])
    first.push(frames()[1])
    first.close()
    result = second.push(frames()[1])
    assert result is not None and result.status is Status.TRACKED
    second.close()
    first.close()
    assert first.report.frames.processed == second.report.frames.processed == 2


@pytest.mark.parametrize("where", ["listener", "sink", "step"])
def test_a_session_may_be_closed_by_what_it_calls(where: str) -> None:
    closed = threading.Event()
    made: list[CaptureSession] = []

    class Closing(Collector):
        def publish(self, result: Any, /) -> None:
            super().publish(result)
            made[0].close()
            closed.set()

    def close(*_: object) -> None:
        made[0].close()
        closed.set()

    gate, other = Gate(), Collector("other")
    sinks: list[Any] = [Closing() if where == "sink" else Collector(), gate, other]
    session = CaptureSession(device=DEVICE, sinks=sinks, on_result=close if where == "listener" else None)
    made.append(session)
    if where == "step":
        gate.after = close
    session.push(frames()[0])
    assert closed.wait(60)
    session.close()
    for sink in (sinks[0], other):
        deadline = threading.Event()
        for _ in range(500):
            if sink.closed:
                break
            deadline.wait(0.01)
        assert sink.closed == 1 and len(sink.results) == 1
    assert session.state is State.CLOSED and session.failures == () and session.warnings == ()
    with pytest.raises(SessionError, match="is closed"):
        session.push(frames()[1])


def test_what_a_state_does_not_allow_is_said(session: CaptureSession) -> None:
    with pytest.raises(SessionError, match="no source to read"):
        session.run()
    with pytest.raises(SessionError, match="nothing to wait for"):
        session.wait()
    with pytest.raises(NotReadyError, match="no surface"):
        session.live_mesh()
    with pytest.raises(ConfigurationError, match="got object: derive it from bodystream.sinks.SinkBase"):
        session.add_sink(object())  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="in frames, must be a whole number from 1, got 0"):
        CaptureSession(device=DEVICE, frames=0)
    gate, refused = Gate(), []

    def push_again(result: CaptureResult, number: int) -> None:
        with pytest.raises(SessionError, match="in the middle of a step") as error:
            session.push(frames()[1])
        refused.append(error)

    gate.after = push_again
    session.add_sink(gate)
    session.push(frames()[0])
    assert len(refused) == 1


def test_a_session_with_a_source_reads_it_once_and_takes_nothing_else() -> None:
    source = ReplayedHeadset("mine", samples_of(walking(0.1)), 90.0, realtime=False)
    with DriveSession(source, CONFIG, device="cpu") as session:
        with pytest.raises(SessionError, match="reads mine"):
            session.push(source.samples[0])
        session.run()
        assert session.state is State.ENDED
        with pytest.raises(SessionError, match="mine is read once only"):
            session.start()


# Sinks and listeners


def push_all(session: CaptureSession, count: int) -> list[bytes]:
    bits = []
    for frame in frames()[:count]:
        result = session.push(frame)
        assert result is not None and session._capture is not None
        bits.append(model_bits(session._capture, result)[3])
    return bits


def test_sinks_that_raise_hang_or_are_slow_cost_no_frame() -> None:
    class Raising(Collector):
        def publish(self, result: Any, /) -> None:
            raise OSError("no room\nleft")

        def close(self) -> tuple[str, ...]:
            raise InputError("raising could not be finished")

    with CaptureSession(device=DEVICE) as alone:
        wanted = push_all(alone, 6)
    hung, slow, good = Held("hung"), Held("slow", lossless=False), Collector("good")
    session = CaptureSession(device=DEVICE, sinks=[Raising("raising"), hung, slow, good])
    assert push_all(session, 6) == wanted, "all frames, and the bits of a session alone"
    assert hung.entered.wait(30) and slow.entered.wait(30)
    slow.go_on.set()
    with pytest.raises(InputError, match="raising could not be finished"):
        session.close()
    told = session.report
    assert (told.frames.received, told.frames.processed, told.frames.dropped) == (6, 6, 0)
    assert [result.frame.index for result in good.results] == list(range(6))
    assert [result.frame.index for result in slow.results][-1] == 5 and len(slow.results) < 6, "the newest won"
    assert hung.results == [] and session.notes == ("slow took 2", "good took 6")
    assert "raising: OSError: no room left" in told.warnings
    assert "hung: TimeoutError: it did not stop within 0.3 s and was left behind" in told.warnings
    assert good.threads == {"sink-good"} and [str(f) for f in session.failures] == ["raising could not be finished"]
    hung.go_on.set()


def test_a_sink_that_always_fails_is_switched_off_and_still_closed() -> None:
    class Failing(Collector):
        calls = 0

        def prepare(self, view: Any) -> object:
            self.calls += 1
            raise ValueError("cannot take it")

    sink = Failing()
    with CaptureSession(device=DEVICE, sinks=[sink]) as session:
        session.push(frames()[0])
        view_calls = sink.calls
        for _ in range(40):
            session._show(Occasion.RESULT, session.result)
    assert view_calls == 1 and sink.calls == 20 and sink.closed == 1
    assert any("switched off after 20 failures" in warning for warning in session.warnings)


def test_a_lossless_sink_that_falls_behind_keeps_its_bound_and_says_so() -> None:
    sink = Held(bound=2)
    with CaptureSession(device=DEVICE, sinks=[sink]) as session:
        session.push(frames()[0])
        assert sink.entered.wait(30)
        for frame in frames()[1:6]:
            session.push(frame)
        sink.go_on.set()
    assert [result.frame.index for result in sink.results] == [0, 1, 2]
    assert any("slower than what it is given" in warning for warning in session.report.warnings)
    assert session.report.frames.dropped == 0


def test_listeners_are_called_beside_the_pipeline_and_cannot_hold_it() -> None:
    names: set[str] = set()
    entered, go_on = threading.Event(), threading.Event()
    got: list[int] = []

    def on_result(result: CaptureResult) -> None:
        names.add(threading.current_thread().name)
        got.append(result.frame.index)
        entered.set()
        assert go_on.wait(60)

    def on_progress(progress: object) -> None:
        names.add(threading.current_thread().name)
        raise RuntimeError("no terminal")

    with CaptureSession(device=DEVICE, on_result=on_result, on_progress=on_progress) as session:
        session.push(frames()[0])
        assert entered.wait(30)
        for frame in frames()[1:4]:
            session.push(frame)
        assert got == [0] and session.processed == 4, "the pipeline went on"
        go_on.set()
    assert got == [0, 1, 2, 3], "in order, and all of them"
    assert names == {"session-notifier"}
    assert session.warnings == ("on_progress: RuntimeError: no terminal",)


# Several at once


def test_two_sessions_at_once_give_the_bits_of_one_alone(samples: list[HeadsetSample]) -> None:
    def capture(out: list[bytes]) -> None:
        with CaptureSession(device=DEVICE) as session:
            out += push_all(session, 8)

    def drive(out: list[bytes]) -> None:
        with DriveSession(config=replace(CONFIG, lossless=True), device="cpu") as session:
            results = [session.push(sample) for sample in samples]
            out += [result.pose.rotations_xyzw.tobytes() for result in results if result is not None]

    alone: list[list[bytes]] = [[], []]
    capture(alone[0])
    drive(alone[1])
    together: list[list[bytes]] = [[] for _ in range(4)]
    works = (capture, capture, drive, drive)
    threads = [threading.Thread(target=work, args=(out,)) for work, out in zip(works, together, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(alone[0]) == 8 and len(alone[1]) == len(samples)
    assert together == [alone[0], alone[0], alone[1], alone[1]]


def test_a_sink_may_close_the_session_while_it_is_asked_to_save(tmp_path: Path) -> None:
    made: list[CaptureSession] = []

    class Closing(Collector):
        folder = tmp_path

        def prepare(self, view: Any) -> None:
            if view.occasion is Occasion.SAVE:
                made[0].close()

    sink = Closing()
    session = CaptureSession(device=DEVICE, sinks=[sink])
    made.append(session)
    session.push(frames()[0])
    session.save()
    assert session.state is State.CLOSED and sink.closed == 1


@pytest.mark.parametrize("how", ["stop", "close"])
def test_a_source_that_gives_nothing_does_not_hold_a_session(how: str) -> None:
    class Silent:
        name, live, rate_hz = "silent", True, 30.0

        def __init__(self) -> None:
            self.counts, self.asked, self.closed = SourceCounts(), threading.Event(), threading.Event()

        def __iter__(self) -> Iterator[RgbdFrame]:
            self.asked.set()
            self.closed.wait(60)
            yield from ()

        def close(self) -> None:
            self.closed.set()

    source = Silent()
    with CaptureSession(source, device=DEVICE) as session:
        session.start()
        assert source.asked.wait(60)
        getattr(session, how)()
        assert session.wait(10.0).frames.processed == 0
        assert session.failures == ()


def test_what_ends_a_thread_of_its_own_is_told_like_any_error() -> None:
    class Exiting(Collector):
        def publish(self, result: Any, /) -> None:
            raise SystemExit(3)

    def listener(_: CaptureResult) -> None:
        raise SystemExit(4)

    sink = Exiting("exiting")
    session = CaptureSession(device=DEVICE, sinks=[sink], on_result=listener)
    session.push(frames()[0])
    session.close()
    assert sink.closed == 1
    assert session.warnings == ("on_result: SystemExit: 4", "exiting: SystemExit: 3")


@pytest.mark.parametrize(
    ("setting", "value"), [("max_rate_hz", 0), ("max_rate_hz", -1.0), ("close_within_s", -1), ("close_within_s", None)]
)
def test_a_sink_with_a_setting_that_cannot_be_is_refused(session: CaptureSession, setting: str, value: Any) -> None:
    sink = Collector("mine")
    setattr(sink, setting, value)
    with pytest.raises(ConfigurationError, match=f"sink mine: {setting} must be .*, got {value}"):
        session.add_sink(sink)


@pytest.mark.parametrize(
    "settings", [{"frames": 1.5}, {"frames": True}, {"meter_every": 0}, {"meter_every": 1.5}, {"meter_every": "3"}]
)
def test_counts_that_count_nothing_are_refused(settings: dict[str, Any]) -> None:
    (value,) = settings.values()
    with pytest.raises(ConfigurationError, match=f"must be a whole number from 1, got {value!r}"):
        CaptureSession(device=DEVICE, **settings)


def test_a_refused_sink_leaves_no_thread_of_those_before_it() -> None:
    before = set(threading.enumerate())
    for make in (CaptureSession, DriveSession):
        with pytest.raises(ConfigurationError, match="got object: derive it"):
            make(device=DEVICE, sinks=[Collector(), object()])  # type: ignore[list-item]
    assert set(threading.enumerate()) <= before


def test_a_sink_without_publish_is_no_sink() -> None:
    class Half(SinkBase[CaptureResult]):
        pass

    with pytest.raises(TypeError, match="publish"):
        Half()  # type: ignore[abstract]


def test_a_closed_session_opens_and_measures_nothing(samples: list[HeadsetSample]) -> None:
    capture, drive = CaptureSession(device=DEVICE), DriveSession(config=CONFIG, device=DEVICE)
    with pytest.raises(ConfigurationError, match="one of floor, auto, T, I, got 'bogus'"):
        drive.calibrate("bogus")  # type: ignore[arg-type]
    for session in (capture, drive):
        session.close()
        with pytest.raises(SessionError, match="closed"):
            session.open()
    with pytest.raises(SessionError, match="closed"):
        drive.calibrate()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"head": "here"}, "head must be a bodystream.types.TrackedDevice, or None .*, got str"),
        ({"position_m": "here"}, "position_m of head must be an array of numbers, got 'here'"),
        ({"position_m": [[1.0], [2.0, 3.0]]}, "position_m of head must be an array of numbers"),
        ({"rotation_xyzw": None}, "rotation_xyzw of head must be an array of numbers, got None"),
        ({"kind": "grip of mine"}, "kind of head must be a bodystream.types.DeviceKind, got 'grip of mine'"),
    ],
)
def test_devices_of_another_type_are_refused(
    changed: dict[str, Any], said: str, samples: list[HeadsetSample], refusing: DriveSession
) -> None:
    assert samples[0].head is not None
    wrong = changed.get("head") or replace(samples[0].head, **changed)
    with pytest.raises(InputError, match=said):
        refusing.push(replace(samples[0], head=wrong))


def test_a_sink_may_be_waited_for_without_end() -> None:
    sink = Collector()
    sink.close_within_s = float("inf")
    with CaptureSession(device=DEVICE, sinks=[sink]) as session:
        session.push(frames()[0])
    assert sink.closed == 1 and session.warnings == ()


def test_the_end_of_a_with_block_waits_for_a_sink_that_is_closing_the_session() -> None:
    made: list[CaptureSession] = []
    held = Held()
    held.close_within_s = 60.0
    closing, left = threading.Event(), threading.Event()

    class Closing(Collector):
        def publish(self, result: Any, /) -> None:
            closing.set()
            made[0].close()

    def embed() -> None:
        with CaptureSession(device=DEVICE, sinks=[Closing(), held]) as session:
            made.append(session)
            session.push(frames()[0])
            assert closing.wait(60) and held.entered.wait(60)
            while session.state is not State.CLOSED:
                left.wait(0.01)
        left.set()

    thread = threading.Thread(target=embed)
    thread.start()
    assert held.entered.wait(60)
    assert not left.wait(0.3)
    held.go_on.set()
    assert left.wait(60) and held.closed == 1
    thread.join()


@pytest.mark.parametrize("t_ns", [None, 1.5, float("nan"), "now", True, 2**70])
def test_times_that_no_clock_gives_are_refused(t_ns: Any) -> None:
    with CaptureSession(device="cpu") as session, pytest.raises(InputError, match="t_ns must be a whole number"):
        session.push(replace(frames()[0], t_ns=t_ns))
    with DriveSession(device="cpu") as session, pytest.raises(InputError, match="t_ns must be a whole number"):
        session.push(HeadsetSample(0, t_ns, None))


def test_what_a_block_raises_is_not_hidden_by_a_sink_that_cannot_finish() -> None:
    class Unfinished(SinkBase[Any]):
        name = "unfinished"

        def publish(self, result: Any) -> None:
            pass

        def close(self) -> list[str]:
            raise OSError("no space left")

    session = CaptureSession(device="cpu", sinks=[Unfinished()])
    with pytest.raises(KeyError, match="of the program"), session:
        raise KeyError("of the program")
    assert [str(failure) for failure in session.failures] == ["no space left"]
