"""Bodies and surfaces as updates: what is drawn from the messages is where linear blend skinning puts it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from bodystream.avatar import LbsAvatar
from bodystream.errors import InputError
from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import JOINTS, Skeleton, forward_kinematics
from bodystream.geometry.skinning import graph_motion, posed
from bodystream.sinks.stream import BodyEncoder, SurfaceEncoder, Update
from bodystream.sinks.stream.pieces import cut
from bodystream.sinks.stream.renewal import Renewal
from bodystream.types import BodyPose, GraphSnapshot, Mesh, SkinnedMesh, Status
from bodystream.wire.envelope import Kind, open_message
from bodystream.wire.meshes import Piece, decode_graph, decode_piece, decode_skeleton, decode_whole
from bodystream.wire.motions import Motion, decode_motion
from helpers.waving_sheet import sheet, waving_sheet

S = 1_000_000_000


class Drawn:
    """What a reader of the messages keeps, and how it poses it: after docs/stream-format.md."""

    def __init__(self) -> None:
        self.binds = np.zeros((0, 3, 4))
        self.follows = np.zeros(0, int)
        self.pieces: dict[int, Piece] = {}
        self.motion: Motion | None = None
        self.bytes = 0

    def take(self, update: Update) -> None:
        for data in update.skeletons:
            skeleton = decode_skeleton(open_message(data))
            if skeleton.first == 0:
                self.__init__()
            self.binds = np.concatenate([self.binds, skeleton.bone_from_bind])
            self.follows = np.concatenate([self.follows, skeleton.follows])
            self.bytes += len(data)
        for number, data in update.pieces.items():
            piece = decode_piece(open_message(data))
            assert piece.number == number
            self.pieces[number] = piece
            if not len(piece.vertices):
                del self.pieces[number]
            self.bytes += len(data)
        if update.motion is not None:
            self.motion = decode_motion(open_message(update.motion))
            self.bytes += len(update.motion)

    def vertices(self) -> np.ndarray:
        assert self.motion is not None
        turns = matrix_from_quaternion(self.motion.rotations_xyzw.astype(np.float64))[self.follows]
        places = self.motion.positions_m.astype(np.float64)[self.follows]
        found = []
        for piece in self.pieces.values():
            out = np.zeros(piece.vertices.shape)
            for k in range(4):
                b = piece.bones[:, k]
                seen = np.einsum("vij,vj->vi", self.binds[b][:, :, :3], piece.vertices) + self.binds[b][:, :, 3]
                out += piece.weights[:, k, None] * (np.einsum("vij,vj->vi", turns[b], seen) + places[b])
            found.append(out)
        return np.concatenate(found) if found else np.zeros((0, 3))


def pose_of(seed: int, t_ns: int = S) -> BodyPose:
    rng = np.random.default_rng(seed)
    turns = rng.normal(0, 0.25, (22, 4))
    turns[:, 3] = 1
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    root = np.array([0.3, 0.95, -0.4], np.float32)
    return BodyPose(t_ns, turns.astype(np.float32), root, contacts=np.array([True, False]), flags=("left_lost",))


def joints_of(pose: BodyPose, skeleton: Skeleton) -> np.ndarray:
    turns = matrix_from_quaternion(pose.rotations_xyzw)
    return forward_kinematics(skeleton.offsets_m, turns, pose.root_position_m.astype(np.float64))[0]


def test_a_body_is_drawn_where_its_avatar_is() -> None:
    avatar = LbsAvatar()
    encoder, drawn = BodyEncoder(), Drawn()
    for seed in range(3):
        pose = pose_of(seed)
        update = encoder.encode(pose, joints_of(pose, avatar.skeleton), avatar.skin, latency_us=1234)
        assert bool(update.skeletons) == bool(update.pieces) == (seed == 0)
        drawn.take(update)
        assert drawn.motion is not None and drawn.motion.contacts == (True, False)
        assert drawn.motion.flags == ("left_lost",) and drawn.motion.latency_us == 1234
        assert update.motion is not None and len(update.motion) < 400
        wanted = avatar.pose(pose.rotations_xyzw, pose.root_position_m).vertices
        assert len(drawn.vertices()) == len(wanted)
        # A piece keeps the order of vertices.
        assert np.linalg.norm(drawn.vertices() - wanted, axis=1).max() < 0.003
        assert np.linalg.norm(drawn.vertices() - wanted, axis=1).mean() < 0.0005


def test_another_skin_begins_anew_and_a_broken_pose_begins_nothing() -> None:
    encoder = BodyEncoder()
    skeleton = np.zeros((22, 3))
    broken = pose_of(0)
    broken.rotations_xyzw[3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        encoder.encode(broken, skeleton, None)
    first = encoder.encode(pose_of(0), skeleton, None)
    again = encoder.encode(pose_of(1), skeleton, None)
    assert first.begins and len(first.skeletons) == 1 and not again.begins and not again.skeletons
    assert decode_skeleton(open_message(first.skeletons[0])).names == JOINTS


def spread(a: np.ndarray, b: np.ndarray) -> float:
    """How far points of a are from the nearest of b, at most."""
    return float(KDTree(b).query(a)[0].max())


def test_a_surface_is_drawn_where_its_graph_moves_it() -> None:
    skin, graph = waving_sheet()
    encoder, drawn = SurfaceEncoder(kb_per_s=1e4), Drawn()
    drawn.take(encoder.encode(graph, skin, now_ns=0, status=Status.DEGRADED))
    assert drawn.motion is not None and drawn.motion.status is Status.DEGRADED
    wanted = posed(skin, graph_motion(graph)).vertices
    assert sum(len(piece.faces) for piece in drawn.pieces.values()) == len(skin.mesh.faces)
    assert spread(drawn.vertices(), wanted) < 0.004 and spread(wanted, drawn.vertices()) < 0.004
    assert len(drawn.pieces) > 4


def test_a_surface_that_grows_is_sent_piece_by_piece_within_its_budget() -> None:
    skin, graph = waving_sheet(side=120, nodes=100)
    encoder, drawn = SurfaceEncoder(kb_per_s=100.0), Drawn()
    bytes_of = []
    for frame in range(300):  # ten seconds in which the sheet grows row by row
        rows = 30 + frame * 90 // 300
        kept = skin.mesh.faces[(skin.mesh.faces < rows * 120).all(axis=1)]
        mesh = Mesh(skin.mesh.vertices, kept, skin.mesh.normals, skin.mesh.colours)
        now = SkinnedMesh(mesh, skin.bones, skin.weights, skin.bone_from_bind)
        before = drawn.bytes
        drawn.take(encoder.encode(graph, now if frame % 8 == 0 else None, now_ns=frame * S // 30))
        bytes_of.append(drawn.bytes - before)
    assert sum(bytes_of) < 100e3 * (10 + 2)
    # Colours are noise here, which does not pack: even so all of it is there in the end, or nearly.
    wanted = posed(now, graph_motion(graph)).vertices[np.unique(kept)]
    assert (KDTree(drawn.vertices()).query(wanted)[0] < 0.012).mean() > 0.95


def test_nodes_that_come_are_added_and_a_new_model_begins_anew() -> None:
    skin, graph = waving_sheet(nodes=64)
    few = GraphSnapshot(S, *(getattr(graph, n)[:40] for n in ("positions", "rotations", "translations", "edges",
                                                              "clusters", "active")))  # fmt: skip
    encoder, drawn = SurfaceEncoder(), Drawn()
    first = encoder.encode(few, None, now_ns=0)
    drawn.take(first)
    more = encoder.encode(graph, skin, now_ns=S)
    drawn.take(more)
    assert first.begins and not more.begins
    assert [decode_skeleton(open_message(d)).first for d in (*first.skeletons, *more.skeletons)] == [0, 40]
    np.testing.assert_allclose(drawn.binds[:, :, 3], -graph.positions, atol=1e-6)
    assert encoder.encode(few, None, now_ns=2 * S).begins  # fewer nodes: it cannot be the same model
    encoder.forget()
    assert encoder.encode(few, None, now_ns=3 * S).begins


def test_pieces_that_are_gone_are_said_to_be_gone() -> None:
    skin, graph = waving_sheet()
    encoder, drawn = SurfaceEncoder(kb_per_s=1e4), Drawn()
    drawn.take(encoder.encode(graph, skin, now_ns=0))
    less = Mesh(skin.mesh.vertices, skin.mesh.faces[:50], skin.mesh.normals, skin.mesh.colours)
    drawn.take(encoder.encode(graph, SkinnedMesh(less, skin.bones, skin.weights, skin.bone_from_bind), now_ns=S))
    assert sum(len(piece.faces) for piece in drawn.pieces.values()) == 50
    none = Mesh(skin.mesh.vertices, skin.mesh.faces[:0], skin.mesh.normals, skin.mesh.colours)
    drawn.take(encoder.encode(graph, SkinnedMesh(none, skin.bones, skin.weights, skin.bone_from_bind), now_ns=2 * S))
    assert drawn.pieces == {}


def test_pieces_that_come_and_go_leave_no_more_behind_than_there_ever_were() -> None:
    skin, graph = waving_sheet()
    encoder, kept = SurfaceEncoder(kb_per_s=1e5), {}
    none = Mesh(skin.mesh.vertices, skin.mesh.faces[:0], skin.mesh.normals, skin.mesh.colours)
    nothing = SkinnedMesh(none, skin.bones, skin.weights, skin.bone_from_bind)
    most = 0
    for frame in range(20):
        update = encoder.encode(graph, nothing if frame % 2 else skin, now_ns=frame * S)
        kept |= update.pieces
        most = max(most, len(update.pieces))
    assert most > 1 and len(kept) == most


def test_a_surface_that_stays_costs_its_motions_alone() -> None:
    skin, graph = waving_sheet()
    encoder = SurfaceEncoder(kb_per_s=1e4)
    encoder.encode(graph, skin, now_ns=0)
    rng = np.random.default_rng(1)
    noisy = Mesh(skin.mesh.vertices + rng.normal(0, 1e-5, skin.mesh.vertices.shape).astype(np.float32) + 1e-4,
                 skin.mesh.faces, skin.mesh.normals, skin.mesh.colours)  # fmt: skip
    again = encoder.encode(graph, SkinnedMesh(noisy, skin.bones, skin.weights, skin.bone_from_bind), now_ns=S)
    assert again.pieces == {} and again.skeletons == ()
    assert again.motion is not None and len(again.motion) == 32 + 32 + 64 * 10


def test_what_a_surface_that_stayed_left_of_its_budget_is_not_sent_at_once() -> None:
    skin, graph = waving_sheet(side=120, nodes=60)
    encoder = SurfaceEncoder(kb_per_s=40.0)
    first = sum(map(len, encoder.encode(graph, skin, now_ns=0).pieces.values()))
    for second in range(1, 11):  # all of it is there, and then nothing changes
        encoder.encode(graph, skin, now_ns=second * S)
    rest = encoder.encode(graph, skin, now_ns=60 * S)
    assert first > 0.9 * 2 * 40e3 and rest.pieces == {}
    moved = Mesh(skin.mesh.vertices + np.float32(0.05), skin.mesh.faces, skin.mesh.normals, skin.mesh.colours)
    anew = encoder.encode(graph, SkinnedMesh(moved, skin.bones, skin.weights, skin.bone_from_bind), now_ns=120 * S)
    sizes = [len(data) for data in anew.pieces.values()]
    assert 0 < sum(sizes) < 0.9 * 0.6 * 40e3 + max(sizes)


def test_motions_of_a_long_time_are_paid_from_what_was_earned_in_it() -> None:
    """Who was held up for seconds before it looked again still sends what has changed."""
    skin, _ = waving_sheet()
    renewal = Renewal(100e3, 0)

    def look(seconds: float, moved_bytes: int, x_m: float) -> dict[int, bytes]:
        moved = Mesh(
            skin.mesh.vertices + np.float32([x_m, 0, 0]), skin.mesh.faces, skin.mesh.normals, skin.mesh.colours
        )
        surface = SkinnedMesh(moved, skin.bones, skin.weights, skin.bone_from_bind)
        now_ns = round(seconds * S)
        return renewal.look(surface, now_ns, now_ns=now_ns, moved_bytes=moved_bytes, pack=lambda _: bytes(1000))

    assert look(0.0, 0, 0.0)
    assert look(10.0, 800_000, 0.02)
    assert not look(20.0, 2_600_000, 0.04)  # they took more than there was
    assert look(40.0, 2_600_000, 0.06)


def test_links_and_whole_meshes_come_to_who_asks() -> None:
    skin, graph = waving_sheet()
    encoder = SurfaceEncoder()
    mesh = posed(skin, graph_motion(graph))
    update = encoder.encode(graph, None, now_ns=0, links=True, mesh=mesh)
    assert update.graph is not None and update.whole is not None
    links = decode_graph(open_message(update.graph))
    pairs = {tuple(sorted((i, int(j)))) for i, row in enumerate(graph.edges) for j in row if j >= 0}
    assert {tuple(pair) for pair in links.edges.tolist()} == pairs
    np.testing.assert_array_equal(decode_whole(open_message(update.whole)).mesh.vertices, mesh.vertices)
    assert encoder.encode(graph, None, now_ns=S, links=True).graph is None  # as before
    broken = graph_of(graph, np.nan)
    with pytest.raises(InputError, match="not finite"):
        SurfaceEncoder().encode(broken, None, now_ns=0)


def graph_of(graph: GraphSnapshot, value: float) -> GraphSnapshot:
    moved = graph.translations.copy()
    moved[3, 1] = value
    return GraphSnapshot(graph.t_ns, graph.positions, graph.rotations, moved, graph.edges, graph.clusters)


def test_what_is_too_large_for_a_piece_is_cut() -> None:
    vertices, faces = sheet(40)
    bones = (np.arange(len(vertices))[:, None] // 4 + np.arange(4)).astype(np.int32)
    whole = Piece(0, vertices, faces, vertex_normals(vertices, faces), None, bones, np.full((len(vertices), 4), 0.25))
    pieces = list(cut(whole))
    assert len(pieces) > 1 and sum(len(p.faces) for p in pieces) == len(faces)
    assert all(len(np.unique(p.bones)) <= 256 for p in pieces)
    found = np.concatenate([p.vertices[p.faces].reshape(-1, 9) for p in pieces])
    wanted = vertices[faces].reshape(-1, 9)
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(wanted, axis=0))


def test_messages_are_of_the_kinds_that_they_say() -> None:
    skin, graph = waving_sheet()
    update = SurfaceEncoder().encode(graph, skin, now_ns=0)
    assert update.motion is not None
    assert open_message(update.motion).kind is Kind.SURFACE
    assert {open_message(data).kind for data in update.pieces.values()} == {Kind.PIECE}
    skins = {open_message(data).skin for data in (*update.skeletons, *update.pieces.values(), update.motion)}
    assert len(skins) == 1 and 0 not in skins
