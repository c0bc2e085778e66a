"""What a browser on a headset and the server say to each other: JSON objects, one per websocket message.

docs/webxr.md describes the format for people who write a client. Poses are as the WebXR Device API gives them: metres,
right-handed, y up, quaternions xyzw, relative to the reference space that `hello` named. Unknown members are ignored,
so that a newer client can say more.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
import numpy as np

from bodystream.errors import InputError
from bodystream.geometry.hands import hand_from_bytes
from bodystream.types import DeviceKind, HandJoints, TrackedDevice
from bodystream.web.limits import MAX_MESSAGE_BYTES

__all__ = [
    "PROTOCOL_VERSION",
    "ClientMessage",
    "End",
    "ErrorCode",
    "ErrorMessage",
    "HandPose",
    "Hello",
    "Notice",
    "Ping",
    "Pong",
    "PoseMessage",
    "RigidPose",
    "ServerMessage",
    "SpaceReset",
    "Visibility",
    "WebXrMessageError",
    "Welcome",
    "decode_client",
    "decode_server",
    "display_ahead_ms",
    "encode",
    "tracked_device",
]

PROTOCOL_VERSION = 1

_MAX_POSITION_M = 100.0
_MAX_TIME_MS = 1e13
"""`Date.now()` is 1.8e12; what is beyond could not be taken to integer nanoseconds with sense."""
_NORM_TOLERANCE = 0.02

ErrorCode = Literal["malformed", "value", "order", "time", "rate", "version", "replaced", "clock", "stalled"]

_Text = Annotated[str, msgspec.Meta(max_length=512)]
_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]


class WebXrMessageError(InputError):
    """A message from a headset's browser is not what the format asks for.

    Args:
        code: of the error message that goes back to the client.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code


class RigidPose(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pose in the reference space.

    Attributes:
        position_m: x, y, z.
        rotation_xyzw: unit quaternion, reference space from device.
        emulated: WebXR's `emulatedPosition`: the rotation is measured and the position is guessed.
    """

    position_m: tuple[float, float, float]
    rotation_xyzw: tuple[float, float, float, float]
    emulated: bool = False


class HandPose(RigidPose, frozen=True, omit_defaults=True, kw_only=True):
    """A hand: the grip pose of what it holds, or the wrist, the first of WebXR's 25 hand joints.

    Attributes:
        joints: all 25 of a tracked hand, seen from the wrist, as `geometry.hands.hand_bytes` writes them; base64 in
            JSON. As numbers of JSON they would take five times as many bytes.
    """

    kind: Literal["grip", "hand-wrist"]
    joints: bytes | None = None


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message of a client.

    Attributes:
        version: of this format; a server talks to clients of its own version only.
        space: the kind of reference space that all poses are in. With `local` the floor is unknown.
        user_agent: of the browser.
        rate_hz: the display's frame rate, where the browser tells it.
    """

    version: int
    space: Literal["local-floor", "bounded-floor", "local"]
    user_agent: _Text = ""
    rate_hz: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None


class PoseMessage(msgspec.Struct, frozen=True, tag="pose"):
    """One sample.

    Attributes:
        seq: counts the samples that the client had, also those that it did not send.
        t_ms: `performance.now()` when the poses were read.
        display_ms: the time that the browser predicted the poses for, on the same clock; None where it does not tell.
            Browsers whose display has a clock of its own tell another time: `display_ahead_ms` says which can be used.
        head, left, right: None while not tracked.
    """

    seq: _Count
    t_ms: float
    head: RigidPose | None
    left: HandPose | None = None
    right: HandPose | None = None
    display_ms: float | None = None


class Pong(msgspec.Struct, frozen=True, tag="pong"):
    """The answer to a ping, to be sent at once: `t_ms` is `performance.now()`."""

    id: _Count
    t_ms: float


class SpaceReset(msgspec.Struct, frozen=True, tag="reset"):
    """The reference space got another origin (the user recentred the view): poses jump here."""


class Visibility(msgspec.Struct, frozen=True, tag="visibility"):
    """`XRSession.visibilityState` changed: no poses come while it is `hidden`."""

    state: Literal["visible", "visible-blurred", "hidden"]


class End(msgspec.Struct, frozen=True, tag="end"):
    """The session on the headset is over."""

    reason: _Text = ""


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """The clocks are aligned: poses may be sent from now on."""

    version: int = PROTOCOL_VERSION


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Asks for a `pong` with the same id."""

    id: int


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """Something that the person who wears the headset should know."""

    message: str


class ErrorMessage(msgspec.Struct, frozen=True, tag="error"):
    """A message was not accepted; after a fatal one the server closes the connection."""

    code: ErrorCode
    message: str
    fatal: bool = False


ClientMessage = Hello | PoseMessage | Pong | SpaceReset | Visibility | End
ServerMessage = Welcome | Ping | Notice | ErrorMessage

_encoder = msgspec.json.Encoder()
_client_decoder = msgspec.json.Decoder(ClientMessage)
_server_decoder = msgspec.json.Decoder(ServerMessage)


def encode(message: ClientMessage | ServerMessage) -> str:
    """The JSON text of a message."""
    return _encoder.encode(message).decode()


def decode_server(data: str | bytes) -> ServerMessage:
    """Read a message of the server, for clients in Python.

    Raises:
        WebXrMessageError: it is not one.
    """
    return _decode(_server_decoder, data)


def decode_client(data: str | bytes) -> ClientMessage:
    """Read a client's message and check what a type cannot say: finite numbers, plausible times.

    Raises:
        WebXrMessageError: `malformed` where it is not a message of this format, `value` or `time` where a number in
            it makes no sense.
    """
    message: ClientMessage = _decode(_client_decoder, data)
    if isinstance(message, PoseMessage | Pong):
        _check_time("t_ms", message.t_ms)
    if isinstance(message, PoseMessage):
        for name in ("head", "left", "right"):
            pose = getattr(message, name)
            if pose is not None:
                _check_pose(name, pose)
    return message


def display_ahead_ms(pose: PoseMessage) -> float | None:
    """How long after they were read the poses are to be seen [ms]; None where `display_ms` is of another clock.

    A frame is shown some 20 ms after its poses are read. Where a page was held up in between, that lies in the past.
    """
    if pose.display_ms is None:
        return 0.0
    ahead_ms = pose.display_ms - pose.t_ms
    return ahead_ms if -1000 <= ahead_ms <= 250 else None  # so is nothing that is not finite


def tracked_device(name: str, pose: RigidPose) -> TrackedDevice:
    """A pose that `decode_client` has checked, with its quaternion normalised, w >= 0.

    Args:
        name: `head`, `left` or `right`, for messages.

    Raises:
        WebXrMessageError: `value` where the joints of a hand are not as `geometry.hands` has them, or are of no hand.
    """
    rotation = np.array(pose.rotation_xyzw, np.float64)
    rotation /= np.copysign(np.linalg.norm(rotation), rotation[3])
    kind, hand = DeviceKind.VIEW, None
    if isinstance(pose, HandPose):
        kind = DeviceKind(pose.kind)
        hand = None if pose.joints is None else _hand_joints(name, pose, pose.joints)
    return TrackedDevice(np.array(pose.position_m, np.float64), rotation, kind, hand)


def _decode(decoder: msgspec.json.Decoder, data: str | bytes):
    if len(data) > MAX_MESSAGE_BYTES:
        raise WebXrMessageError("malformed", f"the message has {len(data)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    try:
        return decoder.decode(data)
    # A ValidationError is a DecodeError; deep nesting ends the parser with a RecursionError, half a surrogate pair in
    # a str with a UnicodeError.
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # A part of the sender's own text may be in the message: it goes back to the sender and into logs.
        raise WebXrMessageError("malformed", f"not a message of this format: {str(error)[:200]}") from error


def _hand_joints(name: str, pose: HandPose, data: bytes) -> HandJoints:
    if pose.kind != "hand-wrist":
        raise WebXrMessageError("value", f"the {name} hand is of the kind {pose.kind}: joints go with hand-wrist only")
    try:
        hand = hand_from_bytes(data, f"the {name} hand")
    except InputError as error:
        raise WebXrMessageError("value", str(error)) from error
    rotations = hand.wrist_from_joint_xyzw
    rotations /= np.copysign(np.linalg.norm(rotations, axis=1), rotations[:, 3])[:, None]
    return hand


def _check_time(name: str, time_ms: float) -> None:
    if not (math.isfinite(time_ms) and abs(time_ms) < _MAX_TIME_MS):
        raise WebXrMessageError("time", f"{name} is {time_ms:g}, wanted milliseconds of performance.now()")


def _check_pose(name: str, pose: RigidPose) -> None:
    if not all(abs(value) <= _MAX_POSITION_M for value in pose.position_m):
        raise WebXrMessageError(
            "value",
            f"the position of {name} is {pose.position_m}, wanted metres within {_MAX_POSITION_M:g} m of the origin: "
            "are these centimetres or millimetres?",
        )
    norm = math.hypot(*pose.rotation_xyzw)
    if not abs(norm - 1) <= _NORM_TOLERANCE:
        raise WebXrMessageError(
            "value",
            f"the rotation of {name} is {pose.rotation_xyzw} with the norm {norm:g}, wanted a unit quaternion x, y, z, "
            "w: are these Euler angles, or a part of a matrix?",
        )
