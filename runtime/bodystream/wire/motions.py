"""Where the bones are: what is sent for each sample of a body and each frame of a surface."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from bodystream.types import Array, DeviceKind, Status
from bodystream.wire.envelope import Kind, Message
from bodystream.wire.planes import Reader, padding

__all__ = ["FLAGS", "MAX_BONES", "Device", "Motion", "decode_motion", "encode_motion"]

MAX_BONES = 65534
FLAGS = (
    "left_lost",
    "right_lost",
    "head_lost",
    "left_out_of_reach",
    "right_out_of_reach",
    "left_eased",
    "right_eased",
    "left_emulated",
    "right_emulated",
    "hands_swapped",
    "head_tilted",
    "head_height",
    "head_teleport",
    "units_suspected",
    "wxyz_suspected",
    "axes_suspected",
    "axes_unknown",
    "time_backwards",
    "time_jump",
    "invalid_pose",
    "not_normalised",
    "pose_failed",
    "held",
    "left_handed_axes",
    "axes_turned",
    "far_from_training",
)
"""Bit i of a motion's flags is `FLAGS[i]`; bit 31 stands for any other."""

SIDES = ("head", "left", "right")
_OTHER = 31
_STATUS = tuple(Status)
_KINDS = tuple(DeviceKind)
_HEAD = struct.Struct("<BBBBII3ffI")
_DEVICE = struct.Struct("<BBH3f4f")
_SMALLEST_THREE, _SHORTS = 0, 1
_KNOWN_CONTACTS = 0x80
_HALF_ROOT = np.sqrt(0.5)
_TENS = np.array([1.0, 1 << 10, 1 << 20])
_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


@dataclass(frozen=True, slots=True)
class Device:
    """A tracked thing: see `types.TrackedDevice`.

    Attributes:
        side: `head`, `left` or `right`.
    """

    side: str
    kind: DeviceKind
    position_m: Array
    rotation_xyzw: Array


@dataclass(frozen=True, slots=True)
class Motion:
    """Where bones are at one time, as it is sent.

    Attributes:
        rotations_xyzw: (B, 4) float32 unit quaternions.
        positions_m: (B, 3) float32.
        status: of the frame.
        contacts: whether the left and right foot stand, or None where that is not known.
        flags: what was amiss, see `FLAGS`.
        devices: of a body, those that are tracked.
        latency_us: from the arrival of the sample or frame to this message.
        fine: rotations in 8 bytes instead of 4, for bones as long as a body's: within 0.004 degrees for 0.3.
    """

    rotations_xyzw: Array
    positions_m: Array
    status: Status = Status.TRACKED
    contacts: tuple[bool, bool] | None = None
    flags: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    latency_us: int = 0
    fine: bool = True


def encode_motion(motion: Motion) -> bytes:
    """The payload of a message of kind BODY or SURFACE."""
    rotations, places = motion.rotations_xyzw, motion.positions_m
    low = places.min(axis=0) if len(places) else np.zeros(3)
    # Both as readers see them, so that nothing is lost twice.
    origin = low.astype(np.float32)
    ahead = places - origin
    step = np.float32(max(float(ahead.max(initial=0.0)), 1e-6) / 65535 * (1 + 1e-6))
    shorts = np.rint(ahead / step).clip(0, 65535).astype("<u2")
    contacts = 0
    if motion.contacts is not None:
        contacts = _KNOWN_CONTACTS | int(motion.contacts[0]) | int(motion.contacts[1]) << 1
    bits = 0
    for flag in motion.flags:
        bits |= 1 << (FLAGS.index(flag) if flag in FLAGS else _OTHER)
    head = _HEAD.pack(
        _STATUS.index(motion.status),
        contacts,
        _SHORTS if motion.fine else _SMALLEST_THREE,
        len(motion.devices),
        bits,
        len(rotations),
        *origin.tolist(),
        float(step),
        min(max(motion.latency_us, 0), 0xFFFFFFFF),
    )
    turns = _shorts(rotations) if motion.fine else _smallest_three(rotations)
    parts = [head, turns, shorts.tobytes(), padding(shorts.nbytes)]
    for device in motion.devices:
        parts.append(
            _DEVICE.pack(
                SIDES.index(device.side),
                _KINDS.index(device.kind),
                0,
                *np.asarray(device.position_m, np.float64).tolist(),
                *np.asarray(device.rotation_xyzw, np.float64).tolist(),
            )
        )
    return b"".join(parts)


def decode_motion(message: Message) -> Motion:
    """Raises: WireError: it is no motion, or has numbers that cannot be."""
    read = Reader(message.payload, message.kind.name)
    if message.kind not in (Kind.BODY, Kind.SURFACE):
        raise read.fail("no motion was wanted of it")
    status, contacts, coding, devices, bits, bones, *rest = read.numbers(_HEAD)
    origin, step, latency_us = np.array(rest[:3], np.float32), np.float32(rest[3]), rest[4]
    if status >= len(_STATUS) or coding > _SHORTS or devices > len(SIDES) or bones > MAX_BONES:
        raise read.fail(f"status {status}, coding {coding}, {devices} devices and {bones} bones cannot be")
    if not (np.isfinite(origin).all() and 0 < step < 1):
        raise read.fail(f"an origin of {origin.tolist()} and a step of {step} cannot be")
    if coding == _SHORTS:
        turns = read.array("<i2", bones, 4).astype(np.float64) / 32767.0
    else:
        turns = _of_smallest_three(read.array("<u4", bones))
    length = np.linalg.norm(turns, axis=1, keepdims=True)
    if bones and not length.min() > 0.5:
        raise read.fail("a rotation has no length")
    places = origin + read.array("<u2", bones, 3).astype(np.float32) * step
    known = bool(contacts & _KNOWN_CONTACTS)
    names = [*FLAGS, *[""] * (_OTHER - len(FLAGS)), "other"]
    return Motion(
        (turns / np.maximum(length, 0.5)).astype(np.float32),
        places.astype(np.float32),
        _STATUS[status],
        (bool(contacts & 1), bool(contacts & 2)) if known else None,
        tuple(name for bit, name in enumerate(names) if bits >> bit & 1 and name),
        _devices(read, devices),
        latency_us,
        coding == _SHORTS,
    )


def _devices(read: Reader, count: int) -> tuple[Device, ...]:
    found = []
    for _ in range(count):
        side, kind, _, *numbers = read.numbers(_DEVICE)
        if side >= len(SIDES) or kind >= len(_KINDS) or not np.isfinite(numbers).all():
            raise read.fail(f"a device of side {side} and kind {kind} at {numbers} cannot be")
        found.append(Device(SIDES[side], _KINDS[kind], np.array(numbers[:3]), np.array(numbers[3:])))
    read.end()
    return tuple(found)


def _shorts(rotations: Array) -> bytes:
    return np.round(rotations * 32767.0).clip(-32767, 32767).astype("<i2").tobytes()


def _smallest_three(rotations: Array) -> bytes:
    """Four bytes: which number is largest by size (bits 30 and 31), and ten bits each of the others in their order."""
    rows = np.arange(len(rotations))
    largest = np.abs(rotations).argmax(axis=1)
    scale = np.copysign(511.0 / _HALF_ROOT, rotations[rows, largest])[:, None]
    others = rotations[rows[:, None], _OTHERS[largest]]
    tens = np.rint(others * scale).clip(-511, 511) + 511
    coded = (tens @ _TENS).astype("<u4")  # exact: below 2^30, in float64
    coded |= (largest << 30).astype("<u4")
    return coded.tobytes()


def _of_smallest_three(coded: Array) -> Array:
    largest = (coded >> 30).astype(np.int64)
    tens = np.stack([coded >> shift & 1023 for shift in (0, 10, 20)], axis=1).astype(np.float64)
    others = (tens - 511.0) / 511.0 * _HALF_ROOT
    out = np.zeros((len(coded), 4))
    out[np.arange(4)[None, :] != largest[:, None]] = others.reshape(-1)
    out[np.arange(len(coded)), largest] = np.sqrt(np.maximum(0.0, 1.0 - (others**2).sum(axis=1)))
    return out
