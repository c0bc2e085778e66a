"""The files of a capture: recorded to a journal while it goes on, made of that at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.files import prepare_folder
from bodystream.foreground.planes import Plane
from bodystream.pipelines.capture.take_files import FileSet, WrittenFiles, write_take
from bodystream.pipelines.capture.view import CaptureView
from bodystream.sinks.base import Occasion, SinkBase
from bodystream.sinks.capture_take import MAX_KEY_FRAMES, CaptureTake, mesh_record, motion_record, nodes_record
from bodystream.sinks.journal import JournalReader, JournalWriter, Record, session_name
from bodystream.timing import now_ns
from bodystream.types import Array, Status

__all__ = ["CaptureFiles", "WrittenFiles", "floor_of"]

_LONGEST_GAP_NS = 400_000_000  # between recorded frames of a long capture, which keeps every n-th only
_MESH_EVERY_NS = 60_000_000_000
_FLOOR_COSINE = 0.75  # a floor's normal against the camera's up axis: cameras are tilted, walls are steeper


def floor_of(planes: Sequence[Plane]) -> Array | None:
    """(4,) normal and offset [m] of the plane that a person stands on, in the camera's frame; None if none is level.

    The camera need not be: of the planes that face up the one that does so most is taken.
    """
    best = max(planes, key=lambda plane: -float(plane.normal[1]), default=None)
    if best is None or -float(best.normal[1]) < _FLOOR_COSINE:
        return None
    return np.array([*best.normal, best.offset_m])


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one moment adds to the journal, and whether the files are wanted as they stand then."""

    records: tuple[Record | Callable[[], Record], ...] = ()
    save: bool = False


class CaptureFiles(SinkBase[Recorded]):
    """Records each tracked frame to a journal in the folder; makes the files of it at the end.

    On the pipeline's thread the mesh is copied at the start, then after 1, 2, 4, ... seconds, then once a minute, and
    when the model is started anew; the rest is done on the threads of the sink and of the journal. What a killed
    program leaves is `capture-DATE-TIME.journal`, of which `pipelines.recovery` makes the files.

    Args:
        folder: made if absent, before the first frame.
        on_note: is called with lines for a person, when what they tell happens; from any thread.

    Attributes:
        folder: as given.
        written: what there is in it, once the sink is closed.

    Raises:
        InputError: the folder cannot be made or written to.
    """

    name = "files"
    lossless = True
    bound = 4096
    close_within_s = 600.0

    def __init__(self, folder: Path, on_note: Callable[[str], None] | None = None) -> None:
        prepare_folder(folder, "--out")
        self.folder = folder
        self.written = WrittenFiles((), ())
        self._on_note = on_note
        # Of the pipeline's thread
        self._segment = 0
        self._known = 0  # nodes of this segment that are in the journal
        self._number = self._keys = 0
        self._stride = 1
        self._recorded_ns = self._mesh_ns = 0
        self._mesh_after_ns = 1_000_000_000
        self._floor: Array | None = None
        # Of the sink's
        self._journal: JournalWriter | None = None
        self._refused: InputError | None = None
        self._saving: threading.Thread | None = None

    def prepare(self, view: CaptureView) -> Recorded | None:
        """One frame, a lost one has no motion; a model that ends; the files as they stand; the last mesh."""
        if self._refused is not None and view.occasion is not Occasion.SAVE:
            return None
        if view.occasion is Occasion.RESULT:
            return self._frame(view)
        records = self._mesh(view) if self._known else ()
        if view.occasion is Occasion.FORGET and self._known:
            self._segment, self._known = self._segment + 1, 0
        return Recorded(records, view.occasion is Occasion.SAVE)

    def _frame(self, view: CaptureView) -> Recorded | None:
        graph = view.motion
        if view.result is None or view.result.status is Status.LOST or graph is None:
            return None
        number, at_ns = self._number, now_ns()
        self._number += 1
        if number % self._stride == 0:
            self._keys += 1
            if self._keys >= MAX_KEY_FRAMES:
                self._keys //= 2
                self._stride *= 2
        elif at_ns - self._recorded_ns < _LONGEST_GAP_NS and self._known:
            return None
        self._recorded_ns = at_ns
        records: list[Record | Callable[[], Record]] = []
        if len(graph.positions) > self._known:
            records.append(nodes_record(self._segment, graph.positions))
        fresh = not self._known
        self._known = len(graph.positions)
        records.append(motion_record(self._segment, number, graph))
        found = floor_of(view.planes)
        self._floor = self._floor if found is None else found
        if fresh:
            self._mesh_after_ns = 1_000_000_000
        if fresh or at_ns - self._mesh_ns >= self._mesh_after_ns:
            self._mesh_after_ns = min(self._mesh_after_ns * (1 if fresh else 2), _MESH_EVERY_NS)
            self._mesh_ns = at_ns
            records += self._mesh(view)
        return Recorded(tuple(records))

    def _mesh(self, view: CaptureView) -> tuple[Record, ...]:
        skinned = view.skinned
        return () if skinned is None else (mesh_record(self._segment, skinned, self._floor),)

    def publish(self, recorded: Recorded, /) -> None:
        """Append to the journal; it is made with the first frame."""
        if recorded.save and self._saving is not None and self._saving.is_alive():
            return
        journal = self._open() if recorded.records else self._journal
        if journal is not None:
            for record in recorded.records:
                journal.add(record)
        if recorded.save:
            self._save(journal)

    def _save(self, journal: JournalWriter | None) -> None:
        """Write the files as they stand, on a thread of its own; told by `on_note`. Recording goes on."""
        if journal is None:
            self._note("nothing was captured yet, so there is nothing to save")
            return

        def work() -> None:
            try:
                written = self._make(journal).result()
            except InputError as error:
                self._note(f"error: {error}")
            else:
                self._note(f"saved {', '.join(str(path) for path in written.paths)}")

        self._saving = threading.Thread(target=work, name="save-capture", daemon=True)
        self._saving.start()

    def close(self) -> Sequence[str]:
        """Finish: canonical.ply, live.ply and capture.glb, each of them whatever becomes of the others.

        Raises:
            InputError: nothing was captured, or a file cannot be written; what was recorded is in the journal then.
        """
        if self._saving is not None:
            self._saving.join()
        journal, self._journal = self._journal, None
        if journal is None:
            raise self._refused or InputError(f"nothing was captured, so there is nothing to write to {self.folder}")
        try:
            files = self._make(journal)
        finally:
            journal.close()
        if not files.paths and not files.failures:
            journal.remove()
            raise InputError(f"nothing was captured, so there is nothing to write to {self.folder}")
        self.written = files.result(f"all that was recorded is in {journal.path}: `bodystream recover {self.folder}`")
        journal.remove()
        return self.written.lines

    def _make(self, journal: JournalWriter) -> FileSet:
        files = FileSet()
        whole = journal.flush()
        take = CaptureTake(JournalReader(journal.path))
        if take.segments:
            write_take(take, lambda name: self.folder / name, files)
        if not whole:
            trouble = journal.trouble
            reason = "the disk takes too long" if trouble is None else trouble.strerror or trouble
            files.failures.append(
                f"the end of the capture could not be written to {journal.path}: {reason}: make room or choose another "
                "folder"
            )
        lost = journal.thinned + journal.unusable
        files.notes += [f"{lost} frame(s) could not be recorded"] if lost else []
        return files

    def _open(self) -> JournalWriter | None:
        if self._journal is None and self._refused is None:
            path = self.folder / f"{session_name(self.folder, 'capture')}.journal"
            try:
                self._journal = JournalWriter(path, self._note, may_thin=("motion",))
                self._journal.add(Record("session", {"what": "capture"}))
            except InputError as error:
                self._refused = error
                self._note(f"warning: {error}; the capture goes on, nothing is recorded")
        return self._journal

    def _note(self, line: str) -> None:
        if self._on_note is not None:
            self._on_note(line)
