"""Where nodes go on to, against rotations by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.deformation import WarpField
from bodystream.device import select_device
from bodystream.tracking.prediction import MotionPredictor
from bodystream.types import Array

DEVICE = select_device("cpu")
MS = 1_000_000
RANDOM = np.random.default_rng(8)
POSITIONS = RANDOM.uniform(-1, 1, (7, 3)).astype(np.float32)


def field_of(count: int, parents: Array | None = None, capacity: int = 16) -> WarpField:
    field = WarpField(DEVICE, capacity=capacity)
    grow(field, count, parents)
    return field


def grow(field: WarpField, count: int, parents: Array | None = None) -> None:
    """Give the field `count` nodes; the first ones keep their motion."""
    rotations, translations = np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)), np.zeros((count, 3), np.float32)
    known = field.count
    rotations[:known], translations[:known] = field.motion()
    field.set_graph(POSITIONS[:count], np.full((count, 8), -1, np.int32), rotations, translations, parents)


def motion_at(t: float, count: int) -> tuple[Array, Array]:
    """Nodes that turn and move at rates of their own, t seconds on."""
    rates = np.random.default_rng(1).uniform(-2.5, 2.5, (2, len(POSITIONS), 3))
    start = Rotation.from_rotvec(rates[1])
    return ((Rotation.from_rotvec(rates[0] * t) * start).as_matrix()[:count], (rates[1] * t)[:count])


def test_nodes_go_on_as_they_moved() -> None:
    field = field_of(5)
    predictor = MotionPredictor(field, damping=1.0, max_step_m=1.0)
    for t in (0.0, 0.04):
        field.set_motion(*motion_at(t, 5))
        predictor.remember(int(t * 1e9))
    predictor.predict(70 * MS)
    for found, expected in zip(field.motion(), motion_at(0.07, 5), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_only_a_share_of_the_velocity_is_believed_and_steps_are_bounded() -> None:
    field = field_of(2)
    predictor = MotionPredictor(field, damping=0.5, max_step_m=0.1)
    predictor.remember(0)
    field.set_motion(None, np.float32([[0.04, 0, 0], [0, 3, 0]]))
    predictor.remember(100 * MS)
    predictor.predict(200 * MS)
    np.testing.assert_allclose(field.motion()[1], [[0.06, 0, 0], [0, 3.1, 0]], atol=1e-6)
    predictor.predict(5000 * MS)  # a long gap counts as 0.2 s
    np.testing.assert_allclose(field.motion()[1], [[0.1, 0, 0], [0, 3.2, 0]], atol=1e-6)


@pytest.mark.parametrize("grown", ["before", "after"], ids=["before it is remembered", "after it was remembered"])
def test_a_new_node_goes_on_as_the_oldest_of_its_line(grown: str) -> None:
    field = field_of(3)
    predictor = MotionPredictor(field, damping=1.0, max_step_m=1.0)
    field.set_motion(*motion_at(0.0, 3))
    predictor.remember(0)
    if grown == "after":
        field.set_motion(*motion_at(0.05, 3))
        predictor.remember(50 * MS)
    grow(field, 6, np.int32([0, 1, 2, 1, 3, 2]))  # the fourth's parent is the second, the fifth's the fourth
    rotations, translations = (np.concatenate([a, a[[1, 1, 2]]]) for a in motion_at(0.05, 3))
    field.set_motion(rotations, translations)
    if grown == "before":
        predictor.remember(50 * MS)
    predictor.predict(100 * MS)
    found_rotations, found_translations = field.motion()
    expected_rotations, expected_translations = motion_at(0.1, 3)
    lines = [0, 1, 2, 1, 1, 2]
    np.testing.assert_allclose(found_rotations, expected_rotations[lines], atol=2e-6)
    np.testing.assert_allclose(found_translations, expected_translations[lines], atol=2e-6)


def test_nothing_moves_without_a_past() -> None:
    field = field_of(4)
    predictor = MotionPredictor(field)
    field.set_motion(*motion_at(0.0, 4))
    before = [a.copy() for a in field.motion()]

    def unmoved(t_ns: int) -> bool:
        predictor.predict(t_ns)
        return all(np.array_equal(a, b) for a, b in zip(field.motion(), before, strict=True))

    assert unmoved(10 * MS)
    predictor.remember(10 * MS)
    assert unmoved(40 * MS), "one frame has no velocity"
    predictor.remember(40 * MS)
    assert unmoved(40 * MS) and unmoved(30 * MS), "no time has passed"
    predictor.remember(20 * MS)  # of an earlier time, such as a recording that starts again
    assert unmoved(60 * MS)
    predictor.reset()
    assert unmoved(90 * MS)


def test_a_graph_that_outgrew_its_buffers_is_followed_again() -> None:
    field = field_of(2, capacity=3)
    predictor = MotionPredictor(field, damping=1.0, max_step_m=1.0)
    for t in (0.0, 0.03):
        field.set_motion(*motion_at(t, 2))
        predictor.remember(int(t * 1e9))
    grow(field, 7)
    predictor.predict(60 * MS)  # buffers of before are gone: nodes stay where they are
    np.testing.assert_allclose(field.motion()[1][:2], motion_at(0.03, 2)[1], atol=1e-6)
    for t in (0.06, 0.09):
        field.set_motion(*motion_at(t, 7))
        predictor.remember(int(t * 1e9))
    predictor.predict(120 * MS)
    np.testing.assert_allclose(field.motion()[1], motion_at(0.12, 7)[1], atol=2e-6)
