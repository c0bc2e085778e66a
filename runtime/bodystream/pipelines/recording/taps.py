"""What hands the items of a source to a recorder as they come."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from bodystream.pipelines.recording.recorder import TakeRecorder
from bodystream.sources.base import RawSource, RgbdSource, SourceCounts
from bodystream.sources.headset.base import HeadsetSource
from bodystream.takes import Event
from bodystream.types import HeadsetSample, RgbdFrame

__all__ = ["FrameTap", "SampleTap"]

S = TypeVar("S", bound="_Counted")


class _Counted(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def counts(self) -> SourceCounts: ...


class _Tap(Generic[S]):
    """Records what a source tells besides its items: its start and end, warnings, losses, returns of a device.

    Events have the time of the item that they came with, so that those of a recording are where its items are.
    """

    def __init__(self, recorder: TakeRecorder, source: S) -> None:
        self._recorder, self._source = recorder, source
        self._told = self._lost = self._reconnects = 0
        self._last_ns: int | None = None

    def end(self) -> None:
        """Say that no item will come any more."""
        if self._last_ns is not None:
            self._tell(self._last_ns)
            self._add(self._last_ns, "end")

    def _tell(self, t_ns: int) -> None:
        counts = self._source.counts
        if self._last_ns is None:
            self._add(t_ns, "start")
        self._last_ns = t_ns
        while self._told < len(counts.warnings):
            self._add(t_ns, "warning", counts.warnings[self._told])
            self._told += 1
        if counts.lost > self._lost:
            self._add(t_ns, "lost", count=counts.lost - self._lost)
            self._lost = counts.lost
        if counts.reconnects > self._reconnects:
            self._add(t_ns, "reconnect", count=counts.reconnects - self._reconnects)
            self._reconnects = counts.reconnects

    def _add(self, t_ns: int, kind: str, text: str = "", count: int = 0) -> None:
        self._recorder.add_event(Event(t_ns=t_ns, source=self._source.name, kind=kind, text=text[:2000], count=count))


class FrameTap(_Tap[RgbdSource]):
    """Records the frames of a camera; of a source that can keep them, the images as its device gave them.

    Args:
        recorder: that they go to.
        source: that they come from, before it is read.
    """

    def __init__(self, recorder: TakeRecorder, source: RgbdSource) -> None:
        super().__init__(recorder, source)
        if isinstance(source, RawSource):
            source.keep_raw = True

    def __call__(self, frame: RgbdFrame) -> None:
        self._tell(int(frame.t_ns))
        self._recorder.add_frame(frame, self._source, wait=not self._source.live)


class SampleTap(_Tap[HeadsetSource]):
    """Records the samples of a headset; of a recording in a loop, its first lap."""

    def __call__(self, sample: HeadsetSample) -> None:
        if not sample.lap:
            self._tell(int(sample.t_ns))
            self._recorder.add_sample(sample)
