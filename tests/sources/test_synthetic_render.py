"""The rendered frame against float64 references: skinning, rays through pixels, motion of material points."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
import warp as wp

from bodystream.avatar.rig import skin
from bodystream.device import launch
from bodystream.geometry.camera import back_project, project
from bodystream.sources.synthetic import SyntheticConfig, SyntheticSource, kernels
from bodystream.types import Mesh, RgbdFrame

DEPTH_TOLERANCE_M = 5e-6  # float32 at 2 m has steps of 2.4e-7


@pytest.fixture(scope="module")
def source() -> SyntheticSource:
    return SyntheticSource(SyntheticConfig(seed=2, noise="none"), device="cpu")


@pytest.fixture(scope="module")
def frame(source: SyntheticSource) -> RgbdFrame:
    return source.render(95, 0)


def posed_float64(source: SyntheticSource, index: int) -> np.ndarray:
    """All vertices in the camera's frame by the numpy reference."""
    points = skin(source.body, source.motion.transforms(np.array([index / 30.0]))[0])
    return points @ source.scene.camera_from_body[:3, :3].T + source.scene.camera_from_body[:3, 3]


def ray_depths(rays: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N,) depth of the nearest triangle along each (N, 3) ray with z = 1 from the origin; inf for none."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    depth = np.full(len(rays), np.inf)
    for i, ray in enumerate(rays):
        # signed volumes of the ray with the three edges all agree where it passes the inside
        s = [np.cross(p, q) @ ray for p, q in ((a, b), (b, c), (c, a))]
        hit = (s[0] <= 0) & (s[1] <= 0) & (s[2] <= 0)  # the sign of faces that look at the camera
        t = np.einsum("ij,ij->i", normal[hit], a[hit]) / (normal[hit] @ ray)
        if len(t):
            depth[i] = t.min()
    return depth


def truth_of(frame: RgbdFrame) -> tuple[Mesh, np.ndarray, np.ndarray]:
    assert frame.truth is not None
    return frame.truth.mesh, frame.truth.pixel_face, frame.truth.pixel_barycentric


def material_points(frame: RgbdFrame, mesh: Mesh) -> np.ndarray:
    """(P, 3) positions on `mesh` of the points that the body's pixels of `frame` show."""
    _, pixel_face, pixel_barycentric = truth_of(frame)
    corners = mesh.vertices[mesh.faces[pixel_face[pixel_face >= 0]]].astype(np.float64)
    w = pixel_barycentric[pixel_face >= 0].astype(np.float64)
    return corners[:, 0] + w[:, :1] * (corners[:, 1] - corners[:, 0]) + w[:, 1:] * (corners[:, 2] - corners[:, 0])


def test_skinning_agrees_with_numpy(source: SyntheticSource, frame: RgbdFrame) -> None:
    mesh, _, _ = truth_of(frame)
    np.testing.assert_allclose(mesh.vertices, posed_float64(source, 95), atol=2e-6)


def test_normals_agree_with_trimesh(frame: RgbdFrame) -> None:
    mesh, _, _ = truth_of(frame)
    reference = trimesh.Trimesh(mesh.vertices.astype(np.float64), mesh.faces, process=False)
    weighted = np.zeros((len(mesh.vertices), 3))
    for k in range(3):
        np.add.at(weighted, mesh.faces[:, k], reference.face_normals * reference.area_faces[:, None])
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True)
    assert mesh.normals is not None
    assert np.einsum("ij,ij->i", mesh.normals, weighted).min() > 0.999


def test_depth_agrees_with_rays_at_random_pixels(source: SyntheticSource, frame: RgbdFrame) -> None:
    assert frame.truth is not None
    mask, k = frame.truth.mask, frame.intrinsics
    rng = np.random.default_rng(0)
    body = rng.permutation(np.argwhere(mask))[:150]
    near = np.argwhere(mask ^ (np.roll(mask, 1, 0) | np.roll(mask, -1, 1)))  # outlines, inside and outside
    pixels = np.concatenate([body, rng.permutation(near)[:50], rng.integers(0, (480, 640), (30, 2))])
    rays = np.stack([(pixels[:, 1] - k.cx) / k.fx, (pixels[:, 0] - k.cy) / k.fy, np.ones(len(pixels))], axis=1)
    expected = ray_depths(rays, posed_float64(source, 95), source.body.mesh.faces)
    drawn = mask[pixels[:, 0], pixels[:, 1]]
    # on an outline a ray may graze a triangle within rounding
    assert (drawn != np.isfinite(expected)).sum() <= 2
    agree = drawn & np.isfinite(expected)
    error = np.abs(frame.truth.depth_m[pixels[:, 0], pixels[:, 1]] - expected)[agree]
    assert np.quantile(error, 0.97) < DEPTH_TOLERANCE_M and (error > 1e-3).sum() <= 2
    assert agree.sum() > 150


def test_barycentrics_reproduce_the_point_of_each_pixel(frame: RgbdFrame) -> None:
    assert frame.truth is not None
    mesh, _, barycentric = truth_of(frame)
    mask = frame.truth.mask
    points = back_project(frame.truth.depth_m, frame.intrinsics)[mask]
    error = np.linalg.norm(material_points(frame, mesh) - points, axis=1)
    assert np.quantile(error, 0.999) < 1e-5 and error.max() < 2e-3  # faces seen edge-on are clamped to the face
    inside = barycentric[mask]
    assert inside.min() >= 0.0 and inside.sum(axis=1).max() <= 1.0 + 1e-6


def test_masks_faces_and_background_fit_together(frame: RgbdFrame) -> None:
    assert frame.truth is not None
    _, face, _ = truth_of(frame)
    mask, depth = frame.truth.mask, frame.truth.depth_m
    assert np.array_equal(mask, face >= 0)
    assert frame.mask is None
    assert 18_000 < mask.sum() < 40_000
    k = frame.intrinsics
    v, u = np.mgrid[:480, :640]
    points = back_project(depth, k)
    behind = ~mask
    on_wall = np.isclose(points[..., 2], 3.4, atol=1e-5)
    on_floor = np.isclose(points[..., 1], 0.95, atol=1e-5)
    assert (on_wall | on_floor)[behind].all()
    assert (on_floor & behind & (v > 400)).sum() > 1000 and (on_wall & behind & (v < 200)).sum() > 1000
    assert points[..., 1][mask].max() < 0.95 + 0.012  # nothing of the body is under the floor
    assert np.array_equal(frame.depth_m, depth)  # noise="none"


def test_faces_seen_look_at_the_camera(frame: RgbdFrame) -> None:
    mesh, face, _ = truth_of(frame)
    corners = mesh.vertices[mesh.faces[np.unique(face[face >= 0])]].astype(np.float64)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ij,ij->i", normal, corners[:, 0]) < 0).all()


def test_material_points_move_to_where_the_next_frame_shows_them(source: SyntheticSource, frame: RgbdFrame) -> None:
    following = source.render(96, 0)
    assert following.truth is not None and frame.truth is not None
    mesh, _, _ = truth_of(following)
    target = material_points(frame, mesh)
    pixels = np.round(project(target, frame.intrinsics)).astype(int)
    u, v = np.clip(pixels[:, 0], 0, 639), np.clip(pixels[:, 1], 0, 479)
    there = following.truth.mask[v, u]
    assert there.mean() > 0.97
    gap = target[:, 2] - following.truth.depth_m[v, u]
    visible = there & (gap < 0.02)
    assert visible.mean() > 0.93
    assert np.median(np.abs(gap[visible])) < 1.5e-3  # half a pixel off on a slanted surface
    moved = np.linalg.norm(target - material_points(frame, frame.truth.mesh), axis=1)
    assert 1e-3 < moved.max() < 0.05  # [m] within a thirtieth of a second
    # a material point keeps its colour, up to light and half a pixel
    assert frame.colour is not None and following.colour is not None
    before = frame.colour[frame.truth.mask].astype(float).mean(axis=1)
    after = following.colour[v, u].astype(float).mean(axis=1)
    assert np.corrcoef(before[visible], after[visible])[0, 1] > 0.9


def test_tiles_do_not_change_the_picture(frame: RgbdFrame) -> None:
    """The tiles of CUDA, run on the CPU, give the picture of the CPU's bands."""
    mesh, face, _ = truth_of(frame)
    k, device = frame.intrinsics, wp.get_device("cpu")
    z = mesh.vertices[:, 2]
    w = np.float32(1.0) / z
    screen = np.stack([mesh.vertices[:, 0] * w * k.fx + k.cx, mesh.vertices[:, 1] * w * k.fy + k.cy, w], axis=1)
    faces = wp.array(mesh.faces, dtype=wp.vec3i, device=device)
    points = wp.array(screen.astype(np.float32), dtype=wp.vec3, device=device)
    rows = wp.zeros(len(mesh.faces), dtype=wp.vec2i, device=device)
    launch(kernels.triangle_rows, len(mesh.faces), [faces, points, 480, rows], device)
    results = []
    for tile in ((640, 16), (48, 37), (64, 480)):
        tiles = (-(-640 // tile[0]), -(-480 // tile[1]))
        inverse = wp.full((480, 640), -5.0, dtype=wp.float32, device=device)
        drawn = wp.full((480, 640), -5, dtype=wp.int32, device=device)
        arguments = [faces, points, rows, *tile, *tiles, inverse, drawn]
        launch(kernels.rasterise, tiles[0] * tiles[1], arguments, device, min_chunk=1)
        results.append((drawn.numpy(), inverse.numpy()))
    for drawn, inverse in results[1:]:
        assert np.array_equal(drawn, results[0][0]) and np.array_equal(inverse, results[0][1])
    assert (results[0][0] != face).mean() < 1e-4  # the projection above rounds a little differently


def test_triangles_behind_the_camera_are_not_drawn() -> None:
    device = wp.get_device("cpu")
    faces = wp.array(np.array([[0, 2, 1], [0, 1, 2]]), dtype=wp.vec3i, device=device)
    screen = np.array([[2.0, 2.0, 1.0], [12.0, 2.0, 1.0], [2.0, 12.0, 1.0]], np.float32)
    for inverse_depth, drawn in ((1.0, True), (0.0, False)):
        screen[2, 2] = inverse_depth
        rows = wp.zeros(2, dtype=wp.vec2i, device=device)
        points = wp.array(screen, dtype=wp.vec3, device=device)
        launch(kernels.triangle_rows, 2, [faces, points, 10, rows], device)
        first, last = rows.numpy()[0]
        assert (first <= last) == drawn
        if drawn:
            assert (first, last) == (2, 9)  # cut at the image's edge
        assert rows.numpy()[1, 0] > rows.numpy()[1, 1]  # seen from behind
