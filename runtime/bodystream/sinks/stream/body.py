"""A driven body as messages: its skin once, and for each pose the rotations and places of its joints and fingers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from bodystream.avatar.clothed.node_skin import NodeSkin
from bodystream.geometry.fingers import finger_motion
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.geometry.skinning import body_motion
from bodystream.sinks.stream.pieces import body_pieces
from bodystream.sinks.stream.subject import Figures, Update
from bodystream.types import Array, BodyPose, HeadsetSample, Mesh, SkinnedMesh
from bodystream.wire.envelope import Kind, Message, pack_message
from bodystream.wire.meshes import Skeleton, WholeMesh, encode_piece, encode_skeleton, encode_whole
from bodystream.wire.motions import SIDES, Device, Motion, encode_motion

__all__ = ["BodyEncoder", "CarriedNodes"]

_SKINS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class CarriedNodes:
    """A learned avatar's nodes in a pose.

    Attributes:
        of: the avatar. places_m: (N, 3) [m].
    """

    of: NodeSkin
    places_m: Array


class BodyEncoder:
    """Turns poses into updates, one after the other, on one thread."""

    def __init__(self) -> None:
        self._skin: SkinnedMesh | None = None
        self._number = 0
        self._poses = self._wholes = 0

    def knows(self, skin: SkinnedMesh | None) -> bool:
        """Whether `skin` is what was packed last, so that a pose of it takes little time."""
        return self._number > 0 and skin is self._skin

    def encode(
        self,
        pose: BodyPose,
        joints_m: Array,
        skin: SkinnedMesh | None,
        sample: HeadsetSample | None = None,
        *,
        nodes: CarriedNodes | None = None,
        latency_us: int = 0,
        mesh: Mesh | None = None,
        figures: Figures | None = None,
    ) -> Update:
        """One pose of the body that is shown.

        Args:
            pose, joints_m: of the 22 joints, and where they are [m].
            skin: that hangs on them; None of a body that has posed vertices only, and of one that `nodes` carry.
            sample: what was measured, beside the body that is shown; joints of tracked hands move its fingers.
            nodes: of a learned avatar, in place of a skin.
            mesh: the posed surface, for who asked for whole meshes.

        Raises:
            InputError: a pose that is not finite.
        """
        skin = skin if nodes is None else nodes.of.skin
        begins = self._number == 0 or skin is not self._skin
        t_ns = int(pose.t_ns)
        bones = body_motion(pose, joints_m)  # first: where it raises, nothing has begun
        skeletons: tuple[bytes, ...] = ()
        pieces: dict[int, bytes] = {}
        if begins:
            self._skin, self._number = skin, next(_SKINS)
            skeletons = (self._pack(Kind.SKELETON, encode_skeleton(_skeleton(skin, nodes)), t_ns, deflate=True),)
            if skin is not None:
                pieces = {
                    piece.number: self._pack(Kind.PIECE, encode_piece(piece), t_ns, piece.number, deflate=True)
                    for piece in body_pieces(skin)
                }
        rotations, places = bones.rotations_xyzw, bones.positions_m
        if skin is not None and skin.fingers:
            turned, moved = finger_motion(skin.fingers, bones, sample)
            sent = _sent_fingers(skin)
            rotations, places = np.concatenate([rotations, turned[sent]]), np.concatenate([places, moved[sent]])
        if nodes is not None:
            rotations = np.concatenate([rotations, nodes.of.turned(bones.rotations_xyzw)])
            places = np.concatenate([places, nodes.places_m])
        motion = Motion(
            rotations,
            places,
            pose.status,
            None if pose.contacts is None else (bool(pose.contacts[0]), bool(pose.contacts[1])),
            pose.flags,
            () if sample is None else _devices(sample),
            latency_us,
        )
        whole = None
        if mesh is not None:
            self._wholes += 1
            whole = self._pack(Kind.WHOLE, encode_whole(WholeMesh(mesh)), t_ns, self._wholes, deflate=True)
        self._poses += 1
        return Update(
            begins,
            skeletons,
            pieces,
            self._pack(Kind.BODY, encode_motion(motion), t_ns, self._poses),
            whole=whole,
            figures=figures,
        )

    def _pack(self, kind: Kind, payload: bytes, t_ns: int, sequence: int = 0, deflate: bool = False) -> bytes:
        return pack_message(Message(kind, payload, sequence, self._number, t_ns), deflate=deflate)


def _skeleton(skin: SkinnedMesh | None, nodes: CarriedNodes | None) -> Skeleton:
    joints = np.arange(len(JOINTS))
    if skin is None:
        unmoved = np.tile(np.eye(3, 4, dtype=np.float32), (len(JOINTS), 1, 1))
        return Skeleton("body", 0, len(JOINTS), unmoved, np.array(PARENTS), joints, JOINTS)
    count = len(skin.bone_from_bind)
    assert skin.parents is not None
    # Bones that are no joints stand on one and never turn against it, but for those of fingers.
    follows = np.concatenate([joints, skin.parents[len(JOINTS) :]])
    for entry, k in enumerate(_sent_fingers(skin), len(JOINTS)):
        follows[list(skin.fingers[k].bones)] = entry
    if nodes is not None:
        follows[len(JOINTS) :] = np.arange(len(JOINTS), count)
    names = skin.names or (*JOINTS, *(f"bone {i}" for i in range(len(JOINTS), count)))
    return Skeleton("body", 0, count, skin.bone_from_bind[:, :3], skin.parents, follows, names)


def _sent_fingers(skin: SkinnedMesh) -> list[int]:
    """Those that move something: entries of a motion that no bone follows would be sent for nothing."""
    return [k for k, finger in enumerate(skin.fingers) if finger.bones]


def _devices(sample: HeadsetSample) -> tuple[Device, ...]:
    tracked = ((side, getattr(sample, side)) for side in SIDES)
    return tuple(
        Device(side, device.kind, device.position_m, device.rotation_xyzw)
        for side, device in tracked
        if device is not None
    )
