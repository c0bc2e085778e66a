"""`bodystream-export <command> [options]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodystream.cli.main import CommandEntry, Program
from bodystream.cli.main import main as run_program

__all__ = ["PROGRAM", "main"]

PROGRAM = Program(
    "bodystream-export",
    "Turn trained networks into bundles that run without PyTorch.",
    (
        CommandEntry(("pose",), "bodystream_export.pose.command", "ExportPose", "the full-body pose sampler"),
        CommandEntry(("flow",), "bodystream_export.flow.command", "ExportFlow", "a network of learned correspondence"),
        CommandEntry(
            ("flow-curve",),
            "bodystream_export.flow.curve",
            "FlowCurve",
            "error of the light network over its time",
        ),
        CommandEntry(("avatar",), "bodystream_export.avatar.command", "ExportAvatar", "a clothed avatar"),
        CommandEntry(("body",), "bodystream_export.body.command", "ExportBody", "an embedding of bodies"),
        CommandEntry(("measure",), "bodystream_export.measure", "Measure", "write how fast a bundle's graphs run here"),
        CommandEntry(("check",), "bodystream_export.check", "Check", "whether TensorRT takes a bundle's graphs"),
        CommandEntry(("engine",), "bodystream_export.engine", "ExportEngine", "build a bundle's engines for this GPU"),
    ),
    install="pip install 'bodystream[export]'",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is that of `bodystream`."""
    return run_program(argv, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
