"""What VMC messages say of head and hands: devices (`Hmd`, `Con`, `Tra`), or else the bones of an avatar.

After the VMC protocol's specification (V2.7), in Unity's axes. Poses of devices come twice from some senders, scaled to
the avatar (`/Pos`) and as they are (`/Pos/Local`): the latter are a person's.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from bodystream.errors import excerpt
from bodystream.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from bodystream.geometry.unity import unity_quaternions, unity_vectors
from bodystream.sources.headset.osc import OscMessage
from bodystream.types import Array, DeviceKind, TrackedDevice

__all__ = ["VmcState", "VmcUse"]

VmcUse = Literal["auto", "devices", "bones"]

_SPINE = ("Hips", "Spine", "Chest", "UpperChest")
_CHAINS = {
    "head": (*_SPINE, "Neck", "Head"),
    "left": (*_SPINE, "LeftShoulder", "LeftUpperArm", "LeftLowerArm", "LeftHand"),
    "right": (*_SPINE, "RightShoulder", "RightUpperArm", "RightLowerArm", "RightHand"),
}
"""Bones from the root to what is looked for; those that an avatar does not have are left out, but for both ends."""
_BONES = frozenset(bone for chain in _CHAINS.values() for bone in chain)
_DEVICES = {
    f"/VMC/Ext/{kind}/Pos{scale}": (kind, bool(scale)) for kind in ("Hmd", "Con", "Tra") for scale in ("", "/Local")
}
_KINDS = {"Con": DeviceKind.GRIP, "Tra": DeviceKind.HAND_WRIST}
_MOST_DEVICES = 64
_FARTHEST_M = 1e4
_FRESH_NS = 200_000_000
"""What was not told for so long is not tracked any more."""
_GONE_NS = 1_000_000_000
"""What was not told for so long is forgotten: of a sender that stopped to tell of devices bones may be used."""
_WATCHED = 90
"""Updates over which it is found on which side of the head a controller without a side in its name is held."""

NO_VERSION, NO_POSE, NO_HIPS, MANY = "version", "pose", "hips", "devices"


@dataclass(slots=True)
class _Told:
    """The last pose of a device or bone, in our axes."""

    position_m: Array
    rotation_xyzw: Array
    t_ns: int
    kind: str = ""
    raw: bool = False


@dataclass(slots=True)
class VmcState:
    """What one sender said so far.

    Args:
        use: which messages count; auto takes devices once there is an `Hmd`.
        left, right: serials of the hands' devices; None finds them by name or by where they are held.

    Attributes:
        device_t_ns: the sender's clock, of `/VMC/Ext/T`.
        problems: what was wrong with messages, by kind, each with its first example.
        counts: how many messages were.
    """

    use: VmcUse = "auto"
    left: str | None = None
    right: str | None = None
    device_t_ns: int | None = None
    problems: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    _devices: dict[str, _Told] = field(default_factory=dict)
    _bones: dict[str, _Told] = field(default_factory=dict)
    _seen_aside: dict[str, tuple[float, int]] = field(default_factory=dict)
    _has_pose: bool = True
    _knows_all: bool = False
    _told_ns: dict[tuple[str, str], int] = field(default_factory=dict)
    _fresh: set[tuple[str, str]] = field(default_factory=set)

    def take(self, message: OscMessage, t_ns: int) -> None:
        """Take in one message; those of other protocols and what is not about head and hands are left aside."""
        address, arguments = message.address, message.arguments
        if not address.startswith("/VMC"):
            return
        if not address.startswith("/VMC/Ext/"):
            self._note(NO_VERSION, f"{excerpt(address)} is of no version of VMC that is known")
        elif address in _DEVICES:
            kind, raw = _DEVICES[address]
            told = self._pose(message, t_ns)
            if told is not None and self._take_device(arguments[0], kind, raw, told):
                self._mark(message, t_ns)
        elif address in ("/VMC/Ext/Bone/Pos", "/VMC/Ext/Root/Pos"):
            name = "root" if address.endswith("Root/Pos") else arguments[0] if message.types[:1] == "s" else ""
            if name and name != "root" and name not in _BONES:
                return
            told = self._pose(message, t_ns)
            if told is not None:
                self._bones[name] = told
                self._mark(message, t_ns)
        elif address == "/VMC/Ext/OK":
            self._has_pose = self._ok(message)
        elif address == "/VMC/Ext/T":
            if message.types[:1] in ("f", "d") and math.isfinite(arguments[0]):
                self.device_t_ns = round(min(max(arguments[0], -1e9), 1e9) * 1e9)
            else:
                self._note(NO_VERSION, f"/VMC/Ext/T with the arguments {excerpt(arguments)}, wanted a float")

    def begins_anew(self, message: OscMessage) -> bool:
        """Whether it tells again what was told since the last sample: another moment begins.

        The first time, it shows all that a moment consists of.
        """
        again = bool(message.arguments) and (message.address, message.arguments[0]) in self._fresh
        self._knows_all = self._knows_all or again
        return again

    def is_complete(self, t_ns: int) -> bool:
        """Whether everything that was told of late was told since the last sample."""
        if not self._knows_all:
            return False
        late, devices = t_ns - _FRESH_NS, self.uses_devices
        wanted = {key for key, told_ns in self._told_ns.items() if (key[0] in _DEVICES) is devices and told_ns > late}
        return bool(wanted) and wanted <= self._fresh

    def head_and_hands(self, t_ns: int) -> tuple[TrackedDevice | None, TrackedDevice | None, TrackedDevice | None]:
        """Head, left and right as they are known now; what was not told of late is None."""
        self._fresh.clear()
        self._devices = {serial: told for serial, told in self._devices.items() if t_ns - told.t_ns < _GONE_NS}
        self._told_ns = {key: told_ns for key, told_ns in self._told_ns.items() if t_ns - told_ns < _GONE_NS}
        if self.uses_devices:
            return self._of_devices(t_ns)
        if not self._has_pose:
            return None, None, None
        head, left, right = (self._joint(side, t_ns) for side in ("head", "left", "right"))
        return head, left, right

    @property
    def uses_devices(self) -> bool:
        """Whether devices are used, not bones."""
        if self.use != "auto":
            return self.use == "devices"
        return any(told.kind == "Hmd" for told in self._devices.values())

    def _mark(self, message: OscMessage, t_ns: int) -> None:
        """Remember that this was told; the root, which some leave away while it rests, says nothing of a moment."""
        if message.address != "/VMC/Ext/Root/Pos":
            self._told_ns[message.address, message.arguments[0]] = t_ns
            self._fresh.add((message.address, message.arguments[0]))

    def _pose(self, message: OscMessage, t_ns: int) -> _Told | None:
        """Name, position and quaternion of a message, which may have more behind them; None where it has not."""
        numbers = message.arguments[1:8]
        if message.types[:1] != "s" or len(numbers) < 7 or any(tag not in "fdih" for tag in message.types[1:8]):
            self._note(
                NO_VERSION,
                f"{message.address} with the arguments {excerpt(message.types)}, wanted a name, a position and a "
                "quaternion (sfffffff)",
            )
            return None
        values: list[float] = [float(number) for number in numbers]
        norm = math.sqrt(sum(value * value for value in values[3:]))
        if not (all(abs(value) < _FARTHEST_M for value in values) and norm > 1e-3):
            self._note(NO_POSE, f"{message.address} of {excerpt(message.arguments[0])} has numbers that are no pose")
            return None
        turn = unity_quaternions(np.array(values[3:]) / norm)
        return _Told(unity_vectors(np.array(values[:3])), turn, t_ns)

    def _take_device(self, serial: str, kind: str, raw: bool, told: _Told) -> bool:
        """Take a device's pose, but for one that is scaled to an avatar where there is one that is not."""
        before = self._devices.get(serial)
        if before is None and len(self._devices) >= _MOST_DEVICES:
            self._note(MANY, f"more than {_MOST_DEVICES} devices, such as {excerpt(serial)}")
            return False
        if before is None or raw or not before.raw or told.t_ns - before.t_ns >= _FRESH_NS:
            told.kind, told.raw = kind, raw
            self._devices[serial] = told
        return True

    def _ok(self, message: OscMessage) -> bool:
        """Whether bones are those of a body that is tracked now."""
        values = message.arguments
        if not values or any(tag not in "ihTF" for tag in message.types):
            self._note(NO_VERSION, f"/VMC/Ext/OK with the arguments {excerpt(values)}, wanted one to four int")
            return self._has_pose
        return bool(values[0]) and (len(values) < 4 or bool(values[3]))

    def _of_devices(self, t_ns: int) -> tuple[TrackedDevice | None, TrackedDevice | None, TrackedDevice | None]:
        fresh = {serial: told for serial, told in self._devices.items() if t_ns - told.t_ns < _FRESH_NS}
        heads = [told for told in fresh.values() if told.kind == "Hmd"]
        head = None if not heads else heads[0]
        if head is not None:
            for serial, told in fresh.items():
                self._watch(serial, told, head)
        hands: dict[str, TrackedDevice | None] = {"left": None, "right": None}
        for side, serial in self._hands(fresh).items():
            told = fresh[serial]
            hands[side] = TrackedDevice(told.position_m, told.rotation_xyzw, _KINDS[told.kind])
        seen = None if head is None else TrackedDevice(head.position_m, head.rotation_xyzw, DeviceKind.VIEW)
        return seen, hands["left"], hands["right"]

    def _hands(self, fresh: dict[str, _Told]) -> dict[str, str]:
        """Of each side that has one, its serial: by what the user says, by name, else by where it is held."""
        found = {side: serial for side in ("left", "right") if (serial := getattr(self, side)) in fresh}
        found = {side: serial for side, serial in found.items() if fresh[serial].kind in _KINDS}
        unnamed: list[str] = []
        for kind in ("Con", "Tra"):
            for serial, told in fresh.items():
                side = _side_in_name(serial)
                if told.kind != kind or serial in found.values():
                    continue
                if side and (kind == "Con" or _is_hand(serial)):
                    if getattr(self, side) is None:
                        found.setdefault(side, serial)
                elif kind == "Con" and not side:
                    unnamed.append(serial)
        free = [side for side in ("left", "right") if side not in found and getattr(self, side) is None]
        unnamed.sort(key=self._aside_m)
        if len(free) == 2 and len(unnamed) >= 2:
            found |= {"left": unnamed[0], "right": unnamed[-1]}
        elif len(free) == 2 and unnamed:
            found["left" if self._aside_m(unnamed[0]) < 0 else "right"] = unnamed[0]
        elif free and unnamed:
            found[free[0]] = unnamed[0 if free[0] == "left" else -1]
        return found

    def _watch(self, serial: str, told: _Told, head: _Told) -> None:
        """Remember on which side of the head a controller is held, on average over its first updates."""
        aside_m, count = self._seen_aside.get(serial, (0.0, 0))
        if told.kind != "Con" or count >= _WATCHED or (not count and len(self._seen_aside) >= _MOST_DEVICES):
            return
        turn = matrix_from_quaternion(head.rotation_xyzw)
        right = np.array([turn[0, 0], 0.0, turn[2, 0]])  # level, whatever the head's tilt
        now_m = float((told.position_m - head.position_m) @ right)
        self._seen_aside[serial] = (aside_m * count + now_m) / (count + 1), count + 1

    def _aside_m(self, serial: str) -> float:
        return self._seen_aside.get(serial, (0.0, 0))[0]

    def _joint(self, side: str, t_ns: int) -> TrackedDevice | None:
        """Where an avatar's bone is: the root's pose and those of all bones down to it, one after the other."""
        chain = _CHAINS[side]
        last = self._bones.get(chain[-1])
        if last is None or t_ns - last.t_ns >= _FRESH_NS:
            return None
        if "Hips" not in self._bones:
            self._note(NO_HIPS, "bones come without Hips, so that nobody knows where the head is")
            return None
        place, turn = np.zeros(3), np.eye(3)
        for name in ("root", *chain):
            told = self._bones.get(name)
            if told is not None:
                place = place + turn @ told.position_m
                turn = turn @ matrix_from_quaternion(told.rotation_xyzw)
        return TrackedDevice(place, quaternion_from_matrix(turn), DeviceKind.JOINT)

    def _note(self, kind: str, text: str) -> None:
        self.problems.setdefault(kind, text)
        self.counts[kind] += 1


def _side_in_name(serial: str) -> str:
    """`left` or `right` where a device's name says so, else nothing."""
    lower = serial.lower()
    left, right = "left" in lower, "right" in lower
    return "" if left == right else "left" if left else "right"


def _is_hand(serial: str) -> bool:
    return any(word in serial.lower() for word in ("hand", "wrist", "controller"))
