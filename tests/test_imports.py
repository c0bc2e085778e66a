"""Every module of the runtime imports where neither PyTorch nor any optional extra is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNTIME = Path(__file__).resolve().parents[1] / "runtime"
BLOCKED = (
    "torch",
    "ezc3d",
    "pyrealsense2",
    "xr",
    "tensorrt",
    "open3d",
    "anny",
    "matplotlib",
    "safetensors",
    "onnx",
    "mcap",
    "mcap_protobuf",
    "foxglove_schemas_protobuf",
    "lz4",
)

# Runs in a fresh interpreter: whatever the test process has imported must not hide an import of the package.
PROBE = """
import importlib, importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by the test)", name=name)
        return None

BLOCKED, modules = json.loads(sys.argv[1])
sys.meta_path.insert(0, Absent())
for module in modules:
    importlib.import_module(module)
present = sorted({name.partition(".")[0] for name in sys.modules} & set(BLOCKED))
print(json.dumps(present))
"""


def runtime_modules() -> list[str]:
    """Dotted names of all modules, from the files, so that a folder without `__init__.py` is not passed over."""
    names = []
    for path in sorted((RUNTIME / "bodystream").rglob("*.py")):
        parts = path.relative_to(RUNTIME).with_suffix("").parts
        names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def probe(modules: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps([BLOCKED, modules])],
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_module_imports_without_extras() -> None:
    modules = runtime_modules()
    assert {"bodystream", "bodystream.types", "bodystream.cli.main", "bodystream.device.launches"} <= set(modules)
    result = probe(modules)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("module", BLOCKED)
def test_the_probe_notices_an_import(module: str) -> None:
    result = probe([module])
    assert result.returncode != 0
    assert "blocked by the test" in result.stderr


def test_every_package_is_a_regular_one() -> None:
    folders = {path.parent for path in (RUNTIME / "bodystream").rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
