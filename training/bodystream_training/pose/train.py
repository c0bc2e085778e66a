"""The recipe of the pose sampler: first the flow, then the latent predictor on the frozen flow, then the baseline."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import get_args

from lightning_fabric import Fabric

from bodystream.errors import ConfigurationError
from bodystream.pose.features import FeatureConfig
from bodystream_training.loop import Trainer
from bodystream_training.pose.data import Examples
from bodystream_training.pose.model import FlagConfig
from bodystream_training.pose.networks import Stage
from bodystream_training.pose.tasks import PoseData, TrainConfig, make_task

__all__ = ["TrainConfig", "pose_trainer"]


def pose_trainer(
    folder: Path,
    stage: Stage,
    config: TrainConfig,
    features: FeatureConfig,
    examples: Examples,
    validation: Examples,
    *,
    name: str = "",
    flow_name: str = "flow",
    data: str = "",
    sizes: FlagConfig | None = None,
    fabric: Fabric | None = None,
    tensorboard: bool = False,
) -> Trainer:
    """What trains one stage into `folder/<name>.safetensors`, resuming what is there.

    Args:
        folder: of the run; later stages find the checkpoints of earlier ones in it.
        examples, validation: training examples, and those of other people.
        name: of the checkpoint; default: the stage.
        flow_name: of the flow's checkpoint.
        data: digest of the choice of examples; a checkpoint that was begun with others is not resumed.
        sizes: of the networks; default: the paper's.
        fabric, tensorboard: as of `Trainer`.

    Raises:
        ConfigurationError: no such stage, or the checkpoint was begun with other settings.
        InputError: an earlier stage is missing, or a checkpoint is damaged.
    """
    if stage not in get_args(Stage):
        raise ConfigurationError(f"a stage is one of {', '.join(get_args(Stage))}, got {stage!r}")
    found = PoseData(features, sizes or FlagConfig(token_size=features.token_size), examples, validation, data)
    make = partial(make_task, stage, folder, flow_name, config, found)
    return Trainer(make, folder / f"{name or stage}.safetensors", config, fabric=fabric, tensorboard=tensorboard)
