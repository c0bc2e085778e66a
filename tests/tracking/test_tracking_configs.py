"""Options of tracking that cannot be are refused with the field, its value and the bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bodystream.errors import ConfigurationError
from bodystream.pipelines.capture.config import CaptureConfig
from bodystream.tracking import SolverConfig, TrackerConfig
from bodystream.tracking.growth import GrowthConfig
from bodystream.tracking.matches import MatchConfig

BAD: list[tuple[type[Any], str, str, list[object]]] = [
    (SolverConfig, "solver", "at least 0", [-0.1, math.nan, math.inf, "1"]),
    (MatchConfig, "matching", "above 0", [0, -0.01, math.nan, math.inf, None]),
    (TrackerConfig, "tracking", "above 0", [0.0, -1, math.nan, math.inf]),
    (GrowthConfig, "growth", "above 0", [0.0, -0.3, math.nan, math.inf]),
]
FIELDS = {
    SolverConfig: (
        "lambda_flow", "lambda_depth", "lambda_reg", "lambda_even", "lambda_icp", "damping", "flow_huber_px",
        "icp_huber_m", "stop_step_m",
    ),
    MatchConfig: ("visible_m", "step_m", "spread_m", "see_through_m"),
    TrackerConfig: ("sigma_m", "poor_fit", "lost_fit", "stale_fit"),
    GrowthConfig: ("reach_m",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "owner", "bound", "field", "value"),
    [(c, owner, bound, f, value) for c, owner, bound, values in BAD for f in FIELDS[c] for value in values],
)
def test_numbers_beyond_their_bounds(config: type[Any], owner: str, bound: str, field: str, value: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        config(**{field: value})
    assert str(caught.value).startswith(f"{owner}: {field} must be a number {bound}")
    assert str(caught.value).endswith(f"got {value!r}")


@pytest.mark.parametrize(
    ("config", "field", "least"),
    [
        *((SolverConfig, f, 0) for f in ("reference_matches", "rigid_iterations", "iterations", "min_matches")),
        (SolverConfig, "direct_max_nodes", 0),
        (SolverConfig, "pcg_iterations", 1),
        (MatchConfig, "references", 1),
        *((GrowthConfig, f, 1) for f in ("stride", "least_support", "least_piece", "max_nodes")),
        *((TrackerConfig, f, 1) for f in ("initial_stride", "max_points", "keyframe_flow_every", "grow_every")),
        (TrackerConfig, "restart_after", 1),
        (TrackerConfig, "keyframes", 0),
        *((CaptureConfig, f, 1) for f in ("extract_every", "least_pixels")),
    ],
)
def test_counts_are_whole_and_large_enough(config: type[Any], field: str, least: int) -> None:
    for value in (least - 1, 2.5, float(least), True, None, math.nan):
        message = f"{field} must be a whole number of at least {least}, got {value!r}"
        with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
            config(**{field: value})
    for good in (least, least + 7, np.int64(least + 1)):
        assert getattr(config(**{field: good}), field) == good


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (CaptureConfig, {"through_share": -0.1}, "capture: through_share must be a number at least 0 and at most 1"),
        (SolverConfig, {"icp_reach_m": 0.0}, "solver: icp_reach_m must be a number above 0, got 0.0"),
        (SolverConfig, {"max_rotation_rad": 0.0}, "max_rotation_rad must be a number above 0"),
        (SolverConfig, {"max_translation_m": -1.0}, "max_translation_m must be a number above 0"),
        (SolverConfig, {"icp_min_cosine": 1.0}, "icp_min_cosine must be a number at least 0 and below 1, got 1.0"),
        (SolverConfig, {"pcg_tolerance": 0.0}, "pcg_tolerance must be a number above 0 and below 1, got 0.0"),
        (SolverConfig, {"linear": "lu"}, "linear must be auto, direct or pcg, got 'lu'"),
        (MatchConfig, {"least_weight": 1.2}, "least_weight must be a number at least 0 and at most 1, got 1.2"),
        (MatchConfig, {"silhouette_weight": -1.0}, "silhouette_weight must be a number at least 0"),
        (TrackerConfig, {"lost_fit": 1.5}, "lost_fit must be a number above 0 and at most 1, got 1.5"),
        (TrackerConfig, {"max_points": 65_537}, "max_points must be at most 65536, got 65537"),
        (TrackerConfig, {"poor_fit": 0.7}, "poor_fit must not exceed lost_fit \\(0.6\\), got 0.7"),
    ],
)
def test_values_that_do_not_go_together(config: type[Any], values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        config(**values)


def test_what_ships_is_allowed() -> None:
    config = CaptureConfig()
    assert config.tracking.solver == SolverConfig.live() and config.tracking == TrackerConfig()
    assert TrackerConfig(max_points=65_536).max_points == 65_536
    assert SolverConfig(min_matches=0, iterations=0, icp_min_cosine=0.0).iterations == 0
