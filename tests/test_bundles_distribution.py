"""The second distribution, built and installed beside the first: a bundle in it is found as any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers.bundles import write_bundle
from helpers.needs import needs

needs("hatchling", "pip install 'bodystream[dev]'")
ROOT = Path(__file__).resolve().parents[1]
MAX_WHEEL_BYTES = 100_000_000
"""What a package index usually takes."""

SAY = """
import json
from bodystream.bundles import bundle_folders, find_bundle
from bodystream.cli.checks_bundles import check_bundles
print(json.dumps([
    str(find_bundle("wide").place), str(find_bundle("pose").place), [str(folder) for folder in bundle_folders()],
    [[check.name, check.found] for check in check_bundles()],
]))
"""


def built(source: Path, folder: Path) -> Path:
    """The wheel of a project, as pip would build it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True, timeout=200)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both wheels unpacked into one folder, as pip does; the second one with a bundle that a test put there."""
    folder = tmp_path_factory.mktemp("both")
    more = shutil.copytree(ROOT / "bundles", folder / "more")
    write_bundle(more / "bodystream_bundles" / "wide", "flow", {"net.onnx": b"weights"})
    write_bundle(more / "bodystream_bundles" / "pose", "pose-sampler", {"net.onnx": b"another"})
    wheels = [built(ROOT, folder / "first"), built(more, folder / "second")]
    for wheel in wheels:
        assert wheel.stat().st_size < MAX_WHEEL_BYTES
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")
    return folder / "site"


def test_a_bundle_of_the_second_distribution_is_found(installed: Path, tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "BODYSTREAM_BUNDLES"}
    done = subprocess.run(
        [sys.executable, "-c", SAY],
        env={**kept, "PYTHONPATH": str(installed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wide, pose, folders, checks = json.loads(done.stdout)
    assert Path(wide) == installed / "bodystream_bundles" / "wide"
    assert Path(pose) == installed / "bodystream" / "bundles" / "shipped" / "pose"  # the shipped name stays sealed
    assert [Path(folder) for folder in folders][1:] == [installed / "bodystream_bundles"]
    assert ["bundle folder", str(installed / "bodystream_bundles")] in checks


def test_it_carries_what_it_says(installed: Path) -> None:
    there = sorted(path.name for path in (ROOT / "bundles" / "bodystream_bundles").iterdir() if path.is_dir())
    assert [name for name in there if name != "__pycache__"] == []
    assert "It carries none yet" in (ROOT / "bundles" / "README.md").read_text(encoding="utf-8")
    (information,) = installed.glob("bodystream_bundles-*.dist-info")
    assert (information / "licenses" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
