"""A Marionette written after the VMC protocol's specification: it puts an avatar where the messages say.

Bones hang together as Unity's humanoid does; each has the local position and rotation that it was sent, the hips hang
on the root. All is in Unity's axes: left-handed, y up, z ahead.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.spatial.transform import Rotation

from helpers.osc_reference import OscElement

__all__ = ["HUMANOID_PARENTS", "Marionette"]

_SIDED = {
    "UpperLeg": "Hips",
    "LowerLeg": "*UpperLeg",
    "Foot": "*LowerLeg",
    "Toes": "*Foot",
    "Shoulder": "UpperChest",
    "UpperArm": "*Shoulder",
    "LowerArm": "*UpperArm",
    "Hand": "*LowerArm",
}
HUMANOID_PARENTS = {
    "Hips": "root",
    "Spine": "Hips",
    "Chest": "Spine",
    "UpperChest": "Chest",
    "Neck": "UpperChest",
    "Head": "Neck",
} | {side + bone: parent.replace("*", side) for side in ("Left", "Right") for bone, parent in _SIDED.items()}
"""Of HumanBodyBones, each with its parent."""


class Marionette:
    """Attributes:
    local: of root and bones, position (3,) and quaternion (4,) xyzw as received.
    devices, real_devices: of `Hmd`, `Con` and `Tra`, by serial: address, position and quaternion; beside the avatar,
        and as they are where they were told so, too.
    available, time_s: of `/VMC/Ext/OK` and `/VMC/Ext/T`.
    """

    def __init__(self) -> None:
        self.local: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.devices: dict[str, tuple[str, np.ndarray, np.ndarray]] = {}
        self.real_devices: dict[str, tuple[str, np.ndarray, np.ndarray]] = {}
        self.available: tuple[int, ...] = ()
        self.time_s = float("nan")

    def take(self, messages: Iterable[OscElement]) -> Marionette:
        for message in messages:
            path, arguments = message.address, message.arguments
            if path == "/VMC/Ext/OK":
                assert message.types in ("i", "iii", "iiii")
                self.available = arguments
            elif path == "/VMC/Ext/T":
                assert message.types == "f"
                (self.time_s,) = arguments
            elif path in ("/VMC/Ext/Root/Pos", "/VMC/Ext/Bone/Pos"):
                assert message.types == "sfffffff"
                name = arguments[0]
                assert (name == "root") if "Root" in path else (name in HUMANOID_PARENTS), name
                self.local[name] = np.array(arguments[1:4]), np.array(arguments[4:])
            elif path.removesuffix("/Local") in ("/VMC/Ext/Hmd/Pos", "/VMC/Ext/Con/Pos", "/VMC/Ext/Tra/Pos"):
                assert message.types == "sfffffff"
                devices = self.real_devices if path.endswith("/Local") else self.devices
                devices[arguments[0]] = path.split("/")[3], np.array(arguments[1:4]), np.array(arguments[4:])
            else:
                raise AssertionError(f"nobody knows {path}")
        return self

    def world(self, bone: str) -> tuple[np.ndarray, Rotation]:
        """Where a bone is: its parents' places and turns, one after the other."""
        place, turn = self.local[bone]
        if bone == "root":
            return place, Rotation.from_quat(turn)
        parent_place, parent_turn = self.world(HUMANOID_PARENTS[bone])
        return parent_place + parent_turn.apply(place), parent_turn * Rotation.from_quat(turn)
