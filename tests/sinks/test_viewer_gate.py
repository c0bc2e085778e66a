"""The viewer lets in its own page with the token, a few at a time, and of what they say only what it needs."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest
import viser
import websockets.asyncio.server
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bodystream.errors import MissingDependencyError
from bodystream.sinks.viewer import CaptureViewer, ViewerState
from bodystream.sinks.viewer.client_messages import MAX_MESSAGE_BYTES, admit
from bodystream.sinks.viewer.gate import MAX_CLIENTS
from helpers.fuzzing import fuzz
from helpers.sink_shapes import tube
from helpers.viewer_client import CAMERA, connected, get, packed


@pytest.fixture
def pressed() -> list[str]:
    return []


@pytest.fixture
def viewer(pressed: list[str]) -> Iterator[CaptureViewer]:
    with CaptureViewer(port=0, on_reset=lambda: pressed.append("reset")) as made:
        yield made


def wait_until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.01)


def with_query(url: str, query: str) -> str:
    return urlsplit(url)._replace(query=query).geturl()


def reset_button(viewer: CaptureViewer) -> str:
    gui = viewer._server.gui
    return next(u for u, h in gui._gui_input_handle_from_uuid.items() if getattr(h, "label", "") == "Reset")


def press(viewer: CaptureViewer) -> bytes:
    return packed({"type": "GuiUpdateMessage", "uuid": reset_button(viewer), "updates": {"value": True}})


# Requests


def test_the_printed_address_leads_to_the_page_and_its_websocket(viewer: CaptureViewer, pressed: list[str]) -> None:
    first = get(viewer.url)
    assert first.status == 303
    token = urlsplit(viewer.url).query
    netloc = urlsplit(viewer.url).netloc
    target = first.headers["Location"]
    assert target == f"/?{token}&websocket=ws://{netloc}/?{token}"
    page = get(f"http://{netloc}{target}")
    assert page.status == 200 and b"<html" in page.body[:500]  # type: ignore[attr-defined]
    policy = page.headers["Content-Security-Policy"]
    assert f"connect-src ws://{netloc} " in policy and "frame-ancestors 'none'" in policy
    assert page.headers["Referrer-Policy"] == "no-referrer" and page.headers["Cache-Control"] == "no-store"
    with connected(viewer.url) as client:
        client.send(packed(CAMERA))
        wait_until(lambda: viewer.client_count == 1)
        client.send(press(viewer))
        wait_until(lambda: pressed == ["reset"])
    assert viewer.warnings == [] and not viewer.refused


def test_a_tunnel_with_another_port_is_followed(viewer: CaptureViewer) -> None:
    answer = get(viewer.url, {"Host": "localhost:9999"})
    assert answer.headers["Location"].endswith(f"&websocket=ws://localhost:9999/?{urlsplit(viewer.url).query}")


def test_the_page_is_not_led_to_another_server(viewer: CaptureViewer) -> None:
    answer = get(viewer.url + "&websocket=ws://evil.example/")
    assert answer.status == 303 and "evil" not in answer.headers["Location"]


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Host": "evil.example:8080"}, "host"),  # a name that was pointed at this machine
        ({"Host": "127.0.0.1.evil.example"}, "host"),
        ({"Host": "192.168.1.2:8080"}, "host"),
        ({"Host": ""}, "host"),
        ({"Origin": "http://evil.example"}, "origin"),
        ({"Origin": "http://localhost:1"}, "origin"),  # another server of this machine
        ({"Origin": "null"}, "origin"),
    ],
)
def test_foreign_hosts_and_origins_get_neither_page_nor_websocket(
    viewer: CaptureViewer, headers: dict[str, str], kind: str
) -> None:
    answer = get(viewer.url, headers)
    assert answer.status in (403, 421) and b"<script" not in answer.body  # type: ignore[attr-defined]
    upgrade = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Protocol": f"viser-v{viser.__version__}",
    }  # fmt: skip
    assert get(viewer.url, {**upgrade, **headers}).status in (403, 421)
    assert viewer.refused == {kind: 2}
    assert len(viewer.warnings) == 1 and kind in viewer.warnings[0]  # said once, and nobody got in
    assert viewer.client_count == 0


@pytest.mark.parametrize("query", ["", "token=", "token=abcdefgh", "token={}x", "token={}&token=x", "t={}"])
def test_without_the_token_there_is_nothing(viewer: CaptureViewer, query: str) -> None:
    url = with_query(viewer.url, query.format(urlsplit(viewer.url).query.removeprefix("token=")))
    answer = get(url)
    assert answer.status == 403 and b"token" in answer.body  # type: ignore[attr-defined]
    with pytest.raises(InvalidStatus) as refused, connected(url):
        pass
    assert refused.value.response.status_code == 403
    assert viewer.refused == {"token": 2} and viewer.warnings == []


def test_each_session_has_its_own_token(viewer: CaptureViewer) -> None:
    with CaptureViewer(port=0) as other:
        assert urlsplit(other.url).query != urlsplit(viewer.url).query
        assert get(with_query(other.url, urlsplit(viewer.url).query)).status == 403


def test_other_machines_need_the_token_too() -> None:
    with CaptureViewer(port=0, host="0.0.0.0", allow_remote=True) as viewer:
        assert get(with_query(viewer.url, "")).status == 403
        assert get(viewer.url, {"Host": "evil.example"}).status == 421
        assert get(viewer.url, {"Host": "192.168.1.2:8080"}).status == 303


def test_other_paths_and_versions_are_refused(viewer: CaptureViewer) -> None:
    token = urlsplit(viewer.url).query
    for path in ("/index.html", "/..%2f..%2fetc/passwd", "/x"):
        assert get(f"http://{urlsplit(viewer.url).netloc}{path}?{token}").status == 404
    assert get(viewer.url, {"Upgrade": "h2c"}).status == 404
    with pytest.raises(InvalidStatus) as refused, connected(viewer.url, protocol="viser-v0.0.1"):
        pass
    assert refused.value.response.status_code == 400
    assert viewer.refused == {"path": 4, "version": 1}


# Clients


def test_the_ninth_client_is_refused_until_one_leaves(viewer: CaptureViewer) -> None:
    assert MAX_CLIENTS == 8
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(viewer.url)) for _ in range(8)]
        for client in clients:
            client.send(packed(CAMERA))
        wait_until(lambda: viewer.client_count == 8)
        for _ in range(3):
            with pytest.raises(InvalidStatus) as refused, connected(viewer.url):
                pass
            assert refused.value.response.status_code == 503
        page = get(viewer.url)
        assert page.status == 503 and b"8 pages" in page.body  # type: ignore[attr-defined]
        clients[0].close()
        wait_until(lambda: viewer.client_count == 7)
        with connected(viewer.url):
            pass
    wait_until(lambda: viewer.client_count == 0)
    assert viewer.refused == {"busy": 4} and viewer.warnings == []


def test_what_clients_held_is_free_when_they_have_left(viewer: CaptureViewer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of clients that went without a goodbye, and of some that never read."""
    held: list[weakref.ref[Any]] = []
    opened = viewer._gate.opened
    monkeypatch.setattr(viewer._gate, "opened", lambda c: (held.append(weakref.ref(c)), opened(c))[1])
    for turn in range(3):
        with ExitStack() as stack:
            clients = [stack.enter_context(connected(viewer.url)) for _ in range(8)]
            for client in clients:
                client.send(packed(CAMERA))
            wait_until(lambda: viewer.client_count == 8)
            for i in range(5):
                viewer.publish(ViewerState(turn * 10 + i, live_mesh=tube()))
                time.sleep(0.05)
            for client in clients[::2]:
                client.socket.close()
        wait_until(lambda: viewer.client_count == 0 and viewer._gate.client_count == 0)

    def gone() -> bool:
        gc.collect()
        return not any(ref() is not None for ref in held)

    assert len(held) == 24
    wait_until(gone)
    assert viewer.warnings == []


def test_connections_that_ask_for_nothing_are_few(viewer: CaptureViewer, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr("bodystream.sinks.viewer.gate._MAX_CONNECTIONS", 4)
    parts = urlsplit(viewer.url)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection((parts.hostname, parts.port), 5)) for _ in range(6)]
        wait_until(lambda: viewer.refused["connections"] == 2)
        with pytest.raises(OSError):
            get(viewer.url)
        for one in silent:
            one.close()
    wait_until(lambda: len(viewer._gate._connections) == 0)
    assert get(viewer.url).status == 303


# Messages


def test_the_library_has_no_ear_for_what_pages_do_not_need(viewer: CaptureViewer) -> None:
    server: Any = viewer._server._websock_server
    assert {m.__name__ for m in server._incoming_handlers} == {"GuiUpdateMessage"}
    ends: list[Any] = []
    server.on_client_connect(ends.append)
    with connected(viewer.url) as client:
        client.send(packed(CAMERA))
        wait_until(lambda: viewer.client_count == 1)
        assert {m.__name__ for m in ends[0]._incoming_handlers} == {"GuiUpdateMessage", "ViewerCameraMessage"}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ShareUrlRequest"},
        {"type": "ShareUrlDisconnect"},
        {"type": "FileTransferStartUpload", "source_component_uuid": "UUID", "transfer_uuid": "t", "filename": "f",
         "mime_type": "text/plain", "part_count": 1, "size_bytes": 1},
        {"type": "FileTransferPart", "source_component_uuid": "UUID", "transfer_uuid": "t", "part_index": 0,
         "content": b"x"},
        {"type": "CommandTriggerMessage", "uuid": "UUID"},
        {"type": "GuiFormDirtyMessage", "uuid": "UUID"},
        {"type": "GuiUpdateMessage", "uuid": "UUID", "updates": {"removed": True}},
        {"type": "GuiUpdateMessage", "uuid": "UUID", "updates": {"value": "text"}},
        {"type": "GuiUpdateMessage", "uuid": "u" * 65, "updates": {"value": True}},
        {**CAMERA, "image_height": 0},
        {**CAMERA, "fov": float("nan")},
        {**CAMERA, "position": [0, 0]},
        {"type": "NoSuchMessage"},
        {},
        [],
    ],
    ids=str,
)  # fmt: skip
def test_other_messages_go_nowhere_and_the_client_stays(
    viewer: CaptureViewer, pressed: list[str], message: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    if isinstance(message, dict):
        message = {k: reset_button(viewer) if v == "UUID" else v for k, v in message.items()}
    shared: list[bool] = []
    viewer._server.request_share_url = lambda *_: shared.append(True)  # type: ignore[method-assign,assignment]
    with connected(viewer.url) as client:
        client.send(packed(CAMERA))
        client.send(packed(message))
        client.send(press(viewer))
        wait_until(lambda: pressed == ["reset"])  # comes after, and is heard
        assert viewer.client_count == 1
    assert viewer.refused == {"message": 1} and not shared
    assert not viewer._server.gui._current_file_upload_states
    assert viewer.warnings == [] and capfd.readouterr() == ("", "")


def test_text_and_damaged_messages_go_nowhere(viewer: CaptureViewer, pressed: list[str]) -> None:
    with connected(viewer.url) as client:
        client.send(packed(CAMERA))
        client.send("hello")
        client.send(packed(CAMERA)[:-5])
        client.send(b"")
        client.send(press(viewer))
        wait_until(lambda: pressed == ["reset"])
    assert viewer.refused == {"message": 3}


def test_long_messages_end_the_connection(viewer: CaptureViewer) -> None:
    with connected(viewer.url) as client:
        client.send(packed(CAMERA))
        wait_until(lambda: viewer.client_count == 1)
        client.send(b"\x00" * (MAX_MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                client.recv(timeout=5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    wait_until(lambda: viewer.client_count == 0)


def test_messages_survive_fuzz() -> None:
    seeds = [packed(CAMERA), packed({"type": "GuiUpdateMessage", "uuid": "a" * 36, "updates": {"value": True}})]
    assert all(admit(seed) for seed in seeds)
    fuzz(admit, seeds)


def test_unknown_members_are_left_out() -> None:
    with_more = admit(packed({**CAMERA, "owner": "somebody"}))
    assert with_more == admit(packed(CAMERA))


# The library


def test_another_version_of_the_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viser, "__version__", "1.2.0")
    with pytest.raises(MissingDependencyError, match=r"viser 1\.1\.x \(found 1\.2\.0\)"):
        CaptureViewer(port=0)
    assert not any(t.name == "sink-viewer" for t in threading.enumerate())


def test_a_server_that_starts_in_another_way_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the library's function had moved: then the gate is not in force, and nobody may get at the page."""
    monkeypatch.setattr("bodystream.sinks.viewer.viser_server._is_of_viser", lambda _: False)
    stopped: list[bool] = []
    stop = viser.ViserServer.stop
    monkeypatch.setattr(viser.ViserServer, "stop", lambda self: (stopped.append(True), stop(self))[1])
    with pytest.raises(MissingDependencyError, match=r"viser 1\.1\.x"):
        CaptureViewer(port=0)
    assert stopped


def test_servers_of_others_are_left_alone(viewer: CaptureViewer) -> None:
    assert websockets.asyncio.server.serve.__module__ == "websockets.asyncio.server"
