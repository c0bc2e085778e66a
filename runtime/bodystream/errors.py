"""The kinds of error that a user can meet. Each message says what happened, where, and what to do."""

__all__ = [
    "BodystreamError",
    "BundleError",
    "ConfigurationError",
    "DeviceError",
    "InputError",
    "MissingDependencyError",
    "SourceError",
]


class BodystreamError(Exception):
    """Base of all errors that the command line prints without a traceback."""


class ConfigurationError(BodystreamError):
    """An option has a value that cannot be used."""


class DeviceError(BodystreamError):
    """A compute device or provider that was asked for is absent or does not work."""


class InputError(BodystreamError):
    """A file, folder or message from outside does not hold what it should."""


class SourceError(BodystreamError):
    """A camera or recording stopped, stalled or cannot be opened."""


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
