"""Programs whose packages are an extra: without it they say which, and how it is installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bodystream.cli.main import EXIT_ERROR, Program, main
from bodystream.errors import MissingDependencyError

__all__ = ["run_with_extra"]


def run_with_extra(
    argv: Sequence[str] | None, program: Program, extra: str, packages: Sequence[str], purpose: str
) -> int:
    """Run a program; a missing package of its extra is one line with the command that installs it, and exit code 2.

    Args:
        packages: what the extra installs, by the names that are imported.
        purpose: what they are needed for: `to train`.
    """
    try:
        return main(argv, program)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in packages or "--debug" in (sys.argv[1:] if argv is None else argv):
            raise
        said = MissingDependencyError(missing, purpose, f"Install it with: pip install 'bodystream[{extra}]'")
        print(f"error: {said}", file=sys.stderr)
        return EXIT_ERROR
