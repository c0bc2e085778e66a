"""Mutated recordings, messages and calibrations are read or refused by name, through all checks of a stream."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import BodystreamError
from bodystream.geometry.hands import HAND_JOINTS, hand_bytes
from bodystream.pose.calibration import Calibration
from bodystream.pose.person import StatureEstimator
from bodystream.sources.headset.axes import AxisConversion
from bodystream.sources.headset.checks import SampleChecker
from bodystream.sources.headset.open import open_headset
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.headset.table import write_headset_csv
from bodystream.sources.headset.trace import parse_trace
from bodystream.sources.headset.webxr_limits import SessionLimits, WireCounts
from bodystream.sources.headset.webxr_messages import decode_client, tracked_device
from bodystream.sources.headset.webxr_session import HeadsetSession
from bodystream.types import DeviceKind
from helpers.fuzzing import fuzz, fuzz_file
from helpers.hands import a_hand
from helpers.headset_motions import walking

HEAD = [0.1, 1.6, 0.2, 0.0, 0.0, 0.0, 1.0]
IWER = {
    "schema": [
        [0, {"handedness": "left", "hasGrip": True}],
        [1, {"handedness": "right", "hasGrip": True, "hasHand": True, "jointSequence": ["thumb-tip", "wrist"]}],
    ],
    "frames": [
        [11.1 * k, *HEAD, [0, *HEAD, HEAD, [[0], 0.5]], [1, *HEAD, HEAD if k else None, [0.1] * 16]] for k in range(6)
    ],
}
HANDS = {
    "schema": [[0, {"handedness": "left", "hasHand": True, "jointSequence": list(HAND_JOINTS)}]],
    "frames": [[11.1 * k, *HEAD, [0, *HEAD, [0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 1.0, 0.01] * 25]] for k in range(4)],
}
AFRAME_POSE = {"position": {"x": 0.1, "y": 1.6, "z": -0.2}, "rotation": {"x": 10, "y": 20, "z": 30}}
AFRAME = {
    "camera": {"poses": [{**AFRAME_POSE, "timestamp": 11 * k} for k in range(6)]},
    "left": {"poses": [{**AFRAME_POSE, "timestamp": 11 * k} for k in range(6)]},
    "right": {"poses": [{"position": None, "rotation": {"x": None, "y": 0, "z": 1}, "timestamp": 11}]},
}


def check(data: bytes) -> None:
    trace = parse_trace(data, "take")
    checker = SampleChecker()
    checker.prime(trace.samples)
    for sample in trace.samples:
        checked = checker.check(sample).sample
        assert -(2**62) < sample.t_ns < 2**62
        if checked is not None and checked.head is not None:
            assert abs(float(checked.head.rotation_xyzw @ checked.head.rotation_xyzw) - 1.0) < 1e-6


@pytest.mark.parametrize("content", [IWER, HANDS, AFRAME], ids=["iwer", "hands", "aframe"])
def test_fuzz_of_traces(content: dict) -> None:
    fuzz(check, [json.dumps(content).encode(), json.dumps(content, indent=1).replace("null", "NaN").encode()])


def test_fuzz_of_tables(tmp_path: Path) -> None:
    samples = list(MotionHeadset(walking(0.1)))
    wrist = [None if s.left is None else replace(s.left, kind=DeviceKind.HAND_WRIST, hand=a_hand()) for s in samples]
    write_headset_csv(tmp_path / "a.csv", [replace(s, left=w) for s, w in zip(samples, wrist, strict=True)])
    plain = "t_s;" + ";".join(f"head_{part}" for part in ("px", "py", "pz", "qx", "qy", "qz", "qw"))
    rows = [f"{k * 0.0111:.4f};" + ";".join(map(str, HEAD)) for k in range(40)]
    fuzz(check, [(tmp_path / "a.csv").read_bytes(), "\r\n".join([plain, *rows]).encode()])


def test_fuzz_of_calibrations(tmp_path: Path) -> None:
    StatureEstimator().calibration().save(tmp_path / "me.json")
    fuzz_file(Calibration.load, [(tmp_path / "me.json").read_bytes()], tmp_path / "other.json")


POSE = {"position_m": [0.1, 1.6, -0.2], "rotation_xyzw": [0, 0, 0, 1]}
JOINTS = base64.b64encode(hand_bytes(a_hand())).decode()
MESSAGES = [
    {"type": "hello", "version": 1, "space": "local-floor", "user_agent": "x", "rate_hz": 90.0},
    {"type": "pong", "id": 1, "t_ms": 12.5},
    {"type": "pose", "seq": 3, "t_ms": 12.5, "display_ms": 30.0, "head": POSE, "left": {**POSE, "kind": "grip"}},
    {"type": "pose", "seq": 4, "t_ms": 13.5, "head": POSE, "right": {**POSE, "kind": "hand-wrist", "joints": JOINTS}},
    {"type": "visibility", "state": "hidden"},
    {"type": "reset"},
    {"type": "end", "reason": "over"},
]


def test_fuzz_of_messages() -> None:
    def read(data: bytes) -> None:
        message = decode_client(data)
        for side in ("head", "left", "right"):
            pose = getattr(message, side, None)
            if pose is not None:
                hand = tracked_device(side, pose).hand
                assert hand is None or np.isfinite(hand_bytes(hand) and hand.in_wrist_m).all()

    fuzz(read, [json.dumps(message).encode() for message in MESSAGES])


def test_fuzz_of_conversations() -> None:
    """Nothing that a client says raises, whatever was said before."""
    session, now_ns = None, 10**15

    def say(data: bytes) -> None:
        nonlocal session, now_ns
        if session is None or session.close is not None or session.ended:
            session = HeadsetSession(lambda s: None, lambda k, t: None, WireCounts(), now_ns, SessionLimits())
            session.receive(json.dumps(MESSAGES[0]).encode(), now_ns)
        now_ns += 20_000_000
        session.receive(data, now_ns)
        session.tick(now_ns)

    fuzz(say, [json.dumps(message).encode() for message in MESSAGES[:6]])


def test_fuzz_of_what_is_typed() -> None:
    """Names of sources and axes; none of them opens anything that is there."""

    def axes(data: bytes) -> None:
        AxisConversion(data.decode("latin-1"))

    def source(data: bytes) -> None:
        text = data.decode("latin-1")
        if text.partition(":")[0] not in ("openxr", "webxr"):
            open_headset(text)

    fuzz(axes, [b"RUB", b"FLU"])
    fuzz(_refusing(source), [b"trace:nowhere.json?realtime=1"], share=0.4)


def _refusing(parse):
    """The seeds name files that are not there."""

    def refused(data: bytes) -> None:
        try:
            parse(data)
        except BodystreamError:
            return

    return refused
