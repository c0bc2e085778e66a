"""Foxglove's published messages, by the classes of its own package, encoded as protobuf.

Protobuf and not JSON: an image in JSON is text of 4/3 its size that every reader has to decode, where protobuf holds
the bytes themselves.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.rotations import quaternion_from_matrix
from bodystream.types import Array, LensCamera

__all__ = [
    "CAMERA_FRAME",
    "COLOUR_FRAME",
    "WORLD_FRAME",
    "calibration",
    "compressed_image",
    "compressed_image_of",
    "frame_transform",
    "message_class",
    "poses_in_frame",
    "raw_depth",
    "raw_depth_of",
]

CAMERA_FRAME, COLOUR_FRAME, WORLD_FRAME = "camera", "camera_colour", "world"
"""Names of frames of reference: the depth camera, the colour camera where it is another one, and a headset's world."""
_PLUMB_BOB = {"none", "brown_conrady"}
"""Models of lenses that OpenCV's, which Foxglove calls plumb_bob, is the same as."""


@cache
def message_class(name: str) -> Any:
    """The class of a published message: `RawImage`, `CompressedImage`, `CameraCalibration`, `FrameTransform`."""
    return getattr(importlib.import_module(f"foxglove_schemas_protobuf.{name}_pb2"), name)


def raw_depth(depth: Array, t_ns: int) -> bytes:
    """(H, W) uint16 as `foxglove.RawImage`, 16UC1; the container compresses it.

    Args:
        t_ns: since 1970.
    """
    height, width = depth.shape
    message = message_class("RawImage")(
        frame_id=CAMERA_FRAME,
        width=width,
        height=height,
        encoding="16UC1",
        step=2 * width,
        data=np.ascontiguousarray(depth, "<u2").tobytes(),
    )
    message.timestamp.FromNanoseconds(t_ns)
    return message.SerializeToString()


def raw_depth_of(data: bytes, where: str) -> Array:
    """The image in a `foxglove.RawImage` of 16 bits, (H, W) uint16; it is a view of the message.

    Raises:
        InputError: it is damaged, or no such image.
    """
    message = _parsed("RawImage", data, where)
    width, height, step = message.width, message.height, message.step
    if message.encoding not in ("16UC1", "mono16"):
        raise InputError(f"{where}: depth of the encoding {message.encoding[:40]!r}, wanted 16UC1")
    if not (width and height) or step < 2 * width or step % 2 or len(message.data) != step * height:
        raise InputError(f"{where}: {width}x{height} pixels in {len(message.data)} bytes, {step} in a row")
    return np.frombuffer(message.data, "<u2").reshape(height, step // 2)[:, :width]


def compressed_image(data: bytes, coding: str, frame: str, t_ns: int) -> bytes:
    """The content of an image file as `foxglove.CompressedImage`.

    Args:
        coding: `jpeg` or `png`.
        frame: of reference.
    """
    message = message_class("CompressedImage")(frame_id=frame, format=coding, data=data)
    message.timestamp.FromNanoseconds(t_ns)
    return message.SerializeToString()


def compressed_image_of(data: bytes, where: str) -> bytes:
    """The content of the image file in a `foxglove.CompressedImage`.

    Raises:
        InputError: it is damaged.
    """
    return _parsed("CompressedImage", data, where).data


def calibration(camera: LensCamera, frame: str, t_ns: int) -> bytes:
    """A camera as `foxglove.CameraCalibration`; a lens that it has no name for has that of librealsense."""
    k = camera.intrinsics
    matrix = k.matrix
    message = message_class("CameraCalibration")(
        frame_id=frame,
        width=k.width,
        height=k.height,
        distortion_model=camera.model if camera.bends and camera.model not in _PLUMB_BOB else "plumb_bob",
        D=[float(c) for c in camera.coefficients],
        K=matrix.ravel().tolist(),
        R=np.eye(3).ravel().tolist(),
        P=np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist(),
    )
    message.timestamp.FromNanoseconds(t_ns)
    return message.SerializeToString()


def frame_transform(parent_from_child: Array, parent: str, child: str, t_ns: int) -> bytes:
    """A (4, 4) rigid transform [m] as `foxglove.FrameTransform`: where the child stands in its parent."""
    message = message_class("FrameTransform")(parent_frame_id=parent, child_frame_id=child)
    message.timestamp.FromNanoseconds(t_ns)
    x, y, z = (float(value) for value in parent_from_child[:3, 3])
    message.translation.x, message.translation.y, message.translation.z = x, y, z
    qx, qy, qz, qw = quaternion_from_matrix(np.asarray(parent_from_child[:3, :3], np.float64)).tolist()
    message.rotation.x, message.rotation.y, message.rotation.z, message.rotation.w = qx, qy, qz, qw
    return message.SerializeToString()


def poses_in_frame(positions_m: Array, rotations_xyzw: Array, frame: str, t_ns: int) -> bytes:
    """(N, 3) positions [m] and (N, 4) quaternions xyzw as `foxglove.PosesInFrame`."""
    message = message_class("PosesInFrame")(frame_id=frame)
    message.timestamp.FromNanoseconds(t_ns)
    for (x, y, z), (qx, qy, qz, qw) in zip(positions_m.tolist(), rotations_xyzw.tolist(), strict=True):
        pose = message.poses.add()
        pose.position.x, pose.position.y, pose.position.z = x, y, z
        pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w = qx, qy, qz, qw
    return message.SerializeToString()


def _parsed(name: str, data: bytes, where: str) -> Any:
    from google.protobuf.message import DecodeError

    message = message_class(name)()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InputError(f"{where}: the message is damaged ({error})") from error
    return message
