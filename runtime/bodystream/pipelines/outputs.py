"""The files of a capture: canonical and live mesh, and the whole capture as one animated glTF."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.pipelines.capture import Capture, CaptureResult
from bodystream.sinks import AnimationRecorder, write_animated_gltf, write_ply
from bodystream.types import Status

__all__ = ["CaptureFiles", "WrittenFiles", "prepare_folder"]


def prepare_folder(folder: Path, option: str) -> None:
    """Make a folder and try that files can be written there, so that a wrong path is known before a long capture.

    Args:
        option: that named it (`--out`), for the message.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"{option}: cannot write to the folder {folder} ({error.strerror or error}): choose another folder"
        ) from error


@dataclass(frozen=True, slots=True)
class WrittenFiles:
    """Paths that were written, and what a user should know about them."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...]


class CaptureFiles:
    """Records the motion of each tracked frame; writes everything at the end.

    Args:
        folder: made if absent, before the first frame.

    Raises:
        InputError: the folder cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._recorder = AnimationRecorder()
        prepare_folder(folder, "--out")

    def add(self, result: CaptureResult, capture: Capture) -> None:
        """Record the motion of one frame; a lost frame has none."""
        if result.status is not Status.LOST:
            self._recorder.add(capture.field.snapshot(result.frame.t_ns))

    def write(self, capture: Capture) -> WrittenFiles:
        """Write canonical.ply, live.ply and capture.glb.

        Raises:
            InputError: nothing was captured, or a file cannot be written.
        """
        surface, live = capture.surface, capture.live_mesh()
        if surface is None or live is None or len(self._recorder) == 0:
            raise InputError(f"nothing was captured, so there is nothing to write to {self._folder}")
        mesh = surface.download()
        paths = tuple(self._folder / name for name in ("canonical.ply", "live.ply", "capture.glb"))
        write_ply(paths[0], mesh)
        write_ply(paths[1], live)
        motion = self._recorder.result()
        anchors, weights = surface.download_skin()
        # A long recording keeps every n-th frame; a node born after the last of them is not in it.
        known = anchors < len(motion.node_positions)
        write_animated_gltf(
            paths[2],
            mesh,
            np.where(known, anchors, -1),
            np.where(known, weights, 0),
            motion.node_positions,
            motion.frames_t_s,
            motion.quaternions_xyzw,
            motion.translations,
        )
        return WrittenFiles(paths, motion.notes)
