"""Where a server listens and who may come in, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bodystream.errors import ConfigurationError
from bodystream.web.access import is_loopback

__all__ = ["DEFAULT_PORT", "ServerOptions"]

DEFAULT_PORT = 8443


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Options of a `PageServer`.

    Attributes:
        host: address to listen at. Anything but the loopback can be reached by others, so that a token is made.
        port: 0 takes a free one.
        token: that clients must give; at least 8 letters and digits. None makes one where it is needed.
        certificate, key: PEM files; None takes a self-signed one that is made once and kept.
        tls: false for plain http, at the loopback only: browsers offer WebXR at https addresses and at localhost.
        origins: other pages that may connect, as `https://192.168.1.2:8080`.
        configuration: folder of the self-signed certificate; None takes the user's.

    Raises:
        ConfigurationError: options that cannot be, or do not go together.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    tls: bool = True
    origins: tuple[str, ...] = ()
    configuration: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"a server's port must be 0 to 65535, got {self.port}")
        if self.key is not None and self.certificate is None:
            raise ConfigurationError("a server's key needs the option certificate, the file that it belongs to")
        if not self.tls and not is_loopback(self.host):
            raise ConfigurationError(
                f"without TLS only the loopback can be served, got host {self.host}: what is sent could be read on its "
                "way, the token included, and no browser offers WebXR at another http address"
            )
        if not self.tls and self.certificate is not None:
            raise ConfigurationError("a server's certificate needs TLS: leave away tls=False or the certificate")
