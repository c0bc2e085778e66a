"""`bodystream serve`: a captured surface, a driven body or both, to any number of browsers and programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from bodystream.cli.options import BundleWords, SendWords, optional, shown, switched_off
from bodystream.cli.process import settle_memory, start_warp, use_one_opencv_thread
from bodystream.errors import BodystreamError, ConfigurationError, InputError

if TYPE_CHECKING:
    import warp as wp

    from bodystream.bundles import BundleChoice
    from bodystream.cli.status_line import StatusLine
    from bodystream.pipelines.capture.session import CaptureSession
    from bodystream.pipelines.drive.session import DriveSession
    from bodystream.pipelines.run import Session
    from bodystream.pipelines.serve.measuring import MeasuringNews
    from bodystream.web.server import PageServer

__all__ = ["Serve"]


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Show a captured surface, a driven body or both to any number of browsers and programs.

    Prints the address of the page. On another device a code is typed, or the printed address opened: docs/serve.md.
    What --source and --headset take is told by `bodystream live --help` and `bodystream drive --help`. Examples:
      bodystream serve --source realsense --host 0.0.0.0
      bodystream serve --headset webxr --host 0.0.0.0         open it in a headset's browser, press "Enter VR"
      bodystream serve --source 'folder:take?loop=1' --headset trace:session.json
      bodystream serve --headset webxr --avatar me.vrm --send vmc:127.0.0.1:39539
    """

    source: Annotated[str | None, optional("SOURCE")] = None
    """Where frames of a depth camera come from."""

    headset: Annotated[str | None, optional("HEADSET")] = None
    """Where head and hands come from; webxr is this server's own page."""

    avatar: Annotated[str, shown("NAME|PATH")] = "default"
    """The body that is driven."""

    height: Annotated[float | None, optional("METRES")] = None
    """The person's height; default: guessed from how high the head is seen, until it is measured from the page."""

    calibration: Annotated[Path | None, optional("FILE")] = None
    """Proportions of the person, read from this file."""

    floor: float = 0.0
    """Height of the floor above what the headset calls 0, in metres; drive --calibrate floor measures it."""

    mask: Literal["auto", "given", "find", "all"] = "auto"
    """Foreground of the camera's frames, as of live."""

    host: str = "127.0.0.1"
    """Address to listen at: 0.0.0.0 = all of this machine's. Others than the loopback need TLS and a token."""

    port: int = 8443
    """Port of the page; 0 = any free one."""

    token: Annotated[str | None, optional("TOKEN")] = None
    """That clients must give, at least 8 letters and digits; default: made anew where others can connect."""

    certificate: Annotated[Path | None, optional("FILE")] = None
    """PEM file of a certificate; default: one of our own, made once and kept."""

    key: Annotated[Path | None, optional("FILE")] = None
    """Its key, where it is not in the same file."""

    tls: Annotated[bool, switched_off("Plain http, at the loopback only.")] = True
    """Encrypt, as browsers want it for WebXR."""

    origins: Annotated[tuple[str, ...], optional("ORIGIN ...")] = ()
    """Other pages that may connect, as https://192.168.1.2:8080."""

    max_clients: int = 32
    """Pages and programs that may watch at a time."""

    kb_per_s: float = 150.0
    """Of a captured surface, to each client [kB/s]."""

    record: Annotated[Path | None, optional("TAKE")] = None
    """Record all that comes in to a new take (.mcap), from the start; the page ends it and begins others."""

    send: SendWords = ()
    """Send the results to another program, too, as of drive. May be repeated."""

    bundle: BundleWords = ()
    """A bundle of your own in the place of a shipped one, as of live and drive."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    def run(self) -> int:
        if self.source is None and self.headset is None:
            raise ConfigurationError(
                "serve needs --source (a depth camera), --headset (head and hands) or both, got neither"
            )
        if self.max_clients < 1:
            raise ConfigurationError(f"--max-clients must be at least 1, got {self.max_clients}")
        if not 10.0 <= self.kb_per_s <= 1e6:
            raise ConfigurationError(f"--kb-per-s must be 10 to 1000000, got {self.kb_per_s:g}")
        if self.height is not None and not 1.0 <= self.height <= 2.3:
            raise ConfigurationError(f"--height must be 1.0 to 2.3 metres, got {self.height}")
        if self.headset is not None and not self._shows_person():  # else it is the body before the camera
            from bodystream.cli.drive import refuse_two_bodies

            refuse_two_bodies(self.avatar, self._bundles())
        if self.record is not None:
            from bodystream.pipelines.recording.recorder import check_take_path

            check_take_path(self.record, "--record")
        from bodystream.cli.status_line import StatusLine
        from bodystream.device import select_device

        with ExitStack() as stack:
            line = stack.enter_context(StatusLine())
            start_warp()
            use_one_opencv_thread()
            return self._run(select_device(self.device), line, stack)

    def _run(self, device: wp.Device, line: StatusLine, stack: ExitStack) -> int:
        from bodystream.cli.interrupts import StopOnInterrupt
        from bodystream.pipelines.serve.measuring import MeasuringNews
        from bodystream.pipelines.serve.recording import RecordingSwitch
        from bodystream.pipelines.serve.run import ServedSessions
        from bodystream.pipelines.serve.sinks import BodyStreamSink, SurfaceStreamSink
        from bodystream.sinks.stream import StreamHub, StreamLimits

        server = self._server(line)
        stack.callback(server.stop)
        recording = RecordingSwitch(self.record, line.print)
        measuring = MeasuringNews()
        capture = None if self.source is None else self._capture(device, line, stack)
        drive = None if self.headset is None else self._drive(device, line, stack, server, measuring)
        sessions = [session for session in (capture, drive) if session is not None]
        hub = StreamHub(
            server,
            limits=StreamLimits(clients=self.max_clients, kb_per_s=self.kb_per_s),
            bodies=drive is not None,
            surfaces=capture is not None,
            controls=_controls(recording, measuring, drive, sessions),
            recording=recording.status,
            calibration=measuring.status,
            report=lambda _kind, text: line.print(text),
        )
        if capture is not None:
            capture.add_sink(SurfaceStreamSink(hub, self.kb_per_s))
        if drive is not None:
            drive.add_sink(BodyStreamSink(hub))
        for session in sessions:
            recording.watch(session)
        self._send(capture, drive)
        if self.record is not None:
            recording.switch(True)
        server.announce("in a browser", "give --host 0.0.0.0 to let others in")
        settle_memory()
        served = ServedSessions(sessions, hub, line.print)
        with StopOnInterrupt(served.stop):
            failures: list[Exception] = [*served.run()]
            line.finish()
            with suppress(KeyboardInterrupt):
                try:
                    if ended := recording.end():
                        line.print(ended)
                except BodystreamError as error:
                    failures.append(error)
                failures += served.close()
        for error in failures[1:]:
            line.print(f"error: {error}")
        if failures:
            raise failures[0]
        return 0

    def _server(self, line: StatusLine) -> PageServer:
        from bodystream.web.options import ServerOptions
        from bodystream.web.server import PageServer

        options = ServerOptions(
            self.host, self.port, self.token, self.certificate, self.key, self.tls, tuple(self.origins)
        )
        told: set[str] = set()

        def report(kind: str, text: str) -> None:
            if kind not in told:  # a client cannot fill the terminal
                told.add(kind)
                line.print(text)

        return PageServer(options, report=report, status=line.print)

    def _bundles(self) -> BundleChoice:
        from bodystream.bundles import BundleChoice

        return BundleChoice.parse(self.bundle, ("person", "flow", "flow-full", "pose"))

    def _shows_person(self) -> bool:
        """Whether the source is the synthetic camera, before which the person stands."""
        return self.source is not None and self.source.partition("?")[0].partition(":")[0] == "synthetic"

    def _capture(self, device: wp.Device, line: StatusLine, stack: ExitStack) -> CaptureSession:
        from bodystream.bundles import BundleChoice
        from bodystream.cli.live import Live
        from bodystream.pipelines.capture.flow_choice import choose_flow
        from bodystream.pipelines.capture.session import CaptureSession
        from bodystream.sources import open_source

        assert self.source is not None
        config = Live(source=self.source, mask=self.mask).capture_config()
        bundles = self._bundles()
        # Beside a headset the person is the body that is driven, which only the synthetic camera shows, too.
        shown = self.headset is None or self._shows_person()
        of_source = BundleChoice({name: place for name, place in bundles.places.items() if name == "person" and shown})
        source = open_source(self.source, device, pace="paced", bundles=of_source)
        stack.callback(source.close)
        flow = choose_flow("auto", bundles, device, config.flow)
        stack.callback(flow.estimator.close)
        line.print(f"flow: {flow.reason}")
        # With a body beside it, the line is the body's.
        on_progress = line.progress if self.headset is None else None
        return CaptureSession(
            source,
            config,
            device=device,
            estimator=flow.estimator,
            on_progress=on_progress,
            on_note=line.print,
            on_kernel_build=line.building,
        )

    def _drive(
        self, device: wp.Device, line: StatusLine, stack: ExitStack, server: PageServer, measuring: MeasuringNews
    ) -> DriveSession:
        from bodystream.avatar.open import SHIPPED_AVATAR, avatar_maker
        from bodystream.pipelines.drive.pipeline import DriveConfig
        from bodystream.pipelines.drive.session import DriveSession
        from bodystream.pose.calibration import Calibration
        from bodystream.sources.headset.open import open_headset
        from bodystream.sources.headset.replay import ReplayedHeadset

        assert self.headset is not None
        stored = None
        if self.calibration is not None:
            if not self.calibration.is_file():
                raise ConfigurationError(f"--calibration {self.calibration} is not a file")
            stored = Calibration.load(self.calibration)
        config = DriveConfig(
            avatar=SHIPPED_AVATAR if self.avatar == SHIPPED_AVATAR else avatar_maker(self.avatar),
            bundles=self._bundles(),
            calibration=stored,
            height_m=self.height,
            floor_m=self.floor,
        )
        source = open_headset(self.headset, realtime=True, on_status=line.print, server=server)
        stack.callback(source.close)
        if isinstance(source, ReplayedHeadset):
            source.loop = True  # over before its page is drawn, it would show nothing

        def note(text: str) -> None:
            line.print(text)
            measuring.note(text)

        def calibrated(found: Calibration) -> None:
            for text in found.lines:
                line.print(text)
            measuring.calibrated(found)

        return DriveSession(
            source,
            config,
            device=device,
            on_progress=line.driving,
            on_note=note,
            on_calibrated=calibrated,
            on_kernel_build=line.building,
        )

    def _send(self, capture: CaptureSession | None, drive: DriveSession | None) -> None:
        from bodystream.pipelines.send.open import open_senders

        of = "both" if capture is not None and drive is not None else "body" if drive is not None else "surface"
        for receiver in self.send:
            senders = open_senders(receiver, of)
            if drive is not None and senders.body is not None:
                drive.add_sink(senders.body)
            if capture is not None and senders.surface is not None:
                capture.add_sink(senders.surface)


def _controls(
    recording: Any, measuring: MeasuringNews, drive: DriveSession | None, sessions: Sequence[Session[Any, Any]]
) -> dict[str, Callable[[Any], str]]:
    """What pages may ask for."""

    def record(message: Any) -> str:
        return recording.switch(message.on)

    def calibrate(message: Any) -> str:
        if drive is None:
            raise InputError("nobody is measured: there is no headset")
        driven, floor = drive, message.pose == "floor"
        measuring.begin(floor_alone=floor, floor_m=lambda: driven.floor_m)
        driven.calibrate(message.pose)
        return f"measuring: {'lay a hand on the floor' if floor else 'stand upright for two seconds'}"

    def reset(_: Any) -> str:
        for session in sessions:
            session.reset()
        return "began anew"

    found: dict[str, Callable[[Any], str]] = {"record": record, "reset": reset}
    return found if drive is None else {**found, "calibrate": calibrate}
