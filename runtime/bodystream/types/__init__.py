"""The values that cross stages. Each is immutable and carries the timestamp of what it was computed from."""

from bodystream.types.base import Array, Status
from bodystream.types.bodies import BodyPose, DeviceKind, HandJoints, HeadsetSample, TimedPose, TrackedDevice
from bodystream.types.cameras import LensCamera, RawImages, RgbdCalibration
from bodystream.types.frames import CameraIntrinsics, FlowField, Foreground, FrameTruth, RgbdFrame
from bodystream.types.surfaces import BoneMotion, FingerBone, GraphSnapshot, Mesh, MeshPart, SkinnedMesh

__all__ = [
    "Array",
    "BodyPose",
    "BoneMotion",
    "CameraIntrinsics",
    "DeviceKind",
    "FingerBone",
    "FlowField",
    "Foreground",
    "FrameTruth",
    "GraphSnapshot",
    "HandJoints",
    "HeadsetSample",
    "LensCamera",
    "Mesh",
    "MeshPart",
    "RawImages",
    "RgbdCalibration",
    "RgbdFrame",
    "SkinnedMesh",
    "Status",
    "TimedPose",
    "TrackedDevice",
]
