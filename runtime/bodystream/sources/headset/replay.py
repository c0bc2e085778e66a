"""Samples that are in memory, delivered as a device or a file would."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bodystream.sources.headset.base import SourceCounts
from bodystream.timing import now_ns
from bodystream.types import HeadsetSample

__all__ = ["ReplayedHeadset"]


class ReplayedHeadset:
    """Delivers given samples; a `HeadsetSource`.

    Their times keep their distances and begin at the host's clock of the first sample. As fast as they are processed
    (`realtime=False`), times run ahead of the clock and nothing is lost. With `realtime=True` each sample comes when
    its time has come, as from a device; a reader that is slower should take the newest.

    Args:
        name: as `HeadsetSource.name`.
        samples: `t_ns` from any origin.
        rate_hz: nominal.
        realtime: at the samples' own pace.
    """

    def __init__(self, name: str, samples: Sequence[HeadsetSample], rate_hz: float | None, realtime: bool) -> None:
        self.name = name
        self.live = realtime
        self.rate_hz = rate_hz
        self.counts = SourceCounts()
        self._samples = samples
        self._closed = threading.Event()

    @property
    def samples(self) -> Sequence[HeadsetSample]:
        """All of them, as given."""
        return self._samples

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[HeadsetSample]:
        shift_ns, expected = 0, 0
        for number, sample in enumerate(self._samples):
            if number == 0:
                shift_ns = now_ns() - sample.t_ns
            t_ns = sample.t_ns + shift_ns
            if self.live:
                self._closed.wait(max(t_ns - now_ns(), 0) * 1e-9)
            if self._closed.is_set():
                return
            self.counts.lost += max(sample.index - expected, 0)
            self.counts.delivered += 1
            expected = sample.index + 1
            truth = sample.truth
            yield replace(sample, t_ns=t_ns, truth=None if truth is None else replace(truth, t_ns=t_ns))

    def close(self) -> None:
        """End the iteration; safe to call twice and from another thread."""
        self._closed.set()
