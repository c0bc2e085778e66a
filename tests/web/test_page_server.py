"""The one server: pages, health, metrics, access on every path, pairing, limits, a port in use."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from bodystream.errors import ConfigurationError, SourceError
from bodystream.web.metrics import Metric, metrics_text
from bodystream.web.options import ServerOptions
from bodystream.web.pages import Pages
from bodystream.web.pairing import CODE_LETTERS, Pairing
from bodystream.web.server import PageServer
from helpers.fuzzing import mutations
from helpers.needs import needs
from helpers.webxr_client import trusting_nobody

S = 1_000_000_000
PAGES = {
    "index.html": b"<!doctype html><style>b{}</style><script type='module' src='assets/a-1.js'></script><b>hi</b>",
    "assets/a-1.js": b"let a = 1;" * 50,
    "assets/a-1.js.gz": b"packed with gzip",
    "assets/a-1.js.br": b"packed",
    "notes": b"not for browsers",
}


class Echo:
    limit = 3

    async def handle(self, socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)


class Opened:
    """A server with what it told."""

    def __init__(self, **options: Any) -> None:
        self.told: list[str] = []
        self.reports: list[str] = []
        self.server = PageServer(
            ServerOptions(port=0, **options),
            report=lambda kind, _: self.reports.append(kind),
            status=self.told.append,
            pages=Pages(PAGES),
        )
        self.server.add_route("/echo", Echo())
        self.base = f"{'https' if options.get('tls', True) else 'http'}://127.0.0.1:{self.server.port}"

    def get(self, path: str, **headers: str) -> tuple[int, bytes, Any]:
        request = urllib.request.Request(self.base + path, headers=headers)
        try:
            with urllib.request.urlopen(request, context=trusting_nobody(), timeout=5) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read(), refusal.headers

    def connect(self, path: str = "/echo", **options: Any) -> Any:
        address = self.base.replace("http", "ws", 1) + path
        context = trusting_nobody() if address.startswith("wss") else None
        if context is not None:  # two threads of the client's share one connection, see helpers.webxr_client
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        return connect(address, ssl=context, compression=None, close_timeout=1, **options)

    def refused(self, path: str = "/echo", **options: Any) -> int:
        with pytest.raises(InvalidStatus) as caught:
            self.connect(path, **options)
        return caught.value.response.status_code


@pytest.fixture(scope="module")
def plain() -> Iterator[Opened]:
    made = Opened(tls=False)
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    needs("cryptography", "pip install 'bodystream[webxr]'")
    made = Opened(host="0.0.0.0", configuration=tmp_path_factory.mktemp("certificate"))
    yield made
    made.server.stop()


def token_of(opened: Opened) -> str:
    return opened.server.url.partition("token=")[2]


def test_files_are_sent_as_the_browser_takes_them(plain: Opened) -> None:
    status, body, headers = plain.get("/")
    assert (status, body) == (200, PAGES["index.html"])
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "style-src 'self' 'sha256-" in policy
    for accepted, wanted, encoding in (
        ("", PAGES["assets/a-1.js"], None),
        ("gzip", b"packed with gzip", "gzip"),
        ("gzip, deflate, br", b"packed", "br"),
        ("br;q=0, gzip;q=0.5", b"packed with gzip", "gzip"),
    ):
        status, body, headers = plain.get("/assets/a-1.js", **{"Accept-Encoding": accepted})
        assert (status, body, headers["Content-Encoding"]) == (200, wanted, encoding)
        assert headers["Content-Type"].startswith("text/javascript") and "immutable" in headers["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    ["/notes", "/assets", "/assets/", "/assets/a-1.js.gz", "/../server.py", "/assets/../../server.py", "//etc/passwd",
     "/%2e%2e/server.py", "/assets/..%2findex.html", "/index.html/", "/echo"],
)  # fmt: skip
def test_nothing_else_on_disk_can_be_reached(plain: Opened, path: str) -> None:
    assert plain.get(path)[0] == 404


def test_the_package_has_a_page_whose_files_are_all_there() -> None:
    pages = Pages()
    index = pages.find("/")
    assert index is not None and "default-src 'none'" in index.policy
    assert {"/index.html"} < set(pages.paths)


def test_health_and_metrics(plain: Opened) -> None:
    status, body, headers = plain.get("/health")
    health = json.loads(body)
    assert status == 200 and headers["Content-Type"] == "application/json"
    assert health["status"] == "ok" and health["token_needed"] is False and health["routes"] == ["/echo"]
    plain.server.add_metrics(lambda: [Metric("odd", "gauge", 'a "b"\\\nc', float("nan"), {"of": 'x"\\\ny'})])
    status, body, headers = plain.get("/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    parser = needs("prometheus_client.parser", "pip install 'bodystream[dev]'")
    families = {family.name: family for family in parser.text_string_to_metric_families(body.decode())}
    assert families["bodystream_uptime_seconds"].samples[0].value > 0
    assert families["bodystream_odd"].samples[0].labels == {"of": 'x"\\\ny'}
    assert families["bodystream_refused_requests"].type == "counter"


def test_metrics_of_one_name_stand_together() -> None:
    text = metrics_text([Metric("a", "gauge", "A.", 1, {"x": "1"}), Metric("b", "counter", "B.", 2.5),
                         Metric("a", "gauge", "A.", 3, {"x": "2"})])  # fmt: skip
    assert text.splitlines() == [
        "# HELP bodystream_a A.", "# TYPE bodystream_a gauge", 'bodystream_a{x="1"} 1.0', 'bodystream_a{x="2"} 3.0',
        "# HELP bodystream_b B.", "# TYPE bodystream_b counter", "bodystream_b 2.5",
    ]  # fmt: skip


def test_foreign_origins_and_hosts_are_refused_on_each_path(plain: Opened) -> None:
    for path in ("/", "/assets/a-1.js", "/health", "/metrics"):
        assert plain.get(path, Origin="https://evil.example")[0] == 403
        assert plain.get(path, Host="evil.example")[0] == 421
    assert plain.refused(origin="https://evil.example") == 403
    assert plain.refused(origin="null") == 403


def test_a_wrong_token_lets_nobody_in(guarded: Opened) -> None:
    token = token_of(guarded)
    assert guarded.get("/")[0] == guarded.get("/health")[0] == 200
    for query in ("", "?token=", "?token=wrong234", f"?token={token}&token={token}"):
        assert guarded.refused(f"/echo{query}") == guarded.get(f"/metrics{query}")[0] == 403
    assert guarded.get(f"/metrics?token={token}")[0] == 200
    assert guarded.get("/metrics", Authorization=f"Bearer {token}")[0] == 200
    assert guarded.get("/metrics", Authorization="Bearer wrong234")[0] == 403
    with guarded.connect(f"/echo?token={token}") as client:
        client.send("x")
        assert client.recv(5) == "x"


def test_plain_http_from_afar_is_refused(guarded: Opened) -> None:
    with pytest.raises(ConfigurationError, match="without TLS only the loopback"):
        ServerOptions("0.0.0.0", 0, tls=False)
    with socket.create_connection(("127.0.0.1", guarded.server.port)) as raw:  # and an https port answers no http
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        raw.settimeout(5)
        try:
            assert not raw.recv(100).startswith(b"HTTP/1.1 200")
        except ConnectionError:
            pass


def shown_code(opened: Opened) -> str:
    """The code that a person is shown once a page asks to be let in."""
    end = time.monotonic() + 5.0
    while not (lines := [line for line in opened.told if "type the code" in line]):
        assert time.monotonic() < end, "no code is shown"
        time.sleep(0.01)
    return lines[-1].partition("code ")[2][:7]


def ask(client: Any, code: str) -> dict[str, Any]:
    client.send(json.dumps({"type": "pair", "code": code}))
    return json.loads(client.recv(5))


def test_a_code_pairs_one_device_and_cannot_be_used_again(guarded: Opened) -> None:
    with guarded.connect("/pair") as client:
        code = shown_code(guarded)
        assert ask(client, "WRONG2")["type"] == "error"
        answer = ask(client, code.lower())
        assert answer["type"] == "paired"
    with guarded.connect(f"/echo?token={answer['token']}") as paired:
        paired.send("x")
        assert paired.recv(5) == "x"
    assert guarded.get("/metrics", Authorization=f"Bearer {answer['token']}")[0] == 200
    with guarded.connect("/pair") as thief:
        assert ask(thief, code)["type"] == "error"  # replayed
        assert ask(thief, "{")["type"] == "error"
        thief.send("[]")
        assert json.loads(thief.recv(5))["fatal"] is True
        with pytest.raises(ConnectionClosed) as caught:
            thief.recv(5)
        assert caught.value.rcvd is not None and caught.value.rcvd.code == 1008


def test_tokens_of_another_run_open_nothing(guarded: Opened, tmp_path: Path) -> None:
    other = Opened(host="0.0.0.0", configuration=tmp_path)
    try:
        with other.connect("/pair") as client:
            code = shown_code(other)
            token = ask(client, code)["token"]
    finally:
        other.server.stop()
    assert guarded.refused(f"/echo?token={token}") == 403


def test_codes_run_out_and_so_do_guesses() -> None:
    pairing = Pairing()
    code, new = pairing.code(0)
    assert new and len(code) == 6 and set(code) <= set(CODE_LETTERS)
    assert pairing.code(S) == (code, False)
    assert pairing.redeem(code, 301 * S) is None  # too old
    code, new = pairing.code(301 * S)
    assert new
    for _ in range(10):
        assert pairing.redeem("000000", 302 * S) is None
    assert pairing.redeem(code, 303 * S) is None  # guessed too often
    code, _ = pairing.code(304 * S)
    token = pairing.redeem(f" {code[:3]}-{code[3:].lower()} ", 305 * S)
    assert token is not None and pairing.accepts(token, 306 * S)
    assert pairing.redeem(code, 306 * S) is None  # spent
    assert not pairing.accepts(token, 306 * S + 25 * 3600 * S)  # unused for a day
    assert pairing.redeem("", 306 * S) is None


def test_a_full_route_says_so_and_a_place_becomes_free(plain: Opened) -> None:
    clients = [plain.connect() for _ in range(3)]
    assert plain.refused() == 503
    assert plain.server.refused["busy"] >= 1
    clients.pop().close()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            clients.append(plain.connect())
            break
        except InvalidStatus:
            time.sleep(0.02)
    assert len(clients) == 3
    for client in clients:
        client.close()


def test_500_clients_are_refused_politely_and_the_server_goes_on(plain: Opened) -> None:
    held = [plain.connect() for _ in range(3)]
    request = (
        b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    raw = [socket.create_connection(("127.0.0.1", plain.server.port), timeout=10) for _ in range(500)]
    try:
        for each in raw:
            each.sendall(request)
        answers = [each.recv(40) for each in raw]
    finally:
        for each in raw:
            each.close()
    assert {answer.split()[1] for answer in answers} == {b"503"}
    held[0].send("still here")
    assert held[0].recv(5) == "still here"
    for each in held:
        each.close()


def test_more_connections_than_are_held_are_cut_off(plain: Opened) -> None:
    raw = [socket.create_connection(("127.0.0.1", plain.server.port), timeout=10) for _ in range(700)]
    try:
        end = time.monotonic() + 5
        while plain.server._connections.refused == 0 and time.monotonic() < end:
            time.sleep(0.02)
        assert plain.server._connections.refused > 0
    finally:
        for each in raw:
            each.close()
    end = time.monotonic() + 5
    while time.monotonic() < end:  # and the server goes on
        try:
            assert plain.get("/health")[0] == 200
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    raise AssertionError("the server does not answer any more")


def test_a_port_in_use_is_named(plain: Opened) -> None:
    with pytest.raises(SourceError, match=f"port {plain.server.port}: another program does"):
        PageServer(ServerOptions(port=plain.server.port, tls=False), report=lambda *_: None, status=lambda _: None)


def test_fuzzed_requests_do_no_harm(plain: Opened) -> None:
    seed = (
        b"GET /metrics?token=abc HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip, br;q=0\r\n"
        b"Authorization: Bearer abc\r\nOrigin: http://localhost\r\n\r\n"
    )
    for data in mutations([seed], 120):
        with socket.create_connection(("127.0.0.1", plain.server.port), timeout=5) as raw:
            try:
                raw.sendall(data)
                raw.shutdown(socket.SHUT_WR)
                raw.recv(100)
            except OSError:
                continue
    assert plain.get("/health")[0] == 200
    assert "server" not in plain.reports
