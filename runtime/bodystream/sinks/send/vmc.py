"""VMC: bones, root and devices to a Marionette such as EVMC4U, VSeeFace, VMC4B or Warudo.

After the VMC protocol's specification of what a Performer sends (V2.7). Axes are Unity's; a bone's position and
rotation are local, in its parent's frame, and the hips hang on the root, which stays in the origin of the world.
"""

from __future__ import annotations

from collections.abc import Collection

from pythonosc.osc_message import OscMessage

from bodystream.geometry.mounting import Side, device_at_joint, joint_at_device
from bodystream.geometry.skeleton import JOINTS
from bodystream.geometry.skeleton_maps import UNITY_BONES
from bodystream.geometry.unity import unity_quaternions, unity_vectors
from bodystream.sinks.send.base import DrivenPose
from bodystream.sinks.send.udp import OscSender, osc_bundles, osc_message
from bodystream.types import DeviceKind, Status, TrackedDevice

__all__ = ["VmcSender", "vmc_bundles"]

_LOADED, _CALIBRATED, _NORMAL_MODE = 1, 3, 0
_BONES = tuple(UNITY_BONES[name] for name in JOINTS)
_POSE = "s" + 7 * "f"


def vmc_bundles(driven: DrivenPose, time_s: float, hands: Collection[str] = ()) -> list[bytes]:
    """The datagrams of one pose.

    Bones that this project does not know (eyes, jaw, fingers of an avatar whose file does not tell where they are) and
    those that the avatar lacks are left out: a receiver would crush them.

    Args:
        time_s: the sender's relative time, of `/VMC/Ext/T` [s].
        hands: of `left` and `right`, the hands whose fingers are sent, as tracked or as at rest.
    """
    pose = driven.pose
    tracking = int(pose.status is not Status.LOST)
    messages = [
        osc_message("/VMC/Ext/OK", "iiii", (_LOADED, _CALIBRATED, _NORMAL_MODE, tracking)),
        osc_message("/VMC/Ext/T", "f", (time_s,)),
        osc_message("/VMC/Ext/Root/Pos", _POSE, ("root", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)),
    ]
    avatar = driven.avatar
    places, turns = avatar.local()
    rows = zip(_BONES, avatar.has, unity_vectors(places).tolist(), unity_quaternions(turns).tolist(), strict=True)
    for bone, there, place, turn in rows:
        if there:
            messages.append(osc_message("/VMC/Ext/Bone/Pos", _POSE, (bone, *place, *turn)))
    sample = driven.sample
    if hands:
        for side, fingers in avatar.fingers(sample).items():
            for bone, place, turn in fingers if side in hands else ():
                numbers = (*unity_vectors(place).tolist(), *unity_quaternions(turn).tolist())
                messages.append(osc_message("/VMC/Ext/Bone/Pos", _POSE, (bone, *numbers)))
    if sample.head is not None:
        messages += _device("Hmd", "HMD", _as_kind(sample.head, DeviceKind.VIEW, "head"), avatar.scale)
    devices: tuple[tuple[Side, TrackedDevice | None], ...] = (("left", sample.left), ("right", sample.right))
    for side, hand in devices:
        if hand is not None:
            messages += _hand(side, hand, avatar.scale)
    return osc_bundles(messages)


def _hand(side: Side, hand: TrackedDevice, scale: float) -> list[OscMessage]:
    """A held controller as `Con`, a hand that is tracked without one as a tracker on its wrist."""
    name = side.capitalize()
    if hand.kind is DeviceKind.GRIP:
        return _device("Con", f"{name}Controller", hand, scale)
    return _device("Tra", f"{name}Wrist", _as_kind(hand, DeviceKind.HAND_WRIST, side), scale)


def _as_kind(device: TrackedDevice, kind: DeviceKind, side: Side) -> TrackedDevice:
    return device if device.kind is kind else device_at_joint(*joint_at_device(device, side), kind, side)


def _device(address: str, serial: str, device: TrackedDevice, scale: float) -> list[OscMessage]:
    """Where a device is beside the avatar, and, where that is another place, where it really is."""
    turn = unity_quaternions(device.rotation_xyzw).tolist()
    ways = [("Pos", scale)] if scale == 1.0 else [("Pos", scale), ("Pos/Local", 1.0)]
    return [
        osc_message(
            f"/VMC/Ext/{address}/{way}", _POSE, (serial, *unity_vectors(device.position_m * factor).tolist(), *turn)
        )
        for way, factor in ways
    ]


class VmcSender(OscSender):
    """Sends poses to one Marionette; see `PoseSender`.

    Fingers are sent of a hand whose joints were tracked once, from then on, as at rest while they are not: a receiver
    keeps what it was told last, and another program may move those of hands that were never tracked.

    Raises:
        ConfigurationError: there is no such host.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__("vmc", host, port)
        self._first_t_ns: int | None = None
        self._hands: set[str] = set()

    def send(self, driven: DrivenPose) -> bool:
        t_ns = driven.pose.t_ns
        if self._first_t_ns is None:
            self._first_t_ns = t_ns
        devices = {"left": driven.sample.left, "right": driven.sample.right}
        self._hands |= {side for side, device in devices.items() if device is not None and device.hand is not None}
        return self._udp.send(vmc_bundles(driven, (t_ns - self._first_t_ns) * 1e-9, self._hands))
