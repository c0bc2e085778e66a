"""BD-24 over ZeroMQ: the message byte by byte as docs/send.md has it, and what subscribers get."""

from __future__ import annotations

import re
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, MissingDependencyError
from bodystream.geometry.mounting import device_at_joint
from bodystream.geometry.skeleton import HEAD, JOINTS, RIGHT_HAND
from bodystream.sinks.send import BD24_BYTES, ZmqSender, bd24_message
from bodystream.timing import now_ns
from bodystream.types import DeviceKind, HeadsetSample, Status
from helpers.sent_poses import angle_deg, driven_pose, generated_poses, t_pose_sent

PAGE = Path(__file__).resolve().parents[2] / "docs" / "send.md"


def read(message: bytes) -> tuple[dict[str, int], np.ndarray, np.ndarray, list[int]]:
    """Header, positions (24, 3), quaternions (24, 4) and flags of a message, number by number."""
    assert message[:4] == b"BD24" and len(message) == 808
    names = ("version", "joints", "number", "t_ns", "utc_ns", "status", "contacts")
    offsets = ((4, "H"), (6, "H"), (8, "Q"), (16, "q"), (24, "q"), (32, "B"), (33, "B"))
    header = {
        name: struct.unpack_from(f"<{kind}", message, at)[0] for name, (at, kind) in zip(names, offsets, strict=True)
    }
    assert message[34:40] == b"\0" * 6
    joints = [struct.unpack_from("<3f4fI", message, 40 + 32 * k) for k in range(24)]
    places, turns = np.array([j[:3] for j in joints]), np.array([j[3:7] for j in joints])
    return header, places, turns, [j[7] for j in joints]


def test_a_message_has_the_pose_of_each_joint() -> None:
    for driven in generated_poses(4):
        header, places, turns, flags = read(bd24_message(driven, 7))
        assert (header["version"], header["joints"], header["number"]) == (1, 24, 7)
        assert header["t_ns"] == driven.pose.t_ns and header["status"] == 2
        np.testing.assert_allclose(places[:22], driven.person.joints_m, atol=1e-6)
        for k in range(22):
            assert angle_deg(Rotation.from_quat(turns[k]).as_matrix(), driven.person.orientations[k]) < 0.01
        for hand, wrist, x in ((22, JOINTS.index("left_wrist"), -1.0), (23, JOINTS.index("right_wrist"), 1.0)):
            assert angle_deg(Rotation.from_quat(turns[hand]).as_matrix(), driven.person.orientations[wrist]) < 0.01
            away = driven.person.orientations[wrist].T @ (places[hand] - places[wrist])
            np.testing.assert_allclose(away / np.linalg.norm(away), [x, 0, 0], atol=1e-4)
        assert flags == [3] * 24, "nothing was measured, all of it follows"


def test_what_is_measured_is_told_from_what_is_inferred_and_from_what_is_lost() -> None:
    body = t_pose_sent()
    sample = HeadsetSample(
        0,
        5_000_000,
        device_at_joint(body.person.joints_m[HEAD], body.person.orientations[HEAD], DeviceKind.VIEW, "head"),
        None,
        device_at_joint(
            body.person.joints_m[RIGHT_HAND], body.person.orientations[RIGHT_HAND], DeviceKind.GRIP, "right"
        ),
    )
    header, _, _, flags = read(bd24_message(t_pose_sent(sample=sample, status=Status.DEGRADED), 0))
    assert header["status"] == 1
    assert [k for k, flag in enumerate(flags) if flag == 15] == [15, 21] and set(flags) == {3, 15}
    header, places, _, flags = read(bd24_message(t_pose_sent(sample=sample, status=Status.LOST), 0))
    assert header["status"] == 0 and flags == [0] * 24
    np.testing.assert_allclose(places[:22], body.person.joints_m, atol=1e-6)


@pytest.mark.parametrize(("contacts", "wanted"), [(None, 0), ((0, 0), 4), ((1, 0), 5), ((0, 1), 6), ((1, 1), 7)])
def test_standing_feet_are_bits(contacts: tuple[int, int] | None, wanted: int) -> None:
    given = None if contacts is None else np.array(contacts, bool)
    assert read(bd24_message(t_pose_sent(contacts=given), 0))[0]["contacts"] == wanted


def test_another_machine_is_told_the_time_of_day() -> None:
    body = t_pose_sent()
    rotations, root = body.pose.rotations_xyzw, body.pose.root_position_m
    driven = driven_pose(rotations, root)
    before_ns = time.time_ns()
    header = read(bd24_message(driven, 0))[0]
    age_ns = now_ns() - driven.pose.t_ns
    assert before_ns - age_ns - 50_000_000 <= header["utc_ns"] <= time.time_ns() - age_ns + 50_000_000


def test_the_page_has_the_layout() -> None:
    """Rows `offset | bytes | type` of docs/send.md add up to what is sent."""
    page = PAGE.read_text(encoding="utf-8")
    rows = [tuple(map(int, row)) for row in re.findall(r"^\| (\d+) \| (\d+) \| `", page, re.MULTILINE)]
    header, joint = [row for row in rows if row in rows[: rows.index((0, 12))]], rows[rows.index((0, 12)) :]
    assert [at for at, _ in header] == [0, 4, 6, 8, 16, 24, 32, 33, 34, 40]
    assert all(at + size == following for (at, size), (following, _) in zip(header, header[1:], strict=False))
    assert header[-1] == (40, 24 * 32) and sum(header[-1]) == BD24_BYTES == 808
    assert joint == [(0, 12), (12, 16), (28, 4)]


def test_subscribers_get_each_pose_and_others_cost_nothing() -> None:
    sender = ZmqSender("127.0.0.1", 0)
    context = zmq.Context()
    try:
        body = t_pose_sent()
        assert all(sender.send(body) for _ in range(200)), "nobody listens"
        listener = context.socket(zmq.SUB)
        listener.setsockopt(zmq.SUBSCRIBE, b"BD24")
        listener.setsockopt(zmq.RCVTIMEO, 200)
        listener.connect(f"tcp://127.0.0.1:{sender.port}")
        first = None
        for _ in range(100):
            assert sender.send(body)
            try:
                first = read(listener.recv())[0]["number"]
                break
            except zmq.Again:
                continue
        assert first is not None and first >= 200
        for k in range(1, 5):
            sender.send(body)
            assert read(listener.recv())[0]["number"] == first + k
        asleep = context.socket(zmq.SUB)  # it never reads
        asleep.setsockopt(zmq.SUBSCRIBE, b"")
        asleep.setsockopt(zmq.RCVHWM, 1)
        asleep.connect(f"tcp://127.0.0.1:{sender.port}")
        for _ in range(300):
            sender.send(body)
    finally:
        sender.close()
        context.destroy(linger=0)
    sender.close()


def test_a_port_in_use_is_named() -> None:
    sender = ZmqSender("127.0.0.1", 0)
    try:
        with pytest.raises(ConfigurationError, match=rf"zmq: port {sender.port} at 127\.0\.0\.1 .*in use.*another"):
            ZmqSender("127.0.0.1", sender.port)
    finally:
        sender.close()


def test_without_pyzmq_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zmq", None)
    with pytest.raises(MissingDependencyError, match=r"pyzmq .*pip install 'bodystream\[zmq\]'"):
        ZmqSender("127.0.0.1", 0)
