"""Bodies over Zenoh: found by name, received with their surface, also by who comes late; what is wrong is counted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, MissingDependencyError, NotReadyError
from bodystream.geometry.skeleton import PARENTS
from bodystream.geometry.skinning import body_motion, graph_motion, posed, unturned_bones
from bodystream.sinks.network import NetworkConfig, NetworkPublisher, NetworkReceiver, list_bodies, open_network
from bodystream.sinks.network import session as sessions
from bodystream.sinks.stream import BodyEncoder, SurfaceEncoder, Update
from bodystream.types import (
    BoneMotion,
    DeviceKind,
    GraphSnapshot,
    HeadsetSample,
    Mesh,
    SkinnedMesh,
    Status,
    TrackedDevice,
)
from bodystream.wire.envelope import Kind, Message, pack_message
from bodystream.wire.meshes import Skeleton, encode_skeleton
from bodystream.wire.motions import Motion, encode_motion
from helpers.needs import needs
from helpers.networks import alone, free_port, joined
from helpers.sent_poses import generated_poses

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    needs("zenoh", "pip install 'bodystream[zenoh]'")
    monkeypatch.setattr("bodystream.sinks.network.publisher.SCOUT_S", 0.15)


def until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What is waited for, once it is true."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
    return value


def cloud(bones: int, seed: int = 0, vertices: int = 400, skeleton: bool = False) -> SkinnedMesh:
    """Points about bones that stand anywhere within a metre, with random weights."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(-0.5, 0.5, (bones, 3)).astype(np.float32)
    of = np.sort(rng.integers(0, bones, vertices))
    points = centres[of] + 0.02 * rng.normal(size=(vertices, 3)).astype(np.float32)
    faces = np.stack([np.arange(vertices - 2), np.arange(1, vertices - 1), np.arange(2, vertices)], axis=1)
    near = np.clip(of[:, None] + np.arange(4), 0, bones - 1).astype(np.int32)
    weights = rng.uniform(0.1, 1.0, (vertices, 4)).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    normals = rng.normal(size=(vertices, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colours = rng.integers(0, 256, (vertices, 3), dtype=np.uint8)
    mesh = Mesh(points.astype(np.float32), faces.astype(np.int32), normals, colours)
    parents = np.array([*PARENTS, *([7] * (bones - 22))], np.int32) if skeleton else None
    return SkinnedMesh(mesh, near, weights, unturned_bones(centres), parents)


def graph_of(nodes: np.ndarray, t_ns: int, seed: int = 0) -> GraphSnapshot:
    """Nodes that turn a little and move by up to a decimetre."""
    rng = np.random.default_rng(seed)
    count = len(nodes)
    turns = Rotation.from_rotvec(rng.uniform(-0.3, 0.3, (count, 3))).as_matrix().astype(np.float32)
    moves = rng.uniform(-0.1, 0.1, (count, 3)).astype(np.float32)
    none = np.full((count, 2), -1, np.int32)
    return GraphSnapshot(t_ns, nodes, turns, moves, none, np.zeros(count, np.int32))


def apart_m(mesh: Mesh, wanted: Mesh) -> float:
    """The farthest that a vertex of one is from the nearest of the other."""
    return max(float(KDTree(a.vertices).query(b.vertices)[0].max()) for a, b in ((mesh, wanted), (wanted, mesh)))


def motion_of(count: int, seed: int) -> Motion:
    rng = np.random.default_rng(seed)
    turns = rng.normal(size=(count, 4))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    return Motion(turns.astype(np.float32), rng.normal(size=(count, 3)).astype(np.float32))


def plain(motion: Motion, skin: int = 5, t_ns: int = 1) -> Update:
    """A motion alone."""
    return Update(motion=pack_message(Message(Kind.BODY, encode_motion(motion), 0, skin, t_ns)))


def mesh_of(receiver: NetworkReceiver, of: str) -> Any:
    try:
        return receiver.mesh(of)
    except NotReadyError:
        return None


def test_a_body_is_found_by_name_and_comes_with_its_surface() -> None:
    port, skin, encoder = free_port(), cloud(24, skeleton=True), BodyEncoder()
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    driven = generated_poses(1)[0]
    eyes = TrackedDevice(np.ones(3), np.array([0.0, 0.0, 0.0, 1.0]), DeviceKind.VIEW)
    pose = replace(driven.pose, status=Status.DEGRADED, contacts=np.array([True, False]), flags=("left_lost",))
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        sample = HeadsetSample(0, 77, eyes)
        until(  # what is published before the network knows who wants it goes nowhere
            lambda: (
                publisher.publish("body", encoder.encode(pose, driven.person.joints_m, skin, sample, latency_us=1500))
                or receiver.wait("body", None, 0.1)
            )
        )
        got = receiver.body()
        assert got is not None
        assert got.t_ns == pose.t_ns and got.motion.latency_us == 1500
        assert got.motion.status is Status.DEGRADED and got.motion.contacts == (True, False)
        assert got.motion.flags == ("left_lost",) and got.motion.devices[0].side == "head"
        np.testing.assert_allclose(got.motion.positions_m, driven.person.joints_m, atol=1e-4)
        moved = body_motion(pose, driven.person.joints_m)
        rows = [*range(22), 7, 7]
        wanted = posed(skin, BoneMotion(0, moved.rotations_xyzw[rows], moved.positions_m[rows]))
        mesh = until(lambda: mesh_of(receiver, "body"))
        assert apart_m(mesh, wanted) < 0.01 and len(mesh.faces) == len(skin.mesh.faces)
        bound_m = skin.bind_positions_m[:22]
        np.testing.assert_allclose(receiver.rest_positions_m(), bound_m - bound_m[0], atol=1e-5)
        assert receiver.wait("body", got, 0.05) is got
        publisher.close()
        publisher.close()
        until(lambda: not receiver.alive)
        assert receiver.skin("body") is None, "the next one has its own"


def test_who_comes_late_gets_bones_and_surface_and_what_grew_since() -> None:
    port, encoder = free_port(), SurfaceEncoder(1e5)
    publisher = NetworkPublisher("room", alone(port), bodies=False, surfaces=True)
    small, large = cloud(200, vertices=2000), cloud(320, seed=1, vertices=3000)
    nodes = large.bind_positions_m.astype(np.float32)
    small = replace(small, bone_from_bind=unturned_bones(nodes[:200]))
    publisher.publish("surface", encoder.encode(graph_of(nodes[:200], 5), small, now_ns=10**9))
    with NetworkReceiver("room", joined(port)) as receiver:
        assert mesh_of(receiver, "surface") is None, "no surface has come yet"
        until(lambda: receiver.skin("surface"))
        graph = graph_of(nodes, 6, seed=4)
        publisher.publish("surface", encoder.encode(graph, large, now_ns=3 * 10**9))
        wanted = posed(large, graph_motion(graph))
        until(lambda: (mesh := mesh_of(receiver, "surface")) is not None and apart_m(mesh, wanted) < 0.02)
        assert receiver.refused == 0
        with NetworkReceiver("room", joined(port)) as later:
            until(lambda: later.skin("surface"))
            publisher.publish("surface", encoder.encode(graph, None, now_ns=4 * 10**9))
            until(lambda: (mesh := mesh_of(later, "surface")) is not None and apart_m(mesh, wanted) < 0.02)
    publisher.close()


def test_a_new_skin_that_was_missed_is_asked_for() -> None:
    port, encoder = free_port(), BodyEncoder()
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        receiver._subscribers[0].undeclare()  # what is published as setup does not arrive
        receiver._asked_s = 0.0
        driven = generated_poses(1)[0]
        skin = cloud(22, skeleton=True)
        until(
            lambda: (
                publisher.publish("body", encoder.encode(driven.pose, driven.person.joints_m, skin))
                or (time.sleep(0.05) or receiver.skin("body"))
            )
        )
        assert receiver.mesh("body").vertices.shape == (400, 3)
    publisher.close()


def test_a_receiver_may_be_there_first_and_sees_the_next_publisher() -> None:
    port = free_port()
    with NetworkReceiver("body0", joined(port)) as receiver:
        assert not receiver.alive and receiver.body() is None
        for _ in range(2):
            publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
            until(lambda: receiver.alive)
            last = receiver.body()
            until(
                lambda before=last, publisher=publisher: (
                    publisher.publish("body", plain(motion_of(22, 1)))
                    or receiver.wait("body", before, 0.1) is not before
                )
            )
            publisher.close()
            until(lambda: not receiver.alive)


def test_all_that_is_published_is_listed() -> None:
    port = free_port()
    first = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    second = NetworkPublisher("room", joined(port), bodies=False, surfaces=True)
    session = open_network(joined(port))
    try:
        found = until(lambda: _two(session))
        assert [(body.name, body.bodies, body.surfaces) for body in found] == [
            ("body0", True, False),
            ("room", False, True),
        ]
        assert all(body.host for body in found)
    finally:
        session.close()
        first.close()
        second.close()


def _two(session: Any) -> list[Any] | None:
    found = list_bodies(session, 0.2)
    return found if len(found) == 2 else None


def test_programs_find_each_other_by_multicast() -> None:
    name = f"t{os.getpid()}"
    config = NetworkConfig(listen=("tcp/127.0.0.1:0",), interface="lo")
    publisher = NetworkPublisher(name, config, bodies=True, surfaces=False)
    session = open_network(config)
    try:
        until(lambda: any(body.name == name for body in list_bodies(session, 0.2)))
    finally:
        session.close()
        publisher.close()


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="looks into /proc")
def test_no_memory_is_taken_for_what_goes_over_a_socket() -> None:
    port = free_port()
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: publisher.publish("body", plain(motion_of(22, 1))) or receiver.wait("body", None, 0.1))
        assert ".zenoh" not in Path("/proc/self/maps").read_text()
    publisher.close()


def test_a_name_in_use_on_the_network_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    monkeypatch.setattr("bodystream.sinks.network.publisher.SCOUT_S", 5.0)
    with pytest.raises(ConfigurationError, match="zenoh:body0 is in use: another program on this network"):
        NetworkPublisher("body0", joined(port), bodies=True, surfaces=False)
    publisher.close()


def test_what_is_no_message_is_counted_and_the_next_one_is_read() -> None:
    bad = {
        "words": b"hello",
        "an empty motion": pack_message(Message(Kind.BODY, b"")),
        "a motion of zeros": pack_message(Message(Kind.BODY, bytes(60))),
        "another version": b"BDST\x02" + bytes(27),
        "more than there is": b"BDST\x01\x04\x00\x00" + bytes(16) + b"\xff\xff\xff\x7f" * 2,
    }
    port = free_port()
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        for count, data in enumerate(bad.values(), start=1):
            until(
                lambda wanted=count, data=data: (
                    publisher._session.put(sessions.key_of("body0", "body"), data)
                    or (time.sleep(0.02) or receiver.refused >= wanted)
                )
            )
            assert receiver.trouble
        refused = receiver.refused
        publisher._session.put(sessions.key_of("body0", "setup"), b"hello")
        until(lambda: receiver.refused > refused)
        nan = encode_motion(motion_of(22, 1))
        publisher._session.put(
            sessions.key_of("body0", "body"),
            pack_message(Message(Kind.BODY, nan[:12] + np.full(3, np.nan, "<f4").tobytes() + nan[24:])),
        )
        until(lambda: receiver.refused > refused + 1)
        assert receiver.body() is None
        until(lambda: publisher.publish("body", plain(motion_of(22, 1))) or receiver.wait("body", None, 0.1))
    publisher.close()


def test_a_body_of_few_bones_is_not_known_at_rest() -> None:
    """Whatever comes from the network: who asks for the height of its head gets none."""
    port = free_port()
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    few = Skeleton("body", 0, 5, np.tile(np.eye(3, 4), (5, 1, 1)) + 0.1, np.arange(-1, 4), np.arange(5), ())
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        setup = pack_message(Message(Kind.SKELETON, encode_skeleton(few), 0, 5, 1))
        publisher._session.put(sessions.key_of("body0", "setup"), setup)
        until(lambda: receiver._parts["body"].skin == 5)
        assert receiver.rest_positions_m() is None
    publisher.close()


def test_random_setups_end_no_receiver() -> None:
    port, rng = free_port(), np.random.default_rng(2)
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=True)
    driven = generated_poses(1)[0]
    first = BodyEncoder().encode(driven.pose, driven.person.joints_m, cloud(22, skeleton=True))
    whole, body = b"".join([*first.skeletons, *first.pieces.values()]), first.motion
    assert body is not None
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        for _ in range(int(os.environ.get("BODYSTREAM_FUZZ", 200))):
            for part, data in (("setup", whole), ("body", body)):
                changed = bytearray(data)
                for at in rng.integers(0, len(changed), rng.integers(1, 4)):
                    changed[at] = rng.integers(0, 256)
                publisher._session.put(sessions.key_of("body0", part), bytes(changed))
        until(lambda: receiver.refused > 10)
        encoder, pose = BodyEncoder(), replace(driven.pose, t_ns=123)

        def came() -> bool:
            publisher.publish("body", encoder.encode(pose, driven.person.joints_m, cloud(22, skeleton=True)))
            got = receiver.wait("body", receiver.body(), 0.1)
            return got is not None and got.t_ns == 123 and mesh_of(receiver, "body") is not None

        until(came)
        assert np.isfinite(receiver.mesh("body").vertices).all()
    publisher.close()


def test_no_zenoh_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "zenoh", None)
    with pytest.raises(MissingDependencyError, match=r"eclipse-zenoh is needed .* pip install 'bodystream\[zenoh\]'"):
        NetworkPublisher("body0", NetworkConfig(), bodies=True, surfaces=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig(connect=("192.168.1.20",)), "an endpoint is written tcp/HOST:PORT"),
        (NetworkConfig(config=Path("/no/such/file.json5")), "zenoh: .*no/such/file.json5"),
    ],
)
def test_what_cannot_be_is_said(config: NetworkConfig, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NetworkPublisher("body0", config, bodies=True, surfaces=False)
    with pytest.raises(ConfigurationError, match="a name has 1 to 64 letters"):
        NetworkReceiver("a/b", config)
