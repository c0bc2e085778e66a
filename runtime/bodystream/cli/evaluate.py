"""`bodystream eval`: accuracy against ground truth."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bodystream.cli.process import start_warp
from bodystream.errors import InputError
from bodystream.evaluation.flow import PairFlow

__all__ = ["EvaluateTracking"]


@dataclass(frozen=True)
class EvaluateTracking:
    """Track a pair of frames with known scene flow, and say how far off the warped surface is.

    EPE 3D is the mean, over the mask's pixels with finite scene flow, of the distance between the warped source point
    and source point + scene flow.
    """

    path: Annotated[Path, tyro.conf.Positional]
    """A folder in DeepDeform's layout: color, depth, mask, optical_flow, scene_flow, intrinsics.txt."""

    flow: PairFlow = "dis"
    """Correspondences: the data set's own flow (errors are then the solver's), or OpenCV DIS."""

    device: str = "auto"
    """Where kernels run: auto, cpu, cuda or cuda:N."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from bodystream.device import describe_device, select_device
        from bodystream.evaluation.flow import pair_estimator
        from bodystream.evaluation.pair import PairTracker, pair_errors
        from bodystream.sources.layouts.pair import load_pair

        start_warp()
        device = select_device(self.device)
        pair = load_pair(self.path)
        if pair.flow_px is None or pair.scene_flow_m is None:
            raise InputError(
                f"{self.path} has no ground truth: optical_flow/*.oflow and scene_flow/*.sflow are needed "
                "to measure errors"
            )
        with closing(pair_estimator(self.flow, pair.flow_px)) as estimator:
            result = PairTracker(estimator, device).step(pair.source, pair.target)
        errors = pair_errors(result, pair.source, pair.flow_px, pair.scene_flow_m)
        figures = {
            "epe3d_mm": errors.epe3d_mm,
            "epe3d_median_mm": errors.epe3d_median_mm,
            "epe2d_px": errors.epe2d_px,
            "matches": result.matches,
            "nodes": result.nodes,
            "solve_ms": result.solve_ms,
            "flow_epe2d_px": errors.flow_epe2d_px,
            "no_motion_mm": errors.no_motion_mm,
            "status": str(result.summary.status),
            "device": describe_device(device),
        }
        if self.json:
            print(json.dumps(figures))
            return 0
        print(f"{self.path.name}, {self.flow} flow, {figures['device']}")
        print(f"  EPE 3D      {errors.epe3d_mm:8.2f} mm mean, {errors.epe3d_median_mm:.2f} mm median")
        print(f"  no motion   {errors.no_motion_mm:8.2f} mm")
        print(f"  EPE 2D      {errors.epe2d_px:8.2f} px warped, {errors.flow_epe2d_px:.2f} px of the flow used")
        print(f"  solver      {result.solve_ms:8.2f} ms, {result.matches} matches, {result.nodes} nodes")
        if result.summary.reason:
            print(f"  {result.summary.status}: {result.summary.reason}", file=sys.stderr)
        return 0
