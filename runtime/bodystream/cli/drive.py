"""`bodystream drive`: a full body from a headset and two hands, live in a browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from bodystream.cli.browser import open_page
from bodystream.cli.options import SendWords, optional, shown, switched_off
from bodystream.cli.process import settle_memory, start_warp, use_one_opencv_thread
from bodystream.cli.run_options import MovedOption, RunOptions
from bodystream.cli.session_end import Notes, ending, run_session
from bodystream.errors import BodystreamError, ConfigurationError, InputError
from bodystream.files import check_output

if TYPE_CHECKING:
    import warp as wp

    from bodystream.bundles import BundleChoice
    from bodystream.cli.status_line import StatusLine
    from bodystream.pipelines.drive.pipeline import DriveConfig
    from bodystream.pipelines.drive.session import DriveSession
    from bodystream.pose.calibration import Calibration
    from bodystream.sources.grammar import SourceKind
    from bodystream.sources.headset.base import HeadsetSource

__all__ = ["Drive", "refuse_two_bodies"]

_TO_DO = {
    "floor": "lay a hand, or the controller in it, on the floor for a second",
    "T": "stand upright for two seconds, arms level to the sides",
    "I": "stand upright for two seconds, arms hanging",
    "auto": "stand upright for two seconds, arms level or hanging",
}
"""What a person does for each step of a calibration."""


@dataclass(frozen=True, kw_only=True)
class Drive(RunOptions):
    """Drive a full body from a headset and two hands.

    With --out: driven.bvh, driven.glb (the skinned body, animated), headset.csv (the samples, to be replayed), and of a
    VRM avatar driven.vrma.
    Examples:
      bodystream drive --headset openxr                  a runtime: SteamVR, Monado, WiVRn
      bodystream drive --headset 'webxr?host=0.0.0.0'    a headset's own browser
      bodystream drive --headset trace:session.json      a recording, until Ctrl-C
      bodystream drive --headset motion:take.bvh --headless --out out/
      bodystream drive --headset openxr --send vmc:127.0.0.1:39539 --send vrchat:127.0.0.1:9000
    """

    headset: str
    """Where head and hands come from; see above for the kinds and their keys."""

    avatar: Annotated[str, shown("NAME|PATH")] = "default"
    """The body that is driven: default, the shipped one, default-clothed, somebody in shirt and shorts, a .vrm file, or
    the folder or zip file of a bundle."""

    send: SendWords = ()
    """Send each pose to another program, see above for the kinds and their keys. May be repeated."""

    rig: Annotated[Literal["vrm", "mixamo", "smpl", "cmu"] | None, optional("{vrm,mixamo,smpl,cmu}")] = None
    """Of driven.bvh and driven.glb: bone names, rest pose and unit of what is imported elsewhere; vrm adds driven.vrma.
    Default: SMPL's joints by their own names."""

    bvh_hz: Annotated[float | None, optional("HZ")] = None
    """Frames per second of driven.bvh: 24, 25, 30, 60, 90, 120 or any other; default: those of the headset."""

    pace: Literal["live", "all"] = "live"
    """Recordings: live = at their own pace, and the newest sample wins; all = lose none, as fast as it goes."""

    speed: float = 1.0
    """Recordings at their own pace: how many times as fast; 0.5 = slow motion, with the same poses."""

    hypotheses: int = 1
    """Poses that the network is asked for per sample; with more than one, joints get an uncertainty."""

    calibrate: Annotated[tuple[Literal["floor", "auto", "T", "I"], ...], optional("{floor,auto,T,I} ...")] = ()
    """Measure the person from the first two seconds: stand upright with the arms level (T) or hanging (I). With floor,
    as in --calibrate floor T, the real floor before that: lay a hand or its controller on it for a second."""

    calibration: Annotated[Path | None, optional("FILE")] = None
    """Proportions of the person: read from this file; with --calibrate they are written there instead."""

    height: Annotated[float | None, optional("METRES")] = None
    """The person's height, where nothing was calibrated; default: guessed from how high the head is seen."""

    floor: float = 0.0
    """Height of the floor above what the headset calls 0, in metres, as --calibrate floor found it."""

    units: Literal["auto", "m", "cm", "mm"] = "auto"
    """Of the headset's positions."""

    quaternion_order: Literal["auto", "xyzw", "wxyz"] = "auto"
    """Of the headset's rotations."""

    axes: Annotated[str, optional("LETTERS")] = "auto"
    """Where the headset's x, y and z point: RUB (right, up, back: OpenXR), RUF (Unity), FRU (Unreal), FLU (ROS), RFU
    (Vicon, Blender), RDF (camera) or other letters; auto looks for another vertical axis than y."""

    device_axes: Annotated[str | None, optional("LETTERS")] = None
    """The same of the devices themselves, where a program converted the world alone; default: as --axes."""

    left_handed: bool = False
    """The headset's z points ahead, as in Unity: --axes RUF."""

    swap_hands: bool = False
    """Exchange left and right."""

    refine: Annotated[bool, switched_off("Show the network's own answer: head and hands are not met exactly.")] = True
    """Meet head and hands exactly."""

    foot_lock: Annotated[bool, switched_off("Leave standing feet free instead of holding them in place.")] = True
    """Hold standing feet in place."""

    smooth: Annotated[bool, switched_off("Show each answer of the network as it is, not smoothed over time.")] = True
    """Smooth the network's answer over time."""

    provider: Literal["auto", "tensorrt", "cuda", "openvino", "cpu"] = "auto"
    """What runs the network."""

    chooser: ClassVar[str] = "--headset"
    moved: ClassVar[dict[str, MovedOption]] = {"host": MovedOption("host", ("webxr",), "0.0.0.0")}

    @staticmethod
    def kinds() -> Sequence[SourceKind[Any, Any]]:
        from bodystream.sources.headset.open import HEADSET_KINDS

        return HEADSET_KINDS

    @classmethod
    def more_help(cls, width: int) -> str:
        from bodystream.pipelines.send.open import SEND_KINDS
        from bodystream.sources.grammar import describe_kinds

        return f"{super().more_help(width)}\n\nWhat --send takes:\n{describe_kinds(SEND_KINDS, width)}"

    def run(self) -> int:
        if self.bvh_hz is not None and not 1 <= self.bvh_hz <= 1000:
            raise ConfigurationError(f"--bvh-hz must be 1 to 1000 frames per second, got {self.bvh_hz}")
        if self.rig is not None and self.out is None:
            raise ConfigurationError(f"--rig {self.rig} is of the files of --out: give --out FOLDER, too")
        if self.height is not None and not 1.0 <= self.height <= 2.3:
            raise ConfigurationError(f"--height must be 1.0 to 2.3 metres, got {self.height}")
        if self.calibration is not None and self._measures_person:
            check_output(self.calibration, "--calibration")
        self.check()
        from bodystream.cli.status_line import StatusLine
        from bodystream.device import select_device

        with ExitStack() as stack:
            line = stack.enter_context(StatusLine())
            start_warp()
            use_one_opencv_thread()
            return self._run(select_device(self.device), line, stack)

    @property
    def _measures_person(self) -> bool:
        """Whether `calibration` is written: the floor alone is of the room, and the person is read from there."""
        return any(pose != "floor" for pose in self.calibrate)

    def _run(self, device: wp.Device, line: StatusLine, stack: ExitStack) -> int:
        from bodystream.pipelines.drive.files import DriveFiles
        from bodystream.pipelines.drive.session import DriveSession
        from bodystream.pipelines.recording.beside import record_beside
        from bodystream.pipelines.recovery import recover_folder
        from bodystream.pipelines.send.open import open_sender
        from bodystream.sources.headset.replay import ReplayedHeadset

        notes = Notes(line.print)
        if self.out is not None:
            recover_folder(self.out, line.print)
        senders = [open_sender(receiver) for receiver in self.send]
        for sender in senders:
            stack.callback(sender.close)
        source = self._open(line.print)
        stack.callback(source.close)
        if isinstance(source, ReplayedHeadset) and not self.headless:
            source.loop = True  # over before its page is drawn, it would show nothing
        stored: list[Path] = []

        def calibrated(found: Calibration) -> None:
            for text in found.lines:
                line.print(text)
            if self.calibration is not None and found.pose != "assumed":
                # The person was measured all the same: a full disk must not undo that.
                try:
                    found.save(self.calibration)
                except BodystreamError as error:
                    line.print(f"error: {error}")
                else:
                    stored.append(self.calibration)
                    line.print(f"wrote {self.calibration}")

        session = DriveSession(
            source,
            self._config(),
            device=device,
            samples=self.frames,
            on_progress=line.driving,
            on_note=notes.tell,
            on_calibrated=calibrated,
            on_kernel_build=line.building,
        )
        with ending(session):
            if self.calibrate:
                line.print(f"calibrating: {', then '.join(_TO_DO[pose] for pose in self.calibrate)}")
                session.calibrate(*self.calibrate)
            if self.record is not None:
                record_beside(session, self.record, notes.tell)
            if self.out is not None:
                session.add_sink(DriveFiles(self.out, self.bvh_hz, notes.tell, self.rig))
            for sender in senders:
                session.add_sink(sender)
            if not self.headless:
                self._show(session, source, notes, line)
            self._serve(session, source)
            settle_memory()
            code = run_session(
                session,
                line,
                done="driven",
                files=self.out is not None,
                report=self.report,
                json=self.json,
                bounded=self.frames is not None,
            )
        if self._measures_person and self.calibration is not None and not stored and code == 0:
            raise InputError(
                f"{self.calibration} was not written: nobody was measured, or it could not be saved (see above); hold "
                "the pose for two seconds with head and both hands tracked, and start again"
            )
        return code

    def _show(self, session: DriveSession, source: HeadsetSource, notes: Notes, line: StatusLine) -> None:
        from bodystream.pipelines.drive.viewer import BodyViewerSink
        from bodystream.sinks.viewer import BodyViewer

        viewer = BodyViewer(
            session.skin,
            self.port,
            on_start=session.resume,
            on_stop=session.pause,
            on_reset=session.reset,
            on_save=session.save,
        )
        viewer.invitation = getattr(source, "invitation", None)  # of a headset that comes by its browser
        tell_page = viewer.tell  # but for warnings, which the states bring
        notes.readers.append(lambda text: None if text.startswith("warning: ") else tell_page(text))
        session.add_sink(BodyViewerSink(viewer, session.skin))
        line.print(f"viewer: {viewer.url}")
        if not self.no_browser:
            open_page(viewer.url)

    def _serve(self, session: DriveSession, source: HeadsetSource) -> None:
        """Where the headset comes by a page of ours, show the body there, too."""
        from bodystream.pipelines.serve.sinks import BodyStreamSink
        from bodystream.sinks.stream import StreamHub
        from bodystream.sources.headset.webxr import WebXrHeadset

        if not isinstance(source, WebXrHeadset):
            return

        def calibrate(message: Any) -> str:
            session.calibrate(message.pose)
            return "measuring: stand upright for two seconds"

        def reset(_: Any) -> str:
            session.reset()
            return "began anew"

        controls = {"calibrate": calibrate, "reset": reset}
        session.add_sink(BodyStreamSink(StreamHub(source.server, bodies=True, controls=controls)))

    def _open(self, on_status: Callable[[str], None]) -> HeadsetSource:
        from bodystream.sources.headset.open import open_headset

        return open_headset(self.headset, realtime=self.pace == "live", speed=self.speed, on_status=on_status)

    def _config(self) -> DriveConfig:
        from bodystream.avatar.open import SHIPPED_AVATAR, avatar_maker
        from bodystream.bundles import BundleChoice
        from bodystream.pipelines.drive.pipeline import DriveConfig
        from bodystream.pose.calibration import Calibration
        from bodystream.pose.estimator import EstimatorConfig
        from bodystream.sources.headset.checks import HeadsetOptions

        stored = None
        if self.calibration is not None and not self._measures_person:
            if not self.calibration.is_file():
                raise ConfigurationError(
                    f"--calibration {self.calibration} is not a file: measure the person with --calibrate first"
                )
            stored = Calibration.load(self.calibration)
        bundles = BundleChoice.parse(self.bundle, ("pose", "person"))
        refuse_two_bodies(self.avatar, bundles)
        return DriveConfig(
            headset=HeadsetOptions(
                self.units,
                self.quaternion_order,
                self.left_handed,
                self.swap_hands,
                self.axes,
                self.device_axes,
            ),
            estimator=EstimatorConfig(
                hypotheses=self.hypotheses,
                refine=self.refine,
                foot_lock=self.foot_lock,
                smooth=self.smooth,
                provider=self.provider,
            ),
            # A wrong one is told before kernels are built.
            avatar=SHIPPED_AVATAR if self.avatar == SHIPPED_AVATAR else avatar_maker(self.avatar),
            bundles=bundles,
            calibration=stored,
            height_m=self.height,
            floor_m=self.floor,
        )


def refuse_two_bodies(avatar: str, bundles: BundleChoice) -> None:
    """Raises: ConfigurationError: the bundle of a body and another avatar were given."""
    from bodystream.avatar.open import SHIPPED_AVATAR

    if avatar != SHIPPED_AVATAR and "person" in bundles.places:
        raise ConfigurationError(
            f"--bundle person is the body of --avatar {SHIPPED_AVATAR}, and --avatar {avatar} was given, too: "
            "leave one of them away"
        )
