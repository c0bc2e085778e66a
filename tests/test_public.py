"""What a program may build on: the names of `bodystream`, what importing it costs, and the pages that promise them."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bodystream

ROOT = Path(__file__).resolve().parents[1]
NAMES = [name for name in bodystream.__all__ if name != "__version__"]
HEAVY = ("warp", "cv2", "viser", "onnxruntime", "scipy", "torch", "numpy", "trimesh", "websockets")


def module_of(name: str) -> str:
    """Where the thing is written, which may be below the package that offers it."""
    module = str(getattr(getattr(bodystream, name), "__module__", ""))
    return module if module.startswith("bodystream.") else bodystream._HOME[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_resolves_to_what_its_module_promises(name: str) -> None:
    value = getattr(bodystream, name)
    home = importlib.import_module(bodystream._HOME[name])
    assert getattr(home, name) is value and name in home.__all__
    assert name in dir(bodystream)


def test_what_is_promised_is_what_is_imported_for_type_checkers() -> None:
    """`__all__`, the table of modules and the imports that only type checkers see say the same."""
    tree = ast.parse(Path(bodystream.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    seen = {alias.asname or alias.name: node.module for node in imports for alias in node.names}
    assert seen == bodystream._HOME and sorted(seen) == sorted(NAMES)
    assert len(set(bodystream.__all__)) == len(bodystream.__all__)


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'CaptureSesion'"):
        bodystream.CaptureSesion  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from bodystream import Nothing  # type: ignore[attr-defined]  # noqa: F401


def test_importing_costs_nothing() -> None:
    code = (
        "import sys, json, bodystream; dir(bodystream); bodystream.__version__; bodystream.InputError\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert sorted(set(json.loads(done.stdout)) & set(HEAVY)) == []


def test_the_pages_name_each_of_them() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    missing = [name for name in NAMES if not re.search(rf"`{name}[`(]", page)]
    assert not missing, f"docs/python.md says nothing of {missing}"
    shown = set(re.findall(r"^::: (\S+)", reference, re.MULTILINE))
    assert not {module_of(name) for name in NAMES} - shown, "modules that docs/api.md leaves out"
    assert all(importlib.import_module(module) for module in shown)


def test_code_of_the_page_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    ends = ("30 frames", "30 frames", "30 samples")
    for block, end in zip(blocks, ends, strict=True):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
        assert end in done.stdout.splitlines()[-1]
