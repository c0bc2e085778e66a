"""The stream with real clients: what each is sent, who is refused, who is let go, and that nobody pays for another."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bodystream.errors import InputError, SessionError
from bodystream.sinks.stream import BodyEncoder, Figures, StreamHub, StreamLimits, SurfaceEncoder
from bodystream.sinks.stream.client import Client
from bodystream.sinks.stream.client_messages import Hello, Subscribe, decode_client
from bodystream.sinks.stream.pace import Pace
from bodystream.sinks.stream.subject import Cursor, Subject, Update
from bodystream.types import BodyPose
from bodystream.web.limits import MAX_MESSAGE_BYTES
from bodystream.web.options import ServerOptions
from bodystream.web.server import PageServer
from bodystream.wire.envelope import VERSION, Kind, from_json
from bodystream.wire.meshes import decode_skeleton
from bodystream.wire.motions import decode_motion
from helpers.fuzzing import fuzz
from helpers.stream_client import StreamClient
from helpers.waving_sheet import waving_sheet

JOINTS_M = np.zeros((22, 3))


def pose(t_ns: int, x_m: float = 0.0) -> tuple[BodyPose, np.ndarray]:
    turns = np.tile(np.array([0, 0, 0, 1], np.float32), (22, 1))
    return BodyPose(t_ns, turns, np.array([x_m, 1, 0], np.float32)), JOINTS_M + [x_m, 0, 0]


class Stand:
    """A server with a hub, and a body that it shows."""

    def __init__(self, **options: Any) -> None:
        self.reports: list[str] = []
        self.server = PageServer(ServerOptions(port=0, tls=False), report=lambda *_: None, status=lambda _: None)
        limits = StreamLimits(**{"status_s": 0.1, **options.pop("limits", {})})
        self.hub = StreamHub(
            self.server,
            limits=limits,
            bodies=True,
            surfaces=True,
            report=lambda k, _: self.reports.append(k),
            **options,
        )
        self.encoder = BodyEncoder()
        self.sent = 0

    def show(self, x_m: float = 0.0) -> None:
        self.sent += 1
        figures = Figures(90.0, 5.0, "tracked")
        self.hub.publish("body", self.encoder.encode(*pose(time.monotonic_ns(), x_m), None, figures=figures))

    def client(self, **wishes: Any) -> StreamClient:
        return StreamClient(self.server.url).enter(**wishes)

    def wait(self, condition: Callable[[], Any], what: str, timeout_s: float = 5.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {timeout_s:g} s"
            time.sleep(0.01)


@pytest.fixture
def stand() -> Iterator[Stand]:
    made = Stand()
    yield made
    made.hub.close()
    made.server.stop()


def test_a_client_is_sent_the_skin_once_and_each_motion(stand: Stand) -> None:
    client = stand.client(body=True)
    hello = from_json(client.until(Kind.HELLO))
    assert hello["version"] == 1 and hello["bodies"] and len(hello["joints"]) == 22
    stand.wait(lambda: stand.hub.wants("body"), "the wish")
    assert not stand.hub.wants("surface") and not stand.hub.wants("whole")
    for number in range(5):
        stand.show(0.1 * number)
        message = client.until(Kind.BODY)
        assert decode_motion(message).positions_m[0, 0] == pytest.approx(0.1 * number, abs=1e-4)
        assert message.sequence == number + 1
        time.sleep(0.02)
    assert len(client.got[Kind.SKELETON]) == 1 and Kind.SURFACE not in client.got
    late = stand.client(body=True)  # is sent what there is
    assert decode_skeleton(late.until(Kind.SKELETON)).total == 22
    assert decode_motion(late.until(Kind.BODY)).positions_m[0, 0] == pytest.approx(0.4, abs=1e-4)
    client.close()
    late.close()
    stand.wait(lambda: not stand.hub.wants("body"), "nobody wants anything")


def test_the_status_tells_how_old_things_are_by_the_clients_clock(stand: Stand) -> None:
    stand.show()
    client = stand.client(body=True)
    status: dict[str, Any] = {}
    while status.get("clock") is None:
        status = from_json(client.until(Kind.STATUS))
    # The client's clock is the host's in this test.
    assert abs(status["clock"]["offset_ms"]) <= status["clock"]["error_ms"] + 1.0
    assert status["body"] == {"rate_hz": 90.0, "latency_ms": 5.0, "status": "tracked", "reason": ""}
    assert status["surface"] is None and status["clients"] == 1 and status["recording"]["on"] is False
    address = stand.server.url + "metrics"
    text = urllib.request.urlopen(address, timeout=5).read().decode()
    assert "bodystream_stream_clients 1.0" in text and 'bodystream_rate_hz{of="body"} 90.0' in text
    client.close()


def test_a_rate_that_was_asked_for_is_kept(stand: Stand) -> None:
    client = stand.client(body=True, rate_hz=20)
    stand.wait(lambda: stand.hub.wants("body"), "the wish")
    assert stand.hub.rate_hz("body") == 20 and stand.hub.rate_hz("surface") == 0
    begin = time.monotonic()
    while time.monotonic() - begin < 1.0:
        stand.show()
        time.sleep(0.004)
    while time.monotonic() - begin < 1.5:
        client.read()
    assert 10 <= len(client.got[Kind.BODY]) <= 24
    client.close()


def test_a_surface_comes_within_the_budget_of_a_client() -> None:
    stand = Stand(limits={"kb_per_s": 40.0})
    try:
        skin, graph = waving_sheet(side=120, nodes=60)
        encoder = SurfaceEncoder(1e5)  # which would send more than a client is to have
        first = encoder.encode(graph, skin, now_ns=time.monotonic_ns())
        stand.hub.publish("surface", first)
        client = stand.client(surface=True, graph=True)
        begin = time.monotonic()
        while time.monotonic() - begin < 3.0:
            stand.hub.publish("surface", encoder.encode(graph, None, now_ns=time.monotonic_ns()))
            with suppress(TimeoutError):
                client.read(0.03)
        assert client.received < 40e3 * (2 + 3) + 10e3
        assert len(client.got[Kind.SURFACE]) > 20 and len(client.got[Kind.PIECE]) >= 2
        assert sum(len(data) for data in first.pieces.values()) > 80e3
        client.close()
    finally:
        stand.server.stop()


def test_a_client_that_never_reads_costs_the_others_nothing_and_is_let_go() -> None:
    stand = Stand(limits={"unread_s": 0.5, "silent_s": 60.0, "status_s": 0.01})
    try:
        stalled = socket.create_connection(("127.0.0.1", stand.server.port))
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(
            b"GET /stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        for message in ({"type": "hello", "version": 1}, {"type": "subscribe", "surface": True, "whole": True}):
            data = json.dumps(message).encode()
            stalled.sendall(bytes([0x81, 0x80 | len(data)]) + bytes(4) + data)
        reader = stand.client(body=True)
        skin, graph = waving_sheet(side=200, nodes=60)
        encoder = SurfaceEncoder()
        stand.wait(lambda: stand.hub.wants("whole") and stand.hub.wants("body"), "both wishes")
        begin, delays = time.monotonic(), []
        while not stand.reports and time.monotonic() - begin < 10:
            # New bytes each time: megabytes a second, which nobody takes.
            stand.hub.publish("surface", encoder.encode(graph, None, now_ns=time.monotonic_ns(), mesh=skin.mesh))
            sent = time.monotonic_ns()
            stand.hub.publish("body", stand.encoder.encode(*pose(sent), None))
            while reader.until(Kind.BODY).t_ns != sent:
                pass
            delays.append((time.monotonic_ns() - sent) * 1e-6)
            time.sleep(0.01)
        assert stand.reports == ["let go"]
        assert np.median(delays) < 50
        stand.wait(lambda: stand.hub.client_count == 1, "its place is free")
        reader.close()
        stalled.close()
    finally:
        stand.server.stop()


def test_controls_answer_and_what_cannot_be_is_said() -> None:
    asked: list[Any] = []

    def record(message: Any) -> str:
        asked.append(message.on)
        if not message.on:
            raise SessionError("nothing is recorded: begin first")
        return "recording to take.mcap"

    stand = Stand(controls={"record": record})
    try:
        client, other = stand.client(body=True), stand.client(body=True)
        client.say(type="record", on=True)
        assert client.notice() == other.notice() == {"level": "info", "text": "recording to take.mcap"}
        client.say(type="record", on=False)
        assert client.notice() == {"level": "error", "text": "nothing is recorded: begin first"}
        client.say(type="calibrate")
        assert "takes no calibrate" in client.notice()["text"]
        assert asked == [True, False]
        stand.hub.notice("the camera is gone", "error")
        assert client.notice()["text"] == other.notice()["text"] == "the camera is gone"
        client.close()
        other.close()
    finally:
        stand.server.stop()


def test_another_version_is_refused(stand: Stand) -> None:
    client = StreamClient(stand.server.url)
    client.say(type="hello", version=2, name="from tomorrow")
    assert "version 1 and the client version 2" in client.notice()["text"]
    assert client.close_code() == 4002


@pytest.mark.parametrize(
    "junk",
    ["{", "[]", '"x"', '{"type":"shell"}', '{"type":"subscribe","rate_hz":-1}', '{"type":"subscribe","rate_hz":NaN}',
     '{"type":"subscribe","rate_hz":1e400}', '{"type":"pong","id":77,"t_ms":1}', '{"type":"pong","id":1,"t_ms":1e300}',
     '{"type":"hello","version":1}', '{"type":"calibrate","pose":"lying"}', "\x00\xff", "[" * 2000],
)  # fmt: skip
def test_malformed_messages_are_answered_and_the_rest_goes_on(stand: Stand, junk: str) -> None:
    client = stand.client(body=True)
    client.socket.send(junk)
    notice = client.notice()
    assert notice["level"] == "error" and len(notice["text"]) < 400
    stand.show()
    client.until(Kind.BODY)
    client.close()


def test_nothing_is_sent_or_done_before_hello(stand: Stand) -> None:
    client = StreamClient(stand.server.url)
    client.say(type="subscribe", body=True)
    assert "hello" in client.notice()["text"]
    stand.show()
    client.say(type="reset")
    assert "hello" in client.notice()["text"]
    assert Kind.BODY not in client.got
    client.close()


@pytest.mark.parametrize("fragmented", [False, True])
def test_an_oversized_message_ends_its_connection_and_no_other(stand: Stand, fragmented: bool) -> None:
    other, client = stand.client(body=True), stand.client(body=True)
    piece = "x" * (MAX_MESSAGE_BYTES // 4)
    with suppress(ConnectionClosed):
        client.socket.send([piece] * 8 if fragmented else piece * 8)
    assert client.close_code() == 1009
    stand.show()
    other.until(Kind.BODY)
    other.close()


def test_a_message_in_fragments_is_one_message(stand: Stand) -> None:
    client = StreamClient(stand.server.url)
    client.socket.send(['{"type":"he', 'llo","version"', ":1}"])
    client.say(type="subscribe", body=True)
    stand.wait(lambda: stand.hub.wants("body"), "the wish")
    client.close()


def test_a_flood_and_a_stream_of_errors_end_the_connection(stand: Stand) -> None:
    flood = stand.client(body=True)
    with suppress(ConnectionClosed):
        for _ in range(400):
            flood.say(type="subscribe", body=True)
    assert flood.close_code() in (1008, None)
    wrong = stand.client(body=True)
    with suppress(ConnectionClosed):
        for _ in range(40):
            wrong.socket.send("{")
    assert wrong.close_code() in (1008, None)
    stand.client(body=True).close()


def test_who_says_nothing_is_let_go() -> None:
    stand = Stand(limits={"silent_s": 0.3})
    try:
        quiet = StreamClient(stand.server.url)
        assert quiet.close_code() == 4003
        deaf = stand.client(body=True)  # answers no ping
        assert deaf.close_code() == 4003
        stand.wait(lambda: stand.hub.client_count == 0, "no client")
    finally:
        stand.server.stop()


def test_no_more_clients_than_there_are_places() -> None:
    stand = Stand(limits={"clients": 2})
    try:
        held = [stand.client(body=True) for _ in range(2)]
        with pytest.raises(InvalidStatus) as caught:
            stand.client(body=True)
        assert caught.value.response.status_code == 503
        assert caught.value.response.headers["Retry-After"] == "5"
        for client in held:
            client.close()
    finally:
        stand.server.stop()


def test_the_end_is_said(stand: Stand) -> None:
    client = stand.client(body=True)
    client.until(Kind.STATUS)
    threading.Timer(0.05, stand.hub.close, ["that was all"]).start()
    assert from_json(client.until(Kind.BYE)) == {"reason": "that was all"}
    assert client.close_code() == 1001


def test_cursors_are_sent_what_they_lack() -> None:
    subject = Subject()
    cursor = Cursor(subject)
    assert list(cursor.bones()) == [] and cursor.piece() is None and not cursor.has_motion
    subject.take(Update(True, (b"bones 1",), {0: b"zero", 1: b"one"}, b"motion 1"))
    assert list(cursor.bones()) == [b"bones 1"] and list(cursor.bones()) == []
    found = []
    while (piece := cursor.piece()) is not None:
        cursor.got_piece(piece[0])
        found.append(piece)
    assert found == [(0, b"zero"), (1, b"one")]
    assert cursor.has_motion and cursor.motion() == b"motion 1" and not cursor.has_motion
    subject.take(Update(skeletons=(b"bones 2",), pieces={1: b"uno", 2: b"two"}, motion=b"motion 2"))
    subject.take(Update(motion=b"motion 3"))
    assert list(cursor.bones()) == [b"bones 2"]
    assert cursor.piece() == (2, b"two")  # what it lacks before what is old
    cursor.got_piece(2)
    assert cursor.piece() == (1, b"uno")
    assert cursor.motion() == b"motion 3"  # the newest wins
    subject.take(Update(True, (b"bones 3",)))
    assert list(cursor.bones()) == [b"bones 3"] and cursor.piece() is None and not cursor.has_motion
    cursor.forget()
    assert list(cursor.bones()) == [b"bones 3"]


@pytest.mark.parametrize("late_ms", [0.0, 1.0, 4.0])
def test_a_client_takes_all_that_a_sink_packs_for_its_rate(late_ms: float) -> None:
    """Frames of 41 Hz, of which the sink packs those that are due, come to a client of 30 Hz a little later."""
    transport = SimpleNamespace(get_write_buffer_size=lambda: 0, is_closing=lambda: True)
    subjects = {"body": Subject(), "surface": Subject()}
    stand: Any = SimpleNamespace(transport=transport)
    client = Client(stand, subjects, StreamLimits(), 0)
    client.hello(Hello(VERSION))
    client.subscribe(Subscribe(surface=True, rate_hz=30.0))
    pace = Pace()
    packed = waited = 0
    for frame in range(410):
        t_ns = round(frame * 1e9 / 41)
        if pace.is_due(t_ns, 30.0):
            packed += 1
            subjects["surface"].take(Update(motion=b"motion"))
            client.pump(t_ns + round(late_ms * 1e6 * (frame * 7 % 5) / 4))
            waited += client._cursors["surface"].has_motion
    assert packed > 290 and waited == 0


def test_another_rate_counts_at_once_and_one_that_is_none_is_refused() -> None:
    transport = SimpleNamespace(get_write_buffer_size=lambda: 0, is_closing=lambda: True)
    subjects = {"body": Subject(), "surface": Subject()}
    stand: Any = SimpleNamespace(transport=transport)
    client = Client(stand, subjects, StreamLimits(), 0)
    client.hello(Hello(VERSION))
    begin_ns = 1_000_000_000_000
    taken = []
    for number, rate_hz in enumerate((0.01, 30.0, 0.01)):
        client.subscribe(Subscribe(body=True, rate_hz=rate_hz))
        for frame in range(60):
            subjects["body"].take(Update(motion=b"motion"))
            client.pump(begin_ns + number * 1_000_000_000 + round(frame * 1e9 / 60))
            taken.append(not client._cursors["body"].has_motion)
    assert sum(taken[:60]) <= 2 and 29 <= sum(taken[60:120]) <= 33 and sum(taken[120:]) == 0
    for rate in ("0", "1e-300", "0.009", "1001", "-1"):
        with pytest.raises(InputError):
            decode_client(b'{"type":"subscribe","body":true,"rate_hz":%s}' % rate.encode())


def test_fuzzed_messages_of_clients_are_read_or_refused() -> None:
    fuzz(decode_client, [b'{"type":"hello","version":1,"name":"x"}', b'{"type":"pong","id":1,"t_ms":2.5}',
                         b'{"type":"subscribe","body":true,"rate_hz":30}', b'{"type":"record","on":true}'])  # fmt: skip
    with pytest.raises(InputError, match="at most 4096"):
        decode_client(b" " * 5000)
