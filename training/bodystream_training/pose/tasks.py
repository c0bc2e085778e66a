"""What the four networks of the pose sampler bring to the training loop: each its losses and what it is judged by."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bodystream.errors import InputError
from bodystream.geometry.skeleton import HEAD, JOINT_INDEX, JOINTS, LOWER_BODY
from bodystream.pose.features import DEVICES, FeatureConfig
from bodystream_training.loop import LoopConfig
from bodystream_training.pose.batches import Augmentation, Batch, collate
from bodystream_training.pose.data import Examples
from bodystream_training.pose.losses import LossWeights, joint_positions, position_loss, predictor_losses
from bodystream_training.pose.model import Flag, FlagConfig, LatentPredictor, Normalisation, PoseFlow
from bodystream_training.pose.networks import Stage, load_model, make_network
from bodystream_training.pose.regressor import Regressor
from bodystream_training.task import Task

__all__ = ["PoseData", "PoseTask", "TrainConfig", "make_task"]

_TORSO = tuple(JOINT_INDEX[name] for name in ("spine1", "spine2", "spine3"))
_ARMS = tuple(
    j for j, name in enumerate(JOINTS) if name == "neck" or name.split("_")[-1] in ("collar", "shoulder", "elbow")
)
_UPPER_BODY = [j for j in range(len(JOINTS)) if j not in LOWER_BODY]

_JOINT_NLL = 0.1
"""Weight of the flow's likelihood where it is trained jointly with the predictor."""
_JOINT_WEIGHTS = LossWeights(nll=0.25, region_rec=1.0, position=2.0)

_MEASURED, _VALIDATED = 50_000, 4096
"""Examples that the normalisation is measured on, and that the log's error is of."""


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """Settings of one stage; the defaults are the supplement's.

    Attributes:
        intermediate_supervision: of the flow.
        curriculum: fractions of the training after which torso, and then neck and arms, are masked too.
        temperature: of the Gumbel-softmax, first and last.
    """

    intermediate_supervision: bool = True
    curriculum: tuple[float, float] = (0.05, 0.1)
    temperature: tuple[float, float] = (1.0, 0.5)


@dataclass(frozen=True)
class PoseData:
    """What all stages of a run are trained on.

    Attributes:
        features: how the networks see an observation.
        sizes: of the networks.
        examples, validation: training examples, and those of other people.
        digest: of the choice of examples; a checkpoint that was begun with others is not resumed.
    """

    features: FeatureConfig
    sizes: FlagConfig
    examples: Examples
    validation: Examples
    digest: str = ""


class PoseTask(Task):
    """What the stages have in common; a stage adds `losses` and `guess`."""

    def __init__(
        self, stage: Stage, model: nn.Module, normalise: Normalisation, config: TrainConfig, data: PoseData
    ) -> None:
        super().__init__(model)
        self.stage: Stage = stage
        self.config, self.data = config, data
        self.normalise = normalise

    @abstractmethod
    def losses(self, batch: Batch, pose: Tensor, condition: Tensor, progress: float) -> dict[str, Tensor]:
        """The terms, of normalised poses (B, 66) and conditions (B, C)."""

    @abstractmethod
    def guess(self, model: nn.Module, batch: Batch, condition: Tensor) -> Tensor:
        """(B, 66) the normalised poses that `model`, one like `self.model`, gives for normalised conditions."""

    def likelihood(self, model: nn.Module, pose: Tensor, condition: Tensor) -> Tensor | None:
        """(B,) negative log likelihoods of normalised poses, where the network has any."""
        return None

    def terms(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        # fused attention is slower than plain products for sequences as short as these
        with sdpa_kernel(SDPBackend.MATH):
            pose, condition = self.normalise.pose(batch.pose), self.normalise.condition(batch.condition)
            return self.losses(batch, pose, condition, progress)

    def count(self) -> int:
        return len(self.data.examples)

    def epoch(self) -> int:
        return self.data.examples.base

    def batch(self, index: Tensor, generator: torch.Generator) -> Batch:
        return collate(self.data.examples, index, generator, Augmentation())

    def fresh(self) -> nn.Module:
        # Not a copy: its first weights are drawn from the generator on which the dropout of later steps depends.
        return make_network(self.stage, self.data.sizes)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean error [cm] of joints relative to the head in single frames, all and upper, and the flow's likelihood."""
        examples, device = self.data.validation, self.normalise.pose_mean.device
        index = torch.linspace(0, len(examples) - 1, min(len(examples), _VALIDATED)).long()
        batch = collate(examples, index, torch.Generator()).to(device)
        condition = self.normalise.condition(batch.condition)
        likelihood = self.likelihood(model, self.normalise.pose(batch.pose), condition)
        joints = joint_positions(self.normalise.vectors(self.guess(model, batch, condition)), batch.offsets)
        truth = batch.states[:, :, :3] - batch.states[:, HEAD : HEAD + 1, :3]
        stature_m = examples.stature_m[examples.person[index].long()].to(device)
        error_cm = 100.0 * torch.linalg.norm(joints - truth, dim=-1) * stature_m[:, None]
        found = {} if likelihood is None else {"validation_nll": float(likelihood.mean())}
        return found | {"mpjpe_cm": float(error_cm.mean()), "mpjpe_upper_cm": float(error_cm[:, _UPPER_BODY].mean())}

    def constants(self) -> dict[str, nn.Module]:
        return {"normalise": self.normalise}

    def settings(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "features": {"history_s": list(self.data.features.history_s)},
            "data": self.data.digest,
            "sizes": asdict(self.data.sizes),
        }

    def facts(self) -> dict[str, Any]:
        return {"examples": len(self.data.examples), "frames": self.data.examples.base}


class FlowTask(PoseTask):
    """The density of poses."""

    model: PoseFlow

    def losses(self, batch: Batch, pose: Tensor, condition: Tensor, progress: float) -> dict[str, Tensor]:
        final, total, _ = self.model.nll(pose, condition, self.config.intermediate_supervision)
        return {"total": total.mean(), "nll": final.mean()}

    def guess(self, model: PoseFlow, batch: Batch, condition: Tensor) -> Tensor:
        return model.to_pose(torch.zeros_like(batch.pose), condition)[0]

    def likelihood(self, model: PoseFlow, pose: Tensor, condition: Tensor) -> Tensor:
        return model.nll(pose, condition)[0]


class PredictorTask(PoseTask):
    """Where in the latent space of a flow, which stays as it is, the pose of an observation lies."""

    model: LatentPredictor

    def __init__(self, model: nn.Module, flow: PoseFlow, normalise: Normalisation, config: TrainConfig, data: PoseData):
        super().__init__("predictor", model, normalise, config, data)
        self.flow = flow.requires_grad_(False)

    def losses(self, batch: Batch, pose: Tensor, condition: Tensor, progress: float) -> dict[str, Tensor]:
        shown = _shown(progress, self.config.curriculum)
        first, last = self.config.temperature
        prediction = self.model(condition, batch.tracked, batch.states, shown, first + (last - first) * progress)
        return predictor_losses(
            prediction, self.flow, self.normalise, pose, condition, batch.states, batch.offsets, batch.contacts,
            _hidden(shown), LossWeights(),
        )  # fmt: skip

    def guess(self, model: LatentPredictor, batch: Batch, condition: Tensor) -> Tensor:
        return self.flow.to_pose(model(condition, batch.tracked).mu, condition)[0]


class JointTask(PoseTask):
    """Flow and predictor together, after each was trained by itself."""

    model: Flag

    def __init__(self, model: Flag, normalise: Normalisation, config: TrainConfig, data: PoseData):
        super().__init__("joint", model, normalise, config, data)
        model.predictor.pose_from_latent.requires_grad_(False)  # the auxiliary reconstruction has ended

    def losses(self, batch: Batch, pose: Tensor, condition: Tensor, progress: float) -> dict[str, Tensor]:
        # The flow goes on being a density of poses while its centre learns where the pose of an observation lies.
        density, _, code = self.model.flow.nll(pose, condition)
        terms = predictor_losses(
            self.model.predictor(condition, batch.tracked), self.model.flow, self.normalise, pose, condition,
            batch.states, batch.offsets, batch.contacts, _hidden(()), _JOINT_WEIGHTS, code.detach(),
        )  # fmt: skip
        return terms | {"flow_nll": density.mean(), "total": terms["total"] + _JOINT_NLL * density.mean()}

    def guess(self, model: Flag, batch: Batch, condition: Tensor) -> Tensor:
        return model.flow.to_pose(model.predictor(condition, batch.tracked).mu, condition)[0]

    def likelihood(self, model: Flag, pose: Tensor, condition: Tensor) -> Tensor:
        return model.flow.nll(pose, condition)[0]


class RegressorTask(PoseTask):
    """The baseline: straight from an observation to a pose."""

    model: Regressor

    def losses(self, batch: Batch, pose: Tensor, condition: Tensor, progress: float) -> dict[str, Tensor]:
        guess = self.model(condition)
        rec = ((guess - pose) ** 2).sum(-1).mean()
        position = position_loss(self.normalise.vectors(guess), batch.states, batch.offsets).mean()
        return {"total": rec + position, "rec": rec, "position": position}

    def guess(self, model: Regressor, batch: Batch, condition: Tensor) -> Tensor:
        return model(condition)


def make_task(
    stage: Stage, folder: Path, flow_name: str, config: TrainConfig, data: PoseData, generator: torch.Generator
) -> PoseTask:
    """The stage's network, new, and with the others that it goes on from.

    Args:
        folder: of the run; the predictor and the joint training find in it what was trained before.
        flow_name: the name of the flow's checkpoint.

    Raises:
        InputError: what is needed was not trained yet.
    """
    if stage in ("flow", "regressor"):
        normalise = _measured(data, generator)
        task = FlowTask if stage == "flow" else RegressorTask
        return task(stage, make_network(stage, data.sizes), normalise, config, data)
    if stage == "predictor":
        flow, normalise = _trained(folder / f"{flow_name}.safetensors", PoseFlow, "the latent predictor needs")
        return PredictorTask(make_network(stage, data.sizes), flow, normalise, config, data)
    model = Flag(data.sizes, DEVICES)
    begun = "training jointly goes on from"
    flow, _ = _trained(folder / f"{flow_name}.safetensors", PoseFlow, begun)
    predictor, normalise = _trained(folder / "predictor.safetensors", LatentPredictor, begun)
    model.flow.load_state_dict(flow.state_dict())
    model.predictor.load_state_dict(predictor.state_dict())
    return JointTask(model, normalise, config, data)


def _measured(data: PoseData, generator: torch.Generator) -> Normalisation:
    normalise = Normalisation(data.sizes.pose_size, data.sizes.condition_size)
    count = len(data.examples)
    index = torch.randint(count, (min(count, _MEASURED),), generator=generator)
    batch = collate(data.examples, index, generator)
    normalise.fit(batch.pose, batch.condition)
    return normalise


def _trained(path: Path, kind: type[nn.Module], who: str) -> tuple[Any, Normalisation]:
    if not path.is_file():
        raise InputError(f"{who} a trained {path.stem}, and {path} is not there: train it first")
    model, normalise, _ = load_model(path)
    if not isinstance(model, kind):
        raise InputError(f"{who} a trained {path.stem}, and {path} holds another network: train it first")
    return model, normalise


def _hidden(shown: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(j for j in range(len(JOINTS)) if j not in shown and j not in DEVICES)


def _shown(progress: float, curriculum: tuple[float, float]) -> tuple[int, ...]:
    """Curriculum masking along the kinematic tree: first the lower body, then the torso, then neck and arms."""
    if progress < curriculum[0]:
        return (*_TORSO, *_ARMS)
    return _ARMS if progress < curriculum[1] else ()
