"""`--send`: what a user types, several receivers at once, receivers that are away, and how many poses they get."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bodystream.errors import ConfigurationError
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.send.open import open_sender
from bodystream.pipelines.send.pace import Pace
from bodystream.pipelines.send.pose_sink import SendSink
from bodystream.pose.calibration import height_of
from bodystream.sinks.send.udp import MAX_BUNDLE_BYTES, OscUdp, host_and_port, osc_bundles, osc_message
from bodystream.sources.headset.synthetic import MotionHeadset
from helpers.drive_parts import ESTIMATOR
from helpers.headset_motions import walking
from helpers.osc_reference import OscElement, decode
from helpers.sent_poses import UNITY_FROM_OURS, t_pose_sent
from helpers.session_sinks import Gate
from helpers.vmc_receiver import Marionette
from helpers.vrm_files import small_glb


@contextmanager
def listening() -> Iterator[tuple[socket.socket, int]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        receiver.settimeout(10.0)
        yield receiver, receiver.getsockname()[1]


def waiting(receiver: socket.socket) -> list[list[OscElement]]:
    """What has come, datagram by datagram."""
    out = [decode(receiver.recv(65536))]
    receiver.setblocking(False)
    try:
        while True:
            out.append(decode(receiver.recv(65536)))
    except BlockingIOError:
        return out


def test_several_receivers_get_the_session_and_one_that_is_away_costs_nothing() -> None:
    clip = walking(1.0).sliced(0, 24)
    with listening() as (vmc, vmc_port), listening() as (vrchat, vrchat_port), listening() as (gone, gone_port):
        gone.close()
        sinks = [
            open_sender(f"vmc:127.0.0.1:{vmc_port}"),
            open_sender(f"vrchat:127.0.0.1:{vrchat_port}?trackers=hip,head"),
            open_sender(f"vmc:127.0.0.1:{gone_port}"),
            open_sender("zmq:0"),
        ]
        gate = Gate()
        # Each sink takes the newest: they are waited for, so that all get all.
        gate.after = lambda result, number: [wait_for(sink, number) for sink in sinks]
        source = MotionHeadset(clip, hands="grip")
        config = DriveConfig(estimator=ESTIMATOR)
        with DriveSession(source, config, device="cpu", sinks=[*sinks, gate]) as session:
            session.run()
            last = session.result
        assert last is not None and session.warnings == ()
        assert [sink.sent for sink in sinks] == [24] * 4
        assert sorted(session.notes) == sorted(f"sent 24 poses to {sink.name}" for sink in sinks)
        datagrams = waiting(vmc)
        assert len(datagrams) == 48
        receiver = Marionette().take(message for datagram in datagrams for message in datagram)
        assert set(receiver.devices) == {"HMD", "LeftController", "RightController"}
        place, _ = receiver.world("LeftToes")
        np.testing.assert_allclose(UNITY_FROM_OURS @ place, last.joints_m[10], atol=1e-3)
        assert [len(datagram) for datagram in waiting(vrchat)] == [4] * 24


def test_an_avatar_of_a_file_is_sent_as_it_is_shown_and_the_person_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "me.vrm"
    path.write_bytes(small_glb().bytes())  # 0.62 of a person
    clip = walking(1.0).sliced(0, 12)
    with listening() as (vmc, vmc_port), listening() as (vrchat, vrchat_port):
        sinks = [open_sender(f"vmc:127.0.0.1:{vmc_port}"), open_sender(f"vrchat:127.0.0.1:{vrchat_port}?trackers=head")]
        gate = Gate()
        gate.after = lambda result, number: [wait_for(sink, number) for sink in sinks]
        config = DriveConfig(estimator=ESTIMATOR, avatar=path)
        with DriveSession(MotionHeadset(clip), config, device="cpu", sinks=[*sinks, gate]) as session:
            session.run()
            last, retarget = session.result, session._driver.avatar.retarget
        assert last is not None and retarget is not None
        receiver = Marionette().take(message for datagram in waiting(vmc) for message in datagram)
        taken = retarget.pose(last.pose)
        np.testing.assert_allclose(receiver.local["Hips"][0] * (1, 1, -1), taken.root_position_m, atol=1e-3)
        assert receiver.local["Hips"][0][1] < 0.7 * last.joints_m[0, 1]
        assert last.sample.head is not None
        eyes_m = last.sample.head.position_m[1]
        assert receiver.real_devices["HMD"][1][1] == pytest.approx(eyes_m, abs=1e-5)
        assert receiver.devices["HMD"][1][1] == pytest.approx(retarget.scale * eyes_m, abs=1e-5)
        head = waiting(vrchat)[-1][0].arguments
        np.testing.assert_allclose(np.array(head) * (1, 1, -1), last.joints_m[15], atol=1e-3)


def test_vrchat_is_told_metres_of_its_user() -> None:
    driven = t_pose_sent()
    with listening() as (receiver, port):
        for height_m in (None, 2.0):
            sink = open_sender(f"vrchat:127.0.0.1:{port}?trackers=head" + (f"&height_m={height_m}" if height_m else ""))
            sink.publish(driven)
            sink.close()
            scale = 1.0 if height_m is None else height_m / height_of(driven.person.skeleton)
            place, _ = waiting(receiver)[-1]
            np.testing.assert_allclose(
                np.array(place.arguments) * (1, 1, -1), scale * driven.person.joints_m[15], atol=1e-5
            )
            receiver.settimeout(10.0)


def wait_for(sink: SendSink, number: int) -> None:
    import time

    deadline = time.monotonic() + 20
    while sink.sent < number and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.mark.parametrize(("rate_hz", "wanted"), [(None, 900), (90.0, 900), (60.0, 600), (120.0, 900), (1.0, 10)])
def test_as_many_poses_are_sent_as_the_rate_says(
    rate_hz: float | None, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds of a 90 Hz headset whose samples come up to 1.5 ms early or late."""
    pace = Pace(rate_hz, "rate_hz")
    jitter_ns = np.random.default_rng(0).integers(-1_500_000, 1_500_000, 900)
    due = [pace.is_due(round(k * 1e9 / 90) + int(jitter_ns[k])) for k in range(900)]
    assert abs(sum(due) - wanted) <= 1


def test_a_pause_is_not_made_up_for() -> None:
    pace = Pace(50.0, "rate_hz")
    assert pace.is_due(0) and not pace.is_due(10_000_000)
    assert sum(pace.is_due(60_000_000_000 + k * 1_000_000) for k in range(100)) <= 7


def test_an_odd_network_is_told_once_and_does_not_end_it() -> None:
    udp = OscUdp("vmc:somewhere", "127.0.0.1", 39539)

    class Refusing:
        def sendto(self, *_: object) -> None:
            raise OSError(101, "Network is unreachable")

        def close(self) -> None: ...

    udp._socket.close()
    udp._socket = Refusing()  # type: ignore[assignment]
    assert [udp.send([b"a", b"b"]) for _ in range(50)] == [False] * 50
    assert udp.warnings == ["vmc:somewhere: nothing can be sent there now (Network is unreachable)"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("vmc", "vmc has to be told which: write vmc:HOST:PORT"),
        ("vmc:127.0.0.1", "write vmc:127.0.0.1:39539, got '127.0.0.1'"),
        ("vrchat:9000", "write vrchat:127.0.0.1:9000, got '9000'"),
        ("vmc::39539", "host and port"),
        ("vmc:::1:39539", "host and port"),
        ("vmc:127.0.0.1:0", "a port is 1 to 65535, got '0'"),
        ("vmc:127.0.0.1:65536", "a port is 1 to 65535"),
        ("vmc:127.0.0.1:1e4", "a port is 1 to 65535"),
        ("vmc:no.such.host.invalid:39539", "there is no host 'no.such.host.invalid'"),
        ("vmc:127.0.0.1:39539?rate_hz=0", "rate_hz must be above 0 and at most 1000, got 0"),
        ("vmc:127.0.0.1:39539?rate_hz=nan", "rate_hz must be a number"),
        ("shm:a/b", "a name has 1 to 18 letters, digits, - or _, got 'a/b'"),
        ("shm", "write shm:NAME"),
        ("shm:t-send?surface_hz=-1", "surface_hz must be 0 .poses only. to 1000"),
        ("shm:t-send?max_vertices=0", "max_vertices must be 1 to"),
        ("vmc:127.0.0.1:39539?rate=60", "vmc has no key 'rate'.*did you mean rate_hz"),
        ("vrchat:127.0.0.1:9000?height_m=175", "height_m must be 0.5 to 3.0 metres, got 175"),
        ("vrchat:127.0.0.1:9000?trackers=", "at least one tracker"),
        ("vrchat:127.0.0.1:9000?trackers=hip,tail", "trackers must be one of hip, chest"),
        ("zmq:65536", "a port is 0 .any free one. to 65535, got 65536"),
        ("zmq:tcp", "port must be a whole number"),
        ("zmq:0?host=nowhere.invalid", "zmq: port 0 at nowhere.invalid cannot be listened at"),
        ("osc:127.0.0.1:1", "there is no receiver 'osc:127.0.0.1:1'.*vmc:HOST:PORT, vrchat:HOST:PORT, zmq:PORT"),
    ],
)
def test_what_cannot_be_sent_to_is_said(spec: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_sender(spec)


@pytest.mark.parametrize("kind", ["vmc:127.0.0.1:39539", "vrchat:127.0.0.1:9000", "zmq:0"])
def test_a_capture_has_no_poses_to_send(kind: str) -> None:
    with pytest.raises(ConfigurationError, match="a capture has none: send its surface by shm"):
        open_sender(kind, "surface")


def test_hosts_may_be_of_version_six() -> None:
    assert host_and_port("[::1]:39539", "vmc", 39539) == ("::1", 39539)
    assert host_and_port("localhost:1", "vmc", 39539) == ("localhost", 1)


def test_messages_are_put_into_few_bundles_in_their_order() -> None:
    messages = [osc_message(f"/m/{k}", "s", ("x" * (k * 7 % 300),)) for k in range(60)]
    bundles = osc_bundles(messages)
    assert max(map(len, bundles)) <= MAX_BUNDLE_BYTES
    assert [m.address for bundle in bundles for m in decode(bundle)] == [f"/m/{k}" for k in range(60)]
    assert len(bundles) <= 2 * sum(m.size + 4 for m in messages) // MAX_BUNDLE_BYTES
    assert all(len(a) + len(b) > MAX_BUNDLE_BYTES for a, b in zip(bundles, bundles[1:], strict=False))
