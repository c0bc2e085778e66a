"""Which of the poses that an OpenXR runtime gives are passed on, and as what.

A pose can be tracked (measured), inferred (valid, and a guess of the runtime: dead reckoning, an arm model, the last
place seen) or absent. The head is passed on in both of the first cases: there is always a head, and nobody knows better
than the runtime where it is. A hand that is only guessed is passed on for a short while, since a guess over a fraction
of a second is good and a gap is not; after that it counts as lost, because a guess then says where the hand was, and
not where it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.sources.headset.openxr_types import Located, Side
from bodystream.types import DeviceKind, TrackedDevice

__all__ = ["ControllerPose", "HandChooser", "choose_space", "device_from", "wrist_from_palm"]

ControllerPose = Literal["grip", "palm"]

LOCAL_WARNING = (
    "the OpenXR runtime {runtime} knows no floor (it offers neither STAGE nor LOCAL_FLOOR): heights are counted from "
    "where the headset was when the session began; set up the room in the runtime, or calibrate"
)

# From the centroid of the palm's skin to the wrist joint, along the forearm and into the hand [m]: an adult's hand.
_PALM_TO_WRIST_M = 0.065
_PALM_DEPTH_M = 0.02


def choose_space(offered: Collection[str], runtime: str) -> tuple[str, str | None]:
    """The best reference space of those offered, and a warning where it has no floor.

    STAGE and LOCAL_FLOOR have y = 0 on the floor; STAGE does not move when the user recentres the view.

    Raises:
        ValueError: none of the three is offered, which the specification forbids.
    """
    for name in ("STAGE", "LOCAL_FLOOR"):
        if name in offered:
            return name, None
    if "LOCAL" in offered:
        return "LOCAL", LOCAL_WARNING.format(runtime=runtime)
    raise ValueError(f"{runtime} offers the reference spaces {sorted(offered)}, and one of them must be LOCAL")


def device_from(located: Located, kind: DeviceKind) -> TrackedDevice | None:
    """The pose as everyone else understands it, None where it is not valid or not a pose.

    Runtimes have been seen to call poses valid whose quaternion is zero, so that is looked at, too.
    """
    if not located.valid:
        return None
    position_m = np.array(located.position_m, dtype=np.float64)
    rotation_xyzw = np.array(located.rotation_xyzw, dtype=np.float64)
    norm = math.sqrt(float(rotation_xyzw @ rotation_xyzw))
    if not (np.isfinite(position_m).all() and 0.5 < norm < 2.0):
        return None
    # w >= 0: of the two quaternions of a rotation always the same one.
    rotation_xyzw *= (-1.0 if rotation_xyzw[3] < 0 else 1.0) / norm
    return TrackedDevice(position_m, rotation_xyzw, kind)


def wrist_from_palm(palm: TrackedDevice, side: Side) -> TrackedDevice:
    """The wrist that belongs to a palm pose (`palm_ext`, `grip_surface`).

    The palm pose has -z along the straight fingers and x along the palm's normal, out of the palm of the left hand and
    into that of the right (OpenXR 1.1, section 6.3.2.1); a hand joint has -z along the fingers and y out of the back of
    the hand (XR_EXT_hand_tracking). So the axes follow exactly, and the position from an adult's measures.
    """
    into_hand = 1.0 if side == "right" else -1.0
    palm_from_wrist = Rotation.from_euler("z", -into_hand * 90, degrees=True)
    world_from_palm = Rotation.from_quat(palm.rotation_xyzw)
    offset_m = world_from_palm.apply((into_hand * _PALM_DEPTH_M, 0.0, _PALM_TO_WRIST_M))
    rotation_xyzw = (world_from_palm * palm_from_wrist).as_quat(canonical=True)
    return TrackedDevice(palm.position_m + offset_m, rotation_xyzw, DeviceKind.HAND_WRIST)


class HandChooser:
    """One hand: takes the controller where one is held, else the hand itself.

    Args:
        side: whose hand.
        inferred_s: how long a guessed pose is good for after the last measured one [s].

    Attributes:
        refused: whether the last choice left out a pose because it was guessed.
    """

    def __init__(self, side: Side, *, inferred_s: float = 0.3) -> None:
        self.side: Side = side
        self._inferred_ns = round(inferred_s * 1e9)
        self._tracked_ns: dict[str, int] = {}
        self.refused = False

    def choose(
        self, t_ns: int, *, grip: Located | None, palm: Located | None, wrist: Located | None
    ) -> TrackedDevice | None:
        """The pose to pass on, None where there is none worth it.

        Args:
            t_ns: when they are valid.
            grip: of an active controller.
            palm: of an active controller, where that is preferred to its grip.
            wrist: of hand tracking.
        """
        self.refused = False
        if palm is not None and (device := self._usable("palm", t_ns, palm, DeviceKind.GRIP)) is not None:
            return wrist_from_palm(device, self.side)
        if grip is not None and (device := self._usable("grip", t_ns, grip, DeviceKind.GRIP)) is not None:
            return device
        if wrist is not None:
            return self._usable("wrist", t_ns, wrist, DeviceKind.HAND_WRIST)
        return None

    def _usable(self, what: str, t_ns: int, located: Located, kind: DeviceKind) -> TrackedDevice | None:
        device = device_from(located, kind)
        if device is None:
            return None
        if located.tracked:
            self._tracked_ns[what] = t_ns
            return device
        tracked_ns = self._tracked_ns.get(what)
        if tracked_ns is not None and t_ns - tracked_ns <= self._inferred_ns:
            return device
        self.refused = True
        return None
