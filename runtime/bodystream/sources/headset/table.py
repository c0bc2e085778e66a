"""Tables of head and hand poses: CSV files that live sessions are recorded to, and that other programs can write.

A header names the columns; their order is free, and columns of other names are left alone:

- the time, one of `t_ns` (integer nanoseconds), `t_ms`, `t_s`;
- of the head `head_px head_py head_pz` [m] and `head_qx head_qy head_qz head_qw`, and likewise `left_...` and
  `right_...`, where a table may have no columns for a hand;
- `head_kind`, `left_kind`, `right_kind`: which point was tracked, by the names of `DeviceKind`. Without the column it
  is `view` for the head and `grip` for the hands.

- `origin_moved`: 1 where the world's origin moved since the row before; `emulated`: those of `left` and `right` whose
  place was only guessed;
- `left_joints`, `right_joints`: of a tracked hand (`hand-wrist`) its 25 joints, as of `geometry.hands.hand_bytes`, in
  base64; else empty. Each of the four may be absent.

Cells of a device that is not tracked are empty in all of its columns, or hold what writers put there instead (`nan`,
`null`, `None`, ...), or are absent from the end of the row. Axes are right-handed, y up, the floor at y = 0. The
separator is a comma, a semicolon or a tab.
"""

from __future__ import annotations

import base64
import csv
import io
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from bodystream.errors import InputError, SourceError, excerpt
from bodystream.files import finish_part
from bodystream.geometry.hands import hand_from_bytes, recorded_hand
from bodystream.sources.headset.base import Trace
from bodystream.sources.headset.records import MAX_SAMPLES, is_missing, raw_device, since_start_ns
from bodystream.types import DeviceKind, HandJoints, HeadsetSample, TrackedDevice

__all__ = ["HeadsetCsvWriter", "finish_table", "parse_table", "write_headset_csv"]

_DEVICES = {"head": DeviceKind.VIEW, "left": DeviceKind.GRIP, "right": DeviceKind.GRIP}
_PARTS = ("px", "py", "pz", "qx", "qy", "qz", "qw")
_TIME_NS = {"t_ns": 1, "t_ms": 1_000_000, "t_s": 1_000_000_000}
_UNITS = {"t_ns": "nanoseconds", "t_ms": "milliseconds", "t_s": "seconds"}
_MAX_TIME_NS = 8e18
"""Nanoseconds since 1970 are 1.8e18; beyond this they and a recording's length do not fit into 64 bits."""
_MAX_COLUMNS = 1024
_MAX_LINE = 1 << 16
_JOINTS = {"left": "left_joints", "right": "right_joints"}
_EXTRAS = ("origin_moved", "emulated", *_JOINTS.values())
_BEFORE = ["t_ns", *(f"{device}_{part}" for device in _DEVICES for part in (*_PARTS, "kind")), *_EXTRAS[:2]]
"""What was written before hands had joints."""
_HEADER = [*_BEFORE, *_JOINTS.values()]


def parse_table(data: bytes, name: str) -> Trace:
    """Read a table; `name` is for messages.

    Raises:
        InputError: it is not one; the message names the line and the column.
    """
    lines = _Lines(data, name)
    first = next(lines, "")
    while first and not first.strip():
        first = next(lines, "")
    separator = max(",;\t", key=first.count)
    table = _Table([column.strip().strip('"') for column in first.strip("\n").split(separator)], name)
    samples: list[HeadsetSample] = []
    warnings = list(table.warnings)
    try:
        # Without quotes a row is a line, so that line numbers in messages are true and no field can swallow the file.
        for row in csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE):
            if not any(cell.strip() for cell in row):
                continue
            if len(samples) >= MAX_SAMPLES:
                raise InputError(f"{name} has more than {MAX_SAMPLES} rows: cut it")
            line = lines.count
            try:
                samples.append(table.sample(row, line, samples))
            except InputError:
                # What a recorder that was killed wrote last has no end of line.
                if not samples or lines.last_is_ended or next(lines, None) is not None:
                    raise
                warnings.append(f"{name}: the last line, {line}, is cut off and left out: the recorder was ended early")
    except csv.Error as error:
        raise InputError(f"{name}: not a CSV table ({error})") from error
    if not samples:
        raise InputError(f"{name} has a header and no rows: the recording was not finished")
    return Trace(name, tuple(samples), tuple(warnings))


class _Lines:
    """The lines of a text, decoded piece by piece: as a whole it would take several times its size.

    Attributes:
        count: lines so far.
        last_is_ended: whether the text's last line has its end.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._name = name
        self._text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=None)
        self.count = 0
        self.last_is_ended = data.endswith((b"\n", b"\r"))

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        self.count += 1
        try:
            line = self._text.readline(_MAX_LINE + 1)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self._name} is neither JSON nor UTF-8 text (about line {self.count}): wanted a headset recording in "
                "a CSV table"
            ) from error
        if len(line) > _MAX_LINE:
            raise InputError(f"{self._name}, line {self.count} has over {_MAX_LINE} characters: is this a CSV table?")
        if not line:
            raise StopIteration
        return line


class _Table:
    """Where the columns are."""

    def __init__(self, header: list[str], name: str) -> None:
        self._name = name
        self._header = header
        self._written_here = header in (_HEADER, _BEFORE)
        if len(header) > _MAX_COLUMNS:
            raise InputError(f"{name} has {len(header)} columns, at most {_MAX_COLUMNS} are read: is this a CSV table?")
        twice = sorted({column for column in header if header.count(column) > 1 and column})
        if twice:
            raise InputError(
                f"{name}: the column {excerpt(twice[0])} is there twice: give each column a name of its own"
            )
        times = [column for column in _TIME_NS if column in header]
        if len(times) != 1:
            got = excerpt(", ".join(header), 80)
            wanted = f"wanted one column of {', '.join(_TIME_NS)}"
            hint = "the first line must name the columns" if not times else "leave one"
            raise InputError(f"{name}: {wanted} for the time, got {', '.join(times) or got}: {hint}")
        self._time = header.index(times[0])
        self._unit_ns = _TIME_NS[times[0]]
        self._places: dict[str, list[int]] = {}
        self._kinds: dict[str, int] = {}
        for device in _DEVICES:
            wanted = [f"{device}_{part}" for part in _PARTS]
            missing = [column for column in wanted if column not in header]
            if not missing:
                self._places[device] = [header.index(column) for column in wanted]
            elif len(missing) < len(wanted) or device == "head":
                raise InputError(f"{name}: the {device} has no column {missing[0]}: wanted {', '.join(wanted)}")
            if f"{device}_kind" in header:
                self._kinds[device] = header.index(f"{device}_kind")
        self._extras = {name: header.index(name) for name in _EXTRAS if name in header}
        known = {
            self._time,
            *self._extras.values(),
            *self._kinds.values(),
            *(place for places in self._places.values() for place in places),
        }
        others = [column for place, column in enumerate(header) if place not in known and column]
        self.warnings = (f"{name}: columns left alone: {excerpt(', '.join(others), 80)}",) if others else ()

    def sample(self, row: list[str], line: int, before: list[HeadsetSample]) -> HeadsetSample:
        where = f"{self._name}, line {line}"
        if len(row) != len(self._header):
            row = self._completed(row, where)
        device_ns = self._time_ns(row, where)
        start_ns = before[0].device_t_ns if before else device_ns
        devices = {device: self._device(device, row, where) for device in self._places}
        return HeadsetSample(
            index=len(before),
            t_ns=since_start_ns(device_ns, device_ns if start_ns is None else start_ns, where),
            head=devices["head"],
            left=devices.get("left"),
            right=devices.get("right"),
            device_t_ns=device_ns,
            origin_moved=self._extra(row, "origin_moved").lower() in ("1", "true"),
            emulated=tuple(side for side in ("left", "right") if side in self._extra(row, "emulated").split()),
        )

    def _extra(self, row: list[str], name: str) -> str:
        return row[self._extras[name]].strip().strip('"') if name in self._extras else ""

    def _completed(self, row: list[str], where: str) -> list[str]:
        """A row of another length: writers leave away devices at its end, or put a separator behind the last cell."""
        wanted, got = len(self._header), len(row)
        if got > wanted and not any(cell.strip() for cell in row[wanted:]):
            return row[:wanted]
        # Our own writer always has all cells: a row of it that is short was cut off between two devices.
        whole = got < wanted and self._time < got and not self._written_here
        for device, places in self._places.items():
            there = [place for place in (*places, self._kinds.get(device, places[0])) if place < got]
            half = 0 < len(there) < len(places) + (device in self._kinds and self._kinds[device] not in places)
            whole = whole and not (half and not all(is_missing(row[place]) for place in there))
        if not whole:
            raise InputError(
                f"{where} has {got} cells, the header has {wanted}: a line that was cut off, or commas as decimal signs"
            )
        return row + [""] * (wanted - got)

    def _time_ns(self, row: list[str], where: str) -> int:
        cell = row[self._time].strip().strip('"')
        try:
            # Nanoseconds since the epoch do not fit into a float.
            value = int(cell) if self._unit_ns == 1 and "." not in cell and "e" not in cell.lower() else float(cell)
        except ValueError:
            value = math.nan
        if not abs(value) * self._unit_ns <= _MAX_TIME_NS:
            column = self._header[self._time]
            raise InputError(
                f"{where}: the time must be a number, got {excerpt(cell)}: {_UNITS[column]} within 250 years of 0"
            )
        return round(value * self._unit_ns)

    def _device(self, device: str, row: list[str], where: str) -> TrackedDevice | None:
        values = [self._value(row[place].strip().strip('"'), place, where) for place in self._places[device]]
        if all(math.isnan(value) for value in values):
            return None
        kind = row[self._kinds[device]].strip().strip('"') if device in self._kinds else ""
        if self._written_here and not kind:
            raise InputError(f"{where}: {device}_kind is empty: a line that was cut off")
        try:
            found = raw_device(values, _DEVICES[device] if is_missing(kind) else DeviceKind(kind))
        except ValueError as error:
            raise InputError(
                f"{where}: {device}_kind is {excerpt(kind)}, wanted one of {', '.join(DeviceKind)}"
            ) from error
        joints = self._extra(row, _JOINTS[device]) if device in _JOINTS else ""
        return replace(found, hand=_hand(joints, f"{where}: {_JOINTS[device]}")) if joints else found

    def _value(self, cell: str, place: int, where: str) -> float:
        if is_missing(cell):
            return math.nan
        try:
            return float(cell)
        except ValueError as error:
            raise InputError(
                f"{where}: {excerpt(self._header[place])} must be a number or empty, got {excerpt(cell)}"
            ) from error


def _hand(cell: str, what: str) -> HandJoints:
    try:
        data = base64.b64decode(cell, validate=True)
    except ValueError as error:  # binascii's error is one
        raise InputError(f"{what} must be base64, got {excerpt(cell)}: a line that was cut off") from error
    return hand_from_bytes(data, what)


class HeadsetCsvWriter:
    """Records samples to a table as they come; a context manager.

    The file gets its name when the writer is closed; until then its content is in another one beside it, and it stays
    there where something could not be written. Rows reach the file when they are many, or by `flush`.

    Args:
        path: of the table. partial: where it grows; default: `PATH.part`.

    Attributes:
        failed: whether something could not be written.
        partial: the file in which it grows.

    Raises:
        SourceError: the file cannot be written.
    """

    def __init__(self, path: Path, partial: Path | None = None) -> None:
        self._path = path
        self.partial = path.with_name(path.name + ".part") if partial is None else partial
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.partial.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise SourceError(f"cannot record the headset to {path}: {error.strerror}") from error
        self._rows = csv.writer(self._file, lineterminator="\n")
        self.failed = False
        self._write(_HEADER)

    def write(self, sample: HeadsetSample) -> None:
        """Add one sample, bit for bit; `t_ns` is the host's time that it carries."""
        row: list[object] = [sample.t_ns]
        for device in (sample.head, sample.left, sample.right):
            if device is None:
                row += [""] * (len(_PARTS) + 1)
            else:
                row += [repr(float(value)) for value in (*device.position_m, *device.rotation_xyzw)]
                row.append(device.kind.value)
        hands = [None if device is None else recorded_hand(device.hand) for device in (sample.left, sample.right)]
        joints = ["" if data is None else base64.b64encode(data).decode() for data in hands]
        self._write([*row, int(sample.origin_moved), " ".join(sample.emulated), *joints])

    def flush(self) -> None:
        """Hand over to the system what was written so far.

        Raises:
            SourceError: it refused.
        """
        if self.failed:
            return
        try:
            self._file.flush()
        except OSError as error:
            self.failed = True
            raise SourceError(self._refused(error)) from error

    def close(self) -> None:
        """Finish the file; safe to call twice."""
        if self._file.closed:
            return
        try:
            self._file.close()
        except OSError as error:
            if not self.failed:  # else it was told, and closing only tries once more to write the rest
                self.failed = True
                raise SourceError(self._refused(error)) from error
        if self.failed:  # what was cut off keeps the name that says so
            return
        try:
            os.replace(self.partial, self._path)
        except OSError as error:
            raise SourceError(
                f"cannot finish the headset recording {self._path}: {error.strerror}: it is in {self.partial.name}"
            ) from error

    def __enter__(self) -> HeadsetCsvWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, row: list[object] | list[str]) -> None:
        try:
            self._rows.writerow(row)
        except OSError as error:
            self.failed = True
            raise SourceError(self._refused(error)) from error

    def _refused(self, error: OSError) -> str:
        return (
            f"cannot record the headset to {self._path}: {error.strerror}: what came before is in {self.partial.name}"
        )


def finish_table(part: Path, path: Path) -> None:
    """Finish the table of a recorder that was killed: cut off a row that is not whole, and give it its name.

    Raises:
        InputError: it cannot be written; it stays as it is then.
    """
    try:
        with open(part, "rb+") as file:
            end = 0
            for line in file:
                end += len(line) if line.endswith(b"\n") else 0
            file.truncate(end)
    except OSError as error:
        raise InputError(f"{part}: cannot be finished ({error.strerror or error})") from error
    finish_part(part, path)


def write_headset_csv(path: Path, samples: Iterable[HeadsetSample]) -> int:
    """Write samples to a table and return how many there were.

    Raises:
        SourceError: the file cannot be written.
    """
    count = 0
    with HeadsetCsvWriter(path) as writer:
        for sample in samples:
            writer.write(sample)
            count += 1
    return count
