"""Recordings in folders and files, played as a source; `layouts` has one module for each way to store them."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import cast, get_args

import numpy as np

from bodystream.errors import ConfigurationError, InputError, SourceError
from bodystream.sources.base import RgbdSource, SourceCounts
from bodystream.sources.folder_config import FolderConfig, Layout
from bodystream.sources.layouts import deepdeform, frames, matlab, mkv, numbered, plain, r3d, scannet, sens, tum
from bodystream.sources.layouts.decode import DecodedFrame, FrameDecoder, check_sizes
from bodystream.sources.layouts.images import DamagedFileError
from bodystream.sources.layouts.intrinsics import UnreadIntrinsics
from bodystream.sources.layouts.orbslam import with_settings
from bodystream.sources.layouts.record import FrameRecord, LayoutReader, Recording
from bodystream.sources.layouts.registration import Registration
from bodystream.sources.layouts.rigs import choose_rig
from bodystream.sources.layouts.units import decide_scale, measured
from bodystream.timing.clock import now_ns
from bodystream.types import Array, CameraIntrinsics, RgbdFrame

__all__ = ["ASSUMED_RATE_HZ", "FolderSource", "read_recording"]

ASSUMED_RATE_HZ = 30.0

# In order of how much each asks for: the first that fits is taken.
_READERS = tuple(
    cast(LayoutReader, module) for module in (tum, frames, scannet, deepdeform, numbered, matlab, plain, sens, r3d, mkv)
)
_FILE_SUFFIXES = tuple(suffix for reader in _READERS for suffix in getattr(reader, "FILE_SUFFIXES", ()))
_AHEAD = 3  # frames decoded ahead of the consumer
_NAMED_LOSSES = 10
_LONGEST_NS = 2**62
_UNIT_SAMPLES = 3
_UNIT_TRIES = 12


def read_recording(path: Path, layout: Layout = "auto") -> Recording:
    """Find out a recording's layout and list its frames; nothing is decoded.

    Raises:
        ConfigurationError: no such layout.
        InputError: the path does not exist, or holds no recording of the layout (of any, with `auto`).
    """
    if layout not in get_args(Layout):
        raise ConfigurationError(f"unknown layout {layout!r}: choose one of {', '.join(get_args(Layout))}")
    try:
        return _read_recording(path, layout)
    except OSError as error:  # a folder on the way that may not be entered or listed, a name that is too long
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}): check the name and who may read it"
        ) from error


def _read_recording(path: Path, layout: Layout) -> Recording:
    if not path.exists():
        raise InputError(f"{path}: does not exist: give the folder of a recording")
    readers = [reader for reader in _READERS if layout in ("auto", reader.NAME)]
    if not path.is_dir():
        suffix = path.suffix.lower()
        if suffix not in _FILE_SUFFIXES or not path.is_file():
            raise InputError(
                f"{path}: is a file; give the folder that holds the recording (only {', '.join(_FILE_SUFFIXES)} "
                "recordings are files)"
            )
        readers = [reader for reader in readers if suffix in getattr(reader, "FILE_SUFFIXES", ())]
        if not readers:
            raise InputError(f"{path}: the layout {layout!r} does not cover {suffix} files; use auto")
    for reader in readers:
        if reader.fits(path):
            recording = reader.read(path)
            return with_settings(recording, path) if path.is_dir() else recording
    listing = sorted(itertools.islice((entry.name for entry in path.iterdir()), 200))
    there = ", ".join(listing[:8]) + (", ..." if len(listing) > 8 else "")
    there = there or "nothing: the folder is empty"
    wanted = "; ".join(f"{reader.NAME}: {reader.WANTED}" for reader in readers)
    raise InputError(f"{path}: no recording found (it holds {there}). Looked for {wanted}")


class FolderSource(RgbdSource):
    """Plays a recording as fast as it is consumed, whole frames only; made by `open`.

    A frame that is incomplete, damaged or of another size is skipped, counted in `counts.lost` and named in
    `counts.warnings`; its index is left out. Each iteration plays from the start.

    Attributes:
        layout: which layout was taken.
        intrinsics: of the recording.
        depth_scale_m: metres per unit of its integer depth.
        empty_frames: frames delivered without a single depth measurement.
        frame_count: frames that the recording lists, incomplete ones included.
    """

    def __init__(self, path: Path, recording: Recording, decoder: FrameDecoder, rate_hz: float | None, loop: bool):
        self.name = f"folder:{path.resolve().name}"
        self.live = False
        self.counts = SourceCounts()
        self.layout = recording.layout
        self.intrinsics = decoder.intrinsics
        self.depth_scale_m = decoder.depth_scale_m
        self.empty_frames = 0
        self._decoder = decoder
        self._records, times_ns = _timed(recording.records, rate_hz)
        self.frame_count = len(self._records)
        self.rate_hz: float | None = rate_hz or _rate_of(recording.records)
        self._times_ns = times_ns
        self._loop = self.loops = loop
        self._release = recording.close
        self._start_ns = now_ns()
        self._closed = threading.Event()
        self._named_losses: set[str] = set()
        for note in recording.notes:
            self.counts.warn(note)

    @classmethod
    def open(cls, path: str | Path, config: FolderConfig | None = None) -> FolderSource:
        """Find out the layout, camera and depth unit of a recording.

        Args:
            path: the folder, or a recording in one file (.mat, .sens, .r3d, .mkv).
            config: how to read it; None takes the defaults. `layout` and `description` say what was found.

        Raises:
            ConfigurationError: no such layout.
            InputError: no recording there, no intrinsics, wrong unit, colour and depth of different sizes, or not one
                whole frame.
        """
        config = FolderConfig() if config is None else config
        intrinsics, rate_hz = config.intrinsics, config.rate_hz
        root = Path(path).expanduser()
        recording = read_recording(root, config.layout)
        stated_scale = _stated_scale(recording)
        if rate_hz is None and any(record.time_ns is None for record in recording.records):
            rate_hz = None if recording.intrinsics is None else recording.intrinsics.rate_hz
        has_colour = any(record.read_colour is not None for record in recording.records)
        found = choose_rig(root, recording, intrinsics, has_colour)
        first, raw, colour_size = _first_whole(root, recording.records, registered=found.rig is None)
        registration: Registration | None = None
        if found.rig is not None:
            registration = Registration(found.rig, (raw.shape[1], raw.shape[0]), colour_size)
            camera, doubts = registration.intrinsics, registration.doubts
        else:
            if found.intrinsics is not None:
                recording = dataclasses.replace(recording, intrinsics=found.intrinsics)
            camera, doubts = _camera(root, recording, first, raw, intrinsics)
        samples = _unit_samples(recording.records, first, raw)
        unit = decide_scale(samples, recording.depth_scale_m, config.depth_scale_m, str(root), stated_scale)
        decoder = FrameDecoder(
            camera, unit.scale_m, config.max_depth_m, own_intrinsics=intrinsics is None, registration=registration
        )
        untimed = any(record.time_ns is None for record in recording.records)
        rate_hz_used = recording.rate_hz if rate_hz is None and untimed else rate_hz
        source = cls(root, recording, decoder, rate_hz_used, config.loop)
        time_note = recording.time_note if rate_hz is None else ""
        mask_notes = () if recording.masks is None else recording.masks.notes
        for warning in (time_note, unit.warning, *found.notes, *doubts, *mask_notes):
            if warning:
                source.counts.warn(warning)
        own = recording.intrinsics
        if own is not None and own.distorted and registration is None and intrinsics is None:
            source.counts.warn(f"{own.origin}: its lens distortion is not applied")
        return source

    @property
    def description(self) -> str:
        """One line for a person: what was found."""
        camera = self.intrinsics
        colour = "colour and depth" if any(record.read_colour for record in self._records) else "depth"
        return (
            f"{self.name}: {self.layout} layout, {self.frame_count} frames of {colour}, "
            f"{camera.width}x{camera.height}, {self.rate_hz:.3g} Hz, depth unit {self.depth_scale_m:g} m, "
            f"fx {camera.fx:g} fy {camera.fy:g} cx {camera.cx:g} cy {camera.cy:g}"
        )

    def __iter__(self) -> Iterator[RgbdFrame]:
        index = 0
        offset_ns = self._start_ns
        period_ns = round(1e9 / (self.rate_hz or ASSUMED_RATE_HZ))
        while not self._closed.is_set():
            delivered = self.counts.delivered
            for position, decoded in self._decode_ahead():
                if isinstance(decoded, InputError):
                    self._lose(position, decoded)
                else:
                    frame = self._frame(position, index, offset_ns, decoded)
                    self.counts.delivered += 1
                    yield frame
                index += 1
            if not self._loop:
                return
            if not self._closed.is_set() and self.counts.delivered == delivered:
                raise SourceError(f"{self.name}: not one frame of the recording can be read any more")
            offset_ns += self._times_ns[-1] + period_ns

    def close(self) -> None:
        """Stop; the iteration under way ends before its next frame. Safe to call twice and from another thread."""
        self._closed.set()
        if self._release is not None:
            self._release()

    def __enter__(self) -> FolderSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decode_ahead(self) -> Iterator[tuple[int, DecodedFrame | InputError]]:
        """All frames in order, decoded by one thread that stays a few frames ahead."""
        pending: deque[tuple[int, Future[DecodedFrame]]] = deque()
        executor = ThreadPoolExecutor(1, thread_name_prefix="folder-decode")
        try:
            positions = iter(range(len(self._records)))
            while not self._closed.is_set():
                for position in itertools.islice(positions, _AHEAD - len(pending)):
                    pending.append((position, executor.submit(self._decoder.decode, self._records[position])))
                if not pending:
                    return
                position, future = pending.popleft()
                try:
                    result: DecodedFrame | InputError = future.result()
                except InputError as error:
                    result = error
                if self._closed.is_set():
                    return
                yield position, result
        finally:
            executor.shutdown(wait=True, cancel_futures=True)

    def _frame(self, position: int, index: int, offset_ns: int, decoded: DecodedFrame) -> RgbdFrame:
        record = self._records[position]
        for note in decoded.notes:
            self._warn_once_each(record.name, note)
        if decoded.empty:
            if self.empty_frames == 0:
                self.counts.warn(
                    f"{self.name}: frame {record.name} holds no depth at all; such frames are delivered and counted"
                )
            self.empty_frames += 1
        return RgbdFrame(
            index=index,
            t_ns=offset_ns + self._times_ns[position],
            depth_m=decoded.depth_m,
            intrinsics=decoded.intrinsics,
            colour=decoded.colour,
            device_t_ns=record.time_ns,
            mask=decoded.mask,
            name=record.name,
        )

    def _lose(self, position: int, error: InputError) -> None:
        self.counts.lost += 1
        record = self._records[position]
        ending = "; the recording ends mid-frame" if position == len(self._records) - 1 else ""
        self._warn_once_each(record.name, f"frame {record.name} is lost: {error}{ending}")

    def _warn_once_each(self, name: str, message: str) -> None:
        """Name the first few frames that something is wrong with; of thousands the report only needs the count."""
        if name in self._named_losses or len(self._named_losses) < _NAMED_LOSSES:
            self._named_losses.add(name)
            self.counts.warn(message)
        else:
            self.counts.warn(f"{self.name}: more than {_NAMED_LOSSES} frames are damaged; the others are only counted")


def _first_whole(
    root: Path, records: Sequence[FrameRecord], registered: bool
) -> tuple[FrameRecord, Array, tuple[int, int] | None]:
    """The first frame that can be read, its raw depth, and its colour's (width, height): all must look like it."""
    failure = "it lists no frame"
    for record in records:
        if record.problem or record.read_depth is None:
            failure = record.problem
            continue
        try:
            raw = record.read_depth()
            colour = None if record.read_colour is None else record.read_colour()
            if registered:
                check_sizes(record, raw, colour)
        except DamagedFileError as error:
            failure = str(error)
            continue
        return record, raw, None if colour is None else (colour.shape[1], colour.shape[0])
    raise InputError(f"{root}: not one of its {len(records)} frames is whole; the last: {failure}")


def _camera(
    root: Path, recording: Recording, first: FrameRecord, raw: Array, chosen: CameraIntrinsics | None
) -> tuple[CameraIntrinsics, tuple[str, ...]]:
    """The camera to use, and what the user should know about it."""
    height, width = raw.shape
    if chosen is not None:
        if (chosen.width, chosen.height) != (width, height):
            raise InputError(
                f"the intrinsics given are for {chosen.width}x{chosen.height} pixels, but {first.depth_file} is "
                f"{width}x{height}: give those of the images as they are stored"
            )
        notes = () if recording.intrinsics is None else recording.intrinsics.notes
        if isinstance(recording.intrinsics, UnreadIntrinsics):
            notes += (f"{recording.intrinsics.problem}; the intrinsics given are used instead",)
        return chosen, notes
    if recording.intrinsics is None:
        raise InputError(
            f"{root}: no camera intrinsics found. Add {recording.intrinsics_wanted}, or pass "
            f"?intrinsics=fx,fy,cx,cy,width,height (the images are {width}x{height})"
        )
    camera, doubts = recording.intrinsics.fitted(width, height)
    return camera, (*recording.intrinsics.notes, *doubts)


def _stated_scale(recording: Recording) -> tuple[float, str] | None:
    """The depth unit that the recorder wrote beside the intrinsics, and where."""
    found = recording.intrinsics
    return None if found is None or found.depth_scale_m is None else (found.depth_scale_m, found.origin)


def _unit_samples(records: Sequence[FrameRecord], first: FrameRecord, raw: Array) -> list[Array]:
    """Raw depth of up to three frames with measurements, spread over the recording."""
    samples = [raw] if measured(raw).any() else []
    spread = np.unique(np.linspace(0, len(records) - 1, _UNIT_TRIES).astype(int))
    middle_first = sorted(spread.tolist(), key=lambda position: abs(position - len(records) // 2))
    for position in middle_first:
        record = records[position]
        if len(samples) >= _UNIT_SAMPLES:
            break
        if record is first or record.problem or record.read_depth is None:
            continue
        try:
            sample = record.read_depth()
        except InputError:
            continue  # it is reported when its turn comes
        if sample.dtype == raw.dtype and measured(sample).any():
            samples.append(sample)
    return samples


def _timed(records: Sequence[FrameRecord], rate_hz: float | None) -> tuple[list[FrameRecord], list[int]]:
    """Time of each frame after the first [ns], strictly increasing; a frame that repeats a time is marked as lost."""
    timed = rate_hz is None and all(record.time_ns is not None for record in records)
    numbers = [record.number for record in records]
    kept: list[FrameRecord] = []
    times_ns: list[int] = []
    for position, record in enumerate(records):
        if timed:
            time_ns = cast(int, record.time_ns) - cast(int, records[0].time_ns)
        else:
            number, first_number = numbers[position], numbers[0]
            step = position if number is None or first_number is None else number - first_number
            time_ns = round(step * 1e9 / (rate_hz or ASSUMED_RATE_HZ))
        if times_ns and time_ns <= times_ns[-1]:
            time_ns = times_ns[-1]
            if not record.problem:
                record = dataclasses.replace(record, problem="it has the time stamp of the frame before it")
        kept.append(record)
        times_ns.append(time_ns)
    if times_ns and times_ns[-1] > _LONGEST_NS:
        raise InputError(
            f"frames {records[0].name} and {records[-1].name} are {times_ns[-1] / 1e9:.3g} s apart by their numbers or "
            "times: take the stray one out, or pass ?rate_hz=HZ where the names are no frame numbers"
        )
    return kept, times_ns


def _rate_of(records: Sequence[FrameRecord]) -> float:
    times = [record.time_ns for record in records if record.time_ns is not None and not record.problem]
    steps = np.diff(np.array(times, np.int64)) if len(times) > 1 else np.zeros(0)
    steps = steps[steps > 0]
    return float(1e9 / np.median(steps)) if steps.size else ASSUMED_RATE_HZ
