"""The documentation builds into a site: every page, every link, every docstring that it refers to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_of_the_repository_is_on_the_site(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} | {"index", "contributing", "changelog", "license"}
    assert pages <= {path.stem for path in site.glob("*.html")}


def test_links_within_the_site_lead_somewhere(site: Path) -> None:
    broken = []
    for page in site.glob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"]+)"', page.read_text(encoding="utf-8")):
            path = target.partition("#")[0].partition("?")[0]
            if path and "://" not in path and not path.startswith(("mailto:", "data:", "/")):
                if not (page.parent / path).exists():
                    broken.append(f"{page.name}: {target}")
    assert broken == []


def test_the_reference_shows_the_docstrings(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in (
        "bodystream.types.frames.RgbdFrame",
        "bodystream.errors.InputError",
        "bodystream.pipelines.drive.pipeline.Driver",
    ):
        assert f'id="{name}"' in text
    assert "no measurement, never nan" in text
