"""A baseline without training: inverse kinematics of the whole body by damped least squares.

From the previous frame's solution, a few Gauss-Newton steps over all joints minimise the errors of head and hands and,
weakly, what a person's body does by itself: joints near those of someone who stands with the arms hanging, elbows and
knees that bend one way, the pelvis under the head and turned as it is on the average of the last moments, feet flat on
the floor under the hips. Whoever lowers the head therefore crouches or bows, whichever disturbs the others less.

Increments are rotation vectors multiplied from the left in the parent's frame, `R_j <- exp(w_j) R_j`. With the parent's
orientation `B_j`, a joint e below j moves by `dp_e/dw_j = [p_j - p_e]x B_j` and turns by `B_j`.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import (
    matrix_from_quaternion,
    quaternion_from_matrix,
    rotation_vector_from_matrix,
    skew,
)
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, LEFT_HAND, PARENTS, RIGHT_HAND, Skeleton
from bodystream.pose.features import heading_rotation
from bodystream.types import Array, BodyPose, DeviceKind, HeadsetSample, Status, TrackedDevice

__all__ = ["LeastSquaresIk", "LeastSquaresIkConfig", "kinematics_by_level", "mean_rotations", "standing_rotations"]

_COUNT = len(JOINTS)
_DEGREES = np.pi / 180.0
# Positions are asked for head, hands and feet; orientations for head, hands and ankles.
_PLACED = np.array([HEAD, LEFT_HAND, RIGHT_HAND, JOINT_INDEX["left_foot"], JOINT_INDEX["right_foot"]])
_TURNED = np.array([HEAD, LEFT_HAND, RIGHT_HAND, JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]])
_UP = np.array([0.0, 1.0, 0.0])
# Joint, axis and sign of the bending that elbows and knees are made for.
_HINGES = (
    (JOINT_INDEX["left_knee"], 0, -1.0),
    (JOINT_INDEX["right_knee"], 0, -1.0),
    (JOINT_INDEX["left_elbow"], 1, -1.0),
    (JOINT_INDEX["right_elbow"], 1, 1.0),
)


class LeastSquaresIkConfig(msgspec.Struct, frozen=True):
    """How stiff each wish is: a residual of this size counts one.

    Attributes:
        device_m, device_rad: head and hands; far below the others, so that these are met.
        pelvis_m: of the pelvis from its place under the head, along the floor.
        pelvis_tilt_rad, pelvis_turn_rad: of the pelvis from upright, and from the mean heading.
        spine_rad, neck_rad, collar_rad, shoulder_rad, hip_rad, ankle_rad, hand_rad: of joints from standing.
        bend_rad: of elbows and knees along their hinge; `twist_rad`: across it; `limit_rad`: beyond straight.
        twist_forearm_rad: of the forearm about itself.
        foot_m: of the feet from their place under the hips; `floor_m`: from the floor; `foot_rad`: from flat.
        foot_height: height of the toes' joint above the floor, in statures.
        heading_time_s: time constant of the mean heading.
        iterations, first_iterations: Gauss-Newton steps for a frame, and for the first one.
        damping: least share of its own by which the diagonal of the normal equations grows.
    """

    device_m: float = 0.002
    device_rad: float = 0.01
    pelvis_m: float = 0.1
    pelvis_tilt_rad: float = 0.3
    pelvis_turn_rad: float = 0.6
    spine_rad: float = 0.2
    neck_rad: float = 0.3
    collar_rad: float = 0.2
    shoulder_rad: float = 1.0
    hip_rad: float = 0.6
    ankle_rad: float = 0.5
    hand_rad: float = 0.6
    bend_rad: float = 1.0
    twist_rad: float = 0.1
    twist_forearm_rad: float = 0.6
    limit_rad: float = 0.05
    foot_m: float = 0.1
    floor_m: float = 0.03
    foot_rad: float = 0.2
    foot_height: float = 0.027
    heading_time_s: float = 0.6
    iterations: int = 4
    first_iterations: int = 40
    damping: float = 1e-4

    def __post_init__(self) -> None:
        bad = [name for name in self.__struct_fields__ if not getattr(self, name) > 0 and name != "foot_height"]
        if bad:
            raise ConfigurationError(
                f"inverse kinematics takes positive settings, got {bad[0]} {getattr(self, bad[0])}"
            )


def standing_rotations() -> Array:
    """(22, 3, 3) rotations of someone who stands with hanging arms, elbows and knees slightly bent."""
    degrees = {
        "left_shoulder": (0.0, 0.0, 72.0),
        "right_shoulder": (0.0, 0.0, -72.0),
        "left_elbow": (0.0, -25.0, 0.0),
        "right_elbow": (0.0, 25.0, 0.0),
        "left_hip": (6.0, 0.0, 0.0),
        "right_hip": (6.0, 0.0, 0.0),
        "left_knee": (-12.0, 0.0, 0.0),
        "right_knee": (-12.0, 0.0, 0.0),
        "left_ankle": (6.0, 0.0, 0.0),
        "right_ankle": (6.0, 0.0, 0.0),
    }
    vectors = np.zeros((_COUNT, 3))
    for name, turn in degrees.items():
        vectors[JOINT_INDEX[name]] = np.array(turn) * _DEGREES
    return Rotation.from_rotvec(vectors).as_matrix()


def mean_rotations(clips: Iterable[MotionClip]) -> Array:
    """(22, 3, 3) mean rotations of recordings, the pelvis' relative to the head's heading.

    Raises:
        InputError: there is no clip.
    """
    sums = np.zeros((_COUNT, 3, 3))
    for clip in clips:
        local = clip.rotation_matrices()
        _, world = clip.joints()
        local[:, 0] = np.swapaxes(heading_rotation(world[:, HEAD]), -1, -2) @ local[:, 0]
        sums += local.sum(axis=0) / clip.rate_hz
    if not sums.any():
        raise InputError("a mean pose needs at least one clip, got none")
    # The rotation nearest to the mean matrix: that of the smallest mean squared chord.
    u, _, vt = np.linalg.svd(sums)
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


class LeastSquaresIk:
    """The inverse-kinematics estimator; see the module.

    A hand that is not tracked is left to hang and is flagged; without the head the last pose is held.

    Args:
        config: how stiff what is.
        rest: (22, 3, 3) rotations that joints are pulled to, the pelvis' relative to the heading;
            `standing_rotations()` by default. `mean_rotations` of recordings makes it know how their people move.
    """

    name = "least_squares_ik"

    def __init__(self, config: LeastSquaresIkConfig | None = None, rest: Array | None = None) -> None:
        self.config = LeastSquaresIkConfig() if config is None else config
        self._rest = standing_rotations() if rest is None else np.array(rest, np.float64)
        if self._rest.shape != (_COUNT, 3, 3) or not np.isfinite(self._rest).all():
            raise ConfigurationError(f"a rest pose must be ({_COUNT}, 3, 3) finite rotations, got {self._rest.shape}")
        self._stiffness = _stiffness(self.config)
        self._rest_hinge = rotation_vector_from_matrix(self._rest)
        self._skeleton: Skeleton | None = None
        self._last: BodyPose | None = None

    def reset(self, skeleton: Skeleton) -> None:
        """A new clip of a person of these proportions."""
        self._skeleton = skeleton
        self._offsets = skeleton.offsets_m
        positions, _ = kinematics_by_level(self._offsets, self._rest, np.zeros(3))
        self._under_head = -positions[HEAD] * (1.0, 0.0, 1.0)
        self._feet = positions[_PLACED[3:]] * (1.0, 0.0, 1.0)
        self._foot_height = self.config.foot_height * skeleton.stature_m
        self._head_height = self._foot_height + skeleton.stature_m
        self._last = None

    def step(self, sample: HeadsetSample) -> BodyPose:
        """The pose at the time of the sample.

        Raises:
            InputError: `reset` was not called, a device is not `DeviceKind.JOINT`, or the first sample has no head.
        """
        if self._skeleton is None:
            raise InputError("inverse kinematics needs a person's proportions: call reset(skeleton) first")
        if sample.head is None:
            self._last = _held(self._last, sample.t_ns)
            return self._last
        targets, rotations, weights = self._targets(sample)
        if self._last is None:
            self._heading = heading_rotation(rotations[0])
            self._local = self._rest.copy()
            self._local[0] = self._heading @ self._rest[0]
            positions, _ = kinematics_by_level(self._offsets, self._local, np.zeros(3))
            self._root = targets[0] - positions[HEAD]
            count = self.config.first_iterations
        else:
            self._follow_heading(rotations[0], (sample.t_ns - self._last.t_ns) * 1e-9)
            count = self.config.iterations
        self._solve(targets, rotations, weights, count)
        quaternions = quaternion_from_matrix(self._local)
        self._local = matrix_from_quaternion(quaternions)  # so that rounding does not pile up
        lost = tuple(f"{side}_lost" for side in ("left", "right") if getattr(sample, side) is None)
        self._last = BodyPose(
            sample.t_ns,
            quaternions.astype(np.float32),
            self._root.astype(np.float32),
            Status.DEGRADED if lost else Status.TRACKED,
            lost,
            reason="a hand is not tracked" if lost else "",
        )
        return self._last

    def _targets(self, sample: HeadsetSample) -> tuple[Array, Array, Array]:
        """(3, 3) positions, (3, 3, 3) rotations and (3,) weights of head and hands; weight 0 where lost."""
        positions, rotations, weights = np.zeros((3, 3)), np.tile(np.eye(3), (3, 1, 1)), np.zeros(3)
        for slot, (label, device) in enumerate((("head", sample.head), ("left", sample.left), ("right", sample.right))):
            if device is not None:
                positions[slot], rotations[slot] = _joint_pose(device, label)
                weights[slot] = 1.0
        return positions, rotations, weights

    def _follow_heading(self, head_rotation: Array, elapsed_s: float) -> None:
        now = heading_rotation(head_rotation)
        ahead = self._heading.T @ now
        angle = np.arctan2(ahead[0, 2], ahead[0, 0])
        angle *= 1.0 - np.exp(-max(elapsed_s, 0.0) / self.config.heading_time_s)
        c, s = np.cos(angle), np.sin(angle)
        self._heading = self._heading @ np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])

    def _solve(self, targets: Array, rotations: Array, weights: Array, count: int) -> None:
        """Levenberg and Marquardt's method from the present pose: a step that does not help is undone and damped."""
        damping = self.config.damping
        cost, normal, gradient = self._normal_equations((self._local, self._root), targets, rotations, weights)
        for _ in range(count):
            damped = normal.copy()
            damped[np.diag_indices_from(damped)] += damping * np.diagonal(normal)
            increment = -np.linalg.solve(damped, gradient)
            vectors = increment[3:].reshape(_COUNT, 3)
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors * np.minimum(1.0, 0.5 / np.maximum(lengths, 1e-12))
            before = (self._local, self._root)
            self._local = Rotation.from_rotvec(vectors).as_matrix() @ self._local
            self._root = self._root + increment[:3]
            trial = self._normal_equations((self._local, self._root), targets, rotations, weights)
            if trial[0] <= cost:
                small = cost - trial[0] < 1e-4 * cost
                cost, normal, gradient = trial
                damping = max(damping / 10.0, self.config.damping)
                if small:
                    return
            else:
                self._local, self._root = before
                damping *= 30.0

    @property
    def state(self) -> tuple[Array, Array]:
        """(22, 3, 3) rotations in the parents' frames and the (3,) pelvis [m] of the last step."""
        return self._local.copy(), self._root.copy()

    def normal_equations(self, sample: HeadsetSample, local: Array, root: Array) -> tuple[float, Array, Array]:
        """Those of a sample at any pose, see `state`: cost, `J^T J` (69, 69) and `J^T r` (69,)."""
        return self._normal_equations((local, root), *self._targets(sample))

    def _normal_equations(
        self, pose: tuple[Array, Array], targets: Array, rotations: Array, weights: Array
    ) -> tuple[float, Array, Array]:
        """Sum of squared residuals, `J^T J` (69, 69) and `J^T r` (69,) of the pelvis' place and the 22 rotations."""
        local, root = pose
        c = self.config
        positions, world = kinematics_by_level(self._offsets, local, root)
        above = world[_PARENT]
        above[0] = np.eye(3)
        places = positions[_PLACED]  # (5, 3)
        move = (skew(positions[None] - places[:, None]) @ above) * _BELOW[:, :, None, None]  # (5, 22, 3, 3)
        turn = above * _CARRIED[:, :, None, None]

        feet = places[3:] - root - self._feet @ self._heading.T
        # Who is higher than tall has jumped or climbed: the feet hang.
        feet[:, 1] = places[3:, 1] - self._foot_height - max(targets[0, 1] - self._head_height, 0.0)
        errors = np.concatenate([places[:3] - targets, feet])
        wanted = np.concatenate([rotations, np.stack([self._heading] * 2)])
        turns = rotation_vector_from_matrix(world[_TURNED] @ np.swapaxes(wanted, -1, -2))
        device = np.repeat(weights, 3)
        foot = np.tile([1.0 / c.foot_m, 1.0 / c.floor_m, 1.0 / c.foot_m], 2)
        scale = np.concatenate(
            [device / c.device_m, foot, device / c.device_rad, np.tile([1.0, 0.1, 1.0], 2) / c.foot_rad]
        )
        jacobian = np.zeros((30, 3 + 3 * _COUNT))
        jacobian[:9, :3] = np.tile(np.eye(3), (3, 1))
        jacobian[9:15, :3] = np.tile(np.diag(_UP), (2, 1))  # along the floor, feet go with the pelvis
        jacobian[:15, 3:] = np.moveaxis(move, 2, 1).reshape(15, -1)
        jacobian[15:, 3:] = np.moveaxis(turn, 2, 1).reshape(15, -1)
        jacobian *= scale[:, None]
        residual = scale * np.concatenate([errors.ravel(), turns.ravel()])

        rest = self._rest.copy()
        rest[0] = self._heading @ rest[0]
        pull = rotation_vector_from_matrix(local @ np.swapaxes(rest, -1, -2))
        stiffness = self._stiffness.copy()
        for joint, axis, sign in _HINGES:
            bend = pull[joint, axis] + self._rest_hinge[joint, axis]
            if bend * sign < 0.0:
                stiffness[joint, axis], pull[joint, axis] = 1.0 / c.limit_rad, bend
        diagonal = np.concatenate([np.array([1.0, 0.0, 1.0]) / c.pelvis_m, stiffness.ravel()])
        under = root - (targets[0] + self._heading @ self._under_head)
        pulls = np.concatenate([under, pull.ravel()])

        normal = jacobian.T @ jacobian
        normal[np.diag_indices_from(normal)] += diagonal**2
        cost = float(residual @ residual + ((diagonal * pulls) ** 2).sum())
        return cost, normal, jacobian.T @ residual + diagonal**2 * pulls


def _stiffness(c: LeastSquaresIkConfig) -> Array:
    """(22, 3) weights of rotation vectors from the standing pose."""
    sizes = {
        "pelvis": (c.pelvis_tilt_rad, c.pelvis_turn_rad, c.pelvis_tilt_rad),
        "spine1": (c.spine_rad,) * 3,
        "spine2": (c.spine_rad,) * 3,
        "spine3": (c.spine_rad,) * 3,
        "neck": (c.neck_rad,) * 3,
        "head": (c.neck_rad,) * 3,
        "collar": (c.collar_rad,) * 3,
        "shoulder": (c.shoulder_rad,) * 3,
        "elbow": (c.twist_forearm_rad, c.bend_rad, c.twist_rad),
        "wrist": (c.hand_rad,) * 3,
        "hip": (c.hip_rad, c.hip_rad / 3, c.hip_rad / 2),
        "knee": (c.bend_rad, c.twist_rad, c.twist_rad),
        "ankle": (c.ankle_rad, c.ankle_rad / 2, c.ankle_rad / 2),
        "foot": (c.twist_rad,) * 3,
    }
    return 1.0 / np.array([sizes[name.split("_")[-1]] for name in JOINTS])


def _levels() -> tuple[tuple[Array, Array], ...]:
    """Joints and their parents by depth, the pelvis left out: a whole level is computed at once."""
    depth = [0] * _COUNT
    for joint in range(1, _COUNT):
        depth[joint] = depth[PARENTS[joint]] + 1
    levels = []
    for level in range(1, max(depth) + 1):
        joints = np.array([joint for joint in range(_COUNT) if depth[joint] == level])
        levels.append((joints, np.array(PARENTS)[joints]))
    return tuple(levels)


def _ancestors(joint: int) -> list[int]:
    out = [joint]
    while PARENTS[out[-1]] >= 0:
        out.append(PARENTS[out[-1]])
    return out


def _marks(joints: Array, itself: bool) -> Array:
    """(len(joints), 22) whose entry is 1 where the column's joint carries the row's."""
    marks = np.zeros((len(joints), _COUNT))
    for row, joint in enumerate(joints):
        marks[row, _ancestors(int(joint))] = 1.0
        marks[row, joint] = float(itself)
    return marks


_LEVELS = _levels()
_PARENT = np.maximum(PARENTS, 0)
_BELOW, _CARRIED = _marks(_PLACED, itself=False), _marks(_TURNED, itself=True)


def kinematics_by_level(offsets_m: Array, local: Array, root_m: Array) -> tuple[Array, Array]:
    """`skeleton.forward_kinematics` of one pose, level by level, several times as fast."""
    positions, world = np.empty((_COUNT, 3)), np.empty((_COUNT, 3, 3))
    positions[0], world[0] = root_m, local[0]
    for joints, parents in _LEVELS:
        above = world[parents]
        world[joints] = above @ local[joints]
        positions[joints] = positions[parents] + (above @ offsets_m[joints, :, None])[..., 0]
    return positions, world


def _joint_pose(device: TrackedDevice, label: str) -> tuple[Array, Array]:
    if device.kind is not DeviceKind.JOINT:
        raise InputError(
            f"inverse kinematics takes the pose of the {label} joint (DeviceKind.JOINT), got one of kind {device.kind}"
        )
    return np.asarray(device.position_m, np.float64), matrix_from_quaternion(np.asarray(device.rotation_xyzw, float))


def _held(last: BodyPose | None, t_ns: int) -> BodyPose:
    if last is None:
        raise InputError("inverse kinematics needs the head's pose in the first sample, got none")
    return BodyPose(
        t_ns,
        last.rotations_xyzw,
        last.root_position_m,
        Status.LOST,
        ("head_lost",),
        reason="the headset is not tracked",
    )
