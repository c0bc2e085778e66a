"""A stream that a test writes itself, on the real server: what a page does with it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.pose.calibration import fitted_skeleton
from bodystream.types import Array, DeviceKind
from bodystream.web.farewell import dismiss
from bodystream.web.options import ServerOptions
from bodystream.web.server import PageServer
from bodystream.wire.envelope import Kind, Message, pack_message, to_json
from bodystream.wire.meshes import GraphLinks, Piece, Skeleton, encode_graph, encode_piece, encode_skeleton
from bodystream.wire.motions import FLAGS, Device, Motion, encode_motion

__all__ = ["Stream", "body_at", "body_skin", "hello", "serving", "status", "surface"]

BODY, SURFACE = 7, 9


def text(kind: Kind, value: dict[str, Any]) -> bytes:
    return pack_message(Message(kind, to_json(value), t_ns=time.monotonic_ns()))


def hello(**more: Any) -> bytes:
    value = {
        "server": "bodystream", "version": 1, "bodies": True, "surfaces": False, "joints": list(JOINTS),
        "flags": list(FLAGS), "controls": ["record", "calibrate", "reset"], "limits": {},
    }  # fmt: skip
    return text(Kind.HELLO, {**value, **more})


def status(**more: Any) -> bytes:
    value = {
        "body": {"rate_hz": 72.0, "latency_ms": 5.0, "status": "tracked", "reason": ""}, "surface": None,
        "recording": {"on": False, "file": "", "seconds": 0.0}, "calibration": None, "clients": 1, "warnings": [],
        "clock": None,
    }  # fmt: skip
    return text(Kind.STATUS, {**value, **more})


def _balls(places: Array, radius_m: float) -> Piece:
    """An octahedron at each place, each on a bone of its own."""
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    faces = np.array([[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]])
    count = len(places)
    vertices = (places[:, None] + radius_m * corners).reshape(-1, 3)
    normals = np.tile(corners, (count, 1))
    of = np.repeat(np.arange(count, dtype=np.int32), 6)
    bones, weights = np.zeros((6 * count, 4), np.int32), np.zeros((6 * count, 4), np.float32)
    bones[:, 0], weights[:, 0] = of, 1.0
    bones[:, 1:] = of[:, None]
    all_faces = (faces + 6 * np.arange(count)[:, None, None]).reshape(-1, 3).astype(np.int32)
    return Piece(0, vertices.astype(np.float32), all_faces, normals.astype(np.float32), None, bones, weights)


def _unturned(places: Array) -> Array:
    binds = np.zeros((len(places), 3, 4), np.float32)
    binds[:, :, :3] = np.eye(3)
    binds[:, :, 3] = -places
    return binds


def _rest() -> Array:
    skeleton = fitted_skeleton(1.6)
    return np.asarray(skeleton.rest_positions_m + (0.0, skeleton.pelvis_height_m, 0.0), np.float32)


def body_skin() -> list[bytes]:
    """A body of balls on its joints."""
    rest = _rest()
    numbers = np.arange(len(rest))
    skeleton = Skeleton("body", 0, len(rest), _unturned(rest), np.array(PARENTS), numbers, tuple(JOINTS))
    return [
        pack_message(Message(Kind.SKELETON, encode_skeleton(skeleton), skin=BODY), deflate=True),
        pack_message(Message(Kind.PIECE, encode_piece(_balls(rest, 0.09)), skin=BODY), deflate=True),
    ]


def body_at(x_m: float, age_s: float = 0.01, right_up: bool = False, eyes_m: float = 1.65) -> bytes:
    """The body at a place of the floor, measured so long ago; its headset is beside it, one hand perhaps raised."""
    places = _rest() + np.array((x_m, 0.0, 0.0), np.float32)
    still = np.array([0.0, 0.0, 0.0, 1.0])
    devices = tuple(
        Device(side, kind, np.array(place), still)
        for side, kind, place in (
            ("head", DeviceKind.VIEW, (x_m, eyes_m, -0.1)),
            ("left", DeviceKind.GRIP, (x_m - 0.3, 0.9, -0.1)),
            ("right", DeviceKind.GRIP, (x_m + 0.3, 1.95 if right_up else 0.9, -0.1)),
        )
    )
    motion = Motion(np.tile(still, (len(places), 1)).astype(np.float32), places, devices=devices)
    taken_ns = time.monotonic_ns() - round(age_s * 1e9)
    return pack_message(Message(Kind.BODY, encode_motion(motion), skin=BODY, t_ns=taken_ns))


def surface() -> list[bytes]:
    """A captured surface of balls on the nodes of a graph, 2 m before the camera, with its graph and one frame."""
    grid = np.stack(np.meshgrid(np.arange(5), np.arange(9), indexing="ij"), -1).reshape(-1, 2)
    nodes = np.column_stack([grid * 0.15 - (0.3, 0.6), np.full(len(grid), 2.0)]).astype(np.float32)
    count = len(nodes)
    numbers = np.arange(count)
    skeleton = Skeleton("surface", 0, count, _unturned(nodes), np.full(count, -1), numbers)
    edges = np.column_stack([numbers[:-1], numbers[1:]]).astype(np.int32)
    links = GraphLinks(edges, np.zeros(count, np.int32), np.ones(count, bool))
    motion = Motion(np.tile([0.0, 0.0, 0.0, 1.0], (count, 1)).astype(np.float32), nodes, fine=False)
    payloads = (
        (Kind.SKELETON, encode_skeleton(skeleton)), (Kind.PIECE, encode_piece(_balls(nodes, 0.06))),
        (Kind.GRAPH, encode_graph(links)), (Kind.SURFACE, encode_motion(motion)),
    )  # fmt: skip
    now_ns = time.monotonic_ns()
    return [pack_message(Message(kind, payload, skin=SURFACE, t_ns=now_ns)) for kind, payload in payloads]


class Stream:
    """The websocket `/stream` of a `PageServer`, with what a test says in place of a session.

    Args:
        server: to hang in.
        greeting: what each page gets once it said hello.

    Attributes:
        heard: what pages said, in order.
        repeated: is called for one more message, sixty times a second, where it is not None.
    """

    limit = 4

    def __init__(self, server: PageServer, greeting: Callable[[], list[bytes]]) -> None:
        self.heard: list[dict[str, Any]] = []
        self.repeated: Callable[[], bytes] | None = None
        self._greeting = greeting
        self._sockets: set[ServerConnection] = set()
        self._server = server
        server.add_route("/stream", self)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message["type"] == kind]

    def send(self, *messages: bytes) -> None:
        """To every page, from any thread."""
        self._server.call(lambda: self._server.spawn(self._send(messages)))

    def close(self, code: int, reason: str) -> None:
        """Send all pages away."""

        async def close() -> None:
            for socket in list(self._sockets):
                await dismiss(socket, code, reason)

        self._server.call(lambda: self._server.spawn(close()))

    async def handle(self, socket: ServerConnection, /) -> None:
        self.heard.append(json.loads(await socket.recv()))
        self._sockets.add(socket)
        clock = asyncio.create_task(self._repeat(socket))
        try:
            for message in self._greeting():
                await socket.send(message)
            async for message in socket:
                self.heard.append(json.loads(message))
        except ConnectionClosed:
            pass
        finally:
            clock.cancel()
            self._sockets.discard(socket)

    async def _send(self, messages: tuple[bytes, ...]) -> None:
        for socket in list(self._sockets):
            for message in messages:
                await socket.send(message)

    async def _repeat(self, socket: ServerConnection) -> None:
        while True:
            await asyncio.sleep(1 / 60)
            if self.repeated is not None:
                await socket.send(self.repeated())


@contextmanager
def serving(port: int = 0, token: str | None = None, said: list[str] | None = None) -> Iterator[PageServer]:
    """A server at the loopback, without TLS: browsers take that for safe."""
    lock = threading.Lock()

    def note(line: str) -> None:
        with lock:
            (said if said is not None else []).append(line)

    server = PageServer(ServerOptions(port=port, token=token, tls=False), report=lambda _, line: None, status=note)
    try:
        yield server
    finally:
        server.stop()
