"""A captured surface as messages: its graph, its pieces as they change, and for each frame the motion of the nodes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.skinning import graph_motion, influences
from bodystream.sinks.stream.pieces import cells_of, cut
from bodystream.sinks.stream.subject import Figures, Update
from bodystream.types import Array, GraphSnapshot, Mesh, SkinnedMesh, Status
from bodystream.wire.envelope import Kind, Message, pack_message
from bodystream.wire.meshes import (
    GraphLinks,
    Piece,
    Skeleton,
    WholeMesh,
    encode_graph,
    encode_piece,
    encode_skeleton,
    encode_whole,
)
from bodystream.wire.motions import Motion, encode_motion

__all__ = ["SurfaceEncoder"]

_SKINS = itertools.count(1_000_001)  # apart from those of bodies
_GRAIN_M = 0.008
"""What vertices are rounded to before it is asked which have changed: a voxel, so that noise is no change."""
_CELL_GRAINS = 5  # bits
_CELL_MASK = ~sum(((1 << _CELL_GRAINS) - 1) << shift for shift in (0, 21, 42))
"""Leaves of a grain the cube of 32 grains a side, 26 cm, by which a surface is cut: a person's has some thirty."""
_CHANGED = 0.08
"""Of the vertices of a piece, the share that must be others before it is sent again."""
_WEIGHT_STEPS = 31
_BURST_S = 2.0


@dataclass(slots=True)
class _Known:
    """A piece as it was last sent: its number, its vertices by grain, and when."""

    number: int
    grains: Array
    t_ns: int


class SurfaceEncoder:
    """Turns frames into updates, one after the other, on one thread.

    The fused surface changes with each frame, a little nearly everywhere; what clients are sent of it is renewed piece
    by piece, the most changed one first, as fast as `kb_per_s` allows beside the motions.

    Args:
        kb_per_s: of a client, motions and pieces together [kB/s].
    """

    def __init__(self, kb_per_s: float = 150.0) -> None:
        self._bytes_per_s = 0.9 * kb_per_s * 1e3  # the rest is for status, pings and the beginning
        self._number = 0
        self._bones = 0
        self._known: dict[int, _Known] = {}
        self._pieces = itertools.count()
        self._free: list[int] = []  # numbers of pieces that are gone, so that those who keep all of them keep no more
        self._links: tuple[int, Array, Array, Array] | None = None
        self._frames = self._graphs = self._wholes = self._renewals = 0
        self._credit = 0.0
        self._last_ns: int | None = None

    def forget(self) -> None:
        """The model is another one from the next frame on."""
        self._number = self._bones = 0
        self._known.clear()
        self._free.clear()
        self._links = None

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
        """One frame.

        Args:
            graph: the nodes and their motion.
            skin: the canonical surface on them, where it is to be looked at again; None = as it was.
            now_ns: time by which the rate is kept.
            links: whether somebody wants to see how nodes hang together.
            mesh: the surface in its pose, for who asked for whole meshes.

        Raises:
            InputError: a motion that is not finite.
        """
        moved = graph_motion(graph)  # first: where it raises, nothing has begun
        t_ns, count = int(graph.t_ns), len(graph.positions)
        begins = self._number == 0 or count < self._bones
        if begins:
            self.forget()
            self._number = next(_SKINS)
            self._credit, self._last_ns = self._bytes_per_s * _BURST_S, now_ns
        skeletons = self._new_bones(graph, t_ns)
        motion = Motion(moved.rotations_xyzw, moved.positions_m, status, latency_us=latency_us, fine=False)
        self._frames += 1
        packed = self._pack(Kind.SURFACE, encode_motion(motion), t_ns, self._frames)
        self._earn(now_ns)
        self._credit -= len(packed) + sum(map(len, skeletons))
        whole = None
        if mesh is not None:
            self._wholes += 1
            whole = self._pack(Kind.WHOLE, encode_whole(WholeMesh(mesh)), t_ns, self._wholes, deflate=True)
        return Update(
            begins,
            skeletons,
            {} if skin is None else self._renew(skin, t_ns),
            packed,
            self._new_links(graph, t_ns) if links else None,
            whole,
            figures,
        )

    def _new_bones(self, graph: GraphSnapshot, t_ns: int) -> tuple[bytes, ...]:
        first, total = self._bones, len(graph.positions)
        if first == total and first:
            return ()
        binds = np.tile(np.eye(3, 4, dtype=np.float32), (total - first, 1, 1))
        binds[:, :, 3] = -graph.positions[first:]
        bones = np.arange(first, total)
        skeleton = Skeleton("surface", first, total, binds, np.full(len(bones), -1), bones)
        self._bones = total
        return (self._pack(Kind.SKELETON, encode_skeleton(skeleton), t_ns, first, deflate=True),)

    def _new_links(self, graph: GraphSnapshot, t_ns: int) -> bytes | None:
        now = (self._number, graph.edges, graph.clusters, graph.active)
        before, self._links = self._links, now
        if before is not None and before[0] == now[0]:
            arrays = ((before[1], graph.edges), (before[2], graph.clusters), (before[3], graph.active))
            if all(np.array_equal(a, b) for a, b in arrays):
                return None
        nodes = len(graph.positions)
        pairs = np.stack([np.repeat(np.arange(nodes), graph.edges.shape[1]), graph.edges.reshape(-1)], axis=1)
        pairs = np.unique(np.sort(pairs[pairs[:, 1] >= 0], axis=1), axis=0)
        active = graph.active if len(graph.active) == nodes else np.ones(nodes, bool)
        self._graphs += 1
        links = GraphLinks(pairs, np.maximum(graph.clusters, 0), active)
        return self._pack(Kind.GRAPH, encode_graph(links), t_ns, self._graphs, deflate=True)

    def _renew(self, skin: SkinnedMesh, t_ns: int) -> dict[int, bytes]:
        """Pieces to send again, the most changed first, as long as there is credit."""
        mesh = skin.mesh
        out: dict[int, bytes] = {}
        grains = cells_of(mesh.vertices, _GRAIN_M)
        cell_of_face = grains[mesh.faces[:, 0]] & _CELL_MASK
        shown = np.zeros(len(grains), bool)
        shown[mesh.faces[:, 0]] = True
        now = _by_cell(grains[shown])
        for cell in [cell for cell in self._known if cell not in now]:
            gone = self._known.pop(cell)
            self._free.append(gone.number)
            out |= self._renewed(_nothing(gone.number), t_ns)
        wanted = []
        for cell, of in now.items():
            known = self._known.get(cell)
            changed = np.inf if known is None else _difference(known.grains, of)
            if changed > _CHANGED:
                age_s = 0.0 if known is None else (t_ns - known.t_ns) * 1e-9
                wanted.append((changed * (1.0 + age_s), cell, of))
        if not wanted or self._credit <= 0:
            return out
        wanted.sort(key=lambda one: -one[0])
        joints, weights, _ = influences(skin)
        normals = vertex_normals(mesh.vertices, mesh.faces) if mesh.normals is None else mesh.normals
        whole = Piece(0, mesh.vertices, mesh.faces, normals, mesh.colours, joints.astype(np.int32), _coarse(weights))
        for _, cell, of in wanted:
            if self._credit <= 0:
                break
            known = self._known.get(cell)
            number = known.number if known is not None else self._free.pop() if self._free else next(self._pieces)
            # One part: a cell of a graph's surface is far smaller than what a message holds.
            part = next(cut(replace(whole, number=number, faces=mesh.faces[cell_of_face == cell])))
            out |= self._renewed(part, t_ns)
            self._known[cell] = _Known(number, of, t_ns)
        return out

    def _renewed(self, piece: Piece, t_ns: int) -> dict[int, bytes]:
        self._renewals += 1
        data = self._pack(Kind.PIECE, encode_piece(piece), t_ns, self._renewals, deflate=True)
        self._credit -= len(data)
        return {piece.number: data}

    def _earn(self, now_ns: int) -> None:
        if self._last_ns is not None:
            earned = max(0, now_ns - self._last_ns) * 1e-9 * self._bytes_per_s
            self._credit = min(self._bytes_per_s * _BURST_S, self._credit + earned)
        self._last_ns = now_ns

    def _pack(self, kind: Kind, payload: bytes, t_ns: int, sequence: int = 0, deflate: bool = False) -> bytes:
        return pack_message(Message(kind, payload, sequence, self._number, t_ns), deflate=deflate)


def _by_cell(grains: Array) -> dict[int, Array]:
    """The grains of each cube, each once and sorted."""
    grains = np.unique(grains)
    cells = grains & _CELL_MASK
    order = np.argsort(cells, kind="stable")
    numbers, starts = np.unique(cells[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(grains[order], starts[1:]), strict=True)) if len(numbers) else {}


def _difference(before: Array, now: Array) -> float:
    """Share of what is in one of two sorted sets and not in the other."""
    shared = len(np.intersect1d(before, now, assume_unique=True))
    return 1.0 - shared / max(1, len(before) + len(now) - shared)


def _nothing(number: int) -> Piece:
    none = np.zeros((0, 3), np.float32)
    return Piece(number, none, np.zeros((0, 3), np.int32), none, None, np.zeros((0, 4), np.int32), np.zeros((0, 4)))


def _coarse(weights: Array) -> Array:
    """Weights in a few steps: between nodes that are centimetres apart nobody sees it, and it packs better."""
    steps = np.round(weights * _WEIGHT_STEPS)
    total = steps.sum(axis=1, keepdims=True)
    return np.where(total > 0, steps / np.maximum(total, 1), weights)
