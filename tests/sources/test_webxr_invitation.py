"""The address as a QR code reads back as the address."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from bodystream.web.invitation import invitation_of, qr_text
from helpers.needs import needs

URL = "https://192.168.1.20:8443/?token=k7mq2xpa"
needs("segno", "pip install 'bodystream[webxr]'")


def test_the_code_in_the_terminal_reads_back() -> None:
    """Half blocks: a terminal writes light on dark, so what is written is a light module."""
    rows = []
    for line in qr_text(URL).splitlines():
        rows.append([c in "█▀" for c in line])
        rows.append([c in "█▄" for c in line])
    picture = np.array(rows, np.uint8) * 255
    large = cv2.copyMakeBorder(
        np.kron(picture, np.ones((8, 8), np.uint8)), 32, 32, 32, 32, cv2.BORDER_CONSTANT, value=255
    )
    assert cv2.QRCodeDetector().detectAndDecode(large)[0] == URL


def test_the_invitation_holds_address_and_picture() -> None:
    invitation = invitation_of(URL)
    assert invitation.address == URL and invitation.svg.startswith("<svg xmlns=") and "script" not in invitation.svg


def test_without_the_library_the_address_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    assert invitation_of(URL).address == URL and invitation_of(URL).svg == "" and qr_text(URL) == ""
