"""Tracking of many pairs, one after the other: errors of each and their means (NNRT table 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import warp as wp

from bodystream.bundles import BundleChoice
from bodystream.errors import InputError
from bodystream.evaluation.deepdeform_labels import PairPlace
from bodystream.evaluation.flow import PairEstimators, PairFlow
from bodystream.evaluation.pair import PairErrors, PairTracker, TrackedPair, pair_errors
from bodystream.sources.layouts.pair import load_pair

__all__ = ["PairScore", "mean_figures", "pair_figures", "track_pairs"]


@dataclass(frozen=True, slots=True)
class PairScore:
    """One pair.

    Attributes:
        label: of the pair. result, errors: None where it could not be tracked. problem: why, else empty.
    """

    label: str
    result: TrackedPair | None
    errors: PairErrors | None
    problem: str = ""


def track_pairs(
    places: Sequence[PairPlace],
    flow: PairFlow,
    device: wp.Device,
    *,
    bundles: BundleChoice | None = None,
    on_pair: Callable[[int, PairScore], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[PairScore]:
    """Track each pair; ends early when `stopped` says so.

    A pair of several that cannot be tracked is a score with its problem.

    Args:
        bundles: `flow` is the network of learned correspondence.

    Raises:
        InputError: the only pair cannot be tracked, or none can.
    """
    scores: list[PairScore] = []
    with closing(PairEstimators(flow, bundles, device)) as estimators:
        for place in places:
            if stopped():
                return scores
            try:
                score = _track(place, estimators, device)
            except InputError as error:
                if len(places) == 1:
                    raise
                score = PairScore(place.label, None, None, str(error))
            scores.append(score)
            if on_pair is not None:
                on_pair(len(scores), score)
    if scores and all(score.errors is None for score in scores):
        raise InputError(f"none of the {len(scores)} pairs could be tracked; the first: {scores[0].problem}")
    return scores


def _track(place: PairPlace, estimators: PairEstimators, device: wp.Device) -> PairScore:
    pair = load_pair(place.folder, place.name)
    if pair.flow_px is None or pair.scene_flow_m is None:
        raise InputError(
            f"{place.folder} has no ground truth: optical_flow/*.oflow and scene_flow/*.sflow are needed "
            "to measure errors"
        )
    result = PairTracker(estimators.of(pair.flow_px), device).step(pair.source, pair.target)
    return PairScore(place.label, result, pair_errors(result, pair.source, pair.flow_px, pair.scene_flow_m))


def pair_figures(score: PairScore) -> dict[str, Any]:
    """The figures of a pair that was tracked, by their names."""
    assert score.result is not None and score.errors is not None
    result = score.result
    return {
        **_finite(asdict(score.errors)),
        "matches": result.matches,
        "nodes": result.nodes,
        "flow_ms": result.flow_ms,
        "solve_ms": result.solve_ms,
        "status": str(result.summary.status),
    }


def mean_figures(scores: Sequence[PairScore]) -> dict[str, Any]:
    """Means over the pairs that were tracked, and each pair by its label."""
    done = {score.label: pair_figures(score) for score in scores if score.errors is not None}
    means = {}
    for key in PairErrors.__dataclass_fields__:
        values = [figures[key] for figures in done.values() if figures[key] is not None]
        means[key] = float(np.mean(values)) if values else None
    skipped = {score.label: score.problem for score in scores if score.errors is None}
    return {**means, "pairs": len(done), "skipped": skipped, "per_pair": done}


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """Figures as JSON may hold them: what is not finite is None."""
    return {key: value if np.isfinite(value) else None for key, value in figures.items()}
