"""`bodystream eval tracking`: accuracy of tracked pairs against ground truth."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from bodystream.cli.interrupts import EXIT_BY_SIGNAL, StopOnInterrupt
from bodystream.cli.options import BundleWords, optional
from bodystream.cli.process import start_warp
from bodystream.evaluation.flow import PairFlow

if TYPE_CHECKING:
    from bodystream.evaluation.split import PairScore

__all__ = ["EvaluateTracking"]


@dataclass(frozen=True)
class EvaluateTracking:
    """Track pairs of frames with known scene flow, and say how far off the warped surface is.

    EPE 3D is the mean, over the mask's pixels with finite scene flow, of the distance between the warped source point
    and source point + scene flow; the graph error is the same of the nodes. Of several pairs the mean over the pairs.
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder in DeepDeform's layout: color, depth, mask, optical_flow, scene_flow, intrinsics.txt; or a data set with
    val_dense.json and such folders in val/."""

    split: Annotated[str | None, optional("NAME")] = None
    """Of the data set; without it its only one, or val."""

    flow: PairFlow = "dis"
    """Correspondences: the data set's own flow (errors are then the solver's), OpenCV DIS, or the light or
    the full (learned) network of a flow bundle."""

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
        from bodystream.evaluation.deepdeform_labels import find_pairs
        from bodystream.evaluation.progress import counted_progress
        from bodystream.evaluation.split import mean_figures, pair_figures, track_pairs

        bundles = BundleChoice.parse(self.bundle, ("flow", "flow-full"))
        start_warp()
        device = select_device(self.device)
        told = {"device": describe_device(device)}
        places = find_pairs(self.path, self.split)
        if len(places) == 1:
            (score,) = track_pairs(places, self.flow, device, bundles=bundles)
            if self.json:
                print(json.dumps({**pair_figures(score), **told}))
            else:
                self._print_pair(score, told["device"])
            return 0
        notes = Console(stderr=True, highlight=False)
        with (
            StopOnInterrupt(lambda: None) as interrupt,
            counted_progress("eval tracking", len(places), notes) as advance,
        ):

            def look(done: int, score: PairScore) -> None:
                advance(done, score.label)

            def stopped() -> bool:
                return interrupt.requested

            scores = track_pairs(places, self.flow, device, bundles=bundles, on_pair=look, stopped=stopped)
        for score in scores:
            if score.problem:
                notes.print(f"left out: {score.label}: {score.problem}", markup=False, soft_wrap=True)
        if scores:
            figures = {**mean_figures(scores), "flow": self.flow, **told}
            if self.json:
                print(json.dumps(figures))
            else:
                self._print_means(figures, told["device"])
        return EXIT_BY_SIGNAL + interrupt.number if interrupt.number is not None else 0

    def _print_pair(self, score: PairScore, device: str) -> None:
        assert score.result is not None and score.errors is not None
        result, errors = score.result, score.errors
        print(f"{self.path.name}, {self.flow} flow, {device}")
        print(f"  EPE 3D      {errors.epe3d_mm:8.2f} mm mean, {errors.epe3d_median_mm:.2f} mm median")
        print(f"  graph error {errors.graph_error_mm:8.2f} mm")
        print(f"  no motion   {errors.no_motion_mm:8.2f} mm")
        print(f"  EPE 2D      {errors.epe2d_px:8.2f} px warped, {errors.flow_epe2d_px:.2f} px of the flow used")
        print(f"  flow        {result.flow_ms:8.2f} ms")
        print(f"  solver      {result.solve_ms:8.2f} ms, {result.matches} matches, {result.nodes} nodes")
        if result.summary.reason:
            print(f"  {result.summary.status}: {result.summary.reason}", file=sys.stderr)

    def _print_means(self, figures: dict, device: str) -> None:
        worst = max(figures["per_pair"], key=lambda label: figures["per_pair"][label]["epe3d_mm"])

        def told(key: str) -> str:
            return "       -" if figures[key] is None else f"{figures[key]:8.2f}"

        print(f"{self.path.name}, {figures['pairs']} pairs, {self.flow} flow, {device}")
        print(f"  EPE 3D      {told('epe3d_mm')} mm, worst {figures['per_pair'][worst]['epe3d_mm']:.2f} mm of {worst}")
        print(f"  graph error {told('graph_error_mm')} mm")
        print(f"  no motion   {told('no_motion_mm')} mm")
        print(f"  EPE 2D      {told('epe2d_px')} px warped, {told('flow_epe2d_px')} px of the flow used")
