"""What a test needs and may not be there. A skip says what is missing and why, in the words of who raised it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from helpers.node import node

__all__ = ["khronos_issues", "needs"]


def needs(module: str, remedy: str) -> ModuleType:
    """The module, or the test (at the top of a file: all of its tests) is skipped.

    Unlike `pytest.importorskip` also where the package is there and does not import, as pyrealsense2 without libusb.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        pytest.skip(f"{module} does not import ({error}): {remedy}", allow_module_level=True)


VALIDATE = (
    'require("gltf-validator").validateBytes(new Uint8Array(require("fs").readFileSync(process.argv[1])), '
    "{maxIssues: 50}).then(report => console.log(JSON.stringify(report.issues)))"
)


def khronos_issues(path: Path) -> str:
    """What Khronos' glTF validator says of a file, as JSON; the test is skipped without node or the validator."""
    program = node()
    folders = [str(Path(sys.prefix) / "node" / "node_modules"), os.environ.get("NODE_PATH", "")]
    environment = {**os.environ, "NODE_PATH": os.pathsep.join(filter(None, folders))}
    there = subprocess.run([program, "-e", 'require("gltf-validator")'], capture_output=True, env=environment)
    if there.returncode:
        pytest.skip("node's package gltf-validator is not installed: `make test` installs it")
    run = [program, "-e", VALIDATE, str(path)]
    return subprocess.run(run, capture_output=True, text=True, check=True, env=environment).stdout
