"""Receives a body or surface that another machine publishes: the newest pose, and the surface in it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bodystream.errors import InputError, NotReadyError
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
    """What is known of a body or of a surface."""

    skin: int = 0
    skeleton: Skeleton | None = None
    pieces: dict[int, Piece] = field(default_factory=dict)
    newest: ReceivedMotion | None = None
    newest_skin: int = 0
    built: tuple[int, SkinnedMesh] | None = None
    changes: int = 0

    def begin(self, skeleton: Skeleton, skin: int) -> None:
        self.skin, self.skeleton, self.pieces, self.built = skin, skeleton, {}, None
        self.changes += 1


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
        self._changed = threading.Condition()
        self._alive = False
        self._asked_s = 0.0
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
        """The newest pose of the body's 22 joints, or None before there is one."""
        return self._parts["body"].newest

    def surface(self) -> ReceivedMotion | None:
        """The newest motion of a captured surface's nodes, or None."""
        return self._parts["surface"].newest

    def skin(self, of: str) -> SkinnedMesh | None:
        """What the newest motion of `body` or `surface` moves; None as long as it is not here."""
        with self._changed:
            part = self._parts[of]
            skeleton, skin = part.skeleton, part.skin
            if skeleton is None or not part.pieces:
                return None
            if part.built is None:
                part.built = (skin, _joined(skeleton, list(part.pieces.values()), part.changes))
            return part.built[1]

    def bind_positions_m(self) -> Array | None:
        """(22, 3) of the body's joints at bind [m], or None."""
        skeleton = self._parts["body"].skeleton
        if skeleton is None:
            return None
        turned = np.swapaxes(skeleton.bone_from_bind[:, :, :3].astype(np.float64), 1, 2)
        return -np.einsum("bij,bj->bi", turned, skeleton.bone_from_bind[:, :, 3])

    def mesh(self, of: str) -> Mesh:
        """The surface of `body` or `surface` in its newest pose [m].

        Raises:
            NotReadyError: it has not come yet.
        """
        part = self._parts[of]
        skin, newest = self.skin(of), part.newest
        if skin is None or newest is None or part.newest_skin != part.skin:
            raise NotReadyError(f"zenoh:{self.name}: no surface has come yet: wait for it")
        bones = len(skin.bone_from_bind)
        if len(newest.motion.positions_m) < bones:
            raise NotReadyError(f"zenoh:{self.name}: the motion that moves the surface has not come yet: wait for it")
        motion = BoneMotion(newest.t_ns, newest.motion.rotations_xyzw[:bones], newest.motion.positions_m[:bones])
        return posed(skin, motion)

    def wait(self, of: str, after: ReceivedMotion | None, timeout_s: float) -> ReceivedMotion | None:
        """The newest motion, once there is another than `after`; that or None where none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._parts[of].newest is not after, timeout_s)
            return self._parts[of].newest

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._asking is not None:
            self._asking.join(5.0)
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

    def _take_setup(self, sample: Any) -> None:
        self._guard(lambda: self._use_setup(bytes(sample.payload)))

    def _take_motion(self, sample: Any) -> None:
        self._guard(lambda: self._use_motion(open_message(bytes(sample.payload))))

    def _guard(self, use: Any) -> None:
        try:
            use()
        except InputError as error:  # from anybody on the network: it is counted, and the next one may do
            self.refused, self.trouble = self.refused + 1, str(error)

    def _use_setup(self, data: bytes) -> None:
        for message in split_messages(data):
            with self._changed:
                self._use(message)
                self._changed.notify_all()

    def _use(self, message: Message) -> None:
        if message.kind is Kind.SKELETON:
            skeleton = decode_skeleton(message)
            if skeleton.first != 0:
                raise WireError("a skeleton that begins in its middle is of a connection, not of a network")
            self._parts[skeleton.of].begin(skeleton, message.skin)
        elif message.kind is Kind.PIECE:
            part = next((part for part in self._parts.values() if part.skin == message.skin), None)
            if part is None or part.skeleton is None:
                raise WireError("a piece came before its skeleton")
            piece = decode_piece(message)
            if len(piece.bones) and piece.bones.max() >= part.skeleton.total:
                raise WireError("a piece hangs on a bone that its skeleton does not have")
            if sum(len(other.vertices) for other in part.pieces.values()) + len(piece.vertices) > _MAX_VERTICES:
                raise WireError(f"a surface has more than {_MAX_VERTICES} vertices")
            part.pieces[piece.number] = piece
            part.built = None
            part.changes += 1

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
            now = time.monotonic()
            if self._closing or now - self._asked_s < _ASK_EVERY_S or (self._asking and self._asking.is_alive()):
                return
            self._asked_s = now
            self._asking = threading.Thread(target=self._ask_now, name=f"zenoh-{self.name}", daemon=True)
            self._asking.start()

    def _ask_now(self) -> None:
        for reply in self._session.get(key_of(self.name, "setup"), timeout=2.0):
            if reply.ok is not None:
                self._take_setup(reply.ok)


def _joined(skeleton: Skeleton, pieces: list[Piece], version: int) -> SkinnedMesh:
    starts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    coloured = all(piece.colours is not None for piece in pieces)
    mesh = Mesh(
        np.concatenate([piece.vertices for piece in pieces]).astype(np.float32),
        np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)]).astype(np.int32),
        np.concatenate([piece.normals for piece in pieces]).astype(np.float32),
        np.concatenate([piece.colours for piece in pieces if piece.colours is not None]) if coloured else None,
    )
    binds = np.tile(np.eye(4, dtype=np.float32), (skeleton.total, 1, 1))
    binds[:, :3] = skeleton.bone_from_bind
    bones = np.concatenate([piece.bones for piece in pieces]).astype(np.int32)
    weights = np.concatenate([piece.weights for piece in pieces]).astype(np.float32)
    return SkinnedMesh(mesh, bones, weights, binds, version=version)
