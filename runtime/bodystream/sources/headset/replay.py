"""Samples that are in memory, delivered as a device or a file would."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bodystream.sources.headset.base import SourceCounts
from bodystream.timing import now_ns
from bodystream.types import HeadsetSample

__all__ = ["ReplayedHeadset"]

_PERIOD_NS = 11_111_111


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

    Attributes:
        loop: begin anew at the end, until `close`. Times and indices go on, and `HeadsetSample.lap` counts.
    """

    def __init__(self, name: str, samples: Sequence[HeadsetSample], rate_hz: float | None, realtime: bool) -> None:
        self.name = name
        self.live = realtime
        self.rate_hz = rate_hz
        self.counts = SourceCounts()
        self.loop = False
        self._samples = samples
        self._closed = threading.Event()

    @property
    def samples(self) -> Sequence[HeadsetSample]:
        """All of them, as given."""
        return self._samples

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[HeadsetSample]:
        if not self._samples:
            return
        first, last = self._samples[0], self._samples[-1]
        shift_ns = now_ns() - first.t_ns
        period_ns = round(1e9 / self.rate_hz) if self.rate_hz else _PERIOD_NS
        # A clock that was set back within a recording does not end at its latest time.
        step_ns = max(max(sample.t_ns for sample in self._samples) - first.t_ns, 0) + period_ns
        for lap in itertools.count():
            expected = first.index if lap else 0
            for sample in self._samples:
                t_ns = sample.t_ns + shift_ns + lap * step_ns
                if self.live:
                    self._closed.wait(max(t_ns - now_ns(), 0) * 1e-9)
                if self._closed.is_set():
                    return
                self.counts.lost += max(sample.index - expected, 0)
                self.counts.delivered += 1
                expected = sample.index + 1
                truth = sample.truth
                yield replace(
                    sample,
                    index=sample.index + lap * (last.index + 1 - first.index),
                    t_ns=t_ns,
                    truth=None if truth is None else replace(truth, t_ns=t_ns),
                    lap=lap,
                )
            if not self.loop:
                return

    def close(self) -> None:
        """End the iteration; safe to call twice and from another thread."""
        self._closed.set()
