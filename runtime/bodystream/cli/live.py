"""`bodystream live`: from a depth camera to a tracked, fused, deforming surface, live in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from bodystream.cli.browser import open_page
from bodystream.cli.options import SendWords, optional
from bodystream.cli.process import settle_memory, start_warp, use_one_opencv_thread
from bodystream.cli.run_options import MovedOption, RunOptions
from bodystream.cli.session_end import Notes, ending, run_session
from bodystream.errors import ConfigurationError
from bodystream.pipelines.capture.flow_choice import FlowName

if TYPE_CHECKING:
    import warp as wp

    from bodystream.cli.status_line import StatusLine
    from bodystream.pipelines.capture.config import CaptureConfig
    from bodystream.pipelines.capture.session import CaptureSession
    from bodystream.sources.grammar import SourceKind

__all__ = ["Live"]


_ANY = ("synthetic", "folder:PATH", "realsense")


@dataclass(frozen=True, kw_only=True)
class Live(RunOptions):
    """Track and fuse what a depth camera sees.

    With --out: canonical.ply, live.ply and capture.glb, the whole capture as one animated glTF. Examples:
      bodystream live                                     the synthetic camera, in the browser
      bodystream live --source 'synthetic:7?motion=walk'  with another seed and motion
      bodystream live --source realsense                  a connected camera
      bodystream live --source realsense:take.db3         a librealsense recording
      bodystream live --source folder:PATH --headless --out out/
      bodystream live --send shm:room                     the surface to other programs, docs/native.md
    """

    source: str = "synthetic"
    """Where frames come from; see above for the kinds and their keys."""

    pace: Literal["auto", "live", "all"] = "auto"
    """Synthetic camera: all = every frame, as fast as it goes; live = at its rate by the wall clock, and the newest
    wins, so that the body moves farther per frame on a slow machine; auto = every frame, with a viewer at most 30 a
    second."""

    mask: Literal["auto", "given", "find", "all"] = "auto"
    """Foreground: the source's mask where it has one, else found; given only; always found; every pixel in range."""

    seed_px: Annotated[tuple[int, int] | None, optional("U V")] = None
    """A pixel (u v) in the first frame on the person or object, from 10 cm; default: the nearest of a body's size."""

    seed_cm: Annotated[float | None, optional("CM")] = None
    """With --seed-px: the object is no longer than this; a hand that holds it is left out."""

    keep_model: bool = False
    """Never start the model anew, however badly it fits; a restart shows as another model in capture.glb."""

    flow: FlowName = "auto"
    """Correspondence between frames: dis = OpenCV DIS; learned-light, learned = the light or the full network of a flow
    bundle; auto = the light one where it is not worse by its manifest and not slower here, else DIS."""

    voxel_mm: float = 8.0
    """Edge of a voxel of the fused volume."""

    send: SendWords = ()
    """Send the surface of each frame to another program, see above for the kinds and their keys. May be repeated."""

    quality_every: int = 3
    """With --report: compare model and frame on every n-th frame; 0 = never."""

    moved: ClassVar[dict[str, MovedOption]] = {
        "motion": MovedOption("motion", ("synthetic",), "walk"),
        "noise": MovedOption("noise", ("synthetic",), "none"),
        "depth-scale": MovedOption("depth_scale_m", ("folder:PATH",), "0.001"),
        "intrinsics": MovedOption("intrinsics", ("folder:PATH",), "FX,FY,CX,CY,WIDTH,HEIGHT"),
        "rate-hz": MovedOption("rate_hz", _ANY, "30"),
        "loop": MovedOption("loop", ("folder:PATH",), "1"),
        "emitter": MovedOption("emitter", ("realsense",), "off"),
        "exposure-us": MovedOption("exposure_us", ("realsense",), "8000"),
        "preset": MovedOption("preset", ("realsense",), "High Accuracy"),
    }

    @staticmethod
    def kinds() -> Sequence[SourceKind[Any, Any]]:
        from bodystream.sources.open import SOURCE_KINDS

        return SOURCE_KINDS

    @classmethod
    def more_help(cls, width: int) -> str:
        from bodystream.pipelines.send.open import SEND_KINDS, SURFACE_KINDS
        from bodystream.sources.grammar import describe_kinds

        kinds = [kind for kind in SEND_KINDS if kind.name in SURFACE_KINDS]
        return f"{super().more_help(width)}\n\nWhat --send takes:\n{describe_kinds(kinds, width)}"

    def run(self) -> int:
        if self.quality_every < 0:
            raise ConfigurationError(f"--quality-every must be 0 or more, got {self.quality_every}")
        self.check()
        from bodystream.cli.status_line import StatusLine
        from bodystream.device import select_device

        with ExitStack() as stack:
            line = stack.enter_context(StatusLine())
            start_warp()
            use_one_opencv_thread()
            return self._run(select_device(self.device), line, stack)

    def _run(self, device: wp.Device, line: StatusLine, stack: ExitStack) -> int:
        from bodystream.bundles import BundleChoice
        from bodystream.evaluation.surface import QualityMeter
        from bodystream.foreground import ForegroundSegmenter
        from bodystream.pipelines.capture.files import CaptureFiles
        from bodystream.pipelines.capture.flow_choice import choose_flow
        from bodystream.pipelines.capture.session import CaptureSession
        from bodystream.pipelines.recording.beside import record_beside
        from bodystream.pipelines.recovery import recover_folder
        from bodystream.pipelines.send.open import open_sender
        from bodystream.sources import open_source
        from bodystream.sources.folder import FolderSource
        from bodystream.sources.take import TakeSource

        notes = Notes(line.print)
        # What the user gave is looked at before kernels are built, which may take minutes.
        config = self.capture_config()
        bundles = BundleChoice.parse(self.bundle, ("person", "flow", "flow-full"))
        of_source = BundleChoice({name: place for name, place in bundles.places.items() if name == "person"})
        pace = ("all" if self.headless else "paced") if self.pace == "auto" else self.pace
        source = open_source(self.source, device, frames=self.frames, pace=pace, bundles=of_source)
        stack.callback(source.close)
        if self.pace == "live" and not source.live:
            raise ConfigurationError(
                f"--pace live is for the synthetic camera: every frame of {source.name} is processed as fast as it "
                "goes, so leave it out"
            )
        if isinstance(source, FolderSource | TakeSource):
            ForegroundSegmenter(config.foreground, source.intrinsics)
        files = [] if self.out is None else [CaptureFiles(self.out, notes.tell)]
        if self.out is not None:
            recover_folder(self.out, line.print)
        senders = [open_sender(receiver, "surface") for receiver in self.send]
        for sender in senders:
            stack.callback(sender.close)
        flow = choose_flow(self.flow, bundles, device, config.flow)
        stack.callback(flow.estimator.close)
        line.print(f"flow: {flow.reason}")
        measured = self.quality_every > 0 and (self.report is not None or self.json)
        session = CaptureSession(
            source,
            config,
            device=device,
            estimator=flow.estimator,
            frames=self.frames,
            meter=QualityMeter if measured else None,
            meter_every=max(1, self.quality_every),
            on_progress=line.progress,
            on_note=notes.tell,
            on_kernel_build=line.building,
        )
        with ending(session):
            if self.record is not None:
                record_beside(session, self.record, notes.tell)
            session.open()
            for sink in (*files, *senders):
                session.add_sink(sink)
            if not self.headless:
                self._show(session, notes, line)
            settle_memory()
            return run_session(
                session,
                line,
                done="captured",
                files=bool(files),
                report=self.report,
                json=self.json,
                bounded=self.frames is not None,
            )

    def _show(self, session: CaptureSession, notes: Notes, line: StatusLine) -> None:
        from bodystream.pipelines.capture.viewer import CaptureViewerSink
        from bodystream.sinks.viewer import CaptureViewer

        viewer = CaptureViewer(
            self.port, on_start=session.resume, on_stop=session.pause, on_reset=session.reset, on_save=session.save
        )
        notes.readers.append(viewer.tell)
        session.add_sink(CaptureViewerSink(viewer))
        line.print(f"viewer: {viewer.url}")
        if not self.no_browser:
            open_page(viewer.url)

    def capture_config(self) -> CaptureConfig:
        """The pipeline that the options ask for."""
        from dataclasses import replace

        from bodystream.foreground import ForegroundConfig
        from bodystream.pipelines.capture.config import CaptureConfig

        default = CaptureConfig()
        modes = {"auto": ("auto", True), "find": ("auto", False), "given": ("given", True), "all": ("all", False)}
        mode, use_given = modes[self.mask]
        if self.seed_cm is not None and (self.seed_px is None or not self.seed_cm > 0):
            raise ConfigurationError(f"--seed-cm must be positive and needs --seed-px, got {self.seed_cm:g}")
        extent_m = None if self.seed_cm is None else 0.01 * self.seed_cm
        foreground = ForegroundConfig(
            mode=mode,  # type: ignore[arg-type]
            use_given_mask=use_given,
            seed_px=self.seed_px,
            seed_extent_m=extent_m,
        )
        voxel_m = self.voxel_mm * 1e-3
        scale = voxel_m / default.fusion.voxel_m
        fusion = replace(default.fusion, voxel_m=voxel_m, truncation_m=default.fusion.truncation_m * scale)
        tracking = replace(default.tracking, restart=not self.keep_model)
        return replace(default, foreground=foreground, tracking=tracking, fusion=fusion)
