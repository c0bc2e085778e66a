"""A learned avatar over the stream: clients that can pose bones alone see its clothes move."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from bodystream.geometry.skeleton import JOINTS
from bodystream.pipelines.drive.pipeline import DriveConfig
from bodystream.pipelines.drive.session import DriveSession
from bodystream.pipelines.serve.sinks import BodyStreamSink
from bodystream.sinks.stream import StreamHub
from bodystream.types import Array
from bodystream.web.options import ServerOptions
from bodystream.web.server import PageServer
from bodystream.wire.envelope import Kind, Message
from bodystream.wire.meshes import Piece, Skeleton, decode_piece, decode_skeleton, decode_whole
from bodystream.wire.motions import Motion, decode_motion
from helpers.headset_motions import walking
from helpers.headset_takes import samples_of
from helpers.stream_client import StreamClient


@pytest.fixture
def server() -> Iterator[PageServer]:
    made = PageServer(ServerOptions(port=0, tls=False), report=lambda *_: None, status=lambda _: None)
    yield made
    made.stop()


def test_clients_that_pose_bones_see_the_clothes_where_the_avatar_puts_them(server: PageServer) -> None:
    hub = StreamHub(server, bodies=True)
    config = DriveConfig(avatar="default-clothed")
    samples = iter(samples_of(walking(20.0)))
    with DriveSession(device="cpu", config=config, sinks=[BodyStreamSink(hub)]) as session:
        watcher = StreamClient(server.url).enter(body=True, whole=True)
        pairs: list[tuple[Message, Message]] = []
        for sample in samples:
            session.push(sample)
            time.sleep(0.01)
            while (message := _read(watcher)) is not None and message.kind is Kind.WHOLE:
                bodies = [body for body in watcher.got.get(Kind.BODY, ()) if body.t_ns == message.t_ns]
                pairs += [(body, message) for body in bodies if body.skin == _dressed(watcher)]
            if len(pairs) >= 5:
                break
    body, whole = pairs[-1]
    skeleton = decode_skeleton(next(m for m in watcher.got[Kind.SKELETON] if m.skin == body.skin))
    motion = decode_motion(body)
    assert len(motion.positions_m) == len(skeleton.follows) > len(JOINTS) + 10
    seen = np.concatenate(
        [_posed(decode_piece(m), skeleton, motion) for m in watcher.got[Kind.PIECE] if m.skin == body.skin]
    )
    wanted = decode_whole(whole).mesh
    assert len(seen) >= len(wanted.vertices)
    distance_m, _ = KDTree(wanted.vertices).query(seen)
    assert distance_m.mean() < 0.002 and np.quantile(distance_m, 0.99) < 0.008
    missed_m, _ = KDTree(seen).query(wanted.vertices)
    assert missed_m.mean() < 0.002, "a part of it was not sent"


def _read(watcher: StreamClient) -> Message | None:
    try:
        return watcher.read(0.005)
    except TimeoutError:
        return None


def _dressed(watcher: StreamClient) -> int | None:
    """The skin that a surface has come for: before nodes are made, bones come alone."""
    pieces = watcher.got.get(Kind.PIECE)
    return pieces[-1].skin if pieces else None


def _posed(piece: Piece, skeleton: Skeleton, motion: Motion) -> Array:
    """(V, 3) as the page's graphics processor has it: docs/stream-format.md, "What belongs together"."""
    out = np.zeros((len(piece.vertices), 3))
    for bone, weight in zip(piece.bones.T, piece.weights.T, strict=True):
        bind, entry = skeleton.bone_from_bind[bone], skeleton.follows[bone]
        local = np.einsum("vij,vj->vi", bind[:, :, :3], piece.vertices) + bind[:, :, 3]
        turned = Rotation.from_quat(motion.rotations_xyzw[entry]).apply(local)
        out += weight[:, None] * (turned + motion.positions_m[entry])
    return out
