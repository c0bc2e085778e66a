"""Runs live capture over a take and scores each frame."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import warp as wp

from bodystream.correspondence import CorrespondenceEstimator
from bodystream.evaluation.capture.scoring import FrameScore, FrameScorer, TakeScore, surface_figures
from bodystream.evaluation.capture.slip import SlipMeter
from bodystream.evaluation.capture.takes import Take
from bodystream.pipelines.capture.config import CaptureConfig
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.tracking.sight import seen_nodes
from bodystream.types import Mesh, RgbdFrame

__all__ = ["run_take"]


def run_take(
    take: Take,
    frames: int,
    device: wp.Device,
    *,
    speed: float = 1.0,
    size: tuple[int, int] = (640, 480),
    config: CaptureConfig | None = None,
    estimator: CorrespondenceEstimator | None = None,
    on_frame: Callable[[RgbdFrame, Mesh | None, FrameScore], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> TakeScore:
    """Capture the take's first frames; ends early when `stopped` says so, with what there is.

    Args:
        speed: a factor on the take's own. size: of the images [px].
        estimator: correspondence, OpenCV DIS unless another is given; it is closed at the end.
        on_frame: told of each frame with the live model in the camera's frame.
    """
    source = take.source(frames, device, speed=speed, size=size)
    capture = Capture(source.intrinsics, device, config, estimator)
    scorer = FrameScorer(source.intrinsics, device)
    slip = SlipMeter()
    score = TakeScore(take.name, take.held_out)
    try:
        capture.warm_up()
        for frame in source:
            if stopped():
                break
            assert frame.truth is not None
            began_s = time.perf_counter()
            result = capture.step(frame)
            live = capture.warp_surface()
            wp.synchronize_device(device)
            score.step_s += time.perf_counter() - began_s
            mesh = None if live is None else capture.live_mesh()
            measured = scorer.score(frame.index, str(result.status), mesh, frame.truth)
            if capture.restart_count != score.restarts:
                slip.forget()
            graph = capture.graph(frame.t_ns)
            if graph is not None:
                seen = seen_nodes(capture.tracker.ownership.read().nodes, len(graph.positions))
                slip_m = slip.slip_m(graph.positions + graph.translations, seen, frame.truth)
                measured = replace(measured, node_slip_m=slip_m)
            score.frames.append(measured)
            score.restarts = capture.restart_count
            if on_frame is not None:
                on_frame(frame, mesh, measured)
        surface = capture.surface
        score.surface = surface_figures(None if surface is None else surface.download())
    finally:
        capture.close()
        source.close()
    return score
