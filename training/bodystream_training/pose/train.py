"""The recipe of the pose sampler: first the flow, then the latent predictor on the frozen flow, then the baseline."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bodystream.errors import ConfigurationError, InputError
from bodystream.geometry.skeleton import JOINT_INDEX, JOINTS, LOWER_BODY
from bodystream.pose.features import DEVICES, FeatureConfig
from bodystream_training.checkpoints import load_checkpoint, load_optimiser, optimiser_tensors, save_checkpoint
from bodystream_training.pose.batches import Augmentation, Batch, batches, collate
from bodystream_training.pose.data import Examples
from bodystream_training.pose.losses import (
    LossWeights,
    Normalisation,
    joint_positions,
    position_loss,
    predictor_losses,
)
from bodystream_training.pose.model import Flag, FlagConfig, LatentPredictor, PoseFlow
from bodystream_training.pose.regressor import Regressor

__all__ = ["Stage", "TrainConfig", "Trainer", "load_model", "load_networks", "mean_joint_error_cm"]

Stage = Literal["flow", "predictor", "joint", "regressor"]

_TORSO = tuple(JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3"))
_ARMS = tuple(
    j for j, name in enumerate(JOINTS) if name == "neck" or name.split("_")[-1] in ("collar", "shoulder", "elbow")
)

_JOINT_NLL = 0.1
"""Weight of the flow's likelihood where it is trained jointly with the predictor."""
_JOINT_WEIGHTS = LossWeights(nll=0.25, region_rec=1.0, position=2.0)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one stage; the defaults are the supplement's.

    Attributes:
        epochs: passes over as many examples as there are frames without augmentation.
        batch: examples per step.
        learning_rate: of Adam; rises over the first steps and falls along a cosine.
        intermediate_supervision: of the flow.
        curriculum: fractions of the training after which torso, and then neck and arms, are masked too.
        temperature: of the Gumbel-softmax, first and last.
        average: decay of the moving average of the weights, which is what is evaluated and exported.
        seed: of everything random.
        save_minutes: how often a checkpoint is written.
    """

    epochs: int = 100
    batch: int = 1024
    learning_rate: float = 1e-4
    intermediate_supervision: bool = True
    curriculum: tuple[float, float] = (0.05, 0.1)
    temperature: tuple[float, float] = (1.0, 0.5)
    average: float = 0.999
    seed: int = 0
    save_minutes: float = 3.0


class Trainer:
    """Trains one stage into `folder/<name>.safetensors`, resuming what is there.

    Args:
        folder: of the run; the predictor finds the flow's checkpoint in it.
        name: of the checkpoint, usually the stage.
        examples, validation: training examples, and those of other people.
        data: digest of the choice of examples; a checkpoint that was begun with others is not resumed.
    """

    def __init__(
        self,
        folder: Path,
        stage: Stage,
        config: TrainConfig,
        features: FeatureConfig,
        examples: Examples,
        validation: Examples,
        name: str = "",
        flow_name: str = "flow",
        data: str = "",
    ) -> None:
        if stage not in get_args(Stage):
            raise ConfigurationError(f"a stage is one of {', '.join(get_args(Stage))}, got {stage!r}")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.stage, self.config = folder, stage, config
        self.path = folder / f"{name or stage}.safetensors"
        self.features, self.examples, self.validation, self.data = features, examples, validation, data
        self.sizes = FlagConfig(token_size=features.token_size)
        self.generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)
        self.normalise = Normalisation(self.sizes.pose_size, self.sizes.condition_size)
        self.flow: PoseFlow | None = None
        if stage == "predictor":
            path = folder / f"{flow_name}.safetensors"
            if not path.is_file():
                raise InputError(f"the latent predictor needs a trained flow, and {path} is not there: train it first")
            flow, self.normalise, _ = load_model(path)
            assert isinstance(flow, PoseFlow)
            self.flow = flow.requires_grad_(False)
        elif stage != "joint":
            self._measure()
        self.model = _make(stage, self.sizes)
        if isinstance(self.model, Flag):
            self._begin_joint(self.model, flow_name)
        self.average = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, fused=True)
        self.step, self.seconds = 0, 0.0
        self.steps = max(1, config.epochs * examples.base // config.batch)
        if self.path.is_file():
            self._resume()

    def _begin_joint(self, model: Flag, flow_name: str) -> None:
        for part, name in ((model.flow, flow_name), (model.predictor, "predictor")):
            path = self.folder / f"{name}.safetensors"
            if not path.is_file():
                raise InputError(f"training jointly goes on from a trained {name}, and {path} is not there")
            trained, self.normalise, _ = load_model(path)
            part.load_state_dict(trained.state_dict())

    def _measure(self) -> None:
        index = torch.randint(len(self.examples), (min(len(self.examples), 50_000),), generator=self.generator)
        batch = collate(self.examples, index, self.generator)
        self.normalise.fit(batch.pose, batch.condition)

    def _resume(self) -> None:
        tensors, facts = load_checkpoint(self.path)
        wanted = _facts(self)
        for key in ("stage", "config", "features", "data"):
            if facts.get(key) != wanted[key]:
                raise ConfigurationError(
                    f"{self.path} was begun with other settings ({key}: {facts.get(key)}, now {wanted[key]}): "
                    "give the same ones to resume it, or another --out"
                )
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model/")})
        self.average = {k[8:]: v for k, v in tensors.items() if k.startswith("average/")}
        self.normalise.load_state_dict({k[10:]: v for k, v in tensors.items() if k.startswith("normalise/")})
        load_optimiser(self.optimiser, self.model, tensors)
        self.generator.set_state(tensors["generator"])
        torch.set_rng_state(tensors["torch_generator"])
        self.step, self.seconds = facts["step"], facts["seconds"]

    def save(self) -> None:
        """Write the checkpoint."""
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average/{k}": v for k, v in self.average.items()}
        tensors |= {f"normalise/{k}": v for k, v in self.normalise.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser, self.model)
        tensors |= {"generator": self.generator.get_state(), "torch_generator": torch.get_rng_state()}
        save_checkpoint(self.path, tensors, _facts(self))

    def run(self, on_step: Callable[[int, int, dict[str, float]], None] | None = None) -> bool:
        """Train to the end; true when it was reached, false when an interrupt stopped it (what was done is saved).

        Progress goes to `folder/<name>.jsonl`, one line per 100 steps, with the error on other people.
        """
        saved = began = time.monotonic()
        before = self.seconds
        stream = batches(self.examples, self.config.batch, self.generator, Augmentation())
        with _interrupt() as stopped:
            while self.step < self.steps and not stopped:
                terms = self._step(next(stream))
                self.step += 1
                now = time.monotonic()
                self.seconds = before + now - began
                if not math.isfinite(terms["total"]):
                    raise InputError(
                        f"the training of {self.path} diverged at step {self.step} (loss {terms['total']}): "
                        "lower --learning-rate; the last checkpoint is kept"
                    )
                if self.step % 100 == 0 or self.step == self.steps:
                    self._log(terms)
                if on_step is not None:
                    on_step(self.step, self.steps, terms)
                if now - saved > 60 * self.config.save_minutes:
                    self.save()
                    saved = now
        self.save()
        return self.step >= self.steps

    def last_error_cm(self) -> float | None:
        """Mean joint error on the validation subjects that the log's last line with one says; None without any."""
        log = self.path.with_suffix(".jsonl")
        if not log.is_file():
            return None
        for line in reversed(log.read_text(encoding="utf-8").splitlines()):
            entry = json.loads(line)
            if "mpjpe_cm" in entry:
                return entry["mpjpe_cm"]
        return None

    def _step(self, batch: Batch) -> dict[str, float]:
        progress = self.step / self.steps
        warm = min(1.0, (self.step + 1) / min(200, 1 + self.steps // 10))
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
        # fused attention is slower than plain products for sequences as short as these
        with sdpa_kernel(SDPBackend.MATH):
            with torch.autocast("cpu", torch.bfloat16):
                terms = self._terms(batch, progress)
            self.optimiser.zero_grad()
            terms["total"].backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 100.0)
        self.optimiser.step()
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                self.average[name].lerp_(tensor, 1.0 - decay)
        return {name: float(term.detach()) for name, term in terms.items()}

    def _terms(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        pose, condition = self.normalise.pose(batch.pose), self.normalise.condition(batch.condition)
        if isinstance(self.model, PoseFlow):
            final, total, _ = self.model.nll(pose, condition, self.config.intermediate_supervision)
            return {"total": total.mean(), "nll": final.mean()}
        if isinstance(self.model, Regressor):
            guess = self.model(condition)
            rec = ((guess - pose) ** 2).sum(-1).mean()
            position = position_loss(self.normalise.vectors(guess), batch.states, batch.offsets).mean()
            return {"total": rec + position, "rec": rec, "position": position}
        if isinstance(self.model, Flag):
            return self._joint_terms(self.model, batch, pose, condition)
        flow, predictor, shown = self.flow, self.model, _shown(progress, self.config.curriculum)
        assert flow is not None and isinstance(predictor, LatentPredictor)
        hidden = tuple(j for j in range(len(JOINTS)) if j not in shown and j not in DEVICES)
        first, last = self.config.temperature
        prediction = predictor(condition, batch.tracked, batch.states, shown, first + (last - first) * progress)
        return predictor_losses(
            prediction, flow, self.normalise, pose, condition, batch.states, batch.offsets, batch.contacts,
            hidden, LossWeights(),
        )  # fmt: skip

    def _joint_terms(self, model: Flag, batch: Batch, pose: Tensor, condition: Tensor) -> dict[str, Tensor]:
        # The flow goes on being a density of poses while its centre learns where the pose of an observation lies.
        density, _, code = model.flow.nll(pose, condition)
        hidden = tuple(j for j in range(len(JOINTS)) if j not in DEVICES)
        terms = predictor_losses(
            model.predictor(condition, batch.tracked), model.flow, self.normalise, pose, condition, batch.states,
            batch.offsets, batch.contacts, hidden, _JOINT_WEIGHTS, code.detach(),
        )  # fmt: skip
        return terms | {"flow_nll": density.mean(), "total": terms["total"] + _JOINT_NLL * density.mean()}

    def _log(self, terms: dict[str, float]) -> None:
        model = _make(self.stage, self.sizes)
        model.load_state_dict(self.average)
        model.eval()
        entry: dict[str, Any] = {"step": self.step, "of": self.steps, "seconds": round(self.seconds, 1)}
        entry |= {name: round(value, 4) for name, value in terms.items()}
        if self.step % 500 == 0 or self.step == self.steps:
            count = min(len(self.validation), 4096)
            index = torch.linspace(0, len(self.validation) - 1, count).long()
            errors = mean_joint_error_cm(model, self.normalise, self.validation, index, self.flow)
            entry |= {name: round(value, 3) for name, value in errors.items()}
        with self.path.with_suffix(".jsonl").open("a") as log:
            log.write(json.dumps(entry) + "\n")


def _make(stage: Stage, sizes: FlagConfig) -> nn.Module:
    if stage == "flow":
        return PoseFlow(sizes)
    if stage == "predictor":
        return LatentPredictor(sizes, DEVICES)
    return Flag(sizes, DEVICES) if stage == "joint" else Regressor(sizes)


def _shown(progress: float, curriculum: tuple[float, float]) -> tuple[int, ...]:
    """Curriculum masking along the kinematic tree: first the lower body, then the torso, then neck and arms."""
    if progress < curriculum[0]:
        return (*_TORSO, *_ARMS)
    return _ARMS if progress < curriculum[1] else ()


def _facts(trainer: Trainer) -> dict[str, Any]:
    return {
        "stage": trainer.stage,
        "config": json.loads(json.dumps(asdict(trainer.config))),
        "features": {"history_s": list(trainer.features.history_s)},
        "step": trainer.step,
        "steps": trainer.steps,
        "seconds": round(trainer.seconds, 1),
        "data": trainer.data,
        "examples": len(trainer.examples),
        "frames": trainer.examples.base,
    }


def load_model(path: Path) -> tuple[nn.Module, Normalisation, dict[str, Any]]:
    """The averaged model of a checkpoint, its normalisation, and the facts of its training.

    Raises:
        InputError: the file is not such a checkpoint.
    """
    tensors, facts = load_checkpoint(path)
    features = FeatureConfig(tuple(facts["features"]["history_s"]))
    sizes = FlagConfig(token_size=features.token_size)
    model = _make(facts["stage"], sizes)
    normalise = Normalisation(sizes.pose_size, sizes.condition_size)
    try:
        model.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("average/")})
        normalise.load_state_dict({k[10:]: v for k, v in tensors.items() if k.startswith("normalise/")})
    except RuntimeError as error:
        raise InputError(f"{path} is of another architecture than this version's: {error}") from error
    return model.eval(), normalise, facts


def load_networks(folder: Path) -> tuple[PoseFlow, LatentPredictor, Normalisation, dict[str, Any]]:
    """Flow and predictor of a run, from its joint training where there was one; and the facts of the last training.

    Raises:
        InputError: the run has no trained flow and predictor, or they do not belong together.
    """
    joint = folder / "joint.safetensors"
    if joint.is_file():
        model, normalise, facts = load_model(joint)
        if isinstance(model, Flag):
            return model.flow.eval(), model.predictor.eval(), normalise, facts
        raise InputError(f"{joint} holds no flow and predictor")
    flow, normalise, _ = load_model(folder / "flow.safetensors")
    predictor, its, facts = load_model(folder / "predictor.safetensors")
    if not isinstance(flow, PoseFlow) or not isinstance(predictor, LatentPredictor):
        raise InputError(f"{folder} holds no flow and predictor: train them with bodystream-train pose")
    for name, value in normalise.state_dict().items():
        if not torch.equal(value, its.state_dict()[name]):
            raise InputError(f"the predictor of {folder} was trained on another flow than the one beside it")
    return flow, predictor, normalise, facts


@torch.no_grad()
def mean_joint_error_cm(
    model: nn.Module, normalise: Normalisation, examples: Examples, index: Tensor, flow: PoseFlow | None
) -> dict[str, float]:
    """Mean error [cm] of joints relative to the head in single frames, all and upper, and the flow's likelihood."""
    batch = collate(examples, index, torch.Generator())
    condition = normalise.condition(batch.condition)
    out: dict[str, float] = {}
    if isinstance(model, PoseFlow):
        out["validation_nll"] = float(model.nll(normalise.pose(batch.pose), condition)[0].mean())
        guess, _ = model.to_pose(torch.zeros_like(batch.pose), condition)
    elif isinstance(model, Flag):
        guess, _ = model.flow.to_pose(model.predictor(condition, batch.tracked).mu, condition)
        out["validation_nll"] = float(model.flow.nll(normalise.pose(batch.pose), condition)[0].mean())
    elif isinstance(model, LatentPredictor):
        assert flow is not None
        guess, _ = flow.to_pose(model(condition, batch.tracked).mu, condition)
    else:
        guess = model(condition)
    joints = joint_positions(normalise.vectors(guess), batch.offsets)
    truth = batch.states[:, :, :3] - batch.states[:, 15:16, :3]
    stature = examples.stature_m[examples.person[index].long()]
    error = 100.0 * torch.linalg.norm(joints - truth, dim=-1) * stature[:, None]
    upper = [j for j in range(len(JOINTS)) if j not in LOWER_BODY]
    return out | {"mpjpe_cm": float(error.mean()), "mpjpe_upper_cm": float(error[:, upper].mean())}


@contextmanager
def _interrupt() -> Iterator[list[int]]:
    """A list that is filled by the first Ctrl-C, SIGTERM or SIGHUP; the second one quits."""
    seen: list[int] = []

    def note(number: int, _frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    # A closed terminal ends a training as Ctrl-C does.
    wanted = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    before = {number: signal.signal(number, note) for number in wanted}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
