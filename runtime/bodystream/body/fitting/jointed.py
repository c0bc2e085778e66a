"""A body posed by its joints: what a scan is compared with before anything is known, and laid on it by them.

Codes of an embedding are no good to begin with: what raises an arm in one pose twists it in another. Joints are, and
what skinning makes of them is near enough for the encoder to say which code it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial import KDTree

from bodystream.body.alignment import aligned, turn_onto
from bodystream.body.decoder import BodyCodes, BodyDecoder, BodyEncoder
from bodystream.body.fitting.landmarks import KnownPlaces
from bodystream.body.fitting.placed import Placement
from bodystream.body.fitting.scan import even_points
from bodystream.body.fitting.vertices import fit_vertices
from bodystream.body.person import Person
from bodystream.body.posing import BonePoints, JointState, Pull
from bodystream.body.target import with_normals
from bodystream.geometry.normals import vertex_normals
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS
from bodystream.types import Array

__all__ = ["JointedBodies", "LaidBody"]

_ARMS = {
    "half": (45.0, 0.0, 0.0), "down": (78.0, 0.0, 10.0), "out": (5.0, 0.0, 0.0), "up": (-55.0, 0.0, 10.0),
    "ahead": (10.0, 80.0, 10.0), "bent": (70.0, 0.0, 95.0), "folded": (60.0, 35.0, 125.0),
}  # fmt: skip
"""How far upper arms are turned down out of a T, then ahead, and elbows bent [degrees]."""
_LEGS = {
    "stand": ((0.0, 0.0), (0.0, 0.0)), "apart": ((0.0, 14.0), (0.0, 14.0)), "left": ((28.0, 12.0), (-12.0, 12.0)),
    "right": ((-12.0, 12.0), (28.0, 12.0)), "seated": ((85.0, 85.0), (85.0, 85.0)),
}  # fmt: skip
"""How far each thigh is ahead and its knee is bent, or of `apart` to the side [degrees]."""
_BODY_POINTS = 700
_REACHES_M = (0.3, 0.3, 0.25, 0.25, 0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.08, 0.08, 0.06, 0.06)
_DRAWN, _BACK = 0.02, 0.5
_FAR_M = 0.3
_MARKED = 20.0
_NEAR, _NEARER = 10, 30
"""Bodies that are made to find the codes of one that was skinned, from the encoder's and without one."""


@dataclass(frozen=True, slots=True)
class LaidBody:
    """A body laid on points by its joints.

    Attributes:
        state: of the joints. score_m: mean distance of both from each other, far ones cut.
    """

    state: JointState
    score_m: float


class JointedBodies:
    """A body in poses of its joints.

    Args:
        decoder: whose bundle has a skin.
        shape: (S,) whose body it is, of a size that stays; None is the mean one, whose size is sought.
    """

    def __init__(self, decoder: BodyDecoder, shape: Array | None = None) -> None:
        assert decoder.skin is not None
        self._decoder, self._sized = decoder, shape is None
        neutral = decoder.vertices(np.zeros(decoder.facts.shape) if shape is None else shape)
        self._person = Person(decoder.skin, neutral, decoder.space.faces)
        some = even_points(neutral, _BODY_POINTS)  # not vertices as they come: half of them are in hands and face
        self._few = self._person.points.taken(some)
        facing = vertex_normals(neutral, decoder.space.faces).astype(np.float64)[some]
        turns, _ = self._person.kinematics(self._person.neutral_state)
        seen = np.einsum("bji,vj->vbi", turns, facing)  # as each joint sees them
        self._facing = (self._few.weights[:, :, None] * seen).reshape(len(some), -1)
        self._rotations = [_posed(arms, legs) for arms, legs in _combinations()]
        self._encoder = BodyEncoder(decoder) if decoder.facts.encoder else None

    def bodies(self) -> list[Array]:
        """Of each pose (N, 3) points, about the pelvis, -z ahead [m]."""
        return [self.placed(JointState(rotations, np.zeros(3))) for rotations in self._rotations]

    def state_of(self, vertices: Array) -> JointState:
        """Joints of the (V, 3) vertices of this body in a pose [m]."""
        return self._person.pose_of(vertices).state

    def placed(self, state: JointState) -> Array:
        """(N, 3) points of the body in a pose [m]."""
        return self._person.moved(self._few, state)

    def with_other_arms(self, state: JointState) -> list[JointState]:
        """The same with one arm in each of the usual poses."""
        out = []
        for arm in _ARMS:
            posed = _posed((arm, arm), "stand")
            for side in ("left", "right"):
                rotations = state.rotations.copy()
                for joint in ("shoulder", "elbow", "wrist"):
                    rotations[JOINT_INDEX[f"{side}_{joint}"]] = posed[JOINT_INDEX[f"{side}_{joint}"]]
                out.append(JointState(rotations, state.root, state.size))
        return out

    def state(self, number: int, rotation: Array, move: Array, size: float) -> JointState:
        """Joints of one of the poses, turned and moved as `size * body @ rotation.T + move`."""
        rotations = self._rotations[number].copy()
        rotations[0] = rotation @ rotations[0]
        return JointState(rotations, np.asarray(move, np.float64), size)

    def laid(
        self, state: JointState, points: Array, normals: Array | None = None, landmarks: KnownPlaces | None = None, *,
        eye: Array | None = None, reaches_m: Sequence[float] = _REACHES_M,
    ) -> LaidBody:  # fmt: skip
        """The body whose joints lay it on points best.

        Args:
            state: to begin with.
            points: (N, 3) of a surface [m]. normals: (N, 3) outwards.
            landmarks: places that are known.
            eye: (3,) from where the points were seen, where that is one place: sides that look away are on none.
            reaches_m: of each round, the distance from which on a pair counts less.
        """
        person, begun = self._person, state.rotations
        seen = points if normals is None else with_normals(points, normals)
        tree = KDTree(seen)
        marks = None if landmarks is None else self._landmarks(landmarks)
        for reach_m in reaches_m:
            at, facing = self._placed(state)
            ours = at if normals is None else with_normals(at, facing)
            seen_share = 1.0 if eye is None else (np.vecdot(facing, eye - at) > 0.0).astype(np.float64)
            away, near = (np.asarray(found) for found in tree.query(ours))
            other, back = (np.asarray(found) for found in KDTree(ours).query(seen))
            pulls = [
                Pull(self._few, points[near], None, seen_share * _BACK * _weight(away, reach_m)),
                Pull(self._few.taken(back), points, None, _weight(other, reach_m)),
            ]
            if marks is not None and landmarks is not None:
                share = _MARKED * len(points) / (10.0 * len(landmarks.points))
                pulls.append(Pull(marks, landmarks.points, None, np.full(len(landmarks.points), share)))
            state = person.step(state, pulls, begun, _DRAWN, sized=self._sized)
        ours, facing = self._placed(state)
        away, back = np.asarray(KDTree(points).query(ours)[0]), np.asarray(KDTree(ours).query(points)[0])
        if eye is not None:
            away = away[np.vecdot(facing, eye - ours) > 0.0]
        score = float(np.minimum(back, _FAR_M).mean() + _BACK * np.minimum(away, _FAR_M).mean())
        return LaidBody(state, score)

    def by_landmarks(self, landmarks: KnownPlaces) -> JointState:
        """The pose whose own places of landmarks lie best on them, turned and moved there."""
        marks, everywhere = self._landmarks(landmarks), np.ones(len(landmarks.points), bool)
        middle = landmarks.points.mean(axis=0)
        best: tuple[float, JointState] | None = None
        for rotations in self._rotations:
            own = self._person.moved(marks, JointState(rotations, np.zeros(3)))
            turn = turn_onto(own, landmarks.points, everywhere)
            off = (own - own.mean(axis=0)) @ turn - (landmarks.points - middle)
            score = float(np.vecdot(off, off).mean())
            if best is None or score < best[0]:
                turned = rotations.copy()
                turned[0] = turn.T @ turned[0]
                best = score, JointState(turned, middle - turn.T @ own.mean(axis=0))
        assert best is not None
        return best[1]

    def codes(self, state: JointState) -> tuple[BodyCodes, Placement]:
        """The body of the embedding that is nearest to what skinning makes, and where it stands."""
        decoder = self._decoder
        vertices = self._person.vertices(state)
        start = None
        if self._encoder is not None:
            space = decoder.space
            laid = aligned(vertices, space.reference, decoder.laid_by)
            told = self._encoder.engine.run({"features": space.features(laid)[None].astype(np.float32)})
            start = BodyCodes(told["shape"][0].copy(), told["pose"][0].copy())
        found = fit_vertices(decoder, vertices, start, evaluations=_NEARER if start is None else _NEAR)
        return found.codes, found.placement

    def _placed(self, state: JointState) -> tuple[Array, Array]:
        """(N, 3) points and their unit normals."""
        turns, _ = self._person.kinematics(state)
        normals = self._facing @ turns.transpose(0, 2, 1).reshape(-1, 3)
        return self.placed(state), normals / np.linalg.norm(normals, axis=1, keepdims=True)

    def _landmarks(self, landmarks: KnownPlaces) -> BonePoints:
        """Means of vertices as points of bones."""
        points = self._person.points
        weights = landmarks.weights @ points.weights
        seen = np.einsum("lv,vb,vbi->lbi", landmarks.weights, points.weights, points.seen, optimize=True)
        return BonePoints(seen / np.maximum(weights, 1e-12)[..., None], weights)


def _combinations() -> list[tuple[tuple[str, str], str]]:
    """Poses of arms and legs, both arms alike first."""
    alike = [((arm, arm), legs) for legs in _LEGS for arm in _ARMS]
    return alike + [((a, b), legs) for legs in _LEGS for a, b in product(_ARMS, _ARMS) if a != b]


def _posed(arms: tuple[str, str], legs: str) -> Array:
    """(22, 3, 3) local rotations on the canonical skeleton, whose zero is a T with -z ahead."""
    out = np.tile(np.eye(3), (len(JOINTS), 1, 1))
    for side, arm, sign in (("left", arms[0], 1.0), ("right", arms[1], -1.0)):
        down, ahead, bend = np.radians(_ARMS[arm])
        out[JOINT_INDEX[f"{side}_shoulder"]] = _about(1, -sign * ahead) @ _about(2, sign * down)
        out[JOINT_INDEX[f"{side}_elbow"]] = _about(1, -sign * bend)
        first, second = np.radians(_LEGS[legs][0 if side == "left" else 1])
        if legs == "apart":
            out[JOINT_INDEX[f"{side}_hip"]] = _about(2, -sign * second)
        else:
            out[JOINT_INDEX[f"{side}_hip"]] = _about(0, first)
            out[JOINT_INDEX[f"{side}_knee"]] = _about(0, -second)
    return out


def _about(axis: int, angle_rad: float) -> Array:
    return matrix_from_rotation_vector(angle_rad * np.eye(3)[axis])


def _weight(away: Array, reach_m: float) -> Array:
    share = 1.0 / (1.0 + (away / reach_m) ** 2)
    return share * share
