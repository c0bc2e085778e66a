"""Takes an avatar through all poses of a motion, and hands them to what makes files of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bodystream.pipelines.repose.output import Output
from bodystream.pipelines.repose.pipeline import Reposer
from bodystream.sinks.reports.repose import WrittenSection

__all__ = ["repose"]


def repose(
    reposer: Reposer,
    outputs: Sequence[Output] = (),
    on_progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[WrittenSection] | None:
    """Pose all frames, and write what is to be written.

    Args:
        on_progress: called after each pose with how many were made and how many there will be.
        stopped: asked before each pose.

    Returns:
        What was written, or None where it was stopped before the end: then no file is begun that is not whole.

    Raises:
        InputError: a file cannot be written.
    """
    looking = [(frame, output) for output in outputs for frame in output.wanted]
    total, done = len(looking) + len(reposer.frames), 0
    for frame, output in looking:
        if stopped():
            return None
        reposer.pose(frame)
        reposer.fetch()
        output.look(frame)
        done += 1
        if on_progress is not None:
            on_progress(done, total)
    for frame in reposer.frames:
        if stopped():
            return None
        reposer.pose(frame)
        if outputs:
            reposer.fetch()
        for output in outputs:
            output.take(frame)
        done += 1
        if on_progress is not None:
            on_progress(done, total)
    return [output.finish() for output in outputs]
