"""Opens a page without waiting for the browser."""

from __future__ import annotations

import threading
import webbrowser

__all__ = ["open_page"]


def open_page(url: str) -> None:
    """Ask for a browser with this page, on a thread of its own: some browsers only return when they are closed.

    Where there is none, nothing happens: the address was printed.
    """
    threading.Thread(target=_open, args=(url,), name="open-page", daemon=True).start()


def _open(url: str) -> None:
    try:
        webbrowser.open(url)
    except (OSError, webbrowser.Error):
        return
