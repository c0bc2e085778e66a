"""The report of an avatar that was posed by a motion, as JSON: by what, how fast, how true the files are, on what."""

from __future__ import annotations

import os

import msgspec

from bodystream.avatar.base import Posing
from bodystream.sinks.reports.figures import (
    LatencySection,
    MemorySection,
    RunFigures,
    Series,
    Tally,
    latency_section,
    read_json,
)
from bodystream.sinks.reports.machine import MachineSection, describe_machine
from bodystream.types import Status

__all__ = [
    "FarSection",
    "MotionSection",
    "PosesSection",
    "ReposeFigures",
    "ReposeReport",
    "WorstPose",
    "WrittenSection",
    "read_repose_report",
]


class MotionSection(msgspec.Struct, frozen=True):
    """What it was posed by.

    Attributes:
        name: of the take. file: that it was read from.
        rate_hz: of its poses, as they were taken. frames, seconds: how many, and how long.
        start_s: where in the take the first of them is.
    """

    name: str
    file: str
    rate_hz: float
    frames: int
    seconds: float
    start_s: float


class PosesSection(msgspec.Struct, frozen=True):
    """Poses of the motion; that were posed, some of them more than once; and that were refused, by reason."""

    received: int = msgspec.field(name="in")
    posed: int
    refused: int
    reasons: dict[str, int]


class WorstPose(msgspec.Struct, frozen=True):
    """The pose that is farthest from what the avatar was learned from.

    Attributes:
        frame: its number in the motion, from 0.
        joint, angle_deg, known_deg: see `avatar.base.FarPose`.
    """

    frame: int
    joint: str
    angle_deg: float
    known_deg: float


class FarSection(msgspec.Struct, frozen=True):
    """Poses far from all that the avatar was learned from, where its surface is a guess.

    Attributes:
        frames: how many of the motion's, each counted once.
        joints: at how many of them each joint was beyond, the most frequent first.
        worst: null where there is none.
    """

    frames: int
    joints: dict[str, int]
    worst: WorstPose | None


class WrittenSection(msgspec.Struct, frozen=True):
    """What was written.

    Attributes:
        path: of the file, or of the first of several.
        holds: `skin` (bones move the avatar's own skin), `morphs` (a skin that was fitted, and shapes that are added),
            `meshes` (a mesh for each pose) or `sheet`.
        files, bytes: how many, and their size together.
        frames: key frames, meshes or pictures.
        morphs: shapes that are added; null where there can be none.
        error_mean_mm, error_max_mm: between the vertices that the file gives and those that were posed; null of
            pictures, and where a file holds the vertices themselves.
        error_frames: poses that the error was measured at.
    """

    path: str
    holds: str
    files: int
    bytes: int
    frames: int
    morphs: int | None = None
    error_mean_mm: float | None = None
    error_max_mm: float | None = None
    error_frames: int = 0


class ReposeReport(msgspec.Struct, frozen=True):
    """All of it; `figures.write_json` writes it.

    Attributes:
        avatar: what it is called.
        posed_by: how many poses came about by which method: `{"tables": 343}`. reasons: why by that one.
        vertices, faces: of its surface.
        pose: time of one pose, from bones to normals [ms].
        poses_per_s: the same as a rate, by the median.
        providers: what does the work: `{"kernels": "cpu"}`.
    """

    avatar: str
    posed_by: dict[str, int]
    reasons: dict[str, str]
    vertices: int
    faces: int
    motion: MotionSection
    frames: PosesSection
    pose: LatencySection
    poses_per_s: float | None
    far: FarSection
    written: list[WrittenSection]
    memory: MemorySection
    providers: dict[str, str]
    machine: MachineSection
    warnings: list[str]


class ReposeFigures:
    """Collects figures pose by pose in bounded memory.

    Attributes:
        reasons: by method, why poses came about by it.
    """

    def __init__(self, sample_memory_every: int = 50) -> None:
        self._run = RunFigures(sample_memory_every)
        self._methods, self._joints = Tally(), Tally()
        self._far: set[int] = set()
        self._worst: WorstPose | None = None
        self.reasons: dict[str, str] = {}

    @property
    def far_frames(self) -> int:
        return len(self._far)

    @property
    def times_ms(self) -> Series:
        """Of poses."""
        return self._run.latency

    def add(self, frame: int, posing: Posing, start_ns: int, end_ns: int) -> None:
        """Count one pose."""
        far = posing.far
        self._run.add(start_ns, Status.TRACKED if far is None else Status.DEGRADED, done_t_ns=end_ns)
        self._methods.add(posing.method)
        self.reasons.setdefault(posing.method, posing.reason)
        if far is None or frame in self._far:
            return
        self._far.add(frame)
        for joint in far.joints:
            self._joints.add(joint)
        if self._worst is None or far.angle_deg - far.known_deg > self._worst.angle_deg - self._worst.known_deg:
            self._worst = WorstPose(frame, far.joint, far.angle_deg, far.known_deg)

    def build(
        self,
        *,
        avatar: str,
        surface: tuple[int, int],
        motion: MotionSection,
        refused: dict[str, int],
        written: list[WrittenSection],
        providers: dict[str, str],
        warnings: list[str],
    ) -> ReposeReport:
        """The report so far.

        Args:
            surface: vertices and faces.
            refused: poses that cannot be, by reason.
        """
        pose = latency_section(self._run.latency)
        return ReposeReport(
            avatar=avatar,
            posed_by=self._methods.commonest(),
            reasons=dict(self.reasons),
            vertices=surface[0],
            faces=surface[1],
            motion=motion,
            frames=PosesSection(motion.frames, self._run.processed, sum(refused.values()), refused),
            pose=pose,
            poses_per_s=1e3 / pose.p50_ms if pose.p50_ms else None,
            far=FarSection(len(self._far), self._joints.commonest(), self._worst),
            written=written,
            memory=self._run.memory_section(0),
            providers=providers,
            machine=describe_machine(),
            warnings=warnings,
        )


def read_repose_report(path: str | os.PathLike[str]) -> ReposeReport:
    """Read what was written of a `ReposeReport`.

    Raises:
        InputError: not such a report.
    """
    return read_json(path, ReposeReport, "a report of an avatar that was posed by a motion")
