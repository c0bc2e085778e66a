"""Whose motion `bodystream eval pose` measures on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodystream.errors import InputError
from bodystream.sources.motion import Take
from bodystream.sources.motion.selection import held_out


def takes(*subjects: str) -> list[Take]:
    return [Take(f"take{n}", subject, Path(f"{n}.bvh"), "bvh") for n, subject in enumerate(subjects)]


def test_people_who_were_or_may_have_been_trained_on_are_left_out() -> None:
    chosen = held_out(takes("cmu_02", "cmu_07", "", "unknown_running", "anna"), ("cmu_07",), "DATA")
    assert [take.subject for take in chosen] == ["cmu_02", "", "anna"]


@pytest.mark.parametrize("subjects", [("cmu_07",), ("unknown_running", "cmu_07")])
def test_nobody_left_is_an_error_that_says_what_to_do(subjects: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="give other motion, or --include-trained"):
        held_out(takes(*subjects), ("cmu_07",), "DATA")
