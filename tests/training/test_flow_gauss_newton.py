"""The differentiable solver: against finite differences, the runtime's solver, dense peers, and hostile systems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.needs import needs

torch = needs("torch", "pip install 'bodystream[train]'")

from bodystream.tracking.solver import SolverConfig  # noqa: E402
from bodystream_bench.peers.dense_gauss_newton import DenseGaussNewton, TrackingProblem  # noqa: E402
from bodystream_training.flow.gauss_newton import GaussNewtonConfig, solve_motion, warp  # noqa: E402
from bodystream_training.flow.matches import MatchTargets  # noqa: E402
from helpers.flow_pairs import problem_batch, with_targets  # noqa: E402
from helpers.solver_problems import (  # noqa: E402
    PLAIN,
    Problem,
    SolverCase,
    motion_difference,
    random_problem,
    solve_densely,
    surface_problem,
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Systems as small as these are slower on two threads, far slower where the second is shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# What float32 in the runtime's assembly and solve leaves of agreement.
WARP_TOLERANCE = 1e-4


def solved(problem: Problem, config: GaussNewtonConfig | None = None, dtype: torch.dtype = torch.float64):
    graph, targets = problem_batch([problem], dtype)
    return solve_motion(graph, targets, config)


def of_one(motion) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and translations of the first of a batch."""
    return motion.rotations[0].numpy(), motion.translations[0].numpy()


def surface(turn: float = 1.0) -> Problem:
    """The bumpy surface as the pipeline makes it, moved by a motion that is not rigid."""
    problem = surface_problem(sigma_m=0.12, stride=3)
    p = problem.points.astype(np.float64)
    bent = p + turn * np.stack([0.03 * np.sin(5 * p[:, 1]), 0.02 * p[:, 0], 0.04 * np.sin(4 * p[:, 0]) + 0.02], axis=1)
    return problem.aimed_at(bent, np.random.default_rng(3).uniform(0.2, 1.0, len(p)))


@pytest.mark.parametrize("which", ["pixels", "depth_m", "weight"])
def test_gradient_is_that_of_finite_differences(which: str) -> None:
    """Through all three iterations, of two graphs of different size, with depth missing and matches off."""
    first, second = random_problem(1, nodes=10, matches=40), random_problem(2, nodes=9, matches=30)
    depth_m, weight = first.targets.depth_m.copy(), first.targets.weight.copy()
    depth_m[::5], weight[::7] = 0.0, 0.0
    graph, targets = problem_batch([with_targets(first, depth_m=depth_m, weight=weight), second])
    values = {name: getattr(targets, name) for name in ("pixels", "depth_m", "weight")}

    def motion_of(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        motion = solve_motion(graph, MatchTargets(**{**values, which: value}))
        assert motion.valid.all()
        return motion.rotations, motion.translations

    # A step across zero would make a match of one that is none.
    chosen = values[which] > 0 if which != "pixels" else torch.ones_like(values[which], dtype=torch.bool)
    free = values[which][chosen].clone().requires_grad_()

    def of_free(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return motion_of(values[which].masked_scatter(chosen, value))

    # The fast mode compares along a random direction instead of one input after the other.
    assert torch.autograd.gradcheck(of_free, (free,), eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("make", [random_problem, surface])
def test_agrees_with_the_solver_of_the_runtime(make) -> None:
    problem = make()
    case = SolverCase(problem, SolverConfig(min_matches=1, reference_matches=0))
    assert case.solve().rejected == 0
    rotations, translations = case.field.motion()
    motion = solved(problem, dtype=torch.float32)
    assert motion.valid.all()
    assert motion_difference(*of_one(motion), rotations, translations) < WARP_TOLERANCE
    graph, _ = problem_batch([problem], torch.float32)
    assert np.abs(warp(graph, motion)[0].numpy() - case.warped()).max() < 1e-4


@pytest.mark.parametrize("make", [random_problem, surface])
def test_agrees_with_a_dense_jacobian(make) -> None:
    """The specification in float64 with weights, and the plain peer of the benchmarks without."""
    problem = make()
    rotations, translations, _ = solve_densely(problem, PLAIN)
    motion = solved(problem)
    assert (
        motion_difference(motion.rotations[0].numpy(), motion.translations[0].numpy(), rotations, translations) < 1e-9
    )
    single = solved(problem, dtype=torch.float32)
    assert (
        motion_difference(single.rotations[0].numpy(), single.translations[0].numpy(), rotations, translations) < 1e-4
    )

    ones = with_targets(problem, weight=np.ones_like(problem.targets.weight))
    peer = DenseGaussNewton(
        TrackingProblem(
            ones.points, ones.anchors, ones.weights, ones.nodes, ones.directed_edges, ones.targets.pixels,
            ones.targets.depth_m, ones.camera, (0.001, 1.0, 1.0),
        ),
        np.float64,
    )  # fmt: skip
    assert motion_difference(*of_one(solved(ones)), *peer.solve(3)) < 1e-9


def test_half_precision_around_it_changes_nothing() -> None:
    graph, targets = problem_batch([random_problem()], torch.float32)
    plain = solve_motion(graph, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = solve_motion(graph, targets)
    assert torch.equal(plain.translations, inside.translations)


def free_gradients(targets: MatchTargets) -> list[torch.Tensor]:
    for name in ("pixels", "depth_m", "weight"):
        setattr(targets, name, getattr(targets, name).clone().requires_grad_())
    return [targets.pixels, targets.depth_m, targets.weight]


def too_few(problem: Problem) -> Problem:
    """Three matches: the graph may still turn about the line through two of them."""
    weight = np.zeros_like(problem.targets.weight)
    weight[:1] = 1.0
    return with_targets(problem, weight=weight)


def unconnected(problem: Problem) -> Problem:
    """A node that no edge and no match holds."""
    nodes = np.concatenate([problem.nodes, [[0.0, 0.0, 2.0]]]).astype(np.float32)
    edges = np.concatenate([problem.edges, np.full((1, problem.edges.shape[1]), -1)]).astype(np.int32)
    return replace(problem, nodes=nodes, edges=edges)


@pytest.mark.parametrize("spoil", [too_few, unconnected])
def test_a_singular_system_is_flagged_and_leaves_the_others_alone(spoil) -> None:
    good = random_problem(5)
    graph, targets = problem_batch([spoil(random_problem(4)), good], torch.float32)
    inputs = free_gradients(targets)
    motion = solve_motion(graph, targets)
    assert motion.valid.tolist() == [False, True]
    assert torch.isfinite(motion.translations).all() and torch.isfinite(motion.rotations).all()
    alone = solved(good, dtype=torch.float32)
    assert torch.allclose(motion.translations[1, : len(good.nodes)], alone.translations[0], atol=1e-6)
    (motion.translations.square().sum() + motion.rotations.sum()).backward()
    for values in inputs:
        assert values.grad is not None and torch.isfinite(values.grad).all()
        assert values.grad[1].abs().sum() > 0
        assert values.grad[0].abs().sum() == 0


def test_what_is_no_match_may_be_anything() -> None:
    """nan and infinite targets count as none: same motion as without them, and finite gradients."""
    problem = random_problem(6)
    spoilt = np.arange(0, len(problem.points), 9)
    pixels, depth_m = problem.targets.pixels.copy(), problem.targets.depth_m.copy()
    weight, clean = problem.targets.weight.copy(), problem.targets.weight.copy()
    pixels[spoilt[0::3]], weight[spoilt[1::3]] = np.nan, np.nan
    clean[spoilt[0::3]], clean[spoilt[1::3]] = 0.0, 0.0
    without = depth_m.copy()
    depth_m[spoilt[2::3]], without[spoilt[2::3]] = np.nan, 0.0
    graph, targets = problem_batch(
        [with_targets(problem, pixels=pixels, depth_m=depth_m, weight=weight)], torch.float64
    )
    inputs = free_gradients(targets)
    motion = solve_motion(graph, targets)
    wanted = solved(with_targets(problem, depth_m=without, weight=clean))
    assert motion.valid.all() and torch.equal(motion.translations, wanted.translations)
    motion.translations.sum().backward()
    assert all(torch.isfinite(values.grad).all() for values in inputs)


def test_wild_matches_leave_everything_finite() -> None:
    problem = random_problem(6)
    pixels = problem.targets.pixels + np.random.default_rng(0).normal(0, 1e5, problem.targets.pixels.shape)
    graph, targets = problem_batch([with_targets(problem, pixels=pixels)], torch.float32)
    inputs = free_gradients(targets)
    motion = solve_motion(graph, targets)
    assert torch.isfinite(motion.translations).all() and motion.translations.abs().max() <= 3 * 0.5 * (1 + 1e-6)
    motion.translations.sum().backward()
    assert all(torch.isfinite(values.grad).all() for values in inputs)


def test_points_behind_the_camera_are_no_matches() -> None:
    """A hostile flow may throw the surface behind the camera; the solve stays finite."""
    problem = random_problem(7)
    graph, targets = problem_batch([with_targets(problem, depth_m=np.full(len(problem.points), 1e-4))], torch.float32)
    inputs = free_gradients(targets)
    motion = solve_motion(graph, targets, GaussNewtonConfig(lambda_depth=1e6, max_translation_m=5.0))
    assert torch.isfinite(motion.translations).all()
    motion.translations.sum().backward()
    assert all(torch.isfinite(values.grad).all() for values in inputs)


def test_steps_are_bounded() -> None:
    problem = random_problem(8, shift_m=1.0)
    motion = solved(problem, GaussNewtonConfig(iterations=1, max_translation_m=0.05, max_rotation_rad=0.02))
    assert motion.translations.norm(dim=-1).max() <= 0.05 * (1 + 1e-9)
    cosine = 0.5 * (motion.rotations.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0)
    assert cosine.min() >= np.cos(0.02) - 1e-9


def test_ten_thousand_matches_fit() -> None:
    """What is kept for the way back of four pairs is less than a quarter of their dense Jacobians."""
    problem = random_problem(9, nodes=100, matches=10_000)
    graph, targets = problem_batch([problem] * 4, torch.float32)
    inputs = free_gradients(targets)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        motion = solve_motion(graph, targets, GaussNewtonConfig(iterations=1))
    assert motion.valid.all()
    assert sum(kept.values()) < 4 * 3 * 10_000 * 6 * 100 * 4 / 4
    motion.translations.sum().backward()
    assert all(torch.isfinite(values.grad).all() for values in inputs)


@pytest.mark.parametrize(
    "options", [{"lambda_reg": -1.0}, {"iterations": 0}, {"max_rotation_rad": 0.0}, {"max_translation_m": -1.0}]
)
def test_options_are_checked(options: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        GaussNewtonConfig(**options)
