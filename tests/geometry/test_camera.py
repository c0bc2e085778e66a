"""The pinhole camera against closed forms, and sampling against functions that are bilinear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodystream.geometry.camera import back_project, back_project_pixels, nearest_pixels, project, sample_bilinear
from bodystream.types import CameraIntrinsics

CAMERA = CameraIntrinsics(fx=40.0, fy=50.0, cx=9.25, cy=7.5, width=20, height=15)
coordinate = st.floats(-2.0, 2.0, width=32)


def test_axes_are_right_down_forward() -> None:
    centre = project(np.array([0.0, 0.0, 1.0]), CAMERA)
    np.testing.assert_allclose(centre, [9.25, 7.5])
    assert project(np.array([0.1, 0.0, 1.0]), CAMERA)[0] > centre[0]
    assert project(np.array([0.0, 0.1, 1.0]), CAMERA)[1] > centre[1]


@given(x=coordinate, y=coordinate, z=st.floats(0.125, 8.0, width=32))
def test_projection_is_the_matrix_product(x: float, y: float, z: float) -> None:
    homogeneous = CAMERA.matrix @ np.array([x, y, z])
    pixel = project(np.array([[[x, y, z]]]), CAMERA)
    assert pixel.shape == (1, 1, 2)
    np.testing.assert_allclose(pixel[0, 0], homogeneous[:2] / homogeneous[2], rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("z", [0.0, -1.0, np.nan])
def test_points_that_are_not_in_front_have_no_pixel(z: float) -> None:
    assert np.isnan(project(np.array([0.3, 0.2, z]), CAMERA)).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_back_projection_inverts_projection(seed: int) -> None:
    depth_m = np.random.default_rng(seed).uniform(0.3, 6.0, (15, 20)).astype(np.float32)
    points = back_project(depth_m, CAMERA)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points[..., 2], depth_m)
    u, v = np.meshgrid(np.arange(20), np.arange(15))
    np.testing.assert_allclose(project(points.astype(np.float64), CAMERA), np.stack([u, v], -1), atol=1e-5)
    some = np.random.default_rng(seed).permutation(np.stack([u, v], -1).reshape(-1, 2))[:30]
    chosen = back_project_pixels(some, depth_m[some[:, 1], some[:, 0]], CAMERA)
    np.testing.assert_array_equal(chosen, points[some[:, 1], some[:, 0]])


def test_pixels_without_depth_are_the_origin() -> None:
    depth_m = np.zeros((15, 20), np.float32)
    depth_m[3, 4] = 2.0
    points = back_project(depth_m, CAMERA)
    assert np.count_nonzero(points.any(axis=-1)) == 1
    np.testing.assert_allclose(points[3, 4], [(4 - 9.25) / 40 * 2, (3 - 7.5) / 50 * 2, 2.0], rtol=1e-6)


def bilinear(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 1.5 + 0.25 * u - 0.5 * v + 0.125 * u * v


@given(u=st.floats(0.0, 18.99), v=st.floats(0.0, 13.99))
def test_sampling_a_bilinear_image_is_exact(u: float, v: float) -> None:
    columns, rows = np.meshgrid(np.arange(20.0), np.arange(15.0))
    image = bilinear(columns, rows)
    values, good = sample_bilinear(image, np.array([[u, v]]))
    assert good.all()
    np.testing.assert_allclose(values, bilinear(np.array([u]), np.array([v])), atol=1e-9)
    stacked, _ = sample_bilinear(np.stack([image, -image], -1), np.array([[u, v]]))
    assert stacked.shape == (1, 2)
    np.testing.assert_allclose(stacked[0], [values[0], -values[0]])


@pytest.mark.parametrize(
    "pixel", [(-0.01, 3.0), (3.0, -0.01), (19.0, 3.0), (3.0, 14.0), (np.nan, 3.0), (3.0, np.inf), (1e12, 3.0)]
)
def test_samples_outside_are_not_good_and_zero(pixel: tuple[float, float]) -> None:
    values, good = sample_bilinear(np.full((15, 20), 7.0), np.array([pixel, (3.0, 3.0)]))
    assert good.tolist() == [False, True]
    assert values.tolist() == [0.0, 7.0]


@pytest.mark.parametrize("hole", [(5, 6), (5, 7), (6, 6), (6, 7)])
def test_one_invalid_neighbour_spoils_a_sample(hole: tuple[int, int]) -> None:
    valid = np.ones((15, 20), bool)
    valid[hole] = False
    pixels = np.array([(6.5, 5.5), (8.5, 5.5)])
    _, good = sample_bilinear(np.ones((15, 20)), pixels, valid)
    assert good.tolist() == [False, True]


def test_nearest_pixels_are_those_whose_centres_are_within_half_a_pixel() -> None:
    camera = CameraIntrinsics(30.0, 30.0, 9.5, 7.0, 20, 15)
    points = np.array([[(-0.49, 0.0), (19.49, 14.49), (3.4, 7.6)], [(-0.51, 0.0), (3.0, 14.51), (np.nan, 3.0)]])
    at, inside = nearest_pixels(points, camera)
    assert inside.tolist() == [[True] * 3, [False] * 3]
    assert at.tolist() == [[[0, 0], [19, 14], [3, 8]], [[0, 0]] * 3]


def test_points_behind_the_camera_lie_on_no_pixel() -> None:
    camera = CameraIntrinsics(30.0, 30.0, 9.5, 7.0, 20, 15)
    _, inside = nearest_pixels(project(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]), camera), camera)
    assert inside.tolist() == [True, False]
