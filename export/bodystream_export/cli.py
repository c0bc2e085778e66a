"""`bodystream-export <command> [options]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodystream.cli.extras import run_with_extra
from bodystream.cli.main import CommandEntry, Program

__all__ = ["PROGRAM", "main"]

PROGRAM = Program(
    "bodystream-export",
    "Turn trained networks into bundles that run without PyTorch.",
    (CommandEntry(("pose",), "bodystream_export.pose.command", "ExportPose", "the full-body pose sampler"),),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is that of `bodystream`."""
    return run_with_extra(argv, PROGRAM, "export", ("torch", "safetensors", "onnx"), "to export")


if __name__ == "__main__":
    sys.exit(main())
