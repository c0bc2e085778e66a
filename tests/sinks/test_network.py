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

from bodystream.errors import ConfigurationError, MissingDependencyError, NotReadyError
from bodystream.geometry.skinning import body_motion, posed, unturned_bones
from bodystream.sinks.network import NetworkConfig, NetworkPublisher, NetworkReceiver, list_bodies, open_network
from bodystream.sinks.network import session as sessions
from bodystream.sinks.skin_pieces import body_skin_messages, surface_skin_messages
from bodystream.types import BoneMotion, DeviceKind, Mesh, SkinnedMesh, Status
from bodystream.wire.envelope import Kind, Message, pack_message
from bodystream.wire.meshes import decode_piece, decode_skeleton
from bodystream.wire.motions import Device, Motion, encode_motion
from helpers.networks import alone, free_port, joined
from helpers.sent_poses import generated_poses

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zenoh")
    monkeypatch.setattr("bodystream.sinks.network.publisher.SCOUT_S", 0.15)


def until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What is waited for, once it is true."""
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)
    return value


def ball(bones: int, seed: int = 0, vertices: int = 400) -> SkinnedMesh:
    """Points about bones that stand anywhere, with random weights."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(bones, 3)).astype(np.float32)
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
    return SkinnedMesh(mesh, near, weights, unturned_bones(centres))


def motion_of(count: int, seed: int) -> BoneMotion:
    rng = np.random.default_rng(seed)
    turns = rng.normal(size=(count, 4))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    return BoneMotion(seed, turns.astype(np.float32), rng.normal(size=(count, 3)).astype(np.float32))


def test_a_body_is_found_by_name_and_comes_with_its_surface() -> None:
    port, skin = free_port(), ball(22)
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        number = publisher.next_skin()
        publisher.put_setup("body", body_skin_messages(skin, number, 1))
        driven = generated_poses(1)[0]
        moved = body_motion(driven.pose, driven.person.joints_m)
        devices = (Device("head", DeviceKind.VIEW, np.ones(3), np.array([0.0, 0.0, 0.0, 1.0])),)
        sent = Motion(
            moved.rotations_xyzw, moved.positions_m, Status.DEGRADED, (True, False), ("left_lost",), devices, 1500
        )
        publisher.put_motion("body", sent, number, 77)
        got = until(receiver.body)
        assert (got.sequence, got.t_ns) == (0, 77)
        assert got.motion.status is Status.DEGRADED and got.motion.contacts == (True, False)
        assert got.motion.flags == ("left_lost",) and got.motion.devices[0].side == "head"
        np.testing.assert_allclose(got.motion.positions_m, moved.positions_m, atol=1e-4)
        until(lambda: receiver.skin("body"))
        wanted = posed(skin, moved)
        mesh = receiver.mesh("body")
        np.testing.assert_allclose(mesh.vertices, wanted.vertices, atol=0.02)
        assert len(mesh.faces) == len(skin.mesh.faces) and mesh.colours is not None
        np.testing.assert_allclose(receiver.bind_positions_m(), skin.bind_positions_m[:22], atol=1e-5)
        assert receiver.wait("body", got, 0.05) is got
        publisher.close()
        publisher.close()
        until(lambda: not receiver.alive)


def test_who_comes_late_gets_bones_and_surface() -> None:
    port, skin = free_port(), ball(300, vertices=3000)
    publisher = NetworkPublisher("room", alone(port), bodies=False, surfaces=True)
    number = publisher.next_skin()
    publisher.put_setup("surface", surface_skin_messages(skin, number, 5))
    with NetworkReceiver("room", joined(port)) as receiver:
        with pytest.raises(NotReadyError, match="no surface has come yet"):
            receiver.mesh("surface")
        until(lambda: receiver.skin("surface"))
        moved = motion_of(320, 3)  # nodes that came since the surface was sent
        publisher.put_motion("surface", Motion(moved.rotations_xyzw, moved.positions_m, fine=False), number, 6)
        until(receiver.surface)
        mesh = receiver.mesh("surface")
        first = BoneMotion(0, moved.rotations_xyzw[:300], moved.positions_m[:300])
        wanted = posed(skin, first)
        assert len(mesh.vertices) >= 3000, "pieces repeat vertices on their edges"
        far = np.linalg.norm(mesh.vertices[:, None] - wanted.vertices[None, ::10], axis=2).min(axis=0)
        assert far.max() < 0.1, "rotations come within 0.3 degrees, and bones are metres away"
    publisher.close()


def test_a_new_skin_that_was_missed_is_asked_for() -> None:
    port = free_port()
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        receiver._subscribers[0].undeclare()  # what is published as setup does not arrive
        receiver._asked_s = 0.0
        number = publisher.next_skin()
        publisher.put_setup("body", body_skin_messages(ball(22), number, 1))
        moved = motion_of(22, 1)
        publisher.put_motion("body", Motion(moved.rotations_xyzw, moved.positions_m), number, 1)
        until(lambda: receiver.skin("body"))
        assert receiver.mesh("body").vertices.shape == (400, 3)
    publisher.close()


def test_a_receiver_may_be_there_first_and_sees_the_next_publisher() -> None:
    port, moved = free_port(), motion_of(22, 1)
    with NetworkReceiver("body0", joined(port)) as receiver:
        assert not receiver.alive and receiver.body() is None
        for _ in range(2):
            publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=False)
            until(lambda: receiver.alive)
            last = receiver.body()
            number = publisher.next_skin()
            publisher.put_motion("body", Motion(moved.rotations_xyzw, moved.positions_m), number, 1)
            assert receiver.wait("body", last, 10.0) is not last
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
    moved = motion_of(22, 1)
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        for count, data in enumerate(bad.values(), start=1):
            publisher._session.put(sessions.key_of("body0", "body"), data)
            until(lambda wanted=count: receiver.refused >= wanted)
            assert receiver.trouble
        publisher._session.put(sessions.key_of("body0", "setup"), b"hello")
        until(lambda: receiver.refused > len(bad))
        nan = encode_motion(Motion(moved.rotations_xyzw, moved.positions_m))
        publisher._session.put(
            sessions.key_of("body0", "body"),
            pack_message(Message(Kind.BODY, nan[:12] + np.full(3, np.nan, "<f4").tobytes() + nan[24:])),
        )
        until(lambda: receiver.refused > len(bad) + 1)
        assert receiver.body() is None
        publisher.put_motion("body", Motion(moved.rotations_xyzw, moved.positions_m), 5, 1)
        until(receiver.body)
    publisher.close()


def test_random_setups_end_no_receiver() -> None:
    port, rng = free_port(), np.random.default_rng(2)
    publisher = NetworkPublisher("body0", alone(port), bodies=True, surfaces=True)
    moved = motion_of(22, 1)
    whole = b"".join(body_skin_messages(ball(22), 9, 1))
    body = pack_message(Message(Kind.BODY, encode_motion(Motion(moved.rotations_xyzw, moved.positions_m)), skin=9))
    with NetworkReceiver("body0", joined(port)) as receiver:
        until(lambda: receiver.alive)
        for _ in range(int(os.environ.get("BODYSTREAM_FUZZ", 200))):
            for part, data in (("setup", whole), ("body", body)):
                changed = bytearray(data)
                for at in rng.integers(0, len(changed), rng.integers(1, 4)):
                    changed[at] = rng.integers(0, 256)
                publisher._session.put(sessions.key_of("body0", part), bytes(changed))
        publisher.put_setup("body", body_skin_messages(ball(22), 9, 1))

        def came() -> bool:
            publisher.put_motion("body", Motion(moved.rotations_xyzw, moved.positions_m), 9, 123)
            got = receiver.wait("body", receiver.body(), 0.1)
            return got is not None and got.t_ns == 123

        until(came)
        until(lambda: receiver.skin("body"))
        assert receiver.refused > 10
        assert np.isfinite(receiver.mesh("body").vertices).all()
    publisher.close()


def test_a_surface_on_many_bones_is_cut_into_pieces_that_are_it_together() -> None:
    skin = ball(900, vertices=20_000)
    skeleton, *pieces = (sessions.open_message(data) for data in surface_skin_messages(skin, 3, 4))
    assert decode_skeleton(skeleton).total == 900 and len(pieces) > 3
    corners = []
    for message in pieces:
        piece = decode_piece(message)
        assert len(np.unique(piece.bones)) <= 256 and len(piece.vertices) <= 65535
        corners.append(piece.vertices[piece.faces].reshape(-1, 9))
    got = np.concatenate(corners)
    wanted = skin.mesh.vertices[skin.mesh.faces].reshape(-1, 9)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(np.sort(got[:, 0]), np.sort(wanted[:, 0]), atol=1e-3)


def test_bones_beside_the_joints_follow_the_joint_that_they_stand_on() -> None:
    base = ball(22)
    extra = np.concatenate([base.bone_from_bind, base.bone_from_bind[[5, 5]] + 0])
    parents = np.array([-1, *([0] * 21), 7, 22], np.int32)
    bones = base.bones.copy()
    bones[:50] = 23
    skin = replace(base, bones=bones, bone_from_bind=extra, parents=parents)
    _, *pieces = (sessions.open_message(data) for data in body_skin_messages(skin, 3, 4))
    piece = decode_piece(pieces[0])
    assert piece.bones.max() < 22 and (piece.bones[:48] == 7).any()


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
