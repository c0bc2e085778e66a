"""`bodystream eval reconstruction`: the DeepDeform benchmark's errors of live capture on annotated sequences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bodystream.cli.interrupts import EXIT_BY_SIGNAL, StopOnInterrupt
from bodystream.cli.options import BundleWords, optional
from bodystream.cli.process import start_warp, use_one_opencv_thread
from bodystream.evaluation.flow import LiveFlow

if TYPE_CHECKING:
    import warp as wp

    from bodystream.evaluation.reconstruction.runner import SequenceScore
    from bodystream.pipelines.capture.pipeline import Capture
    from bodystream.types import CameraIntrinsics, RgbdFrame

__all__ = ["EvaluateReconstruction"]


@dataclass(frozen=True)
class EvaluateReconstruction:
    """Capture annotated sequences, and say how far off the surface and its motion are.

    Deformation error: how far from where people saw them the surface carries annotated points. Geometry error: how far
    what the camera measured in annotated masks is from the surface. Both as the DeepDeform benchmark defines them. Of
    the masks, the capture sees the first one only. Examples:
      bodystream eval reconstruction deepdeform
      bodystream eval reconstruction deepdeform/val/seq258 --json
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A data set in DeepDeform's layout (val_matches.json, val_masks.json, val/...), or one sequence folder of it."""

    split: Annotated[str | None, optional("NAME")] = None
    """Of the data set; without it its only one, or val."""

    flow: LiveFlow = "dis"
    """Correspondences: OpenCV DIS, or the light or the full (learned) network of a flow bundle."""

    bundle: BundleWords = ()
    """A bundle of your own, a folder or a zip file: flow=PATH is the network of --flow learned-light, flow-full=PATH
    that of --flow learned."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from rich.console import Console

        from bodystream.bundles import BundleChoice
        from bodystream.device import describe_device, select_device
        from bodystream.evaluation.flow import live_estimators
        from bodystream.evaluation.progress import counted_progress
        from bodystream.evaluation.reconstruction.annotations import find_sequences
        from bodystream.evaluation.reconstruction.runner import frame_names, run_sequence
        from bodystream.evaluation.reconstruction.table import as_json, score_table
        from bodystream.pipelines.capture.pipeline import Capture

        bundles = BundleChoice.parse(self.bundle, ("flow", "flow-full"))
        start_warp()  # quietly: stdout is for the result
        use_one_opencv_thread()
        device = select_device(self.device)
        new_estimator = live_estimators(self.flow, bundles, device)
        sequences = find_sequences(self.path, self.split)
        counts = [len(frame_names(sequence)) for sequence in sequences]
        notes = Console(stderr=True, highlight=False)

        def make_capture(intrinsics: CameraIntrinsics, device: wp.Device) -> Capture:
            return Capture(intrinsics, device, estimator=new_estimator())

        scores: list[SequenceScore] = []
        with (
            StopOnInterrupt(lambda: None) as interrupt,
            counted_progress("eval reconstruction", sum(counts), notes) as advance,
        ):
            for number, sequence in enumerate(sequences):
                done = sum(counts[:number])

                def look(frame: RgbdFrame, done: int = done, name: str = sequence.name) -> None:
                    advance(done + frame.index + 1, name)

                def stopped() -> bool:
                    return interrupt.requested

                score = run_sequence(sequence, make_capture, device, on_frame=look, stopped=stopped)
                if score.segments:
                    scores.append(score)
                if interrupt.requested:
                    break
        if not scores:
            return EXIT_BY_SIGNAL + (interrupt.number or 0)
        if self.json:
            print(json.dumps({**as_json(scores), "flow": self.flow, "device": describe_device(device)}))
        else:
            Console(highlight=False, width=max(notes.width, 110)).print(score_table(scores))
        for score in scores:
            if missing := score.segments[-1].missing:
                notes.print(
                    f"{score.name}: {missing} annotations are of frames without a surface, and count as 0.3 m each",
                    markup=False, soft_wrap=True,
                )  # fmt: skip
        return EXIT_BY_SIGNAL + interrupt.number if interrupt.number is not None else 0
