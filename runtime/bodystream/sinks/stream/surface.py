"""A captured surface as messages: its graph, its pieces as they change, and for each frame the motion of the nodes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bodystream.geometry.skinning import graph_motion
from bodystream.sinks.stream.renewal import Renewal
from bodystream.sinks.stream.subject import Figures, Update
from bodystream.types import Array, GraphSnapshot, Mesh, SkinnedMesh, Status
from bodystream.wire.envelope import Kind, Message, pack_message
from bodystream.wire.meshes import (
    GraphLinks,
    Skeleton,
    WholeMesh,
    encode_graph,
    encode_piece,
    encode_skeleton,
    encode_whole,
)
from bodystream.wire.motions import Motion, encode_motion

__all__ = ["SurfaceEncoder", "SurfaceParts"]

_SKINS = itertools.count(1_000_001)  # apart from those of bodies


class SurfaceParts:
    """What one skin is sent beside its motions, which takes long: on one thread, which may be another one than theirs.

    The fused surface changes with each frame, a little nearly everywhere; what clients are sent of it is renewed piece
    by piece, see `Renewal`.

    Args:
        number: of the skin.
        bytes_per_s: of a client, motions and pieces together.
        now_ns: time of the skin's beginning.
        sequences: of messages of each kind, over all skins.

    Attributes:
        number: of the skin.
        moved_bytes: of its motions so far; counted by the thread of the motions.
    """

    def __init__(self, number: int, bytes_per_s: float, now_ns: int, sequences: dict[Kind, Iterator[int]]) -> None:
        self.number, self.moved_bytes = number, 0
        self._sequences = sequences
        self._renewal = Renewal(bytes_per_s, now_ns)
        self._links: tuple[Array, Array, Array] | None = None

    def pack(
        self,
        t_ns: int,
        *,
        now_ns: int,
        skin: SkinnedMesh | None = None,
        graph: GraphSnapshot | None = None,
        mesh: Mesh | None = None,
    ) -> Update:
        """What is there of it.

        Args:
            t_ns: of the frame. now_ns: time by which the rate is kept.
            skin: the canonical surface on the nodes, to be looked at again.
            graph: for who wants to see how nodes hang together.
            mesh: the surface in its pose, for who asked for whole meshes.
        """
        pieces: dict[int, bytes] = {}
        if skin is not None:
            pieces = self._renewal.look(
                skin,
                t_ns,
                now_ns=now_ns,
                moved_bytes=self.moved_bytes,
                pack=lambda piece: self._pack(Kind.PIECE, encode_piece(piece), t_ns),
            )
        return Update(
            pieces=pieces,
            graph=None if graph is None else self._new_links(graph, t_ns),
            whole=None if mesh is None else self._pack(Kind.WHOLE, encode_whole(WholeMesh(mesh)), t_ns),
        )

    def _new_links(self, graph: GraphSnapshot, t_ns: int) -> bytes | None:
        now = (graph.edges, graph.clusters, graph.active)
        before, self._links = self._links, now
        if before is not None and all(np.array_equal(a, b) for a, b in zip(before, now, strict=True)):
            return None
        nodes = len(graph.positions)
        pairs = np.stack([np.repeat(np.arange(nodes), graph.edges.shape[1]), graph.edges.reshape(-1)], axis=1)
        pairs = np.unique(np.sort(pairs[pairs[:, 1] >= 0], axis=1), axis=0)
        active = graph.active if len(graph.active) == nodes else np.ones(nodes, bool)
        links = GraphLinks(pairs, np.maximum(graph.clusters, 0), active)
        return self._pack(Kind.GRAPH, encode_graph(links), t_ns)

    def _pack(self, kind: Kind, payload: bytes, t_ns: int) -> bytes:
        return pack_message(Message(kind, payload, next(self._sequences[kind]), self.number, t_ns), deflate=True)


class SurfaceEncoder:
    """Turns frames into updates, one after the other, on one thread.

    Args:
        kb_per_s: of a client, motions and pieces together [kB/s].

    Attributes:
        parts: what the newest skin is sent beside its motions; None before the first.
    """

    def __init__(self, kb_per_s: float = 150.0) -> None:
        self._bytes_per_s = 0.9 * kb_per_s * 1e3  # the rest is for status, pings and the beginning
        self.parts: SurfaceParts | None = None
        self._bones = self._frames = 0
        self._sequences: dict[Kind, Iterator[int]] = {
            kind: itertools.count(1) for kind in (Kind.PIECE, Kind.GRAPH, Kind.WHOLE)
        }

    def forget(self) -> None:
        """The model is another one from the next frame on."""
        self.parts, self._bones = None, 0

    def encode(
        self,
        graph: GraphSnapshot,
        skin: SkinnedMesh | None,
        *,
        now_ns: int,
        status: Status = Status.TRACKED,
        latency_us: int = 0,
        links: bool = False,
        mesh: Mesh | None = None,
        figures: Figures | None = None,
    ) -> Update:
        """One frame and all that goes with it.

        Args:
            graph: the nodes and their motion.
            skin: the canonical surface on them, where it is to be looked at again; None = as it was.
            now_ns: time by which the rate is kept.
            links: whether somebody wants to see how nodes hang together.
            mesh: the surface in its pose, for who asked for whole meshes.

        Raises:
            InputError: a motion that is not finite.
        """
        moved = self.move(graph, now_ns=now_ns, status=status, latency_us=latency_us, figures=figures)
        assert self.parts is not None
        more = self.parts.pack(int(graph.t_ns), now_ns=now_ns, skin=skin, graph=graph if links else None, mesh=mesh)
        return replace(moved, pieces=more.pieces, graph=more.graph, whole=more.whole)

    def move(
        self,
        graph: GraphSnapshot,
        *,
        now_ns: int,
        status: Status = Status.TRACKED,
        latency_us: int = 0,
        figures: Figures | None = None,
    ) -> Update:
        """The motion of one frame, and bones that are new; what else there is, `parts` packs.

        Raises:
            InputError: a motion that is not finite.
        """
        moved = graph_motion(graph)  # first: where it raises, nothing has begun
        t_ns = int(graph.t_ns)
        parts = None if len(graph.positions) < self._bones else self.parts
        begins = parts is None
        if parts is None:
            self._bones = 0
            parts = self.parts = SurfaceParts(next(_SKINS), self._bytes_per_s, now_ns, self._sequences)
        number = parts.number
        skeletons: tuple[bytes, ...] = ()
        if len(graph.positions) > self._bones or begins:
            payload = encode_skeleton(_new_bones(graph, self._bones))
            skeletons = (pack_message(Message(Kind.SKELETON, payload, self._bones, number, t_ns), deflate=True),)
            self._bones = len(graph.positions)
        self._frames += 1
        motion = Motion(moved.rotations_xyzw, moved.positions_m, status, latency_us=latency_us, fine=False)
        packed = pack_message(Message(Kind.SURFACE, encode_motion(motion), self._frames, number, t_ns))
        parts.moved_bytes += len(packed) + sum(map(len, skeletons))
        return Update(begins, skeletons, motion=packed, figures=figures)


def _new_bones(graph: GraphSnapshot, first: int) -> Skeleton:
    total = len(graph.positions)
    binds = np.tile(np.eye(3, 4, dtype=np.float32), (total - first, 1, 1))
    binds[:, :, 3] = -graph.positions[first:]
    bones = np.arange(first, total)
    return Skeleton("surface", first, total, binds, np.full(len(bones), -1), bones)
