"""Captured performances as takes: surfaces that share their vertices, of which nobody wrote down the pose.

The pose is found in two steps. In one frame, in which the person stands with hanging arms, the shipped body's size and
pose are fitted to the surface. Each vertex then follows the bones of the nearest skin there, and in every other frame
the pose is the one in which the vertices, moved by linear blend skinning, are nearest to where they were captured: with
correspondences that is well determined. Clothes do not follow bones exactly, and some vertices follow the wrong bone;
distances count by Huber's measure, so that the many right ones decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.avatar.take.canonical import BONES, pose_of_bones, posed_from_canonical, rest_joints
from bodystream.avatar.take.checks import check_finite
from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.body.posing import BonePoints, JointState, Posing, Pull
from bodystream.bundles.arrays import load_npz
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton
from bodystream.types import Array
from bodystream_training.avatar.data.surface import QuerySurface

__all__ = ["FittedPerformance", "fit_performance", "read_performance"]

_MAX_BYTES = 1 << 30
_FEW = 1500  # vertices that a fit looks at
_FARTHEST_M = 0.06
_HUBER_M = 0.03
_YAWS = 8
_ARMS_DOWN_RAD = np.radians(55.0)
_NORMAL_M = 0.15
"""Of two points whose normals differ by one, the distance that this adds when the nearest is sought."""
_ROUGH_ROUNDS, _FINE_ROUNDS, _FRAME_ROUNDS = 6, 25, 12
_REST_WEIGHTS, _STILL_WEIGHT = (10.0, 1.0), 0.02
"""How much joints are drawn to the pose that a fit began from, in points that are a Huber's length off per radian: in
the first frame at first and then, in later ones."""


@dataclass(frozen=True, slots=True)
class FittedPerformance:
    """What was found.

    Attributes:
        skeleton: of the person. rotations: (T, 22, 3, 3). root_positions_m: (T, 3).
        weights: (V, 24) of the bones that vertices follow.
        distances_m: (T,) median distance of vertices from where skinning puts them.
    """

    skeleton: Skeleton
    rotations: Array
    root_positions_m: Array
    weights: Array
    distances_m: Array


def read_performance(path: Path, test_share: float = 0.25) -> AvatarTake:
    """A performance out of a file with `vertices` (T, V, 3) [m], or `vertices_q` and `scale`, and `faces` (F, 3).

    Its first frame must be one in which the person stands with hanging arms; up is y.

    Args:
        test_share: of the frames, the last ones, that are for tests: the motions are called `begin` and `end`.

    Raises:
        InputError: arrays are not there or do not fit, or no body fits into the first frame.
    """
    arrays = load_npz(path, _MAX_BYTES)
    if "faces" not in arrays or not ({"vertices"} <= set(arrays) or {"vertices_q", "scale"} <= set(arrays)):
        raise InputError(f"{path} must hold faces, and vertices or vertices_q with scale")
    if "vertices" in arrays:
        vertices = arrays["vertices"].astype(np.float64)
    else:
        vertices = arrays["vertices_q"].astype(np.float64) * float(arrays["scale"])
    if vertices.ndim != 3 or vertices.shape[2] != 3 or len(vertices) < 2:
        raise InputError(f"{path}: vertices must be (frames, V, 3) of at least 2 frames, got {vertices.shape}")
    for number, frame in enumerate(vertices):
        check_finite(frame, f"{path}, frame {number}")
    faces = arrays["faces"].astype(np.int32)
    found = fit_performance(vertices, faces)
    transforms = posed_from_canonical(found.skeleton, found.rotations, found.root_positions_m)
    first_test = len(vertices) - max(1, round(test_share * len(vertices)))
    frames = tuple(
        PosedFrame(
            number, "begin" if number < first_test else "end", surface.astype(np.float32), moved.astype(np.float32),
            pose_of_bones(moved).astype(np.float32),
        )
        for number, (surface, moved) in enumerate(zip(vertices, transforms, strict=True))
    )  # fmt: skip
    farthest = int(found.distances_m.argmax())
    note = (
        f"poses were fitted: vertices are {1e3 * np.median(found.distances_m):.0f} mm (median) from where skinning "
        f"puts them, {1e3 * found.distances_m[farthest]:.0f} mm in frame {farthest}"
    )
    return AvatarTake(
        path.stem, "captured", 0, 30.0, rest_joints(found.skeleton).astype(np.float32), frames,
        {"train": ("begin",), "test": ("end",)}, faces=faces, skin_weights=found.weights.astype(np.float32),
        origin="captured, poses fitted", notes=(note,),
    )  # fmt: skip


def fit_performance(
    vertices: Array, faces: Array, say: Callable[[int, float], None] = lambda *_: None
) -> FittedPerformance:
    """Bones of a performance, (T, V, 3) vertices [m] that share (F, 3) faces.

    Args:
        say: told of each frame and its median distance [m].

    Raises:
        InputError: no body fits into the first frame.
    """
    body = _Body()
    state = _first_state(body, vertices[0], faces)
    weights = _carried_weights(body, state, vertices[0])
    few = np.random.default_rng(0).permutation(vertices.shape[1])[:_FEW]
    turns, places = body.kinematics(state)
    # As each joint sees the points, in the body's own size.
    seen = np.einsum("bji,nbj->nbi", turns, vertices[0, few][:, None] - places) / state.size
    points = BonePoints(seen, weights[few])
    rotations = np.zeros((len(vertices), len(JOINTS), 3, 3))
    roots, distances = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
    for number, surface in enumerate(vertices):
        target = surface[few]
        moved = body.moved(points, state)
        state = replace(state, root=state.root + np.median(target - moved, axis=0))
        before = state
        for _ in range(_FRAME_ROUNDS if number else 0):
            state = body.step(state, [Pull(points, target)], before.rotations, _STILL_WEIGHT)
        distance = float(np.median(np.linalg.norm(body.moved(points, state) - target, axis=1)))
        rotations[number], roots[number], distances[number] = state.rotations, state.root, distance
        say(number, distance)
    whole = np.concatenate([weights, np.zeros((len(weights), len(BONES) - len(JOINTS)))], axis=1)
    return FittedPerformance(Skeleton(body.offsets_m * state.size), rotations, roots, whole, distances)


class _Body(Posing):
    """The shipped body: offsets of its joints, and its skin as each joint sees it."""

    def __init__(self) -> None:
        fitted = fit_rig(load_rig())
        skin = fitted.skin
        super().__init__(fitted.skeleton.offsets_m, _HUBER_M)
        self.faces = skin.mesh.faces
        self.height_m = float(np.ptp(skin.mesh.vertices[:, 1]))
        weights = np.zeros((len(skin.bones), len(JOINTS)))
        for influence in range(skin.bones.shape[1]):
            np.add.at(weights, (np.arange(len(weights)), skin.bones[:, influence]), skin.weights[:, influence])
        bind = skin.bone_from_bind.astype(np.float64)
        seen = np.einsum("bij,vj->vbi", bind[:, :3, :3], skin.mesh.vertices.astype(np.float64)) + bind[:, :3, 3]
        self.skin = BonePoints(seen, weights)
        few = np.random.default_rng(0).permutation(len(weights))[:_FEW]
        self.few = self.skin.taken(few)
        normals = _vertex_normals(skin.mesh.vertices.astype(np.float64), skin.mesh.faces)[few]
        self.facing = np.einsum("bij,vj->vbi", bind[:, :3, :3], normals)  # (N, 22, 3): of the few, seen from joints


def _standing(yaw_rad: float) -> Array:
    """(22, 3, 3) of a person with hanging arms who is turned to their left."""
    pose = np.zeros((len(JOINTS), 3))
    pose[0, 1] = yaw_rad
    for side, sign in (("left", 1.0), ("right", -1.0)):
        pose[JOINT_INDEX[f"{side}_shoulder"], 2] = sign * _ARMS_DOWN_RAD
    return matrix_from_rotation_vector(pose)


def _first_state(body: _Body, vertices: Array, faces: Array) -> JointState:
    """Pose and size of the body in a surface, by iterated nearest points from several headings."""
    few = np.random.default_rng(1).permutation(len(vertices))[:_FEW]
    scan = vertices[few], _vertex_normals(vertices, faces)[few]
    size = float(np.ptp(vertices[:, 1])) / body.height_m
    middle = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    fitted: list[tuple[float, int, JointState]] = []
    for number in range(_YAWS):
        state = JointState(_standing(2 * np.pi * number / _YAWS), np.zeros(3), size)
        lift = vertices[:, 1].min() - body.moved(body.few, state)[:, 1].min()
        state = replace(state, root=np.array([middle[0], lift, middle[2]]))
        distance, state = _nearer(body, scan, state, _ROUGH_ROUNDS, _REST_WEIGHTS[0])
        fitted.append((distance, number, state))
    distance, _, state = min(fitted)
    for weight in _REST_WEIGHTS:
        distance, state = _nearer(body, scan, state, _FINE_ROUNDS, weight)
    if not distance < _FARTHEST_M:
        raise InputError(
            f"no body fits into the first frame: {100 * distance:.0f} cm are left on average: it must be one in which "
            "the person stands upright with hanging arms, in metres, y up"
        )
    return state


def _nearer(
    body: _Body, scan: tuple[Array, Array], state: JointState, rounds: int, weight: float
) -> tuple[float, JointState]:
    """Draw skin to a surface's points and these to the skin, each to the nearest that faces the same way, joints to
    the pose of a person who stands.

    Returns:
        The mean distance of the points that is left, and the state.
    """
    points, normals = scan
    skin, standing = body.few, _standing(0.0)
    of_scan = np.concatenate([points, _NORMAL_M * normals], axis=1)
    tree = KDTree(of_scan)
    distance = np.inf
    for number in range(rounds + 1):
        turns, _ = body.kinematics(state)
        facing = np.einsum("nb,bij,nbj->ni", skin.weights, turns, body.facing, optimize=True)
        facing /= np.linalg.norm(facing, axis=1, keepdims=True)
        at = body.moved(skin, state)
        of_skin = np.concatenate([at, _NORMAL_M * facing], axis=1)
        to_skin = np.asarray(KDTree(of_skin).query(of_scan)[1])
        distance = float(np.linalg.norm(at[to_skin] - points, axis=1).mean())
        if number == rounds:
            break
        to_scan = np.asarray(tree.query(of_skin)[1])
        pulls = [Pull(skin, points[to_scan]), Pull(skin.taken(to_skin), points)]
        state = body.step(state, pulls, standing, weight, sized=True)
    return distance, state


def _vertex_normals(vertices: Array, faces: Array) -> Array:
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    normals = np.stack([np.bincount(faces.ravel(), np.repeat(cross[:, k], 3), len(vertices)) for k in range(3)], axis=1)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def _carried_weights(body: _Body, state: JointState, vertices: Array) -> Array:
    """(V, 22): those of the nearest skin."""
    nearest = QuerySurface(body.moved(body.skin, state), body.faces).nearest(vertices)
    carried = nearest.interpolated(body.faces, body.skin.weights)
    return carried / carried.sum(axis=1, keepdims=True)
