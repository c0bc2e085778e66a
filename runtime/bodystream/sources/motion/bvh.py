"""BVH files: a hierarchy of joints with offsets and channels, then one line of numbers per frame.

Written by hand: the parsers that are published read without bounds and answer a damaged file with an index error deep
inside. This one reads the files of the usual exporters (any order of channels, joints with channels of position, tabs,
a hierarchy on few or many lines, keywords in any case, decimal commas, numbers that touch at a sign, no number of
frames) and names the line that is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.files import read_bounded
from bodystream.sources.motion.bvh_frames import parse_frames
from bodystream.sources.motion.bvh_hierarchy import BvhJoint, parse_hierarchy
from bodystream.sources.motion.numerals import decoded
from bodystream.sources.motion.rig import RigMotion, axis_rotations, check_length
from bodystream.types import Array

__all__ = ["BvhFile", "BvhJoint", "parse_bvh", "read_bvh"]

MAX_BYTES = 256 << 20
_AXES = {"x": 0, "y": 1, "z": 2}
_SMALL_SHIFT = 0.25
"""A joint whose positions are, on the median, shorter than this part of its OFFSET has them on top of it."""
_RADIANS, _LEAST_BEND = (1.2, 3.3), 0.8
"""Where the largest angle is, and by how much one changes, if angles are radians: within half a turn, beyond a sway."""


@dataclass(frozen=True, slots=True)
class BvhFile:
    """What a BVH file holds.

    Attributes:
        name: for messages.
        joints: a parent before its children.
        frame_time_s: between frames, as the file says.
        frames: (T, C) float64, the channels of all joints in the order of `joints`; degrees and units of the file.
        notes: what had to be assumed in reading it.
    """

    name: str
    joints: tuple[BvhJoint, ...]
    frame_time_s: float
    frames: Array
    notes: tuple[str, ...] = ()

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
                elif np.linalg.norm(np.median(place, axis=0)) > _SMALL_SHIFT * np.linalg.norm(joint.offset):
                    translations[index] = place
                elif np.abs(place).max() > 1e-6:  # by exporters that mean them on top of the offset
                    translations[index] = place + joint.offset
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
            root_offset=self.joints[0].offset,
            notes=(*self.notes, *self._doubts(root_positions)),
        )

    def _doubts(self, root_positions: Array) -> tuple[str, ...]:
        """Somebody goes somewhere, and bends no joint by more than 3.3 degrees: then it is radians."""
        words = [channel[1:].lower() for joint in self.joints for channel in joint.channels]
        angles = self.frames[:, np.array(words, dtype=object) == "rotation"]
        largest = np.abs(angles).max(initial=0.0)
        way = np.linalg.norm(np.ptp(root_positions, axis=0))
        longest = max(np.linalg.norm(joint.offset) for joint in self.joints)
        if not _RADIANS[0] <= largest <= _RADIANS[1] or np.ptp(angles, axis=0).max() < _LEAST_BEND or way < longest:
            return ()
        return (
            f"none of its angles is beyond {largest:.2f}: read as degrees, as BVH has them, the person goes about "
            "without bending; if they are radians, export it in degrees",
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
        InputError: it cannot be read or is not a BVH file with at least one whole frame.
    """
    return parse_bvh(decoded(read_bounded(path, MAX_BYTES)), str(path))


def parse_bvh(text: str, name: str) -> BvhFile:
    """A BVH file from its text.

    Args:
        text: the whole file.
        name: of the file, for messages.

    Raises:
        InputError: with the file, the line and the likely cause.
    """
    text = text.removeprefix("\xef\xbb\xbf").removeprefix("\ufeff")  # a byte order mark, as Latin-1 or decoded
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = re.match(r"\s*(\S{0,9})", text)
    if start is None or start[1].upper() != "HIERARCHY":
        got = excerpt(start[1]) if start is not None else "nothing"
        raise InputError(f"{name} is not a BVH file: it starts with {got} instead of 'HIERARCHY'")
    motion_at = re.search(r"^[ \t]*MOTION\b", text, re.MULTILINE | re.IGNORECASE)
    if motion_at is None:
        raise InputError(
            f"{name} has no MOTION section: only the skeleton is in it, or the file is cut off "
            f"after line {text.count(chr(10)) + 1}"
        )
    joints = parse_hierarchy(text[: motion_at.start()], name)
    columns = sum(len(joint.channels) for joint in joints)
    first_line = text.count("\n", 0, motion_at.start()) + 1
    frame_time_s, frames, notes = parse_frames(text[motion_at.end() :], first_line, columns, name)
    check_length(len(frames), len(joints), name)
    return BvhFile(name, joints, frame_time_s, frames, tuple(notes))
