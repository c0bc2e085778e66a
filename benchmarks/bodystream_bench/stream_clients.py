"""Clients of the server in a light process of their own: `python -m bodystream_bench.stream_clients MODE PORT COUNT`.

- `watch`: COUNT clients of the stream; a line `on` on stdin lets them subscribe, `count` does nothing, any
  other ends it; a line of JSON on stdout answers, with what each was sent.
- `roundtrip`: one client that is a headset and watches its body; prints the times from sample to pose as JSON [ms].
- `echo`: one client that sends samples at the same pace to who answers at once, and prints the same times.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
import sys
import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

__all__ = ["main"]

_HEADER = struct.Struct("<4sBBHIIqII")
_BODY, _PING = 4, 9
_RATE_HZ = 90.0
_WARM_UP = 180


class _Watcher:
    """One client of the stream."""

    def __init__(self) -> None:
        self.bytes = 0
        self.motions = 0
        self.socket: ClientConnection | None = None

    async def run(self, port: int) -> None:
        async with connect(f"ws://127.0.0.1:{port}/stream", compression=None, max_size=None) as self.socket:
            await self.socket.send('{"type":"hello","version":1,"name":"bench"}')
            async for data in self.socket:
                assert isinstance(data, bytes)
                self.bytes += len(data)
                self.motions += data[5] == 5
                await _answer(self.socket, data)

    async def wish(self) -> None:
        assert self.socket is not None
        await self.socket.send('{"type":"subscribe","surface":true,"rate_hz":30}')


async def _answer(socket: ClientConnection, data: bytes) -> None:
    if data[5] == _PING:
        number = json.loads(data[32:])["id"]
        await socket.send(json.dumps({"type": "pong", "id": number, "t_ms": time.monotonic_ns() * 1e-6}))


async def _watch(port: int, count: int) -> None:
    watchers = [_Watcher() for _ in range(count)]
    tasks = [asyncio.create_task(watcher.run(port)) for watcher in watchers]
    while not all(watcher.socket for watcher in watchers):
        await asyncio.sleep(0.05)
    loop = asyncio.get_running_loop()
    print("{}", flush=True)
    while (line := await loop.run_in_executor(None, sys.stdin.readline)).strip() in ("on", "count"):
        for watcher in watchers if line.strip() == "on" else ():
            await watcher.wish()
        told = [{"bytes": watcher.bytes, "motions": watcher.motions} for watcher in watchers]
        print(json.dumps(told), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _roundtrip(port: int, count: int) -> None:
    sent: dict[int, int] = {}
    took_ms: list[float] = []
    ready = asyncio.Event()

    async def headset() -> None:
        async with connect(f"ws://127.0.0.1:{port}/headset", compression=None) as socket:
            await socket.send('{"type":"hello","version":1,"space":"local-floor"}')

            async def hear() -> None:
                async for text in socket:
                    now_ms = time.monotonic_ns() * 1e-6
                    message = json.loads(text)
                    if message["type"] == "ping":
                        await socket.send(json.dumps({"type": "pong", "id": message["id"], "t_ms": now_ms}))
                    elif message["type"] == "welcome":
                        ready.set()

            hearing = asyncio.create_task(hear())
            await ready.wait()
            begin_s = time.monotonic()
            for number in range(count + _WARM_UP):
                await asyncio.sleep(max(0.0, begin_s + number / _RATE_HZ - time.monotonic()))
                now_ns = time.monotonic_ns()
                sent[number] = now_ns
                await socket.send(json.dumps(_pose(number, now_ns * 1e-6)))
            await asyncio.sleep(0.3)
            hearing.cancel()

    async def watch() -> None:
        async with connect(f"ws://127.0.0.1:{port}/stream", compression=None, max_size=None) as socket:
            await socket.send('{"type":"hello","version":1,"name":"bench"}')
            await socket.send('{"type":"subscribe","body":true,"rate_hz":1000}')
            async for data in socket:
                now_ns = time.monotonic_ns()
                assert isinstance(data, bytes)
                await _answer(socket, data)
                if data[5] != _BODY or not sent:
                    continue
                # The clocks are one, and their alignment is right within a millisecond; samples are 11 ms apart.
                t_ns = _HEADER.unpack_from(data)[6]
                number = min(sent, key=lambda n: abs(sent[n] - t_ns))
                if number >= _WARM_UP and abs(sent[number] - t_ns) < 4_000_000:
                    took_ms.append((now_ns - sent.pop(number)) * 1e-6)

    watching = asyncio.create_task(watch())
    await headset()
    watching.cancel()
    print(json.dumps(took_ms), flush=True)


async def _echo(port: int, count: int) -> None:
    took_ms: list[float] = []
    async with connect(f"ws://127.0.0.1:{port}/echo", compression=None) as socket:
        begin_s = time.monotonic()
        for number in range(count + _WARM_UP):
            await asyncio.sleep(max(0.0, begin_s + number / _RATE_HZ - time.monotonic()))
            now_ns = time.monotonic_ns()
            await socket.send(json.dumps(_pose(number, now_ns * 1e-6)))
            await socket.recv()
            if number >= _WARM_UP:
                took_ms.append((time.monotonic_ns() - now_ns) * 1e-6)
    print(json.dumps(took_ms), flush=True)


def _pose(number: int, t_ms: float) -> dict[str, Any]:
    """Somebody who sways and waves."""
    a = number / _RATE_HZ
    turn = [0.0, math.sin(0.2 * math.sin(a)), 0.0, math.cos(0.2 * math.sin(a))]
    still = [0.0, 0.0, 0.0, 1.0]
    head = {"position_m": [0.05 * math.sin(a), 1.65, 0.03 * math.cos(a)], "rotation_xyzw": turn}
    hands = {}
    for side, x_m in (("left", -0.3), ("right", 0.3)):
        place = [x_m + 0.05 * math.cos(1.3 * a), 1.1 + 0.2 * math.sin(1.7 * a + x_m), -0.3]
        hands[side] = {"kind": "grip", "position_m": place, "rotation_xyzw": still}
    return {"type": "pose", "seq": number, "t_ms": t_ms, "head": head, **hands}


def main() -> None:
    mode, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    asyncio.run({"watch": _watch, "roundtrip": _roundtrip, "echo": _echo}[mode](port, count))


if __name__ == "__main__":
    main()
