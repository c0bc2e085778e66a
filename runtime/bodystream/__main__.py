"""`python -m bodystream`: the command line, where the script is not on the path."""

import sys

from bodystream.cli.main import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())
