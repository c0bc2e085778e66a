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


PACKAGES = {"runtime": "bodystream", "training": "bodystream_training", "export": "bodystream_export"}


def lint_imports(tree: Path, work: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter with the project's contracts over the packages in `tree`."""
    shutil.copy(ROOT / "pyproject.toml", work / "pyproject.toml")
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(tree / name) for name in PACKAGES), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the packages' modules that a test may spoil."""
    for folder, package in PACKAGES.items():
        shutil.copytree(
            ROOT / folder / package,
            tmp_path / "copy" / folder / package,
            ignore=shutil.ignore_patterns("__pycache__", "*.npz", "*.onnx"),
        )
    return tmp_path / "copy"


def test_contracts_hold(tmp_path: Path) -> None:
    result = lint_imports(ROOT, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        (
            "runtime/bodystream/geometry/camera.py",
            "import bodystream.cli.main",
            "geometry is not allowed to import bodystream.cli",
        ),
        (
            "runtime/bodystream/device/select.py",
            "import bodystream.deformation",
            "is not allowed to import bodystream.deformation",
        ),
        (
            "runtime/bodystream/types/base.py",
            "import bodystream.timing",
            "bodystream.types is not allowed to import bodystream.timing",
        ),
        (
            "runtime/bodystream/pipelines/__init__.py",
            "import bodystream_bench",
            "bodystream is not allowed to import bodystream_bench",
        ),
        ("runtime/bodystream/bundles/locate.py", "import torch", "bodystream is not allowed to import torch"),
        (
            "runtime/bodystream/bundles/locate.py",
            "import bodystream_training",
            "bodystream is not allowed to import bodystream_training",
        ),
        (
            "training/bodystream_training/checkpoints.py",
            "import bodystream_export.bundle",
            "bodystream_training is not allowed to import bodystream_export",
        ),
        (
            "training/bodystream_training/loop.py",
            "from bodystream.cli.evaluate_pose import EvaluatePose",
            "bodystream_training is not allowed to import bodystream.cli",
        ),
        (
            "export/bodystream_export/bundle.py",
            "import bodystream.cli.drive",
            "bodystream_export is not allowed to import bodystream.cli",
        ),
    ],
)
def test_a_breach_is_noticed(copied: Path, tmp_path: Path, module: str, line: str, said: str) -> None:
    path = copied / module
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    result = lint_imports(copied, tmp_path)
    assert result.returncode != 0
    assert said in " ".join(result.stdout.split()), result.stdout


def test_a_stage_that_imports_its_neighbour_is_noticed(copied: Path, tmp_path: Path) -> None:
    for name, line in (("tracking", ""), ("fusion", "import bodystream.tracking")):
        folder = copied / "runtime" / "bodystream" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "__init__.py").write_text(f"{line}\n", encoding="utf-8")
    result = lint_imports(copied, tmp_path)
    assert result.returncode != 0
    assert "bodystream.fusion is not allowed to import bodystream.tracking" in " ".join(result.stdout.split())


def test_a_package_without_a_layer_is_noticed(copied: Path, tmp_path: Path) -> None:
    (copied / "runtime" / "bodystream" / "elsewhere").mkdir()
    (copied / "runtime" / "bodystream" / "elsewhere" / "__init__.py").write_text("", encoding="utf-8")
    result = lint_imports(copied, tmp_path)
    assert result.returncode != 0
    assert "elsewhere" in result.stdout + result.stderr
