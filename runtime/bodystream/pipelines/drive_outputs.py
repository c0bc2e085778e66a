"""The files of a driven body: its motion as BVH and as an animated glTF, and the headset's samples."""

from __future__ import annotations

from pathlib import Path

from bodystream.geometry.skeleton import Skeleton
from bodystream.pipelines.drive import Driver, DriveResult
from bodystream.pipelines.outputs import WrittenFiles, prepare_folder
from bodystream.sinks import BodyAnimationRecorder, BvhRecorder
from bodystream.sources.headset.table import HeadsetCsvWriter
from bodystream.types import Status

__all__ = ["DriveFiles"]


class DriveFiles:
    """Records poses and samples as they come; `driven.bvh` and `headset.csv` grow on disk, `driven.glb` at the end.

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

    def add(self, result: DriveResult) -> None:
        """Record one result; poses from before the first head are left out."""
        self._samples.write(result.sample)
        if result.pose.status is not Status.LOST:
            self._bvh.add(result.pose)
            self._animation.add(result.pose)

    def write(self, driver: Driver) -> WrittenFiles:
        """Finish all files.

        Raises:
            InputError: a file cannot be written.
        """
        paths, notes = [], []
        self._samples.close()
        paths.append(self._folder / "headset.csv")
        summary = self._bvh.close()
        if summary.frames:
            paths.append(self._folder / "driven.bvh")
            self._animation.write(self._folder / "driven.glb", driver.avatar.fitted)
            paths.append(self._folder / "driven.glb")
        else:
            notes.append("no pose was tracked, so there is no motion to write")
        if self._animation.stride > 1:
            notes.append(f"driven.glb holds every {self._animation.stride}th pose of a long session")
        return WrittenFiles(tuple(paths), tuple(notes))
