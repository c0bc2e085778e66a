"""BVH files: a hierarchy of joints with offsets and channels, then one line of numbers per frame.

Written by hand: the parsers that are published read without bounds and answer a damaged file with an index error deep
inside. This one reads the files of the usual exporters (any order of channels, joints with channels of position, tabs,
a hierarchy on few or many lines) and names the line that is wrong.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.errors import InputError
from bodystream.sources.motion.rig import RigMotion, axis_rotations
from bodystream.types import Array

__all__ = ["BvhFile", "BvhJoint", "parse_bvh", "read_bvh"]

MAX_BYTES = 256 << 20
_MAX_JOINTS = 512
_MAX_DEPTH = 128
_MAX_FRAMES = 2_000_000
_MAX_NUMBER = 1e7
_AXES = {"x": 0, "y": 1, "z": 2}
_TOKEN = re.compile(r"[{}]|[^\s{}]+")
_SHORTEST_FRAME_S, _LONGEST_FRAME_S = 1e-4, 1.0


@dataclass(frozen=True, slots=True)
class BvhJoint:
    """One joint of the hierarchy.

    Attributes:
        name: as in the file.
        parent: index of its parent, -1 for the root.
        offset: (3,) float64 from the parent, in units of the file.
        channels: in the file's order: `Xposition`, `Zrotation`...
        end_site: (3,) where its bone ends, if it has an End Site.
    """

    name: str
    parent: int
    offset: Array
    channels: tuple[str, ...]
    end_site: Array | None = None


@dataclass(frozen=True, slots=True)
class BvhFile:
    """What a BVH file holds.

    Attributes:
        name: for messages.
        joints: a parent before its children.
        frame_time_s: between frames, as the file says.
        frames: (T, C) float64, the channels of all joints in the order of `joints`; degrees and units of the file.
    """

    name: str
    joints: tuple[BvhJoint, ...]
    frame_time_s: float
    frames: Array

    def motion(self) -> RigMotion:
        """The frames as rotations and positions."""
        count = len(self.frames)
        rotations = np.empty((count, len(self.joints), 3, 3))
        translations: dict[int, Array] = {}
        root_positions = np.tile(self.joints[0].offset, (count, 1))
        column = 0
        for index, joint in enumerate(self.joints):
            turn, place = np.tile(np.eye(3), (count, 1, 1)), np.tile(joint.offset, (count, 1))
            for channel in joint.channels:
                axis, values = _AXES[channel[0].lower()], self.frames[:, column]
                column += 1
                if channel[1:].lower() == "rotation":
                    turn = turn @ axis_rotations(axis, np.deg2rad(values))
                else:
                    place[:, axis] = values
            rotations[:, index] = turn
            if any(channel[1:].lower() == "position" for channel in joint.channels):
                if index == 0:
                    root_positions = place
                elif np.abs(place).max() > 1e-6 or not joint.offset.any():
                    translations[index] = place  # else zeros, by exporters that mean them on top of the offset
        return RigMotion(
            name=self.name,
            joints=tuple(joint.name for joint in self.joints),
            parents=tuple(joint.parent for joint in self.joints),
            offsets=np.stack([joint.offset for joint in self.joints]),
            rotations=rotations,
            root_positions=root_positions,
            rate_hz=1.0 / self.frame_time_s,
            translations=translations,
            end_sites={i: joint.end_site for i, joint in enumerate(self.joints) if joint.end_site is not None},
        )

    def text(self) -> str:
        """The file, written anew; its joints must be in the order of a file: each after its parent's other branches."""
        lines = ["HIERARCHY"]
        open_joints: list[int] = []

        def close(until: int) -> None:
            while open_joints and open_joints[-1] != until:
                lines.append("  " * (len(open_joints) - 1) + "}")
                open_joints.pop()

        for index, joint in enumerate(self.joints):
            close(joint.parent)
            pad = "  " * len(open_joints)
            lines += [f"{pad}{'JOINT' if open_joints else 'ROOT'} {joint.name}", pad + "{"]
            open_joints.append(index)
            lines.append(f"{pad}  OFFSET " + " ".join(repr(float(v)) for v in joint.offset))
            lines.append(f"{pad}  CHANNELS {len(joint.channels)} " + " ".join(joint.channels))
            if joint.end_site is not None:
                site = " ".join(repr(float(v)) for v in joint.end_site)
                lines += [pad + "  End Site", pad + "  {", f"{pad}    OFFSET {site}", pad + "  }"]
        close(-1)
        lines += ["MOTION", f"Frames: {len(self.frames)}", f"Frame Time: {self.frame_time_s!r}"]
        lines += [" ".join(repr(float(v)) for v in frame) for frame in self.frames]
        return "\n".join(lines) + "\n"


def read_bvh(path: Path) -> BvhFile:
    """The BVH file at `path`.

    Raises:
        InputError: it cannot be read or is not a whole BVH file.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES >> 20} MiB, which is more than a BVH file may have here")
    # Latin-1 decodes any bytes; names with accents stay whatever they are.
    return parse_bvh(content.decode("latin-1"), str(path))


def parse_bvh(text: str, name: str) -> BvhFile:
    """A BVH file from its text.

    Args:
        text: the whole file.
        name: of the file, for messages.

    Raises:
        InputError: with the file, the line and the likely cause.
    """
    if text.startswith("\xef\xbb\xbf"):  # a byte order mark read as Latin-1
        text = text[3:]
    motion_at = re.search(r"^[ \t]*MOTION\b", text, re.MULTILINE)
    start = text.lstrip()[:9]
    if start != "HIERARCHY":
        raise InputError(f"{name} is not a BVH file: it starts with {start[:9]!r} instead of 'HIERARCHY'")
    if motion_at is None:
        raise InputError(
            f"{name} has no MOTION section: only the skeleton is in it, or the file is cut off "
            f"after line {text.count(chr(10)) + 1}"
        )
    joints = _Hierarchy(text[: motion_at.start()], name).parse()
    first_line = text.count("\n", 0, motion_at.start()) + 1
    return _with_frames(text[motion_at.end() :], first_line, joints, name)


class _Hierarchy:
    """A recursive-descent parser without the recursion."""

    def __init__(self, text: str, name: str) -> None:
        self._tokens = [
            (match.group(), number)
            for number, line in enumerate(text.splitlines(), 1)
            for match in _TOKEN.finditer(line)
        ]
        self._at = 0
        self._name = name

    def parse(self) -> tuple[BvhJoint, ...]:
        self._take("HIERARCHY")
        joints: list[BvhJoint] = []
        stack: list[int] = []
        while True:
            word, line = self._next("ROOT, JOINT, End Site or }")
            if word == "}":
                if not stack:
                    raise InputError(f"{self._name}, line {line}: a }} too many closes nothing")
                stack.pop()
                if not stack:
                    break
            elif word == "ROOT" and not joints or word == "JOINT" and stack:
                joints.append(self._joint(stack[-1] if stack else -1))
                stack.append(len(joints) - 1)
                if len(joints) > _MAX_JOINTS or len(stack) > _MAX_DEPTH:
                    raise InputError(
                        f"{self._name}, line {line}: more than {_MAX_JOINTS} joints or {_MAX_DEPTH} in a row"
                    )
            elif word == "End" and stack:
                self._take("Site")
                self._take("{")
                joint = joints[stack[-1]]
                joints[stack[-1]] = BvhJoint(joint.name, joint.parent, joint.offset, joint.channels, self._offset())
                self._take("}")
            else:
                raise InputError(f"{self._name}, line {line}: {word!r} where ROOT, JOINT, End Site or }} was expected")
        if self._at < len(self._tokens):
            word, line = self._tokens[self._at]
            cause = "a second ROOT (one person per file)" if word == "ROOT" else repr(word)
            raise InputError(f"{self._name}, line {line}: {cause} after the end of the hierarchy; MOTION was expected")
        return tuple(joints)

    def _joint(self, parent: int) -> BvhJoint:
        words = [self._next("a joint's name")[0]]
        while self._at < len(self._tokens) and self._tokens[self._at][0] != "{" and len(words) < 8:
            words.append(self._next("{")[0])  # names with spaces
        self._take("{")
        offset = self._offset()
        channels: list[str] = []
        if self._at < len(self._tokens) and self._tokens[self._at][0] == "CHANNELS":
            self._at += 1
            count, line = self._next("a number of channels")
            if not count.isascii() or not count.isdigit() or int(count) > 6:
                raise InputError(f"{self._name}, line {line}: {count!r} channels, wanted 0 to 6")
            for _ in range(int(count)):
                channel, line = self._next("a channel")
                if not re.fullmatch(r"[XYZxyz](?i:rotation|position)", channel):
                    raise InputError(
                        f"{self._name}, line {line}: the channel {channel!r} is unknown: wanted Xposition... or "
                        "Zrotation..., as many as the line announces"
                    )
                channels.append(channel)
        return BvhJoint(" ".join(words), parent, offset, tuple(channels))

    def _offset(self) -> Array:
        self._take("OFFSET")
        values = np.zeros(3)
        for axis in range(3):
            word, line = self._next("three numbers of an OFFSET")
            try:
                values[axis] = float(word)
            except ValueError:
                values[axis] = np.nan
            if not abs(values[axis]) < _MAX_NUMBER:  # true for nan as well
                raise InputError(f"{self._name}, line {line}: an OFFSET holds {word!r}, wanted three finite numbers")
        return values

    def _take(self, wanted: str) -> None:
        word, line = self._next(wanted)
        if word != wanted:
            raise InputError(f"{self._name}, line {line}: {word!r} where {wanted} was expected")

    def _next(self, wanted: str) -> tuple[str, int]:
        if self._at >= len(self._tokens):
            line = self._tokens[-1][1] if self._tokens else 1
            raise InputError(
                f"{self._name}, line {line}: the hierarchy ends where {wanted} was expected: a }} is missing or the "
                "file is damaged"
            )
        self._at += 1
        return self._tokens[self._at - 1]


def _with_frames(text: str, first_line: int, joints: tuple[BvhJoint, ...], name: str) -> BvhFile:
    """The section after the word MOTION, which stands on line `first_line`."""
    header = re.match(r"\s*Frames:\s*(\S+)\s+Frame\s+Time:\s*(\S+)[ \t]*(?:\r?\n|\Z)", text)
    if header is None:
        raise InputError(
            f"{name}, line {first_line}: 'Frames: N' and 'Frame Time: S' must follow MOTION: the file is cut off or "
            "was not written by a BVH exporter"
        )
    count_word, time_word = header.groups()
    if not count_word.isascii() or not count_word.isdigit() or not 0 < int(count_word) <= _MAX_FRAMES:
        raise InputError(f"{name}: 'Frames: {count_word}' must be a whole number from 1 to {_MAX_FRAMES}")
    try:
        frame_time = float(time_word)
    except ValueError:
        frame_time = float("nan")
    if not _SHORTEST_FRAME_S <= frame_time <= _LONGEST_FRAME_S:
        raise InputError(
            f"{name}: 'Frame Time: {time_word}' must be seconds between {_SHORTEST_FRAME_S} and {_LONGEST_FRAME_S}; "
            "a larger number may be frames per second"
        )
    count, columns = int(count_word), sum(len(joint.channels) for joint in joints)
    if columns == 0:
        raise InputError(f"{name}: no joint has CHANNELS, so there is no motion")
    body = text[header.end() :]
    with warnings.catch_warnings():  # text that is no number ends numpy's reading: the count below shows it
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            values = np.fromstring(body, np.float64, sep=" ")
        except ValueError:
            values = np.zeros(0)
    if values.size != count * columns or not np.isfinite(values).all() or np.abs(values).max() > _MAX_NUMBER:
        raise InputError(_what_is_wrong(body, first_line + text.count("\n", 0, header.end()), count, columns, name))
    return BvhFile(name, joints, frame_time, values.reshape(count, columns))


def _what_is_wrong(body: str, line_before: int, count: int, columns: int, name: str) -> str:
    """The message for frames that do not add up, looked for line by line."""
    found = 0
    lines = body.split("\n")
    last = max((i for i, line in enumerate(lines) if line.strip()), default=-1)
    for index, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        where = f"{name}, line {line_before + index} (frame {found + 1} of {count})"
        for word in words:
            try:
                value = float(word)
            except ValueError:
                return f"{where}: {word[:40]!r} is not a number"
            if not abs(value) <= _MAX_NUMBER:
                return f"{where}: {word[:40]} is not a usable number; the capture or its export was broken there"
        if len(words) != columns:
            if index == last and len(words) < columns:
                return f"{where}: {len(words)} of {columns} numbers: the file is cut off in the middle of a frame"
            return (
                f"{where}: {len(words)} numbers, but the hierarchy has {columns} channels: the skeleton is another "
                "motion's, or the line is damaged"
            )
        found += 1
    cause = "the file is cut off" if found < count else "the header was not updated after an edit"
    return f"{name}: 'Frames: {count}' is announced and {found} are there: {cause}"
