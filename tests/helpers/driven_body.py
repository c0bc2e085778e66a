"""A body that walks, for the tests of what shows it: the shipped body in its T-pose, and poses by formula."""

from __future__ import annotations

import numpy as np

from bodystream.avatar.proportions import fit_rig
from bodystream.avatar.rig import load_rig
from bodystream.geometry.rotations import matrix_from_rotation_vector, quaternion_from_matrix
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, LEFT_HAND, RIGHT_HAND, Skeleton, forward_kinematics
from bodystream.sinks.viewer import BodyViewerState
from bodystream.timing import SpanSummary
from bodystream.types import Array, BodyPose, DeviceKind, HeadsetSample, SkinnedMesh, Status, TrackedDevice

__all__ = ["rest_pose", "rotations_of_step", "shipped_body", "skinned", "state_of", "walking"]

PERIOD_NS = 11_111_111


def shipped_body() -> tuple[SkinnedMesh, Skeleton]:
    """The shipped body, bound in its A-pose."""
    fitted = fit_rig(load_rig())
    return fitted.skin, fitted.skeleton


def skinned(body: SkinnedMesh, joints_m: Array, world: Array) -> Array:
    """Linear blend skinning in float64, (V, 3): where kernels, page and files should have the vertices.

    Args:
        joints_m: (22, 3) joints in the pose [m]. world: (22, 3, 3) orientations of the bones.
    """
    linear = world @ body.bone_from_bind[:, :3, :3]
    shift = joints_m + np.einsum("jab,jb->ja", world, body.bone_from_bind[:, :3, 3])
    moved = np.einsum("vkab,vb->vka", linear[body.bones], body.mesh.vertices.astype(np.float64))
    return np.einsum("vk,vka->va", body.weights.astype(np.float64), moved + shift[body.bones])


def rest_pose() -> Array:
    return np.tile(np.eye(3), (22, 1, 1))


def rotations_of_step(phase: float, yaw: float = 0.0) -> Array:
    """(22, 3, 3): one moment of a stride."""
    vectors = np.zeros((22, 3))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        swing = sign * np.sin(phase)
        vectors[JOINT_INDEX[f"{side}_hip"], 0] = 0.5 * swing
        vectors[JOINT_INDEX[f"{side}_knee"], 0] = -0.45 - 0.4 * sign * np.cos(phase)
        vectors[JOINT_INDEX[f"{side}_shoulder"], 2] = 1.2 * sign
        vectors[JOINT_INDEX[f"{side}_collar"], 0] = -0.35 * swing
        vectors[JOINT_INDEX[f"{side}_elbow"], 1] = -0.6 * sign
    vectors[JOINT_INDEX["spine2"], 1] = 0.1 * np.sin(phase)
    vectors[0, 1] = yaw
    return matrix_from_rotation_vector(vectors)


def state_of(
    skeleton: Skeleton, index: int, rotations: Array, root_m: Array, lost: bool = False, hypotheses: int = 0
) -> BodyViewerState:
    """A state as a driver makes them; with `lost`, the left hand is not tracked."""
    rng = np.random.default_rng(index)
    joints, world = forward_kinematics(skeleton.offsets_m, rotations, root_m)
    t_ns = index * PERIOD_NS
    devices = {
        name: TrackedDevice(joints[joint], quaternion_from_matrix(world[joint]), kind)
        for name, joint, kind in (
            ("head", HEAD, DeviceKind.VIEW),
            ("left", LEFT_HAND, DeviceKind.HAND_WRIST),
            ("right", RIGHT_HAND, DeviceKind.GRIP),
        )
    }
    std_m = np.linspace(0.008, 0.09, 22)[np.argsort(np.argsort(-joints[:, 1]))]  # the lower, the less is known
    others = []
    for _ in range(hypotheses):
        noise = matrix_from_rotation_vector(rng.normal(0.0, 0.15, (22, 3)))
        noise[9:] = np.eye(3)
        others.append(forward_kinematics(skeleton.offsets_m, rotations @ noise, root_m)[0])
    low = joints[[10, 11], 1] < joints[:, 1].min() + 0.03
    pose = BodyPose(
        t_ns,
        quaternion_from_matrix(rotations).astype(np.float32),
        np.asarray(root_m, np.float32),
        Status.DEGRADED if lost else Status.TRACKED,
        ("left_lost",) if lost else (),
        std_m.astype(np.float32),
        low,
        "the left hand is not tracked: its arm is guessed" if lost else "",
    )
    return BodyViewerState(
        t_ns,
        pose,
        joints,
        HeadsetSample(index, t_ns, devices["head"], None if lost else devices["left"], devices["right"]),
        hypotheses_m=np.array(others) if others else None,
        hud={"sample": SpanSummary(90, 0.94, 1.1, 1.32), "refine": SpanSummary(90, 2.1, 2.6, 3.84)},
        rate_hz=89.7,
        latency_ms=6.3,
        data_age_ms=8.4,
        details={"hypotheses": str(hypotheses)},
    )


def walking(
    skeleton: Skeleton, count: int, start: int = 0, lost: bool = False, hypotheses: int = 0
) -> list[BodyViewerState]:
    """`count` states of a walk along -z at 1.1 m/s, with the lower foot on the floor."""
    out = []
    for i in range(start, start + count):
        seconds = i * PERIOD_NS * 1e-9
        rotations = rotations_of_step(2 * np.pi * seconds * 0.9)
        joints, _ = forward_kinematics(skeleton.offsets_m, rotations, np.zeros(3))
        root = np.array([0.0, 0.03 - joints[:, 1].min(), -1.1 * seconds])
        out.append(state_of(skeleton, i, rotations, root, lost, hypotheses))
    return out
