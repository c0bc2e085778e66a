"""What every source of RGB-D frames offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from bodystream.types import RgbdFrame

__all__ = ["RawSource", "RgbdSource", "SourceCounts"]


@dataclass(slots=True)
class SourceCounts:
    """What a source has seen so far; the report shows it.

    Attributes:
        delivered: frames yielded.
        lost: frames the device or recording had and the source could not deliver.
        reconnects: how often a device came back after it was unplugged.
        warnings: messages for the user, each once, in the order in which they came up.
        warning_times: how often each of them came up.
    """

    delivered: int = 0
    lost: int = 0
    reconnects: int = 0
    warnings: list[str] = field(default_factory=list)
    warning_times: dict[str, int] = field(default_factory=dict)

    def warn(self, message: str) -> None:
        """Record that `message` came up, once more where it did before."""
        if message not in self.warnings:
            self.warnings.append(message)
        self.warning_times[message] = self.warning_times.get(message, 0) + 1

    def counted_warnings(self) -> dict[str, int]:
        """All warnings so far, each with how often it came up."""
        return {message: self.warning_times.get(message, 1) for message in tuple(self.warnings)}


@runtime_checkable
class RgbdSource(Protocol):
    """Yields atomic frames in order of time until it ends or is closed.

    Attributes:
        name: what a person would call it: `folder:take`, `realsense:1234`, `synthetic:0`.
        live: true where frames come at the device's pace and the newest one wins; false for recordings,
            which are read as fast as they are processed and lose nothing.
        rate_hz: nominal frame rate, or None where it is not known.
        counts: what was delivered and lost.

    A live source may have `on_demand = True`: its frames are generated, and the next one is asked for only when the
    last one was taken.
    """

    name: str
    live: bool
    rate_hz: float | None
    counts: SourceCounts

    def __iter__(self) -> Iterator[RgbdFrame]: ...

    def close(self) -> None:
        """Stop and release the device or files; safe to call twice and from another thread."""
        ...


@runtime_checkable
class RawSource(Protocol):
    """A source that can give its images also as the device gave them.

    Attributes:
        keep_raw: set it before frames are read, and they have `RgbdFrame.raw`.
    """

    keep_raw: bool
