"""The headset server with real clients over TLS: samples, refusals, faults, and its end."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import struct
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bodystream.errors import ConfigurationError, MissingDependencyError, SourceError
from bodystream.sources.headset.base import HeadsetSource
from bodystream.sources.headset.webxr import WebXrHeadset
from bodystream.sources.headset.webxr_limits import SessionLimits
from bodystream.sources.headset.webxr_messages import End, Hello, Notice, SpaceReset
from bodystream.types import DeviceKind, HeadsetSample
from bodystream.web.limits import MAX_MESSAGE_BYTES
from helpers.needs import needs
from helpers.webxr_client import HEAD, LEFT, RIGHT, Client, trusting_nobody

needs("cryptography", "pip install 'bodystream[webxr]'")

TOKEN = "abcd2345"


class Reader:
    """Iterates a source in a thread and keeps what came, with the time at which it came."""

    def __init__(self, source: WebXrHeadset) -> None:
        self.source = source
        self.got: list[tuple[int, HeadsetSample]] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            for sample in self.source:
                self.got.append((time.monotonic_ns(), sample))
        except BaseException as error:
            self.error = error

    def samples(self) -> list[HeadsetSample]:
        return [sample for _, sample in self.got]

    def tracked(self) -> list[HeadsetSample]:
        return [sample for sample in self.samples() if sample.head is not None]


def wait_for(condition, what: str, timeout_s: float = 5.0) -> Any:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {timeout_s:g} s")


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("configuration")


@pytest.fixture
def source(configuration: Path) -> Iterator[WebXrHeadset]:
    made = WebXrHeadset(port=0, configuration=configuration)
    yield made
    made.close()


def fetch(url: str, **headers: str) -> tuple[int, str, Any]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, context=trusting_nobody(), timeout=5) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode(), refusal.headers


def send_poses(client: Client, count: int, interval_s: float = 0.011) -> None:
    for _ in range(count):
        client.pose(HEAD, LEFT, RIGHT)
        time.sleep(interval_s)


def all_arrived(client: Client) -> None:
    """Wait until the server has dealt with what was sent so far."""
    client.socket.send("{")
    assert client.error().code == "malformed"


def test_samples_arrive_over_tls_with_the_hosts_time(source: WebXrHeadset) -> None:
    assert isinstance(source, HeadsetSource) and source.live
    assert source.url.startswith("https://127.0.0.1:")
    reader = Reader(source)
    client = Client(source.url).enter()
    sent_ns = []
    for _ in range(60):
        sent_ns.append(time.monotonic_ns())
        client.pose(HEAD, LEFT, RIGHT)
        time.sleep(0.011)
    wait_for(lambda: len(reader.tracked()) + source.counts.lost >= 60, "the samples")
    assert source.rate_hz == 90.0
    for sample in reader.tracked():
        # Its index says which pose it was: the time is that of its reading, up to half a round trip on this machine.
        assert abs(sample.t_ns - sent_ns[sample.index]) < 5_000_000
        assert sample.head and sample.left and sample.right
        assert [d.kind for d in (sample.head, sample.left, sample.right)] == [
            DeviceKind.VIEW,
            DeviceKind.GRIP,
            DeviceKind.HAND_WRIST,
        ]
        np.testing.assert_array_equal(sample.left.position_m, LEFT.position_m)
    assert source.clock.samples >= 8 and source.clock.round_trip_ms < 50
    assert source.wire.clients == 1 and not source.wire.refused
    client.close()


def test_the_newest_sample_wins_and_the_skipped_ones_are_counted(source: WebXrHeadset) -> None:
    client = Client(source.url).enter()
    iterator = iter(source)
    client.pose()
    assert next(iterator).index == 0
    send_poses(client, 40, 0.002)
    all_arrived(client)
    newest = next(iterator)
    assert newest.index == 40
    assert source.counts.lost == 39 and source.counts.delivered == 2
    client.close()


def test_what_came_before_the_iteration_is_not_lost(source: WebXrHeadset) -> None:
    client = Client(source.url).enter()
    send_poses(client, 20, 0.001)
    all_arrived(client)
    assert next(iter(source)).index == 19
    assert source.counts.lost == 0
    client.close()


def test_the_page_is_served_with_a_policy_that_fits_it(source: WebXrHeadset) -> None:
    status, text, headers = fetch(source.url)
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert 'id="enter"' in text and text.count("\n") <= 150
    assert fetch(source.url + "other")[0] == 404
    assert fetch(source.url + "headset")[0] == 404  # the websocket's place, without one
    assert fetch(source.url + "../../etc/passwd")[0] == 404


def test_the_fingerprint_is_the_certificates(source: WebXrHeadset) -> None:
    import hashlib

    port = int(source.url.rsplit(":", 1)[1].strip("/"))
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    assert source.fingerprint is not None and source.fingerprint.replace(":", "") == digest
    # With the certificate trusted, its names fit: no error of verification.
    context = ssl.create_default_context(cadata=pem)
    for host in ("127.0.0.1", "localhost"):
        with (
            socket.create_connection(("127.0.0.1", port)) as raw,
            context.wrap_socket(raw, server_hostname=host) as tls,
        ):
            assert tls.version() in ("TLSv1.2", "TLSv1.3")


def refused_status(url: str, **options: Any) -> int:
    with pytest.raises(InvalidStatus) as caught:
        Client(url, **options)
    return caught.value.response.status_code


def test_token(configuration: Path) -> None:
    with WebXrHeadset("0.0.0.0", 0, configuration=configuration) as source:
        assert all("?token=" in url for url in source.urls)
        token = source.url.split("token=")[1]
        here = source.url.replace(source.url.split("/")[2].rsplit(":", 1)[0], "127.0.0.1")
        bare = here.split("?")[0]
        # The page tells nothing and asks for a code; what moves on it needs the token.
        assert fetch(here)[0] == fetch(bare)[0] == 200
        for wrong in (bare, f"{bare}?token=", f"{bare}?token={token[:-1]}"):
            assert refused_status(wrong) == 403
            status, text, _ = fetch(wrong.replace("/?", "/metrics?") if "?" in wrong else f"{wrong}metrics")
            assert status == 403 and "token" in text
        begin = time.monotonic()
        assert refused_status(f"{bare}?token=aaaaaaaa") == 403
        assert time.monotonic() - begin > 0.4  # guessing is slow
        assert source.wire.refused["token"] >= 7
        Client(here).enter().close()


def test_a_given_token_is_asked_for_at_the_loopback_too(configuration: Path) -> None:
    with WebXrHeadset(port=0, token=TOKEN, configuration=configuration) as source:
        assert source.url.endswith(f"/?token={TOKEN}")
        assert refused_status(source.url.split("?")[0]) == 403
        Client(source.url).close()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1"])
def test_a_page_from_elsewhere_may_not_connect(source: WebXrHeadset, origin: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        Client(source.url, origin=origin)
    assert caught.value.response.status_code == 403
    assert source.wire.refused["origin"] == 1
    assert any("origin" in w for w in source.counts.warnings)


def test_our_page_and_allowed_ones_may_connect(configuration: Path) -> None:
    allowed = "https://192.168.1.2:8080"
    with WebXrHeadset(port=0, origins=[allowed], configuration=configuration) as source:
        for origin in (source.url.rstrip("/"), allowed):
            client = Client(source.url, origin=origin).enter()
            client.close()


def test_a_rebound_name_is_refused(source: WebXrHeadset) -> None:
    status, _, _ = fetch(source.url, Host="evil.example")
    assert status == 421 and source.wire.refused["host"] == 1


def test_malformed_messages_are_answered_and_the_rest_goes_on(source: WebXrHeadset) -> None:
    reader = Reader(source)
    client = Client(source.url).enter()
    for junk in ("{", b"\xff\xfe\x00", "[1,2]", '{"type":"pose"}'):
        client.socket.send(junk)
        error = client.error()
        assert (error.code, error.fatal) == ("malformed", False)
    client.pose()
    wait_for(reader.tracked, "a sample after the malformed messages")
    assert source.wire.refused["malformed"] == 4
    for _ in range(30):
        client.socket.send("{")
    assert client.close_code() == 1008
    assert any("not accepted" in w for w in source.counts.warnings)


@pytest.mark.parametrize("fragmented", [False, True])
def test_an_oversized_message_ends_the_connection_and_nothing_else(source: WebXrHeadset, fragmented: bool) -> None:
    reader = Reader(source)
    client = Client(source.url).enter()
    piece = "x" * (MAX_MESSAGE_BYTES // 4)
    with suppress(ConnectionClosed):  # before all pieces were sent
        client.socket.send([piece] * 8 if fragmented else piece * 8)
    assert client.close_code() == 1009
    wait_for(lambda: source.wire.refused["oversize"] == 1, "the count")
    client = Client(source.url).enter()
    client.pose()
    wait_for(reader.tracked, "a sample of the next client")
    assert source.counts.reconnects == 1
    client.close()


def test_a_flood_is_dropped_and_then_closed(source: WebXrHeadset) -> None:
    client = Client(source.url).enter()
    with suppress(ConnectionClosed):  # while it was still sending
        for _ in range(4000):
            client.pose()
    # What is sent to a closed connection resets it, and then the goodbye may be lost.
    assert client.close_code() in (1008, None)
    assert source.wire.refused["rate"] > 500


def test_raw_bytes_on_the_port_do_no_harm(source: WebXrHeadset, capfd: pytest.CaptureFixture[str]) -> None:
    port = int(source.url.rsplit(":", 1)[1].strip("/"))
    rng = np.random.default_rng(0)
    requests = [
        rng.bytes(500),
        b"GET / HTTP/1.1\r\n\r\n",  # plain http on the https port
    ]
    for data in requests:
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(data)
    inside_tls = [
        rng.bytes(300),
        b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET " + b"/" * 20000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /headset HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n",
    ]
    for data in inside_tls:
        with socket.create_connection(("127.0.0.1", port)) as raw, trusting_nobody().wrap_socket(raw) as tls:
            tls.sendall(data)
            tls.settimeout(2)
            try:
                answer = tls.recv(100)
            except OSError:
                continue
            assert not answer or answer.split()[1] in (b"400", b"403", b"404", b"414", b"421", b"426", b"431"), answer
    assert fetch(source.url)[0] == 200
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err + captured.out


def test_a_client_that_reset_its_connection_is_reported_at_once_and_may_return(source: WebXrHeadset) -> None:
    reader = Reader(source)
    client = Client(source.url).enter()
    send_poses(client, 5)
    wait_for(reader.tracked, "samples")
    # An abort instead of a goodbye: the process was killed.
    client.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    begin = time.monotonic()
    client.vanish()
    wait_for(lambda: any("disconnected" in w for w in source.counts.warnings), "the report")
    wait_for(lambda: reader.samples()[-1].head is None, "a sample without a head")
    assert time.monotonic() - begin < 1.0
    again = Client(source.url, clock_offset_ms=-7e6).enter()
    count = len(reader.tracked())
    send_poses(again, 5)
    wait_for(lambda: len(reader.tracked()) > count, "samples of the second client")
    assert source.counts.reconnects == 1
    samples = reader.samples()
    assert all(a.t_ns < b.t_ns and a.index < b.index for a, b in zip(samples, samples[1:], strict=False))
    again.close()


def test_a_client_that_goes_silent_is_reported_within_a_second(source: WebXrHeadset) -> None:
    reader = Reader(source)
    client = Client(source.url).enter()
    send_poses(client, 5)
    begin = time.monotonic()
    wait_for(lambda: any("nothing comes" in w for w in source.counts.warnings), "the report")
    wait_for(lambda: reader.samples()[-1].head is None, "a sample without a head")
    assert time.monotonic() - begin < 1.0
    assert source.wire.stalls == 1
    client.close()


def test_a_silent_client_is_disconnected(configuration: Path) -> None:
    limits = SessionLimits(silent_s=0.4, stall_s=0.2)
    with WebXrHeadset(port=0, limits=limits, configuration=configuration) as source:
        client = Client(source.url).enter()
        assert client.close_code() == 4004
        quiet = Client(source.url)  # never says hello
        assert quiet.close_code() == 4004


def test_a_second_client_takes_over_and_the_first_is_told(source: WebXrHeadset) -> None:
    reader = Reader(source)
    first = Client(source.url).enter()
    first.pose()
    wait_for(reader.tracked, "a sample of the first")
    idle = Client(source.url)  # a connection alone takes nothing over
    first.pose()
    wait_for(lambda: len(reader.tracked()) == 2, "another sample of the first")
    second = Client(source.url).enter()
    error = first.error()
    assert (error.code, error.fatal) == ("replaced", True)
    assert first.close_code() == 4001
    second.pose()
    wait_for(lambda: len(reader.tracked()) == 3, "a sample of the second")
    assert any("took over" in w for w in source.counts.warnings)
    assert not any("disconnected" in w for w in source.counts.warnings)
    idle.close()
    second.close()


def test_too_many_connections_are_refused(source: WebXrHeadset) -> None:
    clients = [Client(source.url) for _ in range(16)]
    with pytest.raises(InvalidStatus) as caught:
        Client(source.url)
    assert caught.value.response.status_code == 503
    for client in clients:
        client.close()
    wait_for(lambda: Client(source.url).enter(), "a place that became free")


def test_end_message(configuration: Path) -> None:
    with WebXrHeadset(port=0, stop_at_end=True, configuration=configuration) as source:
        reader = Reader(source)
        client = Client(source.url).enter()
        client.pose()
        wait_for(reader.tracked, "a sample")
        client.send(End("the session was left"))
        assert client.close_code() == 1000
        reader.thread.join(2)
        assert not reader.thread.is_alive() and reader.error is None


def test_without_stop_at_end_the_next_session_is_waited_for(source: WebXrHeadset) -> None:
    reader = Reader(source)
    for count in (1, 2):
        client = Client(source.url).enter()
        client.pose()
        wait_for(lambda n=count: len(reader.tracked()) == n, "a sample")
        client.send(End())
        client.close_code()
    assert reader.thread.is_alive()
    assert source.counts.reconnects == 1 and source.counts.warnings == []


def test_reference_space_local_warns_on_both_sides(source: WebXrHeadset) -> None:
    client = Client(source.url)
    client.send(Hello(1, "local"))
    assert "floor" in client.answer(Notice).message
    wait_for(lambda: any("floor" in w for w in source.counts.warnings), "the warning")
    client.close()


def test_close_from_another_thread_ends_a_blocked_iteration_and_tells_the_client(source: WebXrHeadset) -> None:
    reader = Reader(source)
    client = Client(source.url).enter()
    begin = time.monotonic()
    source.close()
    reader.thread.join(2)
    assert not reader.thread.is_alive() and reader.error is None
    assert time.monotonic() - begin < 2.0
    assert client.close_code() == 1001
    source.close()
    with pytest.raises(OSError):
        Client(source.url)
    assert source.counts.warnings == []  # the client did not leave, we did


def test_close_before_the_first_client(source: WebXrHeadset) -> None:
    reader = Reader(source)
    time.sleep(0.05)
    begin = time.monotonic()
    source.close()
    reader.thread.join(2)
    assert time.monotonic() - begin < 1.0 and not reader.thread.is_alive() and reader.got == []
    assert list(source) == []


def test_a_client_that_does_not_read_cannot_hold_up_the_close(source: WebXrHeadset) -> None:
    Client(source.url).enter().socket.recv_messages.pause = lambda: None  # its thread stops at the first message
    begin = time.monotonic()
    source.close()
    assert time.monotonic() - begin < 1.5


def test_a_connection_without_a_request_cannot_hold_up_the_close(source: WebXrHeadset) -> None:
    """Browsers open them ahead of need."""
    port = int(source.url.rsplit(":", 1)[1].strip("/"))
    with socket.create_connection(("127.0.0.1", port)) as raw, trusting_nobody().wrap_socket(raw) as tls:
        begin = time.monotonic()
        source.close()
        assert time.monotonic() - begin < 1.5
        tls.settimeout(1)
        try:
            assert tls.recv(1) == b""
        except OSError as error:
            assert not isinstance(error, TimeoutError)  # it is cut off, not left open


def test_no_first_client(configuration: Path) -> None:
    source = WebXrHeadset(port=0, first_client_s=0.2, configuration=configuration)
    with pytest.raises(SourceError, match="no headset connected within 0.2 s: open https://"):
        next(iter(source))


def test_status_for_people(configuration: Path) -> None:
    told: list[str] = []
    with WebXrHeadset(port=0, on_status=told.append, configuration=configuration) as source:
        assert source.url in told[0] and "this machine only; give webxr?host=0.0.0.0" in told[0]
        assert source.fingerprint is not None and source.fingerprint in told[1]
        client = Client(source.url).enter()
        assert "connected" in told[-1]
        for _ in range(5):
            client.socket.send("{")
            client.error()
        assert sum("not accepted" in text for text in told) == 1  # at most one a second of a kind
        client.close()


def test_an_address_for_others_is_not_called_this_machines(configuration: Path) -> None:
    told: list[str] = []
    with WebXrHeadset("0.0.0.0", 0, on_status=told.append, configuration=configuration):
        assert "in the headset's browser" in told[0] and "this machine only" not in told[0]


def test_a_moved_origin_is_told_even_if_its_sample_was_replaced(configuration: Path) -> None:
    with WebXrHeadset(port=0, configuration=configuration) as source:
        client = Client(source.url).enter()
        client.send(SpaceReset())
        for _ in range(5):  # the newest wins, and nobody reads yet
            client.pose()
        wait_for(lambda: source.wire.messages >= 7 and source.wire.space_resets == 1, "the poses")
        samples = iter(source)
        assert next(samples).origin_moved
        client.pose()
        assert not next(samples).origin_moved
        client.close()


def test_a_status_function_that_fails_or_closes_does_not_end_the_server(configuration: Path) -> None:
    def fail(text: str) -> None:
        raise RuntimeError("the window is gone")

    with WebXrHeadset(port=0, on_status=fail, configuration=configuration) as source:
        Client(source.url).enter().close()
        assert any("the window is gone" in w for w in source.counts.warnings)

    def close_at_a_client(text: str) -> None:
        if "connected" in text:
            source.close()

    with WebXrHeadset(port=0, on_status=close_at_a_client, configuration=configuration) as source:
        client = Client(source.url)
        client.send(Hello(1, "local-floor"))
        assert client.close_code() == 1001
        assert list(source) == []


def test_plain_http_at_the_loopback_for_a_cable(configuration: Path) -> None:
    with WebXrHeadset(port=0, tls=False) as source:
        assert source.url.startswith("http://127.0.0.1:") and source.fingerprint is None
        client = Client(source.url).enter()
        client.pose()
        assert next(iter(source)).head is not None
        client.close()


def test_a_port_in_use_and_an_address_that_is_not_ours(source: WebXrHeadset, configuration: Path) -> None:
    port = int(source.url.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(SourceError, match="another program does"):
        WebXrHeadset(port=port, configuration=configuration)
    with pytest.raises(SourceError, match="not an address of this machine"):
        WebXrHeadset("192.0.2.7", 0, configuration=configuration)
    with pytest.raises(SourceError, match="not an address of this machine"):
        WebXrHeadset("no.such.host.invalid", 0, configuration=configuration)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70000}, "0 to 65535"),
        ({"port": -1}, "0 to 65535"),
        ({"token": "x"}, "8 letters"),
        ({"key": "key.pem"}, "needs the option certificate"),
        ({"certificate": "absent.pem"}, "not a file"),
        ({"host": "0.0.0.0", "tls": False}, "without TLS"),
        ({"tls": False, "certificate": "a.pem"}, "needs TLS"),
        ({"origins": ["nonsense"]}, "not an origin"),
        ({"first_client_s": 0.0}, "must be positive"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        WebXrHeadset(**options)


def test_without_cryptography_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(MissingDependencyError, match=r"bodystream\[webxr\]"):
        WebXrHeadset(port=0, configuration=tmp_path)


def test_nothing_is_left_behind(configuration: Path) -> None:
    def handles() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    def cycle() -> None:
        with WebXrHeadset(port=0, configuration=configuration) as source:
            client = Client(source.url).enter()
            client.pose()
            next(iter(source))
            client.close()

    cycle()
    before = handles()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for _ in range(4):
            cycle()
    assert handles() <= before + 1
    assert not [t.name for t in threading.enumerate() if t.name == "page-server" and t.is_alive()]
