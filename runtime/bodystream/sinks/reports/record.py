"""The report of a recording, as JSON: what came in, what is in the take, how large and how fast."""

from __future__ import annotations

import msgspec

from bodystream.sinks.reports.figures import SourceSection, StageSection
from bodystream.sinks.reports.machine import MachineSection

__all__ = ["RecordReport", "RecordedSection"]


class RecordedSection(msgspec.Struct, frozen=True):
    """What is in the take.

    Attributes:
        frames, samples: that were recorded.
        dropped: frames that came faster than they could be recorded.
        rounded: frames whose depth is not what came in, but up to half a unit off.
        seconds: how long it took.
        megabytes: of the file (10^6 bytes). mb_s: of those per second.
    """

    frames: int
    samples: int
    dropped: int
    rounded: int
    seconds: float
    megabytes: float
    mb_s: float


class RecordReport(msgspec.Struct, frozen=True):
    """All of it; `write_json` gives the JSON."""

    take: str
    recorded: RecordedSection
    stages: dict[str, StageSection]
    camera: SourceSection | None
    headset: SourceSection | None
    machine: MachineSection
    warnings: list[str]
