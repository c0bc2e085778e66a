"""The viewer as a sink: a server of its own, fed through a newest-wins slot."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypedDict, TypeVar, Unpack

from bodystream.errors import ConfigurationError
from bodystream.sinks.viewer.body_state import BodyViewerState, check_body
from bodystream.sinks.viewer.capture_state import ViewerState
from bodystream.sinks.viewer.gate import Gate
from bodystream.sinks.viewer.notices import Notices
from bodystream.sinks.viewer.panel import Buttons
from bodystream.sinks.viewer.viser_server import quiet, start_viser, subprotocol
from bodystream.sinks.worker import SinkWorker
from bodystream.timing import now_ns
from bodystream.types import SkinnedMesh
from bodystream.web.access import AccessPolicy, is_loopback, make_token, page_url
from bodystream.web.invitation import Invitation

if TYPE_CHECKING:
    import viser

__all__ = ["BodyViewer", "CaptureViewer", "Page", "PageServer"]

_TOKEN_LENGTH = 16  # nobody types it: the address is opened by us, or clicked

_LOOK_S = 1.0  # between two looks at whether a notice has passed


class _State(Protocol):
    @property
    def warnings(self) -> Sequence[str] | Mapping[str, int]: ...


S = TypeVar("S", bound=_State)
S_in = TypeVar("S_in", contravariant=True)


class Page(Protocol[S_in]):
    """What a server shows its states on; made by one thread, which `show` is called from as well, by one other."""

    bytes_sent: int
    """Bytes of geometry in the last state that was sent."""

    def show(self, state: S_in) -> None:
        """Send one state to all clients; what is switched off is not sent."""
        ...

    def show_notices(self, notices: Notices) -> None:
        """Renew what is said for some seconds; called from any thread."""
        ...

    def show_invitation(self, invitation: Invitation | None) -> None:
        """Say where to open a page elsewhere, while nobody has done so; called from any thread."""
        ...

    def set_running(self, running: bool) -> None:
        """Offer Pause while there is something running and Resume while there is not."""
        ...

    def forget(self, client_id: int) -> None:
        """A browser has gone."""
        ...


class _Options(TypedDict, total=False):
    on_start: Callable[[], None] | None
    on_stop: Callable[[], None] | None
    on_reset: Callable[[], None] | None
    on_save: Callable[[], str | None] | None
    allow_remote: bool


class PageServer(Generic[S]):
    """Shows states on a page in the browser.

    `publish` returns at once, whatever the clients do: states go through a slot to a thread that sends the newest
    one at most `max_rate_hz` times a second, and nothing is prepared while no browser is connected. A failure in
    that thread is recorded once in `warnings`.

    Only who has the address with the token in it gets the page, and no page of another place gets anything: see
    `bodystream.sinks.viewer.gate`.

    Args:
        make_page: puts the page on the server.
        port: the next free one is taken where it is busy; see `url`. 0 = any free one.
        host: the interface to listen on. What is sent is not encrypted, the token included, so others than this
            machine are refused unless `allow_remote`.
        on_start, on_stop, on_reset: what the buttons Resume, Pause and Reset do; called on another thread.
        on_save: what Save does; called on another thread. What it returns is shown, as by `tell`. None = no button.
        max_rate_hz: states that are shown per second, at most.

    Raises:
        ConfigurationError: a host that is not this machine without `allow_remote`, or no port to listen on.
        MissingDependencyError: a version of viser that is not supported.
    """

    def __init__(
        self,
        make_page: Callable[[viser.ViserServer, Buttons], Page[S]],
        port: int = 8080,
        host: str = "127.0.0.1",
        *,
        on_start: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
        on_reset: Callable[[], None] | None = None,
        on_save: Callable[[], str | None] | None = None,
        allow_remote: bool = False,
        max_rate_hz: float,
    ) -> None:
        self._callbacks = {"start": on_start, "stop": on_stop, "reset": on_reset, "save": on_save}
        self._notices = Notices()
        self._passing: threading.Timer | None = None
        self._invitation: Invitation | None = None
        self._running = True
        self._closed = False
        self._lock = threading.Lock()
        self._latest: S | None = None
        self._last_published_ns = 0
        self._interval_ns = int(1e9 / max_rate_hz)
        remote = not is_loopback(host)
        if remote and not allow_remote:
            raise ConfigurationError(
                f"the viewer was asked to listen on {host}, where other machines reach it, and what it sends is not "
                f"encrypted, the token in its address included. Use 127.0.0.1 (and an SSH tunnel from elsewhere), or "
                f"allow remote clients explicitly"
            )
        self._host, self._token = host, make_token(_TOKEN_LENGTH)
        self._worker: SinkWorker[S] = SinkWorker("viewer", self._show, max_rate_hz)
        self._gate = Gate(AccessPolicy(host, self._token, "http"), self._token, subprotocol(), self._worker.warn)
        try:
            self._server = start_viser(host, port, self._gate)
        except BaseException:
            self._worker.close()
            raise
        if remote:
            self._worker.warn(
                f"listening on {host} without encryption: who can read the network's traffic can watch and press the "
                "buttons"
            )
        buttons = Buttons(
            start=lambda: self._press("start"),
            stop=lambda: self._press("stop"),
            reset=lambda: self._press("reset"),
            change=self._repeat,
            save=None if on_save is None else lambda: self._press("save"),
        )
        self._page = make_page(self._server, buttons)
        self._server.on_client_connect(lambda _: self._repeat())
        self._server.on_client_disconnect(lambda client: self._page.forget(client.client_id))

    @property
    def url(self) -> str:
        """The address to open in a browser, with the token in it."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "") else self._host
        return page_url("http", host, self._server.get_port(), self._token)

    @property
    def client_count(self) -> int:
        """Browsers that are connected."""
        return 0 if self._closed else len(self._server.get_clients())

    @property
    def wants_state(self) -> bool:
        """True when a state published now would be shown soon: lets a pipeline spare itself making one.

        Also true for the very first state, which is kept for the browser to come.
        """
        if self._closed:
            return False
        if self._latest is None:
            return True
        return now_ns() - self._last_published_ns >= self._interval_ns and self.client_count > 0

    @property
    def warnings(self) -> list[str]:
        """What went wrong so far, each once."""
        return list(self._worker.warnings)

    @property
    def refused(self) -> Counter[str]:
        """Requests, connections and messages that were turned down, by kind."""
        return self._gate.refused.copy()

    @property
    def shown(self) -> int:
        """States that were sent to clients."""
        return self._worker.consumed

    @property
    def bytes_per_state(self) -> int:
        """Bytes of geometry in the last state that was sent."""
        return self._page.bytes_sent

    @property
    def running(self) -> bool:
        """Whether the page says that the pipeline runs; the buttons change it, and so may the pipeline."""
        return self._running

    @running.setter
    def running(self, running: bool) -> None:
        self._running = running
        if not self._closed:
            self._page.set_running(running)

    @property
    def invitation(self) -> Invitation | None:
        """Where to open a page on another device; the page says so for as long as it waits for that device."""
        return self._invitation

    @invitation.setter
    def invitation(self, invitation: Invitation | None) -> None:
        self._invitation = invitation
        if not self._closed:
            self._page.show_invitation(invitation)

    def tell(self, text: str) -> None:
        """Say on the page for some seconds that something went as it should; from any thread."""
        self._notices.tell(text)
        self._show_notices()

    def publish(self, state: S) -> None:
        """Offer a state; never blocks and never raises."""
        self._latest = state
        self._last_published_ns = now_ns()
        if self.client_count:
            self._worker.publish(state)

    def close(self) -> None:
        """Stop serving; clients see that the connection ended. Safe to call twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._passing is not None:
                self._passing.cancel()
        self._worker.close()
        with quiet():
            self._server.stop()
        self._latest = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _show(self, state: S) -> None:
        if self._closed:
            return
        self._page.show(state)
        self._page.show_invitation(self._invitation)
        self._notices.warn(state.warnings, "state")
        self._show_notices()

    def _show_notices(self) -> None:
        self._notices.warn(self.warnings, "viewer")
        with self._lock:
            if self._closed:
                return
            self._page.show_notices(self._notices)
            if self._notices.now() and self._passing is None:
                self._passing = threading.Timer(_LOOK_S, self._pass)
                self._passing.daemon = True
                self._passing.start()

    def _pass(self) -> None:
        """Notices pass also while no states come."""
        self._passing = None
        self._show_notices()

    def _repeat(self) -> None:
        """A browser that connects sees the last state at once, also of a pipeline that is stopped."""
        if self._latest is not None:
            self._worker.publish(self._latest)

    def _press(self, button: str) -> None:
        """Run the callback of a button; what it raises is shown on the page and recorded."""
        callback = self._callbacks[button]
        try:
            outcome = None if callback is None else callback()
        except Exception as error:
            self._worker.record(error, f"button {button}")
            self._show_notices()
            return
        if outcome is not None:
            self.tell(outcome)
        if button in ("start", "stop"):
            self.running = button == "start"


class CaptureViewer(PageServer[ViewerState]):
    """Shows a capture: `PageServer`, whose arguments it takes, with the page of a depth camera's capture.

    Meshes are sent as binary glTF, since of the page's mesh types only that has colours per vertex. (Its skinned
    mesh would need only the nodes' motions, 28 bytes each, but has one colour, and the surface's topology changes
    from frame to frame.)
    """

    def __init__(
        self, port: int = 8080, host: str = "127.0.0.1", *, max_rate_hz: float = 10.0, **options: Unpack[_Options]
    ) -> None:
        from bodystream.sinks.viewer.capture_page import ViewerPage

        super().__init__(ViewerPage, port, host, max_rate_hz=max_rate_hz, **options)


class BodyViewer(PageServer[BodyViewerState]):
    """Shows a driven body: `PageServer`, whose arguments it takes, with the page of a skeleton and its surface.

    Args:
        body: the surface at bind, sent once; per state only the bones' motions follow. None = skeleton only, or the
            states' own meshes.
    """

    def __init__(
        self,
        body: SkinnedMesh | None = None,
        port: int = 8080,
        host: str = "127.0.0.1",
        *,
        max_rate_hz: float = 30.0,
        **options: Unpack[_Options],
    ) -> None:
        from bodystream.sinks.viewer.body_page import BodyPage

        if body is not None:
            check_body(body)
        super().__init__(
            lambda server, buttons: BodyPage(server, buttons, body), port, host, max_rate_hz=max_rate_hz, **options
        )
