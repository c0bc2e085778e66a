"""Samples that are in memory, delivered as a device or a file would."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bodystream.errors import ConfigurationError
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
        speed: with `realtime`, how many times as fast; 0.5 is slow motion. Only the pace changes: the samples' times
            keep their distances, and so poses are the same at any speed.
        start_ns: what of their times is the start of the replay; default: that of the first sample.
        keep_times: leave times as they are, for samples that go with something else that was recorded.

    Raises:
        ConfigurationError: a speed out of range.

    Attributes:
        from_file: whether the samples are a device's, in units and axes that are not known before they are looked at.
        host_times: whether times are those of the host's clock while it is replayed.
        loop: begin anew at the end, until `close`. Times and indices go on, and `HeadsetSample.lap` counts.
    """

    from_file = False

    def __init__(
        self,
        name: str,
        samples: Sequence[HeadsetSample],
        rate_hz: float | None,
        realtime: bool,
        *,
        speed: float = 1.0,
        start_ns: int | None = None,
        keep_times: bool = False,
    ) -> None:
        if not 0.01 <= speed <= 100.0:
            raise ConfigurationError(f"the speed of a replay must be 0.01 to 100, got {speed}")
        self.name = name
        self.live = realtime
        self.host_times = realtime and speed == 1.0
        self._speed, self._start_ns, self._keep_times = speed, start_ns, keep_times
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
        began_ns = now_ns()
        start_ns = first.t_ns if self._start_ns is None else self._start_ns
        shift_ns = 0 if self._keep_times else began_ns - start_ns
        period_ns = round(1e9 / self.rate_hz) if self.rate_hz else _PERIOD_NS
        # A clock that was set back within a recording does not end at its latest time.
        step_ns = max(max(sample.t_ns for sample in self._samples) - first.t_ns, 0) + period_ns
        for lap in itertools.count():
            expected = first.index if lap else 0
            for sample in self._samples:
                t_ns = sample.t_ns + shift_ns + lap * step_ns
                if self.live:
                    due_ns = began_ns + round((t_ns - shift_ns - start_ns) / self._speed)
                    self._closed.wait(max(due_ns - now_ns(), 0) * 1e-9)
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
