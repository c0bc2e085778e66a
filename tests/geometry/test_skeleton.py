"""The 22 joints: kinematics by homogeneous matrices, the mirror image, and the T-pose of another rest pose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.skeleton import (
    HEAD,
    JOINT_INDEX,
    JOINTS,
    LEFT_HAND,
    LOWER_BODY,
    MIRROR,
    PARENTS,
    RIGHT_HAND,
    UPPER_BODY,
    Skeleton,
    align_rest,
    forward_kinematics,
    local_rotations,
    mirror_rotations,
)

TOLERANCE = 1e-10  # float64, seven bones in a row


def t_pose() -> np.ndarray:
    """A plausible person's joints in the canonical T-pose, the pelvis at the origin [m]."""
    at = {"pelvis": (0.0, 0.0, 0.0), "spine1": (0.0, 0.11, 0.02), "spine2": (0.0, 0.24, 0.02)}
    at |= {"spine3": (0.0, 0.30, 0.01), "neck": (0.0, 0.51, 0.03), "head": (0.0, 0.59, -0.02)}
    for side, x in (("left", -1.0), ("right", 1.0)):
        at |= {f"{side}_hip": (0.08 * x, -0.09, 0.0), f"{side}_knee": (0.08 * x, -0.47, 0.0)}
        at |= {f"{side}_ankle": (0.08 * x, -0.87, 0.0), f"{side}_foot": (0.08 * x, -0.93, -0.12)}
        at |= {f"{side}_collar": (0.07 * x, 0.42, 0.02), f"{side}_shoulder": (0.19 * x, 0.44, 0.03)}
        at |= {f"{side}_elbow": (0.45 * x, 0.44, 0.03), f"{side}_wrist": (0.70 * x, 0.44, 0.03)}
    return np.array([at[name] for name in JOINTS])


def skeleton() -> Skeleton:
    positions = t_pose()
    return Skeleton(positions - positions[[max(parent, 0) for parent in PARENTS]])


def random_pose(seed: int, frames: tuple[int, ...] = ()) -> np.ndarray:
    count = int(np.prod(frames)) * len(JOINTS)
    return Rotation.random(count, random_state=seed).as_matrix().reshape(*frames, len(JOINTS), 3, 3)


def reference(offsets: np.ndarray, rotations: np.ndarray, root: np.ndarray) -> np.ndarray:
    """(22, 4, 4) world transforms of one pose, by products of homogeneous matrices up the tree."""
    out = np.zeros((len(JOINTS), 4, 4))
    for joint in range(len(JOINTS)):
        chain, above = [], joint
        while above >= 0:
            local = np.eye(4)
            local[:3, :3] = rotations[above]
            local[:3, 3] = offsets[above] if above else root
            chain.append(local)
            above = PARENTS[above]
        out[joint] = np.linalg.multi_dot(chain[::-1]) if len(chain) > 1 else chain[0]
    return out


def test_names_parents_and_sides() -> None:
    assert len(JOINTS) == len(PARENTS) == 22
    assert all(parent < joint for joint, parent in enumerate(PARENTS))
    assert (JOINTS[HEAD], JOINTS[LEFT_HAND], JOINTS[RIGHT_HAND]) == ("head", "left_wrist", "right_wrist")
    assert [MIRROR[other] for other in MIRROR] == list(range(22))
    assert sorted(LOWER_BODY + UPPER_BODY) == list(range(22))
    assert {JOINTS[j] for j in LOWER_BODY} == {
        "pelvis", *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "foot"))
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_kinematics_by_homogeneous_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    offsets, rotations = rng.normal(0.0, 0.3, (22, 3)), random_pose(seed)
    root = rng.normal(0.0, 2.0, 3)
    positions, world = forward_kinematics(offsets, rotations, root)
    wanted = reference(offsets, rotations, root)
    np.testing.assert_allclose(positions, wanted[:, :3, 3], atol=TOLERANCE)
    np.testing.assert_allclose(world, wanted[:, :3, :3], atol=TOLERANCE)
    np.testing.assert_allclose(local_rotations(world), rotations, atol=TOLERANCE)


def test_batches_broadcast() -> None:
    rotations, roots = random_pose(1, (3, 5)), np.random.default_rng(2).normal(size=(3, 5, 3))
    offsets = np.stack([skeleton().offsets_m * scale for scale in (0.8, 1.0, 1.2)])[:, None]
    positions, world = forward_kinematics(offsets, rotations, roots)
    assert positions.shape == (3, 5, 22, 3)
    one, turn = forward_kinematics(offsets[1, 0], rotations[1, 3], roots[1, 3])
    np.testing.assert_allclose(positions[1, 3], one, atol=TOLERANCE)
    np.testing.assert_allclose(world[1, 3], turn, atol=TOLERANCE)
    np.testing.assert_allclose(local_rotations(world), rotations, atol=TOLERANCE)


def test_float32_stays_float32() -> None:
    positions, world = forward_kinematics(
        skeleton().offsets_m.astype(np.float32), random_pose(0).astype(np.float32), np.zeros(3, np.float32)
    )
    assert positions.dtype == world.dtype == np.float32


def test_the_identity_is_the_t_pose() -> None:
    positions, _ = forward_kinematics(skeleton().offsets_m, np.tile(np.eye(3), (22, 1, 1)), np.zeros(3))
    np.testing.assert_allclose(positions, t_pose(), atol=TOLERANCE)
    np.testing.assert_allclose(skeleton().rest_positions_m, t_pose(), atol=TOLERANCE)
    assert skeleton().pelvis_height_m == pytest.approx(0.93)
    assert skeleton().stature_m == pytest.approx(0.59 + 0.93)
    assert skeleton().scaled(2.0).stature_m == pytest.approx(2 * 1.52)


@pytest.mark.parametrize("seed", range(3))
def test_mirroring_a_pose_mirrors_its_joints(seed: int) -> None:
    rng = np.random.default_rng(seed)
    body = Skeleton(skeleton().offsets_m + rng.normal(0.0, 0.02, (22, 3)))
    rotations, root = random_pose(seed), rng.normal(size=3)
    positions, world = forward_kinematics(body.offsets_m, rotations, root)
    flip = np.diag([-1.0, 1.0, 1.0])
    mirrored, turns = forward_kinematics(body.mirrored().offsets_m, mirror_rotations(rotations), flip @ root)
    np.testing.assert_allclose(mirrored, positions[list(MIRROR)] @ flip, atol=TOLERANCE)
    np.testing.assert_allclose(turns, flip @ world[list(MIRROR)] @ flip, atol=TOLERANCE)
    np.testing.assert_array_equal(mirror_rotations(mirror_rotations(rotations)), rotations)
    np.testing.assert_array_equal(body.mirrored().mirrored().offsets_m, body.offsets_m)


def a_pose(arm_deg: float, leg_deg: float, feet_deg: float, elbow_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """The T-pose with hanging arms, splayed legs, feet turned out and bent elbows: joints and bone orientations."""
    turns = np.tile(np.eye(3), (22, 1, 1))
    for side, out in (("left", 1.0), ("right", -1.0)):
        turns[JOINT_INDEX[f"{side}_shoulder"]] = Rotation.from_euler("z", out * arm_deg, degrees=True).as_matrix()
        turns[JOINT_INDEX[f"{side}_elbow"]] = Rotation.from_euler("y", -out * elbow_deg, degrees=True).as_matrix()
        turns[JOINT_INDEX[f"{side}_hip"]] = Rotation.from_euler("z", -out * leg_deg, degrees=True).as_matrix()
        ankle = Rotation.from_euler("z", -out * leg_deg, degrees=True).inv()
        ankle *= Rotation.from_euler("y", out * feet_deg, degrees=True)
        turns[JOINT_INDEX[f"{side}_ankle"]] = ankle.as_matrix()
    return forward_kinematics(skeleton().offsets_m, turns, np.array([0.3, 1.0, -0.2]))


@pytest.mark.parametrize(("arm", "leg", "feet"), [(0, 0, 0), (45, 0, 0), (80, 10, 0), (45, 20, 15), (-30, 5, 40)])
def test_an_a_pose_becomes_the_t_pose(arm: float, leg: float, feet: float) -> None:
    positions, world = a_pose(arm, leg, feet, 0.0)
    found, aligned = align_rest(positions)
    np.testing.assert_allclose(found.offsets_m, skeleton().offsets_m, atol=1e-9)
    np.testing.assert_allclose(aligned, world, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-40, 85), st.floats(0, 30), st.floats(-20, 60), st.floats(0, 60),
    hnp.arrays(np.float64, (22, 3), elements=st.floats(-0.03, 0.03)),
)  # fmt: skip
def test_a_motion_from_any_rest_pose_moves_the_same_joints(
    arm: float, leg: float, feet: float, elbow: float, noise: np.ndarray
) -> None:
    # A rig whose rest is the bent pose; its bones turn by `turns` from there.
    rest = a_pose(arm, leg, feet, elbow)[0] + noise
    offsets = rest - rest[[max(parent, 0) for parent in PARENTS]]
    turns, root = random_pose(5), np.array([1.0, 2.0, 3.0])
    positions, world = forward_kinematics(offsets, turns, root)
    body, aligned = align_rest(rest)
    ours, _ = forward_kinematics(body.offsets_m, local_rotations(world @ aligned), root)
    np.testing.assert_allclose(ours, positions, atol=1e-9)
    flat = body.rest_positions_m
    for side, out in (("left", -1.0), ("right", 1.0)):
        along = flat[JOINT_INDEX[f"{side}_wrist"]] - flat[JOINT_INDEX[f"{side}_shoulder"]]
        np.testing.assert_allclose(along / np.linalg.norm(along), [out, 0.0, 0.0], atol=1e-9)
        down = flat[JOINT_INDEX[f"{side}_ankle"]] - flat[JOINT_INDEX[f"{side}_hip"]]
        np.testing.assert_allclose(down / np.linalg.norm(down), [0.0, -1.0, 0.0], atol=1e-9)


def test_arms_that_point_the_other_way() -> None:
    positions = t_pose()
    positions[JOINT_INDEX["left_wrist"]] = positions[JOINT_INDEX["left_elbow"]] + [0.25, 0.0, 0.0]
    body, aligned = align_rest(positions)
    np.testing.assert_allclose(body.offsets_m[LEFT_HAND], [-0.25, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(aligned), 1.0, atol=1e-12)


def test_a_limb_without_length() -> None:
    positions = t_pose()
    positions[JOINT_INDEX["right_wrist"]] = positions[JOINT_INDEX["right_elbow"]]
    with pytest.raises(InputError, match="right elbow has no length: a joint is missing or mapped twice"):
        align_rest(positions)


def test_wrong_offsets() -> None:
    with pytest.raises(InputError, match=r"shape \(22, 3\) in metres, got shape \(24, 3\)"):
        Skeleton(np.zeros((24, 3)))
    with pytest.raises(InputError, match="finite"):
        Skeleton(np.full((22, 3), np.nan))
    with pytest.raises(InputError, match="42.0 m long: offsets are in metres, these look like centimetres"):
        Skeleton(np.full((22, 3), 42.0))


def test_a_skeleton_keeps_its_own_offsets() -> None:
    offsets = skeleton().offsets_m.copy()
    offsets[0] = 7.0
    with pytest.raises(InputError):
        Skeleton(offsets)
    offsets[0] = 1.0
    body = Skeleton(offsets)
    offsets[5] = 1.0
    np.testing.assert_array_equal(body.offsets_m[0], 0.0)
    np.testing.assert_array_equal(body.offsets_m[5], skeleton().offsets_m[5])
    with pytest.raises(ValueError, match="read-only"):
        body.offsets_m[3] = 0.0
