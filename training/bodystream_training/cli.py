"""`bodystream-train <command> [options]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodystream.cli.main import CommandEntry, Program
from bodystream.cli.main import main as run_program

__all__ = ["PROGRAM", "main"]

PROGRAM = Program(
    "bodystream-train",
    "Train the networks of bodystream.",
    (
        CommandEntry(
            ("pose",), "bodystream_training.pose.command", "TrainPose", "train the full-body pose sampler on motion"
        ),
        CommandEntry(
            ("flow",), "bodystream_training.flow.command", "TrainFlow", "train learned correspondence on image pairs"
        ),
        CommandEntry(
            ("flow-samples",),
            "bodystream_training.flow.samples",
            "ShowFlowSamples",
            "draw the pairs that flow networks learn from",
        ),
        CommandEntry(
            ("flow-ablation",),
            "bodystream_training.flow.ablation_command",
            "AblateFlow",
            "show what losses through the solver and weights are good for",
        ),
        CommandEntry(
            ("garments",),
            "bodystream_training.avatar.data.garments.command",
            "MakeGarments",
            "make takes of people in simulated clothes",
        ),
        CommandEntry(
            ("avatar",),
            "bodystream_training.avatar.command",
            "TrainAvatar",
            "train a clothed avatar on posed meshes of one person",
        ),
        CommandEntry(
            ("body",),
            "bodystream_training.body.command",
            "TrainBody",
            "train an embedding of bodies that keeps shape and pose apart",
        ),
        CommandEntry(
            ("eval", "pose"),
            "bodystream_training.pose.evaluate",
            "EvaluateTraining",
            "compare a trained sampler with every baseline",
        ),
        CommandEntry(
            ("eval", "avatar"),
            "bodystream_training.avatar.evaluate",
            "EvaluateAvatar",
            "compare a trained avatar with its ablations and baselines",
        ),
        CommandEntry(
            ("eval", "body"),
            "bodystream_training.body.evaluate",
            "EvaluateBody",
            "compare an embedding of bodies with its ablations and baselines",
        ),
    ),
    install="pip install 'bodystream[train]'",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is that of `bodystream`."""
    return run_program(argv, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
