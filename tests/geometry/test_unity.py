"""Unity's axes: a mirror in z, and angles about z, x, y."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bodystream.geometry.unity import unity_eulers_deg, unity_quaternions, unity_vectors

MIRROR = np.diag([1.0, 1.0, -1.0])
SMALLEST_DEG = 1e-6


def test_vectors_and_rotations_are_seen_in_a_mirror_and_back() -> None:
    rng = np.random.default_rng(1)
    vectors, rotations = rng.normal(size=(50, 3)), Rotation.random(50, rng=rng)
    seen = Rotation.from_quat(unity_quaternions(rotations.as_quat()))
    np.testing.assert_allclose(seen.as_matrix(), MIRROR @ rotations.as_matrix() @ MIRROR, atol=1e-12)
    np.testing.assert_allclose(unity_vectors(rotations.apply(vectors)), seen.apply(unity_vectors(vectors)), atol=1e-12)
    np.testing.assert_array_equal(unity_vectors(unity_vectors(vectors)), vectors)
    np.testing.assert_array_equal(unity_quaternions(unity_quaternions(rotations.as_quat())), rotations.as_quat())


def test_who_looks_ahead_looks_along_unitys_z_and_turns_left_against_the_clock_of_ours() -> None:
    np.testing.assert_array_equal(unity_vectors(np.array([0.0, 0.0, -1.0])), [0.0, 0.0, 1.0])
    left = Rotation.from_euler("y", 30, degrees=True)  # ours: counter-clockwise seen from above, to the left
    np.testing.assert_allclose(left.apply([0.0, 0.0, -1.0]), [-0.5, 0.0, -np.sqrt(0.75)], atol=1e-12)
    x, y, z = unity_eulers_deg(unity_quaternions(left.as_quat()))
    assert (x, z) == (0.0, 0.0) and y == pytest.approx(-30.0), "in Unity a turn to the left is negative"


@pytest.mark.parametrize("spread", [1.0, 1e-4])
def test_angles_turn_about_z_then_x_then_y(spread: float) -> None:
    rng = np.random.default_rng(2)
    eulers = rng.uniform([-90, -180, -180], [90, 180, 180], (300, 3))
    if spread < 1:  # beside straight up and down, where y and z are nearly one
        eulers[:, 0] = np.sign(eulers[:, 0]) * (90 - rng.uniform(0, spread, 300))
    eulers[:4] = [[90, 20, 0], [-90, 40, 0], [0, 180, 0], [0, 0, 0]]
    about = [Rotation.from_euler(axis, eulers[:, [k]], degrees=True) for k, axis in enumerate("xyz")]
    wanted = about[1] * about[0] * about[2]
    got = unity_eulers_deg(wanted.as_quat())
    about = [Rotation.from_euler(axis, got[:, [k]], degrees=True) for k, axis in enumerate("xyz")]
    off = (wanted.inv() * about[1] * about[0] * about[2]).magnitude()
    assert np.degrees(off).max() < (SMALLEST_DEG if spread == 1 else 0.01)
    assert np.abs(got).max() <= 180.0 and np.abs(got[:, 0]).max() <= 90.0
