"""Head and hands of a take, with the times of their recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.sources.headset.records import MAX_SAMPLES
from bodystream.sources.headset.replay import ReplayedHeadset
from bodystream.takes import TakeReader
from bodystream.takes.messages import HEADSET, SampleMessage, decode, sample_of
from bodystream.types import HeadsetSample

__all__ = ["TakeHeadset"]

_NAMED_LOSSES = 10


class TakeHeadset(ReplayedHeadset):
    """Replays the samples of a take; a `HeadsetSource`.

    As fast as they are processed, samples have the times of their recording, which are those of the take's frames
    (`sources.take`). With `realtime` they come when their time has come, counted from the start of the take.

    Args:
        path: of the take.
        realtime: at the pace of its recording.
        speed: how many times as fast.

    Raises:
        InputError: no take, or one without head and hands.
        MissingDependencyError: the packages of the extra `mcap` are not installed.
    """

    from_file = True

    def __init__(self, path: Path, realtime: bool = False, speed: float = 1.0) -> None:
        samples: list[HeadsetSample] = []
        damaged: list[str] = []
        lost = 0
        with TakeReader(path) as reader:
            for message in reader.messages(HEADSET):
                try:
                    samples.append(sample_of(decode(message.data, SampleMessage, message.where), message.where))
                except InputError as error:
                    lost += 1
                    damaged += [f"a sample is lost: {error}"] if lost <= _NAMED_LOSSES else []
                if len(samples) > MAX_SAMPLES:
                    raise InputError(f"{path}: more than {MAX_SAMPLES} samples of a headset: cut the take")
            problems, start_ns = tuple(reader.problems), reader.start_ns
            self.host_utc_offset_ns = reader.host_utc_offset_ns
            held = ", ".join(sorted(topic for topic, count in reader.counts.items() if count))
        if not samples:
            why = damaged[0] if damaged else f"it holds {held or 'nothing that could be read'}"
            raise InputError(f"{path}: a take without head and hands ({why}): record with --headset")
        times_ns = np.array([sample.t_ns for sample in samples], np.int64)
        steps_ns = np.diff(times_ns)
        steps_ns = steps_ns[steps_ns > 0]
        rate_hz = float(1e9 / np.median(steps_ns)) if steps_ns.size else None
        super().__init__(
            f"take:{path.name}",
            samples,
            rate_hz,
            realtime,
            speed=speed,
            start_ns=start_ns,
            keep_times=not realtime,
        )
        for warning in (*problems, *damaged):
            self.counts.warn(warning)
        if lost > _NAMED_LOSSES:
            self.counts.warn(f"{self.name}: {lost} samples are damaged and left out")
