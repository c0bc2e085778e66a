"""The surface follows the proportions of a person, and skeletons that no body has are refused."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.avatar import LbsAvatar, load_rig
from bodystream.avatar.proportions import FittedRig, fit_rig
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, PARENTS, Skeleton
from bodystream.types import Array
from helpers.avatar_poses import IDENTITY, SKELETONS, lengthened, other_rig, own_skeleton, size_of


def tpose(skeleton: Skeleton | None) -> Array:
    return LbsAvatar(skeleton).pose(IDENTITY, np.zeros(3)).vertices


def weight_of(joint: str) -> Array:
    body = load_rig()
    return (body.weights * (body.bones == JOINT_INDEX[joint])).sum(axis=1)


@pytest.fixture(scope="module")
def own_tpose() -> Array:
    return tpose(None)


def test_the_own_proportions_leave_the_body_as_it_is() -> None:
    body = load_rig()
    fitted = fit_rig(body, own_skeleton())
    np.testing.assert_allclose(fitted.skin.mesh.vertices, body.mesh.vertices, atol=2e-6)
    np.testing.assert_allclose(fitted.skin.bone_from_bind, fit_rig(body).skin.bone_from_bind, atol=1e-6)


@pytest.mark.parametrize("factor", [0.6, 1.25])
def test_a_scaled_skeleton_has_a_scaled_surface(own_tpose: Array, factor: float) -> None:
    np.testing.assert_allclose(tpose(own_skeleton().scaled(factor)), own_tpose * factor, atol=5e-6)


def test_a_longer_forearm_is_longer_and_as_thick_and_carries_the_same_hand(own_tpose: Array) -> None:
    skeleton = lengthened(1.25, "wrist")
    posed = tpose(skeleton)
    longer = skeleton.rest_positions_m - own_skeleton().rest_positions_m
    for side in ("left", "right"):
        hand = weight_of(f"{side}_wrist") > 1 - 1e-6
        shift = posed[hand] - own_tpose[hand]
        np.testing.assert_allclose(shift, np.tile(longer[JOINT_INDEX[f"{side}_wrist"]], (hand.sum(), 1)), atol=5e-6)
        arm = weight_of(f"{side}_elbow") > 1 - 1e-6
        elbow = own_skeleton().rest_positions_m[JOINT_INDEX[f"{side}_elbow"]]
        np.testing.assert_allclose(posed[arm] - elbow, (own_tpose[arm] - elbow) * (1.25, 1, 1), atol=5e-6)
    arms = ("left_elbow", "right_elbow", "left_wrist", "right_wrist")
    rest = sum(weight_of(joint) for joint in arms) == 0
    assert rest.sum() > 8000
    np.testing.assert_allclose(posed[rest], own_tpose[rest], atol=5e-6)


@pytest.mark.parametrize("name", list(SKELETONS))
def test_limbs_bend_where_the_surface_has_its_joints(name: str) -> None:
    """The vertices that two bones share lie around the joint between them."""
    skeleton = SKELETONS[name]()
    posed = tpose(skeleton)
    for part in ("knee", "ankle", "elbow", "wrist"):
        for side in ("left", "right"):
            joint = JOINT_INDEX[f"{side}_{part}"]
            shared = np.minimum(weight_of(JOINTS[joint]), weight_of(JOINTS[PARENTS[joint]])) > 0.3
            assert shared.sum() > 5
            middle = 0.5 * (posed[shared].min(axis=0) + posed[shared].max(axis=0))
            off = np.linalg.norm(middle - skeleton.rest_positions_m[joint])
            assert off < 0.035 * skeleton.stature_m, (part, off)


@pytest.mark.parametrize("name", list(SKELETONS))
def test_the_skin_is_not_torn(own_tpose: Array, name: str) -> None:
    """No edge grows far beyond what the size and the longest bones ask for."""
    skeleton = SKELETONS[name]()
    faces = load_rig().mesh.faces
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    posed = tpose(skeleton)
    lengths = [np.linalg.norm(v[ends[:, 0]] - v[ends[:, 1]], axis=1) for v in (own_tpose, posed)]
    size = size_of(skeleton)
    ratio = lengths[1] / lengths[0] / size
    assert 0.8 < np.median(ratio) < 1.25
    assert np.quantile(ratio, 0.999) < 2.0 and np.quantile(ratio, 0.001) > 0.4


def test_another_rig_gives_a_person_of_its_size(own_tpose: Array) -> None:
    """Hips, shoulders and limbs decide, wherever the rig has its pelvis, spine and neck."""
    skeleton = other_rig()
    posed, size = tpose(skeleton), size_of(skeleton)
    assert 1.04 < size < 1.10 and skeleton.stature_m / own_skeleton().stature_m < 1.01  # the rig's head joint is low
    assert np.ptp(posed[:, 1]) == pytest.approx(np.ptp(own_tpose[:, 1]) * size, rel=0.03)
    joints = skeleton.rest_positions_m
    crotch = posed[np.minimum(weight_of("left_hip"), weight_of("right_hip")) > 0.1][:, 1]
    assert abs(crotch.mean() - joints[JOINT_INDEX["left_hip"], 1]) < 0.12


@pytest.mark.parametrize("name", list(SKELETONS))
def test_the_head_has_its_shape_and_a_neck(own_tpose: Array, name: str) -> None:
    skeleton = SKELETONS[name]()
    posed, size = tpose(skeleton), size_of(skeleton)
    chin_and_up = weight_of("head") > 1 - 1e-6
    shift = posed[chin_and_up] - size * own_tpose[chin_and_up]
    np.testing.assert_allclose(shift, np.tile(shift[0], (len(shift), 1)), atol=5e-6)
    shoulder = JOINT_INDEX["left_shoulder"]
    above = [v[chin_and_up][:, 1].min() - s.rest_positions_m[shoulder, 1] for v, s in
             ((posed, skeleton), (own_tpose, own_skeleton()))]  # fmt: skip
    assert above[0] > 0.75 * size * above[1] > 0.02
    on_joint = shift[0] - (
        skeleton.rest_positions_m[JOINT_INDEX["head"]] - size * own_skeleton().rest_positions_m[JOINT_INDEX["head"]]
    )
    limit = 0.10 if name == "other rig" else 1e-5 if name in ("own", "child") else 0.03
    assert np.abs(on_joint).max() < limit


@pytest.mark.parametrize("name", list(SKELETONS))
def test_bones_are_rigid_and_meet_the_joints(name: str) -> None:
    fitted: FittedRig = fit_rig(load_rig(), SKELETONS[name]())
    turns = fitted.skin.bone_from_bind[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (22, 1, 1)), atol=1e-12)
    assert (np.linalg.det(turns) > 0).all()
    at_joint = np.einsum("jab,jb->ja", turns, fitted.skin.bind_positions_m) + fitted.skin.bone_from_bind[:, :3, 3]
    np.testing.assert_allclose(at_joint, 0.0, atol=1e-6)
    apart = np.linalg.norm(fitted.skin.bind_positions_m[1:] - fitted.skin.bind_positions_m[list(PARENTS[1:])], axis=1)
    np.testing.assert_allclose(apart, np.linalg.norm(fitted.skeleton.offsets_m[1:], axis=1), atol=1e-6)


def changed(joint: str, offset: tuple[float, float, float]) -> Skeleton:
    offsets = own_skeleton().offsets_m.copy()
    offsets[JOINT_INDEX[joint]] = offset
    return Skeleton(offsets)


@pytest.mark.parametrize(
    ("skeleton", "message"),
    [
        (lambda: changed("left_wrist", (0.0, 0.0, 0.0)), "left forearm is .* a joint is missing"),
        (lambda: changed("right_knee", (0.0, 0.4, 0.0)), "right thigh is 40 cm long"),
        (lambda: changed("left_elbow", (-2.5, 0.0, 0.0)), "left upper arm is -250 cm"),
        (lambda: Skeleton(own_skeleton().offsets_m * (-1, 1, 1)), "left hip is not left .* swapped"),
        (lambda: own_skeleton().scaled(0.05), "shoulders are 0.06 m above its ankles.*check its unit"),
        (lambda: Skeleton(own_skeleton().offsets_m[:, [0, 2, 1]]), "upright|torso|long"),
    ],
)
def test_skeletons_that_no_body_has_are_refused(skeleton, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LbsAvatar(skeleton())
