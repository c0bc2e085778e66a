"""What pages are told of a calibration."""

from __future__ import annotations

from bodystream.pipelines.serve.measuring import MeasuringNews
from bodystream.pose.calibration import Calibration


def test_a_measurement_is_told() -> None:
    news = MeasuringNews()
    found = Calibration.of("T", 1.6, 1.02)
    news.calibrated(found)  # nobody asked: as by `--calibrate`
    assert news.status() is None
    news.begin()
    news.calibrated(Calibration.of("assumed", 1.5, 1.0))
    assert news.status() == {"state": "measuring", "lines": []}
    news.calibrated(found)
    assert news.status() == {"state": "done", "lines": list(found.lines)}


def test_a_failure_is_told_with_its_last_reason() -> None:
    news = MeasuringNews()
    news.note("not calibrated: before anybody asked")
    news.begin()
    news.note("not calibrated: the hands moved by 12 cm")
    news.note("calibrating again (1 of 2): 2 seconds from now")
    assert news.status() == {"state": "measuring", "lines": ["the hands moved by 12 cm"]}
    news.note("not calibrated: the arms were not level")
    news.note("no calibration is tried again: driving goes on with what was known before")
    assert news.status() == {"state": "failed", "lines": ["the arms were not level"]}
    news.begin()
    assert news.status() == {"state": "measuring", "lines": []}
