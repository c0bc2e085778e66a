"""Where a device in somebody's hand finds a page of ours: an address, and the same as a QR code."""

from __future__ import annotations

import io
from dataclasses import dataclass

__all__ = ["Invitation", "invitation_of", "qr_text"]


@dataclass(frozen=True, slots=True)
class Invitation:
    """An address to open on another device.

    Attributes:
        address: to type.
        svg: the same as a QR code, an SVG document; empty where there is none.
        purpose: what it is for, as `Open this in the headset's browser`.
    """

    address: str
    svg: str = ""
    purpose: str = "Open this in the headset's browser"


def invitation_of(url: str) -> Invitation:
    """The address with its QR code, which is left out where `segno` (extra `webxr`) is not installed."""
    try:
        import segno
    except ImportError:
        return Invitation(url)

    out = io.BytesIO()
    # A document of its own, with its namespace: as a picture of a page nothing else is drawn.
    segno.make_qr(url, error="m").save(out, kind="svg", xmldecl=False, scale=4, border=4, dark="#000", light="#fff")
    return Invitation(url, out.getvalue().decode())


def qr_text(url: str) -> str:
    """The QR code in half blocks, for a terminal that writes light on dark; empty without `segno`."""
    try:
        import segno
    except ImportError:
        return ""
    out = io.StringIO()
    segno.make_qr(url, error="l").terminal(out, border=2, compact=True)
    return out.getvalue().rstrip("\n")
