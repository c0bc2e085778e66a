"""A body or a surface as all clients share it, and how far one client has got with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Cursor", "Figures", "Subject", "Update"]


@dataclass(frozen=True, slots=True)
class Figures:
    """How a session fares, for the status that clients are sent.

    Attributes:
        rate_hz: as a person sees it.
        latency_ms: of the last frame or sample.
        status, reason: of it.
        warnings: so far.
    """

    rate_hz: float = 0.0
    latency_ms: float = 0.0
    status: str = "lost"
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """What one frame or sample brings, as packed messages.

    Attributes:
        begins: skeletons and pieces of before are dropped.
        skeletons: bones that are new, in order.
        pieces: those that changed, by number; one that is gone is sent as a piece of nothing.
        motion, graph, whole: where there is something new.
        figures: of the session.
    """

    begins: bool = False
    skeletons: tuple[bytes, ...] = ()
    pieces: dict[int, bytes] = field(default_factory=dict)
    motion: bytes | None = None
    graph: bytes | None = None
    whole: bytes | None = None
    figures: Figures | None = None


@dataclass(slots=True)
class _Newest:
    """The newest message of a kind, and how many there were."""

    data: bytes = b""
    number: int = 0

    def put(self, data: bytes | None) -> None:
        if data is not None:
            self.data, self.number = data, self.number + 1


class Subject:
    """The newest of everything; in the server's thread.

    Attributes:
        generation: grows where a skin begins anew.
        skeletons: all of the skin's.
        pieces: by number, each with the count that it was renewed with.
        renewed: how many pieces came so far.
    """

    def __init__(self) -> None:
        self.generation = 0
        self.skeletons: list[bytes] = []
        self.pieces: dict[int, tuple[int, bytes]] = {}
        self.motion, self.graph, self.whole = _Newest(), _Newest(), _Newest()
        self.figures: Figures | None = None
        self.renewed = 0

    def take(self, update: Update) -> None:
        if update.begins:
            self.generation += 1
            self.skeletons.clear()
            self.pieces.clear()
            # What is kept was of another skin.
            self.motion = _Newest(number=self.motion.number)
            self.graph = _Newest(number=self.graph.number)
            self.whole = _Newest(number=self.whole.number)
        self.skeletons.extend(update.skeletons)
        for number, data in update.pieces.items():
            self.renewed += 1
            self.pieces[number] = (self.renewed, data)
        self.motion.put(update.motion)
        self.graph.put(update.graph)
        self.whole.put(update.whole)
        if update.figures is not None:
            self.figures = update.figures


class Cursor:
    """What one client has of a subject.

    Args:
        subject: that it follows.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._generation = 0
        self._skeletons = 0
        self._pieces: dict[int, int] = {}
        self._whole_at = 0  # pieces of the subject when the client had all of them
        self._motion = self._graph = self._whole = 0

    def bones(self) -> Iterator[bytes]:
        """Skeletons that are due: they come before all else."""
        subject = self._subject
        if self._generation != subject.generation:
            self._generation, self._skeletons = subject.generation, 0
            self._pieces.clear()
            self._whole_at = 0
        while self._skeletons < len(subject.skeletons):
            self._skeletons += 1
            yield subject.skeletons[self._skeletons - 1]

    def piece(self) -> tuple[int, bytes] | None:
        """A piece that is due, with its number: one that the client lacks before one that is old."""
        if self._whole_at == self._subject.renewed:
            return None
        oldest: tuple[int, int, bytes] | None = None
        for number, (renewed, data) in self._subject.pieces.items():
            had = self._pieces.get(number, 0)
            if had != renewed and (oldest is None or had < oldest[0]):
                oldest = (had, number, data)
        if oldest is None:
            self._whole_at = self._subject.renewed
            return None
        return oldest[1:]

    def got_piece(self, number: int) -> None:
        self._pieces[number] = self._subject.pieces[number][0]

    @property
    def has_motion(self) -> bool:
        """Whether there is a motion that the client was not sent."""
        return self._motion != self._subject.motion.number and bool(self._subject.motion.data)

    def motion(self) -> bytes:
        self._motion = self._subject.motion.number
        return self._subject.motion.data

    def graph(self) -> bytes | None:
        newest = self._subject.graph
        if self._graph == newest.number or not newest.data:
            return None
        self._graph = newest.number
        return newest.data

    def whole(self) -> bytes | None:
        newest = self._subject.whole
        if self._whole == newest.number or not newest.data:
            return None
        self._whole = newest.number
        return newest.data

    def forget(self) -> None:
        """The client asks anew: it is sent everything again."""
        self._generation = 0
        self._motion = self._graph = self._whole = 0
