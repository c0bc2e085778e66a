"""The files of a driven body: its motion as BVH and as an animated glTF, and the headset's samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bodystream.errors import BodystreamError, InputError
from bodystream.files import prepare_folder
from bodystream.geometry.skeleton import Skeleton
from bodystream.pipelines.drive import Driver, DriveResult
from bodystream.pipelines.take_files import WrittenFiles
from bodystream.sinks import BodyAnimationRecorder, BvhRecorder
from bodystream.sources.headset.table import HeadsetCsvWriter
from bodystream.types import BodyPose, Status

__all__ = ["DriveFiles"]


class DriveFiles:
    """Records poses and samples as they come; `driven.bvh` and `headset.csv` grow on disk, `driven.glb` at the end.

    Motions have one clock: where the headset's was set back, their times go on one frame after the pose before.

    Args:
        folder: made if absent, before the first sample.
        skeleton: of the person at the start; a later calibration changes the surface of the glTF, while a BVH file has
            one skeleton from its first frame on.
        rate_hz: of the BVH file.

    Raises:
        InputError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, skeleton: Skeleton, rate_hz: float) -> None:
        prepare_folder(folder, "--out")
        self._folder = folder
        self._bvh = BvhRecorder(folder / "driven.bvh", skeleton, rate_hz)
        self._animation = BodyAnimationRecorder()
        self._samples = HeadsetCsvWriter(folder / "headset.csv")
        self._period_ns = round(1e9 / rate_hz)
        self._shift_ns = 0
        self._last_ns: int | None = None
        self._set_back = 0
        self._failures: list[str] = []

    def add(self, result: DriveResult) -> None:
        """Record one result; poses that are lost, as before the first head, are left out.

        Raises:
            InputError: a file cannot be written. What was recorded before is kept, and nothing more is recorded.
        """
        if self._failures:
            raise InputError(self._failures[0])
        try:
            self._samples.write(result.sample)
            if result.pose.status is not Status.LOST:
                pose = self._on_one_clock(result.pose)
                self._animation.add(pose)  # in memory: it has what the disk refuses
                self._bvh.add(pose)
        except (BodystreamError, OSError) as error:
            self._failures.append(str(error))
            raise InputError(str(error)) from error

    def write(self, driver: Driver) -> WrittenFiles:
        """Finish all files, each of them whatever became of the others.

        Raises:
            InputError: a file cannot be written, or could not be while recording; it tells which ones are there.
        """
        paths: list[Path] = []
        notes: list[str] = []
        with self._finishing():
            self._samples.close()
            paths += [path for path in [self._folder / "headset.csv"] if not self._samples.failed]
        with self._finishing():
            summary = self._bvh.close()
            paths += [self._folder / "driven.bvh"] if summary.frames else []
            if summary.skipped:
                notes.append(f"driven.bvh leaves out {summary.skipped} poses that cannot be written")
        if len(self._animation):
            with self._finishing():
                self._animation.write(self._folder / "driven.glb", driver.avatar.fitted)
                paths.append(self._folder / "driven.glb")
        else:
            notes.append("no pose was tracked, so there is no motion to write")
        if self._animation.skipped:
            notes.append(f"driven.glb leaves out {self._animation.skipped} poses that cannot be written")
        if self._animation.stride > 1:
            notes.append(f"driven.glb holds every {self._animation.stride}th pose of a long session")
        if self._set_back:
            notes.append(
                f"the headset's clock was set back {self._set_back} times: the motions' times go on without a pause"
            )
        if self._failures:
            there = ", ".join(str(path) for path in paths) if paths else "nothing"
            raise InputError(f"{'; '.join(dict.fromkeys(self._failures))}; written all the same: {there}")
        return WrittenFiles(tuple(paths), tuple(notes))

    @contextmanager
    def _finishing(self) -> Iterator[None]:
        """One file that fails must not take the others along; `write` raises in the end."""
        try:
            yield
        except (BodystreamError, OSError) as error:
            self._failures.append(str(error))

    def _on_one_clock(self, pose: BodyPose) -> BodyPose:
        """The pose at its time in the files, which only goes forward."""
        if self._last_ns is not None and pose.t_ns + self._shift_ns <= self._last_ns:
            self._shift_ns = self._last_ns + self._period_ns - pose.t_ns
            self._set_back += 1
        self._last_ns = pose.t_ns + self._shift_ns
        return replace(pose, t_ns=self._last_ns) if self._shift_ns else pose
