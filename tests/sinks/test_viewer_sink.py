from __future__ import annotations

import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
from sink_shapes import tube

from bodystream.errors import ConfigurationError
from bodystream.sinks.viewer import CaptureViewer, ViewerState


@pytest.fixture
def viewer() -> Iterator[CaptureViewer]:
    with CaptureViewer(port=0) as made:
        yield made


def test_page_is_served_and_the_port_is_given_back(capfd: pytest.CaptureFixture[str]) -> None:
    viewer = CaptureViewer(port=0)
    with urllib.request.urlopen(viewer.url, timeout=5) as page:
        assert page.status == 200 and b"<html" in page.read()[:500].lower()
    assert viewer.url.startswith("http://127.0.0.1:")
    viewer.close()
    viewer.close()
    with pytest.raises(OSError):
        urllib.request.urlopen(viewer.url, timeout=1)
    assert not any(t.name == "sink-viewer" for t in threading.enumerate())
    assert capfd.readouterr().out == ""  # results go to stdout, so the server's own lines must not
    viewer.publish(ViewerState(0))  # too late, and no error
    assert viewer.client_count == 0 and not viewer.wants_state


def test_busy_port_gives_the_next_free_one() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with CaptureViewer(port=port) as viewer:
            got = urllib.parse.urlsplit(viewer.url).port
            assert got is not None
            assert port < got <= port + 20


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_other_machines_are_kept_out(host: str) -> None:
    with pytest.raises(ConfigurationError, match="not encrypted"):
        CaptureViewer(port=0, host=host)


def test_allowing_them_is_said() -> None:
    with CaptureViewer(port=0, host="0.0.0.0", allow_remote=True) as viewer:
        assert "without encryption" in viewer.warnings[0]
        assert viewer.url.startswith("http://127.0.0.1:")


def test_an_address_of_another_machine() -> None:
    with pytest.raises(ConfigurationError, match="cannot listen on 192.0.2.1"):
        CaptureViewer(port=0, host="192.0.2.1", allow_remote=True)


def test_without_a_browser_nothing_is_done(viewer: CaptureViewer) -> None:
    assert viewer.wants_state  # the first state is kept for the browser to come
    mesh = tube()
    start = time.monotonic()
    for i in range(10_000):
        viewer.publish(ViewerState(i, live_mesh=mesh))
    assert time.monotonic() - start < 5.0
    assert viewer.shown == 0 and viewer.bytes_per_state == 0 and not viewer.wants_state


def test_a_broken_page_is_reported_once_and_holds_nothing_up(
    viewer: CaptureViewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no such node")

    monkeypatch.setattr(viewer._page, "show", broken)
    monkeypatch.setattr(CaptureViewer, "client_count", 1)
    for i in range(30):
        viewer.publish(ViewerState(i))
        time.sleep(0.01)
    assert viewer.warnings == ["viewer: ValueError: no such node"]


def test_a_page_that_hangs_does_not_hold_up_the_capture(viewer: CaptureViewer, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(viewer._page, "show", lambda *_: gate.wait(20))
    monkeypatch.setattr(CaptureViewer, "client_count", 1)
    start = time.monotonic()
    for i in range(1000):
        viewer.publish(ViewerState(i))
    assert time.monotonic() - start < 1.0
    assert viewer.shown == 0
    gate.set()


def test_buttons() -> None:
    pressed: list[str] = []

    def fail() -> None:
        raise RuntimeError("the camera is gone")

    with CaptureViewer(port=0, on_start=fail, on_stop=lambda: pressed.append("stop")) as viewer:
        viewer._press("stop")
        assert pressed == ["stop"] and not viewer.running
        viewer._press("start")
        assert not viewer.running  # it did not start
        assert viewer.warnings == ["viewer, button start: RuntimeError: the camera is gone"]
        viewer._press("reset")  # no callback given
        viewer.running = True
        assert viewer.running
