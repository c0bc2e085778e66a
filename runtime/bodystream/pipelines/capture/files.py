"""The files of a capture: recorded to a journal while it goes on, made of that at its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.files import prepare_folder
from bodystream.foreground.planes import Plane
from bodystream.pipelines.capture.pipeline import Capture, CaptureResult
from bodystream.pipelines.capture.take_files import FileSet, WrittenFiles, write_take
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


class CaptureFiles:
    """Records each tracked frame to a journal in the folder; makes the files of it at the end.

    On the caller's thread the nodes' motion is copied, and the mesh at the start, then after 1, 2, 4, ... seconds, then
    once a minute, and when the model is started anew; the rest is done on the journal's own thread. What a killed
    program leaves is `capture-DATE-TIME.journal`, of which `pipelines.recovery` makes the files.

    Args:
        folder: made if absent, before the first frame.
        on_note: is called with lines for a person, when what they tell happens; from any thread.

    Attributes:
        folder: as given.

    Raises:
        InputError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, on_note: Callable[[str], None] | None = None) -> None:
        prepare_folder(folder, "--out")
        self.folder = folder
        self._on_note = on_note
        self._journal: JournalWriter | None = None
        self._refused: InputError | None = None
        self._segment = 0
        self._known = 0  # nodes of this segment that are in the journal
        self._number = self._keys = 0
        self._stride = 1
        self._recorded_ns = self._mesh_ns = 0
        self._mesh_after_ns = 1_000_000_000
        self._floor: Array | None = None
        self._saving: threading.Thread | None = None

    def add(self, result: CaptureResult, capture: Capture) -> None:
        """Record one frame; a lost one has no motion."""
        if result.status is Status.LOST:
            return
        if capture.on_forget is None:
            capture.on_forget = lambda: self._model_ends(capture)
        number, at_ns = self._number, now_ns()
        self._number += 1
        if number % self._stride == 0:
            self._keys += 1
            if self._keys >= MAX_KEY_FRAMES:
                self._keys //= 2
                self._stride *= 2
        elif at_ns - self._recorded_ns < _LONGEST_GAP_NS and self._known:
            return
        journal = self._open()
        if journal is None:
            return
        self._recorded_ns = at_ns
        graph = capture.field.snapshot(result.frame.t_ns)
        if len(graph.positions) > self._known:
            journal.add(nodes_record(self._segment, graph.positions))
        fresh = not self._known
        self._known = len(graph.positions)
        journal.add(motion_record(self._segment, number, graph))
        found = floor_of(capture.foreground.planes)
        self._floor = self._floor if found is None else found
        if fresh:
            self._mesh_after_ns = 1_000_000_000
        if fresh or at_ns - self._mesh_ns >= self._mesh_after_ns:
            self._mesh_after_ns = min(self._mesh_after_ns * (1 if fresh else 2), _MESH_EVERY_NS)
            self._mesh_ns = at_ns
            self._record_mesh(journal, capture)

    def save(self, capture: Capture) -> None:
        """Write the files as they stand, on a thread of its own; told by `on_note`. Recording goes on."""
        if self._saving is not None and self._saving.is_alive():
            return
        journal = self._journal
        if journal is None or not self._known:
            self._note("nothing was captured yet, so there is nothing to save")
            return
        self._record_mesh(journal, capture)

        def work() -> None:
            try:
                written = self._make(journal).result()
            except InputError as error:
                self._note(f"error: {error}")
            else:
                self._note(f"saved {', '.join(str(path) for path in written.paths)}")

        self._saving = threading.Thread(target=work, name="save-capture", daemon=True)
        self._saving.start()

    def write(self, capture: Capture) -> WrittenFiles:
        """Finish: canonical.ply, live.ply and capture.glb, each of them whatever becomes of the others.

        Raises:
            InputError: nothing was captured, or a file cannot be written; what was recorded is in the journal then.
        """
        if self._saving is not None:
            self._saving.join()
        journal, self._journal = self._journal, None
        if journal is None:
            raise self._refused or InputError(f"nothing was captured, so there is nothing to write to {self.folder}")
        if self._known:
            self._record_mesh(journal, capture)
        try:
            files = self._make(journal)
        finally:
            journal.close()
        if not files.paths and not files.failures:
            journal.remove()
            raise InputError(f"nothing was captured, so there is nothing to write to {self.folder}")
        written = files.result(f"all that was recorded is in {journal.path}: `bodystream recover {self.folder}`")
        journal.remove()
        self._known = 0
        return written

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

    def _record_mesh(self, journal: JournalWriter, capture: Capture) -> None:
        surface = capture.surface
        if surface is not None:
            journal.add(mesh_record(self._segment, surface.skinned(capture.field), self._floor))

    def _model_ends(self, capture: Capture) -> None:
        """The capture is about to forget its model: keep its surface; what comes next is another segment."""
        if self._journal is not None and self._known:
            self._record_mesh(self._journal, capture)
            self._segment += 1
            self._known = 0

    def _note(self, line: str) -> None:
        if self._on_note is not None:
            self._on_note(line)
