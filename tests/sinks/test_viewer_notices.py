from __future__ import annotations

from bodystream.sinks.viewer.hud import notices_html
from bodystream.sinks.viewer.notices import SHOWN_S, Notice, Notices


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_warning_passes_some_seconds_after_it_last_happened() -> None:
    clock = Clock()
    notices = Notices(clock)
    notices.warn({"lost": 1}, "source")
    clock.now_s += SHOWN_S - 1
    notices.warn({"lost": 1}, "source")  # the same one, told again: it did not happen again
    assert notices.now() == [Notice("lost", 1, True)] and notices.earlier() == []
    clock.now_s += 2
    assert notices.now() == [] and notices.earlier() == [Notice("lost", 1, True)]
    notices.warn({"lost": 3}, "source")
    assert notices.now() == [Notice("lost", 3, True)] and notices.earlier() == []


def test_the_newest_stands_last_and_origins_add_up() -> None:
    notices = Notices(Clock())
    notices.warn(["a", "b"], "source")
    notices.tell("saved")
    notices.warn(["a"], "viewer")
    assert notices.now() == [Notice("b", 1, True), Notice("saved", 1, False), Notice("a", 2, True)]


def test_a_flood_is_bounded() -> None:
    notices = Notices(Clock())
    notices.warn([f"w{i}" for i in range(500)], "source")
    assert [n.text for n in notices.now()] == [f"w{i}" for i in range(450, 500)]


def test_text_is_escaped() -> None:
    text = notices_html([Notice("a < b", 2, True), Notice("<i>", 1, False)])
    assert "a &lt; b (2 times)" in text and "&lt;i&gt;" in text and "(1 times)" not in text
    assert notices_html([]) == ""
