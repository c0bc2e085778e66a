"""How much of the model is in doubt: of nodes whose truth is made up, and of a tracker whose model lost an arm."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.tracking.judging import DOUBTED_SHARE, DRIFT_M, FAR_M, Judgement, doubts, judged, seen_through
from bodystream.types import Array

COUNT = 100
NEVER = np.zeros(COUNT, bool)


def on_a_grid() -> Array:
    """(100, 3) nodes every 10 cm, row by row, x right and y down as the camera sees them."""
    rows, columns = np.divmod(np.arange(COUNT), 10)
    return np.stack([0.1 * columns, 0.1 * rows, np.full(COUNT, 2.0)], axis=1)


def judge(
    points: Array | None = None, through: Array | None = None, far_m: Array | None = None, drift_m: Array | None = None,
    lost: Array = NEVER,
) -> Judgement:  # fmt: skip
    """Of nodes of which all that is not given is as it should be: 20 points each, in sight, nowhere seen through."""
    zero = np.zeros(COUNT)
    return judged(
        np.full(COUNT, 20) if points is None else points,
        zero if through is None else through,
        zero if far_m is None else far_m,
        zero if drift_m is None else drift_m,
        lost,
        on_a_grid(),
    )


def some(nodes: slice, value: float) -> Array:
    values = np.zeros(COUNT)
    values[nodes] = value
    return values


def test_a_model_in_sight_is_not_in_doubt() -> None:
    found = judge()
    assert (found.share, found.wrong, found.place) == (0.0, False, "")


def test_doubt_grows_with_drift_and_distance_and_needs_both() -> None:
    far, drift = np.meshgrid([0.0, 0.05, 0.1, 0.3, np.inf], [0.0, 0.02, 0.05, 0.2], indexing="ij")
    hidden, through = doubts(np.full(far.shape, 20), np.zeros(far.shape), far, drift)
    assert not hidden[0].any() and not hidden[:, 0].any() and not through.any()
    assert (np.diff(hidden[1:], axis=1) > 0).all() and (np.diff(hidden[:, 1:], axis=0) > 0).all()
    assert hidden.max() < 1.0
    at_scale = (1 - np.exp(-1.0)) ** 2
    one = np.ones(1)
    assert doubts(one, 0 * one, FAR_M * one, DRIFT_M * one)[0] == pytest.approx(at_scale)


def test_few_points_that_are_seen_through_count_for_less() -> None:
    _, through = doubts(np.array([20, 20, 20, 20, 0]), np.array([0, 2, 10, 20, 0]), np.zeros(5), np.zeros(5))
    np.testing.assert_allclose(through, [0.0, 0.1**4, 0.5**4, 1.0, 0.0])
    points, through = np.array([20, 20, 60]), np.array([0, 20, 30])
    assert seen_through(points, through) == pytest.approx((20 + 60 * 0.5**4) / 100)
    assert seen_through(np.zeros(3, int), np.zeros(3, int)) == 0.0
    assert not judge(through=np.full(COUNT, 5)).wrong, "a quarter of each node may be noise"


def test_a_part_that_swung_out_of_sight_is_told() -> None:
    part = slice(90, 96)  # of the lowest row
    found = judge(far_m=some(part, 0.2), drift_m=some(part, 0.1))
    assert found.wrong and found.through_share == 0.0
    expected = 0.06 * (1 - np.exp(-0.2 / FAR_M)) * (1 - np.exp(-0.1 / DRIFT_M))
    assert found.hidden_share == pytest.approx(expected)
    assert found.reason == "a part of the model is probably wrong: 5% of it moved out of sight, at its lower left"
    # The back of a body that turns is as far away, and moves with its front.
    assert not judge(far_m=some(part, 0.2), drift_m=some(part, 0.005)).wrong


def test_a_part_that_is_seen_through_is_told() -> None:
    part = slice(8, 10)
    found = judge(through=some(part, 20), far_m=some(part, 0.1), drift_m=some(part, 0.01))
    assert found.hidden_share == 0.0 and found.share == found.through_share == pytest.approx(0.02)
    assert not found.wrong and 0.02 < DOUBTED_SHARE < 0.04
    found = judge(through=some(slice(6, 10), 20))
    assert found.wrong
    assert found.reason == "a part of the model is probably wrong: 4% is seen through, at its upper right"


@pytest.mark.parametrize(
    ("nodes", "place"),
    [
        ([4, 5], "at its upper"), ([9], "at its upper right"), ([40, 50], "at its left"),
        ([44, 45, 54, 55], "in its middle"), ([99], "at its lower right"),
    ],
)  # fmt: skip
def test_the_place_is_that_on_the_model(nodes: list[int], place: str) -> None:
    through = np.zeros(COUNT)
    through[nodes] = 20
    assert judge(through=through).place == place


def test_nodes_count_by_their_surface() -> None:
    points = np.full(COUNT, 10)
    points[:5] = 100
    drift, far = some(slice(0, 5), 1.0), some(slice(0, 5), 10.0)
    assert judge(points, far_m=far, drift_m=drift).share == pytest.approx(500 / (500 + 950))
    points[:5] = 0
    assert judge(points, far_m=far, drift_m=drift).share == 0.0


def test_surface_that_is_forgotten_does_not_count() -> None:
    part = slice(0, 10)
    lost = some(part, 1).astype(bool)
    assert judge(far_m=some(part, np.inf), drift_m=some(part, 0.2)).wrong
    assert judge(far_m=some(part, np.inf), drift_m=some(part, 0.2), lost=lost).share == 0.0
    assert judge(lost=np.ones(COUNT, bool)).share == 0.0 and judge(np.zeros(COUNT, int)).share == 0.0
