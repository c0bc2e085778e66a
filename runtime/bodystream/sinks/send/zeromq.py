"""BD-24 messages over ZeroMQ: a PUB socket that any number of subscribers connect to."""

from __future__ import annotations

from typing import Any

from bodystream.errors import ConfigurationError, MissingDependencyError
from bodystream.sinks.send.base import DrivenPose
from bodystream.sinks.send.bd24 import bd24_message

__all__ = ["ZmqSender"]

_WAITING = 8
"""Messages that wait for a subscriber that is slow; what comes beyond is left out for it."""


class ZmqSender:
    """Publishes poses; see `PoseSender`. Subscribers that are away, slow or gone cost nothing.

    Args:
        host: address to listen at; 0.0.0.0 lets other machines in.
        port: 0 takes a free one.

    Attributes:
        port: that it listens at.

    Raises:
        MissingDependencyError: pyzmq is not installed.
        ConfigurationError: the address cannot be listened at.
    """

    def __init__(self, host: str, port: int) -> None:
        zmq = _load_zmq()
        self.warnings: list[str] = []
        self._number = 0
        self._zmq = zmq
        self._context: Any = zmq.Context()
        self._socket: Any = self._context.socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, _WAITING)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IPV6, ":" in host)
        bracketed = f"[{host}]" if ":" in host else host
        try:
            self._socket.bind(f"tcp://{bracketed}:{port or '*'}")
        except zmq.ZMQError as error:
            self.close()
            raise ConfigurationError(
                f"zmq: port {port} at {host} cannot be listened at ({zmq.strerror(error.errno)}): choose another, or "
                "end the program that has it"
            ) from error
        endpoint = self._socket.getsockopt(zmq.LAST_ENDPOINT).decode()
        self.port = int(endpoint.rstrip("\0").rpartition(":")[2])
        self.name = f"zmq:{host}:{self.port}"

    def send(self, driven: DrivenPose) -> bool:
        number, self._number = self._number, self._number + 1
        try:
            self._socket.send(bd24_message(driven, number), self._zmq.NOBLOCK)
        except self._zmq.Again:
            return False
        return True

    def close(self) -> None:
        self._socket.close()
        self._context.term()


def _load_zmq() -> Any:
    try:
        import zmq
    except ImportError as error:
        raise MissingDependencyError("pyzmq", "to send by ZeroMQ", "pip install 'bodystream[zmq]'") from error
    return zmq
