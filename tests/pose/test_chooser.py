"""The choice among hypotheses: score, continuity, limits, floor, constraints, and no flicker."""

from __future__ import annotations

import numpy as np
import pytest

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import JOINT_INDEX
from bodystream.pose.calibration import fitted_skeleton
from bodystream.pose.chooser import ChooserConfig, HypothesisChooser
from bodystream.timing import ClockGate
from helpers.refine_reference import natural_pose, rotvec

FRAME_NS = 11_111_111


class Chooser(HypothesisChooser):
    """With the gate that the estimator has."""

    def __init__(self, skeleton, config: ChooserConfig | None = None) -> None:
        super().__init__(skeleton, config)
        self.gate = ClockGate()

    def at(self, t_ns: int, *args):
        return self.choose(self.gate.step(t_ns), *args)


@pytest.fixture(scope="module")
def skeleton():
    return fitted_skeleton(1.55)


def stride(ahead_rad: float) -> np.ndarray:
    """Standing with the left leg ahead, and the right one behind."""
    vectors = np.zeros((22, 3))
    vectors[JOINT_INDEX["left_hip"], 0], vectors[JOINT_INDEX["right_hip"], 0] = ahead_rad, -ahead_rad
    return rotvec(vectors)


def two(skeleton):
    poses = np.stack([stride(0.3), stride(-0.3)])
    return poses, np.tile([0.0, skeleton.pelvis_height_m, 0.0], (2, 1))


def test_the_likely_one_is_taken_first(skeleton):
    poses, roots = two(skeleton)
    assert Chooser(skeleton).at(0, poses, roots, np.array([10.0, 50.0])).index == 1
    assert Chooser(skeleton).at(0, poses, roots, np.array([50.0, 10.0])).index == 0


def test_scores_that_flicker_do_not_make_the_pose_flicker(skeleton):
    poses, roots = two(skeleton)
    chooser, rng = Chooser(skeleton), np.random.default_rng(0)
    choices = [chooser.at(i * FRAME_NS, poses, roots, rng.normal(0.0, 20.0, 2)) for i in range(300)]
    assert sum(choice.switched for choice in choices) == 0
    likely = [int(np.argmax(rng.normal(0.0, 20.0, 2))) for _ in range(300)]
    assert np.abs(np.diff(likely)).sum() > 100  # by score alone it would


def test_a_better_one_is_taken_after_a_while_and_a_much_better_one_at_once(skeleton):
    poses, roots = two(skeleton)
    poses[1] = stride(0.25)  # so near that continuity says little
    chooser = Chooser(skeleton, ChooserConfig(margin=1.0, jump_margin=20.0, patience_s=0.15))
    chooser.at(0, poses, roots, np.array([50.0, 0.0]))
    frames = [chooser.at(i * FRAME_NS, poses, roots, np.array([0.0, 60.0])).index for i in range(1, 40)]
    first = frames.index(1)
    assert 0.14 < (first * FRAME_NS) * 1e-9 < 0.19 and set(frames[first:]) == {1}
    chooser.reset()
    chooser.at(0, poses, roots, np.array([50.0, 0.0]))
    assert chooser.at(FRAME_NS, poses, roots, np.array([0.0, 1000.0])).index == 1


def test_continuity_decides_between_equals_after_a_change_of_count(skeleton):
    poses, roots = two(skeleton)
    chooser = Chooser(skeleton)
    chooser.at(0, poses[:1], roots[:1], np.zeros(1))
    assert chooser.at(FRAME_NS, poses[::-1], roots, np.zeros(2)).index == 1
    # after a long pause it says nothing: the score decides
    chooser.reset()
    chooser.at(0, poses, roots, np.array([1.0, 0.0]))
    assert chooser.at(10**10, poses, roots, np.array([0.0, 1.0])).index == 1


def test_limits_floor_and_constraints_count(skeleton):
    poses, roots = two(skeleton)
    broken = poses.copy()
    broken[0, JOINT_INDEX["left_knee"]] = rotvec([[0.9, 0.0, 0.0]])[0]
    assert Chooser(skeleton).at(0, broken, roots, np.array([20.0, 0.0])).index == 1
    sunk = roots.copy()
    sunk[0, 1] -= 0.2
    assert Chooser(skeleton).at(0, poses, sunk, np.array([20.0, 0.0])).index == 1

    def left_foot_behind(positions, world):
        assert positions.shape == (2, 22, 3) and world.shape == (2, 22, 3, 3)
        return np.where(positions[:, JOINT_INDEX["left_foot"], 2] > 0.0, 0.0, np.inf)

    choice = Chooser(skeleton).at(0, poses, roots, np.array([500.0, 0.0]), left_foot_behind)
    assert choice.index == 1 and np.isinf(choice.costs[0])


def test_broken_hypotheses_are_passed_over(skeleton):
    poses, roots = two(skeleton)
    poses[0] = np.nan
    assert Chooser(skeleton).at(0, poses, roots, np.array([99.0, 0.0])).index == 1
    assert Chooser(skeleton).at(0, two(skeleton)[0], roots, np.array([np.nan, 0.0])).index == 1
    chooser = Chooser(skeleton)
    chooser.at(0, *two(skeleton), np.array([9.0, 0.0]))
    assert chooser.at(FRAME_NS, poses, roots, np.zeros(2)).index == 1  # the one it had is gone


def test_bad_input_is_refused(skeleton):
    poses, roots = two(skeleton)
    chooser = Chooser(skeleton)
    with pytest.raises(InputError, match="K hypotheses"):
        chooser.at(0, poses, roots, np.zeros(3))
    with pytest.raises(InputError, match="no hypothesis is left"):
        chooser.at(0, poses, roots, np.zeros(2), lambda positions, world: np.full(2, np.inf))
    with pytest.raises(InputError, match="penalties"):
        chooser.at(0, poses, roots, np.zeros(2), lambda positions, world: np.zeros(5))
    with pytest.raises(ConfigurationError, match="margin"):
        ChooserConfig(margin=-1.0)
    with pytest.raises(ConfigurationError, match="positive"):
        ChooserConfig(motion_std_m=0.0)


def test_natural_poses_are_not_refused(skeleton):
    rng = np.random.default_rng(5)
    poses = np.stack([natural_pose(rng) for _ in range(8)])
    roots = np.tile([0.0, skeleton.pelvis_height_m, 0.0], (8, 1))
    assert np.isfinite(Chooser(skeleton).at(0, poses, roots, np.zeros(8)).costs).all()
