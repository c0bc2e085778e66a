"""Graphs of pairs and batches of them, targets from flow, and the losses through the solver."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.correspondence import ConstantCorrespondence  # noqa: E402
from bodystream.device import select_device  # noqa: E402
from bodystream.evaluation.pair import PairConfig, PairTracker, pair_errors  # noqa: E402
from bodystream.geometry.camera import depth_edges, sample_bilinear  # noqa: E402
from bodystream.tracking.solver import FlowTargets, SolverConfig  # noqa: E402
from bodystream.types import RgbdFrame  # noqa: E402
from bodystream_training.flow.batches import Augmentation, collate  # noqa: E402
from bodystream_training.flow.gauss_newton import Motion, solve_motion, warp  # noqa: E402
from bodystream_training.flow.graph_losses import (  # noqa: E402
    graph_loss,
    supervised_weight_loss,
    tracking_errors,
    warp_loss,
)
from bodystream_training.flow.graphs import GraphConfig, build_pair_graph, collate_graphs  # noqa: E402
from bodystream_training.flow.matches import back_project, match_targets, sample_at, sample_depth  # noqa: E402
from helpers.flow_pairs import bend, bent_pair  # noqa: E402
from helpers.solver_problems import CAMERA, Problem, SolverCase, at_rest, motion_difference  # noqa: E402

CONFIG = GraphConfig(sigma_m=0.1)
SIZE = (CAMERA.height, CAMERA.width)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Systems as small as these are slower on two threads, far slower where the second is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pair():
    return bent_pair()


@pytest.fixture(scope="module")
def graph(pair):
    built = build_pair_graph(pair, CONFIG)
    assert built is not None
    return built


def image_batch(sample) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, 2, H, W) true flow, 0 where unknown, and (1, 1, H, W) target depth."""
    flow = torch.from_numpy(np.nan_to_num(sample.flow_px)).permute(2, 0, 1)[None]
    return flow, torch.from_numpy(sample.target_depth_m)[None, None]


def still(batch) -> Motion:
    shape = batch.nodes.shape
    return Motion(torch.eye(3).expand(*shape, 3), torch.zeros(shape), torch.ones(len(batch.nodes), dtype=torch.bool))


def test_tracks_a_pair_as_the_runtime_does(pair, graph) -> None:
    """The graph and points of `eval tracking`, and from the same targets its solver's motion."""
    batch = collate_graphs([graph], seeded(), replace(CONFIG, matches=100_000))
    targets = match_targets(batch, *image_batch(pair))
    motion = solve_motion(batch, targets)
    aims = FlowTargets(*(getattr(targets, name)[0].numpy() for name in ("pixels", "depth_m", "weight")))
    problem = Problem(
        graph.points, graph.anchors, graph.skinning, graph.nodes, graph.edges, aims, *at_rest(len(graph.nodes))
    )
    case = SolverCase(problem, SolverConfig(min_matches=1, reference_matches=0))
    assert case.solve().rejected == 0
    rotations, translations = case.field.motion()
    got = motion.rotations[0].numpy(), motion.translations[0].numpy()
    assert motion_difference(*got, rotations, translations) < 1e-4
    assert np.abs(warp(batch, motion)[0].numpy() - case.warped()).max() < 1e-4

    config = PairConfig(sigma_m=0.1, least_piece=63, solver=SolverConfig(min_matches=1, reference_matches=0))
    source = RgbdFrame(0, 0, pair.source_depth_m, pair.intrinsics, mask=pair.mask)
    target = RgbdFrame(1, 1, pair.target_depth_m, pair.intrinsics)
    estimator = ConstantCorrespondence(np.nan_to_num(pair.flow_px))
    tracked = PairTracker(estimator, select_device("cpu"), config).step(source, target)
    assert tracked.nodes == len(graph.nodes) and np.array_equal(batch.pixels[0].numpy(), tracked.pixels)
    assert tracked.matches == int((targets.weight > 0).sum())
    wanted = pair_errors(tracked, source, pair.flow_px, pair.scene_flow_m)
    errors = tracking_errors(batch, motion)
    assert errors.no_motion_mm.item() == pytest.approx(wanted.no_motion_mm, rel=1e-4)
    # Beside the outline it asks for depth at fewer places.
    assert errors.epe3d_mm.item() == pytest.approx(wanted.epe3d_mm, abs=0.5) and wanted.epe3d_mm < 5.0


def test_threads_may_build_at_once() -> None:
    config = replace(CONFIG, sigma_m=0.2)
    pairs = [bent_pair(0.5 * number) for number in range(2)]
    wanted = [build_pair_graph(pair, config) for pair in pairs]
    with ThreadPoolExecutor(2) as threads:
        built = list(threads.map(lambda number: build_pair_graph(pairs[number % 2], config), range(6)))
    for number, found in enumerate(built):
        for a, b in zip(astuple(found), astuple(wanted[number % 2]), strict=True):
            assert np.array_equal(a, b)


def test_the_truth_of_nodes_and_points_is_the_scene_flow(pair, graph) -> None:
    assert np.allclose(graph.node_motion_m, bend(graph.nodes, 1.0) - graph.nodes, atol=1e-5)
    assert np.allclose(graph.motion_m, bend(graph.points, 1.0) - graph.points, atol=1e-5)
    unknown = pair.scene_flow_m.copy()
    unknown[:60] = np.nan
    built = build_pair_graph(replace(pair, scene_flow_m=unknown), CONFIG)
    batch = collate_graphs([built], seeded(), CONFIG)
    assert torch.equal(batch.known[0], batch.pixels[0, :, 1] >= 60)
    assert 0 < int(batch.node_known.sum()) < int(batch.active.sum())
    assert torch.isfinite(batch.motion_m).all() and torch.isfinite(batch.node_motion_m).all()


def test_points_are_chosen_at_random_and_no_more_than_asked_for(graph) -> None:
    config = replace(CONFIG, matches=500, least_matches=100)
    first, again, other = (collate_graphs([graph], seeded(s), config) for s in (1, 1, 2))
    assert first.points.shape == (1, 500, 3) and first.point_mask.all()
    assert torch.equal(first.pixels, again.pixels) and not torch.equal(first.pixels, other.pixels)
    places = {(int(u), int(v)): i for i, (u, v) in enumerate(graph.pixels)}
    rows = [places[int(u), int(v)] for u, v in first.pixels[0]]
    assert len(set(rows)) == 500
    assert np.array_equal(first.anchors[0].numpy(), graph.anchors[rows])
    assert np.array_equal(first.points[0].numpy(), graph.points[rows])


def test_a_large_subject_has_its_nodes_farther_apart(pair, graph) -> None:
    assert graph.sigma_m == CONFIG.sigma_m and len(graph.nodes) > 60
    coarse = build_pair_graph(pair, replace(CONFIG, most_nodes=40))
    assert coarse is not None and 15 < len(coarse.nodes) <= 40 and CONFIG.sigma_m < coarse.sigma_m < 3 * CONFIG.sigma_m
    # Anchors and weights are those of this distance.
    arm = np.linalg.norm(coarse.points[:, None] - coarse.nodes[coarse.anchors], axis=2)
    expected = np.exp(-0.5 * (arm / coarse.sigma_m) ** 2) * (coarse.skinning > 0)
    assert np.allclose(coarse.skinning, expected / expected.sum(axis=1, keepdims=True), atol=1e-4)


def islands(share: float) -> np.ndarray:
    """Two pieces of surface, the second with about this share of the pixels."""
    mask = np.ones(SIZE, bool)
    cut = round(16 + 0.8 * CAMERA.width * (1 - share))
    mask[:, cut - 4 : cut + 4] = False
    return mask


def test_clusters_with_too_few_matches_are_dropped() -> None:
    built = build_pair_graph(bent_pair(mask=islands(0.12)), CONFIG)
    assert built is not None and built.clusters.max() == 1
    batch = collate_graphs([built], seeded(), replace(CONFIG, matches=len(built.points)))
    small = np.bincount(built.clusters[built.anchors[:, 0]]).argmin()
    assert torch.equal(batch.active[0], torch.from_numpy(built.clusters != small))
    assert not batch.node_known[0, built.clusters == small].any()
    assert not batch.known[0, built.clusters[built.anchors[:, 0]] == small].any()
    kept = collate_graphs([built], seeded(), replace(CONFIG, least_matches=500))
    assert kept.active.all() and kept.known.all()


def test_what_is_dropped_is_neither_moved_nor_counted() -> None:
    pair = bent_pair(mask=islands(0.12))
    batch = collate_graphs([build_pair_graph(pair, CONFIG)], seeded(), CONFIG)
    flow, depth = image_batch(pair)
    motion = solve_motion(batch, match_targets(batch, flow, depth))
    assert motion.valid.all() and (motion.translations[~batch.active] == 0).all()
    wrong = flow.clone()
    off = ~batch.known[0]
    u, v = batch.pixels[0, off].T
    wrong[0, :, v, u] += 30.0
    spoilt = solve_motion(batch, match_targets(batch, wrong, depth))
    assert torch.equal(motion.translations, spoilt.translations)
    assert torch.equal(warp_loss(batch, motion), warp_loss(batch, spoilt))


def test_pairs_without_a_graph_are_skipped_and_counted(pair, graph) -> None:
    speck = np.zeros(SIZE, bool)
    speck[60:63, 80:83] = True
    assert build_pair_graph(bent_pair(mask=speck), CONFIG) is None
    assert build_pair_graph(replace(pair, mask=np.zeros(SIZE, bool)), CONFIG) is None
    assert build_pair_graph(replace(pair, source_depth_m=np.full(SIZE, np.nan, np.float32)), CONFIG) is None
    batch = collate_graphs([None, graph, None], seeded(), CONFIG)
    assert batch.usable.tolist() == [False, True, False] and batch.skipped == 2
    flow, depth = image_batch(pair)
    flow = flow.expand(3, -1, -1, -1).clone().requires_grad_()
    motion = solve_motion(batch, match_targets(batch, flow, depth.expand(3, -1, -1, -1)))
    assert motion.valid.tolist() == [False, True, False]
    alone = collate_graphs([graph], seeded(), CONFIG)
    single = solve_motion(alone, match_targets(alone, *image_batch(pair)))
    loss = graph_loss(batch, motion) + warp_loss(batch, motion)
    assert loss.item() == pytest.approx((graph_loss(alone, single) + warp_loss(alone, single)).item(), rel=1e-5)
    loss.backward()
    assert torch.isfinite(flow.grad).all() and flow.grad[1].abs().sum() > 0 and flow.grad[::2].abs().sum() == 0
    nothing = collate_graphs([None, None], seeded(), CONFIG)
    nowhere = solve_motion(nothing, match_targets(nothing, flow[:2], depth.expand(2, -1, -1, -1)))
    empty = graph_loss(nothing, nowhere) + warp_loss(nothing, nowhere)
    assert empty.item() == 0 and not nowhere.valid.any()
    empty.backward()
    assert torch.isnan(tracking_errors(nothing, nowhere).epe3d_mm).all()


def test_nan_depth_is_no_depth(pair) -> None:
    holes = pair.source_depth_m.copy()
    holes[40:44, 50:60] = np.nan
    target = pair.target_depth_m.copy()
    target[50:56, 70:90] = np.nan
    built = build_pair_graph(replace(pair, source_depth_m=holes), CONFIG)
    assert built is not None and np.isfinite(built.points).all()
    batch = collate_graphs([built], seeded(), CONFIG)
    flow, _ = image_batch(pair)
    targets = match_targets(batch, flow, torch.from_numpy(target)[None, None])
    assert torch.isfinite(targets.depth_m).all() and (targets.depth_m == 0).any()
    assert solve_motion(batch, targets).valid.all()


def test_flow_is_sampled_where_its_cells_are() -> None:
    """A flow that is linear over the image is met exactly, whatever its resolution; at the full one, its own pixels."""
    v, u = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    full = torch.stack([2.0 + 0.1 * u - 0.03 * v, 0.05 * u * v])[None]
    pixels = torch.tensor([[[0, 0], [63, 47], [20, 31], [7, 5]]])
    wanted = full[0][:, pixels[0, :, 1], pixels[0, :, 0]].T
    assert torch.allclose(sample_at(full, pixels.float(), (48, 64))[0], wanted, atol=1e-5)
    quarter = torch.nn.functional.avg_pool2d(full[:, :1], 4)
    inner = pixels[:, 2:].float()
    assert torch.allclose(sample_at(quarter, inner, (48, 64))[0, :, 0], wanted[2:, 0], atol=1e-5)


def test_flow_of_16_bits_is_sampled_at_the_same_places() -> None:
    """Of 64 x 48 cells each has its own value; places in 16 bits would be off by half a pixel of 640."""
    cells = torch.arange(48.0 * 64.0).reshape(1, 1, 48, 64) % 251
    pixels = torch.randint(0, 480, (1, 200, 2), generator=seeded()).float()
    wanted = sample_at(cells, pixels, (480, 640))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = sample_at(cells.bfloat16(), pixels, (480, 640))
    assert got.dtype == torch.float32 and torch.equal(got, wanted)


def test_depth_is_sampled_as_the_runtime_samples_it(pair) -> None:
    depth_m = pair.target_depth_m.copy()
    depth_m[30:50, 60:64] += 0.2
    pixels = np.random.default_rng(0).uniform([-3, -3], [CAMERA.width + 2, CAMERA.height + 2], (4000, 2))
    got = sample_depth(torch.from_numpy(depth_m)[None, None], torch.from_numpy(pixels)[None])[0].numpy()
    wanted, good = sample_bilinear(depth_m, pixels.astype(np.float32), (depth_m > 0) & ~depth_edges(depth_m, 0.03))
    there = good & (got > 0)
    assert np.abs(got - wanted)[there].max() < 1e-5
    # The runtime leaves out a pixel beside a jump, here only what lies across it is.
    assert (got > 0)[good].all() and there.sum() > 1500 and (got == 0).sum() > 1000


def test_depth_leads_along_the_surface(pair) -> None:
    depth = torch.from_numpy(pair.target_depth_m).double()[None, None]
    pixels = torch.tensor([[[80.3, 60.4], [50.2, 70.7]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: sample_depth(depth, p), (pixels,))


def test_a_mirrored_pair_has_a_mirrored_graph(pair, graph) -> None:
    """What the augmentation mirrors moves as before, mirrored."""
    mirrored = collate([pair], seeded(), Augmentation(mirrored=1.0))
    assert mirrored.mirrored.tolist() == [True]
    batch = collate_graphs([graph.mirrored()], seeded(), CONFIG)
    u, v = batch.pixels[0].T
    seen = torch.tensor([[float(mirrored.source_depth_m[0, 0, b, a]) for a, b in zip(u, v, strict=True)]])
    assert torch.equal(batch.points[..., 2], seen)
    assert torch.allclose(back_project(batch.pixels.float(), seen, batch.intrinsics), batch.points, atol=1e-6)
    assert torch.equal(batch.intrinsics, mirrored.intrinsics)
    assert torch.allclose(batch.motion_m[0], mirrored.scene_flow_m[0, :, v, u].T)
    motion = solve_motion(batch, match_targets(batch, mirrored.flow_px, mirrored.target_depth_m))
    plain = collate_graphs([graph], seeded(), CONFIG)
    wanted = solve_motion(plain, match_targets(plain, *image_batch(pair)))
    flip = torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(motion.translations, wanted.translations * flip, atol=2e-5)
    assert torch.allclose(batch.node_motion_m, plain.node_motion_m * flip)
    assert all(np.array_equal(a, b) for a, b in zip(astuple(graph.mirrored().mirrored()), astuple(graph), strict=True))


def test_losses_are_the_equations(pair, graph) -> None:
    batch = collate_graphs([graph, graph], seeded(), CONFIG)
    motion = still(batch)
    nodes = np.square(graph.node_motion_m.astype(np.float64)).sum(axis=1).mean()
    points = np.square(batch.motion_m.double().numpy()).sum(axis=2).mean()
    assert graph_loss(batch, motion).item() == pytest.approx(nodes, rel=1e-5)
    assert warp_loss(batch, motion).item() == pytest.approx(points, rel=1e-4)
    errors = tracking_errors(batch, motion)
    node_mm = 1e3 * np.linalg.norm(graph.node_motion_m, axis=1).mean()
    assert errors.graph_error_mm.tolist() == pytest.approx([node_mm, node_mm], rel=1e-5)
    assert errors.epe3d_mm.tolist() == pytest.approx(errors.no_motion_mm.tolist(), rel=1e-4)
    true = Motion(motion.rotations, batch.node_motion_m, motion.valid)
    assert graph_loss(batch, true).item() == 0
    # One pair that was not solved does not count.
    half = Motion(motion.rotations, torch.stack([batch.node_motion_m[0] + 9, batch.node_motion_m[1]]),
                  torch.tensor([False, True]))  # fmt: skip
    assert graph_loss(batch, half).item() == 0 and torch.isnan(tracking_errors(batch, half).epe3d_mm[0])


def test_weights_learn_what_is_wrong_without_being_told(pair, graph) -> None:
    """One step against the gradient of graph and warp loss takes weight from wrong matches, and the error falls."""
    batch = collate_graphs([graph], seeded(), replace(CONFIG, matches=len(graph.points)))
    flow, depth = image_batch(pair)
    wrong = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    wrong[..., 40:60, 60:85] = True
    flow = flow + 8.0 * wrong
    logit = torch.zeros(1, 1, *SIZE, requires_grad=True)

    def losses(logit: torch.Tensor) -> torch.Tensor:
        motion = solve_motion(batch, match_targets(batch, flow, depth, torch.sigmoid(logit)))
        return graph_loss(batch, motion) + warp_loss(batch, motion)

    before = losses(logit)
    before.backward()
    down, told = logit.grad[wrong], logit.grad[~wrong]
    assert (down > 0).float().mean() > 0.7 and down.mean() > 20 * told.mean().abs()
    with torch.no_grad():
        assert losses(logit - 1.0 * logit.grad / logit.grad.abs().max()) < 0.8 * before


def test_flow_learns_through_the_solver(pair, graph) -> None:
    """The gradient at a flow that is off by a shift points back along it."""
    batch = collate_graphs([graph], seeded(), CONFIG)
    flow, depth = image_batch(pair)
    off = (flow + torch.tensor([3.0, 0.0])[:, None, None]).requires_grad_()
    motion = solve_motion(batch, match_targets(batch, off, depth))
    (graph_loss(batch, motion) + warp_loss(batch, motion)).backward()
    total = off.grad.sum(dim=(0, 2, 3))
    assert total[0] > 0 and total[0] > 3 * total[1].abs()


def test_supervised_weights_are_told_right_from_wrong(pair, graph) -> None:
    batch = collate_graphs([graph], seeded(), CONFIG)
    flow, depth = image_batch(pair)
    # 1.2 m away one pixel is 8 mm: these are about 0.05, 0.2 and 0.4 m off.
    thirds = torch.bucketize(torch.arange(CAMERA.width), torch.tensor([60, 100]), right=True)
    flow[:, 0] += torch.tensor([6.0, 25.0, 0.0])[thirds]
    depth = depth.clone()
    depth[..., 100:] = torch.where(depth[..., 100:] > 0, depth[..., 100:] + 0.5, 0)
    weight = torch.full((1, 1, *SIZE), 0.8).requires_grad_()
    targets = match_targets(batch, flow, depth, weight)
    loss = supervised_weight_loss(batch, targets)
    loss.backward()
    u, v = batch.pixels[0].T
    ends = batch.points[0] + batch.motion_m[0]
    z = targets.depth_m[0].detach()
    ray = (targets.pixels[0].detach() - batch.intrinsics[0, 2:]) / batch.intrinsics[0, :2]
    apart = (torch.cat([ray * z[:, None], z[:, None]], dim=1) - ends).norm(dim=1)
    told = (z > 0) & ((apart <= 0.1) | (apart >= 0.3))
    assert 0 < int(told.sum()) < len(told) and bool((apart[told] >= 0.3).any()) and bool((apart[told] <= 0.1).any())
    entropy = -torch.where(apart <= 0.1, torch.tensor(0.8).log(), torch.tensor(0.2).log())
    assert loss.item() == pytest.approx(entropy[told].mean().item(), rel=1e-4)
    slope = weight.grad[0, 0, v, u]
    assert (slope[told & (apart <= 0.1)] < 0).all() and (slope[told & (apart >= 0.3)] > 0).all()
    assert weight.grad[0, 0].abs().sum() == pytest.approx(slope[told].abs().sum().item(), rel=1e-5)


@pytest.mark.parametrize(
    "options", [{"sigma_m": 0.0}, {"neighbours": 0}, {"matches": 0}, {"least_matches": 20_000}, {"reach_m": -1.0}]
)
def test_options_are_checked(options: dict) -> None:
    with pytest.raises(ValueError, match="must be"):
        GraphConfig(**options)
