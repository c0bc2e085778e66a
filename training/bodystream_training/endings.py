"""How a training command tells that it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from bodystream.cli.main import EXIT_INTERRUPTED
from bodystream.evaluation.progress import duration_text
from bodystream_training.loop import Trainer

__all__ = ["tell_end"]


def tell_end(
    console: Console, trainer: Trainer, finished: bool, shown: Sequence[str], figures: Mapping[str, Any] | None
) -> int:
    """Say on the console how far it came, and the exit status.

    Args:
        finished: False: it was stopped.
        shown: what the log says last, in words.
        figures: the same by name, printed to stdout as one JSON object; None: nothing is.
    """
    if finished:
        text = f"{trainer.path}: {trainer.steps} steps in {duration_text(trainer.seconds)}; {', '.join(shown)}"
    else:
        text = f"stopped at step {trainer.step} of {trainer.steps}; the same command goes on from there"
    console.print(text, markup=False, soft_wrap=True)
    if figures is not None:
        facts = {"finished": finished, "step": trainer.step, "steps": trainer.steps, "file": str(trainer.path)}
        print(json.dumps(facts | {"seconds": round(trainer.seconds, 1)} | dict(figures)))
    return 0 if finished else EXIT_INTERRUPTED
