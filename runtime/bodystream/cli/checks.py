"""What `bodystream doctor` looks at. Each check says what it found, and what to do where something is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bodystream.cli.checks_bundles import check_bundles, check_engines
from bodystream.cli.checks_machine import (
    check_cameras,
    check_disk,
    check_ports,
    check_python,
    check_recordings,
)
from bodystream.cli.checks_packages import check_extras, check_onnxruntime, check_opencv
from bodystream.cli.checks_warp import check_kernels, check_warp
from bodystream.cli.finding import Check, first_line

__all__ = ["CHECKS", "run_checks"]

# Name for messages, what it looks at, and whether everyone needs it.
CHECKS: tuple[tuple[str, Callable[[], Iterator[Check]], bool], ...] = (
    ("python", check_python, True),
    ("disk", check_disk, True),
    ("warp", check_warp, True),
    ("kernels", check_kernels, True),
    ("opencv", check_opencv, True),
    ("onnxruntime", check_onnxruntime, True),
    ("extras", check_extras, False),
    ("realsense", check_cameras, False),
    ("ports", check_ports, False),
    ("bundles", check_bundles, True),
    ("engines", check_engines, True),
    ("recordings", check_recordings, False),
)


def run_checks() -> list[Check]:
    """All findings; a check that fails in a way that nobody foresaw becomes a finding too."""
    findings: list[Check] = []
    for name, check, required in CHECKS:
        try:
            findings.extend(check())
        except ImportError as error:
            remedy = "pip install --force-reinstall bodystream"
            findings.append(Check(name, "missing" if required else "optional", f"cannot be imported: {error}", remedy))
        except Exception as error:  # a doctor has to survive what it finds; the failure itself is the finding
            found = f"the check failed: {type(error).__name__}: {first_line(error)}"
            findings.append(Check(name, "missing" if required else "optional", found, "Report this with the output"))
    return findings
