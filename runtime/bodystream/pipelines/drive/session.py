"""A driven body with all that it needs: a headset or samples that are pushed, sinks, listeners, a report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import warp as wp

from bodystream.avatar import VrmAvatar
from bodystream.avatar.open import AvatarChoice
from bodystream.device import describe_device, select_device
from bodystream.errors import BodystreamError, InputError, NotReadyError, SourceError, excerpt
from bodystream.geometry.hands import check_hand
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.skeleton import Skeleton, forward_kinematics
from bodystream.pipelines.drive.pipeline import DriveConfig, Driver, DriveResult
from bodystream.pipelines.drive.view import DriveView
from bodystream.pipelines.intake import check_time
from bodystream.pipelines.ports import check_sink
from bodystream.pipelines.run import Progress, Session
from bodystream.pipelines.warmup import DRIVE_MODULES, warm_up
from bodystream.pose.calibration import Calibration
from bodystream.pose.chooser import Constraint
from bodystream.pose.person import CalibrationPose
from bodystream.sinks.base import Occasion, Sink
from bodystream.sinks.reports.drive import DriveReport, DriveReportBuilder
from bodystream.sinks.reports.figures import SourceSection
from bodystream.sources.headset.base import HeadsetSource
from bodystream.sources.headset.replay import ReplayedHeadset
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.timing import Spans, now_ns
from bodystream.types import BodyPose, DeviceKind, HeadsetSample, Mesh, SkinnedMesh, Status, TimedPose, TrackedDevice

__all__ = ["DriveSession"]


class DriveSession(Session[HeadsetSample, DriveResult]):
    """Drives a full body from a headset's samples: a source's, or those that are pushed.

    Results are as of `Driver.step`. One sample that cannot be posed ends nothing: the last pose is held, as lost, and
    the result's `failure` says why. A run in which no sample could be posed raises what kept the first one from it.

    Args:
        source: an opened headset or recording, which the session closes; None = samples are pushed.
        config: of the pipeline. What a source knows itself (that it loses no sample, the person of a motion file) is
            filled in.
        height_m, avatar: in the place of the config's: the person's height [m] and the body that is driven.
        device: where kernels run: `auto`, `cpu`, `cuda`, `cuda:N`, or a Warp device.
        sinks: see `sinks.base`; more may be added by `add_sink`.
        samples: `run` stops after so many processed samples; None = at the end of the source.
        constraint: takes the hypotheses' (K, 22, 3) joints [m] and (K, 22, 3, 3) orientations in the world, and returns
            (K,) penalties, infinite to forbid; `EstimatorConfig.hypotheses` must be at least two. Called within a step.
        on_result: called with each result, in order; one that is slow misses some.
        on_progress: called with the newest `Progress`, some twenty times a second at most, and when the source stalls.
        on_note: called with lines for a person, when what they tell happens.
        on_calibrated: called with each calibration.
        on_kernel_build: called by this constructor before each module of kernels that has to be built, which takes
            seconds and happens once on a machine: its name, its number from 1, and how many have to be built.

    Listeners (all but the last one) are called on a thread of their own.

    Attributes:
        failed: of the processed samples, how many could not be posed.

    Raises:
        ConfigurationError, DeviceError, BundleError: an option that cannot be used; a network that cannot be loaded;
            kernels that cannot be built.
    """

    _what = "sample"
    _window = 90

    def __init__(
        self,
        source: HeadsetSource | None = None,
        config: DriveConfig | None = None,
        *,
        height_m: float | None = None,
        avatar: AvatarChoice | None = None,
        device: str | wp.Device = "auto",
        sinks: Sequence[Sink[Any]] = (),
        samples: int | None = None,
        constraint: Constraint | None = None,
        on_result: Callable[[DriveResult], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        on_note: Callable[[str], object] | None = None,
        on_calibrated: Callable[[Calibration], object] | None = None,
        on_kernel_build: Callable[[str, int, int], None] | None = None,
    ) -> None:
        super().__init__(source, samples, on_result, on_progress, on_note)
        for sink in sinks:  # all of them, before threads are begun for any
            check_sink(sink)
        self.device = select_device(device) if isinstance(device, str) else device
        config = DriveConfig() if config is None else config
        config = config if height_m is None else replace(config, height_m=height_m)
        config = config if avatar is None else replace(config, avatar=avatar)
        self.config = _with_what_is_known(config, source)
        self._name = "pushed samples" if source is None else source.name
        self._nominal_hz = None if source is None else source.rate_hz
        self._on_calibrated = on_calibrated
        self._warnings_told: set[str] = set()
        self._first_failure: BodystreamError | None = None
        self.failed = 0
        warm_up(self.device, on_kernel_build, DRIVE_MODULES)
        self._driver = Driver(self.device, self.config, constraint=constraint, on_calibrated=self._calibrated)
        if isinstance(source, ReplayedHeadset) and source.from_file:  # so they are known before the first sample
            self._driver.checker.prime(source.samples)
        self._driver.warm_up()
        if isinstance(self._driver.avatar, VrmAvatar):
            for note in self._driver.avatar.model.notes:
                self._note(f"warning: {note}")
        engine = self._driver.engine
        self._figures = DriveReportBuilder(
            self._name,
            self._nominal_hz,
            bundles={"pose": self._driver.bundle_label, "body": self._driver.avatar_label},
            providers={"kernels": describe_device(self.device), "pose": f"{engine.provider} ({engine.reason})"},
        )
        for sink in sinks:
            self.add_sink(sink)

    @property
    def spans(self) -> Spans:
        return self._driver.spans

    @property
    def skeleton(self) -> Skeleton:
        """The person's, as it is known now."""
        return self._driver.skeleton

    @property
    def skin(self) -> SkinnedMesh | None:
        """The person's surface at bind and what moves it; None of an avatar that has posed vertices only."""
        return self._driver.skin

    @property
    def warnings(self) -> tuple[str, ...]:
        """Of source, samples, sinks and listeners so far, each once."""
        return tuple(dict.fromkeys((*self._intake.counts.warnings, *self._driver.warnings, *super().warnings)))

    @property
    def report(self) -> DriveReport:
        counts, driver = self._intake.counts, self._driver
        dropped = driver.checker.dropped
        calibration = driver.person.calibration
        return self._figures.build(
            spans=driver.spans,
            samples_in=self._intake.received + (dropped if self._intake.reader is None else 0),
            samples_dropped=self._intake.left_out + dropped,
            source=SourceSection(self._name, counts.delivered, counts.lost, counts.reconnects, counts.warnings),
            calibration=() if calibration is None else calibration.lines,
            restarts=driver.restarts,
            warnings=[*driver.warnings, *self._sink_warnings()],
        )

    def _open(self) -> None:
        if self._intake.reader is not None:
            self._intake.reader.start()

    def pose_at(self, t_ns: int) -> TimedPose:
        """The pose at any time, from any thread and without waiting; see `PosePredictor.pose_at`.

        Between samples it is interpolated; beyond the newest, velocities fade, and after 0.1 s the pose is held, with
        the flag `held`. Its own `t_ns` is that of the newest sample it was computed from.

        Raises:
            NotReadyError: no sample was posed yet.
        """
        try:
            pose = self._driver.predictor.pose_at(t_ns)
        except InputError as error:
            raise NotReadyError("no sample was posed yet: push one, or wait for the source") from error
        rotations = matrix_from_quaternion(pose.rotations_xyzw)
        root = np.asarray(pose.root_position_m, np.float64)
        joints, bones = forward_kinematics(self.skeleton.offsets_m, rotations, root)
        return TimedPose(
            **{field.name: getattr(pose, field.name) for field in fields(BodyPose)},
            at_ns=t_ns,
            joints_m=joints.astype(np.float32),
            bones_xyzw=quaternion_from_matrix(bones).astype(np.float32),
        )

    def posed_mesh(self) -> Mesh:
        """The surface in the newest pose, in the world [m]; waits for a sample in work.

        Raises:
            NotReadyError: no sample was posed yet.
        """
        with self._turn():
            if self._result is None:
                raise NotReadyError("no sample was posed yet, so there is no surface: push one, or wait for the source")
            return self._driver.posed_mesh()

    def calibrate(self, *poses: CalibrationPose) -> None:
        """Measure the person, in a T- or I-pose, from the seconds after head and both hands are tracked.

        Where that fails, it is tried again a few times, which `on_note` tells; `on_calibrated` has what was found.

        Args:
            poses: `auto` (the default), `T`, `I`; or `floor`, as soon as a hand lies on it, and others after that.

        Raises:
            ConfigurationError: there is no such pose.
            SessionError: the session is closed.
        """
        with self._turn():
            self._refuse_closed()
            self._driver.person.measure(*poses)

    @property
    def floor_m(self) -> float:
        """Height of the floor above what the headset calls 0 [m], as it was given or measured."""
        return self._driver.person.floor_m

    def _calibrated(self, found: Calibration) -> None:
        self._notifier.note(self._on_calibrated, found, "on_calibrated")

    def _step(self, item: HeadsetSample, arrived_ns: int | None) -> DriveResult | None:
        driver = self._driver
        start_ns = now_ns()
        if self._reset.is_set():
            self._reset.clear()
            driver.restart()
        result = driver.step(item)
        for warning in driver.warnings:
            if warning not in self._warnings_told:
                self._warnings_told.add(warning)
                self._note(f"warning: {warning}")
        if result is None:
            return None
        for note in result.notes:
            self._note(note)
        if result.failure is not None:
            self.failed += 1
            if self._first_failure is None:
                self._first_failure = result.failure
                self._note(f"a sample could not be posed: {result.failure}")
        end_ns = now_ns()
        # Times of a recording that is read ahead lie in the future: its age is counted from the work on it.
        began_ns = start_ns if arrived_ns is None else arrived_ns
        if self._intake.has_host_times:
            began_ns = result.pose.t_ns
        latency_ns = end_ns - began_ns
        self._intake.count(latency_ns, end_ns)
        self._figures.add_pose(
            replace(result.pose, t_ns=began_ns), vertices=driver.avatar.vertices.size, done_t_ns=end_ns
        )
        # The headset's clock may be ahead: browsers tell where the head will be when the frame is shown.
        self._figures.add_data_age(max(0, latency_ns))
        if result.sample.head is not None and result.failure is None:
            self._figures.add_quality(result.head_error_m, result.hand_errors_m, result.joint_error_m)
        return replace(result, joints_m=result.joints_m.copy())

    def _end_run(self) -> None:
        if self._first_failure is not None:
            if self.failed == self.processed:
                raise self._first_failure
            self._note(f"{self.failed} of {self.processed} samples could not be posed: {self._first_failure}")
        if self.processed == 0 and not self._stop.is_set():
            raise SourceError(f"{self._name} gave no usable sample")

    def _view(self, occasion: Occasion, result: DriveResult | None) -> DriveView:
        return DriveView(
            occasion,
            result,
            self._driver,
            nominal_hz=self._nominal_hz,
            rate_hz=self._intake.rate_hz,
            latency_ms=self._intake.latency_ns * 1e-6,
            is_live=self._intake.has_host_times,
            warnings={**dict.fromkeys(self._driver.warnings, 1), **self._intake.counts.counted_warnings()},
        )

    def _shared(self, result: DriveResult) -> DriveResult:
        return result

    def _status_of(self, result: DriveResult) -> tuple[Status, str]:
        return result.pose.status, result.pose.reason

    def _progress(self, status: Status, reason: str, result: DriveResult | None) -> Progress:
        told = self._intake.progress(status, reason, self._intake.left_out + self._driver.checker.dropped)
        return told if result is None else replace(told, flags=result.pose.flags)

    def _check_pushed(self, item: HeadsetSample) -> None:
        if not isinstance(item, HeadsetSample):
            raise InputError(f"a drive takes samples of bodystream.types.HeadsetSample, got {type(item).__name__}")
        check_time(f"sample {item.index}", item.t_ns)
        for side in ("head", "left", "right"):
            device = getattr(item, side)
            if device is None:
                continue
            if not isinstance(device, TrackedDevice):
                raise InputError(
                    f"sample {item.index}: {side} must be a bodystream.types.TrackedDevice, or None while it is not "
                    f"tracked, got {type(device).__name__}"
                )
            for name, shape in (("position_m", (3,)), ("rotation_xyzw", (4,))):
                value = getattr(device, name)
                try:
                    numbers = np.asarray(value)
                except ValueError:  # lists of several lengths
                    numbers = np.array(None)
                if numbers.dtype.kind not in "fiu":
                    raise InputError(
                        f"sample {item.index}: {name} of {side} must be an array of numbers, got {excerpt(value)}"
                    )
                if numbers.shape != shape:
                    raise InputError(
                        f"sample {item.index}: {name} of {side} must have shape {shape}, got {numbers.shape}"
                    )
            if not isinstance(device.kind, DeviceKind):
                raise InputError(
                    f"sample {item.index}: kind of {side} must be a bodystream.types.DeviceKind, got "
                    f"{excerpt(device.kind)}"
                )
            if device.hand is not None:
                check_hand(device.hand, f"{side} of sample {item.index}")

    def _close_pipeline(self) -> None:
        self._driver.close()


def _with_what_is_known(config: DriveConfig, source: HeadsetSource | None) -> DriveConfig:
    """The options with what the source itself knows."""
    if source is None:
        return config
    if isinstance(source, MotionHeadset):
        skeleton = source.clip.skeleton if config.skeleton is None else config.skeleton
        config = replace(config, skeleton=skeleton, headset=replace(config.headset, is_settled=True))
    return replace(config, lossless=config.lossless or not source.live)
