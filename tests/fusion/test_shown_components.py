"""What is shown are the large connected pieces, whole: of noise, of patches that come and go, and of a real take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from bodystream.deformation import WarpField
from bodystream.device import download, select_device, upload
from bodystream.fusion import FusionConfig, Surface, TsdfVolume
from bodystream.fusion.components import Components
from bodystream.pipelines.capture.pipeline import Capture
from bodystream.sources.folder import FolderSource
from bodystream.types import Array, Mesh
from helpers.fusion_scenes import CAMERA, CENTRE, RADIUS, make_field, on_device, set_nodes, sphere_depth, sphere_nodes

# The cells around one edge of the lattice span 2 x 2 x 1 voxels, so that no two of their vertices are farther apart.
LONGEST_VOXELS = 3.0


def longest_edge(vertices: Array, faces: Array) -> float:
    """Of all faces [m]; 0 without faces."""
    corners = vertices[faces]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(initial=0.0))


def assert_whole(surface: Surface, voxel_m: float) -> Mesh:
    """Faces refer to vertices that exist, no face is degenerate, and no edge is longer than the lattice allows."""
    mesh = surface.download()
    assert mesh.faces.min(initial=0) >= 0 and mesh.faces.max(initial=-1) < len(mesh.vertices)
    f = mesh.faces
    assert (f[:, 0] != f[:, 1]).all() and (f[:, 1] != f[:, 2]).all() and (f[:, 2] != f[:, 0]).all()
    assert longest_edge(mesh.vertices, f) <= LONGEST_VOXELS * voxel_m
    return mesh


def fused_sphere(config: FusionConfig, noise_m: float, seed: int) -> tuple[TsdfVolume, WarpField]:
    """The side of a sphere that the camera sees, with noise that no two vertices share a position."""
    volume, field = TsdfVolume(config, select_device("cpu")), make_field(sphere_nodes())
    depth, mask = sphere_depth()
    rng = np.random.default_rng(seed)
    for k in range(3):
        noisy = depth + rng.normal(0, noise_m, depth.shape).astype(np.float32)
        volume.integrate(*on_device(noisy, mask), CAMERA, field, k)
    return volume, field


def large_components(mesh: Mesh, least: int, least_share: float) -> tuple[Array, Array]:
    """Vertices and faces of a mesh that are to be shown, (V,) and (F,) bool, by a library's connected components."""
    f, n = mesh.faces, len(mesh.vertices)
    links = coo_matrix((np.ones(2 * len(f), bool), (np.tile(f[:, 0], 2), f[:, 1:].T.ravel())), shape=(n, n))
    labels = connected_components(links, directed=False)[1]
    sizes = np.bincount(labels)
    shown = (sizes >= max(least, least_share * sizes.max(initial=0)))[labels]
    return shown, shown[f[:, 0]]


@pytest.mark.parametrize(("least", "least_share"), [(1, 0.0), (2, 0.0), (20, 0.0), (1, 0.05), (60, 0.01), (9999, 0.0)])
def test_what_is_shown_are_the_large_components_whole(least: int, least_share: float) -> None:
    """Of a sphere that noise tears into many pieces."""
    both = []
    for config in (
        FusionConfig(min_component_vertices=0),
        FusionConfig(min_component_vertices=least, min_component_share=least_share),
    ):
        volume, field = TsdfVolume(config, select_device("cpu")), make_field(sphere_nodes())
        depth, mask = sphere_depth()
        rng = np.random.default_rng(5)
        for k in range(3):
            seen = mask & (rng.random(depth.shape) < 0.97)
            noisy = depth + rng.normal(0, 0.004, depth.shape).astype(np.float32)
            volume.integrate(*on_device(noisy, seen), CAMERA, field, k)
        both.append(assert_whole(volume.extract(field), config.voxel_m))
    everything, shown = both
    vertices, faces = large_components(everything, least, least_share)
    assert 1 < least or vertices.all() or least_share > 0
    np.testing.assert_array_equal(shown.vertices, everything.vertices[vertices])
    np.testing.assert_array_equal(shown.vertices[shown.faces], everything.vertices[everything.faces[faces]])
    if least == 9999:
        assert len(shown.vertices) == len(shown.faces) == 0
    elif least > 1:
        assert 100 < len(shown.vertices) < len(everything.vertices)


@pytest.mark.parametrize("seed", range(4))
def test_components_of_any_quads(seed: int) -> None:
    """Chains, rings and single vertices in random order, so that roots meet in every way."""
    rng = np.random.default_rng(seed)
    n = 3000
    pieces = np.split(rng.permutation(n), np.sort(rng.choice(np.arange(1, n), 60, replace=False)))
    quads = np.concatenate([rng.choice(piece, (3 * len(piece), 4)) for piece in pieces])[rng.permutation(3 * n)]
    components = Components(16, select_device("cpu"))
    components.reserve(len(quads))
    upload(components.corners, quads.astype(np.int32))
    shown, shown_quads = components.number(n, len(quads), 30, 0.1)
    faces = np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]).astype(np.int32)
    empty = np.zeros((n, 3), np.float32)
    vertices, _ = large_components(Mesh(empty, faces), 30, 0.1)
    assert shown == vertices.sum() and shown_quads == vertices[quads[:, 0]].sum()
    places = download(components.vertex_places, n)
    np.testing.assert_array_equal(places >= 0, vertices)
    np.testing.assert_array_equal(places[vertices], np.arange(shown))


def joining_patches(seed: int) -> int:
    """Fuse a sphere and patches that come, go and join it; checks each surface and counts the vertices left out."""
    config = FusionConfig(min_component_vertices=150)
    every_block = FusionConfig(min_component_vertices=0)
    hiding, showing = (TsdfVolume(c, select_device("cpu")) for c in (config, every_block))
    x, y = np.meshgrid(np.linspace(-0.4, 0.4, 9), np.linspace(-0.3, 0.3, 7))
    plane = np.stack([x.ravel(), y.ravel(), np.full(x.size, CENTRE[2])], axis=1).astype(np.float32)
    field = make_field(np.concatenate([sphere_nodes(), plane]))
    depth, mask = sphere_depth()
    rng = np.random.default_rng(seed)
    hidden = 0
    patches: list[tuple[slice, slice]] = []
    for k in range(28):
        if k % 2 == 0:
            row, column = rng.integers(20, 190), rng.integers(60, 240)
            patches.append((slice(row, row + rng.integers(10, 40)), slice(column, column + rng.integers(10, 40))))
        now, seen = depth.copy(), mask.copy()
        for patch in patches[-4:]:
            now[patch] = np.where(mask[patch], now[patch], np.float32(CENTRE[2] - 0.02))
            seen[patch] = True
        for volume in (hiding, showing):
            volume.integrate(*on_device(now, seen), CAMERA, field, k)
        shown = hiding.extract(field)
        mesh = assert_whole(shown, config.voxel_m)
        whole = assert_whole(showing.extract(field), config.voxel_m)
        vertices, faces = large_components(whole, config.min_component_vertices, config.min_component_share)
        np.testing.assert_array_equal(mesh.vertices, whole.vertices[vertices])
        np.testing.assert_array_equal(mesh.vertices[mesh.faces], whole.vertices[whole.faces[faces]])
        hidden += int((~vertices).sum())
    return hidden


def test_patches_that_come_go_and_join_are_shown_while_they_are_large() -> None:
    """A small piece is never shown, not even in the frame in which it comes, and is as soon as it joins a large one."""
    assert sum(joining_patches(seed) for seed in (2, 4, 6, 9)) > 20  # else nothing was put to the test


def test_vertices_that_no_node_reaches_go_with_the_nearest_one_and_never_to_the_camera() -> None:
    """A graph that was replaced by one that covers a part only: the rest stays near, moved as that part is."""
    config = FusionConfig(min_component_vertices=0)
    volume, field = fused_sphere(config, 0.0, seed=1)
    mesh = volume.extract(field).download()
    part = sphere_nodes()
    part = part[part[:, 0] < CENTRE[0] - 0.6 * RADIUS]
    shift = np.array([0.01, -0.02, 0.03])
    set_nodes(field, part, translations=np.tile(shift, (len(part), 1)))
    depth, mask = sphere_depth()
    volume.integrate(*on_device(np.zeros_like(depth), mask), CAMERA, field, 4)
    surface = volume.extract(field)
    live, _ = volume.warp_surface(surface, field)
    np.testing.assert_allclose(live.numpy()[: surface.vertex_count], mesh.vertices + shift, atol=1e-5)
    np.testing.assert_allclose(surface.skinned(field).weights.sum(axis=1), 1.0, atol=1e-5)


def test_without_nodes_the_surface_stays_where_it_was_instead_of_at_the_camera() -> None:
    volume, field = fused_sphere(FusionConfig(), 0.0, seed=1)
    before = volume.extract(field).download()
    nodes = field.host_positions.copy()
    field.clear()
    images = on_device(*sphere_depth())
    volume.integrate(*images, CAMERA, field, 4)
    surface = volume.extract(field)
    live, _ = volume.warp_surface(surface, field)
    np.testing.assert_allclose(live.numpy()[: surface.vertex_count], before.vertices, atol=1e-5)
    shift = np.array([0.01, -0.02, 0.03])
    set_nodes(field, nodes, translations=np.tile(shift, (len(nodes), 1)))
    surface = volume.extract(field)
    live, _ = volume.warp_surface(surface, field)
    np.testing.assert_allclose(live.numpy()[: surface.vertex_count], before.vertices + shift, atol=1e-5)


def test_a_real_take_never_ends_with_torn_faces(shared_data: Path) -> None:
    """A tennis serve whose arm is a small piece of its own before it joins the body."""
    take = shared_data / "depth" / "kinect_actions" / "depth" / "a15_s5_t1_depth.mat"
    with FolderSource.open(take) as source:
        frames = [frame for _, frame in zip(range(49), source, strict=False)]
    capture = Capture(frames[0].intrinsics, select_device("cpu"))
    try:
        for index, frame in enumerate(frames):
            capture.step(frame)
            if index >= 39:
                assert capture.surface is not None
                assert_whole(capture.surface, capture.config.fusion.voxel_m)
                live = capture.live_mesh()
                assert live is not None and np.linalg.norm(live.vertices, axis=1).min() > 0.5
    finally:
        capture.close()
