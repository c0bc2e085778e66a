"""The files of a driven body: its motion as BVH and as an animated glTF, and the headset's samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bodystream.avatar.open import SHIPPED_AVATAR
from bodystream.errors import BodystreamError, InputError
from bodystream.files import prepare_folder
from bodystream.geometry.skeleton import Skeleton
from bodystream.pipelines.capture.take_files import FileSet, WrittenFiles
from bodystream.pipelines.drive.pipeline import Driver, DriveResult
from bodystream.sinks import BvhRecorder
from bodystream.sinks.drive_take import (
    person_record,
    pose_recorder,
    poses_record,
    session_record,
    write_driven_gltf,
)
from bodystream.sinks.journal import JournalWriter, session_name
from bodystream.sources.headset.table import HeadsetCsvWriter
from bodystream.types import BodyPose, HeadsetSample, Status

__all__ = ["DriveFiles"]

_INTERVAL_S = 0.25
_LONGEST_GAP_NS = 2_000_000_000


class DriveFiles:
    """Records poses and samples as they come, on a thread of its own.

    While it goes on, `driven-DATE-TIME.part.bvh`, `headset-DATE-TIME.part.csv` and `drive-DATE-TIME.journal` (of which
    `pipelines.recovery` makes `driven.glb`) grow in the folder, a quarter of a second behind; `write` makes them
    `driven.bvh`, `headset.csv` and `driven.glb`.

    Motions have one clock: where the headset's was set back, their times go on one frame after the pose before, and so
    they do after a pause of more than two seconds.

    Args:
        folder: made if absent, before the first sample.
        skeleton: of the person at the start; a later calibration changes the surface of the glTF, while a BVH file has
            one skeleton from its first frame on.
        rate_hz: of the BVH file.
        on_note: is called with lines for a person, when what they tell happens; from any thread.
        avatar: what the avatar is called; one without a skin has no `driven.glb`, which is said.

    Attributes:
        folder: as given.

    Raises:
        InputError, SourceError: the folder or a file in it cannot be made or written to.
    """

    def __init__(
        self,
        folder: Path,
        skeleton: Skeleton,
        rate_hz: float,
        on_note: Callable[[str], None] | None = None,
        avatar: str = SHIPPED_AVATAR,
    ) -> None:
        prepare_folder(folder, "--out")
        self.folder = folder
        self._on_note = on_note
        name = session_name(folder, "drive")
        session = name.removeprefix("drive-")
        self._bvh = BvhRecorder(
            folder / "driven.bvh", skeleton, rate_hz, part=folder / f"driven-{session}.part.bvh", flushing=False
        )
        self._animation = pose_recorder()
        self._samples = HeadsetCsvWriter(folder / "headset.csv", folder / f"headset-{session}.part.csv")
        self._journal = JournalWriter(folder / f"{name}.journal", self._note)
        self._journal.add(session_record(avatar))
        self._avatar = avatar
        self._journal.add(person_record(skeleton))
        self._skeleton = skeleton
        self._period_ns = round(1e9 / rate_hz)
        self._shift_ns = 0
        self._last_ns: int | None = None
        self._set_back = self._pauses = 0
        self._failures: dict[str, str] = {}  # by file
        self._lock = threading.Condition()
        self._waiting: list[tuple[HeadsetSample, BodyPose | None]] = []
        self._working = self._closing = self._hurry = False
        self._saving: threading.Thread | None = None
        self._files = threading.Lock()  # held while the recorders change or are read
        self._thread = threading.Thread(target=self._run, name="drive-files", daemon=True)
        self._thread.start()

    def add(self, result: DriveResult) -> None:
        """Record one result, and return at once; poses that are lost, as before the first head, are left out."""
        pose = None
        if result.pose.status is not Status.LOST:
            whole = self._on_one_clock(result.pose)
            pose = replace(
                whole, rotations_xyzw=whole.rotations_xyzw.copy(), root_position_m=whole.root_position_m.copy()
            )
        with self._lock:
            self._waiting.append((result.sample, pose))
            self._lock.notify_all()

    def person(self, skeleton: Skeleton) -> None:
        """The person's proportions are known better: the surface in `driven.glb` has those that are told last."""
        if skeleton is not self._skeleton:
            self._skeleton = skeleton
            self._journal.add(person_record(skeleton))

    def flush(self) -> None:
        """Wait until all that was added is in the files."""
        with self._lock:
            self._hurry = True
            self._lock.notify_all()
            self._lock.wait_for(lambda: not (self._waiting or self._working) or not self._thread.is_alive(), 10.0)
        self._journal.flush()

    def save(self, driver: Driver) -> None:
        """Write `driven.glb` as it stands, on a thread of its own, and tell of all files; recording goes on."""
        if self._saving is not None and self._saving.is_alive():
            return
        skin, skeleton = driver.avatar.skin, driver.avatar.skeleton

        def work() -> None:
            self.flush()
            path, saved = self.folder / "driven.glb", "saved"
            if skin is None:
                saved = f"{self._no_skin()}; saved"
            else:
                with self._files:
                    try:
                        write_driven_gltf(path, skin, skeleton, self._animation)
                    except InputError as error:
                        self._note(f"error: {error}")
                        return
                saved += f" {path};"
            self._note(f"{saved} motion and samples so far: {self._bvh.part}, {self._samples.partial}")

        self._saving = threading.Thread(target=work, name="save-drive", daemon=True)
        self._saving.start()

    def write(self, driver: Driver) -> WrittenFiles:
        """Finish all files, each of them whatever became of the others.

        Raises:
            InputError: a file cannot be written, or could not be while recording; it tells which ones are there.
        """
        if self._saving is not None:
            self._saving.join()
        self.flush()
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join(10.0)
        files = FileSet()
        files.failures += self._failures.values()
        csv, bvh, glb = (self.folder / name for name in ("headset.csv", "driven.bvh", "driven.glb"))
        with files.writing():
            self._samples.close()
            files.paths += [csv] if not self._samples.failed else []
        with files.writing():
            summary = self._bvh.close()
            files.paths += [bvh] if summary.frames else []
            if summary.skipped:
                files.notes.append(f"driven.bvh leaves out {summary.skipped} poses that cannot be written")
        skin = driver.avatar.skin
        if len(self._animation) and skin is None:
            files.notes.append(self._no_skin())
        elif len(self._animation) and skin is not None:
            with files.writing(glb):
                write_driven_gltf(glb, skin, driver.avatar.skeleton, self._animation)
        else:
            files.notes.append("no pose was tracked, so there is no motion to write")
        self._tell(files)
        self._journal.close()
        if len(self._animation) == 0 or skin is None or glb in files.paths:
            self._journal.remove()
        return files.result()

    def _no_skin(self) -> str:
        return (
            f"driven.glb is not written: the avatar {self._avatar} has no skin, and a surface that is given by its "
            "posed vertices alone cannot follow a skeleton: its motion is in driven.bvh"
        )

    def _tell(self, files: FileSet) -> None:
        if self._animation.skipped:
            files.notes.append(f"driven.glb leaves out {self._animation.skipped} poses that cannot be written")
        if self._animation.stride > 1:
            files.notes.append(f"driven.glb holds every {self._animation.stride}th pose of a long session")
        if self._set_back:
            files.notes.append(
                f"the headset's clock was set back {self._set_back} times: the motions' times go on without a pause"
            )
        if self._pauses:
            files.notes.append(f"{self._pauses} pause(s) of more than two seconds are left out of the motions")

    def _run(self) -> None:
        while True:
            with self._lock:
                self._working = False
                self._lock.notify_all()
                self._lock.wait_for(lambda: bool(self._waiting) or self._closing)
                self._lock.wait_for(lambda: self._hurry or self._closing, _INTERVAL_S)
                self._hurry = False
                taken, self._waiting = self._waiting, []
                self._working = True
                if self._closing and not taken:
                    return
            with self._files:
                self._record(taken)

    def _record(self, taken: list[tuple[HeadsetSample, BodyPose | None]]) -> None:
        poses = [pose for _, pose in taken if pose is not None]
        for pose in poses:  # in memory: it has what the disk refuses
            self._animation.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None])
        usable = [pose for pose in poses if np.isfinite(pose.rotations_xyzw).all()]
        if usable:
            self._journal.add(poses_record(usable))
        self._grow("headset.csv", lambda: self._write_samples(taken))
        self._grow("driven.bvh", lambda: self._write_motion(poses))

    def _write_samples(self, taken: list[tuple[HeadsetSample, BodyPose | None]]) -> None:
        for sample, _ in taken:
            self._samples.write(sample)
            time.sleep(0)
        self._samples.flush()

    def _write_motion(self, poses: list[BodyPose]) -> None:
        for pose in poses:
            self._bvh.add(pose)
            time.sleep(0)  # let the thread that drives go on after each pose, not after the interpreter's 5 ms
        self._bvh.flush()

    def _grow(self, file: str, write: Callable[[], None]) -> None:
        """A file that fails is told once and takes no other along."""
        if file in self._failures:
            return
        try:
            write()
        except (BodystreamError, OSError) as error:
            self._failures[file] = str(error)
            self._note(f"warning: {error}; nothing more is recorded in {file}, driving goes on")

    def _on_one_clock(self, pose: BodyPose) -> BodyPose:
        """The pose at its time in the files, which only goes forward, and by two seconds at most."""
        if self._last_ns is not None:
            step_ns = pose.t_ns + self._shift_ns - self._last_ns
            if not 0 < step_ns <= _LONGEST_GAP_NS:
                self._shift_ns = self._last_ns + self._period_ns - pose.t_ns
                self._set_back += step_ns <= 0
                self._pauses += step_ns > 0
        self._last_ns = pose.t_ns + self._shift_ns
        return replace(pose, t_ns=self._last_ns) if self._shift_ns else pose

    def _note(self, line: str) -> None:
        if self._on_note is not None:
            self._on_note(line)
