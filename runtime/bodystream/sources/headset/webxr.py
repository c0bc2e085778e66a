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
from bodystream.sources.headset.webxr_invitation import invitation_of, qr_text
from bodystream.sources.headset.webxr_limits import SessionLimits, WireCounts
from bodystream.sources.headset.webxr_server import HeadsetServer
from bodystream.timing import Slot
from bodystream.types import HeadsetSample
from bodystream.web.access import AccessPolicy, is_loopback, make_token, page_url
from bodystream.web.certificate import (
    Certificate,
    local_addresses,
    own_certificate,
    server_context,
    user_certificate,
)
from bodystream.web.clock import ClockFigures
from bodystream.web.invitation import Invitation

__all__ = ["DEFAULT_PORT", "WebXrHeadset"]

DEFAULT_PORT = 8443
_POLL_S = 0.1


class WebXrHeadset:
    """Samples of a headset whose browser opened the page at `url`; see `bodystream.sources.headset.base.HeadsetSource`.

    The server runs from the constructor on, in a thread of its own. One client is active: a second one takes over.
    Once a client has been there, samples with `head=None` come ten times a second while it is stalled or gone, and
    the iteration goes on with the next client (`counts.reconnects`) until `close`.

    Poses are valid for the time that the browser predicted them for, where it tells that; `t_ns` may then be some
    20 ms ahead of now.

    Args:
        host: address to listen at. Anything but the loopback can be reached by others, so that a token is made.
        port: 0 takes a free one.
        token: that clients must give in the query; at least 8 letters and digits. None makes one where it is needed.
        certificate, key: PEM files; None takes a self-signed one that is made once and kept.
        tls: false for plain http, at the loopback only: browsers offer WebXR at https addresses and at localhost.
        origins: other pages that may connect, as `https://192.168.1.2:8080`.
        on_status: called with sentences for people, the address among them, from any thread; must return soon.
        first_client_s: wait for a first client at most so long [s]; None waits until `close`.
        stop_at_end: end the iteration when the client says that its session is over.
        configuration: folder of the self-signed certificate; None takes the user's.
        limits: of what a client may do.

    Attributes:
        url: of the page, with the token.
        urls: the same at each address of this machine.
        fingerprint: SHA-256 of the certificate as browsers show it; None without TLS.
        wire: what came over the network.

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
    ) -> None:
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"WebXR option port must be 0 to 65535, got {port}")
        if first_client_s is not None and not first_client_s > 0:
            raise ConfigurationError(f"WebXR option first_client_s must be positive, got {first_client_s}")
        if key is not None and certificate is None:
            raise ConfigurationError("WebXR option key needs the option certificate, the file that it belongs to")
        if not tls and not is_loopback(host):
            raise ConfigurationError(
                f"without TLS only the loopback can be served, got host {host}: no browser offers WebXR at another "
                "http address"
            )
        if not tls and certificate is not None:
            raise ConfigurationError("WebXR option certificate needs TLS: leave away tls=False or the certificate")
        token = make_token() if token is None and not is_loopback(host) else token
        scheme = "https" if tls else "http"
        policy = AccessPolicy(host, token, scheme, origins)
        chosen = _certificate(certificate, key, configuration) if tls else None
        self.counts = SourceCounts()
        self.wire = WireCounts()
        self.name = "webxr"
        self._host = host
        self._on_status = on_status
        self._first_client_s = first_client_s
        self._stop_at_end = stop_at_end
        self._slot: Slot[HeadsetSample] = Slot()
        self._origin_moved = False
        self._seen_client = threading.Event()
        self._told_ns: dict[str, int] = {}
        self._last_index = -1
        self._server = HeadsetServer(
            host,
            port,
            None if chosen is None else server_context(chosen),
            policy,
            deliver=self._deliver,
            report=self._report,
            on_client=self._client_came,
            on_end=self._client_ended,
            counts=self.wire,
            limits=SessionLimits() if limits is None else limits,
        )
        self.fingerprint = None if chosen is None else chosen.fingerprint
        self.urls = [page_url(scheme, name, self._server.port, token) for name in _reachable(host)]
        self.url = self.urls[0]
        self._announce(chosen)

    @property
    def invitation(self) -> Invitation | None:
        """The page's address and its QR code; None where only this machine can open it."""
        return None if is_loopback(self._host) else invitation_of(self.url)

    @property
    def rate_hz(self) -> float | None:
        """The display's rate as the browser tells it, or None."""
        session = self._server.session
        return None if session is None or session.hello is None else session.hello.rate_hz

    @property
    def clock(self) -> ClockFigures:
        """How well the active client's clock is aligned; of the last one where there is none now."""
        session = self._server.latest
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
        self._server.stop()

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

    def _announce(self, certificate: Certificate | None) -> None:
        where = f"open {' or '.join(self.urls)} in the headset's browser"
        if is_loopback(self._host):
            where += " (this machine only; give webxr?host=0.0.0.0 to let a headset in)"
        self._status(where)
        picture = "" if is_loopback(self._host) else qr_text(self.url)
        if picture:
            self._status(picture)
        if certificate is None:
            return
        if certificate.own:
            self._status(f"its certificate is our own, so the browser warns; SHA-256 {certificate.fingerprint}")
        if certificate.note:
            self._status(certificate.note)

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


def _certificate(path: str | Path | None, key: str | Path | None, folder: Path | None) -> Certificate:
    if path is None:
        return own_certificate(folder)
    return user_certificate(Path(path).expanduser(), None if key is None else Path(key).expanduser())


def _reachable(host: str) -> list[str]:
    """The addresses to show for what the server is bound to."""
    if host not in ("0.0.0.0", "::"):
        return [host]
    addresses = [a for a in local_addresses() if host == "::" or ":" not in a]
    return addresses or ["127.0.0.1"]
