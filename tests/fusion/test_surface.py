"""The extracted mesh: closed, oriented, accurate, the same whether all or only changed blocks are looked at."""

from __future__ import annotations

from collections import Counter

import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

from bodystream.deformation import WarpField
from bodystream.device import select_device
from bodystream.fusion import FusionConfig, TsdfVolume
from bodystream.geometry.skinning import graph_motion, posed
from helpers.fusion_scenes import (
    CAMERA,
    CENTRE,
    RADIUS,
    bent_depth,
    height,
    make_field,
    on_device,
    rays,
    set_bend,
    set_rigid,
    sphere_depth,
    sphere_nodes,
    turn_about_centre,
)

VIEWS = [
    Rotation.from_euler("yx", (yaw, pitch)).as_matrix()
    for pitch in (0.0, 0.8, -0.8)
    for yaw in np.arange(8) * np.pi / 4
]


def closed_sphere(config: FusionConfig) -> tuple[TsdfVolume, WarpField]:
    """A sphere fused from all sides, and its field."""
    volume = TsdfVolume(config, select_device("cpu"))
    field = make_field(sphere_nodes())
    depth, mask = sphere_depth()
    shade = np.clip(rays() * 200 + 50, 0, 255).astype(np.uint8)
    images = on_device(depth, mask, shade)
    for k, turn in enumerate([*VIEWS, *VIEWS]):
        set_rigid(field, turn, turn_about_centre(turn))
        volume.integrate(*images, CAMERA, field, k)
    return volume, field


def test_a_sphere_seen_from_all_sides_is_closed_and_accurate() -> None:
    volume, field = closed_sphere(FusionConfig())
    surface = volume.extract(field)
    mesh = surface.download()
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight and solid.is_winding_consistent
    assert solid.euler_number == 2
    assert abs(solid.volume / (4 / 3 * np.pi * RADIUS**3) - 1) < 0.03
    out = mesh.vertices - CENTRE
    distance = np.linalg.norm(out, axis=1)
    assert np.abs(distance - RADIUS).mean() < 1e-3 and np.abs(distance - RADIUS).max() < 3e-3
    cosine = (mesh.normals * out).sum(axis=1) / distance
    assert cosine.min() > 0.9 and cosine.mean() > 0.99
    assert mesh.colours is not None and mesh.colours.dtype == np.uint8 and mesh.colours.std() > 1


def test_live_mesh_follows_the_field() -> None:
    volume, field = closed_sphere(FusionConfig())
    surface = volume.extract(field)
    turn = Rotation.from_euler("zyx", [0.3, -0.2, 0.5]).as_matrix()
    shift = np.array([0.1, -0.2, 0.3])
    set_rigid(field, turn, shift)
    vertices, normals = volume.warp_surface(surface, field)
    mesh = surface.download()
    n = surface.vertex_count
    np.testing.assert_allclose(vertices.numpy()[:n], mesh.vertices @ turn.T + shift, atol=2e-6)
    np.testing.assert_allclose(normals.numpy()[:n], mesh.normals @ turn.T, atol=2e-6)
    skin = surface.skinned(field)
    assert skin.bones.shape == skin.weights.shape == (n, 4) and skin.version == surface.version
    np.testing.assert_allclose(skin.weights.sum(axis=1), 1.0, atol=1e-5)
    assert skin.bones.min() >= 0 and skin.bones.max() < field.count
    # The same surface by the bones alone, in float64 on the host: what files and players make of it.
    by_bones = posed(skin, graph_motion(field.snapshot(7)))
    np.testing.assert_allclose(by_bones.vertices, vertices.numpy()[:n], atol=2e-6)
    np.testing.assert_allclose(by_bones.normals, normals.numpy()[:n], atol=1e-5)


def test_changed_blocks_give_the_mesh_of_all_blocks() -> None:
    """With no tolerance, extraction after every frame ends in exactly the mesh of one extraction of everything."""
    config = FusionConfig(surface_tolerance_m=0.0)
    volume = TsdfVolume(config, select_device("cpu"))
    field = make_field(sphere_nodes())
    rng = np.random.default_rng(2)
    depth, mask = sphere_depth()
    partial = 0
    for k, turn in enumerate(VIEWS):
        set_rigid(field, turn, turn_about_centre(turn))
        noisy = depth + rng.normal(0, 0.002, depth.shape).astype(np.float32)
        volume.integrate(*on_device(noisy, mask), CAMERA, field, k)
        partial += volume.extract(field).extracted_blocks < volume.directory.count
    assert partial >= len(VIEWS) // 2
    changed = volume.extract(field).download()
    assert volume.extract(field).extracted_blocks == 0
    full = volume.extract(field, everything=True)
    assert full.extracted_blocks == volume.directory.count
    mesh = full.download()
    np.testing.assert_array_equal(changed.faces, mesh.faces)
    np.testing.assert_array_equal(changed.vertices, mesh.vertices)
    np.testing.assert_array_equal(changed.normals, mesh.normals)


def test_tolerance_leaves_no_cracks() -> None:
    """Blocks that lag behind within the tolerance still meet their neighbours: the closed sphere stays closed."""
    config = FusionConfig(surface_tolerance_m=0.001)
    volume, field = closed_sphere(config)
    volume.extract(field)
    rng = np.random.default_rng(3)
    depth, mask = sphere_depth()
    lagging = 0
    for k, turn in enumerate(VIEWS[:6]):
        set_rigid(field, turn, turn_about_centre(turn))
        noisy = depth + rng.normal(0, 0.003, depth.shape).astype(np.float32)
        volume.integrate(*on_device(noisy, mask), CAMERA, field, k)
        surface = volume.extract(field)
        lagging += surface.extracted_blocks < volume.directory.count
        mesh = surface.download()
        # Every edge is walked along both ways equally often: two sheets of it may touch, but nothing is open.
        walked = np.concatenate([mesh.faces[:, [k, (k + 1) % 3]] for k in range(3)]).tolist()
        there, back = Counter(map(tuple, walked)), Counter(map(tuple, np.flip(walked, axis=1).tolist()))
        assert there == back
    assert lagging > 0
    lagged = surface.download().vertices
    exact = volume.extract(field, everything=True).download().vertices
    distance = np.linalg.norm(lagged - CENTRE, axis=1).mean() - np.linalg.norm(exact - CENTRE, axis=1).mean()
    assert abs(distance) < 0.5e-3


def test_a_bending_sheet_fuses_into_its_rest_shape() -> None:
    volume = TsdfVolume(FusionConfig(), select_device("cpu"))
    x, y = np.meshgrid(np.arange(-0.24, 0.241, 0.04), np.arange(-0.2, 0.201, 0.04))
    nodes = np.stack([x.ravel(), y.ravel(), height(x, y).ravel()], axis=1).astype(np.float32)
    field = make_field(nodes)
    for k, amount in enumerate((0.0, 0.5, 1.0, 1.5, 1.0, 0.0, -0.7, -1.2)):
        set_bend(field, amount)
        depth = bent_depth(amount)
        volume.integrate(*on_device(depth, depth > 0), CAMERA, field, k)
        surface = volume.extract(field)
    mesh = surface.download()
    assert len(mesh.vertices) > 1500
    # At the rim the nodes are one-sided, and the graph itself does not follow the bend.
    inner = (np.abs(mesh.vertices[:, 0]) < 0.2) & (np.abs(mesh.vertices[:, 1]) < 0.16)
    error = np.abs(mesh.vertices[:, 2] - height(mesh.vertices[:, 0], mesh.vertices[:, 1]))[inner]
    assert error.mean() < 1e-3 and np.percentile(error, 99) < 4e-3
    # Seen from the camera's side the faces turn counter-clockwise: their normals point towards -z.
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)[inner[mesh.faces].all(axis=1)]
    assert (normals[:, 2] < 0).all()
    assert mesh.normals is not None and (mesh.normals[inner, 2] < 0).all()


def test_small_separate_pieces_are_left_out() -> None:
    """A second patch of a few centimetres away from the sphere shows only where the threshold allows it."""
    x, y = np.meshgrid(np.linspace(0.3, 0.34, 2), np.linspace(-0.02, 0.02, 2))
    patch = np.stack([x.ravel(), y.ravel(), np.full(4, 0.8)], axis=1).astype(np.float32)
    depth, mask = sphere_depth()
    depth, mask = depth.copy(), mask.copy()
    left = round(0.3 / 0.8 * CAMERA.fx + CAMERA.cx)
    depth[110:130, left : left + 18] = 0.8
    mask[110:130, left : left + 18] = True
    reach = {}
    for least in (0, 100):
        volume = TsdfVolume(FusionConfig(min_component_vertices=least), select_device("cpu"))
        field = make_field(np.concatenate([sphere_nodes(), patch]))
        for k in range(3):
            volume.integrate(*on_device(depth, mask), CAMERA, field, k)
        reach[least] = volume.extract(field).download().vertices[:, 0].max()
    assert reach[0] > 0.3 and reach[100] < CENTRE[0] + RADIUS + 0.01


def test_reset_starts_afresh() -> None:
    images = on_device(*sphere_depth())
    volume = TsdfVolume(FusionConfig(), select_device("cpu"))
    meshes = []
    for _ in range(2):
        field = make_field(sphere_nodes())
        for k in range(3):
            volume.integrate(*images, CAMERA, field, k)
        meshes.append(volume.extract(field).download())
        volume.reset()
        assert volume.stats.blocks == 0
        empty = volume.extract(field)
        assert empty.vertex_count == 0 and empty.face_count == 0
    assert len(meshes[0].faces) > 1000
    np.testing.assert_array_equal(meshes[0].vertices, meshes[1].vertices)
    np.testing.assert_array_equal(meshes[0].faces, meshes[1].faces)
