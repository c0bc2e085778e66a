"""The page that is committed is what its sources build to, asks nothing of anybody else, and is light."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from helpers.node import WEB, node, node_modules

CLIENT = Path(str(importlib.resources.files("bodystream.web"))) / "client"
SOURCES = ("index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.ts")
MAX_COMPRESSED_BYTES = 900_000

needs_sources = pytest.mark.skipif(not WEB.is_dir(), reason="the sources of the page are not in this distribution")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def provenance() -> dict[str, dict[str, str]]:
    return json.loads((CLIENT / "build.json").read_text(encoding="utf-8"))


@needs_sources
def test_the_build_is_of_these_sources() -> None:
    paths = [path for name in SOURCES for path in ([WEB / name] if (WEB / name).is_file() else files(WEB / name))]
    now = {path.relative_to(WEB).as_posix(): digest(path) for path in paths}
    assert now == provenance()["sources"], "the sources of the page changed: run `make web`"


def test_the_build_is_whole() -> None:
    built = {path.relative_to(CLIENT).as_posix(): digest(path) for path in files(CLIENT)}
    del built["build.json"]
    assert built == provenance()["files"], "the page was edited in its build: edit web/ and run `make web`"


@needs_sources
def test_building_anew_gives_the_same_files(tmp_path: Path) -> None:
    vite = node_modules("vite") / "bin" / "vite.js"
    out = tmp_path / "client"
    environment = {**os.environ, "BODYSTREAM_WEB_OUT": str(out)}
    subprocess.run([node(), str(vite), "build", "--logLevel", "error"], cwd=WEB, env=environment, check=True)
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in files(out)}
    assert found == {path.relative_to(CLIENT).as_posix(): path.read_bytes() for path in files(CLIENT)}


@needs_sources
def test_types_and_units_of_the_page() -> None:
    compiler = node_modules("typescript") / "bin" / "tsc"
    for command in ([node(), str(compiler), "--noEmit"], [node(), "--test", "tests/**/*.test.ts"]):
        done = subprocess.run(command, cwd=WEB, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr


def test_the_page_is_light_and_has_no_source_maps() -> None:
    shipped = [path for path in files(CLIENT) if path.suffix in (".html", ".js", ".css", ".svg")]
    assert sum(len(gzip.compress(path.read_bytes(), 6)) for path in shipped) <= MAX_COMPRESSED_BYTES
    assert not [path for path in files(CLIENT) if path.suffix == ".map" or b"sourceMappingURL" in path.read_bytes()]


def test_the_page_fits_a_strict_policy() -> None:
    html = (CLIENT / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=|javascript:", html)
    for address in re.findall(r"""(?:src|href)=["']([^"']+)""", html):
        assert address.startswith("./") and (CLIENT / address).is_file(), address
    for path in files(CLIENT / "assets"):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".css":
            assert not re.search(r"@import|url\((?!\s*['\"]?#)", text)
        else:
            assert "eval(" not in text and "new Function(" not in text


def test_licences_of_what_is_bundled_are_kept() -> None:
    text = (CLIENT / "LICENSES.txt").read_text(encoding="utf-8")
    assert text.startswith("three ") and "Permission is hereby granted" in text
