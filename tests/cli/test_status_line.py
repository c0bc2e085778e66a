"""Progress fits into the terminal, says how long it will take, and never ends what it tells of."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from bodystream.cli.status_line import StatusLine
from bodystream.pipelines.run import Progress
from bodystream.types import Status

MISFIT = "35% of the model does not fit the depth"
FRAME = Progress(1234, 12, 28.25, 31.4, Status.DEGRADED, MISFIT, 1234, None, 312, 43210)
POSE = Progress(90, 0, 89.7, 2.5, Status.TRACKED, "", 90, 900)


def line_to(file: io.StringIO, width: int = 80, terminal: bool = False) -> StatusLine:
    line = StatusLine()
    line._console = type(line._console)(file=file, width=width, force_terminal=terminal, highlight=False)
    return line


@pytest.mark.parametrize("total", [None, 9000])
@pytest.mark.parametrize("reason", ["", "short", "x" * 300])
def test_progress_fits_into_80_columns(total: int | None, reason: str) -> None:
    out = io.StringIO()
    with line_to(out) as line:
        line.progress(replace(FRAME, reason=reason, total=total))
    (text,) = out.getvalue().splitlines()
    assert len(text) <= 80
    assert text.startswith("frame 1234" if total is None else "frame 1234/9000") and "degraded" in text
    assert ("4:35 left" in text) == (total is not None)


def test_poses_are_counted_to_their_end() -> None:
    out = io.StringIO()
    with line_to(out) as line:
        line.driving(POSE)
    assert re.fullmatch(r"pose 90/900  90 Hz  2.5 ms  0 dropped  tracked  0:09 left", out.getvalue().strip())


def test_building_is_told_at_once() -> None:
    out = io.StringIO()
    with line_to(out) as line:
        line.building("bodystream.fusion.mesh_kernels", 1, 3)
        assert "building kernels 1/3 (first start only)" in out.getvalue()


class Broken(io.StringIO):
    """A terminal that was closed, or a full disk."""

    def __init__(self, good: int, error: Exception) -> None:
        super().__init__()
        self._good, self._error = good, error

    def write(self, text: str) -> int:
        self._good -= 1
        if self._good < 0:
            raise self._error
        return super().write(text)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("good", [0, 1, 3])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "full"), ValueError("closed file")])
def test_what_cannot_be_printed_ends_nothing(terminal: bool, good: int, error: Exception) -> None:
    with line_to(Broken(good, error), terminal=terminal) as line:
        for _ in range(5):
            line.progress(FRAME)
            line._last_s = 0.0
            line.print("a note")
        line.finish()
