"""The floor that a hand lies on: found once it lies still, never on a table, a lap or beside somebody who stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodystream.cli.drive import Drive
from bodystream.errors import ConfigurationError
from bodystream.pose.calibration import Calibration
from bodystream.pose.floor import FloorConfig, FloorFinder, lowered
from bodystream.pose.observation import JointTargets
from bodystream.pose.person import Person
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.types import Array
from helpers.headset_motions import walking

PERIOD_NS = 11_111_111
WRIST_M = FloorConfig().wrist_m


def joints(k: int, head_m: float, left: Array, right: Array, tracked: tuple[bool, ...] = (True, True, True)):
    places = np.array([(0.0, head_m, 0.0), left, right])
    return JointTargets(k * PERIOD_NS, places, np.tile(np.eye(3), (3, 1, 1)), np.array(tracked))


def kneeling(seconds: float, floor_m: float, noise_m: float = 0.001):
    """The right hand lies on the floor, the left one on a knee."""
    rng = np.random.default_rng(0)
    for k in range(round(90 * seconds)):
        right = np.array([0.3, floor_m + WRIST_M, -0.4]) + rng.normal(0.0, noise_m, 3)
        yield joints(k, floor_m + 0.9, np.array([-0.2, floor_m + 0.45, -0.1]), right)


@pytest.mark.parametrize("floor_m", [-0.1, 0.0, 0.1, 0.3])
def test_a_hand_that_lies_on_the_floor_says_how_high_it_is(floor_m: float) -> None:
    finder = FloorFinder()
    found = [(k, finder.step(seen)) for k, seen in enumerate(kneeling(1.5, floor_m))]
    first, height = next((k, height) for k, height in found if height is not None)
    assert height == pytest.approx(floor_m, abs=0.002)
    assert 0.85 < first / 90 < 1.1


def test_one_hand_is_enough_and_one_that_was_lost_begins_anew() -> None:
    finder = FloorFinder()
    found = []
    for k, seen in enumerate(kneeling(2.0, 0.1)):
        lost = k == 60
        found.append(finder.step(replace(seen, tracked=np.array([True, False, not lost]))))
    first = next(k for k, height in enumerate(found) if height is not None)
    assert first > 60 + 80


@pytest.mark.parametrize(
    "where",
    [
        dict(head_m=1.6, left=(-0.25, 0.75, 0.0), right=(0.25, 0.75, 0.0)),  # stands, arms hanging
        dict(head_m=1.2, left=(-0.25, 0.72, -0.4), right=(0.25, 0.72, -0.4)),  # sits at a table
        dict(head_m=0.45, left=(-0.3, 0.2, -0.3), right=(0.3, 0.2, -0.3)),  # lies, hands before the face
        dict(head_m=1.6, left=(-0.2, -0.9, 0.0), right=(0.2, -0.9, 0.0)),  # below any floor
    ],
)
def test_no_other_hands_are_on_the_floor(where) -> None:
    finder = FloorFinder()
    assert all(finder.step(joints(k, **where)) is None for k in range(270))


def test_a_hand_that_moves_is_not_laid_down_and_after_a_while_nobody_will() -> None:
    finder = FloorFinder(FloorConfig(patience_s=2.0))
    for k in range(270):
        moving = np.array([0.3, WRIST_M, -0.4 + 0.1 * np.sin(k / 20.0)])
        assert finder.step(joints(k, 0.9, moving - (0.6, 0.0, 0.0), moving)) is None
        assert finder.given_up is (k * PERIOD_NS * 1e-9 > 2.0)
    finder.reset()
    assert not finder.given_up


def test_a_person_measures_the_floor_and_then_a_pose() -> None:
    person = Person(hold_s=1.0)
    person.measure("floor", "T")
    for seen in kneeling(1.5, 0.1):
        assert person.step(seen) is None
        if person.floor_m:
            break
    assert person.floor_m == pytest.approx(0.1, abs=0.002) and person.measuring
    (note,) = person.notes()
    assert note.startswith("the floor is 10 cm above where the headset has it") and "--floor 0.10" in note
    # from here on the samples are lowered: arms out, level
    found = None
    for later in range(200, 400):
        found = person.step(joints(later, 1.6, np.array([-0.72, 1.38, 0.03]), np.array([0.72, 1.38, 0.03])))
        if found is not None:
            break
    assert found is not None and found.pose == "T" and found.head_height_m == pytest.approx(1.6)
    assert not person.measuring


def test_nobody_who_lays_a_hand_down_is_told_what_to_do_and_the_next_pose_begins() -> None:
    person = Person(hold_s=1.0)
    person.measure("floor", "T")
    standing = (np.array([-0.25, 0.75, 0.0]), np.array([0.25, 0.75, 0.0]))
    for k in range(90 * 21):
        person.step(joints(k, 1.6, *standing))
        notes = person.notes()
        if notes:
            break
    assert notes[0].startswith("the floor was not measured") and "lay a controller" in notes[0]
    assert person.measuring and person.floor_m == 0.0


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="floor: hold_s must be positive"):
        FloorConfig(hold_s=0.0)
    with pytest.raises(ConfigurationError, match="one of floor, auto, T, I"):
        Person().measure("floor", "Y")  # pyright: ignore[reportArgumentType]


def test_lowered_samples_move_all_that_they_hold() -> None:
    sample = next(iter(MotionHeadset(walking(1.0))))
    assert lowered(sample, 0.0) is sample
    moved = lowered(sample, 0.1)
    for side in ("head", "left", "right"):
        change = getattr(moved, side).position_m - getattr(sample, side).position_m
        np.testing.assert_allclose(change, (0.0, -0.1, 0.0), atol=1e-12)
    np.testing.assert_allclose(moved.truth.root_position_m - sample.truth.root_position_m, (0, -0.1, 0), atol=1e-6)


def test_a_pose_that_is_given_up_does_not_keep_the_floor_from_being_measured() -> None:
    person = Person(hold_s=0.2)
    person.measure("T", "floor")
    for k in range(400):  # walks, which is no pose
        person.step(
            joints(k, 1.6 + 0.2 * np.sin(k / 9), np.array([-0.25, 0.75, 0.01 * k]), np.array([0.25, 0.75, 0.0]))
        )
        if any(note.startswith("no calibration is tried again") for note in person.notes()):
            break
    assert person.measuring
    for seen in kneeling(1.5, 0.1):
        person.step(replace(seen, t_ns=seen.t_ns + 10**10))
    assert person.floor_m == pytest.approx(0.1, abs=0.002) and not person.measuring


def test_the_floor_alone_is_measured_for_a_person_who_was_measured_before(tmp_path: Path) -> None:
    stored = tmp_path / "me.json"
    known = Calibration.of("T", 1.62, 1.05)
    known.save(stored)
    floor = Drive(headset="openxr", calibrate=("floor",), calibration=stored)
    assert floor._config().calibration == known
    assert Drive(headset="openxr", calibrate=("floor", "T"), calibration=stored)._config().calibration is None
