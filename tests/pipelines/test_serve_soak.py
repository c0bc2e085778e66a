"""Clients that come and go, garbage, and one that stays: for seconds in the suite, for an hour by `make soak`."""

from __future__ import annotations

import gc
import json
import os
import random
import socket
import threading
import time
import urllib.request
from contextlib import suppress

import numpy as np
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bodystream.sinks.stream import BodyEncoder, Figures, StreamHub, StreamLimits, SurfaceEncoder
from bodystream.types import BodyPose
from bodystream.web.options import ServerOptions
from bodystream.web.server import PageServer
from bodystream.wire.envelope import Kind
from helpers.fuzzing import mutations
from helpers.stream_client import StreamClient
from helpers.waving_sheet import waving_sheet

_RATE_HZ = 30.0
_GROWTH = 0.05
_SEEDS = [
    b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
]
_WORDS = [b'{"type":"hello","version":1}', b'{"type":"subscribe","surface":true,"graph":true,"rate_hz":30}',
          b'{"type":"pong","id":3,"t_ms":1.5}', b'{"type":"reset"}']  # fmt: skip


class Soak:
    """A server with a body and a surface that move, and all kinds of clients."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.server = PageServer(ServerOptions(port=0, tls=False), report=self._report, status=lambda _: None)
        limits = StreamLimits(clients=12, unread_s=1.0, silent_s=5.0)
        self.hub = StreamHub(self.server, limits=limits, bodies=True, surfaces=True)
        self.over = threading.Event()
        self.seen: list[float] = []
        self.came = 0
        self.threads = [threading.Thread(target=self._guarded, args=(work,), daemon=True)
                        for work in (self._produce, self._stay, self._come_and_go, self._garbage)]  # fmt: skip

    def run(self, seconds: float, warm_up_s: float) -> tuple[int, int]:
        """Resident bytes after the warm-up and at the end, each the median of a few moments."""
        for thread in self.threads:
            thread.start()
        time.sleep(warm_up_s)
        before = self._memory()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.faults:
            time.sleep(min(0.5, max(0.0, end - time.monotonic())))
        after = self._memory()
        health = json.loads(urllib.request.urlopen(f"{self.server.url}health", timeout=10).read())
        assert health["status"] == "ok"
        self.over.set()
        for thread in self.threads:
            thread.join(15)
            assert not thread.is_alive()
        self.hub.close()
        self.server.stop()
        return before, after

    def _memory(self) -> int:
        found = []
        for _ in range(5):
            gc.collect()
            found.append(psutil.Process().memory_info().rss)
            time.sleep(0.1)
        return int(np.median(found))

    def _report(self, kind: str, text: str) -> None:
        if kind == "server":
            self.faults.append(text)

    def _guarded(self, work) -> None:
        try:
            work()
        except Exception as error:
            self.faults.append(f"{work.__name__}: {error!r}")

    def _produce(self) -> None:
        skin, graph = waving_sheet(side=100, nodes=200)
        body, surface = BodyEncoder(), SurfaceEncoder()
        turns = np.tile(np.array([0, 0, 0, 1], np.float32), (22, 1))
        number = 0
        while not self.over.is_set():
            number += 1
            begin, t_ns = time.monotonic(), time.monotonic_ns()
            if number % 600 == 0:
                surface.forget()  # the model begins anew, now and then
            root = np.array([np.sin(number / 30), 1, 0], np.float32)
            figures = Figures(_RATE_HZ, 5.0, "tracked")
            pose = BodyPose(t_ns, turns, root)
            self.hub.publish("body", body.encode(pose, np.zeros((22, 3)) + root, None, figures=figures))
            wants = self.hub.wants("graph")
            update = surface.encode(graph, skin if number % 9 == 0 else None, now_ns=t_ns, links=wants)
            self.hub.publish("surface", update)
            self.over.wait(max(0.0, 1 / _RATE_HZ - (time.monotonic() - begin)))

    def _stay(self) -> None:
        with_all = StreamClient(self.server.url).enter(body=True, surface=True)
        while not self.over.is_set():
            if with_all.read(5).kind is Kind.BODY:
                self.seen.append(time.monotonic())
            with_all.got.clear()
        with_all.close()

    def _come_and_go(self) -> None:
        rng = random.Random(1)
        while not self.over.is_set():
            with suppress(ConnectionClosed, InvalidHandshake, TimeoutError, OSError):
                client = StreamClient(self.server.url)
                self.came += 1
                if rng.random() < 0.8:
                    client.enter(body=rng.random() < 0.5, surface=rng.random() < 0.5, graph=True)
                for _ in range(rng.randrange(20)):
                    client.read(0.5)
                if rng.random() < 0.3:
                    client.socket.socket.shutdown(socket.SHUT_RDWR)
                client.close()

    def _garbage(self) -> None:
        rng = random.Random(2)
        while not self.over.is_set():
            for data in mutations(_SEEDS, 20, rng.randrange(1 << 30)):
                with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.port), timeout=2) as raw:
                    raw.sendall(data)
                    raw.settimeout(0.05)
                    raw.recv(200)
            with suppress(ConnectionClosed, InvalidHandshake, OSError):
                client = StreamClient(self.server.url)
                for data in mutations(_WORDS, 15, rng.randrange(1 << 30)):
                    client.socket.send(data if rng.random() < 0.5 else data.decode("utf-8", "replace"))
                client.close()
            self.over.wait(0.02)


def check(seconds: float, warm_up_s: float, growth: float) -> None:
    soak = Soak()
    before, after = soak.run(seconds, warm_up_s)
    assert soak.faults == []
    gaps = np.diff(soak.seen)
    print(f"memory {before >> 20} to {after >> 20} MiB, {soak.came} clients came, gaps p99 "
          f"{np.percentile(gaps, 99) * 1e3:.0f} ms, max {gaps.max() * 1e3:.0f} ms, {len(gaps)} motions")  # fmt: skip
    assert after < before * (1 + growth)
    assert gaps.max() < 5.0  # never without a motion for long: reading itself has to wait on a busy machine
    assert len(soak.seen) > 0.3 * _RATE_HZ * seconds
    assert soak.came > seconds / 10


def test_clients_that_come_and_go_and_garbage_change_nothing() -> None:
    check(6.0, 4.0, 0.15)  # allocators settle for longer than this lasts


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_an_hour_of_it() -> None:
    check(float(os.environ.get("BODYSTREAM_SOAK_S", "3600")), 120.0, _GROWTH)
