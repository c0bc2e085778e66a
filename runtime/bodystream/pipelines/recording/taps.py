"""What hands the items of a source to a recorder as they come."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from bodystream.pipelines.recording.recorder import TakeRecorder
from bodystream.sources.base import RawSource, RgbdSource, SourceCounts
from bodystream.sources.headset.base import HeadsetSource
from bodystream.types import HeadsetSample, RgbdFrame

__all__ = ["FrameTap", "SampleTap"]

S = TypeVar("S", bound="_Counted")


class _Counted(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def counts(self) -> SourceCounts: ...


class _Tap(Generic[S]):
    """Records what a source tells besides its items: warnings, losses, returns of a device."""

    def __init__(self, recorder: TakeRecorder, source: S) -> None:
        self._recorder, self._source = recorder, source
        self._told = self._lost = self._reconnects = 0
        recorder.add_event(source.name, "start")

    def _tell(self) -> None:
        counts, name = self._source.counts, self._source.name
        while self._told < len(counts.warnings):
            self._recorder.add_event(name, "warning", counts.warnings[self._told])
            self._told += 1
        if counts.lost > self._lost:
            self._recorder.add_event(name, "lost", count=counts.lost - self._lost)
            self._lost = counts.lost
        if counts.reconnects > self._reconnects:
            self._recorder.add_event(name, "reconnect", count=counts.reconnects - self._reconnects)
            self._reconnects = counts.reconnects


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
        self._tell()
        self._recorder.add_frame(frame, self._source, wait=not self._source.live)


class SampleTap(_Tap[HeadsetSource]):
    """Records the samples of a headset; of a recording in a loop, its first lap."""

    def __call__(self, sample: HeadsetSample) -> None:
        self._tell()
        if not sample.lap:
            self._recorder.add_sample(sample)
