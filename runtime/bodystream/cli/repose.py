"""`bodystream repose`: an avatar posed by a motion, to files or in the viewer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bodystream.cli.browser import open_page
from bodystream.cli.interrupts import EXIT_BY_SIGNAL, StopOnInterrupt
from bodystream.cli.options import optional
from bodystream.cli.process import settle_memory, start_warp, use_one_opencv_thread
from bodystream.errors import ConfigurationError
from bodystream.files import check_output

if TYPE_CHECKING:
    from bodystream.cli.status_line import StatusLine
    from bodystream.pipelines.repose.output import Output
    from bodystream.pipelines.repose.pipeline import Reposer
    from bodystream.sinks.reports.repose import ReposeReport, WrittenSection

__all__ = ["Repose"]


@dataclass(frozen=True, kw_only=True)
class Repose:
    """Pose an avatar by a motion, to files, or in the viewer where none are asked for.

    The avatar takes the proportions of the motion's person, as far as it can. Examples:
      bodystream repose default --motion walk.bvh                        the shipped body, in the browser
      bodystream repose avatars/me --motion walk.bvh --out walk.glb      an animated glTF
      bodystream repose me.vrm --motion walk.bvh --out 'walk/%04d.ply'   a mesh for each pose
      bodystream repose avatars/me --motion asf:mocap/02_01.amc --sheet sheet.png --report report.json
    """

    avatar: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME|PATH")]
    """Whatever drive takes: default, the shipped body, default-clothed, somebody in shirt and shorts, a .vrm file, or
    the folder or zip file of a bundle."""

    motion: Annotated[str, tyro.conf.arg(metavar="SPEC")]
    """A BVH, ASF/AMC (asf:FILE.amc) or AMASS (.npz) file, or a folder or archive of them with --take."""

    take: Annotated[str | None, optional("NAME")] = None
    """Of a folder or archive that holds several."""

    out: Annotated[str | None, optional("FILE|FOLDER")] = None
    """An animated glTF (walk.glb), or a mesh for each pose: a folder, or a pattern of names (walk/%04d.ply)."""

    sheet: Annotated[Path | None, optional("FILE")] = None
    """Also a contact sheet of up to 24 moments (sheet.png), to be looked at."""

    report: Annotated[Path | None, optional("FILE")] = None
    """Write a JSON report: by what it was posed, how fast, how true the files are, what was far from training."""

    rate_hz: Annotated[float | None, optional("HZ")] = None
    """Poses per second; default: the motion's own."""

    start_s: float = 0.0
    """Begin so many seconds into the motion."""

    seconds: Annotated[float | None, optional("S")] = None
    """Stop after so many seconds of it."""

    frames: Annotated[int | None, optional("N")] = None
    """Stop after so many poses."""

    speed: float = 1.0
    """In the viewer: how many times as fast as the motion; 0.5 = slow motion."""

    headless: bool = False
    """No viewer: without --out and --sheet every pose is made once, and measured."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    port: int = 8080
    """Port of the viewer; the next free one is taken where it is busy, and any free one for 0."""

    no_browser: bool = False
    """Do not open the viewer's page."""

    json: bool = False
    """Print the report as JSON at the end."""

    def run(self) -> int:
        from bodystream.avatar.open import avatar_maker
        from bodystream.cli.status_line import StatusLine
        from bodystream.device import select_device
        from bodystream.pipelines.repose.files import Sheet, output_for
        from bodystream.pipelines.repose.motion import MotionPart
        from bodystream.pipelines.repose.pipeline import Reposer
        from bodystream.sources.motion import choose_take

        part = MotionPart(self.start_s, self.seconds, self.rate_hz, self.frames)
        makers: list[Callable[[Reposer], Output]] = []
        if not 0.01 <= self.speed <= 100.0:
            raise ConfigurationError(f"--speed must be 0.01 to 100, got {self.speed}")
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"--port must be 0 (any free one) to 65535, got {self.port}")
        if self.report is not None:
            check_output(self.report, "--report")
        if self.sheet is not None:
            sheet = self.sheet
            if sheet.suffix.lower() != ".png":
                raise ConfigurationError(f"--sheet is a picture: give the name of a .png file, got {sheet}")
            check_output(sheet, "--sheet")
            makers.append(lambda reposer: Sheet(reposer, sheet))
        take = choose_take(self.motion, self.take, by="--take NAME")
        with ExitStack() as stack:
            line = stack.enter_context(StatusLine())
            start_warp()
            use_one_opencv_thread()
            device = select_device(self.device)
            avatar = avatar_maker(self.avatar)
            told: list[str] = []
            clip = take.load(told)
            for warning in told:
                line.print(f"warning: {warning}")
            if self.out is not None:
                makers.insert(0, output_for(self.out))
            reposer = Reposer(clip, avatar, device, part, file=take.path.name, on_kernel_build=line.building)
            outputs = [make(reposer) for make in makers]
            settle_memory()
            if outputs or self.headless:
                return self._write(reposer, outputs, line)
            return self._show(reposer, line)

    def _write(self, reposer: Reposer, outputs: list[Output], line: StatusLine) -> int:
        from bodystream.pipelines.repose.run import repose

        with StopOnInterrupt(lambda: None) as interrupt:
            written = repose(reposer, outputs, line.reposing, lambda: interrupt.requested)
        line.finish()
        if written is None:
            there = " and ".join(filter(None, (output.stopped() for output in outputs)))
            line.print(f"stopped: {there or 'nothing was written'}")
            assert interrupt.number is not None
            return EXIT_BY_SIGNAL + interrupt.number
        self._tell(reposer.report(written), line)
        return 0

    def _show(self, reposer: Reposer, line: StatusLine) -> int:
        from bodystream.pipelines.repose.viewer import Playback

        playback = Playback(reposer, self.speed)
        viewer = playback.open(self.port)
        try:
            line.print(f"viewer: {viewer.url}")
            if not self.no_browser:
                open_page(viewer.url)
            with StopOnInterrupt(playback.stop):
                playback.play(viewer, line.playing)
        finally:
            viewer.close()
        line.finish()
        self._tell(reposer.report(), line)
        return 0

    def _tell(self, built: ReposeReport, line: StatusLine) -> None:
        from bodystream.sinks.reports.figures import write_json

        for warning in built.warnings:
            line.print(f"warning: {warning}")
        for written in built.written:
            line.print(f"wrote {_described(written)}")
        if self.report is not None:
            write_json(self.report, built)
            line.print(f"wrote {self.report}")
        for text in _summary(built):
            line.print(text)
        if self.json:
            line.print_json(built)


def _described(written: WrittenSection) -> str:
    size = f"{written.bytes / 1e6:.1f} MB"
    name = f"{written.path} to {written.files} files" if written.files > 1 else written.path
    parts = [f"{name} ({size}"]
    if written.morphs is not None:
        parts.append(f"{written.frames} key frames, {written.morphs} shapes")
    if written.error_mean_mm is not None and written.error_max_mm is not None:
        parts.append(f"off by {written.error_mean_mm:.3g} mm on average and {written.error_max_mm:.3g} mm at most")
    return ", ".join(parts) + ")"


def _summary(built: ReposeReport) -> list[str]:
    """What it came to, in lines of 80 columns."""
    frames: Any = built.frames
    by = ", ".join(f"{count} by {method}" for method, count in built.posed_by.items())
    head = f"posed {built.avatar} {frames.posed} times ({by or 'nothing'})"
    if built.pose.p50_ms is not None and built.pose.p99_ms is not None:
        head += f", {built.pose.p50_ms:.1f} ms each (99 %: {built.pose.p99_ms:.1f} ms)"
    told = [head]
    if frames.refused:
        told.append(f"  {frames.refused} of {frames.received} poses were refused")
    if built.far.frames:
        told.append(f"  {built.far.frames} of {frames.received} poses are far from what the avatar was learned from")
    return told
