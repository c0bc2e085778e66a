"""What takes the poses of a motion and makes files of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from bodystream.sinks.reports.repose import WrittenSection

__all__ = ["Output"]


class Output(ABC):
    """Takes the poses of a motion, one after the other.

    Attributes:
        wanted: frames that it looks at before the first one comes, once each.
    """

    wanted: Sequence[int] = ()

    def look(self, frame: int) -> None:
        """One of `wanted` was posed and fetched; who wants none is told of none."""
        return

    @abstractmethod
    def take(self, frame: int) -> None:
        """A frame was posed and fetched."""

    @abstractmethod
    def finish(self) -> WrittenSection:
        """All frames were taken: what is there now.

        Raises:
            InputError: a file cannot be written.
        """

    def stopped(self) -> str:
        """Why and how much is there where not all frames were taken, in words; empty where nothing is."""
        return ""
