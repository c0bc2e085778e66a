"""`bodystream eval capture`: how well live capture holds while people move as people do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from bodystream.cli.interrupts import EXIT_BY_SIGNAL, StopOnInterrupt
from bodystream.cli.options import BundleWords, optional
from bodystream.cli.process import start_warp, use_one_opencv_thread
from bodystream.errors import ConfigurationError
from bodystream.evaluation.flow import LiveFlow

if TYPE_CHECKING:
    from bodystream.evaluation.capture.scoring import FrameScore, TakeScore
    from bodystream.types import Mesh, RgbdFrame

__all__ = ["EvaluateCapture"]


@dataclass(frozen=True)
class EvaluateCapture:
    """Capture people before the synthetic camera, and compare each frame's model with the true surface.

    The motions are recorded ones, of crossing arms, hands on hips, walking, sitting down, turning, dancing and boxing.
    Six of the nineteen takes are held out: do not look at their figures while you tune anything. See
    docs/capture-benchmark.md. Examples:
      bodystream eval capture --takes tuning
      bodystream eval capture --takes clap,strike --frames 60 --json
      bodystream eval capture --takes long --frames 3000
    """

    takes: str = "all"
    """Names separated by commas; all, tuning and held-out stand for several, and long strings motions together."""

    frames: int = 90
    """Of each take."""

    speed: float = 1.0
    """A factor on the speed of each take."""

    flow: LiveFlow = "dis"
    """Correspondences: OpenCV DIS, or the light or the full (learned) network of a flow bundle."""

    bundle: BundleWords = ()
    """A bundle of your own, a folder or a zip file: flow=PATH is the network of --flow learned-light, flow-full=PATH
    that of --flow learned."""

    pictures: Annotated[Path | None, optional("DIR")] = None
    """Draw the worst frame of each take into this folder: colour, truth, and the model coloured by its error."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from rich.console import Console

        from bodystream.bundles import BundleChoice
        from bodystream.device import select_device
        from bodystream.evaluation.capture.pictures import Pictures, WorstFrame
        from bodystream.evaluation.capture.runner import run_take
        from bodystream.evaluation.capture.table import TABLE_WIDTH, as_json, score_table
        from bodystream.evaluation.capture.takes import choose_takes
        from bodystream.evaluation.flow import live_estimators
        from bodystream.evaluation.progress import counted_progress

        if self.frames < 1:
            raise ConfigurationError(f"--frames must be at least 1, got {self.frames}")
        if not 0.2 <= self.speed <= 4.0:
            raise ConfigurationError(f"--speed must be 0.2 to 4, got {self.speed:g}")
        bundles = BundleChoice.parse(self.bundle, ("flow", "flow-full"))
        takes = choose_takes([word.strip() for word in self.takes.split(",") if word.strip()])
        notes = Console(stderr=True, highlight=False)
        start_warp()  # quietly: stdout is for the result
        use_one_opencv_thread()
        device = select_device(self.device)
        new_estimator = live_estimators(self.flow, bundles, device)
        pictures = None if self.pictures is None else Pictures(self.pictures, device)
        scores: list[TakeScore] = []
        with (
            StopOnInterrupt(lambda: None) as interrupt,
            counted_progress("eval capture", self.frames * len(takes), notes) as advance,
        ):
            for number, take in enumerate(takes):
                done, worst = self.frames * number, WorstFrame()

                def look(
                    frame: RgbdFrame, mesh: Mesh | None, score: FrameScore,
                    done: int = done, name: str = take.name, worst: WorstFrame = worst,
                ) -> None:  # fmt: skip
                    advance(done + frame.index + 1, name)
                    if pictures is not None:
                        worst.look(frame, mesh, score)

                def stopped() -> bool:
                    return interrupt.requested

                score = run_take(
                    take,
                    self.frames,
                    device,
                    speed=self.speed,
                    estimator=new_estimator(),
                    on_frame=look,
                    stopped=stopped,
                )
                if score.frames:
                    scores.append(score)
                if pictures is not None:
                    pictures.add(take.name, worst)
                if interrupt.requested:
                    break
        if pictures is not None and (sheet := pictures.finish()) is not None:
            notes.print(f"pictures: {sheet}", markup=False, soft_wrap=True)
        if not scores:
            return EXIT_BY_SIGNAL + (interrupt.number or 0)
        if self.json:
            print(json.dumps({**as_json(scores), "flow": self.flow}))
        else:
            # a table that is cut to a narrow terminal or a pipe's 80 columns cannot be read
            Console(highlight=False, width=max(notes.width, TABLE_WIDTH)).print(score_table(scores))
        for score in scores:
            if missing := score.no_model():
                notes.print(f"{score.name}: no model in the frames {', '.join(map(str, missing))}", soft_wrap=True)
        return EXIT_BY_SIGNAL + interrupt.number if interrupt.number is not None else 0
