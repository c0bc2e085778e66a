"""All kernels are loaded before the first frame."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
import warp as wp

import bodystream
from bodystream.device import select_device
from bodystream.pipelines.warmup import KERNEL_MODULES, warm_up

RUNTIME = Path(bodystream.__file__).resolve().parent
OF_COMMANDS = {
    "bodystream.cli.kernels",  # `bodystream doctor` builds it to see whether that works
    "bodystream.avatar.clothed.kernels",  # built with the avatar, before its first pose: few have one
    "bodystream.body.mesher_kernels",  # built with the decoder of bodies, before its first mesh
    "bodystream.body.solver_kernels",  # with them
    "bodystream.body.nearest_kernels",  # of fits and registrations, which no camera waits for
}


def modules_with_kernels() -> set[str]:
    found = set()
    for path in RUNTIME.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        if any("wp.kernel" in ast.unparse(d) for function in functions for d in function.decorator_list):
            found.add(".".join(("bodystream", *path.relative_to(RUNTIME).with_suffix("").parts)))
    return found


def test_every_module_with_kernels_is_warmed_up() -> None:
    assert len(KERNEL_MODULES) == len(set(KERNEL_MODULES))
    assert set(KERNEL_MODULES) == modules_with_kernels() - OF_COMMANDS


@pytest.mark.parametrize("name", KERNEL_MODULES)
def test_named_modules_hold_kernels(name: str) -> None:
    module = importlib.import_module(name)
    assert any(isinstance(value, wp.Kernel) for value in vars(module).values())


def test_what_is_there_is_loaded_without_a_word() -> None:
    """Building, and what is told of it, is tested in a cache of its own: tests/device/test_kernel_cache.py."""
    warm_up(select_device("cpu"))
    told: list[tuple[str, int, int]] = []
    assert warm_up(select_device("cpu"), lambda *progress: told.append(progress)) == []
    assert told == []
