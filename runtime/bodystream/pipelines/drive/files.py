"""The files of a driven body: its motion as BVH and as an animated glTF, and the headset's samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from bodystream.avatar import Avatar
from bodystream.avatar.retarget import Retarget
from bodystream.errors import BodystreamError, ConfigurationError, InputError
from bodystream.files import prepare_folder
from bodystream.geometry.skeleton import Skeleton
from bodystream.pipelines.capture.take_files import FileSet, WrittenFiles
from bodystream.pipelines.drive.view import DriveView
from bodystream.sinks import BvhRecorder
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.body_files import body_files, write_body
from bodystream.sinks.drive_take import (
    person_record,
    pose_recorder,
    poses_record,
    session_record,
)
from bodystream.sinks.journal import JournalWriter, Record, session_name
from bodystream.sinks.rigs import OWN_RIG, RIGS, RigName
from bodystream.sources.headset.table import HeadsetCsvWriter
from bodystream.types import BodyPose, HeadsetSample, Status

__all__ = ["DriveFiles"]

_LONGEST_GAP_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Driven:
    """What is recorded of one sample, and of whom; without a sample the files are wanted as they stand.

    The lengths of the person and what takes a pose to the body are those of this sample; the avatar may be ahead.
    """

    sample: HeadsetSample | None
    pose: BodyPose | None
    person: Skeleton
    retarget: Retarget | None
    avatar: Avatar
    label: str
    nominal_hz: float | None


class DriveFiles(SinkBase[Driven]):
    """Records poses and samples as they come.

    While it goes on, `driven-DATE-TIME.part.bvh`, `headset-DATE-TIME.part.csv` and `drive-DATE-TIME.journal` (of which
    `pipelines.recovery` makes `driven.glb`) grow in the folder, a quarter of a second behind; `close` makes them
    `driven.bvh`, `headset.csv` and `driven.glb`, which an avatar without a skin does not have, and of an avatar of a
    VRM file `driven.vrma`. An avatar with proportions of its own has its motion on these.

    Motions have one clock: where the headset's was set back, their times go on one frame after the pose before, and so
    they do after a pause of more than two seconds. A person who is known better has other lengths from then on, in all
    files.

    Args:
        folder: made if absent, before the first sample.
        bvh_hz: rate of the BVH file; None = that of the headset, 90 where it has none.
        on_note: is called with lines for a person, when what they tell happens; from any thread.
        rig: whose names, rest pose and unit the motion files have; None = our joints by their own names.

    Attributes:
        folder: as given.
        written: what there is in it, once the sink is closed.

    Raises:
        ConfigurationError: a rate that no BVH file has.
        InputError, SourceError: the folder or a file in it cannot be made or written to.
    """

    name = "files"
    lossless = True
    bound = 20_000
    max_rate_hz = 4.0
    close_within_s = 600.0

    def __init__(
        self,
        folder: Path,
        bvh_hz: float | None = None,
        on_note: Callable[[str], None] | None = None,
        rig: RigName | None = None,
    ) -> None:
        if bvh_hz is not None and not 1.0 <= bvh_hz <= 1000.0:
            raise ConfigurationError(f"a BVH file takes 1 to 1000 frames per second, got {bvh_hz}")
        prepare_folder(folder, "--out")
        self.folder = folder
        self.written = WrittenFiles((), ())
        self._on_note, self._bvh_hz = on_note, bvh_hz
        self._rig: RigName | None = rig
        name = session_name(folder, "drive")
        session = name.removeprefix("drive-")
        self._bvh_part = folder / f"driven-{session}.part.bvh"
        self._bvh: BvhRecorder | None = None
        self._animation = pose_recorder()
        self._samples = HeadsetCsvWriter(folder / "headset.csv", folder / f"headset-{session}.part.csv")
        self._journal = JournalWriter(folder / f"{name}.journal", self._note)
        self._journal.add(Record("session", {"what": "drive"}))
        self._last: Driven | None = None
        self._period_ns = 0
        self._shift_ns = 0
        self._last_ns: int | None = None
        self._set_back = self._pauses = 0
        self._failures: dict[str, str] = {}  # by file
        self._waiting: list[Driven] = []
        self._told: Skeleton | None = None  # the person that the journal knows
        self._saving: threading.Thread | None = None
        self._files = threading.Lock()  # held while the recorders change or are read

    def prepare(self, view: DriveView) -> Driven | None:
        """One sample; poses that are lost, as before the first head, are left out, and laps after the first."""
        result, driver = view.result, view.driver
        body = view.skeleton, view.retarget, driver.avatar, driver.avatar_label, view.nominal_hz
        if view.occasion is Occasion.SAVE:
            return Driven(None, None, *body)
        if view.occasion is not Occasion.RESULT or result is None or result.sample.lap:
            return None
        return Driven(result.sample, None if result.pose.status is Status.LOST else result.pose, *body)

    def publish(self, driven: Driven, /) -> None:
        before, self._last = self._last, driven
        if before is None:
            rate_hz = self._bvh_hz or driven.nominal_hz or 90.0
            self._period_ns = round(1e9 / rate_hz)
            skeleton = driven.person if driven.retarget is None else driven.retarget.skeleton
            self._bvh = BvhRecorder(
                self.folder / "driven.bvh",
                skeleton,
                rate_hz,
                part=self._bvh_part,
                flushing=False,
                rig=OWN_RIG if self._rig is None else RIGS[self._rig],
            )
            self._journal.add(session_record(driven.label, self._rig))
        if driven.sample is None:
            self._save(driven)
        else:
            pose = None if driven.pose is None else self._on_one_clock(driven.pose)
            self._waiting.append(replace(driven, pose=pose))

    def flush(self) -> None:
        """Write what was published together."""
        taken, self._waiting = self._waiting, []
        if taken:
            with self._files:
                self._record(taken)

    def _save(self, driven: Driven) -> None:
        """Write the body's files as they stand, on a thread of its own, and tell of all files; recording goes on."""
        if self._saving is not None and self._saving.is_alive():
            return
        self.flush()
        names = body_files(driven.avatar, self._rig)

        def work() -> None:
            self._journal.flush()
            saved = "saved" if names else f"{self._no_skin(driven.label)}; saved"
            for name in names:
                path = self.folder / name
                with self._files:
                    try:
                        write_body(path, driven.avatar, self._animation, self._rig)
                    except InputError as error:
                        self._note(f"error: {error}")
                        return
                saved += f" {path};"
            self._note(f"{saved} motion and samples so far: {self._bvh_part}, {self._samples.partial}")

        self._saving = threading.Thread(target=work, name="save-drive", daemon=True)
        self._saving.start()

    def close(self) -> Sequence[str]:
        """Finish all files, each of them whatever became of the others.

        Raises:
            InputError: a file cannot be written, or could not be while recording; it tells which ones are there.
        """
        if self._saving is not None:
            self._saving.join()
        self.flush()
        self._journal.flush()
        files = FileSet()
        files.failures += self._failures.values()
        csv, bvh = (self.folder / name for name in ("headset.csv", "driven.bvh"))
        with files.writing():
            self._samples.close()
            files.paths += [csv] if not self._samples.failed else []
        with files.writing():
            summary = None if self._bvh is None else self._bvh.close()
            if summary is not None:
                files.paths += [bvh] if summary.frames else []
                if summary.skipped:
                    files.notes.append(f"driven.bvh leaves out {summary.skipped} poses that cannot be written")
        last = self._last
        names = () if last is None or not len(self._animation) else body_files(last.avatar, self._rig)
        if last is None or not len(self._animation):
            files.notes.append("no pose was tracked, so there is no motion to write")
        elif not names:
            files.notes.append(self._no_skin(last.label))
        else:
            for name in names:
                with files.writing(self.folder / name):
                    write_body(self.folder / name, last.avatar, self._animation, self._rig)
        self._tell(files)
        self._journal.close()
        if all(self.folder / name in files.paths for name in names):
            self._journal.remove()
        self.written = files.result()
        return self.written.lines

    def _no_skin(self, avatar: str) -> str:
        files = "driven.glb and driven.vrma are" if self._rig == "vrm" else "driven.glb is"
        return (
            f"{files} not written: the avatar {avatar} has no skin, and a surface that is given by its "
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

    def _record(self, taken: list[Driven]) -> None:
        posed = [(driven, driven.pose) for driven in taken if driven.pose is not None]
        for driven, pose in posed:  # in memory: it has what the disk refuses
            offsets_m = driven.person.offsets_m
            self._animation.add(pose.t_ns, pose.rotations_xyzw, pose.root_position_m[None], offsets_m=offsets_m)
        for _, of_one in groupby(posed, lambda each: id(each[0].person)):
            some = list(of_one)
            if some[0][0].person is not self._told:
                self._told = some[0][0].person
                self._journal.add(person_record(self._told))
            usable = [pose for _, pose in some if np.isfinite(pose.rotations_xyzw).all()]
            if usable:
                self._journal.add(poses_record(usable))
        self._grow("headset.csv", lambda: self._write_samples(taken))
        self._grow("driven.bvh", lambda: self._write_motion(posed))

    def _write_samples(self, taken: list[Driven]) -> None:
        for driven in taken:
            if driven.sample is not None:
                self._samples.write(driven.sample)
            time.sleep(0)
        self._samples.flush()

    def _write_motion(self, posed: list[tuple[Driven, BodyPose]]) -> None:
        assert self._bvh is not None
        for driven, pose in posed:
            if driven.retarget is None:
                self._bvh.add(pose, driven.person)
            else:
                self._bvh.add(driven.retarget.pose(pose), driven.retarget.skeleton)
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
