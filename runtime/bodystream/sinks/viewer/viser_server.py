"""Starts the library's server behind our gate. All that we use of it and that it does not document is in here.

viser has no setting for who may connect. It starts its server by `websockets.asyncio.server.serve`, whose documented
options decide that: while it starts, the name stands for one that sets them. What clients may ask of it is cut down to
what our pages need: viser answers requests to share the page in public and to upload files, buttons or not.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import websockets.asyncio.server

from bodystream.errors import ConfigurationError, MissingDependencyError
from bodystream.sinks.viewer.client_messages import TYPES_ALLOWED
from bodystream.sinks.viewer.gate import Gate

if TYPE_CHECKING:
    import viser

__all__ = ["quiet", "start_viser", "subprotocol"]

_SUPPORTED = "1.1."
_PORTS_TRIED = 100
_start_lock = threading.Lock()


def subprotocol() -> str:
    """What the websocket of a page asks for."""
    import viser

    return f"viser-v{viser.__version__}"


def start_viser(host: str, port: int, gate: Gate) -> viser.ViserServer:
    """A server at the first free port from `port` on, at which nobody gets past the gate.

    Raises:
        ConfigurationError: no port to listen on.
        MissingDependencyError: a version of viser that the gate does not fit.
    """
    import viser  # a quarter of a second that a headless run does not spend

    if not viser.__version__.startswith(_SUPPORTED):
        raise _unsupported(viser.__version__)
    chosen = _free_port(host, port)
    with quiet(), _start_lock, _serving(gate) as started:
        server = viser.ViserServer(host, chosen, label="bodystream", verbose=False)
    try:
        inner = server._websock_server
        if len(started) != 1:
            raise AttributeError("the server was started in another way")
        # In this order: who connected meanwhile has no handlers of its own then, or loses them here.
        inner.on_client_connect(_take_handlers_off)
        _take_handlers_off(inner)
    except AttributeError as error:
        server.stop()
        raise _unsupported(viser.__version__) from error
    return server


def _take_handlers_off(handler: Any) -> None:
    """Leave an end of the library's, the server's or one client's, with nothing to answer but what is allowed."""
    for message in list(handler._incoming_handlers):
        if message.__name__ not in TYPES_ALLOWED:
            handler.unregister_handler(message)


@contextmanager
def _serving(gate: Gate) -> Iterator[list[bool]]:
    """Let the library's next server be made with the gate's options; what is yielded has one entry per such server."""
    module = websockets.asyncio.server
    original: Callable[..., Any] = module.serve
    started: list[bool] = []

    def serve(handler: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if not _is_of_viser(handler):
            return original(handler, *args, **options)  # somebody else's, on another thread
        started.append(True)
        return original(handler, *args, **{**options, **gate.options(options["process_request"])})

    module.serve = serve  # type: ignore[assignment,misc]
    try:
        yield started
    finally:
        module.serve = original  # type: ignore[misc]


def _is_of_viser(function: Callable[..., Any]) -> bool:
    return getattr(function, "__module__", "").split(".")[0] == "viser"


def _unsupported(version: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"viser {_SUPPORTED}x (found {version})",
        "for the page in the browser: what keeps others out of it was proven with that version alone",
        "Install it with `pip install 'viser>=1.1,<1.2'`, or do without the page: --headless",
    )


def _free_port(host: str, port: int) -> int:
    """The first port from `port` on that can be bound; 0 stays 0, for which the system chooses."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, port + 1 if port == 0 else min(port + _PORTS_TRIED, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "posix":  # as the server will; elsewhere the option means to share the port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
                return candidate
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise ConfigurationError(
                        f"the viewer cannot listen on {host}: {error.strerror or error}. Give an address of this "
                        f"machine, such as 127.0.0.1"
                    ) from error
    raise ConfigurationError(
        f"the viewer found no free port on {host} from {port} on ({_PORTS_TRIED} tried): give another port"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the server's own lines off stdout, where results go; only what rich's shared console prints is hidden."""
    import rich

    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
