"""What pages are told of a calibration."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.pipelines.serve.measuring import MeasuringNews
from bodystream.pose.calibration import Calibration
from bodystream.pose.observation import UNTURNED, JointTargets
from bodystream.pose.person import Person


def test_a_measurement_is_told() -> None:
    news = MeasuringNews()
    found = Calibration.of("T", 1.6, 1.02)
    news.calibrated(found)  # nobody asked: as by `--calibrate`
    assert news.status() is None
    news.begin()
    news.calibrated(Calibration.of("assumed", 1.5, 1.0))
    assert news.status() == {"state": "measuring", "lines": [], "floor_m": 0.0}
    news.calibrated(found)
    assert news.status() == {"state": "done", "lines": list(found.lines), "floor_m": 0.0}


def test_a_failure_is_told_with_its_last_reason() -> None:
    news = MeasuringNews()
    news.note("not calibrated: before anybody asked")
    news.begin()
    news.note("not calibrated: the hands moved by 12 cm")
    news.note("calibrating again (1 of 2): 2 seconds from now")
    assert _said(news) == ("measuring", ["the hands moved by 12 cm"])
    news.note("not calibrated: the arms were not level")
    news.note("no calibration is tried again: driving goes on with what was known before")
    assert _said(news) == ("failed", ["the arms were not level"])
    news.begin()
    assert _said(news) == ("measuring", [])


def _said(news: MeasuringNews) -> tuple[str, list[str]]:
    status = news.status()
    assert status is not None
    return status["state"], status["lines"]


def _person_on_a_floor(hand_y_m: float, seconds: float) -> tuple[MeasuringNews, Person]:
    """Somebody asks for the floor, and holds the right hand at a height."""
    person = Person()
    news = MeasuringNews()
    news.begin(floor_alone=True, floor_m=lambda: person.floor_m)
    person.measure("floor")
    places = np.array([(0.0, 1.1, 0.0), (-0.3, 0.9, 0.0), (0.3, hand_y_m, -0.3)])
    for index in range(round(72 * seconds)):
        person.step(JointTargets(round(index * 1e9 / 72), places, UNTURNED, np.ones(3, bool)))
        for line in person.notes():
            news.note(line)
    return news, person


def test_the_floor_alone_is_told_with_its_height() -> None:
    news, person = _person_on_a_floor(0.135, 2.0)
    status = news.status()
    assert status is not None and status["state"] == "done"
    assert status["lines"] == [
        "the floor is 10 cm above where the headset has it; heights are above the real one from now on"
    ]
    assert status["floor_m"] == pytest.approx(0.1, abs=1e-3) == person.floor_m
    news.calibrated(Calibration.of("T", 1.6, 1.02))  # of another hour
    assert _said(news)[0] == "done"


def test_a_floor_that_nobody_touches_is_told() -> None:
    news, person = _person_on_a_floor(0.9, 21.0)
    state, lines = _said(news)
    assert state == "failed" and "no hand lay still on it" in lines[0] and person.floor_m == 0.0
