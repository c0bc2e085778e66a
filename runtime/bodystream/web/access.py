"""Who may talk to a server of ours: the address that was asked for, the page that asks, and the token."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from bodystream.errors import ConfigurationError

__all__ = ["AccessPolicy", "Refusal", "is_loopback", "make_token", "page_url"]

# Without letters that are taken for another: people type this on a keyboard that floats in front of them.
_TOKEN_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_MIN_TOKEN_LENGTH = 8
_MAX_TARGET = 1024


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was turned down.

    Attributes:
        kind: `host`, `origin`, `token` or `path`; the server counts them.
        guess: a wrong token was given, so the answer is delayed.
    """

    kind: str
    status: HTTPStatus
    message: str
    guess: bool = False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def make_token(length: int = _MIN_TOKEN_LENGTH) -> str:
    """A random token of five bits per letter; wrong ones are answered slowly, so that 40 bits cannot be guessed."""
    return "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(length))


def page_url(scheme: str, host: str, port: int, token: str | None) -> str:
    """The address of the page, with the token in it where there is one."""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}/" + ("" if token is None else f"?token={token}")


class AccessPolicy:
    """Decides on each request, the page's and the websocket's.

    - The `Host` must be an address or a name of this machine: a page from elsewhere whose name was pointed at this
      machine (DNS rebinding) has its own name there.
    - The `Origin`, which every browser sends with a websocket, must be the page of this very server or one of
      `origins`. A program that is no browser may send none.
    - The token, where there is one, must be in the query, or in the header `Authorization: Bearer TOKEN`.

    Args:
        host: that the server is bound to.
        token: None where none is needed.
        origins: other pages that may connect, as `https://192.168.1.2:8080`.
        accepts: other tokens that are as good, such as those of devices that were paired.

    Raises:
        ConfigurationError: no token for an address that others can reach, a token that is too short or needs escapes,
            an origin that is none.
    """

    def __init__(
        self,
        host: str,
        token: str | None,
        scheme: str,
        origins: Sequence[str] = (),
        accepts: Callable[[str], bool] | None = None,
    ) -> None:
        if token is None and not is_loopback(host):
            raise ConfigurationError(f"{host} can be reached by other machines, which needs a token, and there is none")
        if token is not None and not (len(token) >= _MIN_TOKEN_LENGTH and token.isascii() and token.isalnum()):
            raise ConfigurationError(
                f"a token must have at least {_MIN_TOKEN_LENGTH} letters and digits and nothing else, got {len(token)} "
                "characters: leave it away to have one made"
            )
        for origin in origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in ("http", "https")
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise ConfigurationError(
                    f"{origin!r} is not an origin: wanted scheme, host and port only, as https://192.168.1.2:8080"
                )
        self._loopback = is_loopback(host)
        self._token, self._accepts = token, accepts
        self._scheme = scheme
        self._origins = frozenset(origin.lower() for origin in origins)
        name = socket.gethostname().lower()
        self._names = {host.lower(), "localhost", name, f"{name}.local", name.removesuffix(".local")}

    @property
    def needs_token(self) -> bool:
        return self._token is not None

    def refusal(
        self,
        target: str,
        hosts: Sequence[str],
        origins: Sequence[str],
        *,
        authorizations: Sequence[str] = (),
        public: bool = False,
    ) -> Refusal | None:
        """Why the request is refused, or None.

        Args:
            target: path and query of the request.
            hosts, origins, authorizations: the values of all its `Host`, `Origin` and `Authorization` headers.
            public: what is asked for needs no token: the page itself, which tells nothing.
        """
        if len(target) > _MAX_TARGET:
            return Refusal("path", HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long.")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return Refusal(
                "host",
                HTTPStatus.MISDIRECTED_REQUEST,
                "This is not a name of this machine: open the address as it was printed.",
            )
        if len(origins) > 1 or (origins and not self._may_connect(origins[0], hosts[0])):
            return Refusal(
                "origin",
                HTTPStatus.FORBIDDEN,
                "A page from another place may not connect: open the address that was printed, or allow its origin.",
            )
        if self._token is not None and not public:
            given = parse_qs(target.partition("?")[2]).get("token", [])
            given += [value[7:].strip() for value in authorizations if value[:7].lower() == "bearer "]
            if len(given) != 1 or not self._is_token(given[0]):
                return Refusal(
                    "token",
                    HTTPStatus.FORBIDDEN,
                    "The token is missing or wrong: open the whole address that was printed, with what stands behind "
                    "the question mark.",
                    guess=bool(given),
                )
        return None

    def _is_token(self, given: str) -> bool:
        assert self._token is not None
        # As bytes, since compare_digest takes no str beyond ASCII; a request's odd bytes come as surrogates.
        if hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode()):
            return True
        return self._accepts is not None and self._accepts(given)

    def _is_ours(self, host_header: str) -> bool:
        try:
            name = urlsplit(f"//{host_header}").hostname or ""
        except ValueError:
            return False
        if self._loopback:
            return is_loopback(name)
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name.split("%")[0])
        except ValueError:
            return False
        # An address cannot be pointed elsewhere as a name can, and behind a router it need not be one that we know.
        return True

    def _may_connect(self, origin: str, host_header: str) -> bool:
        origin = origin.lower()
        return origin == f"{self._scheme}://{host_header.lower()}" or origin in self._origins
