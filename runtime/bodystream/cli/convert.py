"""`bodystream convert`: a recording of one format to one of another."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from bodystream.cli.options import optional
from bodystream.cli.process import start_warp, use_one_opencv_thread
from bodystream.cli.record import colour_coding
from bodystream.errors import ConfigurationError

if TYPE_CHECKING:
    from bodystream.cli.status_line import StatusLine
    from bodystream.pipelines.recording.convert import Written

__all__ = ["Convert"]

_BY_SUFFIX = {".mcap": "take", ".db3": "realsense", ".bag": "realsense", ".csv": "trace", ".json": "trace"}


@dataclass(frozen=True)
class Convert:
    """Turn a recording into a take, or a take into a folder of images.

    A take that was cut off gets its table of contents again in a new one: all that is in it is copied as it is.
    Examples:
      bodystream convert take.db3 take.mcap
      bodystream convert folder:PATH take.mcap
      bodystream convert take.mcap folder:take/
      bodystream convert cut-off.mcap whole.mcap
    """

    recording: Annotated[str, tyro.conf.Positional]
    """What is converted: a file or folder, or a source of `live` or `drive` with its keys, such as
    'folder:take?rate_hz=15'."""

    target: Annotated[str, tyro.conf.Positional]
    """What comes of it: a new take (.mcap), or a new folder as folder:PATH."""

    jpeg_quality: Annotated[int | None, optional("N")] = None
    """Of colour, 1 to 100; default: 95 in a take, and png in a folder."""

    lossless_colour: bool = False
    """Write colour as png, which loses nothing."""

    frames: Annotated[int | None, optional("N")] = None
    """Stop after so many frames."""

    json: bool = False
    """Print what was written as one JSON object."""

    def run(self) -> int:
        from bodystream.cli.status_line import StatusLine

        if self.frames is not None and self.frames < 1:
            raise ConfigurationError(f"--frames must be at least 1, got {self.frames}")
        spec, folder, take = _spec_of(self.recording), *_target_of(self.target)
        with ExitStack() as stack:
            line = stack.enter_context(StatusLine())
            use_one_opencv_thread()
            if take is not None:
                written = self._to_take(spec, take, line, stack)
            else:
                assert folder is not None
                written = self._to_folder(spec, folder, line, stack)
            line.finish()
            place = str(take or folder)
            counts = [(written.frames, "frame"), (written.samples, "sample"), (written.messages, "message")]
            parts = [f"{count} {noun}{'s' if count != 1 else ''}" for count, noun in counts if count]
            line.print(f"wrote {place}: {' and '.join(parts) or 'nothing'}")
            if written.rounded:
                line.print(f"note: depth of {written.rounded} frames was rounded to whole units")
            if self.json:
                print(json.dumps({"written": place, "frames": written.frames, "samples": written.samples,
                                  "messages": written.messages, "rounded": written.rounded}))  # fmt: skip
        return 0

    def _to_take(self, spec: str, take: Path, line: StatusLine, stack: ExitStack) -> Written:
        from bodystream.pipelines.recording.convert import Written, copy_take
        from bodystream.pipelines.recording.recorder import check_take_path
        from bodystream.pipelines.recording.session import TakeRecording

        check_take_path(take)
        coding = colour_coding(95 if self.jpeg_quality is None else self.jpeg_quality, self.lossless_colour)
        if spec.startswith("take:") and "?" not in spec and self.frames is None:
            if self.jpeg_quality is not None or self.lossless_colour:
                raise ConfigurationError(
                    "a take is copied to another as it is: leave out --jpeg-quality and --lossless-colour"
                )
            written, problems = copy_take(Path(spec.removeprefix("take:")).expanduser(), take)
            for problem in problems:
                line.print(f"warning: {problem}")
            return written
        camera, headset = self._open(spec, line, stack)
        source = headset if camera is None else camera
        recording = TakeRecording(
            take,
            camera,
            headset,
            colour=coding,
            frames=self.frames,
            host_utc_offset_ns=getattr(source, "host_utc_offset_ns", None),
            on_note=line.print,
            on_progress=line.recording,
        )
        try:
            done = recording.run().recorded
        except BaseException:
            take.unlink(missing_ok=True)  # the recording is there, and is converted again
            raise
        _warn(line, camera, headset)
        return Written(done.frames, done.samples, 0, done.rounded)

    def _to_folder(self, spec: str, folder: Path, line: StatusLine, stack: ExitStack) -> Written:
        from itertools import islice

        from bodystream.pipelines.recording.convert import write_folder

        wants_png = self.lossless_colour or self.jpeg_quality is None
        coding = colour_coding(self.jpeg_quality or 95, wants_png)
        camera, headset = self._open(spec, line, stack)
        source: Any = camera if camera is None or self.frames is None else _Cut(camera, self.frames, islice)
        written = write_folder(
            folder,
            source,
            headset,
            coding=coding,
            utc_offset_ns=getattr(camera if headset is None else headset, "host_utc_offset_ns", 0),
            on_step=lambda count: line.converting(count, getattr(camera, "frame_count", None)),
        )
        _warn(line, camera, headset)
        return written

    def _open(self, spec: str, line: StatusLine, stack: ExitStack) -> tuple[Any, Any]:
        """The recording's camera and headset, either of which may be None."""
        from bodystream.errors import InputError
        from bodystream.sources import open_source
        from bodystream.sources.headset.open import HEADSET_KINDS, open_headset
        from bodystream.sources.open import SOURCE_KINDS

        kind = spec.partition(":")[0].partition("?")[0]
        camera = headset = None
        failure: InputError | None = None
        if kind in {known.name for known in SOURCE_KINDS}:
            start_warp()
            try:
                camera = open_source(spec, "cpu")
            except InputError as error:
                if kind != "take":
                    raise
                failure = error
        if kind in {known.name for known in HEADSET_KINDS} and (kind != "take" or "?" not in spec):
            try:
                headset = open_headset(spec, on_status=line.print)
            except InputError as error:
                if kind != "take" or camera is None:
                    raise (failure or error) from error
        for source in (camera, headset):
            if source is None:
                continue
            stack.callback(source.close)
            endless = getattr(source, "on_demand", False) and self.frames is None
            if source.live or endless or getattr(source, "loops", False):
                raise ConfigurationError(
                    f"{source.name} is no recording with an end: use `bodystream record`, which stops by --frames, "
                    "--seconds or Ctrl-C"
                )
        return camera, headset


class _Cut:
    """The first frames of a source."""

    def __init__(self, source: Any, frames: int, take: Any) -> None:
        self._source, self._frames, self._take = source, frames, take

    def __iter__(self) -> Any:
        return self._take(iter(self._source), self._frames)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


def _warn(line: StatusLine, *sources: Any) -> None:
    for source in sources:
        for warning in () if source is None else source.counts.warnings:
            line.print(f"warning: {warning}")


def _spec_of(recording: str) -> str:
    """A source, from what may be a plain path."""
    from bodystream.sources.headset.open import HEADSET_KINDS
    from bodystream.sources.open import SOURCE_KINDS

    kind = recording.partition(":")[0].partition("?")[0]
    if kind in {known.name for known in (*SOURCE_KINDS, *HEADSET_KINDS)} and not Path(recording).exists():
        return recording
    return f"{_BY_SUFFIX.get(Path(recording).suffix.lower(), 'folder')}:{recording}"


def _target_of(target: str) -> tuple[Path | None, Path | None]:
    """Folder or take.

    Raises:
        ConfigurationError: it is neither.
    """
    if target.startswith("folder:") and target != "folder:":
        return Path(target.removeprefix("folder:")).expanduser(), None
    path = Path(target.removeprefix("take:")).expanduser()
    if path.suffix.lower() == ".mcap":
        return None, path
    raise ConfigurationError(f"cannot convert to {target!r}: give a take (take.mcap) or a folder (folder:PATH)")
