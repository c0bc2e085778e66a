"""Recordings of headsets: iwer action captures, A-Frame captures, which is which, and replay."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.hands import HAND_JOINTS
from bodystream.sources.headset import trace as trace_module
from bodystream.sources.headset.aframe import WAND_FROM_GRIP_M
from bodystream.sources.headset.base import HeadsetSource
from bodystream.sources.headset.trace import TraceHeadset, parse_trace, read_trace
from bodystream.timing import now_ns
from bodystream.types import DeviceKind

SECOND_NS = 1_000_000_000
HEAD = [0.1, 1.6, 0.2, 0.0, 0.0, 0.0, 1.0]
GRIP = [0.3, 1.0, -0.2, 0.0, 0.6, 0.0, 0.8]
RAY = [0.2, 1.1, -0.3, 0.0, 0.6, 0.0, 0.8]
JOINTS = ["thumb-tip", "wrist", "index-finger-tip"]


def iwer_content():
    """Right controller (index 0), left hand (1), gaze of no hand (2); inputs out of order, and missing."""
    schema = [
        [0, {"handedness": "right", "targetRayMode": "tracked-pointer", "hasGrip": True, "hasHand": False}],
        [
            1,
            {
                "handedness": "left",
                "targetRayMode": "tracked-pointer",
                "hasGrip": True,
                "hasHand": True,
                "jointSequence": JOINTS,
            },
        ],
        [2, {"handedness": "none", "targetRayMode": "gaze", "hasGrip": False, "hasHand": False}],
    ]
    hand = [9.0] * 8 + [0.0, 0.1, 0.0, 1.0, 0.0, 0.0, 0.0, 0.02] + [9.0] * 8
    controller = [0, *RAY, GRIP, [[0, 0, 0], 0.5]]
    tracked = [1, *RAY, GRIP, hand]
    frames = [
        [1000.0, *HEAD, tracked, [2, *RAY], controller],
        [1011.1, *HEAD, controller, tracked],
        [1022.2, *HEAD],
        [1033.3, *HEAD, tracked],
    ]
    return json.loads(
        json.dumps({"schema": schema, "frames": frames})
    )  # nothing is shared, so that tests may change it


def aframe_content(left="left", right="right"):
    def poses(times, x):
        return [
            {"position": {"x": x, "y": 1.0, "z": t / 1000}, "rotation": {"x": 10, "y": 20, "z": 30}, "timestamp": t}
            for t in times
        ]

    return {
        "camera": {"poses": poses([100, 110, 120, 130, 140], 0.0), "events": []},
        left: {"poses": poses([95, 105, 115, 125, 135, 145], -0.3), "events": []},
        right: {"poses": poses([110, 130], 0.3), "events": []},
    }


def parse(content):
    return parse_trace(msgspec.json.encode(content), "take.json")


def test_iwer_devices():
    trace = parse(iwer_content())
    assert [sample.t_ns for sample in trace.samples] == [0, 11_100_000, 22_200_000, 33_300_000]
    assert [sample.device_t_ns for sample in trace.samples][0] == SECOND_NS
    kinds = [(s.left and s.left.kind, s.right and s.right.kind) for s in trace.samples]
    wrist, grip = DeviceKind.HAND_WRIST, DeviceKind.GRIP
    assert kinds == [(wrist, grip), (wrist, grip), (None, None), (wrist, None)]
    assert trace.rate_hz == pytest.approx(1000 / 11.1)
    first = trace.samples[0]
    assert first.head.kind is DeviceKind.VIEW
    np.testing.assert_allclose(first.head.position_m, HEAD[:3])
    np.testing.assert_allclose(first.right.position_m, GRIP[:3])
    np.testing.assert_allclose(first.right.rotation_xyzw, GRIP[3:])


def test_iwer_hand_joints_are_relative_to_the_ray():
    left = parse(iwer_content()).samples[0].left
    turn = Rotation.from_quat(RAY[3:])
    np.testing.assert_allclose(left.position_m, np.array(RAY[:3]) + turn.apply([0.0, 0.1, 0.0]), atol=1e-12)
    want = (turn * Rotation.from_quat([1.0, 0.0, 0.0, 0.0])).as_quat(canonical=True)
    assert abs(left.rotation_xyzw @ want) == pytest.approx(1.0)


def test_iwer_hand_that_is_written_as_zeros_falls_back_to_its_grip():
    content = iwer_content()
    content["frames"][0][8][9][8:16] = [0.0] * 8
    assert parse(content).samples[0].left.kind is DeviceKind.GRIP


def test_iwer_hand_tracking_wins_over_a_controller_of_the_same_hand():
    content = iwer_content()
    content["schema"][0][1]["handedness"] = "left"
    trace = parse(content)
    assert trace.samples[0].left.kind is trace.samples[1].left.kind is DeviceKind.HAND_WRIST
    assert trace.samples[0].right is None


def hand_content():
    """A left hand with all joints, 1 cm apart along the ray's x, the wrist in the middle of the list."""
    content = iwer_content()
    order = [*HAND_JOINTS[1:14], "wrist", *HAND_JOINTS[14:], "palm"]
    content["schema"][1][1]["jointSequence"] = order
    hand = [number for k in range(26) for number in (0.01 * k, 0.0, 0.0, 0.0, 0.6, 0.0, 0.8, 0.001 * k)]
    for frame in content["frames"]:
        for record in frame[8:]:
            if record[0] == 1:
                record[9] = list(hand)
    return content


def test_iwer_joints_are_seen_from_the_wrist_in_webxrs_order():
    hand = parse(hand_content()).samples[0].left.hand
    steps = np.array([0, *range(-13, 0), *range(1, 12)]) * 0.01  # along the ray's x, from the wrist
    back = Rotation.from_quat([0.0, 0.6, 0.0, 0.8]).inv()
    np.testing.assert_allclose(hand.in_wrist_m, back.apply(steps[:, None] * [1.0, 0.0, 0.0]), atol=1e-7)
    np.testing.assert_allclose(hand.wrist_from_joint_xyzw, np.tile([0, 0, 0, 1.0], (25, 1)), atol=1e-7)
    np.testing.assert_allclose(hand.radii_m[:2], [0.013, 0.0], atol=1e-7)


@pytest.mark.parametrize("number", [8, 15])
def test_iwer_hand_whose_joint_is_lost_is_a_wrist_alone(number):
    content = hand_content()
    content["frames"][0][8][9][number] = None
    left = parse(content).samples[0].left
    assert left.kind is DeviceKind.HAND_WRIST and left.hand is None
    assert parse(content).samples[1].left.hand is not None


def test_iwer_joint_away_from_its_hand_is_named():
    content = hand_content()
    content["frames"][1][9][9][8] = 5.0
    with pytest.raises(InputError, match="take.json, frame 1: the hand of input 1 has .* m from the wrist"):
        parse(content)


def test_quest_recording(shared_data):
    """20 s: controllers, hands, controllers; 54 ms and 107 ms without input; a second with the right hand only."""
    trace = read_trace(shared_data / "headset" / "quest3_session.json")
    assert len(trace.samples) == 1796 and trace.rate_hz == pytest.approx(89.5, abs=0.5) and not trace.warnings
    kinds = Counter((s.left and s.left.kind.value, s.right and s.right.kind.value) for s in trace.samples)
    assert kinds[("grip", "grip")] == 1027 and kinds[("hand-wrist", "hand-wrist")] == 666
    assert kinds[(None, "hand-wrist")] == 90 and kinds[(None, None)] == 12
    hands = [d.hand for s in trace.samples for d in (s.left, s.right) if d is not None and d.hand is not None]
    assert len(hands) == 667 + 756
    fingertips = np.linalg.norm([hand.in_wrist_m[HAND_JOINTS.index("middle-finger-tip")] for hand in hands], axis=1)
    assert 0.05 < fingertips.min() and fingertips.max() < 0.22
    # The wrist does not jump when hands take over from controllers: both are in the world.
    for side in ("left", "right"):
        devices = [(s.t_ns, getattr(s, side)) for s in trace.samples if getattr(s, side) is not None]
        change = next(k for k, (_, d) in enumerate(devices) if d.kind is DeviceKind.HAND_WRIST)
        assert np.linalg.norm(devices[change][1].position_m - devices[change - 1][1].position_m) < 0.25
        tracked = [d for _, d in devices if d.kind is DeviceKind.HAND_WRIST]
        steps = np.linalg.norm(np.diff([d.position_m for d in tracked], axis=0), axis=1)
        assert np.percentile(steps, 99) < 0.03


@pytest.mark.parametrize("keys", [("left", "right"), ("leftHand", "rightHand")])
@pytest.mark.parametrize("wrapped", [False, True])
def test_aframe_devices(keys, wrapped):
    content = aframe_content(*keys)
    trace = parse({"avatar": {}, "recording": content} if wrapped else content)
    assert [sample.t_ns for sample in trace.samples] == [k * 10_000_000 for k in range(5)]
    head = trace.samples[0].head
    c, s = np.cos(np.radians([10, 20, 30])), np.sin(np.radians([10, 20, 30]))
    rx = np.array([[1, 0, 0], [0, c[0], -s[0]], [0, s[0], c[0]]])
    ry = np.array([[c[1], 0, s[1]], [0, 1, 0], [-s[1], 0, c[1]]])
    rz = np.array([[c[2], -s[2], 0], [s[2], c[2], 0], [0, 0, 1]])
    want = ry @ rx @ rz
    np.testing.assert_allclose(Rotation.from_quat(head.rotation_xyzw).as_matrix(), want, atol=1e-12)
    for sample in trace.samples:  # positions are linear in time, so interpolation is exact
        t = sample.device_t_ns * 1e-9
        np.testing.assert_allclose(sample.left.position_m, [-0.3, 1.0, t] + want @ WAND_FROM_GRIP_M, atol=1e-9)
        assert sample.left.kind is DeviceKind.GRIP
    assert [sample.right is not None for sample in trace.samples] == [False, True, True, True, False]


def test_aframe_gap_in_a_hand_track_is_a_lost_hand():
    content = aframe_content()
    for k, pose in enumerate(content["right"]["poses"]):
        pose["timestamp"] = (100, 220)[k]
    assert [sample.right is not None for sample in parse(content).samples] == [True, False, False, False, False]


LOST_POSES = {
    "null numbers": lambda p: p.update(position=dict.fromkeys("xyz"), rotation=dict.fromkeys("xyz")),
    "null parts": lambda p: p.update(position=None, rotation=None),
    "null position": lambda p: p.update(position=None),
    "no parts": lambda p: (p.pop("position"), p.pop("rotation")),
    "empty parts": lambda p: p.update(position={}, rotation={}),
    "one null": lambda p: p["position"].update(y=None),
    "one missing": lambda p: p["rotation"].pop("z"),
    "empty words": lambda p: p.update(position=dict.fromkeys("xyz", ""), rotation=dict.fromkeys("xyz", "")),
    "words": lambda p: p.update(position=dict.fromkeys("xyz", "NaN"), rotation=dict.fromkeys("xyz", "undefined")),
    "not numbers": lambda p: p["position"].update(x=float("nan")),
}


@pytest.mark.parametrize("lose", LOST_POSES.values(), ids=LOST_POSES)
@pytest.mark.parametrize("side", ["left", "camera"])
def test_aframe_poses_without_numbers_are_lost(side, lose):
    whole, content = parse(aframe_content()), aframe_content()
    lose(content[side]["poses"][2])
    trace = parse_trace(json.dumps(content).encode(), "take.json")
    assert not trace.warnings and [s.t_ns for s in trace.samples] == [s.t_ns for s in whole.samples]
    heads = [sample.head is not None for sample in trace.samples]
    lefts = [sample.left is not None for sample in trace.samples]
    if side == "camera":
        assert heads == [True, True, False, True, True] and all(lefts)
    else:  # its times are 95, 105, ...: both samples beside the lost pose are
        assert lefts == [True, False, False, True, True] and all(heads)
    for got, want in zip(trace.samples, whole.samples, strict=True):
        for name in ("head", "left", "right"):
            if getattr(got, name) is not None:
                np.testing.assert_array_equal(getattr(got, name).position_m, getattr(want, name).position_m)
                np.testing.assert_array_equal(getattr(got, name).rotation_xyzw, getattr(want, name).rotation_xyzw)


def test_aframe_null_in_the_place_of_a_pose():
    content = aframe_content()
    content["left"]["poses"][2] = None
    trace = parse(content)
    assert all(sample.left is not None for sample in trace.samples)  # 105 and 125 ms are near enough to each other
    content["left"]["poses"] = [None, *([{"position": None, "rotation": None, "timestamp": None}] * 3)]
    trace = parse(content)
    assert all(sample.left is None for sample in trace.samples) and "left hand" in trace.warnings[0]


LOST_INPUTS = {
    "null": lambda frame: frame.__setitem__(8, None),
    "null numbers": lambda frame: frame.__setitem__(8, [0, *[None] * 7, [None] * 7]),
    "null grip": lambda frame: frame[8].__setitem__(8, None),
    "one null": lambda frame: frame[8][8].__setitem__(1, None),
    "words": lambda frame: frame.__setitem__(8, [0, *["nan"] * 7, [""] * 7]),
    "not numbers": lambda frame: frame[8].__setitem__(8, [float("nan")] * 7),
    "cut": lambda frame: frame.__setitem__(8, frame[8][:8]),
}


@pytest.mark.parametrize("lose", LOST_INPUTS.values(), ids=LOST_INPUTS)
def test_iwer_inputs_without_numbers_are_lost(lose):
    content = iwer_content()
    lose(content["frames"][1])
    trace = parse_trace(json.dumps(content).encode(), "take.json")
    assert [sample.right is not None for sample in trace.samples] == [True, False, False, False]
    assert [sample.left is not None for sample in trace.samples] == [True, True, False, True]


def test_iwer_hand_with_null_joints_falls_back_to_its_grip_and_a_head_may_be_null():
    content = iwer_content()
    content["frames"][0][8][9][8:16] = [None] * 8
    content["frames"][3][1:8] = [None] * 7
    trace = parse(content)
    assert trace.samples[0].left.kind is DeviceKind.GRIP
    assert [sample.head is not None for sample in trace.samples] == [True, True, True, False]


def test_aframe_rotation_takes_the_short_way():
    content = aframe_content()
    for k, pose in enumerate(content["left"]["poses"]):
        pose["rotation"] = {"x": 0, "y": 179 if k % 2 else -179, "z": 0}
    for sample in parse(content).samples:
        forward = Rotation.from_quat(sample.left.rotation_xyzw).apply([0, 0, -1])
        assert forward[2] > 0.99


def test_aframe_without_a_hand_says_so():
    content = aframe_content()
    del content["left"]
    trace = parse(content)
    assert all(sample.left is None for sample in trace.samples)
    assert any("left hand" in warning for warning in trace.warnings)
    assert trace.warnings[0] in TraceHeadset(trace).counts.warnings


def test_aframe_times_out_of_order_are_left_out_and_told():
    content = aframe_content()
    content["camera"]["poses"][2]["timestamp"] = 50
    trace = parse(content)
    assert len(trace.samples) == 4 and any("not after the one before" in warning for warning in trace.warnings)


@pytest.mark.parametrize(
    ("name", "seconds", "rate", "height"),
    [
        ("tracked", 29.2, 88.7, 1.64),
        ("grab_right", 16.3, 89.0, 1.44),
        ("dev", 9.3, 88.0, 1.45),
        ("dance", 17.0, 90.5, 1.65),
    ],
)
def test_vive_recordings(shared_data, name, seconds, rate, height):
    trace = read_trace(shared_data / "headset" / f"vive_{name}.json")
    assert trace.samples[-1].t_ns * 1e-9 == pytest.approx(seconds, abs=0.1)
    assert trace.rate_hz == pytest.approx(rate, abs=1.0)
    assert np.mean([s.head.position_m[1] for s in trace.samples]) == pytest.approx(height, abs=0.02)
    assert all(s.left is not None and s.right is not None for s in trace.samples) and not trace.warnings


def test_replay_keeps_distances_in_time_on_the_host_clock():
    source = TraceHeadset(parse(iwer_content()))
    assert isinstance(source, HeadsetSource) and not source.live
    before = now_ns()
    samples = list(source)
    assert before <= samples[0].t_ns <= now_ns()
    assert [s.t_ns - samples[0].t_ns for s in samples] == [0, 11_100_000, 22_200_000, 33_300_000]
    assert source.counts.delivered == 4 and source.counts.lost == 0


def test_replay_in_real_time_never_comes_early():
    source = TraceHeadset(parse(iwer_content()), realtime=True)
    assert source.live
    for sample in source:
        assert now_ns() >= sample.t_ns


def test_closing_ends_a_replay_that_waits():
    content = iwer_content()
    content["frames"][1][0] = 1000.0 + 3_600_000
    source = TraceHeadset(parse(content), realtime=True)
    iterator = iter(source)
    next(iterator)
    threading.Timer(0.05, source.close).start()
    start = time.monotonic()
    assert next(iterator, None) is None
    assert time.monotonic() - start < 30
    source.close()


def broken(change):
    content = iwer_content()
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(frames=[]), "at least one frame"),
        (lambda c: c.update(frames={}), "`frames`"),
        (lambda c: c.update(schema=3), "`schema`"),
        (lambda c: c.update(schema=[[0]]), r"\[index, description\]"),
        (lambda c: c["schema"][0].__setitem__(0, 2**62), r"\[index, description\]"),
        (lambda c: c["schema"][0][1].update(handedness=4), "`handedness`"),
        (lambda c: c["schema"][1][1].update(jointSequence=["palm"]), "`wrist` among them"),
        (lambda c: c["frames"].__setitem__(2, [1.0, 2.0]), "frame 2"),
        (lambda c: c["frames"][1].__setitem__(0, "soon"), "frame 1: the time"),
        (lambda c: c["frames"][1].__setitem__(3, "1.5"), "frame 1: the head, number 2.*another format"),
        (lambda c: c["frames"][1].__setitem__(0, 3e12), "frame 1: the time is 95 years after"),
        (lambda c: c["frames"][1].__setitem__(3, 1e300), "frame 1: the head"),
        (lambda c: c["frames"][0].append([7, *RAY]), "input 7 is not in `schema`"),
        (lambda c: c["frames"][0].append([[], *RAY]), "not in `schema`"),
        (lambda c: c["frames"][0][8][9].pop(), "hand of input 1 has 23 numbers"),
        (lambda c: c["frames"][0][8].__setitem__(9, 5), "hand of input 1 must be a list"),
        (lambda c: c["frames"][0][10].__setitem__(8, [1, 2]), "grip of input 0 must be 7 numbers"),
        (lambda c: c["frames"][0].extend([[2, *RAY]] * 100), "inputs, at most"),
    ],
)
def test_broken_iwer_files_are_named(change, says):
    content = broken(change)
    with pytest.raises(InputError, match=says) as caught:
        parse(content)
    assert "take.json" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["camera"].update(poses=[]), "camera.*no poses"),
        (lambda c: c["camera"].update(poses=4), "list `poses`"),
        (lambda c: c["left"]["poses"][1].update(position=3), "left, pose 1: `position`"),
        (lambda c: [pose.pop("position") for pose in c["camera"]["poses"]], "camera.*none with position"),
        (lambda c: c["camera"]["poses"][-1].update(timestamp=3e12), "camera: the time is 95 years after"),
        (lambda c: c["left"]["poses"][1]["rotation"].update(w=1), "quaternion.*Euler degrees"),
        (lambda c: c["left"]["poses"][1]["rotation"].update(x="1"), "rotation.x"),
        (lambda c: c["right"]["poses"][0].pop("timestamp"), "right, pose 0: the timestamp"),
        (lambda c: c["right"].update(poses=[3]), "right, pose 0"),
    ],
)
def test_broken_aframe_files_are_named(change, says):
    content = aframe_content()
    change(content)
    with pytest.raises(InputError, match=says) as caught:
        parse(content)
    assert "take.json" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"\x00" * 100, "empty"),
        (b'{"schema": [', "not valid JSON.*truncated"),
        (b'{"schema": [], "frames": [[NaN]]}', "frame 0: wanted"),
        (b'{"schema": [], "frames": [NaN', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[NaN," + b"[" * 100_000, "not valid JSON"),
        (b"[1, 2]", "no known recording format"),
        (b'{"tracks": []}', "no known recording format.*tracks"),
        (b"\xff\xfe\x00\x01binary", "neither JSON nor UTF-8"),
        (b"hello", "t_ns, t_ms, t_s"),
    ],
)
def test_files_that_are_no_recording(data, says):
    with pytest.raises(InputError, match=says):
        parse_trace(data, "take")


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="nowhere.json"):
        read_trace(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="cannot read"):
        read_trace(tmp_path)
    (tmp_path / "large.json").write_bytes(b"x" * 100)
    monkeypatch.setattr(trace_module, "MAX_TRACE_BYTES", 99)
    with pytest.raises(InputError, match="cut it"):
        read_trace(tmp_path / "large.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def mutated(content, draw):
    """Replace or remove values somewhere in a valid file."""
    for _ in range(draw(st.integers(1, 3))):
        node = content
        for _ in range(draw(st.integers(0, 6))):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            deeper = [key for key in keys if isinstance(node[key], dict | list) and node[key]]
            if not deeper:
                break
            node = node[draw(st.sampled_from(deeper))]
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()):
            node[key] = draw(json_values)
        else:
            del node[key]
    return content


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([iwer_content, aframe_content]))
def test_mutated_recordings_give_samples_or_an_input_error(data, make):
    text = json.dumps(mutated(make(), data.draw)).encode()
    try:
        trace = parse_trace(text, "take.json")
    except InputError:
        return
    assert trace.samples and trace.samples[0].t_ns == 0
    for sample in trace.samples:
        for device in (sample.head, sample.left, sample.right):
            assert device is None or (device.position_m.shape == (3,) and device.rotation_xyzw.shape == (4,))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_are_an_input_error(data):
    with pytest.raises(InputError):
        parse_trace(data, "take")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000), st.integers(0, 255))
def test_a_flipped_byte_gives_samples_or_an_input_error(place, value):
    data = bytearray(msgspec.json.encode(iwer_content()))
    data[place % len(data)] = value
    try:
        assert parse_trace(bytes(data), "take.json").samples
    except InputError as error:
        assert "take.json" in str(error)
