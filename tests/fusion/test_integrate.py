"""Integration against a plain float64 reference, and what must not break it."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp
from scipy.spatial.transform import Rotation

from bodystream.device import select_device
from bodystream.errors import ConfigurationError, InputError
from bodystream.fusion import FusionConfig, TsdfVolume
from bodystream.types import Array, CameraIntrinsics
from helpers.fusion_scenes import (
    CAMERA,
    CENTRE,
    RADIUS,
    bend,
    make_field,
    on_device,
    rays,
    set_bend,
    set_nodes,
    set_rigid,
    sphere_depth,
    sphere_nodes,
    turn_about_centre,
)


def voxel_positions(volume: TsdfVolume) -> Array:
    """(B, 512, 3) canonical positions [m], in the order of storage."""
    k = np.arange(512)
    local = np.stack([k % 8, (k // 8) % 8, k // 64], axis=1)
    return (volume.directory.host_coords[:, None] * 8 + local) * volume.config.voxel_m


def graded_image(volume: TsdfVolume, camera: CameraIntrinsics = CAMERA) -> Array:
    """(H, W, 2) depth and incidence of the last frame."""
    return volume._grader.graded.pixels.numpy().reshape(camera.height + 2, camera.width + 2, 2)[1:-1, 1:-1]


def reference_grades(depth: Array, mask: Array, config: FusionConfig, camera: CameraIntrinsics = CAMERA) -> Array:
    """(H, W) incidence, 0 = unusable, -1 = background, -0.5 = background without a measurement.

    Written from the description of the method.
    """
    d = depth.astype(np.float64)
    height, width = d.shape
    e = config.edge_px
    measured = np.isfinite(d) & (d > config.near_m) & (d < config.far_m)
    seen_behind = np.isfinite(d) & (d > config.near_m) & (d < 1000.0)
    grades = np.where(mask, 0.0, np.where(seen_behind, -1.0, -0.5))
    limit = e / camera.fx * np.tan(np.arccos(config.min_cosine))
    ray = rays(camera)
    for v in range(e, height - e):
        for u in np.flatnonzero(measured[v] & mask[v]):
            around = [(v, u - e), (v, u + e), (v - e, u), (v + e, u)]
            if u < e or u >= width - e or not all(mask[p] for p in around):
                continue
            values = np.array([d[p] for p in around])
            if not (np.abs(values - d[v, u]) < limit * d[v, u]).all():
                continue
            du, dv = (values[1] - values[0]) / (2 * e), (values[3] - values[2]) / (2 * e)
            tangent_u = du * ray[v, u] + np.array([d[v, u] / camera.fx, 0, 0])
            tangent_v = dv * ray[v, u] + np.array([0, d[v, u] / camera.fy, 0])
            normal = np.cross(tangent_u, tangent_v)
            incidence = abs(normal @ ray[v, u]) / np.linalg.norm(normal)
            if incidence >= config.min_cosine:
                grades[v, u] = incidence
    return grades


def reference_integrate(
    state: Array, live: Array, depth: Array, grades: Array, config: FusionConfig
) -> tuple[Array, Array]:
    """One frame into (M, 2) float64 distances and weights at (M, 3) camera-space voxels; also (M,) near a tie."""
    z = live[:, 2]
    u = live[:, 0] / z * CAMERA.fx + CAMERA.cx
    v = live[:, 1] / z * CAMERA.fy + CAMERA.cy
    ui, vi = np.floor(u + 0.5).astype(int), np.floor(v + 0.5).astype(int)
    tie = (np.abs(u - np.floor(u) - 0.5) < 2e-3) | (np.abs(v - np.floor(v) - 0.5) < 2e-3)
    inside = (z > 0) & (ui >= 0) & (vi >= 0) & (ui < CAMERA.width) & (vi < CAMERA.height)
    grade = np.where(inside, grades[np.where(inside, vi, 0), np.where(inside, ui, 0)], 0.0)
    gap = np.where(inside, depth[np.where(inside, vi, 0), np.where(inside, ui, 0)].astype(np.float64), 0.0) - z
    tau, full = config.truncation_m, 1.5 * config.voxel_m
    distance = gap * grade
    weight = np.minimum(grade, 1.0) * np.clip((tau + distance) / (tau - full), 0.0, 1.0)
    fused = (grade > 0) & (np.abs(distance) <= tau) & (weight > 1e-3)
    tie |= (grade > 0) & (np.abs(np.abs(distance) - tau) < 1e-5)
    total = state[:, 1] + weight
    mean = (state[:, 0] * state[:, 1] + distance / tau * weight) / np.where(total > 0, total, 1.0)
    out = state.copy()
    out[fused, 0] = mean[fused]
    out[fused, 1] = np.minimum(total, config.max_weight)[fused]
    return out, tie


@pytest.fixture(scope="module")
def rigid_case() -> tuple[TsdfVolume, Array, Array]:
    """A volume after three frames of a turned sphere, its reference state, and the voxels that sit on a tie."""
    # Carving off: it is a rule of its own, tested below.
    config = FusionConfig(
        carve_rate=0.0, carve_share=0.0, voxel_m=0.01, truncation_m=0.035, max_weight=2.5, settled_every=1
    )
    volume = TsdfVolume(config, select_device("cpu"))
    field = make_field(sphere_nodes())
    field.reach_m = 0.3  # all voxels: what borders on uncovered ones is not fused, and the reference knows of none
    depth, mask = sphere_depth()
    depth = depth + 0.002 * np.sin(np.arange(CAMERA.width) * 0.3).astype(np.float32)
    grades = reference_grades(depth, mask, config)
    turns = [Rotation.from_euler("yx", a).as_matrix() for a in ([0, 0], [0.4, 0.2], [0.8, -0.3])]
    depth_device, _, mask_device = on_device(depth, mask)
    for k, turn in enumerate(np.repeat(turns, 8, axis=0)):
        # First passes allocate, every second one for a quarter of the image: the reference starts with all blocks.
        set_rigid(field, turn, turn_about_centre(turn))
        volume.integrate(depth_device, None, mask_device, CAMERA, field, k)
    volume.distances.zero_()
    volume.weights.zero_()
    positions = voxel_positions(volume).reshape(-1, 3)
    state, ties = np.zeros((len(positions), 2)), np.zeros(len(positions), bool)
    for k, turn in enumerate(turns):
        set_rigid(field, turn, turn_about_centre(turn))
        volume.integrate(depth_device, None, mask_device, CAMERA, field, k)
        state, tie = reference_integrate(state, positions @ turn.T + turn_about_centre(turn), depth, grades, config)
        ties |= tie
    assert volume.directory.count * 512 == len(positions)
    return volume, state, ties


def test_agrees_with_the_reference(rigid_case: tuple[TsdfVolume, Array, Array]) -> None:
    volume, state, ties = rigid_case
    got = np.stack([volume.distances.numpy(), volume.weights.numpy()], axis=1)[: len(state)]
    fused = state[:, 1] > 0
    assert fused.sum() > 5_000 and (state[:, 1] == 2.5).sum() > 100
    assert ties.mean() < 0.05
    clear = ~ties
    np.testing.assert_allclose(got[clear, 1], state[clear, 1], atol=1e-4)
    np.testing.assert_allclose(got[clear & fused, 0], state[clear & fused, 0], atol=1e-4)
    # Voxels on a tie may take the neighbouring pixel, no more.
    assert np.abs(got[ties & fused, 0] - state[ties & fused, 0]).mean() < 0.05


@pytest.mark.parametrize("size", [(640, 480), (333, 247)])
def test_grades_agree_with_the_reference_where_the_model_may_be(size: tuple[int, int]) -> None:
    """Everywhere near the nodes, nothing far from them, and nothing of the last frame stays."""
    camera = CameraIntrinsics(140.0, 141.0, 0.5 * size[0] + 3.3, 0.5 * size[1] - 2.2, *size)
    volume = TsdfVolume(FusionConfig(), select_device("cpu"))
    field = make_field(sphere_nodes())
    wall, nothing = np.full(size[::-1], 2.0, np.float32), np.zeros(size[::-1], bool)
    for move in ([0.4, 0.3, 0.0], [0.0, 0.0, 0.0]):
        set_rigid(field, np.eye(3), np.array(move))
        volume.integrate(*on_device(wall, nothing), camera, field, 0)
    depth, mask = sphere_depth(camera=camera)
    depth[::9, ::7] = np.nan
    volume.integrate(*on_device(depth, mask), camera, field, 0)
    got, want = graded_image(volume, camera), reference_grades(depth, mask, volume.config, camera)
    reached = ~np.isin(got[..., 1], (0.0, -0.5))
    away = np.linalg.norm(rays(camera)[..., :2] * 0.8 - CENTRE[:2], axis=2)
    near = away < RADIUS + 0.1
    assert near[mask].all() and 0.02 < reached.mean() < 0.6
    np.testing.assert_allclose(got[near, 1], want[near], atol=2e-3)
    np.testing.assert_allclose(got[reached, 1], want[reached], atol=2e-3)
    np.testing.assert_array_equal(got[reached, 0], depth[reached])
    assert (got[away > 0.75, 1] == 0).all()


def test_settled_blocks_take_turns_and_end_where_all_others_do() -> None:
    """With the same picture again and again, a block that is updated half as often has the same surface."""
    depth, mask = sphere_depth()
    depth = depth + np.random.default_rng(4).normal(0, 0.002, depth.shape).astype(np.float32)
    results = []
    for every in (1, 2):
        volume = TsdfVolume(FusionConfig(settled_every=every), select_device("cpu"))
        field = make_field(sphere_nodes())
        active = [volume.integrate(*on_device(depth, mask), CAMERA, field, k).active_blocks for k in range(12)]
        results.append((active, volume.distances.numpy().copy(), volume.weights.numpy().copy()))
    (always, distances, weights), (turns, turn_distances, turn_weights) = results
    assert turns[0] == always[0] and sum(turns[-2:]) < 0.8 * sum(always[-2:])
    np.testing.assert_allclose(turn_distances, distances, atol=1e-3)
    assert ((turn_weights > 0) == (weights > 0)).all() and (turn_weights <= weights + 1e-4).all()
    # What moved is updated in each frame again.
    moved, moved_mask = np.roll(depth, 8, axis=1), np.roll(mask, 8, axis=1)
    assert volume.integrate(*on_device(moved, moved_mask), CAMERA, field, 12).active_blocks < always[-1]
    later = [volume.integrate(*on_device(moved, moved_mask), CAMERA, field, k).active_blocks for k in (13, 14)]
    assert sum(later) > 1.1 * sum(turns[-2:])


def test_lattice_bounds_the_error_of_the_warp() -> None:
    """Trilinear interpolation between lattice points 3.5 voxels apart.

    Q(p) jumps where the set of the four nearest nodes changes: interpolation across the jumps is nearer to the true
    deformation than Q itself.
    """
    device = select_device("cpu")
    amount = 0.6  # 20 degrees over 60 cm
    x, y = np.meshgrid(np.arange(-0.3, 0.31, 0.04), np.arange(-0.2, 0.21, 0.04))
    nodes = np.stack([x.ravel(), y.ravel(), 0.8 + 0.1 * np.cos(4 * x.ravel())], axis=1).astype(np.float32)
    field = make_field(nodes)
    set_bend(field, amount)
    rng = np.random.default_rng(0)
    inner = nodes[(np.abs(nodes[:, 0]) < 0.22) & (np.abs(nodes[:, 1]) < 0.14)]
    corners = inner[rng.integers(0, len(inner), 200)] + rng.uniform(-0.05, -0.01, (200, 3))

    def warped(points: Array) -> Array:
        p = wp.array(points.astype(np.float32), dtype=wp.vec3, device=device)
        anchors = wp.zeros(len(points), dtype=wp.vec4i, device=device)
        weights, out = wp.zeros(len(points), dtype=wp.vec4, device=device), wp.zeros_like(p)
        field.anchor(p, len(points), anchors, weights)
        field.warp(p, anchors, weights, len(points), out)
        assert (weights.numpy().sum(axis=1) > 0).all()
        return out.numpy().astype(np.float64)

    steps = np.arange(3) * 3.5 * 0.008
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice = warped((corners[:, None] + grid).reshape(-1, 3))
    lattice = lattice.reshape(-1, 3, 3, 3, 3)
    errors, from_truth, exact_from_truth = [], [], []
    for offset in rng.integers(0, 8, (60, 3)):
        cell = np.minimum((offset * 2) // 7, 1)
        f = offset * 2 / 7 - cell
        exact = warped(corners + offset * 0.008)
        truth, _ = bend(corners + offset * 0.008, amount)
        value = np.zeros((len(corners), 3))
        for i in range(8):
            bit = np.array([i & 1, (i >> 1) & 1, i >> 2])
            at = (slice(None), *(cell + bit))
            value += np.prod(np.where(bit, f, 1 - f)) * lattice[at]
        errors.append(np.linalg.norm(value - exact, axis=1))
        from_truth.append(np.linalg.norm(value - truth, axis=1))
        exact_from_truth.append(np.linalg.norm(exact - truth, axis=1))
    assert np.max(from_truth) < np.max(exact_from_truth)
    assert np.mean(errors) < 0.5e-3
    assert np.mean(from_truth) < np.mean(exact_from_truth) < 0.5e-3


def test_growth_keeps_what_was_fused() -> None:
    depth, _, mask = on_device(*sphere_depth())
    voxels = []
    for capacity in (4, 1024):
        volume = TsdfVolume(FusionConfig(block_capacity=capacity), select_device("cpu"))
        field = make_field(sphere_nodes())
        for k, angle in enumerate((0.0, 0.7, 1.4)):
            turn = Rotation.from_euler("y", angle).as_matrix()
            set_rigid(field, turn, turn_about_centre(turn))
            volume.integrate(depth, None, mask, CAMERA, field, k)
            surface = volume.extract(field)
        voxels.append((volume.distances.numpy()[: 512 * volume.directory.count].copy(), surface.download().faces))
        assert (volume.stats.growth_count > 0) == (capacity == 4)
        assert volume.stats.bytes > 512 * 8 * volume.stats.blocks
    np.testing.assert_array_equal(voxels[0][0], voxels[1][0])
    np.testing.assert_array_equal(voxels[0][1], voxels[1][1])


def test_background_seen_through_a_ghost_removes_it() -> None:
    device = select_device("cpu")
    volume = TsdfVolume(FusionConfig(), device)
    field = make_field(sphere_nodes())
    depth, mask = sphere_depth()
    for k in range(4):
        volume.integrate(*on_device(depth, mask), CAMERA, field, k)
    assert volume.extract(field).face_count > 1000
    wall, nothing = np.full_like(depth, 2.0), np.zeros_like(mask)
    for k in range(6):
        volume.integrate(*on_device(wall, nothing), CAMERA, field, k)
    assert volume.extract(field).face_count == 0


def test_a_silhouette_that_tracks_badly_is_not_carved_at_once() -> None:
    """A subject that slips sideways by 4 pixels keeps the surface near its outline."""
    volume = TsdfVolume(FusionConfig(), select_device("cpu"))
    field = make_field(sphere_nodes())
    depth, mask = sphere_depth()
    for k in range(5):
        volume.integrate(*on_device(depth, mask), CAMERA, field, k)
    before = volume.extract(field).vertex_count
    shifted, shifted_mask = np.roll(depth, 4, axis=1), np.roll(mask, 4, axis=1)
    for k in range(3):
        volume.integrate(*on_device(shifted, shifted_mask), CAMERA, field, k)
    assert volume.extract(field).vertex_count > 0.97 * before


@pytest.mark.parametrize(
    "spoil",
    ["zero depth", "nan depth", "empty mask", "behind the camera", "nan holes", "no nodes", "far nodes"],
)
def test_bad_frames_break_nothing(spoil: str) -> None:
    volume = TsdfVolume(FusionConfig(), select_device("cpu"))
    nodes = sphere_nodes()
    field = make_field(nodes)
    depth, mask = sphere_depth()
    for k in range(3):
        volume.integrate(*on_device(depth, mask), CAMERA, field, k)
    good = volume.extract(field).download()
    if spoil == "zero depth":
        depth = np.zeros_like(depth)
    elif spoil == "nan depth":
        depth = np.full_like(depth, np.nan)
    elif spoil == "empty mask":
        mask, depth = np.zeros_like(mask), np.zeros_like(depth)
    elif spoil == "behind the camera":
        set_rigid(field, np.eye(3), np.array([0.0, 0.0, -2.0]))
    elif spoil == "nan holes":
        depth[::7, ::5] = np.nan
        depth[3::11, 2::9] = np.inf
    elif spoil == "no nodes":
        field.clear()
    else:
        set_nodes(field, nodes + np.float32(5.0))
    stats = volume.integrate(*on_device(depth, mask), CAMERA, field, 9)
    surface = volume.extract(field)
    mesh = surface.download()
    assert stats.t_ns == 9
    assert np.isfinite(volume.distances.numpy()).all() and np.isfinite(volume.weights.numpy()).all()
    assert np.isfinite(mesh.vertices).all() and np.isfinite(mesh.normals).all()
    if spoil not in ("nan holes", "empty mask"):
        np.testing.assert_array_equal(mesh.faces, good.faces)
    if spoil == "far nodes":
        assert stats.samples == stats.active_blocks == 0
    if spoil == "empty mask":
        assert stats.samples == 0
    live, _ = volume.warp_surface(surface, field)
    assert len(live.numpy()) >= surface.vertex_count


def test_depth_jumps_and_borders_are_not_fused() -> None:
    """No voxel next to the outline is fused, so that no fringe grows there."""
    volume = TsdfVolume(FusionConfig(edge_px=3), select_device("cpu"))
    field = make_field(sphere_nodes())
    depth, mask = sphere_depth()
    volume.integrate(*on_device(depth, mask), CAMERA, field, 0)
    graded = graded_image(volume)[..., 1]
    rows, columns = np.nonzero(graded > 0)
    for dv, du in ((0, 3), (0, -3), (3, 0), (-3, 0)):
        assert mask[rows + dv, columns + du].all()
    assert (graded[~mask] == -1).all()
    outline = np.linalg.norm(rays()[rows, columns] * depth[rows, columns][:, None] - CENTRE, axis=1)
    np.testing.assert_allclose(outline, RADIUS, atol=1e-3)


def test_anchors_follow_a_graph_that_grows() -> None:
    volume = TsdfVolume(FusionConfig(anchor_budget=1500), select_device("cpu"))
    nodes = sphere_nodes()
    first = nodes[nodes[:, 0] < 0.06]
    field = make_field(first)
    images = on_device(*sphere_depth())
    for k in range(3):
        volume.integrate(*images, CAMERA, field, k)
    volume.extract(field)
    set_nodes(field, np.concatenate([first, nodes[nodes[:, 0] >= 0.06]]))
    stats = [volume.integrate(*images, CAMERA, field, k) for k in range(40)]
    assert stats[0].refreshed_anchors == 1500 and stats[0].stale_anchors > 0
    assert stats[-1].stale_anchors == 0
    surface = volume.extract(field)
    fresh = TsdfVolume(FusionConfig(), select_device("cpu"))
    for k in range(3):
        fresh.integrate(*images, CAMERA, field, k)
    slots = volume.directory.find(fresh.directory.host_coords)
    assert (slots >= 0).all()
    kept = (slots[:, None] * 27 + np.arange(27)).ravel()
    np.testing.assert_array_equal(volume._lattice.anchors.numpy()[kept], fresh._lattice.anchors.numpy()[: len(kept)])
    np.testing.assert_array_equal(volume._lattice.weights.numpy()[kept], fresh._lattice.weights.numpy()[: len(kept)])
    skin = surface.skinned(field)
    assert skin.bones.max() >= len(first)
    np.testing.assert_allclose(skin.weights.sum(axis=1), 1.0, atol=1e-5)


def test_a_replaced_graph_replaces_all_anchors() -> None:
    volume = TsdfVolume(FusionConfig(anchor_budget=1), select_device("cpu"))
    nodes = sphere_nodes()
    field = make_field(nodes)
    images = on_device(*sphere_depth())
    for k in range(3):
        volume.integrate(*images, CAMERA, field, k)
    volume.extract(field)
    set_nodes(field, nodes[: len(nodes) // 2])
    volume.integrate(*images, CAMERA, field, 4)
    surface = volume.extract(field)
    assert volume._lattice.anchors.numpy()[: 27 * volume.directory.count].max() < len(nodes) // 2
    assert surface.skinned(field).bones.max() < len(nodes) // 2


def test_wrong_images_are_refused() -> None:
    volume = TsdfVolume(FusionConfig(), select_device("cpu"))
    field = make_field(sphere_nodes())
    depth, colour, mask = on_device(*sphere_depth(), np.zeros((240, 320, 3), np.uint8))
    other = CameraIntrinsics(280.0, 285.0, 158.3, 120.8, 640, 480)
    with pytest.raises(InputError, match="depth must be float32"):
        volume.integrate(depth, colour, mask, other, field, 0)
    with pytest.raises(InputError, match="mask must be uint8"):
        volume.integrate(depth, colour, depth, CAMERA, field, 0)
    small = CameraIntrinsics(280.0, 285.0, 3.0, 3.0, 7, 240)
    with pytest.raises(InputError, match="at least 8 x 8 pixels"):
        volume.integrate(depth[:, :7], None, mask[:, :7], small, field, 0)
    part = CameraIntrinsics(280.0, 285.0, 158.3, 120.8, 160, 240)
    with pytest.raises(InputError, match="in one piece"):
        volume.integrate(depth[:, :160], None, mask[:, :160], part, field, 0)
    with pytest.raises(InputError, match="colour must be"):
        volume.integrate(depth, mask, mask, CAMERA, field, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"truncation_m": 0.05},
        {"truncation_m": 0.01},
        {"voxel_m": 0.0},
        {"min_weight": 0.0},
        {"near_m": 3.0, "far_m": 2.0},
        {"block_capacity": 0},
        {"edge_px": 0},
        {"settled_every": 0},
        {"restless_share": 1.5},
        {"settled_m": -0.001},
        {"min_corners": 3},
        {"min_corners": 9},
        {"longest_edge_m": 0.04, "torn_edge_m": 0.03},
    ],
)
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(ConfigurationError, match="fusion: "):
        FusionConfig(**options)
