"""`bodystream drive` with its viewer in a real browser: the page shows rate and body, and Ctrl-C ends it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from helpers.command_line import Running
from helpers.headset_motions import walking
from helpers.headset_takes import samples_of, write_table
from helpers.viewer_browser import body_text, browser_at, picture, press, severe_messages, unfold, wait_for

RATE_HZ = 30.0
CIRCLES = 30  # six minutes of walking: a software renderer takes its time


def test_a_trace_is_shown_and_an_interrupt_ends_it(tmp_path: Path) -> None:
    once = samples_of(walking(4 * 3.14159265), RATE_HZ)  # ends where it begins
    period_ns = round(len(once) * 1e9 / RATE_HZ)
    walk = [
        replace(sample, index=turn * len(once) + sample.index, t_ns=turn * period_ns + sample.t_ns)
        for turn in range(CIRCLES)
        for sample in once
    ]
    write_table(tmp_path / "walk.csv", walk)
    words = ("drive", "--headset", "trace:walk.csv", "--hypotheses", "4", "--no-browser", "--port", "0")
    with Running(*words, "--report", "r.json", "--out", "out", cwd=tmp_path) as driving:
        url = driving.wait_for_line("viewer: ").removeprefix("viewer: ")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\w{16}", url), "this machine only"
        driving.wait_for_line("pose ")
        with browser_at(url) as browser:
            wait_for(lambda: browser.find_elements("tag name", "canvas"), "a canvas")
            found = wait_for(lambda: re.search(r"(\d+\.\d)\s+poses/s", body_text(browser)), "the rate")
            assert 0 < float(found.group(1)) < 2 * RATE_HZ
            unfold(browser, "Timing")
            for text in ("latency", "data age", "sample", "refine", "feet"):
                wait_for(lambda t=text: t in body_text(browser), text)
            # Body and skeleton are brighter than the floor, and they walk.
            wait_for(lambda: (picture(browser).max(axis=2) > 130).mean() > 0.005, "the body")
            before = picture(browser)
            wait_for(lambda: (abs(picture(browser) - before).max(axis=2) > 60).mean() > 0.002, "a changed picture")
            press(browser, "Pause")
            wait_for(lambda: "Paused" in body_text(browser), "the word Paused")
            press(browser, "Resume")
            wait_for(lambda: "poses/s" in body_text(browser), "the rate again")
            assert severe_messages(browser) == []
        driving.interrupt()
        assert driving.finish() == 0, driving.text
    assert "Traceback" not in driving.text and "wrote out/driven.glb" in driving.lines
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report["frames"]["processed"] > 10
    # The pause, and a machine that is too slow, are gaps in time; nothing else is wrong with the stream.
    assert set(report["flags"]) <= {"time_jump"} and len(report["warnings"]) <= 1
    assert report["data_age"]["p50_ms"] > 0, "poses were shown, so their age is known"
    assert report["stages"]["publish"]["count"] > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["driven.bvh", "driven.glb", "headset.csv"]
