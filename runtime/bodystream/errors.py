"""The kinds of error that a user can meet. Each message says what happened, where, and what to do.

Messages quote names and values out of files and streams. Whatever those hold, a message stays short and printable.
"""

from __future__ import annotations

__all__ = [
    "BodystreamError",
    "BundleError",
    "ConfigurationError",
    "DeviceError",
    "InputError",
    "MissingDependencyError",
    "NotReadyError",
    "SessionError",
    "SourceError",
    "excerpt",
]

_MAX_MESSAGE = 1200


def excerpt(value: object, limit: int = 60) -> str:
    """A value from outside as it may stand in a message: printable, text in quotes, `limit` characters at most."""
    text = repr(value[: limit + 1] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _printable(message: str) -> str:
    """One message without control characters (a terminal obeys them), its middle left out where it is very long."""
    if len(message) > _MAX_MESSAGE:
        half = _MAX_MESSAGE // 2
        message = f"{message[:half]} [...] {message[-half:]}"
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in message)


class BodystreamError(Exception):
    """Base of all errors that the command line prints without a traceback."""

    def __init__(self, message: str = "") -> None:
        super().__init__(_printable(message))


class ConfigurationError(BodystreamError):
    """An option has a value that cannot be used."""


class DeviceError(BodystreamError):
    """A compute device or provider that was asked for is absent or does not work."""


class InputError(BodystreamError):
    """A file, folder or message from outside does not hold what it should."""


class SourceError(BodystreamError):
    """A camera or recording stopped, stalled or cannot be opened."""


class SessionError(BodystreamError):
    """A session was asked for something that its state does not allow: it is closed, or reads a source."""


class NotReadyError(SessionError):
    """A session was asked for a result before it had one: push a frame or sample first, or wait for the source."""


class BundleError(BodystreamError):
    """A bundle is missing, damaged or of another version."""


class MissingDependencyError(BodystreamError):
    """An optional package is needed for what was asked.

    Args:
        package: what is missing, as a user would name it (`pyrealsense2`, `libusb-1.0`).
        purpose: what it is needed for.
        remedy: the command or step that provides it.
    """

    def __init__(self, package: str, purpose: str, remedy: str) -> None:
        super().__init__(f"{package} is needed {purpose}, and it is not installed. {remedy}")
        self.package = package
        self.remedy = remedy
