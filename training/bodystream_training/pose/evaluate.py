"""`bodystream-train eval pose`: the whole table, with what needs PyTorch: ablations, the regressor, likelihoods."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
import warp as wp
from rich.console import Console
from rich.table import Table

from bodystream.cli.options import switched_off
from bodystream.device import initialise_warp
from bodystream.errors import InputError
from bodystream.evaluation.pose.least_squares_ik import LeastSquaresIk, mean_rotations
from bodystream.evaluation.pose.nearest_pose import NearestPose, build_database
from bodystream.evaluation.pose.protocol import Estimator, auc, evaluate, invariance_cm
from bodystream.evaluation.pose.table import as_json, comparison_table
from bodystream.evaluation.progress import counted_progress, duration_text
from bodystream.geometry.motion import MotionClip
from bodystream.geometry.rotations import matrix_from_rotation_vector
from bodystream.geometry.skeleton import HEAD, JOINTS, LOWER_BODY
from bodystream.pose.estimator import EstimatorConfig, PoseEstimator
from bodystream.pose.features import FeatureConfig, encode_poses
from bodystream.pose.limits import violate
from bodystream.sources.motion import find_takes
from bodystream.sources.motion.selection import clips_of
from bodystream_training.pose.batches import collate
from bodystream_training.pose.data import Examples, build_examples
from bodystream_training.pose.losses import joint_positions
from bodystream_training.pose.model import Normalisation, PoseFlow
from bodystream_training.pose.networks import load_model, load_networks
from bodystream_training.pose.regressor import Regressor
from bodystream_training.pose.samplers import TorchSampler, centre_of_flow, centre_of_region, regressed
from bodystream_training.pose.splits import RUN_FACTS, SPLITS, read_run, split_of
from bodystream_training.rotations import rotation_matrices

__all__ = ["EvaluateTraining", "likelihood_auc"]


@dataclass(frozen=True)
class EvaluateTraining:
    """Compare a trained sampler with its ablations and with every baseline on people whom no training saw.

    Rows: the sampler with refinement and foot lock; the network alone with z = mu_H and with z = 0; the flow without
    intermediate supervision, where `--stages flow-plain` trained one; the regressor, alone and with the same
    refinement; least-squares inverse kinematics, from a standing and from the mean pose; the nearest pose of the
    training clips. Refinement comes with smoothing and foot lock.
    """

    data: str
    """Motion files, as they were trained on; the run's test subjects among them are evaluated."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run")] = Path("runs/pose")
    """Folder of the training run."""

    split: Literal["test", "validation"] = "test"
    """Which subjects: test or validation."""

    excerpt_s: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LENGTH EVERY", help_behavior_hint="")] = (
        None
    )
    """Only pieces of LENGTH seconds, one every EVERY seconds; default: everything."""

    neighbours: Annotated[
        bool, switched_off("Leave out the nearest-pose baseline, whose database takes a while to build.")
    ] = True
    """Also the nearest-pose baseline."""

    json: bool = False
    """Print one JSON object."""

    def run(self) -> int:
        wp.config.log_level = wp.LOG_ERROR  # stdout is for the result
        initialise_warp()
        notes = Console(stderr=True, highlight=False)
        torch.set_num_threads(1)  # single poses are slower on several
        takes = find_takes(self.data)
        splits = read_run(self.run_folder)["splits"] if (self.run_folder / RUN_FACTS).exists() else SPLITS
        tested = [take for take in takes if split_of(take.subject, splits) == self.split]
        if not tested:
            raise InputError(
                f"{self.data} has no take of a {self.split} subject (of this run: {', '.join(splits[self.split])}): "
                "give the whole data set, or --split validation"
            )
        samplers, flow, normalise, features = _samplers(self.run_folder)
        clips = list(clips_of(tested, problems := [], self.excerpt_s))
        for problem in problems:
            notes.print(f"left out: {problem}", markup=False, soft_wrap=True)
        if not clips:
            raise InputError(f"no {self.split} subject's clip of {self.data} can be read")
        estimators = _estimators(samplers, clips[0])
        rows = [(estimator.name, estimator) for estimator in estimators]
        if self.neighbours:
            trained = [take for take in takes if split_of(take.subject, splits) == "train"]
            known = list(clips_of(trained, unread := [], None))
            for problem in unread:
                notes.print(f"left out of the nearest poses: {problem}", markup=False, soft_wrap=True)
            rows.append(("least_squares_ik, mean rest pose", LeastSquaresIk(rest=mean_rotations(known))))
            nearest = NearestPose(build_database(known))
            rows.append((nearest.name, nearest))
        began_s = time.monotonic()
        results = []
        for number, (label, estimator) in enumerate(rows):
            with counted_progress(f"[{number + 1}/{len(rows)}] {label}", len(clips), notes) as advance:
                counted = _counted(clips, advance)
                results.append(replace(evaluate(estimator, counted, 60.0), estimator=label))
            left_s = (time.monotonic() - began_s) / (number + 1) * (len(rows) - number - 1)
            notes.print(f"{label}: done, about {duration_text(left_s)} left", markup=False, soft_wrap=True)
        every = build_examples(clips_of(tested, [], None), features, variants=1)
        facts: dict[str, Any] = {
            "every_frame": {name: every_frame(sampler, every) for name, sampler in samplers.items()},
            "likelihood_auc": likelihood_auc(flow, normalise, build_examples(clips, features, variants=1, stride=6)),
            "invariance_cm": invariance_cm(estimators[0], max(clips, key=len)),
        }
        notes.print(
            f"{len(results)} estimators on {len(results[0].clips)} clips of {len({c.subject for c in clips})} people, "
            f"{results[0].frames} frames, in {duration_text(time.monotonic() - began_s)}"
        )
        if self.json:
            print(json.dumps(json.loads(as_json(results[0], results[1:])) | facts))
            return 0
        console = Console(highlight=False)
        console.print(comparison_table(results[0], results[1:]))
        console.print(_every_frame_table(facts["every_frame"], len(every)))
        console.print(f"likelihood of real poses against joint-limit violations: AUC {facts['likelihood_auc']:.4f}")
        console.print(f"moved by 5 m and turned by 180 degrees: {facts['invariance_cm']:.2e} cm")
        return 0


def _counted(clips: Sequence[MotionClip], advance: Callable[[int, str], None]) -> Iterator[MotionClip]:
    for number, clip in enumerate(clips):
        advance(number, clip.name)
        yield clip


@torch.no_grad()
def every_frame(sampler: TorchSampler, examples: Examples) -> dict[str, float]:
    """Errors of a network alone on every example, whatever excerpts are evaluated as a motion.

    Positions are relative to the head, which is where it was measured.
    """
    sums, upper = torch.zeros(3, dtype=torch.float64), [j for j in range(len(JOINTS)) if j not in LOWER_BODY]
    for index in torch.arange(len(examples)).split(4096):
        batch = collate(examples, index, torch.Generator())
        vectors = sampler.poses(batch.condition, batch.tracked)
        truth = batch.states[:, :, :3] - batch.states[:, HEAD : HEAD + 1, :3]
        stature_m = examples.stature_m[examples.person[index].long()][:, None]
        errors = torch.linalg.norm(joint_positions(vectors, batch.offsets) - truth, dim=-1) * stature_m
        turns = (rotation_matrices(v.reshape(len(v), -1, 3)) for v in (vectors, batch.pose))
        between = next(turns).mT @ next(turns)
        cosine = (between.diagonal(dim1=-2, dim2=-1).sum(-1) - 1.0) / 2.0
        angles = torch.rad2deg(torch.acos(cosine.clamp(-1.0, 1.0)))
        means = (errors.mean(-1), errors[:, upper].mean(-1), angles.mean(-1))
        sums += torch.stack([mean.double().sum() for mean in means])
    total, above, angle = (sums / len(examples)).tolist()
    return {"mpjpe_cm": 100.0 * total, "mpjpe_upper_cm": 100.0 * above, "mpjre_deg": angle}


def _every_frame_table(rows: dict[str, dict[str, float]], frames: int) -> Table:
    table = Table("network alone", "MPJPE cm", "upper cm", "MPJRE deg", title=f"all {frames} frames at 20 Hz")
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.2f}" for value in row.values()))
    return table


def _samplers(folder: Path) -> tuple[dict[str, TorchSampler], PoseFlow, Normalisation, FeatureConfig]:
    flow, predictor, normalise, facts = load_networks(folder)
    features = FeatureConfig(tuple(facts["features"]["history_s"]))
    out: dict[str, TorchSampler] = {
        "mu_H": TorchSampler(centre_of_region(flow, predictor), normalise, features),
        "z = 0": TorchSampler(centre_of_flow(flow), normalise, features),
    }
    others = {
        "flow": "z = 0, before joint training",
        "flow-plain": "z = 0, no intermediate supervision",
        "regressor": "regressor",
    }
    for name, label in others.items():
        path = folder / f"{name}.safetensors"
        if path.is_file():
            model, its, _ = load_model(path)
            answer = centre_of_flow(model) if isinstance(model, PoseFlow) else regressed(_as_regressor(model, path))
            out[label] = TorchSampler(answer, its, features)
    return out, flow, normalise, features


def _as_regressor(model: torch.nn.Module, path: Path) -> Regressor:
    if not isinstance(model, Regressor):
        raise InputError(f"{path} holds no regressor")
    return model


def _estimators(samplers: dict[str, TorchSampler], clip: MotionClip) -> list[Estimator]:
    skeleton = clip.skeleton
    raw = EstimatorConfig(refine=False, foot_lock=False, smooth=False)
    out: list[Estimator] = [PoseEstimator(skeleton, sampler=samplers["mu_H"], name="bodystream")]
    for label, sampler in samplers.items():
        out.append(PoseEstimator(skeleton, raw, sampler=sampler, name=f"{label}, network alone"))
        if label != "mu_H":
            out.append(PoseEstimator(skeleton, sampler=sampler, name=f"{label}, refined"))
    out.append(LeastSquaresIk())
    return out


@torch.no_grad()
def likelihood_auc(flow: PoseFlow, normalise: Normalisation, examples: Examples, seed: int = 0) -> float:
    """Chance that a real pose is likelier, given its own head and hands, than a copy that violates joint limits."""
    rng = np.random.default_rng(seed)
    batch = collate(examples, torch.arange(len(examples)), torch.Generator())
    condition = normalise.condition(batch.condition)
    rotations = matrix_from_rotation_vector(batch.pose.numpy().astype(np.float64).reshape(len(examples), -1, 3))
    broken = violate(rotations, rng)
    upright = np.tile(np.eye(3), (len(examples), 1, 1))  # poses are relative to the heading already
    vectors = torch.from_numpy(encode_poses(broken, upright).astype(np.float32))
    scores = [_scores(flow, normalise.pose(x), condition) for x in (batch.pose, vectors)]
    return auc(scores[0], scores[1])


def _scores(flow: PoseFlow, pose: torch.Tensor, condition: torch.Tensor) -> np.ndarray:
    parts: Sequence[torch.Tensor] = [
        -flow.nll(p, c)[0] for p, c in zip(pose.split(1024), condition.split(1024), strict=True)
    ]
    return torch.cat(list(parts)).numpy()
