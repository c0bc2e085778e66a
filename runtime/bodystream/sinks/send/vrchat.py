"""VRChat's OSC trackers: eight points of the body, and the head, which aligns them with the player.

After https://docs.vrchat.com/docs/osc-trackers. Positions are in the world in Unity's axes, in real metres of the user;
rotations are Unity's Euler angles in degrees.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, Skeleton
from bodystream.geometry.unity import unity_eulers_deg, unity_quaternions, unity_vectors
from bodystream.sinks.send.base import DrivenPose
from bodystream.sinks.send.udp import OscSender, osc_bundles, osc_message
from bodystream.types import Status

__all__ = ["VRCHAT_TRACKERS", "VrchatSender", "vrchat_bundles"]

VRCHAT_TRACKERS: dict[str, tuple[str, str, str]] = {
    "hip": ("1", "pelvis", "pelvis"),
    "left_foot": ("2", "left_ankle", "left_ankle"),
    "right_foot": ("3", "right_ankle", "right_ankle"),
    "left_knee": ("4", "left_knee", "left_hip"),
    "right_knee": ("5", "right_knee", "right_hip"),
    "chest": ("6", "spine3", "spine3"),
    "left_elbow": ("7", "left_elbow", "left_shoulder"),
    "right_elbow": ("8", "right_elbow", "right_shoulder"),
    "head": ("head", "head", "head"),
}
"""Of each tracker its number, the joint where it is, and the joint that turns it: those of knees and elbows sit on the
thigh and the upper arm, as VRChat takes them."""


def vrchat_bundles(driven: DrivenPose, trackers: Collection[str], scale: float = 1.0) -> list[bytes]:
    """The datagrams of one pose.

    Args:
        trackers: names of `VRCHAT_TRACKERS`.
        scale: user's height over that of the body that is driven.
    """
    chosen = [VRCHAT_TRACKERS[name] for name in VRCHAT_TRACKERS if name in trackers]
    places = [JOINT_INDEX[place] for _, place, _ in chosen]
    turns = [JOINT_INDEX[turn] for _, _, turn in chosen]
    positions = unity_vectors(driven.person.joints_m[places] * scale).tolist()
    quaternions = quaternion_from_matrix(driven.person.orientations[turns])
    eulers = unity_eulers_deg(unity_quaternions(quaternions)).tolist()
    messages = []
    for (number, _, _), position, euler in zip(chosen, positions, eulers, strict=True):
        messages.append(osc_message(f"/tracking/trackers/{number}/position", "fff", position))
        messages.append(osc_message(f"/tracking/trackers/{number}/rotation", "fff", euler))
    return osc_bundles(messages)


class VrchatSender(OscSender):
    """Sends trackers to one VRChat; see `PoseSender`. A pose that is lost is not sent: trackers stay where they were.

    Args:
        host, port: of VRChat's OSC input; 9000 unless it was told another.
        trackers: names of `VRCHAT_TRACKERS`; few good ones may serve better than all.
        scale_of: gives the user's height over that of a person with this skeleton; None = they are one.

    Raises:
        ConfigurationError: there is no such host.
    """

    def __init__(
        self,
        host: str,
        port: int,
        trackers: Collection[str] = tuple(VRCHAT_TRACKERS),
        scale_of: Callable[[Skeleton], float] | None = None,
    ) -> None:
        super().__init__("vrchat", host, port)
        self._trackers, self._scale_of = frozenset(trackers), scale_of

    def send(self, driven: DrivenPose) -> bool:
        if driven.pose.status is Status.LOST:
            return True
        scale = 1.0 if self._scale_of is None else self._scale_of(driven.person.skeleton)
        return self._udp.send(vrchat_bundles(driven, self._trackers, scale))
