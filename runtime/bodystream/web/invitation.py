"""Where a device in somebody's hand finds a page of ours."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Invitation"]


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
