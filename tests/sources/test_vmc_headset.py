"""Head and hands by VMC: from devices or bones, from senders of all kinds, some of which send what they should not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, SourceError
from bodystream.geometry.mounting import device_at_joint
from bodystream.geometry.skeleton import HEAD, LEFT_HAND, RIGHT_HAND
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.sinks.send.vmc import vmc_bundles
from bodystream.sources.headset import vmc as vmc_module
from bodystream.sources.headset.base import HeadsetSource
from bodystream.sources.headset.open import open_headset
from bodystream.sources.headset.osc import read_osc
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.sources.headset.vmc import VmcHeadset
from bodystream.sources.headset.vmc_messages import VmcState
from bodystream.types import DeviceKind, HeadsetSample, Status, TrackedDevice
from helpers.drive_parts import ESTIMATOR
from helpers.headset_motions import walking
from helpers.osc_reference import encode_bundle, encode_message
from helpers.sent_poses import driven_pose, generated_poses

AHEAD = (0.0, 0.0, 0.0, 1.0)
SIDES = ("head", "left", "right")
MS = 1_000_000


def pose(address: str, name: str, place: Any, turn: Any = AHEAD, *more: float) -> bytes:
    """In Unity's axes, as a sender writes it."""
    return encode_message(f"/VMC/Ext/{address}", "s" + "f" * (7 + len(more)), name, *place, *turn, *more)


def headset(y: float = 1.6) -> bytes:
    return pose("Hmd/Pos", "HMD", (0.0, y, 0.0))


def controllers(left: str = "LeftController", right: str = "RightController", z: float = 0.3) -> tuple[bytes, bytes]:
    return pose("Con/Pos", left, (-0.3, 1.0, z)), pose("Con/Pos", right, (0.3, 1.1, z))


class Stage:
    """A source, somebody who sends to it, and what comes of it."""

    def __init__(self, **options: Any) -> None:
        self.told: list[str] = []
        self.source = VmcHeadset(0, on_status=self.told.append, **options)
        self.socket = self.another()
        self._samples = iter(self.source)
        self._first = True

    @staticmethod
    def another() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
        return made

    def send(self, *packets: bytes, by: socket.socket | None = None) -> None:
        for packet in packets:
            (by or self.socket).sendto(packet, ("127.0.0.1", self.source.port))

    def next(self, *packets: bytes) -> HeadsetSample:
        """The sample that these datagrams give; the first ones are sent twice, since the second moment shows what the
        first one consists of, and once the iteration is under way, since what waits before is old."""
        if self._first:
            self._first = False
            threading.Timer(0.05, lambda: self.send(*packets, *packets)).start()
            return next(sample for sample in self._samples if sample.index == 1)
        self.send(*packets)
        return next(self._samples)

    def close(self) -> None:
        self.source.close()
        self._samples.close()  # type: ignore[attr-defined]
        self.socket.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def assert_same(got: TrackedDevice | None, wanted: TrackedDevice, near_m: float = 1e-5) -> None:
    assert got is not None and got.kind is wanted.kind
    np.testing.assert_allclose(got.position_m, wanted.position_m, atol=near_m)
    between = Rotation.from_quat(got.rotation_xyzw).inv() * Rotation.from_quat(wanted.rotation_xyzw)
    assert np.degrees(between.magnitude()) < 0.01


def test_it_is_a_headset_source(stage: Stage) -> None:
    assert isinstance(stage.source, HeadsetSource)
    assert stage.source.live and stage.source.name == f"vmc:{stage.source.port}"
    assert stage.told == [
        f"waiting for VMC at 127.0.0.1, port {stage.source.port} (this machine only; vmc:{stage.source.port}"
        "?host=0.0.0.0 lets others in)"
    ]


@pytest.mark.parametrize("kind", [DeviceKind.GRIP, DeviceKind.HAND_WRIST])
def test_what_is_sent_by_us_comes_back(stage: Stage, kind: DeviceKind) -> None:
    for number, body in enumerate(generated_poses(3)):
        devices = [
            device_at_joint(body.person.joints_m[joint], body.person.orientations[joint], as_kind, side)
            for joint, as_kind, side in zip(
                (HEAD, LEFT_HAND, RIGHT_HAND), (DeviceKind.VIEW, kind, kind), SIDES, strict=True
            )
        ]
        given = HeadsetSample(number, 5 * MS, *devices)
        sent = driven_pose(body.pose.rotations_xyzw, body.pose.root_position_m, body.person.skeleton, given)
        sample = stage.next(*vmc_bundles(sent, 0.5 + number))
        assert sample.device_t_ns == 500 * MS + number * 1000 * MS and not sample.origin_moved
        for side, wanted in zip(SIDES, devices, strict=True):
            assert_same(getattr(sample, side), wanted)
    assert stage.source.counts.warnings == [] and stage.source.counts.lost <= 1, "but for the first, sent twice"


def test_an_avatars_bones_give_head_and_hands(stage: Stage) -> None:
    for body in generated_poses(3):
        sample = stage.next(*vmc_bundles(body, 0.0))
        for side, joint in zip(SIDES, (HEAD, LEFT_HAND, RIGHT_HAND), strict=True):
            wanted = device_at_joint(
                body.person.joints_m[joint], body.person.orientations[joint], DeviceKind.JOINT, side
            )
            assert_same(getattr(sample, side), wanted)


def test_bones_hang_on_a_root_that_moves_and_on_what_an_avatar_has(stage: Stage) -> None:
    turn = Rotation.from_euler("y", 90, degrees=True).as_quat()  # Unity: z becomes x
    bones = {"Hips": (0, 1, 0), "Spine": (0, 0.2, 0), "Head": (0, 0.4, 0.1), "LeftHand": (-0.5, 0.2, 0)}
    sample = stage.next(
        encode_bundle(
            pose("Root/Pos", "root", (2, 0, 3), turn, 1, 1, 1, 0, 0, 0),
            *(pose("Bone/Pos", name, place) for name, place in bones.items()),
            pose("Bone/Pos", "LeftIndexProximal", (9, 9, 9)),
        )
    )
    assert sample.head is not None and sample.left is not None and sample.right is None
    np.testing.assert_allclose(sample.head.position_m, [2.1, 1.6, -3.0], atol=1e-6)
    np.testing.assert_allclose(sample.left.position_m, [2.0, 1.4, -3.5], atol=1e-6)


def test_a_sender_that_stops_to_tell_of_devices_may_go_on_by_bones() -> None:
    state = VmcState()

    def tell(t_ms: int, *packets: bytes) -> TrackedDevice | None:
        for packet in packets:
            for message in read_osc(packet).messages:
                state.take(message, t_ms * MS)
        return state.head_and_hands(t_ms * MS)[0]

    bones = pose("Bone/Pos", "Hips", (0, 1, 0)), pose("Bone/Pos", "Head", (0, 0.6, 0))
    head = tell(0, headset(1.5), *bones)
    assert head is not None and head.kind is DeviceKind.VIEW and state.uses_devices
    assert tell(500, *bones) is None, "it may come back"
    head = tell(1100, *bones)
    assert head is not None and head.kind is DeviceKind.JOINT and not state.uses_devices


def test_bones_of_a_body_that_is_not_tracked_are_nobody(stage: Stage) -> None:
    body = generated_poses(1)[0]
    assert stage.next(*vmc_bundles(body, 0.0)).head is not None
    lost = driven_pose(body.pose.rotations_xyzw, body.pose.root_position_m, status=Status.LOST)
    assert stage.next(*vmc_bundles(lost, 0.1)).head is None


def test_hands_are_found_by_name_by_side_or_as_told() -> None:
    for left, right, options in (
        ("LeftHand", "RIGHT_HAND", {}),
        ("Controller (Left)", "LHR-1", {}),
        ("LHR-2", "LHR-1", {}),
        ("Con1", "Con2", {}),
        ("wrong right", "wrong left", {"left": "wrong right", "right": "wrong left"}),
    ):
        stage = Stage(**options)
        try:
            sample = stage.next(encode_bundle(headset(), *controllers(left, right)))
            assert sample.left is not None and sample.right is not None, (left, right)
            assert sample.left.position_m[0] < 0 < sample.right.position_m[0], (left, right)
            assert sample.left.kind is DeviceKind.GRIP
        finally:
            stage.close()


def test_arms_that_cross_do_not_exchange_the_hands(stage: Stage) -> None:
    for _ in range(100):
        stage.next(encode_bundle(headset(), *controllers("A", "B")))
    crossed = pose("Con/Pos", "A", (0.2, 1, 0.3)), pose("Con/Pos", "B", (-0.2, 1, 0.3))
    for _ in range(100):
        sample = stage.next(encode_bundle(headset(), *crossed))
    assert sample.left is not None and sample.left.position_m[0] > 0
    alone = stage.next(encode_bundle(headset(), crossed[0]), encode_bundle(headset(), crossed[0]))
    assert alone.left is not None


def test_who_looks_away_has_hands_on_their_own_sides(stage: Stage) -> None:
    back = Rotation.from_euler("y", 180, degrees=True).as_quat()
    sample = stage.next(encode_bundle(pose("Hmd/Pos", "HMD", (0, 1.6, 0), back), *controllers("A", "B")))
    assert sample.left is not None and sample.left.position_m[0] > 0, "what is on Unity's right"


def test_trackers_on_the_body_are_no_hands(stage: Stage) -> None:
    bodies = pose("Tra/Pos", "LHR-WAIST", (0, 1, 0)), pose("Tra/Pos", "left_foot", (-0.1, 0, 0))
    sample = stage.next(encode_bundle(headset(), *bodies))
    assert sample.head is not None and sample.left is None and sample.right is None
    wrist = pose("Tra/Pos", "left wrist tracker", (-0.4, 1, 0))
    sample = stage.next(encode_bundle(headset(), *bodies, wrist))
    assert sample.left is not None and sample.left.kind is DeviceKind.HAND_WRIST


def test_devices_as_they_are_count_more_than_those_scaled_to_an_avatar(stage: Stage) -> None:
    scaled, real = headset(0.9), pose("Hmd/Pos/Local", "HMD", (0.0, 1.7, 0.0))
    for _ in range(3):
        for packets in ([encode_bundle(scaled, real)], [encode_bundle(real, scaled)], [scaled, real]):
            sample = stage.next(*packets)
            assert sample.head is not None
    assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.7)
    assert stage.source.counts.lost <= 1


def test_a_moment_may_come_in_many_datagrams(stage: Stage) -> None:
    """Messages without a bundle, as small senders write them: one sample each round, with all of them."""
    left, right = controllers()
    for k in range(6):
        sample = stage.next(headset(1.5 + 0.01 * k), left, right)
        assert sample.head is not None and sample.left is not None and sample.right is not None
        assert sample.head.position_m[1] == pytest.approx(1.5 + 0.01 * k)


def test_a_moment_that_lost_a_part_ends_with_the_next_one(stage: Stage) -> None:
    left, right = controllers()
    stage.next(headset(), left, right)
    sample = stage.next(headset(1.4), left, headset(1.3))
    assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.4)
    assert sample.right is not None, "it was there just now"
    sample = stage.next(left, right)
    assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.3)


def test_bundles_of_the_future_do_not_wait(stage: Stage) -> None:
    """A sender whose clock is an hour ahead: its bundles count now, and those behind them, too."""
    ahead = (int(time.time()) + 2_208_988_800 + 3600) << 32
    began = time.monotonic()
    for k in range(5):
        sample = stage.next(encode_bundle(headset(1.5 + 0.01 * k), time_tag=ahead))
        assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.5 + 0.01 * k)
    sample = stage.next(encode_bundle(headset(1.7)))
    assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.7)
    assert time.monotonic() - began < 60, "minutes, were they waited for"
    assert stage.source.counts.warnings == []


def test_what_is_no_osc_is_told_once_and_left_out(stage: Stage) -> None:
    stage.next(headset())
    for _ in range(5):
        stage.send(b"GET / HTTP/1.1\r\n\r\n", b"", b"\xff" * 100, b"#bundle\0" + b"\0" * 7 + b"\1\0\0\0\x08/a\0\0")
    assert stage.next(headset(1.4)).head is not None
    (warning,) = stage.source.counts.warnings
    assert "a datagram is no OSC: neither a message nor a bundle" in warning and "are left out" in warning
    assert stage.source.counts.warning_times[warning] == 20


def test_vmc_of_another_version_is_told_once_and_left_out(stage: Stage) -> None:
    stage.next(headset())
    for _ in range(4):
        stage.send(
            encode_message("/VMC/Ext/Hmd/Pos", "sfff", "HMD", 0.0, 9.0, 0.0),
            encode_message("/VMC/Ext/Hmd/Pos", "issfffff", 1, "HMD", "x", 0.0, 9.0, 0.0, 0.0, 1.0),
            encode_message("/VMC4/Hmd", "s", "HMD"),
            encode_message("/VMC/Ext/OK", "s", "yes"),
            encode_message("/VMC/Ext/T", "s", "noon"),
        )
    stage.send(encode_message("/VMC/Ext/Blend/Val", "sf", "Joy", 1.0), encode_message("/avatar/x", "i", 1))
    sample = stage.next(headset(1.4))
    assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.4)
    (warning,) = stage.source.counts.warnings
    assert "/VMC/Ext/Hmd/Pos with the arguments 'sfff', wanted a name, a position and a quaternion" in warning
    assert stage.source.counts.warning_times[warning] == 20


def test_numbers_that_are_no_pose_are_told_once_and_left_out(stage: Stage) -> None:
    stage.next(headset())
    nan = float("nan")
    for place, turn in (
        ((nan, 1, 0), AHEAD),
        ((0, 1, 0), (0, 0, 0, 0)),
        ((0, float("inf"), 0), AHEAD),
        ((0, 1e9, 0), AHEAD),
    ):
        stage.send(pose("Hmd/Pos", "HMD", place, turn))
    sample = stage.next(headset(1.4))
    assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.4)
    (warning,) = stage.source.counts.warnings
    assert "/VMC/Ext/Hmd/Pos of 'HMD' has numbers that are no pose" in warning


def test_bones_without_hips_are_told(stage: Stage) -> None:
    sample = stage.next(headset())
    stage.source._state.use = "bones"
    sample = stage.next(pose("Bone/Pos", "Head", (0, 1.5, 0)), pose("Bone/Pos", "Head", (0, 1.5, 0)))
    assert sample.head is None
    assert any("without Hips" in warning for warning in stage.source.counts.warnings)


def test_more_devices_than_anybody_wears_are_left_out(stage: Stage) -> None:
    stage.next(headset())
    stage.send(*(pose("Tra/Pos", f"T{k}", (0, 1, 0)) for k in range(100)))
    assert stage.next(headset(1.5), headset(1.5)).head is not None
    assert any("more than 64 devices" in warning for warning in stage.source.counts.warnings)


def test_a_second_sender_is_left_out_until_the_first_is_silent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.next(headset(1.6))
    other = stage.another()
    try:
        stage.send(headset(9.0), by=other)
        sample = stage.next(headset(1.5))
        assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.5)
        assert any("a second sender is left out" in warning for warning in stage.source.counts.warnings)
        monkeypatch.setattr(vmc_module, "_LEFT_NS", 0)
        stage.send(headset(1.3), headset(1.3), by=other)
        sample = next(stage._samples)
        assert sample.head is not None and sample.head.position_m[1] == pytest.approx(1.3)
        assert sample.origin_moved and stage.source.counts.reconnects == 1
    finally:
        other.close()


def test_a_sender_that_falls_silent_is_nobody_until_it_is_back(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stage.next(headset()).head is not None
    monkeypatch.setattr(vmc_module, "_STALL_NS", 60 * MS)
    silent = [next(stage._samples) for _ in range(3)]
    assert all(sample.head is None for sample in silent)
    times = [sample.t_ns for sample in silent]
    assert all(b - a >= 50 * MS for a, b in zip(times, times[1:], strict=False))
    assert any("got nothing for 0.06 s" in warning for warning in stage.source.counts.warnings)
    assert next(sample for sample in iter(lambda: stage.next(headset()), None) if sample.head is not None)


def test_what_has_piled_up_is_passed_over(stage: Stage) -> None:
    for k in range(10):
        stage.send(headset(1.0 + 0.01 * k))
    first = stage.next(headset(1.5))
    assert first.index == 1 and first.head is not None
    assert first.head.position_m[1] == pytest.approx(1.5), "those before were old"
    for k in range(10):
        stage.send(headset(1.6 + 0.01 * k))
    last = next(sample for sample in stage._samples if sample.index == 11)
    assert last.head is not None and last.head.position_m[1] == pytest.approx(1.69)
    assert stage.source.counts.lost + stage.source.counts.delivered == 12


def test_a_port_in_use_is_a_clear_error(stage: Stage) -> None:
    port = stage.source.port
    with pytest.raises(
        SourceError, match=rf"vmc: port {port} at 127\.0\.0\.1 is in use: end the program .*vmc:{port + 1}"
    ):
        open_headset(f"vmc:{port}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vmc:65536", "a port is 0 .any free one. to 65535, got 65536"),
        ("vmc:0?use=face", "use must be one of auto, devices, bones"),
        ("vmc:0?host=nowhere.invalid", "there is no address 'nowhere.invalid' of this machine"),
        ("vmc:0?left=A&right=A", "left and right are the same device, A"),
        ("vmc:0?hots=x", "vmc has no key 'hots'.*did you mean host"),
    ],
)
def test_options_that_cannot_be_used_are_said(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_headset(spec)


def test_an_address_that_is_not_here_is_said() -> None:
    with pytest.raises(SourceError, match="port 0 at 192.0.2.1 cannot be listened at"):
        VmcHeadset(0, "192.0.2.1")


def test_closing_ends_the_iteration_and_frees_the_port(stage: Stage) -> None:
    waiting = threading.Thread(target=lambda: list(stage.source))
    waiting.start()
    time.sleep(0.02)
    stage.source.close()
    stage.source.close()
    waiting.join(5)
    assert not waiting.is_alive()
    VmcHeadset(stage.source.port).close()


def test_a_body_is_driven_by_what_another_one_sends() -> None:
    clip = walking(1.0).sliced(0, 40)
    source = VmcHeadset(0)
    with DriveSession(
        source, DriveConfig(estimator=ESTIMATOR, skeleton=clip.skeleton), device="cpu", samples=20
    ) as session:
        session.start()
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        samples = list(MotionHeadset(clip))
        number, deadline = 0, time.monotonic() + 30
        while session.state == "running" and time.monotonic() < deadline:
            sample = samples[number % len(samples)]
            assert sample.truth is not None
            driven = driven_pose(sample.truth.rotations_xyzw, sample.truth.root_position_m, clip.skeleton, sample)
            for bundle in vmc_bundles(driven, number / 90):
                sender.sendto(bundle, ("127.0.0.1", source.port))
            number += 1
            time.sleep(0.011)
        report = session.wait(5)
        sender.close()
    assert report.frames.processed == 20 and report.tracking.status.get("lost", 0) == 0
    assert report.quality.head_error_mean_cm == pytest.approx(0.0, abs=0.05)


ARGUMENT = st.one_of(
    st.integers(-3, 3),
    st.floats(width=32),
    st.sampled_from(["Head", "Hips", "HMD", "root", "left"]),
    st.none(),
    st.booleans(),
)
ADDRESS = st.sampled_from(
    [f"/VMC/Ext/{what}" for what in ("OK", "T", "Root/Pos", "Bone/Pos", "Hmd/Pos", "Con/Pos", "Tra/Pos/Local", "Cam")]
    + ["/VMC", "/VMC/", "/VMC/Ext", "/VMC/Ext/", "/VMC2/Ext/T", "/"]
)


def tag_of(value: Any) -> str:
    return {int: "i", float: "f", str: "s", bool: "T" if value else "F", type(None): "N"}[type(value)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(ADDRESS, st.lists(ARGUMENT, max_size=10)), max_size=8), st.sampled_from(["auto", "bones"]))
def test_no_messages_do_harm(messages: list[tuple[str, list[Any]]], use: Any) -> None:
    state = VmcState(use)
    for k, (address, values) in enumerate(messages):
        tags = "".join(map(tag_of, values))
        raw = encode_message(address, tags, *(v for v in values if v is not None and not isinstance(v, bool)))
        (message,) = read_osc(raw).messages
        state.begins_anew(message)
        state.take(message, k * 10 * MS)
        state.is_complete(k * 10 * MS)
    for device in state.head_and_hands(100 * MS):
        if device is not None:
            assert np.isfinite(device.position_m).all() and np.linalg.norm(device.rotation_xyzw) == pytest.approx(1.0)
