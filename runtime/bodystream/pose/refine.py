"""Refinement: the sampled pose moved as little as possible so that head and hands are where they were observed.

Minimised over the rotations of 14 joints and the root's position, for all hypotheses at once:

    |log(R R_s^T)|^2_W + |root - root_s|^2 / s_root^2
        + |excess over limits|^2 / s_limit^2 + |head, hands - observed|^2 / s_observed^2

The first two terms are the regulariser of FLAG's supplement, which keeps the result near its initial guess
(r = ||z - mu_H||), here in the space of poses: there the observations' Jacobian is known in closed form and a step
costs microseconds. The legs follow the pelvis by two-bone inverse kinematics, so that the feet stay.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import warp as wp

from bodystream.device import RecordedLaunch, Staged, download_together, uploaded
from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, LEFT_HAND, PARENTS, RIGHT_HAND, Skeleton
from bodystream.pose import refine_kernels
from bodystream.pose.limits import LIMITS
from bodystream.pose.refine_terms_kernels import Model, Problem, Scratch
from bodystream.types import Array

__all__ = ["DEFAULT_JOINT_STD_RAD", "REFINED_JOINTS", "PoseRefiner", "PoseTargets", "RefineConfig", "RefinedPoses"]

_TRUNK = tuple(JOINT_INDEX[name] for name in ("pelvis", "spine1", "spine2", "spine3"))
_CHAINS = (
    (*_TRUNK, JOINT_INDEX["neck"], HEAD),
    *(
        (*_TRUNK, *(JOINT_INDEX[f"{side}_{part}"] for part in ("collar", "shoulder", "elbow", "wrist")))
        for side in ("left", "right")
    ),
)
REFINED_JOINTS = (*_CHAINS[0], *_CHAINS[1][4:], *_CHAINS[2][4:])
"""Joints that refinement turns, parents first; the legs are adapted to what the pelvis does."""

_STD_RAD = {
    "pelvis": 0.02,
    "spine1": 0.06,
    "spine2": 0.06,
    "spine3": 0.06,
    "neck": 0.15,
    "head": 0.3,
    "collar": 0.12,
    "shoulder": 0.4,
    "elbow": 0.5,
    "wrist": 0.5,
}
DEFAULT_JOINT_STD_RAD = np.array([_STD_RAD.get(name.split("_")[-1], 0.1) for name in JOINTS])
"""(22,) how far a sampled joint is believed to be off where the network does not say [rad]."""


@dataclass(frozen=True, slots=True)
class RefineConfig:
    """How the pose is refined.

    Attributes:
        iterations: largest number of evaluations of the cost.
        position_std_m: how exactly head and hands are met [m].
        rotation_std_rad: how exactly their orientations are met [rad].
        loose_position_std_m: the same of an observation whose weight nears 0 [m].
        loose_rotation_std_rad: [rad].
        root_std_m: how far the pelvis is believed to be off [m].
        limit_std_rad: how far beyond a joint's limits costs as much as one standard deviation of the prior [rad].
        reach_slack_m: how far a hand that is out of reach may pull its shoulder [m].
        step_limit_rad: a joint turns at most so far in one step [rad].
    """

    iterations: int = 20
    position_std_m: float = 1e-3
    rotation_std_rad: float = 5e-3
    loose_position_std_m: float = 1.0
    loose_rotation_std_rad: float = 3.0
    root_std_m: float = 0.005
    limit_std_rad: float = 0.15
    reach_slack_m: float = 0.1
    step_limit_rad: float = 0.7

    def __post_init__(self) -> None:
        if not 1 <= self.iterations <= 1000:
            raise ConfigurationError(f"refinement takes 1 to 1000 iterations, got {self.iterations}")
        for name in [field.name for field in fields(self)][1:]:
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0.0):
                raise ConfigurationError(f"refinement: {name} must be positive and finite, got {value}")


@dataclass(frozen=True, slots=True)
class PoseTargets:
    """Where head, left and right wrist joint were observed, in this order.

    Attributes:
        positions_m: (3, 3) in the world [m].
        rotations: (3, 3, 3) world from joint.
        weights: (3,) 0 for what is not seen, 1 for what must be met; between, it is met the more loosely the less.
    """

    positions_m: Array
    rotations: Array
    weights: Array

    def __post_init__(self) -> None:
        shapes = {"positions_m": (3, 3), "rotations": (3, 3, 3), "weights": (3,)}
        for name, shape in shapes.items():
            value = np.asarray(getattr(self, name), np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise InputError(f"targets: {name} must be finite and of shape {shape}, got shape {value.shape}")
            object.__setattr__(self, name, value)
        if self.weights.min() < 0.0 or self.weights.max() > 1.0:
            raise InputError(f"targets: weights must be from 0 to 1, got {self.weights.tolist()}")


@dataclass(frozen=True, slots=True)
class RefinedPoses:
    """K refined poses. The arrays are the refiner's own: they hold until its next call.

    Attributes:
        rotations: (K, 22, 3, 3) float32 in the parents' frames.
        root_positions_m: (K, 3) float32 pelvis in the world [m].
        position_errors_m: (K, 3) float32 of head, left and right wrist; of unseen ones meaningless.
        rotation_errors_rad: (K, 3) float32.
        costs: (K, 2) float32 of the sample and of the result, in squared standard deviations.
        evaluations: (K,) int32 how often the cost was evaluated.
    """

    rotations: Array
    root_positions_m: Array
    position_errors_m: Array
    rotation_errors_rad: Array
    costs: Array
    evaluations: Array


class PoseRefiner:
    """Refines up to `capacity` hypotheses at a time; on the CPU each on one thread.

    Args:
        skeleton: the person's proportions.
        device: where it runs; None for the CPU.
        capacity: largest number of hypotheses.
    """

    def __init__(
        self, skeleton: Skeleton, config: RefineConfig | None = None, device: wp.Device | None = None, capacity: int = 1
    ) -> None:
        if capacity < 1:
            raise ConfigurationError(f"the refiner takes at least one pose, got capacity {capacity}")
        self.config = RefineConfig() if config is None else config
        self.capacity = capacity
        self._device = wp.get_device("cpu") if device is None else device
        self._model = self._make_model(skeleton)
        self._staged: dict[str, Staged] = {}
        problem, scratch = Problem(), Scratch()
        joints, slots = len(JOINTS), len(REFINED_JOINTS)
        for name, shape, dtype in (
            ("sample", (capacity, joints), wp.mat33),
            ("sample_roots", (capacity,), wp.vec3),
            ("target_positions", (3,), wp.vec3),
            ("target_rotations", (3,), wp.mat33),
            ("target_weights", (3,), wp.float32),
            ("joint_std", (capacity, joints), wp.float32),
            ("keep_feet", (2,), wp.int32),
        ):
            setattr(problem, name, self._shared(name, shape, dtype))
        outputs = [
            self._shared(name, shape, dtype)
            for name, shape, dtype in (
                ("rotations", (capacity, joints), wp.mat33),
                ("roots", (capacity,), wp.vec3),
                ("position_errors", (capacity, 3), wp.float32),
                ("rotation_errors", (capacity, 3), wp.float32),
                ("costs", (capacity, 2), wp.float32),
                ("evaluations", (capacity,), wp.int32),
            )
        ]
        for name, shape, dtype in (
            ("positions", (joints,), wp.vec3),
            ("world", (joints,), wp.mat33),
            ("best", (slots,), wp.mat33),
            ("best_root", (), wp.vec3),
            ("weights", (slots,), wp.mat33),
            ("inverses", (slots,), wp.mat33),
            ("gradients", (slots,), wp.vec3),
            ("free_steps", (slots + 1,), wp.vec3),
            ("jacobians", (3, 8, 2), wp.mat33),
            ("residuals", (6,), wp.vec3),
            ("goals", (3,), wp.vec3),
            ("system", (18, 18), wp.float32),
            ("right", (18,), wp.float32),
        ):
            setattr(scratch, name, wp.zeros((capacity, *shape), dtype=dtype, device=self._device))
        self._scratch = scratch
        self._problem = problem
        inputs = [self._model, problem, scratch, *outputs]
        # Two poses a thread are worth waking the other thread for.
        self._launch = RecordedLaunch(refine_kernels.refine, capacity, inputs, self._device, min_chunk=2)

    def set_person(self, skeleton: Skeleton) -> None:
        """The person's proportions."""
        self._model.offsets.assign(skeleton.offsets_m.astype(np.float32))

    @property
    def kernel_inputs(self) -> tuple[Any, Any, Any]:
        """Model, problem and scratch of the last call, as kernels take them: to evaluate its cost at other poses."""
        return self._model, self._problem, self._scratch

    def refine(
        self,
        rotations: Array,
        root_positions_m: Array,
        targets: PoseTargets,
        *,
        joint_std_rad: Array | None = None,
        keep_feet: tuple[bool, bool] = (True, True),
    ) -> RefinedPoses:
        """Move sampled poses onto the observed head and hands.

        What cannot be reached is pointed at: nothing is stretched, and the body leans after it by `reach_slack_m` at
        most.

        Args:
            rotations: (22, 3, 3) or (K, 22, 3, 3) in the parents' frames.
            root_positions_m: (3,) or (K, 3) pelvis in the world [m].
            joint_std_rad: (22,) or (K, 22) how far each joint of the sample may be off [rad]; default
                `DEFAULT_JOINT_STD_RAD`.
            keep_feet: whether the left and the right ankle stay where the sample has them; else the leg goes with
                the pelvis.

        Raises:
            InputError: shapes that do not fit, values that are not finite, or more poses than the capacity.
        """
        rotations = np.asarray(rotations)
        rotations = rotations[None] if rotations.ndim == 3 else rotations
        roots = np.atleast_2d(root_positions_m)
        count = len(rotations)
        if rotations.shape != (count, len(JOINTS), 3, 3) or roots.shape != (count, 3):
            raise InputError(
                f"refine takes (K, {len(JOINTS)}, 3, 3) rotations and (K, 3) root positions, got {rotations.shape} "
                f"and {roots.shape}"
            )
        if not 1 <= count <= self.capacity:
            raise InputError(f"this refiner takes 1 to {self.capacity} poses, got {count}: make it with more capacity")
        std = DEFAULT_JOINT_STD_RAD if joint_std_rad is None else np.asarray(joint_std_rad)
        if std.shape not in ((len(JOINTS),), (count, len(JOINTS))) or not (np.isfinite(std).all() and std.min() > 0.0):
            raise InputError(f"joint_std_rad must be positive, of shape ({len(JOINTS)},) or (K, 22), got {std.shape}")
        if not (np.isfinite(rotations).all() and np.isfinite(roots).all()):
            raise InputError("refine was given a pose that is not finite: the network's answer is broken")
        given = {
            "sample": rotations,
            "sample_roots": roots,
            "joint_std": np.broadcast_to(std, (count, len(JOINTS))),
            "target_positions": targets.positions_m,
            "target_rotations": targets.rotations,
            "target_weights": targets.weights,
            "keep_feet": keep_feet,
        }
        for name, values in given.items():
            self._staged[name].upload(values)
        self._launch(count)
        names = ("rotations", "roots", "position_errors", "rotation_errors", "costs", "evaluations")
        return RefinedPoses(*download_together([self._staged[name] for name in names], count))

    def _make_model(self, skeleton: Skeleton) -> Any:
        def upload(values: Any, dtype: Any) -> wp.array:
            return uploaded(np.asarray(values), dtype, self._device)

        config, model = self.config, Model()
        slot_of = {joint: slot for slot, joint in enumerate(REFINED_JOINTS)}
        chains = np.full((3, 8), -1, np.int32)
        for effector, chain in enumerate(_CHAINS):
            chains[effector, : len(chain)] = [slot_of[joint] for joint in chain]
        hinges = np.zeros((len(JOINTS), 3))
        for side in ("left", "right"):
            hinges[JOINT_INDEX[f"{side}_elbow"]] = (0.0, 1.0, 0.0)
        legs = [[JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle")] for side in ("left", "right")]
        model.offsets = upload(skeleton.offsets_m, wp.vec3)
        model.parents = upload(PARENTS, wp.int32)
        model.slots = upload(REFINED_JOINTS, wp.int32)
        model.effectors = upload((HEAD, LEFT_HAND, RIGHT_HAND), wp.int32)
        model.chains = upload(chains, wp.int32)
        model.shared = len(_TRUNK)
        model.hinges = upload(hinges, wp.vec3)
        model.bones = upload(LIMITS.bones, wp.vec3)
        model.centres = upload(LIMITS.centres, wp.vec3)
        model.laterals = upload(LIMITS.laterals, wp.vec3)
        model.cones = upload(LIMITS.cones, wp.float32)
        model.lateral_ranges = upload(LIMITS.lateral_ranges, wp.vec2)
        model.twist_ranges = upload(LIMITS.twist_ranges, wp.vec2)
        model.legs = upload(legs, wp.int32)
        model.iterations = config.iterations
        model.position_std, model.rotation_std = config.position_std_m, config.rotation_std_rad
        model.loose_position_std = config.loose_position_std_m
        model.loose_rotation_std = config.loose_rotation_std_rad
        model.root_std, model.limit_std = config.root_std_m, config.limit_std_rad
        model.reach_slack, model.step_limit = config.reach_slack_m, config.step_limit_rad
        return model

    def _shared(self, name: str, shape: tuple[int, ...], dtype: Any) -> wp.array:
        """A device array that the host writes or reads with every call."""
        self._staged[name] = Staged(shape, dtype, self._device)
        return self._staged[name].array
