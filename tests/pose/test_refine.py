"""Refinement: its derivatives, its optimum against SciPy's, head and hands met, feet kept, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import warp as wp

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, LEFT_HAND, forward_kinematics
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.limits import violations
from bodystream.pose.refine import REFINED_JOINTS, PoseRefiner, PoseTargets, RefineConfig
from helpers.refine_probe_kernels import probe
from helpers.refine_reference import (
    EFFECTORS,
    Case,
    case,
    chain_of,
    cost,
    moved,
    observed_residuals,
    optimum,
    own_residuals,
)

CONFIG = RefineConfig()
FEET = [JOINT_INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("ankle", "foot")]


@pytest.fixture(scope="module")
def skeleton():
    return fitted_skeleton(1.55)


@pytest.fixture(scope="module")
def refiner(skeleton):
    return PoseRefiner(skeleton)


def world_of(case: Case, result, k: int = 0):
    return forward_kinematics(
        case.skeleton.offsets_m, result.rotations[k].astype(np.float64), result.root_positions_m[k].astype(np.float64)
    )


def probed(refiner: PoseRefiner, case: Case, rotations, root):
    """Cost, Jacobians and gradients that the kernel has at a pose other than the sample."""
    refiner.refine(case.sample, case.root, case.targets)  # loads the problem
    costs = wp.zeros(1, dtype=wp.float32, device="cpu")
    pose = wp.array(rotations[None].astype(np.float32), dtype=wp.mat33, device="cpu")
    roots = wp.array(root[None].astype(np.float32), dtype=wp.vec3, device="cpu")
    model, held, scratch = refiner.kernel_inputs
    inputs = [model, held, pose, roots, scratch, costs]
    wp.launch(probe, dim=1, inputs=inputs, device="cpu")
    return float(costs.numpy()[0]), scratch.jacobians.numpy()[0], scratch.gradients.numpy()[0]


def differences(function, case: Case, rotations, root, step: float = 1e-6):
    """Central differences (rows, 45) by the increments at a pose."""
    columns = []
    for i in range(3 * len(REFINED_JOINTS) + 3):
        x = np.zeros(3 * len(REFINED_JOINTS) + 3)
        x[i] = step
        ahead = function(case, CONFIG, *moved(rotations, root, x))
        behind = function(case, CONFIG, *moved(rotations, root, -x))
        columns.append((ahead - behind) / (2.0 * step))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("seed", range(4))
def test_cost_jacobian_and_gradient_are_those_of_the_definition(refiner, skeleton, seed):
    problem = case(seed, skeleton)
    rng = np.random.default_rng(100 + seed)
    x = rng.normal(0.0, 0.15, 3 * len(REFINED_JOINTS) + 3)
    x[-3:] *= 0.05
    rotations, root = moved(problem.sample, problem.root, x)
    # Turn one joint beyond its limits, so that their slopes are tried too.
    rotations[JOINT_INDEX["left_elbow"]] = moved(rotations, root, x)[0][JOINT_INDEX["left_elbow"]]
    rotations[JOINT_INDEX["neck"]] = np.linalg.matrix_power(rotations[JOINT_INDEX["neck"]], 6)
    assert violations(rotations)[[*REFINED_JOINTS]].max() > 0.1
    value, jacobians, gradients = probed(refiner, problem, rotations, root)
    assert value == pytest.approx(cost(problem, CONFIG, rotations, root), rel=2e-4)

    slopes = differences(observed_residuals, problem, rotations, root)
    for e, joint in enumerate(EFFECTORS):
        for c, at in enumerate(chain_of(joint)):
            column = 3 * REFINED_JOINTS.index(at)
            position = slopes[6 * e : 6 * e + 3, column : column + 3] * CONFIG.position_std_m
            rotation = slopes[6 * e + 3 : 6 * e + 6, column : column + 3] * CONFIG.rotation_std_rad
            np.testing.assert_allclose(jacobians[e, c, 0], position, atol=2e-5)
            np.testing.assert_allclose(jacobians[e, c, 1], rotation, atol=2e-4)

    own = own_residuals(problem, CONFIG, rotations, root)
    gradient = (own @ differences(own_residuals, problem, rotations, root))[:-3].reshape(-1, 3)
    np.testing.assert_allclose(gradients, gradient, rtol=5e-3, atol=5e-3 * np.abs(gradient).max())


@pytest.mark.parametrize("seed", range(2))
def test_it_finds_the_optimum_that_scipy_finds(refiner, skeleton, seed):
    problem = case(seed, skeleton)
    result = refiner.refine(problem.sample, problem.root, problem.targets, keep_feet=(False, False))
    rotations, root, best = optimum(problem, CONFIG)
    assert result.costs[0, 1] <= best * 1.02 + 0.01
    positions, _ = world_of(problem, result)
    wanted, _ = forward_kinematics(skeleton.offsets_m, rotations, root)
    assert np.linalg.norm(positions - wanted, axis=-1).max() < 0.005


def test_head_and_hands_are_met_and_the_pose_comes_nearer_to_the_truth(refiner, skeleton):
    errors, turns, before, after = [], [], [], []
    for seed in range(60):
        problem = case(seed, skeleton)
        result = refiner.refine(problem.sample, problem.root, problem.targets)
        positions, world = world_of(problem, result)
        # The errors that it tells are those of its pose.
        error = np.linalg.norm(positions[EFFECTORS] - problem.targets.positions_m, axis=-1)
        np.testing.assert_allclose(result.position_errors_m[0], error, atol=2e-5)
        turn = np.arccos(np.clip((np.trace(world[EFFECTORS] @ problem.targets.rotations.transpose(0, 2, 1),
                                           axis1=1, axis2=2) - 1) / 2, -1, 1))  # fmt: skip
        np.testing.assert_allclose(result.rotation_errors_rad[0], turn, atol=2e-3)
        truth, _ = forward_kinematics(skeleton.offsets_m, problem.truth, problem.truth_root)
        sample, _ = forward_kinematics(skeleton.offsets_m, problem.sample, problem.root)
        before.append(np.linalg.norm(sample - truth, axis=-1).mean())
        after.append(np.linalg.norm(positions - truth, axis=-1).mean())
        errors.append(error)
        turns.append(turn)
    assert np.mean(errors) < 0.001 and np.max(errors) < 0.005
    assert np.degrees(np.mean(turns)) < 0.5 and np.degrees(np.max(turns)) < 2.0
    assert np.mean(after) < 0.75 * np.mean(before)


def test_a_sample_that_fits_stays(refiner, skeleton):
    problem = case(3, skeleton, spread=0.0, root_off_m=0.0)
    result = refiner.refine(problem.sample, problem.root, problem.targets)
    np.testing.assert_allclose(result.rotations[0], problem.sample, atol=2e-3)
    np.testing.assert_allclose(result.root_positions_m[0], problem.root, atol=1e-4)


def test_feet_stay_and_the_lower_body_hardly_changes(refiner, skeleton):
    for seed in range(20):
        problem = case(seed, skeleton)
        result = refiner.refine(problem.sample, problem.root, problem.targets)
        positions, world = world_of(problem, result)
        sample, sample_world = forward_kinematics(skeleton.offsets_m, problem.sample, problem.root)
        assert np.linalg.norm(positions - sample, axis=-1)[FEET].max() < 0.002
        np.testing.assert_allclose(world[FEET], sample_world[FEET], atol=2e-3)
        assert np.linalg.norm(positions[0] - sample[0]) < 0.08


def test_a_missing_hand_keeps_the_sample(refiner, skeleton):
    problem = case(5, skeleton)
    targets = PoseTargets(problem.targets.positions_m, problem.targets.rotations, np.array([1.0, 0.0, 1.0]))
    result = refiner.refine(problem.sample, problem.root, targets)
    arm = [JOINT_INDEX[f"left_{part}"] for part in ("collar", "shoulder", "elbow", "wrist")]
    # Nothing pulls it; only its limits may turn it.
    np.testing.assert_allclose(result.rotations[0][arm], problem.sample[arm], atol=5e-3)
    assert result.position_errors_m[0, [0, 2]].max() < 0.002
    alone = PoseTargets(targets.positions_m, targets.rotations, np.array([1.0, 0.0, 0.0]))
    result = refiner.refine(problem.sample, problem.root, alone)
    assert result.position_errors_m[0, 0] < 0.002
    none = PoseTargets(targets.positions_m, targets.rotations, np.zeros(3))
    result = refiner.refine(problem.sample, problem.root, none)
    np.testing.assert_allclose(result.root_positions_m[0], problem.root, atol=1e-5)


def test_weights_ease_a_hand_in_without_a_jump(refiner, skeleton):
    problem = case(7, skeleton)
    places = []
    for weight in np.linspace(0.0, 1.0, 46):  # half a second at 90 Hz
        targets = PoseTargets(problem.targets.positions_m, problem.targets.rotations, np.array([1.0, weight, 1.0]))
        result = refiner.refine(problem.sample, problem.root, targets)
        places.append(world_of(problem, result)[0][LEFT_HAND])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=-1)
    assert np.linalg.norm(places[-1] - places[0]) > 0.1
    assert steps.max() < 0.15 * np.linalg.norm(places[-1] - places[0])


@pytest.mark.parametrize("metres", [0.05, 0.3, 1.0, 5.0])
def test_a_hand_out_of_reach_is_pointed_at_and_nothing_is_torn(refiner, skeleton, metres):
    problem = case(11, skeleton, spread=0.2)
    positions, _ = forward_kinematics(skeleton.offsets_m, problem.truth, problem.truth_root)
    shoulder = positions[JOINT_INDEX["right_shoulder"]]
    forward = -forward_kinematics(skeleton.offsets_m, problem.truth, problem.truth_root)[1][0][:, 2]
    arm = np.linalg.norm(skeleton.offsets_m[[19, 21]], axis=1).sum()
    place = problem.targets.positions_m.copy()
    place[2] = shoulder + forward * (arm + metres)
    targets = PoseTargets(place, problem.targets.rotations, np.ones(3))
    result = refiner.refine(problem.sample, problem.root, targets)
    after, _ = world_of(problem, result)
    assert np.isfinite(after).all()
    lengths = np.linalg.norm(after[19] - after[17]) + np.linalg.norm(after[21] - after[19])
    assert lengths == pytest.approx(arm, abs=1e-4)
    direction = (after[21] - after[17]) / np.linalg.norm(after[21] - after[17])
    wanted = (place[2] - after[17]) / np.linalg.norm(place[2] - after[17])
    assert np.degrees(np.arccos(direction @ wanted)) < 12.0
    assert np.linalg.norm(after[21] - after[17]) > 0.93 * arm
    # Head and the other hand are still met, the body did not run after the hand.
    assert result.position_errors_m[0, :2].max() < 0.02
    sample, _ = forward_kinematics(skeleton.offsets_m, problem.sample, problem.root)
    assert np.linalg.norm(after[0] - sample[0]) < 0.08


def test_limits_are_kept_softly(skeleton):
    """A hand that two poses reach is reached by the one that a body can take."""
    problem = case(13, skeleton, spread=0.3)
    bent = problem.sample.copy()
    bent[JOINT_INDEX["right_elbow"]] = moved(bent, problem.root, np.zeros(45))[0][JOINT_INDEX["right_elbow"]].T
    assert violations(bent)[JOINT_INDEX["right_elbow"]] > 0.2  # bent backwards
    with_limits = PoseRefiner(skeleton).refine(bent, problem.root, problem.targets)
    beyond = violations(with_limits.rotations[0])[JOINT_INDEX["right_elbow"]]
    assert beyond < 0.5 * violations(bent)[JOINT_INDEX["right_elbow"]]
    assert with_limits.position_errors_m.max() < 0.005


def test_many_hypotheses_give_what_each_gives_alone(skeleton, refiner):
    problems = [case(seed, skeleton) for seed in range(9)]
    many = PoseRefiner(skeleton, capacity=9)
    samples, roots = np.stack([p.sample for p in problems]), np.stack([p.root for p in problems])
    together = many.refine(samples, roots, problems[0].targets).rotations.copy()
    again = many.refine(samples, roots, problems[0].targets).rotations.copy()
    assert np.array_equal(together, again)
    for k, problem in enumerate(problems):
        alone = refiner.refine(problem.sample, problem.root, problems[0].targets)
        assert np.array_equal(together[k], alone.rotations[0])


def test_the_joints_that_are_less_certain_move_more(refiner, skeleton):
    problem = case(17, skeleton)
    turned = []
    for factor in (0.2, 5.0):
        std = np.full(22, 0.15)
        std[JOINT_INDEX["right_shoulder"]] *= factor
        result = refiner.refine(problem.sample, problem.root, problem.targets, joint_std_rad=std)
        joint = JOINT_INDEX["right_shoulder"]
        turned.append(np.linalg.norm(result.rotations[0, joint] - problem.sample[joint]))
    assert turned[1] > 1.5 * turned[0]


def test_moving_and_turning_the_problem_moves_and_turns_the_answer(refiner, skeleton):
    problem = case(19, skeleton)
    turn = np.diag([-1.0, 1.0, -1.0])
    shift = np.array([5.0, 0.0, -3.0])
    here = world_of(problem, refiner.refine(problem.sample, problem.root, problem.targets))[0]
    sample = problem.sample.copy()
    sample[0] = turn @ sample[0]
    targets = PoseTargets(
        problem.targets.positions_m @ turn.T + shift, turn @ problem.targets.rotations, problem.targets.weights
    )
    there = world_of(problem, refiner.refine(sample, turn @ problem.root + shift, targets))[0]
    assert np.linalg.norm(there - (here @ turn.T + shift), axis=-1).max() < 5e-4


def test_bad_input_is_refused(refiner, skeleton):
    problem = case(0, skeleton)
    good = (problem.sample, problem.root, problem.targets)
    with pytest.raises(InputError, match="takes 1 to 1 poses, got 2"):
        refiner.refine(np.stack([good[0]] * 2), np.stack([good[1]] * 2), good[2])
    with pytest.raises(InputError, match="not finite"):
        refiner.refine(good[0] * np.nan, good[1], good[2])
    with pytest.raises(InputError, match=r"\(K, 22, 3, 3\)"):
        refiner.refine(good[0][:21], good[1], good[2])
    with pytest.raises(InputError, match="joint_std_rad"):
        refiner.refine(*good, joint_std_rad=np.zeros(22))
    with pytest.raises(InputError, match="weights"):
        PoseTargets(np.zeros((3, 3)), np.zeros((3, 3, 3)), np.array([0.0, 2.0, 0.0]))
    with pytest.raises(InputError, match="positions_m"):
        PoseTargets(np.full((3, 3), np.nan), np.zeros((3, 3, 3)), np.zeros(3))
    with pytest.raises(ConfigurationError, match="root_std_m"):
        RefineConfig(root_std_m=0.0)
    with pytest.raises(ConfigurationError, match="iterations"):
        RefineConfig(iterations=0)
    with pytest.raises(ConfigurationError, match="capacity"):
        PoseRefiner(skeleton, capacity=0)


def test_the_head_is_the_first_effector():
    assert EFFECTORS[0] == HEAD
