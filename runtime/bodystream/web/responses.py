"""Plain answers of our servers, with the headers that keep a page to itself."""

from __future__ import annotations

from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Response

__all__ = ["PRIVATE_HEADERS", "text_response"]

PRIVATE_HEADERS = {
    "Connection": "close",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""No cache, frame, referrer or page of another origin gets hold of what is answered."""


def text_response(status: HTTPStatus, text: str, more: dict[str, str] | None = None) -> Response:
    """An answer of text, or of HTML where the text is a whole document."""
    body = text.encode()
    html = text.startswith("<!doctype html>")
    headers = {
        "Content-Type": f"text/{'html' if html else 'plain'}; charset=utf-8",
        "Content-Length": str(len(body)),
        **PRIVATE_HEADERS,
        **(more or {}),
    }
    return Response(status.value, status.phrase, Headers(headers), body)
