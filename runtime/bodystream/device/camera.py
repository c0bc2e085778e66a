"""Intrinsics as kernels take them."""
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from bodystream.device.camera_kernels import Camera
from bodystream.types import CameraIntrinsics

__all__ = ["Camera", "device_camera"]


def device_camera(intrinsics: CameraIntrinsics) -> Camera:
    """The kernels' view of a camera: the one place that fills it."""
    camera = Camera()
    camera.fx, camera.fy, camera.cx, camera.cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    camera.width, camera.height = intrinsics.width, intrinsics.height
    return camera
