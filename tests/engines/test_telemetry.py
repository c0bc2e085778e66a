"""ONNX Runtime is told to keep nothing and to call nobody, before it is imported, wherever that is."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = [path for folder in ("runtime", "training", "export", "benchmarks") for path in (ROOT / folder).rglob("*.py")]

# Notes the variable at the moment in which the import begins, since later is too late.
NOTE = """
import atexit, importlib.abc, json, os, sys
seen = []
class Note(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            seen.append(os.environ.get("ORT_DISABLE_TELEMETRY"))
        return None
sys.meta_path.insert(0, Note())
atexit.register(lambda: print(json.dumps(seen)))
"""
USES = {
    "network": "from bodystream.pose.sampler import PoseSampler; PoseSampler()",
    "doctor": "from bodystream.cli.checks import check_onnxruntime; list(check_onnxruntime())",
    "providers": "from bodystream.engines import available_providers; available_providers()",
    "export": "import pathlib; from bodystream_export.onnx_graph import to_8_bit\n"
    "try: to_8_bit(pathlib.Path('absent.onnx'), pathlib.Path('out.onnx'))\n"
    "except Exception as error: print(type(error))",
}


def run(code: str, home: Path, **environment: str) -> list[str | None]:
    """What ORT_DISABLE_TELEMETRY was when a process with an empty home imported onnxruntime."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("runtime", "export", "training"))
    done = subprocess.run(
        [sys.executable, "-c", NOTE + code],
        env={**kept, "HOME": str(home), "USERPROFILE": str(home), "PYTHONPATH": paths, **environment},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("use", USES)
def test_telemetry_is_off_before_the_import_and_leaves_nothing(tmp_path: Path, use: str) -> None:
    assert run(USES[use], tmp_path) == ["1"]
    left = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert [name for name in left if "Microsoft" in name or "deviceid" in name] == []


def test_who_has_decided_is_left_alone(tmp_path: Path) -> None:
    assert run(USES["providers"], tmp_path, ORT_DISABLE_TELEMETRY="true") == ["true"]
    assert run(USES["providers"], tmp_path, ORT_DISABLE_TELEMETRY="") == ["1"]


def imports_of_onnxruntime(path: Path) -> list[str]:
    """Places that import it without `load_onnxruntime()` before, in the same function."""
    found = []
    for scope in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(scope, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        told = False
        for node in scope.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                continue
            told = told or "load_onnxruntime()" in ast.unparse(node)
            for inner in ast.walk(node):
                names = [alias.name for alias in inner.names] if isinstance(inner, ast.Import) else []
                names += [inner.module or ""] if isinstance(inner, ast.ImportFrom) and not inner.level else []
                if any(name.partition(".")[0] == "onnxruntime" for name in names) and not told:
                    found.append(f"{path.relative_to(ROOT)}:{inner.lineno}")
    return found


def test_nobody_goes_another_way() -> None:
    assert [place for path in CODE for place in imports_of_onnxruntime(path)] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import onnxruntime\n", 1),
        ("def f():\n    from onnxruntime.quantization import x\n", 1),
        ("def f():\n    load_onnxruntime()\n    from onnxruntime.quantization import x\n", 0),
        ("def f():\n    import onnxruntime_ep_openvino\n", 0),
    ],
)
def test_another_way_would_be_noticed(tmp_path: Path, monkeypatch, code: str, found: int) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "some.py"
    path.write_text(code)
    assert len(imports_of_onnxruntime(path)) == found
