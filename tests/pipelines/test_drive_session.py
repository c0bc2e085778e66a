"""A driving session's controls: newest wins, stalls, stop, limits, files, and a source that fails."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bodystream.avatar import LbsAvatar
from bodystream.errors import ConfigurationError, InputError, SourceError
from bodystream.pipelines import run as run_module
from bodystream.pipelines.drive import session as session_module
from bodystream.pipelines.drive.files import DriveFiles
from bodystream.pipelines.drive.pipeline import DriveConfig, Driver, DriveResult
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.drive.viewer import BodyViewerSink
from bodystream.pipelines.run import Progress
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.observation import JointTargets
from bodystream.pose.person import Person
from bodystream.sinks import BvhRecorder
from bodystream.sinks.viewer import BodyViewerState
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.types import HeadsetSample, Status
from helpers.drive_parts import ESTIMATOR, Scripted, new_driver, samples_of, t_pose
from helpers.headset_motions import walking
from helpers.session_sinks import Gate

CLIP = walking(1.0)


@pytest.fixture(scope="module")
def shared_driver() -> Iterator[Driver]:
    made = new_driver(skeleton=CLIP.skeleton, estimator=replace(ESTIMATOR, refine=False, foot_lock=False))
    made.warm_up()
    close, made.close, made.warm_up = made.close, lambda: None, lambda: None  # it serves one session after the other
    yield made
    close()


@pytest.fixture
def driver(shared_driver: Driver) -> Driver:
    """As new: another stream has another clock."""
    shared_driver.checker = type(shared_driver.checker)(shared_driver.config.headset)
    shared_driver.predictor.reset()
    shared_driver.estimator.reset(CLIP.skeleton)
    return shared_driver


class Harness:
    """A session of a driver that is there already, with everything that it says."""

    def __init__(self, source: Any, driver: Driver, **options: Any) -> None:
        self.progress: list[Progress] = []
        self.notes: list[str] = []
        self.gate = Gate()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session_module, "Driver", lambda device, config, **_: driver)
            self.session = DriveSession(
                source,
                device="cpu",
                sinks=[*options.pop("sinks", ()), self.gate],
                on_note=self.notes.append,
                **{"on_progress": self.progress.append, **options},
            )

    @property
    def results(self) -> list[DriveResult]:
        return self.gate.results

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


def test_a_recording_loses_nothing(driver: Driver) -> None:
    samples = samples_of(CLIP)[:30]
    with Harness(Scripted(samples), driver) as harness:
        report = harness.session.run()
        assert harness.session.processed == len(harness.results) == 30
        told = [progress.processed for progress in harness.progress]
        assert told == sorted(set(told)) and told[-1] == 30, "the newest is told, the last one always"
        assert harness.progress[-1].dropped == 0 and harness.progress[-1].rate_hz > 0
    assert report.frames.processed == 30 and report.frames.dropped == 0
    assert report.quality.poses == 30
    assert report.quality.head_error_mean_cm == pytest.approx(0.0, abs=0.01)
    assert report.latency.p50_ms is not None and report.latency.p50_ms > 0


def test_a_source_that_knows_its_person_and_that_it_loses_nothing_says_so() -> None:
    with DriveSession(MotionHeadset(CLIP.sliced(0, 12)), DriveConfig(estimator=ESTIMATOR), device="cpu") as session:
        assert session.config.skeleton is CLIP.skeleton and session.config.lossless
        assert session.config.headset.is_settled
        report = session.run()
    assert report.quality.joint_error_mean_cm is not None and report.frames.processed == 12


def test_a_slow_driver_gets_the_newest_sample(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    stepped = driver.step
    taken: list[HeadsetSample] = []

    def slow(sample: HeadsetSample):
        taken.append(sample)
        time.sleep(0.04)
        return stepped(sample)

    monkeypatch.setattr(driver, "step", slow)
    source = MotionHeadset(CLIP.sliced(0, 60), realtime=True)
    with Harness(source, driver) as harness:
        report = harness.session.run()
        dropped = report.frames.dropped
        assert harness.session.processed + dropped == report.frames.received == 60 and dropped >= 20
        assert harness.progress[-1].dropped == dropped
    indices = [sample.index for sample in taken]
    assert indices == sorted(set(indices)) and indices[-1] == 59  # in order, none twice, the last one too
    # what is taken has just come in: its age is that of the step before at most, and a few periods of a busy machine
    assert harness.progress[-1].latency_ms < 1000


def test_a_stall_is_told_and_survived(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "STALL_S", 0.1)
    go_on = threading.Event()
    source = Scripted(samples_of(CLIP)[:8], lambda number: go_on.wait(30.0) and None if number == 5 else None)
    stalls: list[Progress] = []

    def listen(progress: Progress) -> None:
        if "gave no sample" in progress.reason:
            stalls.append(progress)
            go_on.set()

    with Harness(source, driver, on_progress=listen) as harness:
        harness.session.run()
        assert stalls[0].processed == 5 and stalls[0].status is Status.LOST
        assert harness.session.processed == 8
    assert any("gave no sample" in warning for warning in source.counts.warnings)


def test_stop_ends_after_the_sample_in_work(driver: Driver) -> None:
    with Harness(Scripted(samples_of(CLIP)), driver) as harness:
        harness.gate.after = lambda result, number: harness.session.stop() if number == 7 else None
        harness.session.run()
        assert harness.session.processed == 7


def test_stop_from_a_listener_ends_a_session_that_waits(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "STALL_S", 0.1)
    held = threading.Event()
    source = Scripted(samples_of(CLIP), lambda number: held.wait(30.0) and None if number == 3 else None)
    sessions: list[DriveSession] = []

    def listen(progress: Progress) -> None:
        if "gave no sample" in progress.reason:
            sessions[0].stop()

    with Harness(source, driver, on_progress=listen) as harness:
        sessions.append(harness.session)
        harness.session.run()
        assert harness.session.processed == 3
        held.set()


def test_a_number_of_samples_is_kept(driver: Driver) -> None:
    with Harness(Scripted(samples_of(CLIP)), driver, samples=12) as harness:
        harness.session.run()
        assert harness.session.processed == 12


def test_samples_that_cannot_be_used_do_not_count_as_processed(driver: Driver) -> None:
    samples = samples_of(CLIP)[:10]
    twice = [sample for sample in samples for _ in range(2)]
    with Harness(Scripted(twice), driver) as harness:
        harness.session.run()
        assert harness.session.processed == 10
        assert harness.progress[-1].dropped == driver.checker.dropped == 10


def test_pausing_leaves_samples_aside_until_it_goes_on(driver: Driver) -> None:
    with Harness(Scripted(samples_of(CLIP)[:20]), driver) as harness:
        harness.session.pause()
        harness.session.start()
        with pytest.raises(TimeoutError):
            harness.session.wait(0.2)
        assert harness.session.processed == 0
        harness.session.resume()
        assert harness.session.wait(60).frames.processed == 20


def test_reset_forgets_the_past_with_the_next_sample(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    at: list[int] = []
    with Harness(Scripted(samples_of(CLIP)[:10]), driver) as harness:
        monkeypatch.setattr(driver.estimator, "forget_past", lambda: at.append(harness.session.processed))
        harness.gate.after = lambda result, number: harness.session.reset() if number == 4 else None
        harness.session.run()
    assert [number for number in at if number] == [4]  # the first sample begins anew in any case


def test_files_hold_what_was_driven(driver: Driver, tmp_path: Path) -> None:
    files = DriveFiles(tmp_path)
    with Harness(Scripted(samples_of(CLIP)[:20]), driver, sinks=[files]) as harness:
        harness.session.run()
        notes = harness.session.close()
    assert {path.name for path in files.written.paths} == {"headset.csv", "driven.bvh", "driven.glb"}
    assert notes == files.written.lines == tuple(f"wrote {path}" for path in files.written.paths)
    assert len((tmp_path / "headset.csv").read_text().splitlines()) == 21
    assert driver.spans.summary()["record"].count >= 20


def test_an_error_of_the_source_comes_after_what_was_before_it(driver: Driver, tmp_path: Path) -> None:
    def unplugged(number: int) -> None:
        if number == 6:
            raise SourceError("the headset went away")

    source = Scripted(samples_of(CLIP), unplugged)
    with Harness(source, driver, sinks=[DriveFiles(tmp_path)]) as harness:
        with pytest.raises(SourceError, match="went away"):
            harness.session.run()
        assert harness.session.processed == 6
    assert len((tmp_path / "headset.csv").read_text().splitlines()) == 7


def test_a_source_without_a_usable_sample_is_an_error(driver: Driver) -> None:
    with Harness(Scripted([]), driver) as harness, pytest.raises(SourceError, match="scripted gave no usable sample"):
        harness.session.run()


def test_a_calibration_that_fails_is_noted_at_once_and_driving_goes_on(driver: Driver) -> None:
    """Half a second of walking measures nobody."""
    known, driver.person = driver.person, Person(skeleton=CLIP.skeleton, hold_s=0.5)
    try:
        with Harness(Scripted(samples_of(CLIP)[:60]), driver) as harness:
            harness.session.calibrate("T")
            harness.session.run()
            assert [note.split(":")[0] for note in harness.notes] == ["not calibrated", "calibrating again (1 of 3)"]
            assert harness.session.processed == 60 and harness.session.failed == 0
    finally:
        driver.person = known


def test_one_sample_that_cannot_be_posed_does_not_end_the_session(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, stepped = samples_of(CLIP)[:10], driver.estimator.pose

    def broken(joints: JointTargets):
        if joints.t_ns in (samples[4].t_ns, samples[6].t_ns):
            raise InputError("every hypothesis is forbidden")
        return stepped(joints)

    monkeypatch.setattr(driver.estimator, "pose", broken)
    with Harness(Scripted(samples), driver) as harness:
        harness.session.run()
        assert harness.session.processed == 10 and harness.session.failed == 2
        assert harness.notes[0] == "a sample could not be posed: every hypothesis is forbidden"
        assert harness.notes[1].startswith("2 of 10 samples could not be posed") and len(harness.notes) == 2
        lost = [result.pose for result in harness.results if result.pose.status is Status.LOST]
        assert [pose.reason for pose in lost] == ["no pose: every hypothesis is forbidden"] * 2
        report = harness.session.report
    assert report.flags["pose_failed"] == 2 and report.tracking.status["lost"] == 2
    assert report.quality.poses == 8  # what was held is no measurement


def test_a_session_of_which_no_sample_can_be_posed_is_an_error(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(joints: JointTargets):
        raise InputError("the network's answer is broken")

    monkeypatch.setattr(driver.estimator, "pose", broken)
    with Harness(Scripted(samples_of(CLIP)[:5]), driver) as harness:
        with pytest.raises(InputError, match="answer is broken"):
            harness.session.run()
        assert harness.session.processed == harness.session.failed == 5


def test_a_full_disk_ends_the_recording_and_not_the_session(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    files = DriveFiles(tmp_path, 90.0, notes.append)
    put, full = BvhRecorder._put, threading.Event()

    def refusing(self: BvhRecorder, data: bytes) -> None:
        if full.is_set() and len(data) > 20:  # the number of frames has its place
            raise OSError(errno.ENOSPC, "No space left on device")
        put(self, data)

    monkeypatch.setattr(BvhRecorder, "_put", refusing)

    def wait_until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not done() and time.monotonic() < deadline:
            time.sleep(0.01)

    def fill(result: DriveResult, number: int) -> None:
        if number == 6:  # five were published
            wait_until(lambda: files._bvh is not None and files._bvh._whole > 0 and not files._bvh._waiting)
            full.set()
        elif number == 11:
            wait_until(lambda: bool(notes))
            full.clear()

    with Harness(Scripted(samples_of(CLIP)[:20]), driver, sinks=[files]) as harness:
        harness.gate.after = fill
        harness.session.run()
        assert harness.session.processed == 20 and harness.notes == []
        with pytest.raises(
            InputError, match=r"No space left.*written all the same: .*headset.csv, .*bvh, .*glb$"
        ) as error:
            harness.session.close()
    (note,) = notes
    assert "No space left" in note and "nothing more is recorded in driven.bvh" in note
    assert str(error.value).count("No space left") == 1
    assert harness.session.failures == (error.value,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["driven.bvh", "driven.glb", "headset.csv"]
    kept = int((tmp_path / "driven.bvh").read_text().split("Frames: ")[1].split()[0])
    assert 0 < kept < 20 and f"after {kept} frames" in note


def test_what_is_wrong_with_the_stream_is_told_when_it_is_seen(driver: Driver) -> None:
    samples = samples_of(CLIP)[:6]
    stuck = [*samples, *(replace(samples[-1], index=k) for k in range(6, 10))]
    with Harness(Scripted(stuck), driver) as harness:
        harness.session.run()
        assert harness.notes == [f"warning: {driver.checker.warnings[0]}"]
        assert harness.progress[-1].status is Status.LOST and "time" in harness.progress[-1].reason
        assert harness.progress[-1].dropped == 4 and harness.progress[-1].processed == 6
        assert driver.checker.warnings[0] in harness.session.warnings


def test_waiting_for_the_first_sample_is_no_warning(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "STALL_S", 0.05)
    go_on = threading.Event()
    told: list[Progress] = []

    def listen(progress: Progress) -> None:
        told.append(progress)
        go_on.set()

    source = Scripted(samples_of(CLIP)[:3], lambda number: None if number else assert_waited(go_on))
    with Harness(source, driver, on_progress=listen) as harness:
        harness.session.run()
        assert "gave no sample" in told[0].reason and harness.session.processed == 3
    assert source.counts.warnings == []


def assert_waited(event: threading.Event) -> None:
    assert event.wait(30.0)


class FakeViewer:
    """Wants every state."""

    def __init__(self) -> None:
        self.wants_state, self.states, self.warnings, self.closed = True, [], [], 0

    def close(self) -> None:
        self.closed += 1

    def publish(self, state: BodyViewerState) -> None:
        self.states.append(state)


def test_the_viewer_gets_the_body_of_another_avatar(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer, first = FakeViewer(), driver.avatar
    other = LbsAvatar(fitted_skeleton(1.75), first.device)

    def take_over(result: DriveResult, number: int) -> None:
        if number == 3:
            monkeypatch.setattr(driver, "avatar", other)
            monkeypatch.setattr(driver, "skin", other.skin)

    sink = BodyViewerSink(viewer, driver.skin)  # type: ignore[arg-type]
    sink.lossless = True  # for the test: none is replaced by a newer one
    with Harness(Scripted(samples_of(CLIP)[:6]), driver, sinks=[sink]) as harness:
        harness.gate.after = take_over
        harness.session.run()
    assert viewer.closed == 1
    assert [state.body is None for state in viewer.states] == [True] * 3 + [False] * 3
    body = viewer.states[-1].body
    assert body is viewer.states[3].body
    np.testing.assert_array_equal(body.mesh.vertices, other.skin.mesh.vertices)


def test_a_still_person_is_followed_without_an_error_of_the_head(driver: Driver) -> None:
    clip = t_pose(0.3)
    with Harness(Scripted(samples_of(clip)), driver) as harness:
        report = harness.session.run()
    assert report.quality.head_error_mean_cm == pytest.approx(0.0, abs=0.01)


def test_a_constraint_of_the_application_is_asked_for_each_choice() -> None:
    asked: list[tuple[int, ...]] = []

    def indifferent(joints_m: np.ndarray, orientations: np.ndarray) -> np.ndarray:
        asked.append(joints_m.shape + orientations.shape[1:])
        return np.zeros(len(joints_m))

    config = DriveConfig(skeleton=CLIP.skeleton, estimator=replace(ESTIMATOR, hypotheses=2))
    with DriveSession(None, config, device="cpu", constraint=indifferent) as session:
        asked.clear()  # what warmed it up
        for sample in samples_of(CLIP)[:3]:
            session.push(sample)
    assert asked == [(2, 22, 3, 22, 3, 3)] * 3
    with pytest.raises(ConfigurationError, match="at least two"):
        DriveSession(None, DriveConfig(estimator=ESTIMATOR), device="cpu", constraint=indifferent)
