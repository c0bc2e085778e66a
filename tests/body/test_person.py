"""Joints of registered meshes, and people posed to scans: what linear blend skinning did is found again."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.avatar.rig import bone_transforms, load_rig, skin
from bodystream.body import JointState, Person, target_of_mesh
from bodystream.errors import InputError
from bodystream.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, align_rest, forward_kinematics
from bodystream.types import Array, Mesh
from helpers.body_meshes import dual, shipped_body, shipped_skin


@pytest.fixture(scope="module")
def person() -> Person:
    mesh, _ = shipped_body()
    return Person(shipped_skin(), mesh.vertices, mesh.faces)


def posed(spread_rad: float, seed: int) -> tuple[Array, Array]:
    """(V, 3) vertices of the shipped body and (22, 3) its joints, turned by chance; by the rig, not by `Person`."""
    rig, rng = load_rig(), np.random.default_rng(seed)
    vectors = rng.normal(0.0, spread_rad, (len(JOINTS), 3))
    moved = bone_transforms(rig, matrix_from_rotation_vector(vectors), np.array([0.3, -0.1, 0.5]))
    joints = np.einsum("bij,bj->bi", moved[:, :3, :3], rig.bind_positions_m) + moved[:, :3, 3]
    return skin(rig, moved, shipped_body()[1]), joints


def test_the_neutral_pose_is_the_neutral_mesh(person: Person) -> None:
    mesh, _ = shipped_body()
    np.testing.assert_allclose(person.vertices(person.neutral_state), mesh.vertices, atol=1e-6)
    joints = load_rig().bind_positions_m.astype(np.float64)
    np.testing.assert_allclose(person.kinematics(person.neutral_state)[1], joints, atol=1e-4)
    np.testing.assert_allclose(person.skeleton.offsets_m, align_rest(joints)[0].offsets_m, atol=1e-4)


@pytest.mark.parametrize("spread_rad", [0.2, 0.6])
def test_the_joints_of_a_posed_mesh_are_found(person: Person, spread_rad: float) -> None:
    vertices, joints = posed(spread_rad, seed=1)
    found = person.pose_of(vertices)
    assert found.distance_m < 1e-3
    assert np.abs(person.vertices(found.state) - vertices).max() < 0.02
    at, _ = forward_kinematics(person.skeleton.offsets_m, found.state.rotations, found.state.root)
    assert np.linalg.norm(at - joints, axis=1).max() < 0.01


def test_what_is_no_mesh_of_the_person_is_refused(person: Person) -> None:
    vertices, _ = posed(0.1, seed=0)
    with pytest.raises(InputError, match="must be finite and of shape"):
        person.pose_of(vertices[1:])
    vertices[3] = np.nan
    with pytest.raises(InputError, match="must be finite"):
        person.pose_of(vertices)
    with pytest.raises(InputError, match="neutral vertices must have shape"):
        Person(shipped_skin(), vertices[1:], person.faces)


def test_a_person_is_posed_to_a_scan_from_a_pose_nearby(person: Person) -> None:
    """Half of the surface, of another topology, from a pose in which limbs are turned and all is shifted."""
    vertices, _ = posed(0.3, seed=2)
    whole = dual(Mesh(vertices, person.faces))
    seen = whole.faces[whole.vertices[whole.faces].mean(axis=1)[:, 2] < np.median(vertices[:, 2]) + 0.03]
    truth = person.pose_of(vertices).state
    rng = np.random.default_rng(3)
    start = JointState(
        matrix_from_rotation_vector(rng.normal(0.0, 0.06, (len(JOINTS), 3))) @ truth.rotations, truth.root + 0.03
    )
    found = person.posed_to(target_of_mesh(Mesh(whole.vertices, seen)), start)
    before, after = (
        1e3 * np.linalg.norm(person.vertices(state) - vertices, axis=1).mean() for state in (start, found.state)
    )
    assert before > 70.0 and after < 20.0
    elbow = JOINT_INDEX["left_elbow"]
    turn = rotation_vector_from_matrix(found.state.rotations[elbow] @ truth.rotations[elbow].T)
    assert np.degrees(np.linalg.norm(turn)) < 8.0


def test_the_size_of_somebody_smaller_is_found(person: Person) -> None:
    vertices, _ = posed(0.1, seed=4)
    truth = person.pose_of(vertices).state
    small = Mesh(0.93 * vertices, person.faces)
    start = JointState(truth.rotations, 0.93 * truth.root)
    found = person.posed_to(target_of_mesh(small), start, sized=True)
    assert found.state.size == pytest.approx(0.93, abs=0.005)
    assert found.distance_m < 0.008
    assert person.sized(found.state).stature_m == pytest.approx(0.93 * person.skeleton.stature_m, rel=0.01)
