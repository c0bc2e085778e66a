"""No layer imports upwards: import-linter's contracts hold, and would notice a breach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(runtime: Path, work: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the project's contracts over the package in `runtime`."""
    shutil.copy(ROOT / "pyproject.toml", work / "pyproject.toml")
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(runtime), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copied_runtime(tmp_path: Path) -> Path:
    """A copy of the package's modules that a test may spoil."""
    shutil.copytree(
        ROOT / "runtime" / "bodystream",
        tmp_path / "runtime" / "bodystream",
        ignore=shutil.ignore_patterns("__pycache__", "*.npz"),
    )
    return tmp_path / "runtime"


def test_contracts_hold(tmp_path: Path) -> None:
    result = lint_imports(ROOT / "runtime", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        (
            "geometry/camera.py",
            "import bodystream.cli.main",
            "geometry is not allowed to import bodystream.cli",
        ),
        ("device/select.py", "import bodystream.deformation", "is not allowed to import bodystream.deformation"),
        ("types/base.py", "import bodystream.timing", "bodystream.types is not allowed to import bodystream.timing"),
        ("pipelines/__init__.py", "import bodystream_bench", "bodystream is not allowed to import bodystream_bench"),
        ("bundles/locate.py", "import torch", "bodystream is not allowed to import torch"),
    ],
)
def test_a_breach_is_noticed(copied_runtime: Path, tmp_path: Path, module: str, line: str, said: str) -> None:
    path = copied_runtime / "bodystream" / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    result = lint_imports(copied_runtime, tmp_path)
    assert result.returncode != 0
    assert said in " ".join(result.stdout.split()), result.stdout


def test_a_stage_that_imports_its_neighbour_is_noticed(copied_runtime: Path, tmp_path: Path) -> None:
    for name, line in (("tracking", ""), ("fusion", "import bodystream.tracking")):
        folder = copied_runtime / "bodystream" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "__init__.py").write_text(f"{line}\n", encoding="utf-8")
    result = lint_imports(copied_runtime, tmp_path)
    assert result.returncode != 0
    assert "bodystream.fusion is not allowed to import bodystream.tracking" in " ".join(result.stdout.split())


def test_a_package_without_a_layer_is_noticed(copied_runtime: Path, tmp_path: Path) -> None:
    (copied_runtime / "bodystream" / "elsewhere").mkdir()
    (copied_runtime / "bodystream" / "elsewhere" / "__init__.py").write_text("", encoding="utf-8")
    result = lint_imports(copied_runtime, tmp_path)
    assert result.returncode != 0
    assert "elsewhere" in result.stdout + result.stderr
