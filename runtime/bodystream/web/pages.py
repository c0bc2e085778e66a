"""The page and its files, as they lie in the package: read once, and nothing else on disk can be asked for."""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.resources
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources.abc import Traversable

from websockets.datastructures import Headers
from websockets.http11 import Response

from bodystream.web.responses import PRIVATE_HEADERS

__all__ = ["Pages", "StaticFile"]

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".glb": "model/gltf-binary",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
_ENCODINGS = {".br": "br", ".gz": "gzip"}
_SCRIPT = re.compile(r"<(script|style)(?:\s[^>]*)?>(.*?)</\1>", re.DOTALL)
_YEAR = "private, max-age=31536000, immutable"


@dataclass(slots=True)
class StaticFile:
    """One file of the page.

    Attributes:
        content_type: of its name.
        bodies: the bytes by their encoding, `""` for those as they are; packed ones only where they are smaller.
        policy: of a document, its `Content-Security-Policy`.
        hashed: its name holds a hash of what it holds, so that it may be kept.
    """

    content_type: str
    bodies: dict[str, bytes]
    policy: str = ""
    hashed: bool = False


class Pages:
    """The page `index.html` and the files that it asks for.

    Args:
        found: bytes by path; None takes those of the package.
    """

    def __init__(self, found: Mapping[str, bytes] | None = None) -> None:
        if found is None:
            found = dict(_walk(importlib.resources.files("bodystream.web") / "client", ""))
        self._files: dict[str, StaticFile] = {}
        for path, data in found.items():
            stem, dot, end = path.rpartition(".")
            if f".{end}" in _ENCODINGS and stem in found:
                continue
            content_type = _TYPES.get(f"{dot}{end}")
            if content_type is None:
                continue  # what no browser would ask for: notes, licences without an end
            bodies = {"": data}
            for suffix, encoding in _ENCODINGS.items():
                packed = found.get(path + suffix)
                if packed is not None and len(packed) < len(data):
                    bodies[encoding] = packed
            if len(bodies) == 1 and (packed := gzip.compress(data, 9)) and len(packed) < len(data):
                bodies["gzip"] = packed
            policy = _policy(data.decode("utf-8")) if content_type.startswith("text/html") else ""
            self._files["/" + path] = StaticFile(content_type, bodies, policy, path.startswith("assets/"))

    @property
    def paths(self) -> tuple[str, ...]:
        """What can be asked for, besides `/`."""
        return tuple(self._files)

    def find(self, path: str) -> StaticFile | None:
        """The file at the path of an address, `/` being the page."""
        return self._files.get("/index.html" if path == "/" else path)

    def answer(self, file: StaticFile, accept_encodings: list[str]) -> Response:
        """The file in the smallest form that the browser takes."""
        accepted = {
            name.partition(";")[0].strip().lower()
            for value in accept_encodings
            for name in value.split(",")
            if name.partition(";")[2].replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        }
        usable = {name: body for name, body in file.bodies.items() if not name or name in accepted}
        encoding = min(usable, key=lambda name: len(usable[name]))
        body = usable[encoding]
        headers: Mapping[str, str] = {
            "Content-Type": file.content_type,
            "Content-Length": str(len(body)),
            **PRIVATE_HEADERS,
            **({"Content-Encoding": encoding} if encoding else {}),
            **({"Vary": "Accept-Encoding"} if len(file.bodies) > 1 else {}),
            **({"Content-Security-Policy": file.policy} if file.policy else {}),
            **({"Cache-Control": _YEAR} if file.hashed else {}),
        }
        return Response(HTTPStatus.OK.value, HTTPStatus.OK.phrase, Headers(headers), body)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()


def _policy(document: str) -> str:
    """Lets the page's own scripts and styles run and nothing else, and lets it reach this server only."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for tag, text in _SCRIPT.findall(document):
        if text.strip():
            hashes[tag].append(f" 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'")
    return (
        f"default-src 'none'; script-src 'self'{''.join(hashes['script'])}; "
        f"style-src 'self'{''.join(hashes['style'])}; "
        "img-src 'self' data: blob:; font-src 'self'; worker-src 'self' blob:; manifest-src 'self'; "
        "connect-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
