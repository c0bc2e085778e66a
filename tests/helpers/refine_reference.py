"""The refiner's cost in plain double-precision numpy, written from its definition, and problems to try it on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from bodystream.geometry.skeleton import (
    HEAD,
    JOINT_INDEX,
    JOINTS,
    LEFT_HAND,
    PARENTS,
    RIGHT_HAND,
    Skeleton,
    forward_kinematics,
)
from bodystream.pose.limits import LIMITS, excesses
from bodystream.pose.refine import DEFAULT_JOINT_STD_RAD, REFINED_JOINTS, PoseTargets, RefineConfig

EFFECTORS = [HEAD, LEFT_HAND, RIGHT_HAND]
UNKNOWNS = 3 * len(REFINED_JOINTS) + 3


@dataclass
class Case:
    """A sample, what was observed, and the pose that it was observed of."""

    skeleton: Skeleton
    sample: np.ndarray
    root: np.ndarray
    targets: PoseTargets
    truth: np.ndarray
    truth_root: np.ndarray


def rotvec(vectors):
    flat = np.asarray(vectors, np.float64)
    return Rotation.from_rotvec(flat.reshape(-1, 3)).as_matrix().reshape(*flat.shape, 3)


def natural_pose(rng: np.random.Generator) -> np.ndarray:
    """(22, 3, 3): someone who stands with bent arms."""
    vectors = rng.normal(0.0, 0.08, (22, 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        vectors[JOINT_INDEX[f"{side}_shoulder"]] += (0.0, -0.5 * sign, sign * rng.uniform(0.2, 1.2))
        vectors[JOINT_INDEX[f"{side}_elbow"]] = (rng.normal(0, 0.2), -sign * rng.uniform(0.4, 1.6), 0.0)
        vectors[JOINT_INDEX[f"{side}_hip"]] = (0.25, 0.0, 0.0)
        vectors[JOINT_INDEX[f"{side}_knee"]] = (-0.5, 0.0, 0.0)
    vectors[0] = (0.0, rng.uniform(-3.0, 3.0), 0.0)
    return rotvec(vectors)


def case(seed: int, skeleton: Skeleton, spread: float = 0.7, root_off_m: float = 0.01) -> Case:
    """A pose and a sample that is off by `spread` standard deviations in the refined joints."""
    rng = np.random.default_rng(seed)
    truth, root = natural_pose(rng), np.array([0.3, 0.9, -0.2])
    off = np.zeros((22, 3))
    off[list(REFINED_JOINTS)] = rng.normal(0.0, spread, (len(REFINED_JOINTS), 3))
    sample = rotvec(off * DEFAULT_JOINT_STD_RAD[:, None] * 0.6) @ truth
    positions, world = forward_kinematics(skeleton.offsets_m, truth, root)
    targets = PoseTargets(positions[EFFECTORS], world[EFFECTORS], np.ones(3))
    return Case(skeleton, sample, root + rng.normal(0.0, root_off_m, 3), targets, truth, root)


def moved(rotations, root, x):
    """The pose after increments (45,): `R <- exp(d) R` in the parents' frames, then the root's shift."""
    out = rotations.copy()
    out[list(REFINED_JOINTS)] = rotvec(x[:-3].reshape(-1, 3)) @ out[list(REFINED_JOINTS)]
    return out, root + x[-3:]


def prior_information(sample, joint):
    std = DEFAULT_JOINT_STD_RAD[joint]
    if "elbow" not in JOINTS[joint]:
        return np.eye(3) / std**2
    hinge, bone = np.array([0.0, 1.0, 0.0]), sample[joint] @ LIMITS.bones[joint]
    return np.linalg.inv(np.outer(hinge, hinge) + 0.25 * np.outer(bone, bone) + 0.01 * np.eye(3)) / std**2


def own_residuals(case: Case, config: RefineConfig, rotations, root):
    """Residuals of the prior and the limits."""
    parts = []
    for joint in REFINED_JOINTS:
        error = Rotation.from_matrix(rotations[joint] @ case.sample[joint].T).as_rotvec()
        parts.append(np.linalg.cholesky(prior_information(case.sample, joint)).T @ error)
    parts.append((root - case.root) / config.root_std_m)
    parts.append((excesses(rotations)[list(REFINED_JOINTS)] / config.limit_std_rad).ravel())
    return np.concatenate(parts)


def observed_residuals(case: Case, config: RefineConfig, rotations, root):
    positions, world = forward_kinematics(case.skeleton.offsets_m, rotations, root)
    parts = []
    for e, joint in enumerate(EFFECTORS):
        weight = case.targets.weights[e]
        if weight > 0:
            loose = 1.0 - weight
            position_std = config.position_std_m * (config.loose_position_std_m / config.position_std_m) ** loose
            rotation_std = config.rotation_std_rad * (config.loose_rotation_std_rad / config.rotation_std_rad) ** loose
            parts.append((positions[joint] - case.targets.positions_m[e]) / position_std)
            turn = Rotation.from_matrix(world[joint] @ case.targets.rotations[e].T).as_rotvec()
            parts.append(turn / rotation_std)
    return np.concatenate(parts) if parts else np.zeros(0)


def residuals(case: Case, config: RefineConfig, rotations, root):
    return np.concatenate(
        [own_residuals(case, config, rotations, root), observed_residuals(case, config, rotations, root)]
    )


def cost(case: Case, config: RefineConfig, rotations, root) -> float:
    return float(np.sum(residuals(case, config, rotations, root) ** 2))


def optimum(case: Case, config: RefineConfig):
    """Pose, root and cost found by SciPy."""

    def by_increments(x):
        return residuals(case, config, *moved(case.sample, case.root, x))

    found = least_squares(by_increments, np.zeros(UNKNOWNS), method="trf", xtol=1e-10, ftol=1e-10, max_nfev=60)
    return (*moved(case.sample, case.root, found.x), 2.0 * found.cost)


def chain_of(joint: int) -> list[int]:
    chain = []
    while joint >= 0:
        chain.append(joint)
        joint = PARENTS[joint]
    return chain[::-1]
