"""Hooks of the documentation site: pages that live in the repository's root become pages of the site, links and all.

README.md is the start page; the others come under Build on it. Links are written for readers of
the repository (`docs/capture.md`, `../runtime/...`); within the site they lead to the site's pages.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "findings/README.md": "findings.md",
    "LICENSE": "license.md",
    "THIRD_PARTY.md": "third-party.md",
}
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_SCRIPT_LINK = re.compile(r"\[([^\]]+)\]\([^)\s]+\.sh\)")  # scripts are no pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root's pages."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        if not name.endswith(".md"):
            text = f"# Licence\n\n```\n{text}\n```\n"
        files.append(File.generated(config, page, content=site_links(text)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links out of docs/ to the root's pages."""
    return _LINK.sub(lambda match: match[1] + _from_docs(match[2]) + match[3], markdown)


def site_links(text: str) -> str:
    """Links of a page in the root, as the site has them."""
    return _LINK.sub(lambda match: match[1] + _from_root(match[2]) + match[3], _SCRIPT_LINK.sub(r"`\1`", text))


def _from_root(target: str) -> str:
    path, hash_, anchor = target.partition("#")
    if path in PAGES:
        return PAGES[path] + hash_ + anchor
    if path.startswith("docs/"):
        return path.removeprefix("docs/") + hash_ + anchor
    return target


def _from_docs(target: str) -> str:
    return _from_root(target.removeprefix("../")) if target.startswith("../") else target
