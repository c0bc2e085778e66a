"""ASF/AMC: Acclaim's skeleton of one person and a motion of it, as CMU publishes its database.

An ASF bone has a direction and a length in the rest pose and its own axes, in which the AMC's angles are: the rotation
relative to the rest is `C M C^-1` with the axes `C` and the angles' product `M`. A bone starts where its parent ends,
so as a joint it has its parent's `direction * length` as offset. Joints get the names of the usual BVH conversions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.files import read_bounded
from bodystream.sources.motion.numerals import MAX_NUMBER, decoded, number_words
from bodystream.sources.motion.rig import RigMotion, axis_rotations, check_length
from bodystream.types import Array

__all__ = ["AsfSkeleton", "parse_amc", "parse_asf", "read_asf_amc"]

MAX_BYTES = 256 << 20
_MAX_BONES = 256
_MAX_FRAMES = 2_000_000
_INCH_M = 0.0254
_AXES = {"x": 0, "y": 1, "z": 2}
_BONE_NAMES = {
    "root": "Hips",
    "lowerback": "LowerBack",
    "upperback": "Spine",
    "thorax": "Spine1",
    "lowerneck": "Neck",
    "upperneck": "Neck1",
    "head": "Head",
}
_SIDED_NAMES = {
    "hipjoint": "{s}HipJoint",
    "femur": "{side}UpLeg",
    "tibia": "{side}Leg",
    "foot": "{side}Foot",
    "toes": "{side}ToeBase",
    "clavicle": "{side}Shoulder",
    "humerus": "{side}Arm",
    "radius": "{side}ForeArm",
    "wrist": "{side}Hand",
    "hand": "{side}FingerBase",
    "fingers": "{side}HandIndex1",
    "thumb": "{s}Thumb",
}


@dataclass(frozen=True, slots=True)
class AsfSkeleton:
    """An ASF file.

    Attributes:
        name: of the file, for messages.
        bones: names, `root` first, a parent before its children.
        parents: of each bone, -1 for the root.
        ends: (J, 3) each bone's direction times length; zero for the root.
        axes: (J, 3, 3) each bone's own axes in the rest pose.
        channels: of each bone, the channels in the AMC's order: `tx`, `rz`...
        degrees: whether angles are in degrees.
        metres_per_unit: from the unit `length` (CMU: parts of 0.45 inch), or None where the file has none.
    """

    name: str
    bones: tuple[str, ...]
    parents: tuple[int, ...]
    ends: Array
    axes: Array
    channels: tuple[tuple[str, ...], ...]
    degrees: bool
    metres_per_unit: float | None


def read_asf_amc(path: Path, asf: Path | None = None) -> RigMotion:
    """The motion of an AMC file and the skeleton beside it.

    Args:
        path: the .amc file.
        asf: its skeleton; by default the one of the same subject (`02.asf` for `02_01.amc`), or the folder's only one.

    Raises:
        InputError: either cannot be read, or they do not fit each other.
    """
    if asf is None:
        asf = _skeleton_beside(path)
    return parse_amc(_text(path), parse_asf(_text(asf), str(asf)), str(path))


def _skeleton_beside(path: Path) -> Path:
    near = sorted(path.parent.glob("*.[aA][sS][fF]"))
    named = [p for p in near if path.stem.lower().startswith(p.stem.lower())]
    if named:
        return max(named, key=lambda p: len(p.stem))
    if len(near) == 1:
        return near[0]
    have = ", ".join(p.name for p in near) or "no .asf file at all"
    raise InputError(
        f"{path} needs the skeleton of its subject beside it, {path.stem.split('_')[0]}.asf; the folder has {have}"
    )


def _text(path: Path) -> str:
    return decoded(read_bounded(path, MAX_BYTES))


def parse_asf(text: str, name: str) -> AsfSkeleton:
    """A skeleton from the text of an ASF file.

    Raises:
        InputError: with the file, the line and the likely cause.
    """
    sections = _sections(text)
    if "bonedata" not in sections or "hierarchy" not in sections:
        raise InputError(f"{name} is no ASF skeleton: it needs the sections :bonedata and :hierarchy")
    units = {words[0]: words[1] for _, words in sections.get("units", []) if len(words) > 1}
    length = _number(units["length"], name, 0, "unit length") if "length" in units else None
    degrees = units.get("angle", "deg").lower().startswith("deg")
    bones = {"root": _root(sections.get("root", []), name, degrees)}
    for bone, entry in _bones(sections["bonedata"], name, degrees):
        if bone in bones:
            raise InputError(f"{name}: the bone {bone!r} is defined twice")
        bones[bone] = entry
        if len(bones) > _MAX_BONES:
            raise InputError(f"{name} has more than {_MAX_BONES} bones")
    order, parents = _tree(sections["hierarchy"], bones, name)
    return AsfSkeleton(
        name,
        tuple(order),
        tuple(parents),
        np.stack([bones[b][0] for b in order]),
        np.stack([bones[b][1] for b in order]),
        tuple(bones[b][2] for b in order),
        degrees,
        _INCH_M / length if length is not None and length > 0 else None,
    )


_Bone = tuple[Array, Array, tuple[str, ...]]


def _sections(text: str) -> dict[str, list[tuple[int, list[str]]]]:
    """Lines (number, words) by the `:section` that they stand in."""
    sections: dict[str, list[tuple[int, list[str]]]] = {}
    current: list[tuple[int, list[str]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0].startswith(":"):
            current = sections.setdefault(words[0][1:].lower(), [])
            words = words[1:]
        if words:
            current.append((number, words))
    return sections


def _root(lines: list[tuple[int, list[str]]], name: str, degrees: bool) -> _Bone:
    channels, axes = ("tx", "ty", "tz", "rx", "ry", "rz"), np.eye(3)
    order, angles = "xyz", np.zeros(3)
    for number, words in lines:
        key = words[0].lower()
        if key == "order":
            channels = _channels(words[1:], name, number)
        elif key == "axis" and len(words) > 1:
            order = words[1].lower()
        elif key == "orientation":
            angles = np.array([_number(word, name, number, "orientation") for word in words[1:4]])
    if len(angles) == 3:
        axes = _axes(angles, order, name, 0, degrees)
    return np.zeros(3), axes, channels


def _bones(lines: list[tuple[int, list[str]]], name: str, degrees: bool) -> list[tuple[str, _Bone]]:
    out: list[tuple[str, _Bone]] = []
    bone: dict[str, list[str]] = {}
    for number, words in lines:
        key = words[0].lower()
        if key == "begin":
            bone = {}
        elif key == "end":
            missing = [part for part in ("name", "direction", "length", "axis") if not bone.get(part)]
            if missing:
                raise InputError(f"{name}, line {number}: a bone has no {', '.join(missing)}")
            if len(bone["direction"]) != 3 or len(bone["axis"]) != 4:
                raise InputError(
                    f"{name}, line {number}: the bone {bone['name'][0]!r} needs three numbers of a "
                    "direction, and three numbers and an order (XYZ) of an axis"
                )
            direction = np.array([_number(word, name, number, "direction") for word in bone["direction"]])
            angles = np.array([_number(word, name, number, "axis") for word in bone["axis"][:3]])
            axes = _axes(angles, bone["axis"][3].lower(), name, number, degrees)
            channels = _channels(bone.get("dof", []), name, number)
            length = _number(bone["length"][0], name, number, "length")
            out.append((bone["name"][0], (direction * length, axes, channels)))
        else:
            bone[key] = words[1:]
    return out


def _tree(lines: list[tuple[int, list[str]]], bones: dict[str, _Bone], name: str) -> tuple[list[str], list[int]]:
    order, parents = ["root"], [-1]
    for number, words in lines:
        if words[0] in ("begin", "end"):
            continue
        for word in words:
            if word not in bones:
                raise InputError(f"{name}, line {number}: the hierarchy names {word!r}, which is no bone of it")
        if words[0] not in order:
            raise InputError(f"{name}, line {number}: {words[0]!r} has children before it has a parent")
        for child in words[1:]:
            if child in order:
                raise InputError(f"{name}, line {number}: the bone {child!r} has two parents")
            order.append(child)
            parents.append(order.index(words[0]))
    return order, parents


def _number(word: str, name: str, line: int, what: str) -> float:
    try:
        value = float(number_words(word)[0])
    except ValueError:
        value = float("nan")
    if not abs(value) < MAX_NUMBER:
        raise InputError(f"{name}, line {line}: {what} {excerpt(word)} is not a usable number")
    return value


def _channels(words: list[str], name: str, line: int) -> tuple[str, ...]:
    out = tuple(word.lower() for word in words)
    for word in out:
        if not re.fullmatch("[rt][xyz]|l", word):
            raise InputError(
                f"{name}, line {line}: the channel {excerpt(word)} is unknown: wanted tx, ty, tz, rx, ry, rz or l"
            )
    return out


def _axes(angles: Array, order: str, name: str, line: int, degrees: bool) -> Array:
    """An axis order XYZ turns about x first, then y, then z, all in the fixed frame."""
    if sorted(order) != ["x", "y", "z"]:
        raise InputError(f"{name}, line {line}: the axis order {order!r} is unknown: wanted XYZ or another order of it")
    out = np.eye(3)
    for letter, angle in zip(order, angles, strict=True):
        out = axis_rotations(_AXES[letter], np.array([np.deg2rad(angle) if degrees else angle]))[0] @ out
    return out


def parse_amc(text: str, skeleton: AsfSkeleton, name: str) -> RigMotion:
    """A motion of `skeleton` from the text of an AMC file.

    Raises:
        InputError: with the file, the line and the likely cause.
    """
    frames = _frames(text, skeleton, name)
    header = text[:2000].upper()
    # The motion's own word goes before its skeleton's.
    degrees = ":DEGREES" in header or (skeleton.degrees and ":RADIANS" not in header)
    count = len(frames["root"])
    check_length(count, len(skeleton.bones), name)
    rotations = np.empty((count, len(skeleton.bones), 3, 3))
    root_positions = np.zeros((count, 3))
    for index, bone in enumerate(skeleton.bones):
        axes, turn = skeleton.axes[index], np.tile(np.eye(3), (count, 1, 1))
        for column, channel in enumerate(skeleton.channels[index]):
            values = frames[bone][:, column]
            if channel == "l":
                continue  # a bone that stretches; its length at rest is kept
            axis = _AXES[channel[1]]
            if channel[0] == "t":
                root_positions[:, axis] += values if index == 0 else 0.0
            else:
                turn = axis_rotations(axis, np.deg2rad(values) if degrees else values) @ turn
        rotations[:, index] = axes @ turn @ axes.T if index else turn @ axes
    offsets = np.zeros((len(skeleton.bones), 3))
    for index, parent in enumerate(skeleton.parents):
        if parent > 0:
            offsets[index] = skeleton.ends[parent]
    leaves = set(range(1, len(skeleton.bones))) - set(skeleton.parents)
    return RigMotion(
        name=name,
        joints=tuple(_joint_name(bone) for bone in skeleton.bones),
        parents=skeleton.parents,
        offsets=offsets,
        rotations=rotations,
        root_positions=root_positions,
        rate_hz=None,
        end_sites={leaf: skeleton.ends[leaf] for leaf in leaves},
        kind="amc",
        metres_per_unit=skeleton.metres_per_unit,
    )


def _frames(text: str, skeleton: AsfSkeleton, name: str) -> dict[str, Array]:
    """Of each bone, (T, channels) values; bones that the AMC does not move are zero."""
    wanted = {bone: len(channels) for bone, channels in zip(skeleton.bones, skeleton.channels, strict=True)}
    rows: dict[str, list[str]] = {bone: [] for bone in wanted}
    frame, seen = 0, dict.fromkeys(wanted, 0)
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if len(words) == 1 and words[0].isascii() and words[0].isdigit():
            frame += 1
            if frame > _MAX_FRAMES:
                raise InputError(f"{name} has more than {_MAX_FRAMES} frames")
            continue
        bone = words[0]
        if frame == 0 or bone not in wanted:
            cause = "is no bone of its skeleton: the .asf is another subject's" if frame else "stands before frame 1"
            raise InputError(f"{name}, line {number}: {bone[:40]!r} {cause}")
        if len(words) - 1 != wanted[bone]:
            raise InputError(
                f"{name}, line {number} (frame {frame}): {bone} has {len(words) - 1} numbers, its dof in "
                f"{skeleton.name} are {wanted[bone]}: the file is cut off or the .asf is another subject's"
            )
        if seen[bone] != frame - 1:
            raise InputError(f"{name}, line {number}: {bone} occurs twice in frame {frame} or was left out before it")
        seen[bone] = frame
        rows[bone] += words[1:]
    if frame == 0:
        raise InputError(f"{name} holds no frames: it is no AMC file, or it was cut off after its header")
    return {bone: _values(rows[bone], frame, wanted[bone], seen[bone], bone, name) for bone in wanted}


def _values(words: list[str], frames: int, columns: int, seen: int, bone: str, name: str) -> Array:
    if seen == 0 and bone != "root":
        return np.zeros((frames, columns))
    if seen != frames:
        raise InputError(f"{name}: {bone} is in {seen} of {frames} frames: the file is cut off")
    try:
        values = np.array(words, np.float64).reshape(frames, columns)
    except ValueError as error:
        raise InputError(f"{name}: {bone} has a value that is not a number: {error}") from error
    if not (np.abs(values) < MAX_NUMBER).all():
        row = int(np.argmin((np.abs(values) < MAX_NUMBER).all(axis=1)))
        raise InputError(f"{name}: {bone} has an unusable number in frame {row + 1}; the capture was broken there")
    return values


def _joint_name(bone: str) -> str:
    sided = _SIDED_NAMES.get(bone[1:]) if bone[:1] in ("l", "r") else None
    if bone in _BONE_NAMES or sided is None:
        return _BONE_NAMES.get(bone, bone)
    return sided.format(s=bone[0].upper(), side="Left" if bone[0] == "l" else "Right")
