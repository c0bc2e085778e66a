"""Receives a body or surface that another machine publishes: the newest pose, and the surface in it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodystream.errors import InputError, NotReadyError
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.geometry.skinning import posed
from bodystream.sinks.network.session import NetworkConfig, check_body_name, key_of, open_network, split_messages
from bodystream.timing import now_ns
from bodystream.types import Array, BoneMotion, Mesh, SkinnedMesh
from bodystream.wire.envelope import Kind, Message, WireError, open_message
from bodystream.wire.meshes import Piece, Skeleton, decode_piece, decode_skeleton
from bodystream.wire.motions import Motion, decode_motion

__all__ = ["NetworkReceiver", "ReceivedMotion"]

_ASK_EVERY_S = 1.0
_MAX_VERTICES = 4_000_000


@dataclass(frozen=True, slots=True)
class ReceivedMotion:
    """The newest motion of a body or surface.

    Attributes:
        sequence: of its publisher; gaps are what was lost on the way.
        t_ns: of the sample or frame, on the clock of the machine that measured it.
        arrived_ns: here, on the clock of `now_ns`.
        motion: rotations and positions of the bones: of a body in the world, of a surface in the camera's frame.
    """

    sequence: int
    t_ns: int
    arrived_ns: int
    motion: Motion


@dataclass(slots=True)
class _Part:
    """What is known of a body or of a surface.

    Attributes:
        skin, t_ns: of the skeleton that it began with; that of another publisher may have the same number.
        binds, follows: of its bones: (B, 3, 4), and the entry of a motion that moves each.
        pieces: by number, with the sequence of each.
    """

    skin: int = 0
    t_ns: int = 0
    binds: Array | None = None
    follows: Array | None = None
    pieces: dict[int, tuple[int, Piece]] = field(default_factory=dict)
    newest: ReceivedMotion | None = None
    newest_skin: int = 0
    built: SkinnedMesh | None = None
    changes: int = 0

    def take_bones(self, skeleton: Skeleton, message: Message) -> None:
        """Bones, of which some or all may be known already.

        Raises:
            WireError: those before them are not known.
        """
        known = 0 if self.binds is None else len(self.binds)
        if skeleton.first == 0:
            if (message.skin, message.t_ns) == (self.skin, self.t_ns) and known:
                return
            self.skin, self.t_ns, self.pieces = message.skin, message.t_ns, {}
            self.binds, self.follows = skeleton.bone_from_bind, skeleton.follows
        elif message.skin != self.skin or skeleton.first > known or self.binds is None or self.follows is None:
            raise WireError(f"bones from {skeleton.first} came, and {known} are known")
        elif skeleton.first == known:
            self.binds = np.concatenate([self.binds, skeleton.bone_from_bind])
            self.follows = np.concatenate([self.follows, skeleton.follows])
        else:
            return
        self.built, self.changes = None, self.changes + 1

    def take_piece(self, piece: Piece, message: Message) -> None:
        """A piece, unless a newer one of its number is here.

        Raises:
            WireError: it hangs on bones that are not known, or there would be too much of it.
        """
        if message.skin != self.skin or self.binds is None:
            raise WireError("a piece came before its skeleton")
        if len(piece.bones) and piece.bones.max() >= len(self.binds):
            raise WireError("a piece hangs on a bone that its skeleton does not have")
        before = self.pieces.get(piece.number)
        if before is not None and before[0] > message.sequence:
            return
        others = sum(len(other.vertices) for number, (_, other) in self.pieces.items() if number != piece.number)
        if others + len(piece.vertices) > _MAX_VERTICES:
            raise WireError(f"a surface has more than {_MAX_VERTICES} vertices")
        self.pieces[piece.number] = (message.sequence, piece)
        self.built, self.changes = None, self.changes + 1

    def forget(self) -> None:
        """What is known is of a publisher that is gone."""
        self.skin, self.t_ns, self.binds, self.follows, self.pieces, self.built = 0, 0, None, None, {}, None


class NetworkReceiver:
    """Follows one name, whether its publisher is there already or comes later.

    Args:
        name: that is published under.
        config: of the network.

    Attributes:
        refused: messages that could not be read.
        trouble: why the last one could not, or empty.

    Raises:
        MissingDependencyError, ConfigurationError: as `open_network`.
    """

    def __init__(self, name: str, config: NetworkConfig | None = None) -> None:
        check_body_name(name)
        self.name, self.refused, self.trouble = name, 0, ""
        self._parts = {"body": _Part(), "surface": _Part()}
        self._changed = threading.Condition(threading.RLock())
        self._alive = False
        self._asked_s = 0.0
        self._asks = False
        self._asking: threading.Thread | None = None
        self._closing = False
        self._session: Any = open_network(NetworkConfig() if config is None else config)
        try:
            self._subscribers = [
                self._session.declare_subscriber(key_of(name, "setup"), self._take_setup),
                self._session.declare_subscriber(key_of(name, "body"), self._take_motion),
                self._session.declare_subscriber(key_of(name, "surface"), self._take_motion),
                self._session.liveliness().declare_subscriber(key_of(name, "alive"), self._take_token, history=True),
            ]
        except BaseException:
            self._session.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether somebody publishes under the name now."""
        return self._alive

    def body(self) -> ReceivedMotion | None:
        """The newest pose of the body, or None before there is one: 22 joints, and behind these what else moves it."""
        return self._parts["body"].newest

    def surface(self) -> ReceivedMotion | None:
        """The newest motion of a captured surface's nodes, or None."""
        return self._parts["surface"].newest

    def skin(self, of: str) -> SkinnedMesh | None:
        """The surface of `body` or `surface` at bind, as far as it has come; None as long as nothing has."""
        with self._changed:
            part = self._parts[of]
            pieces = [piece for _, piece in part.pieces.values() if len(piece.faces)]
            if part.binds is None or not pieces:
                return None
            if part.built is None:
                part.built = _joined(part.binds, pieces, part.changes)
            return part.built

    def rest_positions_m(self) -> Array | None:
        """(22, 3) of the body's joints in the T-pose, the pelvis at the origin [m], not as at bind; or None."""
        binds = self._parts["body"].binds
        if binds is None or len(binds) < len(JOINTS) or not binds[:, :, 3].any():  # without a surface: not known
            return None
        turns, shifts = binds[: len(JOINTS), :, :3].astype(np.float64), binds[: len(JOINTS), :, 3].astype(np.float64)
        bound = -np.einsum("bji,bj->bi", turns, shifts)
        rest = np.zeros_like(bound)
        for joint, parent in enumerate(PARENTS[1:], 1):  # each is where its parent's frame has it, turned by nothing
            rest[joint] = rest[parent] + turns[parent] @ bound[joint] + shifts[parent]
        return rest

    def mesh(self, of: str) -> Mesh:
        """The surface of `body` or `surface` in its newest pose [m].

        Raises:
            NotReadyError: it has not come yet.
        """
        with self._changed:
            part = self._parts[of]
            skin, newest, follows = self.skin(of), part.newest, part.follows
            is_known = part.newest_skin == part.skin
        if skin is None or newest is None or follows is None or not is_known:
            raise NotReadyError(f"zenoh:{self.name}: no surface has come yet: wait for it")
        if len(newest.motion.positions_m) <= int(follows.max()):
            raise NotReadyError(f"zenoh:{self.name}: the motion that moves the surface has not come yet: wait for it")
        motion = newest.motion
        return posed(skin, BoneMotion(newest.t_ns, motion.rotations_xyzw[follows], motion.positions_m[follows]))

    def wait(self, of: str, after: ReceivedMotion | None, timeout_s: float) -> ReceivedMotion | None:
        """The newest motion, once there is another than `after`; that or None where none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._parts[of].newest is not after, timeout_s)
            return self._parts[of].newest

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            asking = self._asking
        if asking is not None:
            asking.join(5.0)
        self._session.close()

    def __enter__(self) -> NetworkReceiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- called by Zenoh's threads -------------------------------------------------------------------------------------

    def _take_token(self, sample: Any) -> None:
        self._alive = "PUT" in str(sample.kind)
        if self._alive:
            self._ask()
            return
        with self._changed:
            for part in self._parts.values():
                part.forget()

    def _take_setup(self, sample: Any) -> None:
        self._guard(lambda: self._use_setup(bytes(sample.payload)))

    def _take_motion(self, sample: Any) -> None:
        self._guard(lambda: self._use_motion(open_message(bytes(sample.payload))))

    def _guard(self, use: Any) -> None:
        try:
            use()
        except InputError as error:  # from anybody on the network: it is counted, and the next one may do
            self.refused, self.trouble = self.refused + 1, str(error)
            self._ask()

    def _use_setup(self, data: bytes) -> None:
        for message in split_messages(data):
            with self._changed:
                self._use(message)
                self._changed.notify_all()

    def _use(self, message: Message) -> None:
        if message.kind is Kind.SKELETON:
            skeleton = decode_skeleton(message)
            self._parts[skeleton.of].take_bones(skeleton, message)
        elif message.kind is Kind.PIECE:
            piece = decode_piece(message)
            part = next((part for part in self._parts.values() if part.skin == message.skin), None)
            if part is None:
                raise WireError("a piece came before its skeleton")
            part.take_piece(piece, message)

    def _use_motion(self, message: Message) -> None:
        of = "body" if message.kind is Kind.BODY else "surface"
        motion = decode_motion(message)
        with self._changed:
            part = self._parts[of]
            part.newest = ReceivedMotion(message.sequence, message.t_ns, now_ns(), motion)
            part.newest_skin = message.skin
            is_known = part.skin == message.skin
            self._changed.notify_all()
        if not is_known:
            self._ask()

    def _ask(self) -> None:
        """Ask for bones and surface, on a thread of its own: a query must not be waited for in a callback."""
        with self._changed:
            self._asks = True
            if self._closing or self._asking is not None:
                return
            self._asking = threading.Thread(target=self._ask_while_wanted, name=f"zenoh-{self.name}", daemon=True)
            self._asking.start()

    def _ask_while_wanted(self) -> None:
        """What is asked for too soon after the last time is put off, and not forgotten: no motion may follow."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, max(0.0, self._asked_s + _ASK_EVERY_S - time.monotonic()))
                if self._closing or not self._asks:
                    self._asking = None
                    return
                self._asks, self._asked_s = False, time.monotonic()
            for reply in self._session.get(key_of(self.name, "setup"), timeout=2.0):
                if reply.ok is not None:
                    self._take_setup(reply.ok)


def _joined(binds: Array, pieces: list[Piece], version: int) -> SkinnedMesh:
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    mesh = Mesh(
        np.concatenate([piece.vertices for piece in pieces]).astype(np.float32),
        np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)]).astype(np.int32),
        np.concatenate([piece.normals for piece in pieces]).astype(np.float32),
        np.concatenate([_colours(piece) for piece in pieces]),
    )
    whole = np.tile(np.eye(4, dtype=np.float32), (len(binds), 1, 1))
    whole[:, :3] = binds
    bones = np.concatenate([piece.bones for piece in pieces]).astype(np.int32)
    weights = np.concatenate([piece.weights for piece in pieces]).astype(np.float32)
    return SkinnedMesh(mesh, bones, weights, whole, version=version)


def _colours(piece: Piece) -> Array:
    if piece.colours is not None:
        return piece.colours
    return np.tile(np.array(piece.colour[:3], np.uint8), (len(piece.vertices), 1))
