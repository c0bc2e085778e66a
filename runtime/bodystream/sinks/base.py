"""What a session hands its results to: the contract of a sink, and what a pipeline lets one see of itself."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

__all__ = ["Occasion", "PreparingSink", "Sink", "SinkBase"]

R_in = TypeVar("R_in", contravariant=True)
R = TypeVar("R")
V_in = TypeVar("V_in", contravariant=True)


class Occasion(enum.Enum):
    """Why a pipeline shows itself to the sinks that prepare what they are given."""

    RESULT = "result"
    """A frame or sample was processed."""
    FORGET = "forget"
    """The model is about to be forgotten, and is still there."""
    SAVE = "save"
    """Somebody asked for the files as they stand."""
    END = "end"
    """Nothing will come any more."""


@runtime_checkable
class Sink(Protocol[R_in]):
    """Takes a session's results on a thread of its own, so that a slow one never holds up the pipeline.

    `SinkBase` has defaults for all but `publish` and `name`, and further settings. The arrays of what is published are
    not written to by anybody, and must not be.

    Attributes:
        name: for messages.
    """

    @property
    def name(self) -> str: ...

    def publish(self, result: R_in, /) -> None:
        """Take one result; called on the sink's thread, in order.

        What it raises is a warning of the session. After 20 failures in a row the sink is switched off.
        """
        ...

    def close(self) -> Sequence[str]:
        """Finish; called once on the sink's thread, after the last result and also of a sink that was switched off.

        Returns:
            Lines for a person, such as `wrote out/poses.csv`.

        Raises:
            BodystreamError: what could not be finished; a failure of the session, which its other sinks do not share.
        """
        ...


class SinkBase(ABC, Generic[R]):
    """A sink with the usual settings; a class of its own overrides `publish`, and what else it wants.

    Attributes:
        name: for messages.
        lossless: results wait in order while the sink is busy, as files want it; else the newest one replaces the one
            that waits, as viewers and streams want it.
        bound: of a lossless sink, how many results may wait. What comes beyond is left out, and a warning says so.
        max_rate_hz: a sink is called at most this often. A lossless one then gets what came meanwhile at once, followed
            by `flush`; None = as it comes.
        close_within_s: how long a session waits for the sink to finish. One that takes longer is left behind.
    """

    name: str = "sink"
    lossless: bool = False
    bound: int = 64
    max_rate_hz: float | None = None
    close_within_s: float = 5.0

    @abstractmethod
    def publish(self, result: R, /) -> None:
        """See `Sink.publish`."""

    def flush(self) -> None:
        """What was published together has been; called on the sink's thread."""

    def close(self) -> Sequence[str]:
        return ()

    @property
    def warnings(self) -> Sequence[str]:
        """What went wrong besides what `publish` raised, for the report."""
        return ()


@runtime_checkable
class PreparingSink(Protocol[V_in]):
    """A sink that wants more than the result, or something else in its place.

    A pipeline's arrays live on a device and are overwritten by the next step. Who needs them copies them in `prepare`.
    """

    def prepare(self, view: V_in, /) -> object | None:
        """What `publish` is given on this `view.occasion`, or None for nothing.

        Called on the pipeline's thread: only what has to be copied there is done here. It must not call the session.
        """
        ...
