"""Progress with its total and the time that is left, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bodystream.evaluation.progress import counted_progress, duration_text


def test_elsewhere_a_line_now_and_then_says_how_much_is_left() -> None:
    now = [0.0]
    console = Console(file=io.StringIO(), width=40)
    with counted_progress("[1/2] flow", 400, console, done=100, clock=lambda: now[0]) as advance:
        for step in range(101, 401):
            now[0] += 1.0
            advance(step, "loss 3.21")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 30 and lines[0] == "[1/2] flow  110/400  5 min left  loss 3.21"
    assert lines[-1] == "[1/2] flow  400/400  0 s left  loss 3.21"


def test_on_a_terminal_there_is_a_bar_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")  # a dumb one shows no bar
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with counted_progress("takes", 3, console) as advance:
        advance(2, "walk.bvh")
    assert "2/3" in console.file.getvalue() and "walk.bvh" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (91, "2 min"), (3599, "1 h 00 min"), (11_100, "3 h 05 min")]
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
