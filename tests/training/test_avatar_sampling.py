"""Points about posed surfaces: inside by exact winding numbers and analytic shapes, evenly spread, the same by seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from bodystream.avatar.take.frames import AvatarTake, PosedFrame
from bodystream.errors import ConfigurationError, InputError
from bodystream_training.avatar.data.sampling import SampleCache, SamplingConfig, even_surface_points, sample_frame
from bodystream_training.avatar.data.surface import QuerySurface

RADIUS_M = 0.5
FEW = SamplingConfig(near=3000, box=3000, seed=3)


def winding_numbers(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Exact: the sum of the solid angles of all faces (Van Oosterom and Strackee, 1983) over 4 pi."""
    a, b, c = (vertices[faces[:, k]][None] - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(x, axis=-1) for x in (a, b, c))
    above = np.einsum("pfi,pfi->pf", a, np.cross(b, c))
    below = la * lb * lc + (a * b).sum(-1) * lc + (b * c).sum(-1) * la + (c * a).sum(-1) * lb
    return 2 * np.arctan2(above, below).sum(axis=1) / (4 * np.pi)


def ball(centre: tuple[float, float, float] = (0, 0, 0), radius: float = RADIUS_M) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(3, radius).apply_translation(centre)


def skirt() -> trimesh.Trimesh:
    """A cone's side, open above and below."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    rings = [np.column_stack([r * np.sin(angle), np.full(48, y), r * np.cos(angle)]) for r, y in
             zip(np.linspace(0.2, 0.5, 9), np.linspace(0.4, -0.4, 9), strict=True)]  # fmt: skip
    faces = []
    for ring in range(8):
        for k in range(48):
            a, b = 48 * ring + k, 48 * ring + (k + 1) % 48
            faces += [(a, a + 48, b), (b, a + 48, b + 48)]
    return trimesh.Trimesh(np.concatenate(rings), faces, process=False)


def take_of(mesh: trimesh.Trimesh, colours: np.ndarray | None = None) -> AvatarTake:
    unit = np.tile(np.eye(4, dtype=np.float32), (24, 1, 1))
    frame = PosedFrame(5, "m", mesh.vertices.astype(np.float32), unit, np.zeros((24, 4), np.float32))
    return AvatarTake("1", "o", 0, 10.0, np.zeros((24, 3)), (frame,), {"train": ("m",), "test": ()},
                      mesh.faces.astype(np.int32), colours)  # fmt: skip


@pytest.mark.parametrize("name", ["ball", "union", "skirt"])
def test_inside_is_where_the_exact_winding_number_exceeds_a_half(name: str) -> None:
    shapes = {"ball": ball(), "skirt": skirt(), "union": trimesh.util.concatenate([ball(), ball((0.3, 0, 0), 0.45)])}
    mesh = shapes[name]
    points = np.random.default_rng(0).uniform(-0.8, 0.8, (800, 3))
    exact = winding_numbers(mesh.vertices, mesh.faces, points)
    sure = np.abs(exact - 0.5) > 0.02
    assert sure.mean() > 0.9 and (exact > 0.5).mean() > 0.05
    inside = QuerySurface(mesh.vertices, mesh.faces).nearest(points).inside
    np.testing.assert_array_equal(inside[sure], exact[sure] > 0.5)


def test_an_open_skirt_has_an_inside_that_ends_at_its_hem() -> None:
    surface = QuerySurface(skirt().vertices, skirt().faces)
    heights = np.array([-0.6, -0.45, -0.35, 0.0, 0.35, 0.45])
    points = np.column_stack([np.zeros(6), heights, np.zeros(6)])
    assert surface.nearest(points).inside.tolist() == [False, False, True, True, True, False]


def test_the_nearest_point_is_as_far_as_of_a_sphere() -> None:
    points = np.random.default_rng(1).normal(size=(300, 3))
    near = QuerySurface(ball().vertices, ball().faces).nearest(points)
    distance = np.linalg.norm(points - near.points, axis=1)
    assert np.abs(distance - np.abs(np.linalg.norm(points, axis=1) - RADIUS_M)).max() < 0.005  # its faces are flat
    again = near.interpolated(ball().faces, ball().vertices)
    np.testing.assert_allclose(again, near.points, atol=1e-5)


def test_samples_of_a_ball_are_where_they_should_be() -> None:
    colours = (255 * (ball().vertices[:, :1] > 0) * np.ones(3)).astype(np.uint8)
    take = take_of(ball(), colours)
    samples = sample_frame(take, take.frames[0], FEW)
    radius = np.linalg.norm(samples.points, axis=1)
    sure = np.abs(radius - RADIUS_M) > 0.01
    np.testing.assert_array_equal(samples.inside[sure], radius[sure] < RADIUS_M)
    off = radius[: samples.near] - RADIUS_M
    assert abs(off.std() - FEW.noise_m) < 0.1 * FEW.noise_m and abs(off.mean()) < 2e-3
    box = samples.points[samples.near :]
    assert 0.54 < np.abs(box).max() <= 1.1 * RADIUS_M + 1e-6
    assert abs((samples.inside[samples.near :]).mean() - np.pi / 6 / 1.1**3) < 0.03
    right = samples.points[:, 0] > 0.1
    assert samples.colours is not None and (samples.colours[right] == 255).all()
    assert (samples.colours[samples.points[:, 0] < -0.1] == 0).all()


def test_places_on_a_surface_are_more_even_than_chance() -> None:
    mesh = ball()
    places = even_surface_points(mesh.vertices, mesh.faces, 2000, np.random.default_rng(2))
    assert np.abs(np.linalg.norm(places, axis=1) - RADIUS_M).max() < 0.01
    apart = KDTree(places).query(places, 2)[0][:, 1]
    chance, _ = trimesh.sample.sample_surface(mesh, 2000, seed=2)
    by_chance = KDTree(chance).query(chance, 2)[0][:, 1]
    assert np.percentile(apart, 5) > 3 * np.percentile(by_chance, 5)
    octants = np.bincount(((places > 0) @ [1, 2, 4]).astype(int), minlength=8)
    assert abs(octants - 250).max() < 40


def test_what_is_hidden_is_not_sampled() -> None:
    inner, outer = ball(radius=0.3), ball()
    mesh = trimesh.util.concatenate([inner, outer])
    surface = QuerySurface(mesh.vertices, mesh.faces)
    places = even_surface_points(mesh.vertices, mesh.faces, 500, np.random.default_rng(0), surface)
    assert np.linalg.norm(places, axis=1).min() > 0.45
    turned = QuerySurface(inner.vertices, inner.faces[:, ::-1])
    flat = np.zeros((3, 3))
    with pytest.raises(InputError, match="no area"):
        even_surface_points(flat, np.array([[0, 1, 2]]), 5, np.random.default_rng(0), turned)


def test_the_same_seed_gives_the_same_points_and_another_frame_or_seed_others() -> None:
    take = take_of(ball())
    one, again = (sample_frame(take, take.frames[0], FEW) for _ in range(2))
    np.testing.assert_array_equal(one.points, again.points)
    np.testing.assert_array_equal(one.inside, again.inside)
    assert one.colours is None
    for other in (
        sample_frame(take, replace(take.frames[0], number=6), FEW),
        sample_frame(take, take.frames[0], replace(FEW, seed=4)),
    ):
        assert not np.isclose(other.points, one.points).all(axis=1).any()


def test_samples_are_kept_until_the_surface_or_the_settings_change(tmp_path: Path) -> None:
    take = take_of(ball(), np.full((len(ball().vertices), 3), 9, np.uint8))
    first = SampleCache(take, FEW, tmp_path)[0]
    (file,) = tmp_path.iterdir()
    stamp = file.stat().st_mtime_ns
    kept = SampleCache(take, FEW, tmp_path)[0]
    assert file.stat().st_mtime_ns == stamp
    for name in ("points", "inside", "colours"):
        np.testing.assert_array_equal(getattr(first, name), getattr(kept, name))
    SampleCache(take, replace(FEW, noise_m=0.02), tmp_path)[0]
    SampleCache(take_of(ball(radius=0.4)), FEW, tmp_path)[0]
    assert len(list(tmp_path.iterdir())) == 3
    np.savez(file, points=first.points[:5], inside=np.zeros(1, np.uint8))
    with pytest.raises(InputError, match="does not hold the 6000 points"):
        SampleCache(take, FEW, tmp_path)[0]


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="must not be negative"):
        SamplingConfig(near=-1)
    with pytest.raises(ConfigurationError, match="box not smaller"):
        SamplingConfig(box_scale=0.5)
