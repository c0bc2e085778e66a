"""An avatar that was learned: a person in clothes that follow the pose (Invertible Neural Skinning)."""

from __future__ import annotations

import numpy as np
import warp as wp

from bodystream.avatar.base import FarPose, Posing, pose_quaternions
from bodystream.avatar.clothed.body import (
    REPOSE_GRAPH,
    TABLES_GRAPH,
    ClothedBody,
    PosedBy,
    graph_signatures,
    load_clothed,
)
from bodystream.avatar.clothed.bones import BonePoser
from bodystream.avatar.clothed.exact import ExactPoser
from bodystream.avatar.clothed.known_poses import load_known_poses
from bodystream.avatar.clothed.tables import TablePoser
from bodystream.avatar.heading import bones_in_heading
from bodystream.avatar.own_bones import OwnBones
from bodystream.avatar.posed_surface import PosedAvatar
from bodystream.avatar.retarget import Build, Foot, Retarget, hips_height_m
from bodystream.bundles import Bundle
from bodystream.device import select_device
from bodystream.engines import Engine, ProviderName, open_engine
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton
from bodystream.types import Array, BodyPose, SkinnedMesh

__all__ = ["ClothedAvatar", "ClothedModel", "PosedBy"]


class ClothedModel:
    """An avatar's bundle that was read: what all avatars made of it share.

    Args:
        bundle: of the kind `avatar`.

    Attributes:
        body: see `ClothedBody`. build: its proportions. known_poses: that it was learned from.

    Raises:
        BundleError: it is of another kind or version, or damaged.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle, self.body = bundle, load_clothed(bundle)
        self.build, self.known_poses = _build(self.body), load_known_poses(bundle)


class ClothedAvatar(PosedAvatar):
    """A learned person in clothes.

    Poses are a person's, as of every avatar; `retarget` takes them to the body's own proportions, where the person has
    others. There is no skin that linear blend skinning could carry: only posed vertices exist. An object is for one
    thread.

    Args:
        model: the bundle.
        skeleton: the person's proportions; default: the body's own.
        device: where it is posed; default: `select_device("cpu")`.
        posed_by: tables of what the network's layers do in the pose, or the network itself, vertex by vertex; default:
            what the manifest says, which says also how far tables are from the network.
        provider: what runs the networks; see `open_engine`.

    Raises:
        BundleError: a graph of the bundle is missing or of another version.
    """

    def __init__(
        self,
        model: ClothedModel,
        skeleton: Skeleton | None = None,
        device: wp.Device | None = None,
        *,
        posed_by: PosedBy | None = None,
        provider: ProviderName = "auto",
    ) -> None:
        self.model, self._asked_for = model, posed_by
        self.posed_by: PosedBy = posed_by or model.body.section.posed_by
        self._on = select_device("cpu") if device is None else device
        self._retarget = None if skeleton is None else Retarget(skeleton, model.build)
        body = model.body
        self._bones = BonePoser(body.skeleton, body.hands_m, body.canonical_rotations)
        self._far: FarPose | None = None  # of the last pose
        self._provider: ProviderName = provider
        self._tables: TablePoser | None = None
        self._exact: ExactPoser | None = None
        if self.posed_by == "tables":
            self._tables = TablePoser(body, self._engine(TABLES_GRAPH), self._on)
        super().__init__(model.build.skeleton if skeleton is None else skeleton, self._tables or self._network())

    def _engine(self, file: str) -> Engine:
        wanted = graph_signatures(self.model.body.section, len(self.model.body.vertices))[file]
        return open_engine(self.model.bundle, file, provider=self._provider, wanted=wanted, device=self._on)

    def _network(self) -> ExactPoser:
        if self._exact is None:
            self._exact = ExactPoser(self.model.body, self._engine(REPOSE_GRAPH), self._on)
        return self._exact

    @property
    def retarget(self) -> Retarget | None:
        return self._retarget

    @property
    def skin(self) -> SkinnedMesh | None:
        return None

    @property
    def posing(self) -> Posing:
        if self._tables is None:
            reason = "it was asked for" if self._asked_for else "this avatar's tables are too far from it"
            return Posing("network", reason, self._far)
        if self._poser is not self._tables:
            return Posing("network", "the pose spreads the surface wider than the tables reach", self._far)
        return Posing("tables", "they come to what the network does, and take less time", self._far)

    def pose_on_device(self, rotations: Array, root_position_m: Array) -> None:
        """Fill `vertices` and `normals`; see `Avatar.pose_on_device`."""
        quaternions, root = pose_quaternions(rotations, root_position_m)
        if self._retarget is not None:
            taken = self._retarget.pose(BodyPose(0, quaternions, root))
            quaternions, root = taken.rotations_xyzw, taken.root_position_m
        self._far = self.model.known_poses.far(quaternions)
        bones, frame = bones_in_heading(self._bones.posed(quaternions, root))
        if self._tables is not None:
            self._poser = self._tables
            self._tables.pose(bones, frame)
        if self._tables is None or self._tables.lost:
            # Nobody in clothes is as wide as that; but what a rig can be bent to is posed all the same. On CUDA looking
            # costs a wait for the pose, which is better than a surface that is wrong in places and says nothing.
            exact = self._poser = self._network()
            exact.pose(bones, frame)


def _build(body: ClothedBody) -> Build:
    """The proportions that poses are taken to; its feet are the surface that follows ankles and toes most."""
    rest = body.skeleton.rest_positions_m
    poser = BonePoser(body.skeleton, body.hands_m, body.canonical_rotations)
    upright = np.tile(np.array([0.0, 0.0, 0.0, 1.0]), (len(JOINTS), 1))
    bones = poser.posed(upright, np.zeros(3))  # the T-pose from the canonical one
    heaviest = body.skin_bones[:, 0]
    feet = []
    for side in ("left", "right"):
        parts = []
        for name in ("ankle", "foot"):
            joint = JOINT_INDEX[f"{side}_{name}"]
            points = body.vertices[heaviest == joint].astype(np.float64)
            parts.append(points @ bones[joint, :3, :3].T + bones[joint, :3, 3] - rest[joint])
        if not len(parts[0]):
            parts[0] = np.zeros((1, 3))  # a foot that nothing is seen of ends at its ankle
        feet.append(Foot(*parts))
    unturned = np.tile(np.eye(4), (len(JOINTS), 1, 1))
    own = OwnBones(np.ones(len(JOINTS), bool), np.array(PARENTS), unturned, unturned)
    pair = (feet[0], feet[1])
    return Build(body.skeleton, own, pair, hips_height_m(body.skeleton, pair))
