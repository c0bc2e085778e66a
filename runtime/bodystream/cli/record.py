"""`bodystream record`: a camera, a headset or both, into one file."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bodystream.cli.options import optional
from bodystream.cli.process import settle_memory, start_warp, use_one_opencv_thread
from bodystream.errors import BodystreamError, ConfigurationError
from bodystream.files import check_output

if TYPE_CHECKING:
    from bodystream.cli.status_line import StatusLine
    from bodystream.pipelines.recording.session import TakeRecording
    from bodystream.sinks.reports.record import RecordReport

__all__ = ["Record", "colour_coding"]


def colour_coding(quality: int, lossless: bool) -> str:
    """How colour is written, of the two options that say it.

    Raises:
        ConfigurationError: a quality that jpeg has not.
    """
    if not 1 <= quality <= 100:
        raise ConfigurationError(f"--jpeg-quality must be 1 to 100, got {quality}")
    return "png" if lossless else f"jpeg {quality}"


@dataclass(frozen=True, kw_only=True)
class Record:
    """Record all that comes in to a take: an MCAP file, in Foxglove's schemas.

    Depth loses nothing. Ctrl-C ends it. Sources are written as for `live` and `drive`, whose help has all of them.
    Examples:
      bodystream record --source realsense take.mcap
      bodystream record --source realsense --headset openxr take.mcap
      bodystream live --source take:take.mcap
      bodystream drive --headset take:take.mcap
    """

    take: Annotated[Path, tyro.conf.Positional]
    """File to record to, which must not be there yet: take.mcap."""

    source: Annotated[str | None, optional("SOURCE")] = None
    """The depth camera: realsense, realsense:SERIAL, synthetic, or another source of `bodystream live`."""

    headset: Annotated[str | None, optional("SOURCE")] = None
    """Head and hands: openxr, webxr, or another source of `bodystream drive`."""

    frames: Annotated[int | None, optional("N")] = None
    """Stop after so many frames; without a camera, samples."""

    seconds: Annotated[float | None, optional("S")] = None
    """Stop after so many seconds."""

    jpeg_quality: int = 95
    """Of colour, 1 to 100."""

    lossless_colour: bool = False
    """Write colour as png, which loses nothing, is five times as large and takes more of the processor."""

    report: Annotated[Path | None, optional("FILE")] = None
    """Write a JSON report: what is in the take, how large, how fast."""

    device: str = "auto"
    """Where the synthetic camera draws: auto, cpu, cuda or cuda:N."""

    json: bool = False
    """Print the report as JSON at the end."""

    def run(self) -> int:
        from bodystream.cli.status_line import StatusLine
        from bodystream.pipelines.recording.recorder import check_take_path

        if self.source is None and self.headset is None:
            raise ConfigurationError(
                "nothing to record: give --source (such as realsense), --headset (such as openxr), or both"
            )
        coding = colour_coding(self.jpeg_quality, self.lossless_colour)
        if self.frames is not None and self.frames < 1:
            raise ConfigurationError(f"--frames must be at least 1, got {self.frames}")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise ConfigurationError(f"--seconds must be positive, got {self.seconds}")
        check_take_path(self.take)
        if self.report is not None:
            check_output(self.report, "--report")
        with ExitStack() as stack:
            line = stack.enter_context(StatusLine())
            use_one_opencv_thread()
            recording = self._open(coding, line, stack)
            settle_memory()
            return self._record(recording, line)

    def _open(self, coding: str, line: StatusLine, stack: ExitStack) -> TakeRecording:
        from bodystream.pipelines.recording.session import TakeRecording
        from bodystream.sources import open_source
        from bodystream.sources.headset.open import open_headset

        camera = headset = None
        if self.source is not None:
            from bodystream.device import select_device

            start_warp()
            # Beside a headset the camera that is drawn follows the wall clock, too; alone it loses no frame.
            pace = "paced" if self.headset is None else "live"
            camera = open_source(self.source, select_device(self.device), frames=self.frames, pace=pace)
            stack.callback(camera.close)
        if self.headset is not None:
            # A recording goes with a camera's pace, and as fast as it is read with another recording, or alone.
            realtime = camera is not None and camera.live
            headset = open_headset(self.headset, realtime=realtime, on_status=line.print)
            stack.callback(headset.close)
        offsets = {getattr(source, "host_utc_offset_ns", None) for source in (camera, headset) if source is not None}
        return TakeRecording(
            self.take,
            camera,
            headset,
            colour=coding,
            frames=self.frames,
            seconds=self.seconds,
            host_utc_offset_ns=offsets.pop() if len(offsets) == 1 else None,
            on_note=line.print,
            on_progress=line.recording,
        )

    def _record(self, recording: TakeRecording, line: StatusLine) -> int:
        from bodystream.cli.interrupts import StopOnInterrupt
        from bodystream.sinks.reports.figures import write_json

        failure: Exception | None = None
        with StopOnInterrupt(recording.stop):
            try:
                recording.run()
            except Exception as error:
                failure = error
        line.finish()
        built = recording.report
        for section in (built.camera, built.headset):
            for warning in section.warnings if section is not None else ():
                line.print(f"warning: {warning}")
        for told in _summary(built):
            line.print(told)
        if self.report is not None:
            try:
                write_json(self.report, built)
            except (BodystreamError, OSError) as error:
                line.print(f"error: {error}") if failure is not None else None
                failure = failure or error
            else:
                line.print(f"wrote {self.report}")
        if self.json:
            line.print_json(built)
        if failure is not None:
            raise failure
        if not built.recorded.frames and not built.recorded.samples:
            raise ConfigurationError(f"nothing was recorded: {self.take} would hold no frame and no sample")
        return 0


def _summary(built: RecordReport) -> list[str]:
    """What a recording came to, in lines of 80 columns."""
    done = built.recorded
    parts = [f"{count} {noun}{'s' if count != 1 else ''}" for count, noun in (
        (done.frames, "frame"), (done.samples, "sample")) if count]  # fmt: skip
    lost = sum(section.lost for section in (built.camera, built.headset) if section is not None)
    return [
        f"recorded {' and '.join(parts) or 'nothing'} in {done.seconds:.1f} s: {built.take}",
        f"  {done.megabytes:.1f} MB, {done.mb_s:.1f} MB/s, {done.dropped} dropped, {lost} lost by the source",
    ]
