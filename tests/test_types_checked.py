"""What type checkers are told to overlook: a list that only gets shorter."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import bodystream

ROOT = Path(__file__).resolve().parents[1]
PYRIGHT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pyright"]
FILES = sorted(path for folder in PYRIGHT["include"] for path in (ROOT / folder).rglob("*.py"))
PRAGMA = re.compile(r"^# pyright: (.*)$", re.MULTILINE)
RULE = re.compile(r"report\w+")

EASED: dict[str, set[str]] = {
    "export/bodystream_export/pose/graph.py": {"reportArgumentType", "reportIndexIssue"},
    "runtime/bodystream/cli/main.py": {"reportOptionalMemberAccess"},
    "runtime/bodystream/correspondence/confidence.py": {"reportArgumentType", "reportCallIssue"},
    "runtime/bodystream/correspondence/dis.py": {"reportArgumentType", "reportCallIssue"},
    "runtime/bodystream/device/camera.py": {"reportGeneralTypeIssues"},
    "runtime/bodystream/device/kernel_cache.py": {"reportArgumentType"},
    "runtime/bodystream/device/transfers.py": {"reportArgumentType", "reportOptionalMemberAccess"},
    "runtime/bodystream/evaluation/pose/nearest_pose.py": {"reportArgumentType"},
    "runtime/bodystream/evaluation/pose/table.py": {"reportArgumentType", "reportIndexIssue"},
    "runtime/bodystream/fusion/surface.py": {"reportGeneralTypeIssues"},
    "runtime/bodystream/fusion/volume.py": {"reportArgumentType", "reportGeneralTypeIssues"},
    "runtime/bodystream/sources/realsense/align.py": {"reportArgumentType", "reportGeneralTypeIssues"},
    "runtime/bodystream/sources/synthetic/noise.py": {"reportGeneralTypeIssues"},
    "runtime/bodystream/tracking/groups.py": {"reportGeneralTypeIssues"},
    "runtime/bodystream/tracking/growth.py": {"reportIndexIssue"},
    "runtime/bodystream/tracking/linear.py": {
        "reportArgumentType",
        "reportGeneralTypeIssues",
        "reportOptionalMemberAccess",
    },
    "runtime/bodystream/tracking/matches.py": {"reportGeneralTypeIssues"},
    "runtime/bodystream/tracking/model.py": {"reportGeneralTypeIssues"},
    "runtime/bodystream/tracking/solver.py": {"reportArgumentType", "reportGeneralTypeIssues"},
    "training/bodystream_training/pose/model.py": {"reportArgumentType", "reportCallIssue"},
}
"""Files that switch rules off for all their lines, and which. Take an entry out when its file has become clean."""
MOST_IGNORED_LINES = 16
"""Lines with `type: ignore` or `pyright: ignore`. Lower it when there are fewer."""


def pragmas(path: Path) -> set[str]:
    return {rule for line in PRAGMA.findall(path.read_text(encoding="utf-8")) for rule in RULE.findall(line)}


def test_no_rule_is_off_for_everybody() -> None:
    """But that packages of extras need not be installed to check the rest."""
    off = {name for name, value in PYRIGHT.items() if name.startswith("report") and value in (False, "none")}
    assert off == {"reportMissingImports", "reportMissingModuleSource"}


def test_files_overlook_what_is_listed_and_nothing_else() -> None:
    found = {path.relative_to(ROOT).as_posix(): rules for path in FILES if (rules := pragmas(path))}
    assert found == EASED


def test_what_is_promised_overlooks_nothing() -> None:
    """Protocols, sessions' modules and openers that users build on, and the examples."""
    homes = {module for module in bodystream._HOME.values() if not module.startswith("bodystream.pose")}
    files = {Path(str(importlib.import_module(home).__file__)) for home in homes}
    files |= set((ROOT / "examples").glob("*.py"))
    assert [path.name for path in sorted(files) if pragmas(path)] == []


def test_single_lines_are_overlooked_ever_less_often() -> None:
    lines = [line for path in FILES for line in path.read_text(encoding="utf-8").splitlines()]
    assert sum("type: ignore" in line or "pyright: ignore" in line for line in lines) <= MOST_IGNORED_LINES
