"""What is in a take beside images: our own messages, their topics, and the JSON Schema that the file holds of each.

Images, calibrations and transforms are in Foxglove's published messages (`takes.foxglove`). What those have no place
for (the device's clock, the unit of depth, exact calibrations, head and hands) is in messages of our own, as JSON.
Numbers are written so that they are read back to the same bits. What is not there is left out of a message, and never
null: Foxglove reads schemas of plain objects, lists and values only, and refuses alternatives and references.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np

from bodystream.errors import InputError, excerpt
from bodystream.geometry.hands import hand_from_bytes, recorded_hand
from bodystream.types import (
    CameraIntrinsics,
    DeviceKind,
    HeadsetSample,
    LensCamera,
    RgbdCalibration,
    TrackedDevice,
)

__all__ = [
    "BODY",
    "BODY_POSES",
    "CAMERA",
    "CAMERA_TOPICS",
    "COLOUR",
    "COLOUR_CALIBRATION",
    "DEPTH",
    "DEPTH_CALIBRATION",
    "EVENTS",
    "FORMAT",
    "FRAME",
    "HEADSET",
    "MASK",
    "METADATA",
    "OWN_MESSAGES",
    "SMALL_TOPICS",
    "TOPICS",
    "TRANSFORMS",
    "CameraMessage",
    "Event",
    "FrameMessage",
    "PoseMessage",
    "SampleMessage",
    "TakeCamera",
    "camera_message",
    "decode",
    "json_schema",
    "sample_message",
    "sample_of",
    "take_camera",
]

FORMAT = 1
"""Of the file: a reader refuses a higher number."""
METADATA = "bodystream.take"
"""Name of the record that says what the file is; it comes before everything else."""

DEPTH, DEPTH_CALIBRATION = "/camera/depth/image", "/camera/depth/calibration"
COLOUR, COLOUR_CALIBRATION = "/camera/colour/image", "/camera/colour/calibration"
MASK = "/camera/mask/image"
CAMERA, FRAME = "/camera/description", "/camera/frame"
TRANSFORMS, HEADSET, EVENTS = "/tf", "/headset/sample", "/events"
BODY, BODY_POSES = "/body/bd24", "/body/poses"
CAMERA_TOPICS = (CAMERA, FRAME, DEPTH, COLOUR, MASK)
"""What a reader of frames reads; calibrations and transforms are there for other programs."""
SMALL_TOPICS = (HEADSET, EVENTS, BODY, BODY_POSES)
"""What has chunks of its own, so that who wants it need not read images."""
TOPICS = (*CAMERA_TOPICS, DEPTH_CALIBRATION, COLOUR_CALIBRATION, TRANSFORMS, *SMALL_TOPICS)
"""All that a take may have."""

_MAX_JSON_BYTES = 1 << 20
_ALIGNS: dict[str, Literal["depth", "colour"]] = {"depth": "depth", "colour": "colour"}
_SAMPLINGS: dict[str, Literal["bilinear", "nearest"]] = {"bilinear": "bilinear", "nearest": "nearest"}

Message = TypeVar("Message")


class LensMessage(msgspec.Struct, frozen=True):
    """A camera and its lens: pixels, pixel centres at integers; model and coefficients as librealsense has them."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    model: str
    coefficients: tuple[float, ...]


class CameraMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stays the same from frame to frame; written again when it changes.

    Attributes:
        source: name of the camera or recording.
        rate_hz: nominal.
        depth_unit_m: metres per unit of the depth images.
        depth_quotient: whether the source divided by units per metre instead of multiplying, which differs in the last
            bit.
        registered: whether colour is on the pixels of depth; else it is a camera of its own.
        depth: camera of the depth image. colour: camera of the colour image.
        colour_from_depth: 4x4 by rows [m], takes points of the depth camera to the colour camera.
        align, sampling, max_depth_m: how the source brought the two to the same pixels while it was recorded.
        colour_coding: `jpeg 95`, `png` (lossless) or `none`.
    """

    source: str
    rate_hz: float | None = None
    depth_unit_m: float
    depth_quotient: bool = False
    registered: bool
    depth: LensMessage
    colour: LensMessage | None = None
    colour_from_depth: tuple[float, ...] | None = None
    align: str = "depth"
    sampling: str = "bilinear"
    max_depth_m: float | None = None
    colour_coding: str = "none"


class FrameMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One frame of the camera, whose images have the same sequence number. It comes after them.

    Attributes:
        index: the source's number of the frame; gaps are frames that it lost.
        t_ns: the host's monotonic clock. device_t_ns: the device's own.
        name: for people.
        colour, mask: whether there is such an image.
        exact: whether depth is what came in, to the bit; else it was rounded to the unit.
    """

    index: int
    t_ns: int
    device_t_ns: int | None = None
    name: str
    colour: bool
    mask: bool
    exact: bool = True


class DeviceMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tracked device: position [m] and quaternion xyzw as they came, and which point of the body it is.

    `joints` are those of a tracked hand, as of `geometry.hands.hand_bytes`, in base64.
    """

    position_m: Annotated[tuple[float, ...], msgspec.Meta(min_length=3, max_length=3)]
    rotation_xyzw: Annotated[tuple[float, ...], msgspec.Meta(min_length=4, max_length=4)]
    kind: str
    joints: bytes | None = None


class SampleMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a headset knew at one time; a device that is left out was not tracked. See `HeadsetSample`."""

    index: int
    t_ns: int
    device_t_ns: int | None = None
    head: DeviceMessage | None = None
    left: DeviceMessage | None = None
    right: DeviceMessage | None = None
    origin_moved: bool = False
    emulated: tuple[str, ...] = ()
    lap: int = 0


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened while it was recorded.

    Attributes:
        t_ns: the host's monotonic clock.
        source: who tells it.
        kind: `start`, `end`, `warning`, `lost`, `dropped` or `reconnect`.
        text: for people. count: how many, of what is counted.
    """

    t_ns: int
    source: str
    kind: str
    text: str = ""
    count: int = 0


class PoseMessage(msgspec.Struct, frozen=True):
    """A driven body.

    Attributes:
        t_ns: the host's monotonic clock.
        data: the pose as a message of BD-24, as it is sent over ZeroMQ: 24 joints with positions, rotations, validity.
    """

    t_ns: int
    data: bytes


OWN_MESSAGES: dict[str, tuple[str, type[msgspec.Struct]]] = {
    CAMERA: ("bodystream.Camera", CameraMessage),
    FRAME: ("bodystream.CameraFrame", FrameMessage),
    HEADSET: ("bodystream.HeadsetSample", SampleMessage),
    EVENTS: ("bodystream.Event", Event),
    BODY: ("bodystream.BD24", PoseMessage),
}
"""Topic to the name of its schema and the type of its messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeCamera:
    """What a take says of its camera, as values.

    Attributes:
        calibration: of both cameras; the colour camera is None where colour is on the pixels of depth, or absent.
        others: as `CameraMessage`.
    """

    source: str
    rate_hz: float | None
    calibration: RgbdCalibration
    registered: bool
    depth_quotient: bool = False
    align: Literal["depth", "colour"] = "depth"
    sampling: Literal["bilinear", "nearest"] = "bilinear"
    max_depth_m: float | None = None
    colour_coding: str = "none"


def camera_message(camera: TakeCamera) -> CameraMessage:
    """For the file."""
    found = camera.calibration
    transform = found.colour_from_depth
    return CameraMessage(
        source=camera.source,
        rate_hz=camera.rate_hz,
        depth_unit_m=found.depth_scale_m,
        depth_quotient=camera.depth_quotient,
        registered=camera.registered,
        depth=_lens(found.depth),
        colour=None if found.colour is None else _lens(found.colour),
        colour_from_depth=None if transform is None else tuple(np.asarray(transform, np.float64).ravel().tolist()),
        align=camera.align,
        sampling=camera.sampling,
        max_depth_m=camera.max_depth_m,
        colour_coding=camera.colour_coding,
    )


def take_camera(message: CameraMessage, where: str) -> TakeCamera:
    """From the file.

    Raises:
        InputError: values that no camera has.
    """
    numbers = [message.depth_unit_m, *(message.colour_from_depth or ())]
    if not all(map(math.isfinite, numbers)) or not 0 < message.depth_unit_m < 1:
        raise InputError(f"{where}: depth of {message.depth_unit_m:g} m per unit, wanted between 0 and 1 m")
    transform = message.colour_from_depth
    if message.colour is not None and (transform is None or len(transform) != 16):
        raise InputError(f"{where}: the colour camera has no 4x4 transform from the depth camera")
    if message.align not in _ALIGNS or message.sampling not in _SAMPLINGS:
        raise InputError(f"{where}: cannot bring colour and depth together by {message.align}, {message.sampling}")
    limit = message.max_depth_m
    return TakeCamera(
        source=message.source[:200],
        rate_hz=message.rate_hz if message.rate_hz is not None and 0 < message.rate_hz < 1e4 else None,
        calibration=RgbdCalibration(
            _camera(message.depth, where),
            message.depth_unit_m,
            None if message.colour is None else _camera(message.colour, where),
            None if message.colour is None else np.array(transform, np.float64).reshape(4, 4),
        ),
        registered=message.registered,
        depth_quotient=message.depth_quotient,
        align=_ALIGNS[message.align],
        sampling=_SAMPLINGS[message.sampling],
        max_depth_m=limit if limit is not None and 0 < limit < math.inf else None,
        colour_coding=message.colour_coding,
    )


def sample_message(sample: HeadsetSample) -> SampleMessage:
    """For the file; left out are the truth of a sample that was made from a motion, a device whose numbers are not
    finite, and joints of a hand that cannot be."""
    return SampleMessage(
        index=sample.index,
        t_ns=int(sample.t_ns),
        device_t_ns=None if sample.device_t_ns is None else int(sample.device_t_ns),
        head=_device_message(sample.head),
        left=_device_message(sample.left),
        right=_device_message(sample.right),
        origin_moved=bool(sample.origin_moved),
        emulated=tuple(sample.emulated),
        lap=sample.lap,
    )


def sample_of(message: SampleMessage, where: str) -> HeadsetSample:
    """From the file.

    Raises:
        InputError: a device of an unknown kind, joints that are no hand, or a time of more than 64 bits.
    """
    for value in (message.index, message.t_ns, message.device_t_ns or 0, message.lap):
        if not -(2**63) <= value < 2**63:
            raise InputError(f"{where}: {excerpt(value)} is no count or time of at most 64 bits")
    return HeadsetSample(
        index=message.index,
        t_ns=message.t_ns,
        head=_device(message.head, where),
        left=_device(message.left, where),
        right=_device(message.right, where),
        device_t_ns=message.device_t_ns,
        origin_moved=message.origin_moved,
        emulated=tuple(side for side in message.emulated if side in ("left", "right")),
        lap=message.lap,
    )


def decode(data: bytes, kind: type[Message], where: str) -> Message:
    """One of our messages from its JSON.

    Raises:
        InputError: it is something else.
    """
    if len(data) > _MAX_JSON_BYTES:
        raise InputError(f"{where}: {len(data)} bytes, wanted a message of up to {_MAX_JSON_BYTES}")
    try:
        return msgspec.json.decode(data, type=kind)
    # RecursionError: lists within lists
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not what this topic holds ({str(error)[:200]})") from error


def json_schema(kind: type[msgspec.Struct], name: str) -> dict[str, Any]:
    """The JSON Schema of one of our messages, an object of plain values, lists and objects."""
    whole = msgspec.json.schema(kind)
    plain = _plain(whole, whole.get("$defs", {}))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **plain, "title": name}


def _plain(schema: Any, definitions: dict[str, Any]) -> Any:
    """Without references, and without the alternative of null, which no message holds."""
    if isinstance(schema, list):
        return [_plain(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        (only,) = [part for part in schema["anyOf"] if part.get("type") != "null"]
        return _plain(only, definitions)
    return {key: _plain(part, definitions) for key, part in schema.items() if key != "$defs"}


def _lens(camera: LensCamera) -> LensMessage:
    k = camera.intrinsics
    coefficients = tuple(map(float, camera.coefficients))
    return LensMessage(
        float(k.fx), float(k.fy), float(k.cx), float(k.cy), k.width, k.height, camera.model, coefficients
    )


def _camera(message: LensMessage, where: str) -> LensCamera:
    if len(message.coefficients) > 14 or not all(map(math.isfinite, message.coefficients)):
        raise InputError(f"{where}: {len(message.coefficients)} coefficients of a lens, wanted finite ones, up to 14")
    if message.width * message.height > 1 << 26:
        raise InputError(f"{where}: a camera of {message.width}x{message.height} pixels, wanted up to 64 million")
    pinhole = CameraIntrinsics(message.fx, message.fy, message.cx, message.cy, message.width, message.height)
    return LensCamera(pinhole, message.model, message.coefficients)


def _device_message(device: TrackedDevice | None) -> DeviceMessage | None:
    if device is None:
        return None
    position, rotation = tuple(map(float, device.position_m)), tuple(map(float, device.rotation_xyzw))
    if not all(map(math.isfinite, (*position, *rotation))):
        return None
    return DeviceMessage(position, rotation, device.kind.value, recorded_hand(device.hand))


def _device(message: DeviceMessage | None, where: str) -> TrackedDevice | None:
    if message is None:
        return None
    try:
        kind = DeviceKind(message.kind)
    except ValueError as error:
        raise InputError(
            f"{where}: a device of the kind {excerpt(message.kind)}, wanted one of {', '.join(DeviceKind)}"
        ) from error
    position, rotation = np.array(message.position_m, np.float64), np.array(message.rotation_xyzw, np.float64)
    hand = None if message.joints is None else hand_from_bytes(message.joints, f"{where}: a hand")
    return TrackedDevice(position, rotation, kind, hand)
