"""Where a server can be reached, and why it cannot be opened somewhere."""

from __future__ import annotations

import errno
import socket

from bodystream.errors import SourceError
from bodystream.web.certificate import local_addresses

__all__ = ["bind_error", "reachable"]


def reachable(host: str) -> list[str]:
    """The addresses to show for what the server is bound to."""
    if host not in ("0.0.0.0", "::"):
        return [host]
    addresses = [a for a in local_addresses() if host == "::" or ":" not in a]
    return addresses or ["127.0.0.1"]


def bind_error(host: str, port: int, error: BaseException) -> SourceError:
    """What to tell a person whose server did not open."""
    where = f"the server cannot listen at {host} port {port}"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return SourceError(f"{where}: another program does, perhaps an earlier start of this one; choose another port")
    if number == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return SourceError(f"{where}: it is not an address of this machine; 0.0.0.0 stands for all of them")
    if number in (errno.EACCES, errno.EPERM):
        return SourceError(f"{where}: not permitted; ports below 1024 are for administrators, choose another one")
    return SourceError(f"{where}: {error}; choose another address or port")
