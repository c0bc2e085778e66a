"""How good a light flow network is beside DIS: on generated pairs, and in live capture of generated takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from bodystream.bundles import Bundle
from bodystream.correspondence import CorrespondenceEstimator, DisCorrespondence, LearnedConfig, LearnedCorrespondence
from bodystream.device import select_device
from bodystream.errors import InputError
from bodystream.evaluation.capture.runner import run_take
from bodystream.evaluation.capture.takes import TAKES
from bodystream_export.flow.points import generated_batches
from bodystream_training.flow.judge import dis_answer, errors_of, estimated

__all__ = ["live_figures", "pair_figures"]

_SIZE = (192, 256)
_TAKES = 3


def pair_figures(bundle: Bundle, count: int) -> dict[str, float]:
    """Errors on `count` generated pairs that no training has, `epe_` of the network as it runs live and `dis_` of DIS.

    Each of the flow (`visible_px`, at 192x256), and of the motion that is tracked by it (`epe3d_mm`, `graph_error_mm`).
    """
    live = LearnedConfig.live()
    learned = LearnedCorrespondence(bundle, replace(live, across=_SIZE[0] // live.finer))
    batches = generated_batches(_SIZE, count)
    try:
        answers = {
            "epe": [(batch, *estimated(learned, batch.pairs)) for batch in batches],
            "dis": [(batch, *dis_answer(batch.pairs)) for batch in batches],
        }
    finally:
        learned.close()
    found = {name: errors_of(of_name) for name, of_name in answers.items()}
    return {
        f"{name}_{figure}": round(value, 3)
        for name, errors in found.items()
        for figure, value in (
            ("visible_px", errors.visible_px),
            ("weighted_px", errors.weighted_px),
            ("epe3d_mm", errors.epe3d_mm),
            ("graph_error_mm", errors.graph_error_mm),
        )
    }


def live_figures(bundle: Bundle, frames: int) -> dict[str, float]:
    """Mean surface errors of live capture over the first frames of some takes of `eval capture` that are not held out:
    `live_surface_error_mm` with the network, and `dis_live_surface_error_mm`.

    Raises:
        InputError: a take gave no model.
    """
    device = select_device("cpu")
    made: dict[str, Callable[[], CorrespondenceEstimator]] = {
        "live": lambda: LearnedCorrespondence(bundle), "dis_live": DisCorrespondence,
    }  # fmt: skip
    takes = [take for take in TAKES if not take.held_out][:_TAKES]
    found: dict[str, float] = {}
    for name, make in made.items():
        errors_mm = []
        for take in takes:
            error_mm = run_take(take, frames, device, estimator=make()).figures().surface_error_mean_mm
            if error_mm is None or not math.isfinite(error_mm):
                raise InputError(f"live capture of the take {take.name} has no model: give more --live-frames")
            errors_mm.append(error_mm)
        found[f"{name}_surface_error_mm"] = round(sum(errors_mm) / len(errors_mm), 3)
    return found
