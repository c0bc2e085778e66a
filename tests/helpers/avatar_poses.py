"""Poses and proportions that the tests of avatars and of their files share."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.avatar import load_rig
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, Skeleton, align_rest
from bodystream.types import Array

IDENTITY = np.tile([0.0, 0.0, 0.0, 1.0], (len(JOINTS), 1))


def own_skeleton() -> Skeleton:
    """Of the shipped body."""
    return align_rest(load_rig().bind_positions_m)[0]


def lengthened(factor: float, *joints: str) -> Skeleton:
    """The shipped body's, with the bones that end at `joints` (of both sides) `factor` times as long."""
    offsets = own_skeleton().offsets_m.copy()
    for name in JOINTS:
        if name in joints or name.partition("_")[2] in joints:
            offsets[JOINT_INDEX[name]] *= factor
    return Skeleton(offsets)


def other_rig() -> Skeleton:
    """A rig that puts pelvis, spine, neck, hips and head elsewhere than the shipped one, as motion capture does."""
    places = {
        "pelvis": (0.0, 0.973, 0.0), "spine1": (0.0, 1.09, 0.0), "spine2": (0.0, 1.20, 0.0), "spine3": (0.0, 1.31, 0.0),
        "neck": (0.0, 1.32, 0.01), "head": (0.0, 1.50, 0.01),
    }  # fmt: skip
    sided = {
        "hip": (0.09, 0.87, -0.035), "knee": (0.09, 0.44, -0.035), "ankle": (0.09, 0.033, -0.035),
        "foot": (0.09, 0.0, -0.16), "collar": (0.0, 1.32, 0.01), "shoulder": (0.196, 1.37, 0.025),
        "elbow": (0.48, 1.37, 0.025), "wrist": (0.76, 1.37, 0.025),
    }  # fmt: skip
    for name, (x, y, z) in sided.items():
        places[f"right_{name}"], places[f"left_{name}"] = (x, y, z), (-x, y, z)
    return align_rest(np.array([places[name] for name in JOINTS]))[0]


def size_of(skeleton: Skeleton) -> float:
    """How large a person is, in parts of the shipped body: by the height of the shoulders above the ankles."""
    height = [
        s.rest_positions_m[JOINT_INDEX["left_shoulder"], 1] - s.rest_positions_m[JOINT_INDEX["left_ankle"], 1]
        for s in (skeleton, own_skeleton())
    ]
    return float(height[0] / height[1])


SKELETONS = {
    "own": own_skeleton,
    "child": lambda: own_skeleton().scaled(0.7),
    "long limbs": lambda: lengthened(1.2, "knee", "ankle", "elbow", "wrist"),
    "other rig": other_rig,
}


def pose_of(**degrees: tuple[float, float, float]) -> Array:
    """(22, 4) with the rotation vectors of some joints [degrees]; a name without a side poses both, mirrored."""
    pose = IDENTITY.copy()
    for name, vector in degrees.items():
        if name in JOINT_INDEX:
            pose[JOINT_INDEX[name]] = Rotation.from_rotvec(vector, degrees=True).as_quat()
        else:
            x, y, z = vector
            pose[JOINT_INDEX[f"right_{name}"]] = Rotation.from_rotvec([x, y, z], degrees=True).as_quat()
            pose[JOINT_INDEX[f"left_{name}"]] = Rotation.from_rotvec([x, -y, -z], degrees=True).as_quat()
    return pose


POSES = {
    "T": IDENTITY,
    "A": pose_of(shoulder=(0, 0, -45)),
    "hanging": pose_of(shoulder=(0, 0, -80), elbow=(0, 15, 0)),
    "seated": pose_of(hip=(90, 0, 8), knee=(-95, 0, 0), shoulder=(20, 0, -70), elbow=(0, 80, 0)),
    "arms up": pose_of(collar=(0, 0, 15), shoulder=(0, 0, 70)),
    "turned": pose_of(pelvis=(20, 160, -10), spine2=(5, 20, 0), head=(10, 40, 0), wrist=(60, 0, 0)),
}


def random_pose(seed: int, spread_rad: float = 0.5) -> Array:
    rng = np.random.default_rng(seed)
    return Rotation.from_rotvec(rng.normal(size=(len(JOINTS), 3)) * spread_rad).as_quat()
