"""What the server costs: a pose back at a client, twenty clients beside a capture, and bytes against whole meshes."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from websockets.asyncio.server import ServerConnection

from bodystream import CaptureSession, DriveConfig, DriveSession
from bodystream.pipelines.serve.sinks import BodyStreamSink, SurfaceStreamSink
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.stream import StreamHub, SurfaceEncoder
from bodystream.sources.headset.webxr import WebXrHeadset
from bodystream.types import GraphSnapshot, Mesh, RgbdFrame, SkinnedMesh
from bodystream.web.options import ServerOptions
from bodystream.web.server import PageServer
from bodystream_bench.measuring import Context, expect
from bodystream_bench.recordings import synthetic_frames

__all__ = ["run"]

_SAMPLES = 900
_POSE_BYTES = 400
_CLIENTS = 20
_BLOCK = 30
_ROUNDS = 6
_FRAMES = 90
_FPS = 30.0
_ANSWER_S = 60.0
_SETTLE_S = 4.0
_WATCH_S = 12.0


def run(context: Context) -> None:
    """`serve.roundtrip.p50_ms|p99_ms`, the same of `serve.roundtrip.echo`, `serve.clients20.fps_ratio`,
    `serve.bytes_ratio`."""
    if context.wants("serve.roundtrip"):
        _roundtrip(context)
    if context.wants("serve.clients20.fps_ratio"):
        _clients(context)
    if context.wants("serve.bytes_ratio"):
        _bytes(context)


@contextmanager
def _served() -> Iterator[PageServer]:
    server = PageServer(ServerOptions(port=0, tls=False), report=lambda *_: None, status=lambda _: None)
    try:
        yield server
    finally:
        server.stop()


def _clients_process(mode: str, port: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bodystream_bench.stream_clients", mode, str(port), str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _roundtrip(context: Context) -> None:
    """From the moment in which a headset's page sends a sample to that in which a page has the pose."""
    samples = context.steps(_SAMPLES)
    with _served() as server:
        source = WebXrHeadset(server=server)
        hub = StreamHub(server, bodies=True)
        with DriveSession(source, DriveConfig(), device=context.device, sinks=[BodyStreamSink(hub)]) as session:
            session.start()
            gc.collect()  # as the command does: what was made at start-up is not looked through again
            gc.freeze()
            try:
                took_ms = _times_ms("roundtrip", server, samples)
            finally:
                gc.unfreeze()
            session.stop()
        server.add_route("/echo", _Echo())
        echo_ms = _times_ms("echo", server, samples // 2)
    expect(len(took_ms) > 0.5 * samples, f"serve: {len(took_ms)} of {samples} samples came back as poses")
    p50, p99 = np.percentile(took_ms, (50, 99))
    context.note(f"serve.roundtrip: {len(took_ms)} of {samples} samples came back")
    context.add("serve.roundtrip.p50_ms", float(p50), "ms", "lower", 0.3)
    context.add("serve.roundtrip.p99_ms", float(p99), "ms", "lower", 0.5)
    for share in (50, 99):
        context.add(f"serve.roundtrip.echo.p{share}_ms", float(np.percentile(echo_ms, share)), "ms", "lower", 0.5)


def _times_ms(mode: str, server: PageServer, samples: int) -> list[float]:
    process = _clients_process(mode, server.port, samples)
    try:
        out, _ = process.communicate(timeout=samples / 90 + _ANSWER_S)
    finally:
        process.kill()
    return json.loads(out)


class _Echo:
    """Answers each message at once: what sockets, wake-ups and the client itself take of a round trip."""

    limit = 1

    async def handle(self, socket: ServerConnection, /) -> None:
        async for _ in socket:
            await socket.send(bytes(_POSE_BYTES))


def _clients(context: Context) -> None:
    """Frames a second with twenty clients that are sent them, over those with twenty that are connected all the same.

    The same frames, there and back, in turns; of each frame the median over the turns counts.
    """
    there = synthetic_frames(_BLOCK, context.device)
    block = [*there, *there[::-1]]
    with _served() as server:
        hub = StreamHub(server, surfaces=True)
        with CaptureSession(there[0].intrinsics, device=context.device) as session:
            sink = _Switched(hub)
            session.add_sink(sink)
            process = _clients_process("watch", server.port, _CLIENTS)
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdout.readline()
                _tell(process, "on")
                times: dict[str, list[list[float]]] = {"on": [], "off": []}
                index = 0
                for turn in range(2 * _ROUNDS + 1):
                    mode = "on" if turn % 2 else "off"
                    sink.on = mode == "on"
                    spent = []
                    for frame in block:
                        start = time.perf_counter()
                        session.push(_again(frame, index))
                        spent.append(time.perf_counter() - start)
                        index += 1
                    if turn:  # the first one warms up
                        times[mode].append(spent)
                # For as long as a client is watched: without pauses, in which its budget would grow.
                sink.on = True
                until_s = time.perf_counter() + _SETTLE_S
                before, began_s = None, 0.0
                while before is None or time.perf_counter() < until_s:
                    if before is None and time.perf_counter() >= until_s:
                        before, began_s = _tell(process, "count"), time.perf_counter()
                        until_s = began_s + _WATCH_S
                    session.push(_again(block[index % len(block)], index))
                    index += 1
                after, watched_s = _tell(process, "count"), time.perf_counter() - began_s
            finally:
                process.kill()
            vertices = session.live_mesh().vertices.shape[0]
    alone, watched = (np.median(times[mode], axis=0).sum() for mode in ("off", "on"))
    kb_per_s = [(a["bytes"] - b["bytes"]) / watched_s / 1e3 for a, b in zip(after, before, strict=True)]
    motions = [(a["motions"] - b["motions"]) / watched_s for a, b in zip(after, before, strict=True)]
    expect(min(motions) > 1.0, f"serve: a client was sent {min(motions):.1f} motions a second")
    context.note(
        f"serve.clients20: {vertices} vertices, {len(block) / alone:.1f} frames a second alone; clients were sent "
        f"{min(motions):.1f} to {max(motions):.1f} motions a second, {min(kb_per_s):.0f} to {max(kb_per_s):.0f} kB/s"
    )
    context.add("serve.clients20.fps_ratio", float(alone / watched), "x", "higher", 0.05)


class _Switched(SurfaceStreamSink):
    """Sends frames while it is on."""

    on = True

    def prepare(self, view):
        return super().prepare(view) if self.on else None


def _tell(process: subprocess.Popen[str], mode: str) -> list[dict[str, int]]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{mode}\n")
    process.stdin.flush()
    line: list[str] = []
    answers = process.stdout
    reader = threading.Thread(target=lambda: line.append(answers.readline()), daemon=True)
    reader.start()
    reader.join(_ANSWER_S)
    expect(bool(line) and bool(line[0]), "serve: the clients' process does not answer")
    return json.loads(line[0])


def _again(frame: RgbdFrame, index: int) -> RgbdFrame:
    return RgbdFrame(index, round(index * 1e9 / _FPS) + 1, frame.depth_m, frame.intrinsics, frame.colour)


class _Keeper(SinkBase[tuple[GraphSnapshot, SkinnedMesh, Mesh]]):
    """Keeps graph, skin and live mesh of each frame."""

    lossless = True
    bound = 10_000

    def __init__(self) -> None:
        self.kept: list[tuple[GraphSnapshot, SkinnedMesh, Mesh]] = []

    def prepare(self, view) -> tuple[GraphSnapshot, SkinnedMesh, Mesh] | None:
        if view.occasion is not Occasion.RESULT or view.motion is None or view.skinned is None:
            return None
        return view.motion, view.skinned, view.live_mesh

    def publish(self, kept: tuple[GraphSnapshot, SkinnedMesh, Mesh], /) -> None:
        self.kept.append(kept)


def _bytes(context: Context) -> None:
    """All that a client is sent of a capture from its beginning on, over its frames as whole meshes, deflated."""
    frames = synthetic_frames(context.steps(_FRAMES), context.device)
    keeper = _Keeper()
    with CaptureSession(frames[0].intrinsics, device=context.device, sinks=[keeper]) as session:
        for index, frame in enumerate(frames):
            session.push(_again(frame, index))
    expect(len(keeper.kept) > 0.8 * len(frames), f"serve: {len(keeper.kept)} of {len(frames)} frames were tracked")
    skinned, wholes = SurfaceEncoder(), SurfaceEncoder()
    ours = theirs = 0
    for index, (graph, skin, mesh) in enumerate(keeper.kept):
        now_ns = round(index * 1e9 / _FPS)
        # As the sink does: the surface is looked at four times a second.
        update = skinned.encode(graph, skin if index % 8 == 0 else None, now_ns=now_ns)
        assert update.motion is not None
        ours += len(update.motion) + sum(map(len, (*update.skeletons, *update.pieces.values())))
        whole = wholes.encode(graph, None, now_ns=now_ns, mesh=mesh).whole
        assert whole is not None
        theirs += len(whole)
    count = len(keeper.kept)
    context.note(f"serve.bytes_ratio: {ours / count / 1e3:.1f} kB a frame for {theirs / count / 1e3:.0f} kB whole")
    context.add("serve.bytes_ratio", ours / theirs, "x", "lower", 0.2)
