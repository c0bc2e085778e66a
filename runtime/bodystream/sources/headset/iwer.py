"""WebXR action captures as the Immersive Web Emulation Runtime records them.

The file holds `schema`, a list of `[index, description]` of each input source that the session had, and `frames`, a
list of `[t_ms, head, input...]` with the head's position and quaternion as seven numbers. An input is

    [index, ray position and quaternion (7), [grip pose (7)], [hand (8 per joint)], [buttons and axes]]

where the parts in brackets are there if the description says `hasGrip`, `hasHand`, `hasGamepad`. Numbers are rounded to
three decimals, quaternions are xyzw. Hand joints are position, quaternion and radius, and they are relative to the
target ray's pose, not to the world. A hand or controller that is not tracked in a frame is left out, or has null in the
place of its numbers, and inputs of a frame come in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.hands import HAND_JOINTS, check_hand
from bodystream.sources.headset.base import Trace
from bodystream.sources.headset.records import (
    MAX_SAMPLES,
    MAX_TIME_MS,
    number,
    numbers_or_lost,
    raw_device,
    shown,
    since_start_ns,
)
from bodystream.types import Array, DeviceKind, HandJoints, HeadsetSample, TrackedDevice

__all__ = ["is_iwer", "parse_iwer"]

_MAX_INPUTS = 64
_JOINT_SIZE = 8
_MIN_NORM = 1e-3


@dataclass(frozen=True, slots=True)
class _Input:
    """What the schema says of one input source.

    Attributes:
        side: left or right, or None where it is neither or is not held or worn on a hand.
        grip: where the grip pose is in an input's list, or None.
        hand: where the hand's joints are, or None.
        wrist: which of the joints is the wrist. joints: how many there are.
        order: where each of WebXR's 25 joints is among them; None where they are not all there.
    """

    side: str | None
    grip: int | None
    hand: int | None
    wrist: int = 0
    joints: int = 0
    order: tuple[int, ...] | None = None


def is_iwer(content: Any) -> bool:
    """Whether decoded JSON looks like this format."""
    return isinstance(content, dict) and "frames" in content and "schema" in content


def parse_iwer(content: dict[str, Any], name: str) -> Trace:
    """Decoded JSON to samples: hand tracking's wrist and joints where there are such, else the grip pose.

    Raises:
        InputError: a record is not as the format says.
    """
    inputs, warnings = _read_schema(content["schema"], name)
    frames = content["frames"]
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{name}: `frames` must be a list of at least one frame, got {shown(frames)}")
    if len(frames) > MAX_SAMPLES:
        raise InputError(f"{name} has {len(frames)} frames, at most {MAX_SAMPLES} are read: cut it")
    samples = []
    start_ns = 0
    for index, frame in enumerate(frames):
        where = f"{name}, frame {index}"
        if not isinstance(frame, list) or len(frame) < 8:
            raise InputError(f"{where}: wanted [t_ms, 7 numbers of the head, inputs...], got {shown(frame)}")
        time_ms = number(frame[0], where, "time", MAX_TIME_MS)
        head = numbers_or_lost(frame[1:8], 7, where, "head")
        hands: dict[str, TrackedDevice] = {}
        if len(frame) > 8 + _MAX_INPUTS:
            raise InputError(f"{where} has {len(frame) - 8} inputs, at most {_MAX_INPUTS} are read")
        for record in frame[8:]:
            found = _read_input(record, inputs, where)
            # A hand that is tracked beside its controller is the better witness of the wrist: the controller may lie
            # on a table.
            if found is not None and (found[0] not in hands or found[1].kind is DeviceKind.HAND_WRIST):
                hands[found[0]] = found[1]
        device_ns = round(time_ms * 1e6)
        start_ns = device_ns if index == 0 else start_ns
        samples.append(
            HeadsetSample(
                index=index,
                t_ns=since_start_ns(device_ns, start_ns, where),
                head=None if head is None else raw_device(head, DeviceKind.VIEW),
                left=hands.get("left"),
                right=hands.get("right"),
                device_t_ns=device_ns,
            )
        )
    return Trace(name, tuple(samples), tuple(warnings))


def _read_schema(schema: Any, name: str) -> tuple[dict[int, _Input], list[str]]:
    if not isinstance(schema, list) or len(schema) > 4096:
        raise InputError(f"{name}: `schema` must be a list of [index, description], got {shown(schema)}")
    inputs, warnings = {}, []
    for entry in schema:
        if (
            not isinstance(entry, list)
            or len(entry) != 2
            or not isinstance(entry[0], int)
            or isinstance(entry[0], bool)
            or not 0 <= entry[0] < 1 << 31
            or not isinstance(entry[1], dict)
        ):
            raise InputError(f"{name}: an entry of `schema` must be [index, description], got {shown(entry)}")
        index, description = entry
        where = f"{name}, schema of input {index}"
        side = description.get("handedness")
        if side not in ("left", "right", "none", ""):
            raise InputError(f"{where}: `handedness` must be left, right or none, got {shown(side)}")
        place = 8
        grip = hand = None
        if description.get("hasGrip"):
            grip, place = place, place + 1
        wrist = joints = 0
        order = None
        if description.get("hasHand"):
            hand = place
            sequence = description.get("jointSequence")
            if not isinstance(sequence, list) or "wrist" not in sequence or len(sequence) > 64:
                raise InputError(f"{where}: `jointSequence` must name the joints, `wrist` among them")
            wrist, joints = sequence.index("wrist"), len(sequence)
            if all(joint in sequence for joint in HAND_JOINTS):
                order = tuple(sequence.index(joint) for joint in HAND_JOINTS)
        on_hand = description.get("targetRayMode", "tracked-pointer") == "tracked-pointer"
        if on_hand and side in ("left", "right") and grip is None and hand is None:
            warnings.append(f"{name}: the {side} input {index} has neither a grip nor a hand pose and is left out")
        inputs[index] = _Input(
            side if on_hand and side in ("left", "right") else None, grip, hand, wrist, joints, order
        )
    return inputs, warnings


def _read_input(record: Any, inputs: dict[int, _Input], where: str) -> tuple[str, TrackedDevice] | None:
    if record is None:
        return None
    if not isinstance(record, list) or len(record) < 8:
        raise InputError(f"{where}: an input must be [index, 7 numbers of its ray, ...], got {shown(record)}")
    index = record[0]
    description = inputs.get(index) if isinstance(index, int) and not isinstance(index, bool) else None
    if description is None:
        raise InputError(f"{where}: input {shown(index)} is not in `schema`, which has {sorted(inputs)[:16]}")
    ray = numbers_or_lost(record[1:8], 7, where, f"ray of input {index}")
    if description.side is None:
        return None
    if description.hand is not None:
        joints = _part(record, description.hand, where, "hand")
        if joints is not None and ray is not None:
            at = description.wrist * _JOINT_SIZE
            if len(joints) != description.joints * _JOINT_SIZE:
                raise InputError(
                    f"{where}: the hand of input {index} has {len(joints)} numbers, wanted {_JOINT_SIZE} for each of "
                    f"{description.joints} joints"
                )
            wrist = numbers_or_lost(joints[at : at + 7], 7, where, f"wrist of input {index}")
            # An untracked joint is written as zeros.
            if wrist is not None and np.linalg.norm(ray[3:]) > _MIN_NORM and np.linalg.norm(wrist[3:]) > _MIN_NORM:
                device = _compose(np.array(ray), np.array(wrist), DeviceKind.HAND_WRIST)
                what = f"{where}: the hand of input {index}"
                return description.side, replace(device, hand=_hand(joints, wrist, description, what))
    if description.grip is not None:
        grip = _part(record, description.grip, where, "grip")
        pose = None if grip is None else numbers_or_lost(grip, 7, where, f"grip of input {index}")
        if pose is not None:
            return description.side, raw_device(pose, DeviceKind.GRIP)
    return None


def _part(record: list[Any], place: int, where: str, what: str) -> list[Any] | None:
    """The list at `place` of an input; None where it holds nothing."""
    part = record[place] if place < len(record) else None
    if part is None or part == []:
        return None
    if not isinstance(part, list):
        raise InputError(f"{where}: the {what} of input {record[0]} must be a list of numbers, got {shown(part)}")
    return part


def _hand(numbers: list[Any], wrist: list[float], description: _Input, what: str) -> HandJoints | None:
    """All joints, seen from the wrist; None where one of them is not there."""
    if description.order is None:
        return None
    rows = [
        numbers_or_lost(numbers[at * _JOINT_SIZE : (at + 1) * _JOINT_SIZE], _JOINT_SIZE, what, f"joint {at}")
        for at in description.order
    ]
    if any(row is None for row in rows):
        return None
    joints = np.array(rows, np.float64)
    if np.linalg.norm(joints[:, 3:7], axis=1).min() <= _MIN_NORM:
        return None
    back = Rotation.from_quat(wrist[3:]).inv()
    rotations = (back * Rotation.from_quat(joints[:, 3:7])).as_quat(canonical=True)
    places = back.apply(joints[:, :3] - np.array(wrist[:3]))
    hand = HandJoints(places.astype(np.float32), rotations.astype(np.float32), joints[:, 7].astype(np.float32))
    check_hand(hand, what)
    return hand


def _compose(parent: Array, child: Array, kind: DeviceKind) -> TrackedDevice:
    turn = Rotation.from_quat(parent[3:])
    rotation = (turn * Rotation.from_quat(child[3:])).as_quat(canonical=True)
    return TrackedDevice(parent[:3] + turn.apply(child[:3]), rotation, kind)
