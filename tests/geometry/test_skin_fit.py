"""Weights of a surface that bones did move are found again, and what bones cannot do is left to the places at rest."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from bodystream.geometry.skin_fit import blended, fit_weights, unskinned
from bodystream.types import Array

BONES, VERTICES, POSES = 6, 70, 20


def moved_bones(seed: int = 0, angle: float = 0.8) -> Array:
    rng = np.random.default_rng(seed)
    bones = np.tile(np.eye(4), (POSES, BONES, 1, 1))
    turns = Rotation.from_rotvec(rng.normal(0, angle, (POSES * BONES, 3))).as_matrix()
    bones[..., :3, :3] = turns.reshape(POSES, BONES, 3, 3)
    bones[..., :3, 3] = rng.normal(0, 0.3, (POSES, BONES, 3))
    return bones


def known() -> tuple[Array, Array, Array]:
    """Places at rest, two bones for each vertex, and their weights."""
    rng = np.random.default_rng(1)
    which = np.stack([rng.permutation(BONES)[:2] for _ in range(VERTICES)])
    share = rng.uniform(0.1, 0.9, VERTICES)
    return rng.uniform(-1, 1, (VERTICES, 3)), which, np.stack([share, 1 - share], axis=1)


def posed_by(bones: Array, rest: Array, which: Array, weights: Array) -> Array:
    """Slowly, one pose, vertex and bone at a time."""
    out = np.zeros((len(bones), len(rest), 3))
    for f, pose in enumerate(bones):
        for v, point in enumerate(rest):
            for bone, weight in zip(which[v], weights[v], strict=True):
                out[f, v] += weight * (pose[bone, :3, :3] @ point + pose[bone, :3, 3])
    return out


def test_weights_that_moved_a_surface_are_found_again() -> None:
    rest, which, weights = known()
    bones = moved_bones(angle=0.3)
    found, shares = fit_weights(rest, bones, posed_by(bones, rest, which, weights))
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
    assert shares.min() >= 0.0
    dense, wanted = np.zeros((2, VERTICES, BONES))
    for v in range(VERTICES):
        np.add.at(dense[v], found[v], shares[v])
        wanted[v, which[v]] = weights[v]
    assert np.abs(dense - wanted).max() < 0.02


def test_a_vertex_that_one_bone_carries_has_that_one() -> None:
    rest, _, _ = known()
    bones = moved_bones(2)
    owner = np.arange(VERTICES) % BONES
    carried = bones[:, owner]
    posed = np.einsum("fvij,vj->fvi", carried[..., :3, :3], rest) + carried[..., :3, 3]
    found, shares = fit_weights(rest, bones, posed)
    np.testing.assert_array_equal(found[np.arange(VERTICES), shares.argmax(axis=1)], owner)
    assert shares.max(axis=1).min() > 0.995


def test_places_at_rest_are_those_that_bones_carry_to_what_was_seen() -> None:
    rest, which, weights = known()
    bones = moved_bones(3, 0.4)
    posed = posed_by(bones, rest, which, weights) + np.random.default_rng(4).normal(0, 0.01, (POSES, VERTICES, 3))
    for pose, seen in zip(bones, posed, strict=True):
        by = blended(which.astype(np.int32), weights.astype(np.float32), pose)
        back = unskinned(by, seen, rest)
        again = np.einsum("vij,vj->vi", by[:, :, :3], back) + by[:, :, 3]
        assert np.linalg.norm(again - seen, axis=1).max() < 1e-3
        assert np.linalg.norm(back - rest, axis=1).max() < 0.2


def test_bones_that_are_turned_against_each_other_send_no_vertex_far_away() -> None:
    flat = np.zeros((1, 3, 4))
    flat[0, 0, 0] = 1.0  # two bones, half a turn apart, leave one axis
    back = unskinned(flat, np.array([[0.5, 0.3, -0.2]]), np.array([[0.4, 0.1, 0.2]]))
    np.testing.assert_allclose(back, [[0.5, 0.1, 0.2]], atol=1e-4)


def test_what_bones_carry_is_at_rest_where_it_was_however_flat_they_are() -> None:
    rest, which, weights = known()
    bones = moved_bones(5, 2.0)  # some pairs are near half a turn apart
    posed = posed_by(bones, rest, which, weights)
    flattest = 1.0
    for pose, seen in zip(bones, posed, strict=True):
        by = blended(which.astype(np.int32), weights, pose)
        flattest = min(flattest, float(np.linalg.svd(by[:, :, :3], compute_uv=False).min()))
        np.testing.assert_allclose(unskinned(by, seen, rest), rest, atol=1e-9)
    assert flattest < 0.05


def test_bones_that_would_press_the_surface_flat_are_not_mixed() -> None:
    """A vertex that stays between two bones which turn against each other."""
    bones = np.tile(np.eye(4), (POSES, 4, 1, 1))
    angles = np.linspace(0.0, 90.0, POSES)
    bones[:, 0, :3, :3] = Rotation.from_euler("x", angles[:, None], degrees=True).as_matrix()
    bones[:, 1, :3, :3] = Rotation.from_euler("x", -angles[:, None], degrees=True).as_matrix()
    bones[:, 2:, :3, 3] = (50.0, 0.0, 0.0)
    rest = np.array([[0.3, 1.0, 0.0]])
    posed = 0.5 * (bones[:, 0, :3, :3] + bones[:, 1, :3, :3]) @ rest[0]
    found, shares = fit_weights(rest, bones, posed[:, None])
    assert shares.max() == 1.0 and found[0, shares[0].argmax()] in (0, 1)
    assert np.linalg.det(blended(found, shares, bones[-1])[0, :, :3]) > 0.9
