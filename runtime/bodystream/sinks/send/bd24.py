"""BD-24: 24 joints with poses and validity as one message of 808 bytes; docs/send.md has it byte by byte.

The joints are those of OpenXR's `XR_BD_body_tracking` in its order, which is SMPL's with two hands. What is said of
each is said in OpenXR's words (`XrSpaceLocationFlags`), so that who drives a robot can tell measured from inferred.
"""

from __future__ import annotations

import struct
import time

import numpy as np

from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND
from bodystream.geometry.skeleton_maps import XR_BD_JOINTS, xr_bd_poses
from bodystream.sinks.send.base import DrivenPose
from bodystream.timing import now_ns
from bodystream.types import Array, Status

__all__ = ["BD24_BYTES", "BD24_JOINT", "BD24_VERSION", "bd24_message", "bd24_validity"]

BD24_VERSION = 1
_MAGIC = b"BD24"
_HEADER = struct.Struct("<4sHHQqqBB6x")
_STATUS = {Status.LOST: 0, Status.DEGRADED: 1, Status.TRACKED: 2}
_VALID, _TRACKED = 0b0011, 0b1111
"""Of `XrSpaceLocationFlags`: orientation and position valid; and both tracked, too."""
_LEFT_STANDS, _RIGHT_STANDS, _CONTACTS_KNOWN = 1, 2, 4

BD24_JOINT = np.dtype([("position_m", "<f4", 3), ("rotation_xyzw", "<f4", 4), ("flags", "<u4")])
"""One joint of a message, 32 bytes."""
BD24_BYTES = _HEADER.size + len(XR_BD_JOINTS) * BD24_JOINT.itemsize


def bd24_validity(driven: DrivenPose) -> Array:
    """(24,) uint32 of `XrSpaceLocationFlags`: what a headset measures is tracked, what follows from it is valid, and
    of a pose that is lost nothing is."""
    if driven.pose.status is Status.LOST:
        return np.zeros(len(XR_BD_JOINTS), np.uint32)
    flags = np.full(len(XR_BD_JOINTS), _VALID, np.uint32)
    sample = driven.sample
    for joint, device in ((HEAD, sample.head), (LEFT_HAND, sample.left), (RIGHT_HAND, sample.right)):
        if device is not None:
            flags[joint] = _TRACKED
    return flags


def bd24_message(driven: DrivenPose, number: int) -> bytes:
    """One pose as a message.

    Args:
        number: of the message, counted by its sender.
    """
    pose = driven.pose
    contacts = 0
    if pose.contacts is not None:
        left, right = pose.contacts
        contacts = _CONTACTS_KNOWN | bool(left) * _LEFT_STANDS | bool(right) * _RIGHT_STANDS
    # A receiver on another machine has another monotonic clock: it is told the time of the day, too.
    utc_ns = time.time_ns() - (now_ns() - pose.t_ns)
    positions, orientations = xr_bd_poses(driven.person.joints_m, driven.person.orientations)
    joints = np.zeros(len(XR_BD_JOINTS), BD24_JOINT)
    joints["position_m"] = positions
    joints["rotation_xyzw"] = quaternion_from_matrix(orientations)
    joints["flags"] = bd24_validity(driven)
    header = _HEADER.pack(_MAGIC, BD24_VERSION, len(joints), number, pose.t_ns, utc_ns, _STATUS[pose.status], contacts)
    return header + joints.tobytes()
