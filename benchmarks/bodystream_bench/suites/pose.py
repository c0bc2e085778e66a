"""One pose of the sampler, beside the same networks in PyTorch; and one refinement of it."""

from __future__ import annotations

import numpy as np

from bodystream.geometry.skeleton import HEAD, forward_kinematics
from bodystream.pose.estimator import EstimatorConfig
from bodystream.pose.features import beta_of_skeleton, decode_poses, place_by_head
from bodystream.pose.observation import History, JointTargets, joints_of_sample
from bodystream.pose.refine import PoseRefiner, PoseTargets
from bodystream.pose.sampler import PoseSampler
from bodystream.sources.headset.synthetic import MotionHeadset
from bodystream.types import Array
from bodystream_bench.measuring import Context, expect, measure
from bodystream_bench.motions import smooth_motion
from bodystream_bench.peers.torch_sampler import torch_sampler

__all__ = ["run"]

_SAMPLES = 180
_HEAD_START = 60
"""Samples of which the history is made before the first observation."""
_THREADS = EstimatorConfig().threads
_PEER_THREADS = (1, 2)
_PEER_STEPS = 40
_TURN = np.diag([-1.0, 1.0, -1.0])
_SHIFT_M = np.array([5.0, 0.0, 0.0])
_MOVED_LIMIT_MM = 1.0
_MET_LIMIT_MM = 5.0


def run(context: Context) -> None:
    """`pose.sample.*` with `.speedup_vs_torch`, and `pose.refine.*` with `.error_mm`."""
    clip = smooth_motion(_SAMPLES)
    targets = [joints_of_sample(sample) for sample in MotionHeadset(clip, clip.rate_hz)]
    sampler = PoseSampler(threads=_THREADS)
    sampler.set_person(clip.skeleton)
    context.note(
        f"pose: bundle {sampler.bundle.manifest.name} {sampler.bundle.manifest.version} on {sampler.engine.provider} "
        f"({sampler.engine.reason})"
    )
    here = _observations(sampler, targets, clip.skeleton.stature_m)
    if context.wants("pose.sample"):
        _sample(context, sampler, targets, here)
    if context.wants("pose.refine"):
        _refine(context, sampler, targets, here)


def _observations(sampler: PoseSampler, targets: list[JointTargets], stature_m: float) -> list[tuple[Array, Array]]:
    """Observation and heading of each sample after the head start."""
    history, out = History(sampler.features), []
    for number, target in enumerate(targets):
        history.add(target)
        if number >= _HEAD_START:
            out.append(history.features(stature_m))
    return out


def _sample(
    context: Context, sampler: PoseSampler, targets: list[JointTargets], here: list[tuple[Array, Array]]
) -> None:
    skeleton = smooth_motion(1).skeleton
    moved = [JointTargets(t.t_ns, t.positions_m @ _TURN.T + _SHIFT_M, _TURN @ t.rotations, t.tracked) for t in targets]
    there = _observations(sampler, moved, skeleton.stature_m)
    worst_mm = 0.0
    for (first, heading), (second, turned) in zip(here[::20], there[::20], strict=True):
        joints = _joints(skeleton.offsets_m, sampler, first, heading)
        elsewhere = _joints(skeleton.offsets_m, sampler, second, turned)
        worst_mm = max(worst_mm, float(np.linalg.norm(joints @ _TURN.T - elsewhere, axis=1).max()) * 1e3)
    expect(
        worst_mm < _MOVED_LIMIT_MM,
        f"pose.sample: the same motion 5 m away and turned by 180 degrees has a pose that differs by {worst_mm:.2f} mm",
    )
    at = 0

    def step() -> None:
        nonlocal at
        sampler.step(here[at % len(here)][0])
        at += 1

    ours = measure(step, context.steps())
    context.add_timing("pose.sample", ours)
    if not context.wants("pose.sample.speedup_vs_torch"):
        return
    beta = beta_of_skeleton(skeleton)
    medians: dict[int, float] = {}
    for threads in _PEER_THREADS:
        peer = torch_sampler(here[0][0], beta, threads)
        if peer is None:
            context.note("torch is not installed: pose.sample.speedup_vs_torch is left out")
            return
        answer = peer()
        expect(
            answer.shape == sampler.step(here[0][0]).vectors[0].shape and bool(np.isfinite(answer).all()),
            f"pose.sample: torch gave a pose of shape {answer.shape}, or one that is not finite",
        )
        medians[threads] = measure(peer, min(context.steps(), _PEER_STEPS), warm_up=3).p50_ms
    best = min(medians, key=lambda count: medians[count])
    context.note(
        f"pose: PyTorch takes {medians[best]:.2f} ms for a pose with {best} thread(s), faster than the other number; "
        f"ours {ours.p50_ms:.2f} ms"
    )
    context.add("pose.sample.speedup_vs_torch", medians[best] / ours.p50_ms, "x", "higher", 0.4)


def _joints(offsets_m: Array, sampler: PoseSampler, observation: Array, heading: Array) -> Array:
    """(22, 3) joints relative to the head [m]."""
    rotations = decode_poses(sampler.step(observation).vectors[0].astype(np.float64), heading)
    positions, _ = forward_kinematics(offsets_m, rotations, np.zeros(3))
    return positions - positions[HEAD]


def _refine(
    context: Context, sampler: PoseSampler, targets: list[JointTargets], here: list[tuple[Array, Array]]
) -> None:
    skeleton = smooth_motion(1).skeleton
    refiner = PoseRefiner(skeleton)
    problems = []
    for target, (observation, heading) in zip(targets[_HEAD_START:], here, strict=True):
        rotations = decode_poses(sampler.step(observation).vectors[0].astype(np.float64), heading)
        root = place_by_head(skeleton.offsets_m, rotations, target.positions_m[0])
        problems.append((rotations, root, PoseTargets(target.positions_m, target.rotations, np.ones(3))))
    error_mm = float(np.mean([refiner.refine(*problem).position_errors_m.mean() for problem in problems])) * 1e3
    expect(
        error_mm < _MET_LIMIT_MM,
        f"pose.refine: head and hands are off by {error_mm:.2f} mm, wanted below {_MET_LIMIT_MM:.0f} mm",
    )
    at = 0

    def step() -> None:
        nonlocal at
        refiner.refine(*problems[at % len(problems)])
        at += 1

    context.add_timing("pose.refine", measure(step, context.steps()))
    context.add("pose.refine.error_mm", error_mm, "mm", "lower", 0.5)
