from __future__ import annotations

import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest
import viser

from bodystream.errors import ConfigurationError
from bodystream.sinks.viewer import CaptureViewer, ViewerState
from helpers.sink_shapes import tube


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


def buttons_of(viewer: CaptureViewer) -> dict[str, bool]:
    gui = viewer._server.gui
    handles = gui._gui_input_handle_from_uuid.values()
    return {h.label: h.visible for h in handles if isinstance(h, viser.GuiButtonHandle)}


def test_pause_and_resume_take_turns_and_save_is_there_when_asked_for() -> None:
    with CaptureViewer(port=0) as viewer:
        assert buttons_of(viewer) == {"Pause": True, "Resume": False, "Reset": True, "Fit view": True}
        viewer._press("stop")
        assert buttons_of(viewer) == {"Pause": False, "Resume": True, "Reset": True, "Fit view": True}
        assert "Paused" in viewer._page._panel.text("status")
    with CaptureViewer(port=0, on_save=lambda: None) as viewer:
        assert buttons_of(viewer)["Save"]


def test_what_came_of_saving_is_said() -> None:
    def save() -> str:
        if len(outcomes) > 1:
            raise OSError("no space left")
        outcomes.append("x")
        return f"saved <out>/capture{len(outcomes)}.glb"

    outcomes: list[str] = []
    with CaptureViewer(port=0, on_save=save) as viewer:
        panel = viewer._page._panel
        viewer._press("save")
        assert "saved &lt;out&gt;/capture1.glb" in panel.text("notices") and viewer.running
        viewer._press("save")
        viewer._press("save")
        assert "saved &lt;out&gt;/capture2.glb" in panel.text("notices")
        assert "button save: OSError: no space left" in panel.text("notices")
        viewer.tell("wrote another")
        assert "wrote another" in panel.text("notices")


def test_notices_pass_while_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bodystream.sinks.viewer.notices.SHOWN_S", 1.0)
    monkeypatch.setattr("bodystream.sinks.viewer.server._LOOK_S", 0.05)
    with CaptureViewer(port=0) as viewer:
        panel = viewer._page._panel
        viewer.tell("saved")
        assert "saved" in panel.text("notices") and not panel._earlier.visible
        end = time.monotonic() + 10
        while panel.text("notices") or not panel._earlier.visible:  # another thread does one after the other
            assert time.monotonic() < end
            time.sleep(0.02)
        assert "saved" in panel.text("earlier")


def test_warnings_of_states_are_shown_with_how_often(viewer: CaptureViewer) -> None:
    panel = viewer._page._panel
    viewer._show(ViewerState(0, warnings={"the camera came back": 1}))
    viewer._show(ViewerState(1, warnings={"the camera came back": 3}))
    assert "the camera came back (3 times)" in panel.text("notices")
