"""A skin for who can be sent bones but no posed vertices: the joints, and nodes where these do not bring the surface.

Pages and other machines pose a surface by linear blend skinning, which a learned avatar's clothes are not moved by. Of
these a vertex follows a few nodes near it instead, as in embedded deformation (Sumner, Schmid and Pauly, 2007). A node
is a vertex itself, so that it stands where the avatar put it, and it is turned as the joints that it hangs on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from bodystream.avatar.clothed.avatar import ClothedAvatar, ClothedModel
from bodystream.avatar.clothed.body import BONES, ClothedBody
from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.rotations import matrix_from_quaternion
from bodystream.geometry.skeleton import ARMS, JOINTS, PARENTS, forward_kinematics
from bodystream.geometry.skinning import unturned_bones
from bodystream.types import Array, SkinnedMesh

__all__ = ["NodeSkin", "make_node_skin"]

_POSES = 12
_NEAR_M = 0.004
"""So near to where the avatar puts a vertex joints have to bring it."""
_SPACING_M, _MOST_NODES = 0.03, 256
_INFLUENCES = 4
_FACING_M = 0.05
"""How far surfaces are thought apart whose normals differ by a right angle, as a sleeve and the side beneath it."""


@dataclass(frozen=True, slots=True)
class NodeSkin:
    """A surface at bind, its first 22 bones the joints, the others nodes.

    Attributes:
        skin: in the avatar's canonical pose.
        vertices: (N,) that the nodes are.
        joints, shares: (N, 4) that turn each node, the foremost first, and how much.
        canonical_xyzw: (22, 4) of the joints at bind.
        error_mean_mm, error_max_mm: of its vertices against the avatar's, in some poses that it was learned from.
    """

    skin: SkinnedMesh
    vertices: Array
    joints: Array
    shares: Array
    canonical_xyzw: Array
    error_mean_mm: float
    error_max_mm: float

    def turned(self, joints_xyzw: Array) -> Array:
        """(N, 4) unit quaternions of the nodes where the joints are turned by (22, 4) in the world."""
        return _turned(joints_xyzw, self.canonical_xyzw, self.joints, self.shares)


@dataclass(frozen=True, slots=True)
class _Stance:
    """The avatar in one pose: (22, 4) and (22, 3) of its joints, and its (V, 3) vertices [m]."""

    joints_xyzw: Array
    joints_m: Array
    vertices: Array


def make_node_skin(model: ClothedModel) -> NodeSkin:
    """Of a learned avatar. It is posed a few times, which takes some tenths of a second."""
    body = model.body
    bind = body.vertices.astype(np.float64)
    bones, weights = _of_joints(body)
    canonical = _standing(body, Rotation.from_matrix(body.canonical_rotations).as_quat())
    inverse_binds = np.linalg.inv(_matrices(canonical.joints_xyzw, canonical.joints_m))
    stances = _stances(model)
    off = np.stack(
        [_away(bind, bones, weights, _matrices(s.joints_xyzw, s.joints_m) @ inverse_binds, s.vertices) for s in stances]
    )
    nodes = _spread(bind, np.flatnonzero(off.max(0) > _NEAR_M))
    if len(nodes) <= _INFLUENCES:  # too few to lie between
        nodes = nodes[:0]
    joints, shares = bones[nodes], weights[nodes]
    if len(nodes):
        near, closeness = _near_nodes(body, nodes)
        shifts = unturned_bones(bind[nodes])
        by_nodes = np.empty_like(off)
        for out, s in zip(by_nodes, stances, strict=True):
            turns = _turned(s.joints_xyzw, canonical.joints_xyzw, joints, shares)
            out[:] = _away(bind, near, closeness, _matrices(turns, s.vertices[nodes]) @ shifts, s.vertices)
        moved = (off.max(0) > _NEAR_M) & (by_nodes.max(0) < off.max(0))
        bones[moved], weights[moved] = len(JOINTS) + near[moved], closeness[moved]
        off[:, moved] = by_nodes[:, moved]
    skin = SkinnedMesh(
        body.surface,
        bones.astype(np.int32),
        weights.astype(np.float32),
        np.concatenate([inverse_binds, unturned_bones(bind[nodes])]),
        np.concatenate([PARENTS, joints[:, 0]]).astype(np.int32),
    )
    mean_mm, max_mm = 1e3 * float(off.mean()), 1e3 * float(off.max())
    return NodeSkin(skin, nodes, joints, shares, canonical.joints_xyzw, mean_mm, max_mm)


def _of_joints(body: ClothedBody) -> tuple[Array, Array]:
    """(V, 4) joints and weights, the largest first; the hands' bones are the wrists', with which they turn."""
    full: Array = np.zeros((len(body.vertices), BONES))
    np.put_along_axis(full, body.skin_bones, body.skin_weights, axis=1)  # padding has no weight, and comes last
    for hand, (_, wrist) in enumerate(ARMS.values(), len(JOINTS)):
        full[:, wrist] += full[:, hand]
    most = np.argsort(-full[:, : len(JOINTS)], axis=1, kind="stable")[:, :_INFLUENCES]
    weights = np.take_along_axis(full, most, axis=1)
    return most, weights / weights.sum(1, keepdims=True)


def _standing(body: ClothedBody, rotations_xyzw: Array) -> _Stance:
    """The joints alone, the pelvis at the origin."""
    turns = matrix_from_quaternion(np.asarray(rotations_xyzw, np.float64))
    places, world = forward_kinematics(body.skeleton.offsets_m, turns, np.zeros(3))
    return _Stance(Rotation.from_matrix(world).as_quat(), places, np.zeros((0, 3)))


def _stances(model: ClothedModel) -> list[_Stance]:
    """Poses that the avatar was learned from, joint by joint."""
    avatar, known = ClothedAvatar(model), model.known_poses.rotations
    found = []
    for chosen in np.random.default_rng(0).integers(known.shape[1], size=_POSES):
        bare = _standing(model.body, known[:, chosen])
        vertices = avatar.pose(known[:, chosen], np.zeros(3)).vertices.astype(np.float64)
        found.append(_Stance(bare.joints_xyzw, bare.joints_m, vertices))
    return found


def _matrices(rotations_xyzw: Array, positions_m: Array) -> Array:
    out = np.tile(np.eye(4), (len(positions_m), 1, 1))
    out[:, :3, :3], out[:, :3, 3] = matrix_from_quaternion(np.asarray(rotations_xyzw, np.float64)), positions_m
    return out


def _away(bind: Array, bones: Array, weights: Array, moved: Array, wanted: Array) -> Array:
    """(V,) how far (V, 3) points skinned by (B, 4, 4) are from (V, 3) others [m]."""
    blended = np.einsum("vk,vkij->vij", weights, moved[bones][:, :, :3])
    return np.linalg.norm(np.einsum("vij,vj->vi", blended[..., :3], bind) + blended[..., 3] - wanted, axis=1)


def _spread(bind: Array, candidates: Array) -> Array:
    """Indices of vertices as far from each other as they can be, until none of the candidates is far from all."""
    if not len(candidates):
        return candidates
    points, found = bind[candidates], [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(found) < _MOST_NODES and distance.max() > _SPACING_M:
        found.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[found[-1]], axis=1))
    return candidates[found]


def _near_nodes(body: ClothedBody, nodes: Array) -> tuple[Array, Array]:
    """(V, 4) nodes and weights, which fall to nothing at the fifth, so that none begins or ends at once."""
    normals = vertex_normals(body.vertices, body.faces)
    placed = np.hstack([body.vertices, _FACING_M / np.sqrt(2.0) * normals])
    distance, found = KDTree(placed[nodes]).query(placed, _INFLUENCES + 1)
    near = np.asarray(found)
    share = (1.0 - distance[:, :_INFLUENCES] / np.maximum(distance[:, -1:], 1e-9)) ** 2 + 1e-9
    return near[:, :_INFLUENCES], share / share.sum(1, keepdims=True)


def _turned(joints_xyzw: Array, canonical_xyzw: Array, joints: Array, shares: Array) -> Array:
    turns = (Rotation.from_quat(joints_xyzw) * Rotation.from_quat(canonical_xyzw).inv()).as_quat()[joints]
    # Of the two quaternions of a rotation the one on the side of the foremost joint's.
    turns *= np.where((turns * turns[:, :1]).sum(-1, keepdims=True) < 0.0, -1.0, 1.0)
    blended = (shares[..., None] * turns).sum(1)
    return blended / np.linalg.norm(blended, axis=-1, keepdims=True)
