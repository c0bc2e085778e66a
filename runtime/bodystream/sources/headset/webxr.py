"""A standalone headset as a source: its browser opens a page here, which sends head and hands.

docs/webxr.md tells users how to connect and describes the messages for people who write a page of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bodystream.errors import ConfigurationError, SourceError
from bodystream.sources.base import SourceCounts
from bodystream.sources.headset.webxr_limits import SessionLimits, WireCounts
from bodystream.sources.headset.webxr_route import HeadsetRoute
from bodystream.timing import Slot
from bodystream.types import HeadsetSample
from bodystream.web.clock import ClockFigures
from bodystream.web.invitation import Invitation
from bodystream.web.options import DEFAULT_PORT, ServerOptions
from bodystream.web.server import PageServer

__all__ = ["WebXrHeadset"]

_POLL_S = 0.1


class WebXrHeadset:
    """Samples of a headset whose browser opened the page at `url`; see `bodystream.sources.headset.base.HeadsetSource`.

    The server runs from the constructor on, in a thread of its own. One client is active: a second one takes over.
    Once a client has been there, samples with `head=None` come ten times a second while it is stalled or gone, and
    the iteration goes on with the next client (`counts.reconnects`) until `close`.

    Poses are valid for the time that the browser predicted them for, where it tells that; `t_ns` may then be some
    20 ms ahead of now.

    Args:
        host, port, token, certificate, key, tls, origins, configuration: see `web.options.ServerOptions`.
        on_status: called with sentences for people, the address among them, from any thread; must return soon.
        first_client_s: wait for a first client at most so long [s]; None waits until `close`.
        stop_at_end: end the iteration when the client says that its session is over.
        limits: of what a client may do.
        server: one that runs already and serves others, too, in the place of an own one; it is not closed with this.

    Attributes:
        url: of the page, with the token.
        urls: the same at each address of this machine.
        fingerprint: SHA-256 of the certificate as browsers show it; None without TLS.
        wire: what came over the network.
        server: that it hangs in.

    Raises:
        ConfigurationError: an option cannot be used.
        MissingDependencyError: `cryptography` is not installed and no certificate was given.
        SourceError: the address cannot be bound.
    """

    live = True

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        token: str | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        *,
        tls: bool = True,
        origins: Sequence[str] = (),
        on_status: Callable[[str], None] | None = None,
        first_client_s: float | None = None,
        stop_at_end: bool = False,
        configuration: Path | None = None,
        limits: SessionLimits | None = None,
        server: PageServer | None = None,
    ) -> None:
        if first_client_s is not None and not first_client_s > 0:
            raise ConfigurationError(f"WebXR option first_client_s must be positive, got {first_client_s}")
        self.counts = SourceCounts()
        self.wire = WireCounts()
        self.name = "webxr"
        self._on_status = on_status
        self._first_client_s = first_client_s
        self._stop_at_end = stop_at_end
        self._slot: Slot[HeadsetSample] = Slot()
        self._origin_moved = False
        self._seen_client = threading.Event()
        self._told_ns: dict[str, int] = {}
        self._last_index = -1
        self._own_server = server is None
        if server is None:
            options = ServerOptions(host, port, token, certificate, key, tls, tuple(origins), configuration)
            server = PageServer(options, report=self._report, status=self._status)
            self.wire.refused = server.refused  # requests and messages are counted together
        self.server = server
        self._route = HeadsetRoute(
            server,
            deliver=self._deliver,
            report=self._report,
            on_client=self._client_came,
            on_end=self._client_ended,
            counts=self.wire,
            limits=SessionLimits() if limits is None else limits,
        )
        self.fingerprint, self.urls, self.url = server.fingerprint, server.urls, server.url
        if self._own_server:
            server.announce("in the headset's browser", "give webxr?host=0.0.0.0 to let a headset in")

    @property
    def invitation(self) -> Invitation | None:
        """The page's address and its QR code; None where only this machine can open it."""
        return self.server.invitation

    @property
    def rate_hz(self) -> float | None:
        """The display's rate as the browser tells it, or None."""
        session = self._route.session
        return None if session is None or session.hello is None else session.hello.rate_hz

    @property
    def clock(self) -> ClockFigures:
        """How well the active client's clock is aligned; of the last one where there is none now."""
        session = self._route.latest
        return ClockFigures(0, 0.0, 0.0, 0) if session is None else session.clock.figures()

    def __iter__(self) -> Iterator[HeadsetSample]:
        started_s = time.monotonic()
        while True:
            try:
                sample = self._slot.take(_POLL_S)
            except TimeoutError:
                self._check_first_client(started_s)
                continue
            if sample is None:
                break
            if self.counts.delivered:  # what came before the iteration began was not asked for
                self.counts.lost += max(0, sample.index - self._last_index - 1)
            self.counts.delivered += 1
            self._last_index = sample.index
            if sample.origin_moved:
                self._origin_moved = False
            yield sample
            del sample
        self.close()

    def close(self) -> None:
        """Stop the server and disconnect the client; safe to call twice and from another thread."""
        self._slot.close()
        if self._own_server:
            self.server.stop()
        else:
            self._route.close()

    def __enter__(self) -> WebXrHeadset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_first_client(self, started_s: float) -> None:
        wait_s = self._first_client_s
        if wait_s is None or self._seen_client.is_set() or time.monotonic() - started_s < wait_s:
            return
        self.close()
        raise SourceError(
            f"no headset connected within {wait_s:g} s: open {self.url} in its browser and press Enter; both must be "
            "in one network, and no firewall between them"
        )

    # The server's thread

    def _deliver(self, sample: HeadsetSample) -> None:
        # The newest sample wins, but a moved origin is told until a sample with it was taken; twice does no harm.
        self._origin_moved = self._origin_moved or sample.origin_moved
        self._slot.put(replace(sample, origin_moved=self._origin_moved))

    def _client_came(self, again: bool) -> None:
        self._seen_client.set()
        if again:
            self.counts.reconnects += 1
        self._status("a headset's page is connected")

    def _client_ended(self) -> None:
        if self._stop_at_end:
            self._slot.close()

    def _report(self, kind: str, text: str) -> None:
        """Each kind is a warning once, and a status at most once a second: a client cannot flood either."""
        last_ns, now_ns = self._told_ns.get(kind), time.monotonic_ns()
        if last_ns is None and kind not in ("end", "resumed"):
            self.counts.warn(text)
        if last_ns is None or now_ns - last_ns >= 1_000_000_000:
            self._told_ns[kind] = now_ns
            self._status(text)

    def _status(self, text: str) -> None:
        if self._on_status is None:
            return
        try:
            self._on_status(text)
        except Exception as error:  # the caller's own function must not end the server
            self.counts.warn(f"on_status failed with {error!r} and was not told: {text}")
