"""From a capture's journal to its files: canonical and live mesh, and the whole capture as one animated glTF."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bodystream.errors import BodystreamError, InputError
from bodystream.sinks.animated_gltf import Placing, write_animated_gltf
from bodystream.sinks.capture_take import CaptureTake, world_from_camera
from bodystream.sinks.ply import write_ply

__all__ = ["CAPTURE_FILES", "FileSet", "WrittenFiles", "write_take"]

CAPTURE_FILES = ("canonical.ply", "live.ply", "capture.glb")
_MOST_BYTES = 256 << 20  # of one glTF: what viewers still open, and far below the format's 4 GiB


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """Paths that were written, and what a user should know about them."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The same for a person."""
        return (*(f"wrote {path}" for path in self.paths), *(f"note: {note}" for note in self.notes))


class FileSet:
    """Writes files one by one, so that one that fails does not take the others along."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.notes: list[str] = []
        self.failures: list[str] = []

    @contextmanager
    def writing(self, path: Path | None = None) -> Iterator[None]:
        """Remember the path where the block ends well, and what was wrong where it does not."""
        try:
            yield
        except (BodystreamError, OSError, MemoryError) as error:
            self.failures.append(str(error) or f"{path}: {type(error).__name__}")
        else:
            self.paths += [] if path is None else [path]

    def result(self, kept: str = "") -> WrittenFiles:
        """Args: kept: what is left to make the files of, for the message.

        Raises:
            InputError: something failed; it tells which files are there.
        """
        if self.failures:
            there = ", ".join(str(path) for path in self.paths) if self.paths else "nothing"
            told = "; ".join(dict.fromkeys(self.failures))
            raise InputError(f"{told}; written all the same: {there}{f'; {kept}' if kept else ''}")
        return WrittenFiles(tuple(self.paths), tuple(dict.fromkeys(self.notes)))


def write_take(take: CaptureTake, name: Callable[[str], Path], files: FileSet) -> None:
    """Write what a journal holds.

    Args:
        name: gives the path for each of `CAPTURE_FILES`.
        files: is told of paths, notes and failures.
    """
    last = take.segments[-1]
    with files.writing():
        model = take.model(last)
        files.notes += [f"the surface: {model.note}"] if model.note else []
        with files.writing(name("canonical.ply")):
            write_ply(name("canonical.ply"), model.skin.mesh)
        with files.writing(name("live.ply")):
            write_ply(name("live.ply"), model.last())
    groups: list[list[int]] = [[]]
    size = 0
    for number, segment in enumerate(take.segments):
        size += take.nbytes(segment)
        if groups[-1] and size > _MOST_BYTES:
            groups.append([])
            size = take.nbytes(segment)
        groups[-1].append(number)
    with files.writing():
        first = take.model(take.segments[0]).skin.mesh
        placing = Placing("camera_axes", world_from_camera(first.vertices, take.floor))
        for part, group in enumerate(groups, start=1):
            whole = name("capture.glb")
            path = whole if part == 1 else whole.with_stem(f"{whole.stem}-{part}")
            with files.writing(path):
                shown = [take.model(take.segments[number]).segment() for number in group]
                write_animated_gltf(path, "capture", shown, placing)
    if len(groups) > 1:
        files.notes.append(f"the capture is in {len(groups)} files, one after the other")
    if take.floor is None:
        files.notes.append("no floor was seen: capture.glb stands on its lowest point")
    files.notes += take.notes
