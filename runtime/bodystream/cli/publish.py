"""`bodystream publish`: poses or surfaces in shared memory, for programs on this machine that are not Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from bodystream.cli.options import BundleWords, SendWords, optional, shown
from bodystream.errors import ConfigurationError

__all__ = ["Publish"]


@dataclass(frozen=True, kw_only=True)
class Publish:
    """Write poses or surfaces to shared memory, under a name.

    It is `bodystream drive` (with --headset) or `bodystream live` (with --source), headless, with --send shm:NAME;
    their help tells what --headset, --source and --send take, and they have more options. Programs read it by the
    header include/bodystream.h, docs/native.md. Examples:
      bodystream publish --name body0 --headset openxr
      bodystream publish --name body0 --headset trace:session.json
      bodystream publish --name room --source realsense
      bodystream publish --name body0 --headset openxr --send zenoh:body0
      bodystream publish --name guest --receive body0    what another machine sends by Zenoh, here
    """

    name: str
    """Of the shared memory: 1 to 18 letters, digits, - or _."""

    headset: Annotated[str | None, optional("HEADSET")] = None
    """Where head and hands come from: publishes poses and the body's surface."""

    source: Annotated[str | None, optional("SOURCE")] = None
    """Where frames of a depth camera come from: publishes the captured surface."""

    receive: Annotated[str | None, optional("NAME")] = None
    """What is published under this name on the network (--send zenoh:NAME, on another machine); keys as zenoh has them
    for connect, listen, interface, scout and config may follow: 'body0?connect=tcp/192.168.1.20:7447'."""

    surface_hz: Annotated[float, shown("HZ")] = 30.0
    """Surfaces a second at most; 0 = poses only."""

    max_vertices: Annotated[int, shown("N")] = 65_536
    """Of the largest surface that there is room for: a vertex takes 160 bytes of shared memory."""

    avatar: Annotated[str, shown("NAME|PATH")] = "default"
    """With --headset: the body that is driven."""

    height: Annotated[float | None, optional("METRES")] = None
    """With --headset: the person's height."""

    calibrate: Annotated[tuple[Literal["floor", "auto", "T", "I"], ...], optional("{floor,auto,T,I} ...")] = ()
    """With --headset: measure the person from the first two seconds, arms level (T) or hanging (I), or the floor."""

    calibration: Annotated[Path | None, optional("FILE")] = None
    """With --headset: proportions of the person, read from this file; with --calibrate written there."""

    send: SendWords = ()
    """Send the results elsewhere, too. May be repeated."""

    frames: Annotated[int | None, optional("N")] = None
    """Stop after so many frames or samples; default: when the source ends, or on Ctrl-C."""

    record: Annotated[Path | None, optional("TAKE")] = None
    """Record all that comes in to a new take (.mcap)."""

    report: Annotated[Path | None, optional("FILE")] = None
    """Write a JSON report."""

    bundle: BundleWords = ()
    """A bundle of your own in the place of a shipped one."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    json: bool = False
    """Print the report as JSON at the end."""

    def run(self) -> int:
        chosen = [word for word in (self.headset, self.source, self.receive) if word is not None]
        if len(chosen) != 1:
            raise ConfigurationError(
                "publish takes one of --headset (poses), --source (a captured surface) and --receive (what another "
                f"machine sends), got {'none' if not chosen else 'several'}: for a headset and a camera at once use "
                f"`bodystream serve --send shm:{self.name}`"
            )
        if self.receive is not None:
            return self._relay(self.receive)
        send = (f"shm:{self.name}?surface_hz={self.surface_hz:g}&max_vertices={self.max_vertices}", *self.send)
        shared = ("frames", "record", "report", "bundle", "device", "json")
        common: dict[str, Any] = {"send": send, "headless": True} | {name: getattr(self, name) for name in shared}
        if self.headset is not None:
            from bodystream.cli.drive import Drive

            return Drive(
                headset=self.headset,
                avatar=self.avatar,
                height=self.height,
                calibrate=self.calibrate,
                calibration=self.calibration,
                **common,
            ).run()
        assert self.source is not None
        given = {"--avatar": self.avatar != "default", "--height": self.height is not None}
        given |= {"--calibrate": bool(self.calibrate), "--calibration": self.calibration is not None}
        for option, is_given in given.items():
            if is_given:
                raise ConfigurationError(f"{option} is of a driven body, and --source is a camera: leave one away")
        from bodystream.cli.live import Live

        return Live(
            source=self.source,
            **common,
        ).run()

    def _relay(self, receive: str) -> int:
        from bodystream.cli.interrupts import EXIT_BY_SIGNAL, StopOnInterrupt
        from bodystream.cli.status_line import StatusLine
        from bodystream.pipelines.send.relay import open_relay

        for option in ("send", "record", "report", "bundle", "calibrate", "calibration", "height"):
            if getattr(self, option):
                raise ConfigurationError(
                    f"--{option} is of a session, and --receive only passes on what another machine made: leave it away"
                )
        with StatusLine() as line:
            relay = open_relay(receive, self.name, self.surface_hz, self.max_vertices, line.print)
            with StopOnInterrupt(relay.stop) as interrupt:
                relay.run(self.frames)
            line.print(relay.told)
        return EXIT_BY_SIGNAL + interrupt.number if interrupt.number is not None and self.frames is not None else 0
