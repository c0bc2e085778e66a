"""Who owns which cell of an image: against loops in float64, and in images whose owners are known."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp

from bodystream.deformation import WarpField
from bodystream.deformation.ownership import CELL_PX, MOST_POINTS, Ownership, unowned
from bodystream.device import select_device
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.types import Array, CameraIntrinsics
from helpers.ownership_probe_kernels import ask
from helpers.solver_problems import device_points, make_field

CAMERA = CameraIntrinsics(100.0, 100.0, 23.0, 14.0, 46, 30)  # 12 x 8 cells, the last ones cut off by the rim
CELLS = (8, 12)
SIDE_M = CELL_PX / 100.0  # of a cell, at 1 m


def noise_m(z: Array | float) -> Array | float:
    """Half a step of the depth of a stereo camera with a baseline of 5 cm and disparities in sixteenths of a pixel."""
    return 0.5 * z * z / (CAMERA.fx * 0.05) / 16


def own(
    field: WarpField, points: Array, nodes: Array, depth_m: Array, normals: Array | None = None, **options: float
) -> Ownership:
    """Ownership of points that each go with one node, after one update."""
    count = len(points)
    anchors, weights = np.zeros((count, 4), np.int32), np.zeros((count, 4), np.float32)
    anchors[:, 0], weights[:, 0] = nodes, 1
    normals = np.tile([0.0, 0, -1], (count, 1)) if normals is None else normals
    model = device_points(field.device, points, anchors, weights, normals)
    ownership = Ownership(field, CAMERA, **options)
    ownership.update(model.packed, count, wp.array(depth_m, dtype=wp.float32, device=field.device))
    return ownership


def at_pixel(u: float, v: float, z: float = 1.0) -> list[float]:
    """The point [m] that is seen at a pixel."""
    return [(u - CAMERA.cx) / CAMERA.fx * z, (v - CAMERA.cy) / CAMERA.fy * z, z]


def still(count: int = 2) -> WarpField:
    """Nodes at rest, without edges."""
    nodes = np.zeros((count, 3), np.float32)
    nodes[:, 0] = np.arange(count)
    return make_field(nodes, np.full((count, 1), -1, np.int32))


def plane(depth_m: float = 1.0) -> Array:
    return np.full((CAMERA.height, CAMERA.width), depth_m, np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_cells_go_to_the_facing_point_that_is_nearest_to_the_depth(seed: int) -> None:
    """Points that turn and move with their nodes, before a rough depth with holes."""
    rng = np.random.default_rng(seed)
    nodes = rng.uniform([-0.2, -0.1, 0.9], [0.2, 0.1, 1.1], (6, 3))
    turns = matrix_from_rotation_vector(rng.normal(0, 0.3, (6, 3)))
    shifts = rng.normal(0, 0.03, (6, 3))
    field = make_field(nodes.astype(np.float32), np.full((6, 1), -1, np.int32), turns, shifts)
    points = rng.uniform([-0.3, -0.2, 0.85], [0.3, 0.2, 1.15], (900, 3)).astype(np.float32)
    points[:20, 2] *= -1
    carriers = rng.integers(0, 6, 900)
    normals = rng.normal(0, 1, (900, 3)) - [0, 0, 1]
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    depth = plane() + rng.uniform(-0.1, 0.1, (CAMERA.height, CAMERA.width)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.2] = 0
    ownership = own(field, points, carriers, depth, normals, spread_cells=0)

    v, t = nodes.astype(np.float32)[carriers], shifts.astype(np.float32)[carriers]
    live = np.einsum("nij,nj->ni", turns[carriers], points - v) + v + t
    facing = -np.einsum("nij,nj->ni", turns[carriers], normals)
    best: dict[tuple[int, int], dict[int, float]] = {}
    for i, (p, towards) in enumerate(zip(live, facing, strict=True)):
        if p[2] < 1e-3 or towards @ p / np.linalg.norm(p) < 0.1:
            continue
        u, w = (round(float(p[k] / p[2] * 100 + c)) for k, c in ((0, CAMERA.cx), (1, CAMERA.cy)))
        if 0 <= u < CAMERA.width and 0 <= w < CAMERA.height and depth[w, u] > 0:
            away = abs(float(depth[w, u]) - p[2])
            if away <= 0.03 + noise_m(float(depth[w, u])):
                best.setdefault((w // CELL_PX, u // CELL_PX), {})[i] = away
    owners, nodes_found = ownership.owners.points.numpy(), ownership.read().nodes
    assert owners.shape == (*CELLS, 4) and nodes_found.shape == CELLS and 30 < len(best) < 96
    assert max(map(len, best.values())) > 2
    for cell in np.ndindex(CELLS):
        if cell not in best:
            assert nodes_found[cell] == -1 and not owners[cell].any()
            continue
        # Within a tenth of a millimetre it does not matter who is nearer.
        good = [i for i, away in best[cell].items() if away < min(best[cell].values()) + 1.1e-4]
        (owner,) = (i for i in good if np.array_equal(points[i], owners[cell][:3]))
        assert nodes_found[cell] == carriers[owner] and owners[cell][3] == np.float32(0.08)


@pytest.mark.parametrize("facing", [True, False])
def test_points_that_are_not_covered_or_look_away_own_nothing(facing: bool) -> None:
    field = still()
    normals = np.array([[0.0, 0, -1 if facing else 1]])
    ownership = own(field, np.array([at_pixel(10, 10)]), np.array([0]), plane(), normals)
    assert (ownership.read().nodes >= 0).any() == facing
    model = device_points(field.device, np.array([at_pixel(10, 10)]), np.zeros((1, 4)), np.zeros((1, 4)), normals)
    ownership.update(model.packed, 1, wp.array(plane(), device=field.device))
    assert (ownership.read().nodes == -1).all(), "an update forgets the one before"


def test_all_cells_of_an_image_whose_size_is_no_multiple_of_theirs_can_be_owned() -> None:
    """One point per cell, those of the rim on its last column and row."""
    wanted = np.arange(CELLS[0] * CELLS[1]).reshape(CELLS)
    points = [
        at_pixel(min(4 * c + 3, CAMERA.width - 1), min(4 * r + 3, CAMERA.height - 1)) for r, c in np.ndindex(CELLS)
    ]
    ownership = own(still(96), np.array(points), wanted.ravel(), plane(), spread_cells=0)
    assert np.array_equal(ownership.read().nodes, wanted)
    # And followed into: from the first cell to the last, along 7 + 11 steps.
    ownership = own(still(), np.array([at_pixel(1, 1)]), np.array([1]), plane(), spread_cells=18)
    assert (ownership.read().nodes == 1).all()
    assert unowned((30, 46), select_device("cpu")).nodes.shape == CELLS


def test_a_surface_is_followed_so_far_and_its_reach_grows_by_the_way() -> None:
    ownership = own(still(), np.array([at_pixel(22, 14)]), np.array([1]), plane(), spread_cells=4)
    row, column = np.indices(CELLS)
    steps = np.abs(row - 14 // 4) + np.abs(column - 22 // 4)
    assert np.array_equal(ownership.read().nodes, np.where(steps <= 4, 1, -1))
    owners = ownership.owners.points.numpy()
    np.testing.assert_allclose(owners[..., 3], np.where(steps <= 4, 0.08 + SIDE_M * steps, 0), atol=1e-6)
    assert np.array_equal(owners[..., :3].any(axis=2), steps <= 4)


def test_a_slope_is_longer_than_its_shadow() -> None:
    """Each column of cells lies 3 cm farther away than the one before, seen at 37 degrees."""
    columns = np.arange(CAMERA.width) // CELL_PX
    depth = plane() + 0.03 * columns[None].astype(np.float32)
    ownership = own(still(), np.array([at_pixel(1, 14)]), np.array([0]), depth)
    z = 1 + 0.03 * np.arange(CELLS[1])
    way = np.concatenate([[0], np.cumsum(np.hypot(z[1:] * SIDE_M, 0.03))])
    np.testing.assert_allclose(ownership.owners.points.numpy()[3, :, 3], 0.08 + way, atol=1e-5)


@pytest.mark.parametrize(("step_m", "stops"), [(0.08, False), (0.5, True), (-0.5, True), (0.12, True), (-0.07, False)])
def test_it_stops_where_depth_jumps(step_m: float, stops: bool) -> None:
    """An arm before a body: columns of cells from the sixth on lie farther away, or nearer."""
    depth = plane()
    depth[:, 24:] += np.float32(step_m)
    nodes = own(still(), np.array([at_pixel(1, 14)]), np.array([1]), depth).read().nodes
    assert (nodes[:, :6] == 1).all()
    assert (nodes[:, 6:] == (-1 if stops else 1)).all()


def test_nothing_is_followed_where_nothing_was_measured() -> None:
    depth = plane()
    depth[:, 24:28] = 0
    nodes = own(still(), np.array([at_pixel(1, 14)]), np.array([1]), depth).read().nodes
    assert (nodes[:, :6] == 1).all() and (nodes[:, 6:] == -1).all()


def test_the_way_leads_around_what_is_in_the_way() -> None:
    """A bar before the plane, with one gap at the bottom: cells behind it are near in the image and far on the way."""
    depth = plane()
    depth[:28, 24:28] = 0.5
    ownership = own(still(), np.array([at_pixel(22, 2)]), np.array([1]), depth, spread_cells=32)
    reach = ownership.owners.points.numpy()[..., 3]
    assert reach[0, 5] == pytest.approx(0.08) and (reach[:7, 6] == 0).all()
    assert reach[0, 7] == pytest.approx(0.08 + SIDE_M * (7 + 2 + 7), abs=1e-5)


def test_between_two_owners_the_better_continuation_counts() -> None:
    depth = plane()
    depth[:, 4:8], depth[:, 8:12] = 1.04, 1.05
    points = np.array([at_pixel(1, 14), at_pixel(9, 14, 1.05)])
    assert own(still(), points, np.array([0, 1]), depth, spread_cells=1).read().nodes[3, :4].tolist() == [0, 1, 1, 1]
    depth[:, 4:8] = 1.01
    assert own(still(), points, np.array([0, 1]), depth, spread_cells=1).read().nodes[3, :4].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_spreading_is_that_of_loops(seed: int) -> None:
    """Steps of all cells at once, each to the neighbour whose depth differs least, on a rough surface with jumps."""
    rng = np.random.default_rng(seed)
    cells = rng.choice([0.0, 1.0, 1.06, 1.4], CELLS, p=[0.05, 0.5, 0.3, 0.15])
    cells[cells > 0] += rng.uniform(0, 0.03, (cells > 0).sum())
    cells = cells.astype(np.float32)
    depth = np.repeat(np.repeat(cells, CELL_PX, axis=0), CELL_PX, axis=1)[: CAMERA.height, : CAMERA.width].copy()
    # A cell counts by its nearest pixel, of every second row and column: here the upper or the lower one of these rows.
    lower = {(r, c) for r, c in np.ndindex(CELLS) if (r + c) % 2 and CELL_PX * r + 2 < CAMERA.height}
    for r, c in np.ndindex(CELLS):
        raised = depth[4 * r + (0 if (r, c) in lower else 2) : 4 * r + 4 : 4, 4 * c : 4 * c + 4]
        raised[raised > 0] += 0.3
    depth[1::2] -= 0.2 * (depth[1::2] > 0)
    chosen = [cell for cell in np.ndindex(CELLS) if cells[cell] > 0][5::17]
    points = np.array([at_pixel(4 * c, 4 * r + 2 * ((r, c) in lower), float(cells[r, c])) for r, c in chosen])
    ownership = own(still(len(chosen)), points, np.arange(len(chosen)), depth, spread_cells=5)

    nodes, reach = np.full(CELLS, -1), np.zeros(CELLS)
    for k, cell in enumerate(chosen):
        nodes[cell], reach[cell] = k, 0.08
    for _ in range(5):
        before, reach_before = nodes.copy(), reach.copy()
        for r, c in zip(*np.nonzero((before < 0) & (cells > 0)), strict=True):
            z = float(cells[r, c])
            side = z * SIDE_M
            around = [
                (abs(float(cells[q]) - z), q)
                for q in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1))
                if 0 <= q[0] < CELLS[0] and 0 <= q[1] < CELLS[1] and before[q] >= 0
            ]
            step, neighbour = min(around, default=(np.inf, (0, 0)))
            if step < 2 * side + noise_m(z):
                nodes[r, c] = before[neighbour]
                reach[r, c] = reach_before[neighbour] + np.hypot(side, step)
    assert 20 < (nodes >= 0).sum() < (cells > 0).sum()
    assert np.array_equal(ownership.read().nodes, nodes)
    np.testing.assert_allclose(ownership.owners.points.numpy()[..., 3], reach, atol=1e-5)


def test_a_pixel_is_strange_to_points_beyond_its_owner_s_reach() -> None:
    """Owned by the point at column 1, reach 8 cm there and 4 cm more per cell; the last column of cells is nobody's."""
    depth = plane()
    depth[:, 44:] = 0
    origin = np.array(at_pixel(1, 13))
    field = still()
    ownership = own(field, origin[None], np.array([1]), depth)
    asked = [
        ((2, 13), [0, 0, 0.079], False),
        ((2, 13), [0, 0, -0.081], True),
        ((2, 13), [0.05, 0.05, 0.05], True),  # it is a ball, and no box
        ((3, 15), [0.081, 0, 0], True),
        ((4, 15), [0.081, 0, 0], False),
        ((7, 13), [0, 0.119, 0], False),
        ((7, 13), [0, 0.121, 0], True),
        ((43, 13), [0, 0.08 + 10 * SIDE_M - 0.001, 0], False),
        ((43, 13), [0, 0.08 + 10 * SIDE_M + 0.001, 0], True),
        ((44, 13), [5, 5, 5], False),  # nobody's
        ((45, 29), [5, 5, 5], False),
    ]

    def answers() -> list[bool]:
        device = field.device
        found = wp.zeros(len(asked), dtype=wp.int32, device=device)
        pixels = wp.array([a[0] for a in asked], dtype=wp.vec2i, device=device)
        points = wp.array([origin + a[1] for a in asked], dtype=wp.vec3, device=device)
        wp.launch(ask, len(asked), [ownership.owners, pixels, points], [found], device=device)
        return found.numpy().astype(bool).tolist()

    assert answers() == [strange for _, _, strange in asked]
    ownership.clear()
    assert not any(answers()), "who owns nothing keeps nobody away"


@pytest.mark.parametrize("spread_cells", [3, 4])
def test_cleared_cells_are_nobody_s(spread_cells: int) -> None:
    ownership = own(still(), np.array([at_pixel(22, 14)]), np.array([1]), plane(), spread_cells=spread_cells)
    nodes = ownership.read().nodes
    assert (nodes == 1).any()
    ownership.clear()
    assert (ownership.read().nodes == -1).all() and not ownership.owners.points.numpy().any()
    assert (nodes == 1).any(), "what was asked for is the caller's"


def test_points_that_no_key_can_tell_apart_are_refused() -> None:
    count = MOST_POINTS + 1
    with pytest.raises(ValueError, match="at most 65536 points, got 65537"):
        own(still(), np.zeros((count, 3)), np.zeros(count, np.int32), plane())


def test_the_last_point_that_a_key_can_name_owns_its_cell() -> None:
    points = np.tile(at_pixel(1, 14, 2.0), (MOST_POINTS, 1))
    points[-1] = at_pixel(22, 14, 1.02)
    ownership = own(still(), points, np.arange(MOST_POINTS) // (MOST_POINTS - 1), plane(), spread_cells=0)
    assert np.argwhere(ownership.read().nodes >= 0).tolist() == [[3, 5]] and ownership.read().nodes[3, 5] == 1
    np.testing.assert_allclose(ownership.owners.points.numpy()[3, 5, :3], points[-1], atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_points_are_counted_with_their_node_and_where_the_camera_sees_through(seed: int) -> None:
    """Against a loop: points before and behind a rough scene with holes, beside the image, and behind the camera."""
    rng = np.random.default_rng(seed)
    shifts = rng.normal(0, 0.03, (6, 3)).astype(np.float32)
    nodes = np.zeros((6, 3), np.float32)
    field = make_field(nodes, np.full((6, 1), -1, np.int32), np.tile(np.eye(3, dtype=np.float32), (6, 1, 1)), shifts)
    points = rng.uniform([-0.3, -0.2, 0.85], [0.3, 0.2, 1.15], (700, 3)).astype(np.float32)
    points[:20, 2] *= -1
    carriers = rng.integers(0, 5, 700)
    scene = plane() + rng.uniform(-0.1, 0.3, (CAMERA.height, CAMERA.width)).astype(np.float32)
    scene[rng.random(scene.shape) < 0.2] = 0
    depth = np.where(rng.random(scene.shape) < 0.3, scene, 0).astype(np.float32)
    depth[:, 30:] = 0
    ownership = own(field, points, carriers, plane())
    assert not ownership.read().points.any(), "nothing is counted yet"
    device = field.device
    anchors, weights = np.zeros((700, 4), np.int32), np.zeros((700, 4), np.float32)
    anchors[:, 0], weights[:, 0] = carriers, 1
    weights[-100:] = 0  # not carried
    model = device_points(device, points, anchors, weights, np.tile([0.0, 0, -1], (700, 1)))
    for _ in range(2):
        ownership.tally(model.packed, 700, wp.array(depth, device=device), wp.array(scene, device=device))
        found = ownership.read()
    expected = np.zeros((6, 2), int)
    for i in range(600):
        x, y, z = points[i] + shifts[carriers[i]]
        expected[carriers[i], 0] += 1
        u = int(np.floor(x / z * CAMERA.fx + CAMERA.cx + 0.5))
        v = int(np.floor(y / z * CAMERA.fy + CAMERA.cy + 0.5))
        if z > 0 and 0 <= u < CAMERA.width and 0 <= v < CAMERA.height and scene[v, u] > 0:
            around = [(v, u - 6), (v, u + 6), (v - 6, u), (v + 6, u)]
            near = any(0 <= b < CAMERA.height and 0 <= a < CAMERA.width and depth[b, a] > 0 for b, a in around)
            counts = depth[v, u] > 0 or not near
            expected[carriers[i], 1] += counts and scene[v, u] - z > 0.05 + noise_m(scene[v, u])
    assert 50 < expected[:, 1].sum() < 300 and not expected[5].any()
    assert np.array_equal(np.stack([found.points, found.through], axis=1), expected)
    ownership.clear()
    assert not ownership.read().points.any()


def test_a_graph_that_grew_is_counted_whole() -> None:
    """More nodes than there was room for: of the cells nothing is lost, and new nodes are 0 until they are counted."""
    field = still()
    ownership = own(field, np.array([at_pixel(22, 14)]), np.array([1]), plane())
    before = ownership.read()
    count = field.capacity + 5
    field.set_graph(np.zeros((count, 3), np.float32), np.full((count, 1), -1, np.int32))
    late = ownership.read()
    assert late.points.shape == late.through.shape == (count,) and not late.points.any()
    assert np.array_equal(late.nodes, before.nodes)
    anchors, weights = np.full((1, 4), count - 1, np.int32), np.float32([[1, 0, 0, 0]])
    model = device_points(field.device, np.array([at_pixel(22, 14)]), anchors, weights, np.array([[0.0, 0, -1]]))
    images = [wp.array(image, device=field.device) for image in (plane(0.0), plane(2.0))]
    ownership.tally(model.packed, 1, *images)
    found = ownership.read()
    assert np.array_equal(found.nodes, before.nodes)
    assert np.flatnonzero(found.points).tolist() == np.flatnonzero(found.through).tolist() == [count - 1]
