"""One motion drives avatars of different build: hips as high for the legs, feet on the floor, nothing turned over."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.avatar import VrmAvatar, VrmModel
from bodystream.avatar.retarget import Retarget
from bodystream.geometry.rotations import (
    matrix_from_quaternion,
    quaternion_from_matrix,
    rotation_vector_from_matrix,
)
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton, forward_kinematics
from bodystream.pose.contact import leg_to
from bodystream.types import Array, BodyPose
from helpers.avatar_poses import IDENTITY, SKELETONS, own_skeleton
from helpers.grounded_motion import grounded_motion
from helpers.vrm_files import A_POSE, BUILDS, write_vrm

PERSON = own_skeleton()
MAKES = {
    "short": {"version": "0"},
    "tall": {"version": "1", "turned": True},
    "long-legged": {"version": "1", "rest": A_POSE, "without": ("spine3",)},
}
FLOOR_M = 0.01
LEGS = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("hip", "knee")]


@pytest.fixture(scope="module")
def motion() -> tuple[Array, Array]:
    return grounded_motion(PERSON)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, VrmModel]:
    folder = tmp_path_factory.mktemp("vrm")
    return {n: VrmModel(write_vrm(folder / f"{n}.vrm", BUILDS[n](), **make)) for n, make in MAKES.items()}


def joints_of(model: VrmModel, rotations: Array, roots: Array) -> tuple[Array, Array]:
    local = matrix_from_quaternion(rotations.astype(np.float64))
    return forward_kinematics(model.build.skeleton.offsets_m, local, roots.astype(np.float64))


def taken(model: VrmModel, motion: tuple[Array, Array]) -> tuple[Array, Array]:
    return Retarget(PERSON, model.build).poses(*motion)


def test_hips_are_as_high_for_the_legs(models: dict[str, VrmModel], motion: tuple[Array, Array]) -> None:
    """The hips over their height at rest, and the hip joints over the leg: thigh, shin and ankle above the sole."""
    by_rest, by_leg = [], []
    for model in models.values():
        joints, _ = joints_of(model, *taken(model, motion))
        offsets = model.build.skeleton.offsets_m
        leg = np.linalg.norm(offsets[JOINT_INDEX["left_knee"]]) + np.linalg.norm(offsets[JOINT_INDEX["left_ankle"]])
        by_rest.append(joints[:, 0, 1] / model.build.hips_m)
        leg += model.build.hips_m + model.build.skeleton.rest_positions_m[JOINT_INDEX["left_ankle"], 1]
        by_leg.append(joints[:, [JOINT_INDEX["left_hip"], JOINT_INDEX["right_hip"]], 1].mean(axis=1) / leg)
    for ratios in (np.array(by_rest), np.array(by_leg)):
        assert (np.ptp(ratios, axis=0) / ratios.mean(axis=0)).max() < 0.02
    assert np.ptp(by_rest[0]) > 0.2, "the motion goes up and down"
    assert np.ptp([model.build.hips_m for model in models.values()]) > 0.4, "and the bodies are of different size"


@pytest.mark.parametrize("name", list(MAKES))
def test_feet_are_on_the_floor(models: dict[str, VrmModel], motion: tuple[Array, Array], name: str) -> None:
    avatar = VrmAvatar(models[name], PERSON)
    lowest = [avatar.pose(*pose).vertices[:, 1].min() for pose in zip(*motion, strict=True)]
    assert np.abs(lowest).max() < FLOOR_M


@pytest.mark.parametrize("name", list(MAKES))
def test_no_bone_is_turned_over(models: dict[str, VrmModel], motion: tuple[Array, Array], name: str) -> None:
    model = models[name]
    joints, world = joints_of(model, *taken(model, motion))
    theirs, wanted = forward_kinematics(
        PERSON.offsets_m, matrix_from_quaternion(motion[0].astype(np.float64)), motion[1].astype(np.float64)
    )
    angles = np.degrees(np.linalg.norm(rotation_vector_from_matrix(np.swapaxes(world, 2, 3) @ wanted), axis=2))
    has = model.build.bones.has
    # The spine of a body with fewer joints takes the bend of those that it lacks.
    same = [j for j in np.flatnonzero(has) if j not in LEGS and (has[9] or JOINTS[j] != "spine2")]
    assert angles[:, same].max() < 0.1, "arms, head and feet are turned as the person's"
    assert angles[:, LEGS].max() < 35.0
    for joint in np.flatnonzero(has):
        above = PARENTS[joint]
        if above >= 0 and has[above] and JOINTS[joint].split("_")[-1] in ("knee", "ankle", "elbow", "wrist"):
            mine, ours = joints[:, joint] - joints[:, above], theirs[:, joint] - theirs[:, above]
            cosine = np.sum(mine * ours, axis=1) / np.linalg.norm(mine, axis=1) / np.linalg.norm(ours, axis=1)
            assert cosine.min() > np.cos(np.radians(35.0)), JOINTS[joint]
    for side in ("left", "right"):  # knees bend forwards only
        hip, knee, ankle = (JOINT_INDEX[f"{side}_{part}"] for part in ("hip", "knee", "ankle"))
        bend = np.cross(joints[:, knee] - joints[:, hip], joints[:, ankle] - joints[:, knee])
        assert (np.sum(bend * -world[:, hip, :, 0], axis=1) > -1e-3).all()


@pytest.mark.parametrize("name", list(MAKES))
def test_nothing_jumps(models: dict[str, VrmModel], name: str) -> None:
    """Small steps of the person are small ones of the body, from straight legs to a deep squat."""
    model, still = models[name], grounded_motion(PERSON)
    turns, places = (values[24:31].astype(np.float64) for values in still)  # down into a squat
    fine = np.linspace(0, len(turns) - 1, 400)
    low = np.minimum(fine.astype(int), len(turns) - 2)
    part = fine - low
    rotations = turns[low] * (1 - part)[:, None, None] + turns[low + 1] * part[:, None, None]
    roots = places[low] * (1 - part)[:, None] + places[low + 1] * part[:, None]
    joints, _ = joints_of(model, *Retarget(PERSON, model.build).poses(rotations, roots))
    theirs, _ = forward_kinematics(PERSON.offsets_m, matrix_from_quaternion(rotations), roots)
    steps, wanted = (np.linalg.norm(np.diff(j, axis=0), axis=2).max() for j in (joints, theirs))
    assert steps < 4.0 * wanted * max(1.0, model.build.hips_m / PERSON.pelvis_height_m)


def test_a_foot_that_stands_does_not_slide(models: dict[str, VrmModel]) -> None:
    """The hips turn and sway above feet that stay: so they do under every avatar."""
    hips = np.radians(np.linspace(-25, 25, 30))
    stand = forward_kinematics(PERSON.offsets_m, np.tile(np.eye(3), (22, 1, 1)), np.zeros(3))[0]
    height = PERSON.pelvis_height_m
    for model in models.values():
        retarget = Retarget(PERSON, model.build)
        places = []
        for angle in hips:
            turn = matrix_from_quaternion(np.array([0.0, np.sin(angle / 2), 0.0, np.cos(angle / 2)]))
            local = np.tile(np.eye(3), (22, 1, 1))
            local[0] = turn
            root = np.array([0.0, height - 0.05, 0.0])
            _hold_feet(local, root, stand + (0.0, height, 0.0))
            rotations, roots = retarget.poses(quaternion_from_matrix(local)[None], root[None])
            joints, _ = joints_of(model, rotations, roots)
            places.append(joints[0, [JOINT_INDEX["left_ankle"], JOINT_INDEX["right_ankle"]]])
        assert np.ptp(np.array(places), axis=0).max() < 0.004


def _hold_feet(local: Array, root: Array, stand: Array) -> None:
    for side, name in enumerate(("left", "right")):
        leg_to(PERSON, local, root, side, stand[JOINT_INDEX[f"{name}_ankle"]], np.eye(3))


def test_one_pose_is_as_many_and_keeps_what_else_it_says(
    models: dict[str, VrmModel], motion: tuple[Array, Array]
) -> None:
    retarget = Retarget(PERSON, models["tall"].build)
    many = retarget.poses(*motion)
    for k in (0, 30):
        pose = BodyPose(k, motion[0][k], motion[1][k], flags=("left_lost",), contacts=np.array([True, False]))
        one = retarget.pose(pose)
        np.testing.assert_allclose(one.rotations_xyzw, many[0][k], atol=1e-6)
        np.testing.assert_allclose(one.root_position_m, many[1][k], atol=1e-6)
        assert (one.t_ns, one.flags) == (k, ("left_lost",)) and one.contacts is pose.contacts


@pytest.mark.parametrize("person", list(SKELETONS))
def test_whoever_stands_in_the_t_pose_makes_the_avatar_stand_so(models: dict[str, VrmModel], person: str) -> None:
    """Recordings and headsets put the lowest joint between the floor and a sole's thickness above it."""
    skeleton = SKELETONS[person]()
    for name, model in models.items():
        avatar = VrmAvatar(model, skeleton)
        for above in (0.0, 0.018 * skeleton.stature_m):
            mesh = avatar.pose(IDENTITY, np.array([0.0, skeleton.pelvis_height_m + above, 0.0]))
            assert abs(mesh.vertices[:, 1].min()) < FLOOR_M, name
            _, roots = avatar.retarget.poses(IDENTITY[None], np.array([[0.0, skeleton.pelvis_height_m + above, 0.0]]))
            assert roots[0, 1] == pytest.approx(model.build.hips_m, rel=0.025)


def test_far_out_poses_stay_finite(models: dict[str, VrmModel]) -> None:
    rng = np.random.default_rng(5)
    rotations = rng.normal(size=(300, 22, 4))
    roots = rng.normal(size=(300, 3)) * 3.0
    for model in models.values():
        turned, placed = Retarget(PERSON, model.build).poses(rotations, roots)
        assert np.isfinite(turned).all() and np.isfinite(placed).all()
        np.testing.assert_allclose(np.linalg.norm(turned, axis=2), 1.0, atol=1e-5)


def test_a_bodys_own_poses_stay_as_they_are_and_stand_on_its_own_soles(
    models: dict[str, VrmModel], motion: tuple[Array, Array]
) -> None:
    """As of a recording of it that a file rounded: legs that are bent for other feet would be off by centimetres."""
    rotations, roots = motion
    build = models["tall"].build
    rounded = Skeleton(build.skeleton.offsets_m + 0.0004 * np.sign(build.skeleton.offsets_m))
    retarget = Retarget(rounded, build)
    turned, placed = retarget.poses(rotations, roots)
    np.testing.assert_array_equal(turned, rotations.astype(np.float32))
    lifted = placed - roots
    np.testing.assert_allclose(lifted, np.tile(lifted[0], (len(lifted), 1)), atol=1e-5)
    assert np.abs(lifted[:, [0, 2]]).max() == 0.0 and retarget.scale == 1.0
    standing = BodyPose(0, IDENTITY, np.array([0.0, rounded.pelvis_height_m + 0.013 * rounded.stature_m, 0.0]))
    soles = retarget.pose(standing).root_position_m[1] - build.hips_m
    assert soles == pytest.approx(0.0, abs=1e-5)
    longer = Retarget(Skeleton(build.skeleton.offsets_m * 1.01), build)
    assert np.abs(longer.poses(rotations, roots)[0] - rotations).max() > 1e-3, "others' legs are bent"
