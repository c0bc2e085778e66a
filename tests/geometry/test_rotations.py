"""Rotations against closed forms: Rodrigues, the Hamilton product, the cross product."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from bodystream.errors import InputError
from bodystream.geometry.rotations import (
    matrix_from_quaternion,
    matrix_from_rotation_vector,
    quaternion_from_matrix,
    rotation_vector_from_matrix,
    skew,
    smallest_rotation,
    turn_about,
)

TOLERANCE = 1e-12  # all of it is float64, a few operations deep

vectors = hnp.arrays(np.float64, (3,), elements=st.floats(-3.0, 3.0))
batches = hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=2, max_side=4).map(lambda s: (*s, 3)),
                     elements=st.floats(-3.0, 3.0))  # fmt: skip


def rodrigues(vector: np.ndarray) -> np.ndarray:
    """I + sin(t)/t [v]x + (1 - cos t)/t^2 [v]x^2, by its series where t is small."""
    t = np.linalg.norm(vector)
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    first = np.sin(t) / t if t > 1e-4 else 1 - t**2 / 6
    second = (1 - np.cos(t)) / t**2 if t > 1e-4 else 0.5 - t**2 / 24
    return np.eye(3) + first * cross + second * cross @ cross


@given(v=batches, p=vectors)
def test_skew_is_the_cross_product(v: np.ndarray, p: np.ndarray) -> None:
    matrix = skew(v)
    assert matrix.shape == (*v.shape, 3)
    np.testing.assert_allclose(matrix @ p, np.cross(v, p), atol=TOLERANCE)
    np.testing.assert_array_equal(np.swapaxes(matrix, -1, -2), -matrix)


def test_skew_keeps_the_precision() -> None:
    assert skew(np.ones(3, np.float32)).dtype == np.float32


@given(v=vectors)
def test_exponential_map_is_rodrigues_formula(v: np.ndarray) -> None:
    np.testing.assert_allclose(matrix_from_rotation_vector(v), rodrigues(v), atol=1e-11)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-5, np.pi - 1e-9, np.pi, 2 * np.pi])
def test_exponential_map_at_the_awkward_angles(angle: float) -> None:
    axis = np.array([2.0, -1.0, 2.0]) / 3.0
    np.testing.assert_allclose(matrix_from_rotation_vector(angle * axis), rodrigues(angle * axis), atol=TOLERANCE)


@given(v=batches)
def test_rotations_are_proper_and_keep_their_batch(v: np.ndarray) -> None:
    matrix = matrix_from_rotation_vector(v)
    assert matrix.shape == (*v.shape, 3)
    identity = np.broadcast_to(np.eye(3), matrix.shape)
    np.testing.assert_allclose(matrix @ np.swapaxes(matrix, -1, -2), identity, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0, atol=TOLERANCE)


def test_a_quaternion_of_zeros_is_refused() -> None:
    quaternions = np.array([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    with pytest.raises(InputError, match="quaternion 1 of 3 is all zeros"):
        matrix_from_quaternion(quaternions)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    matrix = matrix_from_rotation_vector(np.array([0.0, 0.0, np.pi / 2]))
    np.testing.assert_allclose(matrix @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=TOLERANCE)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(quaternion_from_matrix(matrix), [0.0, 0.0, half, half], atol=TOLERANCE)


@given(v=batches)
def test_quaternions_are_unit_canonical_and_come_back(v: np.ndarray) -> None:
    matrix = matrix_from_rotation_vector(v)
    quaternion = quaternion_from_matrix(matrix)
    assert quaternion.shape == (*v.shape[:-1], 4)
    assert np.all(quaternion[..., 3] >= 0)
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=-1), 1.0, atol=TOLERANCE)
    np.testing.assert_allclose(matrix_from_quaternion(quaternion), matrix, atol=TOLERANCE)
    np.testing.assert_allclose(matrix_from_quaternion(-2.5 * quaternion), matrix, atol=TOLERANCE)


@given(a=vectors, b=vectors)
def test_quaternions_multiply_as_hamilton_wrote(a: np.ndarray, b: np.ndarray) -> None:
    """The vector part comes first (xyzw): checked through the product, which mixes all four components."""
    first, second = matrix_from_rotation_vector(a), matrix_from_rotation_vector(b)
    qa, qb = quaternion_from_matrix(first), quaternion_from_matrix(second)
    vector = qa[3] * qb[:3] + qb[3] * qa[:3] + np.cross(qa[:3], qb[:3])
    product = np.array([*vector, qa[3] * qb[3] - qa[:3] @ qb[:3]])
    np.testing.assert_allclose(matrix_from_quaternion(product), first @ second, atol=1e-11)


def test_conversions_of_matrices_are_scipys() -> None:
    """By another algorithm, over all rotations, half turns included: there each number is the largest once."""
    half_turns = Rotation.from_quat(np.eye(4)).as_matrix()
    matrices = np.concatenate([Rotation.random(2000, rng=0).as_matrix(), half_turns])
    wanted = Rotation.from_matrix(matrices)
    np.testing.assert_allclose(quaternion_from_matrix(matrices), wanted.as_quat(canonical=True), atol=TOLERANCE)
    vectors = rotation_vector_from_matrix(matrices)
    np.testing.assert_allclose(vectors, wanted.as_rotvec(), atol=TOLERANCE)
    # of 32 bits a matrix is a rotation within its digits
    rounded = matrices.astype(np.float32)
    np.testing.assert_allclose(quaternion_from_matrix(rounded), wanted.as_quat(canonical=True), atol=1e-6)


@given(axis=vectors, angle=st.floats(-7.0, 7.0))
def test_a_turn_about_an_axis_is_rodrigues_formula(axis: np.ndarray, angle: float) -> None:
    axis = axis + (4.0, 0.0, 0.0)
    axis /= np.linalg.norm(axis)
    np.testing.assert_allclose(turn_about(axis, angle), rodrigues(angle * axis), atol=1e-11)


@given(start=vectors, end=vectors)
def test_the_smallest_rotation_turns_in_the_plane_of_both(start: np.ndarray, end: np.ndarray) -> None:
    start, end = start + (8.0, 0.0, 0.0), end + (0.0, 8.0, 0.0)  # at most 170 degrees apart
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    matrix = smallest_rotation(start, end)
    np.testing.assert_allclose(matrix @ start, end, atol=TOLERANCE)
    axis = np.cross(start, end)
    np.testing.assert_allclose(matrix @ axis, axis, atol=TOLERANCE)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=TOLERANCE)


@pytest.mark.parametrize("axis", np.eye(3))
def test_the_smallest_rotation_to_the_opposite_is_half_a_turn(axis: np.ndarray) -> None:
    matrix = smallest_rotation(axis, -axis)
    np.testing.assert_allclose(matrix @ axis, -axis, atol=TOLERANCE)
    np.testing.assert_allclose(matrix @ matrix, np.eye(3), atol=TOLERANCE)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
