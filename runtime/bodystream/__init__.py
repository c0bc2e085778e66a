"""bodystream: live body capture and avatars from sparse sensors.

All that a program may build on has its name here, and `__all__` is the promise: other modules may change with any
version. A name is imported from its module when it is first asked for, so that `import bodystream` costs nothing.
docs/python.md explains how the names go together, and `examples/` shows them at work.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bodystream.avatar.base import Avatar
    from bodystream.avatar.open import open_avatar
    from bodystream.bundles import Bundle, BundleChoice, find_bundle, open_bundle
    from bodystream.device.select import select_device
    from bodystream.errors import (
        BodystreamError,
        BundleError,
        ConfigurationError,
        DeviceError,
        InputError,
        MissingDependencyError,
        NotReadyError,
        SessionError,
        SourceError,
    )
    from bodystream.geometry.motion import MotionClip
    from bodystream.geometry.skeleton import JOINTS, PARENTS, Skeleton
    from bodystream.pipelines.capture.config import CaptureConfig
    from bodystream.pipelines.capture.result import CaptureResult
    from bodystream.pipelines.capture.session import CaptureSession
    from bodystream.pipelines.drive.pipeline import DriveConfig, DriveResult
    from bodystream.pipelines.drive.session import DriveSession
    from bodystream.pipelines.recording.beside import record_beside
    from bodystream.pipelines.recording.recorder import TakeRecorder
    from bodystream.pipelines.run import Progress
    from bodystream.pipelines.send.open import open_sender
    from bodystream.pose.estimator import EstimatorConfig
    from bodystream.sinks.base import Occasion, PreparingSink, Sink, SinkBase
    from bodystream.sinks.reports.capture import CaptureReport
    from bodystream.sinks.reports.drive import DriveReport
    from bodystream.sources.base import RgbdSource, SourceCounts
    from bodystream.sources.folder import FolderSource
    from bodystream.sources.folder_config import FolderConfig
    from bodystream.sources.headset.base import HeadsetSource
    from bodystream.sources.headset.checks import HeadsetOptions
    from bodystream.sources.headset.open import open_headset
    from bodystream.sources.headset.openxr import OpenXrHeadset
    from bodystream.sources.headset.synthetic import MotionHeadset
    from bodystream.sources.headset.take import TakeHeadset
    from bodystream.sources.headset.vmc import VmcHeadset
    from bodystream.sources.headset.webxr import WebXrHeadset
    from bodystream.sources.motion.takes import read_motion
    from bodystream.sources.open import open_source
    from bodystream.sources.realsense.config import RealSenseConfig
    from bodystream.sources.realsense.source import RealSenseSource
    from bodystream.sources.synthetic.source import SyntheticConfig, SyntheticSource
    from bodystream.sources.take import TakeSource
    from bodystream.sources.take_config import TakeConfig
    from bodystream.timing.clock import now_ns
    from bodystream.types import (
        BodyPose,
        BoneMotion,
        CameraIntrinsics,
        DeviceKind,
        FlowField,
        Foreground,
        FrameTruth,
        GraphSnapshot,
        HandJoints,
        HeadsetSample,
        Mesh,
        RgbdFrame,
        SkinnedMesh,
        Status,
        TimedPose,
        TrackedDevice,
    )

__all__ = [
    "JOINTS",
    "PARENTS",
    "Avatar",
    "BodyPose",
    "BodystreamError",
    "BoneMotion",
    "Bundle",
    "BundleChoice",
    "BundleError",
    "CameraIntrinsics",
    "CaptureConfig",
    "CaptureReport",
    "CaptureResult",
    "CaptureSession",
    "ConfigurationError",
    "DeviceError",
    "DeviceKind",
    "DriveConfig",
    "DriveReport",
    "DriveResult",
    "DriveSession",
    "EstimatorConfig",
    "FlowField",
    "FolderConfig",
    "FolderSource",
    "Foreground",
    "FrameTruth",
    "GraphSnapshot",
    "HeadsetOptions",
    "HandJoints",
    "HeadsetSample",
    "HeadsetSource",
    "InputError",
    "Mesh",
    "MissingDependencyError",
    "MotionClip",
    "MotionHeadset",
    "NotReadyError",
    "Occasion",
    "OpenXrHeadset",
    "PreparingSink",
    "Progress",
    "RealSenseConfig",
    "RealSenseSource",
    "RgbdFrame",
    "RgbdSource",
    "SessionError",
    "Sink",
    "SinkBase",
    "Skeleton",
    "SkinnedMesh",
    "SourceCounts",
    "SourceError",
    "Status",
    "SyntheticConfig",
    "SyntheticSource",
    "TakeConfig",
    "TakeHeadset",
    "TakeRecorder",
    "TakeSource",
    "TimedPose",
    "TrackedDevice",
    "VmcHeadset",
    "WebXrHeadset",
    "__version__",
    "find_bundle",
    "now_ns",
    "open_avatar",
    "open_bundle",
    "open_headset",
    "open_sender",
    "open_source",
    "read_motion",
    "record_beside",
    "select_device",
]

__version__ = "0.1.0"

_HOMES = {
    "avatar.base": "Avatar",
    "avatar.open": "open_avatar",
    "bundles": "Bundle BundleChoice find_bundle open_bundle",
    "device.select": "select_device",
    "errors": (
        "BodystreamError BundleError ConfigurationError DeviceError InputError MissingDependencyError NotReadyError "
        "SessionError SourceError"
    ),
    "geometry.motion": "MotionClip",
    "geometry.skeleton": "JOINTS PARENTS Skeleton",
    "pipelines.capture.config": "CaptureConfig",
    "pipelines.capture.result": "CaptureResult",
    "pipelines.capture.session": "CaptureSession",
    "pipelines.drive.pipeline": "DriveConfig DriveResult",
    "pipelines.drive.session": "DriveSession",
    "pipelines.recording.beside": "record_beside",
    "pipelines.recording.recorder": "TakeRecorder",
    "pipelines.run": "Progress",
    "pipelines.send.open": "open_sender",
    "pose.estimator": "EstimatorConfig",
    "sinks.base": "Occasion PreparingSink Sink SinkBase",
    "sinks.reports.capture": "CaptureReport",
    "sinks.reports.drive": "DriveReport",
    "sources.base": "RgbdSource SourceCounts",
    "sources.folder": "FolderSource",
    "sources.folder_config": "FolderConfig",
    "sources.headset.base": "HeadsetSource",
    "sources.headset.checks": "HeadsetOptions",
    "sources.headset.open": "open_headset",
    "sources.headset.openxr": "OpenXrHeadset",
    "sources.headset.synthetic": "MotionHeadset",
    "sources.headset.take": "TakeHeadset",
    "sources.headset.vmc": "VmcHeadset",
    "sources.headset.webxr": "WebXrHeadset",
    "sources.motion.takes": "read_motion",
    "sources.open": "open_source",
    "sources.realsense.config": "RealSenseConfig",
    "sources.realsense.source": "RealSenseSource",
    "sources.synthetic.source": "SyntheticConfig SyntheticSource",
    "sources.take": "TakeSource",
    "sources.take_config": "TakeConfig",
    "timing.clock": "now_ns",
    "types": (
        "BodyPose BoneMotion CameraIntrinsics DeviceKind FlowField Foreground FrameTruth GraphSnapshot HandJoints "
        "HeadsetSample Mesh RgbdFrame SkinnedMesh Status TimedPose TrackedDevice"
    ),
}
_HOME = {name: f"bodystream.{module}" for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
