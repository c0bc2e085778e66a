"""Few shapes come as near to many as they can."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.shape_basis import shape_basis
from bodystream.types import Array

FRAMES, VERTICES, RANK = 30, 50, 4


def low_rank(noise: float = 0.0) -> Array:
    rng = np.random.default_rng(0)
    shapes = rng.normal(0, 0.02, (RANK, VERTICES, 3))
    shares = rng.normal(0, 1, (FRAMES, RANK))
    values = rng.normal(0, 1, (VERTICES, 3)) + np.tensordot(shares, shapes, 1)
    return (values + rng.normal(0, noise, values.shape)).astype(np.float32)


def again(basis, values: Array) -> Array:
    return np.stack([basis.mean + np.tensordot(basis.shares_of(value), basis.shapes, 1) for value in values])


def test_shapes_of_a_low_rank_are_as_many_and_exact() -> None:
    values = low_rank()
    basis = shape_basis(values, 1e-5, 20)
    assert len(basis.shapes) == RANK
    np.testing.assert_allclose(again(basis, values), values, atol=1e-5)
    np.testing.assert_allclose([basis.shares_of(value) for value in values], basis.shares, atol=1e-3)
    np.testing.assert_allclose(np.abs(basis.shares).max(axis=0), 1.0, atol=1e-5)


def test_there_are_no_more_than_the_bound_of_the_error_asks_for() -> None:
    values = low_rank(noise=0.001)
    full = np.linalg.svd((values - values.mean(axis=0)).reshape(FRAMES, -1).astype(np.float64), compute_uv=False)
    for rms in (0.01, 0.003):
        basis = shape_basis(values, rms, 20)
        left = [np.sqrt((full[kept:] ** 2).sum() / (FRAMES * VERTICES)) for kept in range(FRAMES)]
        assert len(basis.shapes) == next(kept for kept in range(FRAMES) if left[kept] <= rms)
        error = again(basis, values) - values
        np.testing.assert_allclose(np.sqrt((error**2).sum(axis=-1).mean()), left[len(basis.shapes)], rtol=1e-2)
    assert len(shape_basis(values, 0.0, 3).shapes) == 3


def test_what_does_not_change_needs_no_shape() -> None:
    still = np.repeat(low_rank()[:1], 5, axis=0)
    basis = shape_basis(still, 1e-4, 8)
    assert basis.shapes.shape == (0, VERTICES, 3) and basis.shares_of(still[0]).shape == (0,)
    one = shape_basis(still[:1], 0.0, 8)
    np.testing.assert_array_equal(one.mean, still[0])
    mean, shapes = one.companions(still[:1])
    assert len(shapes) == 0 and mean.shape == (VERTICES, 3)


def test_companions_come_with_the_shares() -> None:
    values = low_rank()
    basis = shape_basis(values, 1e-5, 20)
    rng = np.random.default_rng(1)
    turned = rng.normal(0, 0.1, (RANK, VERTICES, 3)).astype(np.float32)
    others = (rng.normal(0, 1, (VERTICES, 3)) + np.tensordot(basis.shares, turned, 1)).astype(np.float32)
    mean, shapes = basis.companions(others)
    np.testing.assert_allclose(mean + np.tensordot(basis.shares, shapes, 1), others, atol=1e-4)
