"""The websocket at which a page hands in the code that its user typed, and is handed a token."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from websockets.asyncio.server import ServerConnection

from bodystream.web.farewell import dismiss
from bodystream.web.pairing import Pairing

__all__ = ["PairingRoute"]

_PATIENCE_S = 300.0  # for people who look for their glasses
_TRIES = 3


class PairingRoute:
    """`{"type": "pair", "code": "..."}` is answered by `{"type": "paired", "token": "..."}` or by an `error`.

    Args:
        pairing: knows the code.
        tell: shows a code to whoever sits at this computer, when a page comes and there is no good one.
        delay_s: before each answer, so that guessing is slow.

    Attributes:
        limit: see `SocketRoute`.
    """

    limit = 8

    def __init__(self, pairing: Pairing, tell: Callable[[str], None], delay_s: float) -> None:
        self._pairing, self._tell, self._delay_s = pairing, tell, delay_s

    async def handle(self, socket: ServerConnection) -> None:
        self._show()
        for left in reversed(range(_TRIES)):
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    data = await socket.recv(decode=False)
            except TimeoutError:
                break
            await asyncio.sleep(self._delay_s)
            code = _code_of(data)
            token = None if code is None else self._pairing.redeem(code, time.monotonic_ns())
            if token is not None:
                await socket.send(json.dumps({"type": "paired", "token": token}))
                return
            text = "this code is wrong, spent or too old: type the one that the computer shows now"
            await socket.send(json.dumps({"type": "error", "message": text, "fatal": not left}))
            self._show()
        await dismiss(socket, 1008, "no code that is good")

    def _show(self) -> None:
        code, new = self._pairing.code(time.monotonic_ns())
        if new:
            self._tell(code)


def _code_of(data: bytes) -> str | None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.get("type") != "pair" or not isinstance(message.get("code"), str):
        return None
    return message["code"]
