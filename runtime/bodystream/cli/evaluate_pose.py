"""`bodystream eval pose`: how well the shipped sampler guesses a body from head and hands."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from bodystream.cli.options import BundleWords, optional, switched_off
from bodystream.cli.process import start_warp
from bodystream.errors import ConfigurationError, InputError

__all__ = ["EvaluatePose"]


@dataclass(frozen=True)
class EvaluatePose:
    """Guess whole-body motion from its head and wrists, and compare it with the motion.

    Takes of people whom the network was trained on are left out. Errors are over all joints, in the world; see
    docs/pose-metrics.md. Examples:
      bodystream eval pose --data bvh:mocap/cmu
      bodystream eval pose --data bvh:take.bvh --json
    """

    data: str
    """Motion files: bvh:PATH, asf:PATH, amass:PATH, several separated by commas; folders are searched."""

    rate: Annotated[float, tyro.conf.arg(name="rate-hz")] = 60.0
    """Samples per second; errors of velocity and jitter depend on it."""

    noise: bool = False
    """Add the noise of a good tracker to head and hands."""

    hypotheses: int = 1
    """Poses that the network is asked for per sample; the best is chosen without knowing the truth."""

    raw: bool = False
    """The network alone: no smoothing, no refinement, no foot lock."""

    baselines: Annotated[bool, switched_off("Leave out the baselines that need no training.")] = True
    """Also the baselines that need no training."""

    neighbours_from: Annotated[str | None, optional("DATA")] = None
    """Motion files for the nearest-pose baseline; takes of the people that are tested are left out of them."""

    include_trained: bool = False
    """Also takes of people whom the network was trained on: the figures are then no measure of quality."""

    excerpt_s: Annotated[tuple[float, float] | None, optional("LENGTH EVERY")] = None
    """Only pieces of LENGTH seconds, one every EVERY seconds; default: everything."""

    bundle: BundleWords = ()
    """The network of your own, a folder or a zip file, in the place of the shipped one: pose=PATH."""

    provider: Literal["auto", "tensorrt", "cuda", "openvino", "cpu"] = "auto"
    """What runs the network."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        from rich.console import Console

        from bodystream.bundles import BundleChoice
        from bodystream.evaluation.pose.least_squares_ik import LeastSquaresIk
        from bodystream.evaluation.pose.nearest_pose import NearestPose, build_database
        from bodystream.evaluation.pose.protocol import Estimator, evaluate
        from bodystream.evaluation.pose.table import as_json, comparison_table
        from bodystream.evaluation.progress import counted_progress, duration_text
        from bodystream.geometry.tracker_noise import TrackerNoise
        from bodystream.pose.estimator import EstimatorConfig, PoseEstimator
        from bodystream.pose.sampler import PoseSampler
        from bodystream.sources.motion import HingedTakes, find_takes
        from bodystream.sources.motion.selection import clips_of, held_out

        if not self.rate > 0:
            raise ConfigurationError(f"--rate-hz must be positive, got {self.rate}")
        start_warp()  # quietly: stdout is for the result
        notes = Console(stderr=True, highlight=False)
        bundle = BundleChoice.parse(self.bundle, ("pose",)).open("pose")
        sampler = PoseSampler(bundle, hypotheses=self.hypotheses, provider=self.provider)
        takes = find_takes(self.data)
        chosen = takes if self.include_trained else held_out(takes, sampler.trained_on, self.data)
        if len(chosen) < len(takes):
            notes.print(
                f"{len(takes) - len(chosen)} takes are left out: their people were, or may have been, trained on"
            )
        config = EstimatorConfig(
            hypotheses=self.hypotheses, refine=not self.raw, foot_lock=not self.raw, smooth=not self.raw
        )
        estimators: list[Estimator] = []
        if self.baselines:
            estimators.append(LeastSquaresIk())
        if self.neighbours_from is not None:
            tested = {take.subject for take in chosen}
            known = [take for take in find_takes(self.neighbours_from) if take.subject not in tested]
            if not known:
                raise InputError(f"--neighbours-from {self.neighbours_from} holds only people that are tested")
            estimators.append(NearestPose(build_database(clips_of(known, [], None))))
        problems: list[str] = []
        hinged = HingedTakes(chosen)
        first = next(clips_of(chosen, problems, None, hinged=hinged), None)
        if first is None:
            raise InputError(f"none of the {len(chosen)} takes of {self.data} can be read; the first: {problems[0]}")
        estimators.insert(0, PoseEstimator(first.skeleton, config, sampler=sampler))
        problems.clear()  # the evaluation meets them again
        began_s = time.monotonic()
        results = []
        for number, estimator in enumerate(estimators):
            name = f"[{number + 1}/{len(estimators)}] {estimator.name}"
            with counted_progress(name, len(chosen), notes) as advance:
                clips = clips_of(chosen, problems if number == 0 else [], self.excerpt_s, advance, hinged)
                noise = TrackerNoise() if self.noise else None
                results.append(evaluate(estimator, clips, self.rate, noise=noise))
        for problem in problems:
            notes.print(f"left out: {problem}", markup=False, soft_wrap=True)
        first, took = results[0], duration_text(time.monotonic() - began_s)
        for clip in first.skipped:
            notes.print(f"left out: {clip.name}: {clip.reason}", markup=False, soft_wrap=True)
        notes.print(
            f"{len(results)} estimators on {len(first.clips)} clips of {len({c.subject for c in first.clips})} people, "
            f"{first.frames} frames, in {took}; left out: {len(problems)} takes that cannot be read, "
            f"{len(first.skipped)} clips that are too short",
            soft_wrap=True,
        )
        if self.json:
            print(as_json(results[0], results[1:]))
        else:
            Console(highlight=False).print(comparison_table(results[0], results[1:]))
        return 0
