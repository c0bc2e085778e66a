"""The format of the messages between a headset's browser and the server."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodystream.errors import InputError
from bodystream.geometry.hands import hand_bytes
from bodystream.sources.headset.webxr_messages import (
    End,
    HandPose,
    Hello,
    Ping,
    PoseMessage,
    RigidPose,
    WebXrMessageError,
    decode_client,
    decode_server,
    encode,
    tracked_device,
)
from bodystream.types import DeviceKind
from bodystream.web.limits import MAX_MESSAGE_BYTES
from helpers.hands import a_hand

HEAD = {"position_m": [0.1, 1.6, -0.2], "rotation_xyzw": [0, 0, 0, 1]}
POSE = {"type": "pose", "seq": 3, "t_ms": 1234.5, "head": HEAD}


def pose(**changes: Any) -> str:
    return json.dumps({**POSE, **changes})


def refused(text: str | bytes) -> WebXrMessageError:
    with pytest.raises(WebXrMessageError) as caught:
        decode_client(text)
    return caught.value


def test_messages_as_the_documentation_writes_them() -> None:
    assert decode_client('{"type":"hello","version":1,"space":"local-floor","user_agent":"x"}') == Hello(
        1, "local-floor", "x"
    )
    assert decode_client('{"type":"end"}') == End()
    hand = {"kind": "hand-wrist", "position_m": [0, 1, 0], "rotation_xyzw": [0, 0, 0, 1], "emulated": True}
    message = decode_client(pose(left=None, right=hand, display_ms=1250.0, one_day="more"))
    assert isinstance(message, PoseMessage)
    assert message.head == RigidPose((0.1, 1.6, -0.2), (0.0, 0.0, 0.0, 1.0))
    assert message.left is None
    assert message.right == HandPose((0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0), True, kind="hand-wrist")
    assert message.display_ms == 1250.0
    assert decode_server('{"type":"ping","id":7}') == Ping(7)


def test_a_sample_with_both_hands_fits_many_times() -> None:
    value = -1.2345678901234567
    rotation = (0.4999999999999999, -0.5, 0.5, -0.5000000000000001)
    hand = HandPose((value, value, value), rotation, True, kind="hand-wrist")
    message = PoseMessage(2**52, 123456789.12345678, RigidPose((value,) * 3, rotation, True), hand, hand, 1e8 + 1 / 3)
    assert len(encode(message)) < MAX_MESSAGE_BYTES / 4
    whole = msgspec.structs.replace(hand, joints=hand_bytes(a_hand()))
    assert len(encode(msgspec.structs.replace(message, left=whole, right=whole))) < 0.75 * MAX_MESSAGE_BYTES


def test_joints_of_a_hand_arrive_normalised() -> None:
    hand = a_hand(5)
    loose = replace(hand, wrist_from_joint_xyzw=hand.wrist_from_joint_xyzw * np.float32(-1.01))
    text = base64.b64encode(hand_bytes(loose)).decode()
    message = decode_client(pose(left={**HEAD, "kind": "hand-wrist", "joints": text}))
    assert isinstance(message, PoseMessage) and message.left is not None
    found = tracked_device("left", message.left).hand
    assert found is not None
    np.testing.assert_array_equal(found.in_wrist_m, hand.in_wrist_m)
    np.testing.assert_array_equal(found.radii_m, hand.radii_m)
    np.testing.assert_allclose(found.wrist_from_joint_xyzw, hand.wrist_from_joint_xyzw, atol=1e-6)


def joints(change: Callable[[np.ndarray], object] = lambda numbers: None, count: int = 25) -> str:
    numbers = np.frombuffer(hand_bytes(a_hand()), "<f4").reshape(25, 8).copy()
    change(numbers)
    return base64.b64encode(np.resize(numbers, (count, 8)).tobytes()).decode()


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        (joints(count=24), "hand-wrist", "the left hand have 768 bytes, wanted 800"),
        (joints(count=26), "hand-wrist", "the left hand have 832 bytes, wanted 800"),
        ("", "hand-wrist", "have 0 bytes"),
        (
            joints(lambda n: n.__setitem__((9, 0), math.nan)),
            "hand-wrist",
            "index-finger-tip of the left hand has nan m",
        ),
        (joints(lambda n: n.__setitem__((9, 0), 5.0)), "hand-wrist", "index-finger-tip of the left hand has 5 m"),
        (joints(lambda n: n.__setitem__((2, slice(3, 7)), 0)), "hand-wrist", "0 as the norm of its quaternion"),
        (joints(lambda n: n.__setitem__((2, 7), 3.0)), "hand-wrist", "3 m as its radius"),
        (joints(), "grip", "joints go with hand-wrist only"),
    ],
)
def test_joints_that_cannot_be_are_refused_by_name(text: str, kind: str, says: str) -> None:
    message = decode_client(pose(left={**HEAD, "kind": kind, "joints": text}))
    assert isinstance(message, PoseMessage) and message.left is not None
    with pytest.raises(WebXrMessageError, match=says) as caught:
        tracked_device("left", message.left)
    assert caught.value.code == "value"


finite = st.floats(-100, 100)
rotations = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: math.hypot(*q) > 0.1)


@settings(deadline=None)
@given(st.tuples(finite, finite, finite), rotations, st.sampled_from(["grip", "hand-wrist"]), st.booleans())
def test_a_pose_comes_back_as_it_was_sent(position, rotation, kind, emulated) -> None:
    unit = tuple(float(v) for v in np.array(rotation) / math.hypot(*rotation))
    sent = PoseMessage(1, 2.5, None, HandPose(position, unit, emulated, kind=kind), None, 3.5)
    message = decode_client(encode(sent))
    assert message == sent
    device = tracked_device("left", message.left)
    np.testing.assert_array_equal(device.position_m, position)
    assert device.kind is DeviceKind(kind)
    # q and -q are the same rotation; w >= 0 is ours.
    np.testing.assert_allclose(device.rotation_xyzw * np.copysign(1, unit[3]), unit, atol=1e-12)
    assert device.rotation_xyzw[3] >= 0


@pytest.mark.parametrize("scale", [0.99, 1.01])
def test_a_quaternion_that_was_rounded_is_normalised(scale: float) -> None:
    message = decode_client(pose(head={**HEAD, "rotation_xyzw": [0, 0.6 * scale, 0, -0.8 * scale]}))
    device = tracked_device("head", message.head)
    np.testing.assert_allclose(device.rotation_xyzw, [0, -0.6, 0, 0.8], atol=1e-12)
    assert device.kind is DeviceKind.VIEW


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        b"\xff\xfe",
        '"\\ud800"',
        "\ud800",
        '{"type":"pose"}',
        '{"type":"nothing"}',
        '{"version":1}',
        pose(seq=-1),
        pose(left={**HEAD, "kind": "hand-wrist", "joints": "no base64!"}),
        pose(left={**HEAD, "kind": "hand-wrist", "joints": [0.5] * 200}),
        pose(left={**HEAD, "kind": "hand-wrist", "joints": 7}),
        pose(seq=1.5),
        pose(seq=2**60),
        pose(t_ms="1"),
        pose(t_ms=True),
        pose(t_ms=None),
        pose(head=[]),
        pose(head={"position_m": [0, 0], "rotation_xyzw": [0, 0, 0, 1]}),
        pose(left=HEAD),  # of which kind?
        pose(left={**HEAD, "kind": "elbow"}),
        '{"type":"hello","version":1,"space":"viewer"}',
        '{"type":"hello","version":1,"space":"local","rate_hz":0}',
        json.dumps({"type": "hello", "version": 1, "space": "local", "user_agent": "x" * 600}),
        '{"type":"pose","t_ms":NaN}',
        '{"x":' + "[" * 4000,
    ],
)
def test_what_is_not_of_the_format_is_malformed(text: str | bytes) -> None:
    error = refused(text)
    assert error.code == "malformed"
    assert isinstance(error, InputError)
    assert len(str(error)) < 300


def test_a_message_that_is_too_long_is_not_parsed() -> None:
    assert "at most 4096" in str(refused(pose(more="x" * MAX_MESSAGE_BYTES)))


@pytest.mark.parametrize(
    ("changes", "code", "cause"),
    [
        ({"head": {**HEAD, "position_m": [0, 160.0, 0]}}, "value", "centimetres"),
        ({"left": {**HEAD, "kind": "grip", "position_m": [0, 0, -900]}}, "value", "position of left"),
        ({"head": {**HEAD, "rotation_xyzw": [0, 0, 0, 0]}}, "value", "unit quaternion"),
        ({"head": {**HEAD, "rotation_xyzw": [10, 20, 30, 40]}}, "value", "Euler angles"),
        ({"head": {**HEAD, "rotation_xyzw": [0, 0, 1e300, 1e300]}}, "value", "unit quaternion"),
        ({"t_ms": 1e200}, "time", "performance.now()"),
        ({"t_ms": -1e14}, "time", "performance.now()"),
    ],
)
def test_values_without_sense_name_the_likely_cause(changes: dict, code: str, cause: str) -> None:
    error = refused(pose(**changes))
    assert error.code == code
    assert cause in str(error)


def test_numbers_beyond_a_float_are_refused() -> None:
    error = refused('{"type":"pose","seq":1,"t_ms":1e999,"head":null}')
    assert error.code in ("malformed", "time")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=10,
)
almost_messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["hello", "pose", "pong", "reset", "visibility", "end", "welcome"])},
    optional={
        key: json_values | st.just(value)
        for key, value in {
            "version": 1, "space": "local", "seq": 1, "t_ms": 1.0, "id": 1, "head": HEAD, "state": "hidden",
            "left": {**HEAD, "kind": "grip"}, "right": None, "display_ms": 2.0, "user_agent": "x", "reason": "y",
        }.items()
    },
)  # fmt: skip
anything = st.binary(max_size=200) | st.text(max_size=200) | (json_values | almost_messages).map(json.dumps)


@settings(max_examples=200, deadline=None)
@given(anything)
def test_any_input_is_a_message_or_a_typed_error(data: str | bytes) -> None:
    try:
        message = decode_client(data)
    except WebXrMessageError:
        return
    if isinstance(message, PoseMessage):
        for device in (message.head, message.left, message.right):
            if device is not None:
                assert np.isfinite(tracked_device(device).position_m).all()
                np.testing.assert_allclose(np.linalg.norm(tracked_device(device).rotation_xyzw), 1, atol=1e-12)
    assert decode_client(encode(message)) == message
