"""Trained networks, read back from the checkpoints of a run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from bodystream.errors import ConfigurationError, InputError
from bodystream.pose.features import DEVICES, FeatureConfig
from bodystream_training.checkpoints import load_checkpoint
from bodystream_training.pose.model import Flag, FlagConfig, LatentPredictor, Normalisation, PoseFlow
from bodystream_training.pose.regressor import Regressor

__all__ = ["Stage", "chosen_sizes", "load_model", "load_networks", "make_network"]

Stage = Literal["flow", "predictor", "joint", "regressor"]

_CHOSEN = ("couplings", "hidden", "width", "layers", "heads", "feed_forward", "groups", "categories")
_NUMBER = re.compile("[1-9][0-9]{0,5}")


def make_network(stage: Stage, sizes: FlagConfig) -> nn.Module:
    """The untrained network of a stage."""
    if stage == "flow":
        return PoseFlow(sizes)
    if stage == "predictor":
        return LatentPredictor(sizes, DEVICES)
    return Flag(sizes, DEVICES) if stage == "joint" else Regressor(sizes)


def chosen_sizes(words: tuple[str, ...], features: FeatureConfig) -> FlagConfig:
    """The paper's sizes, with those that are given as `key=number` instead.

    Raises:
        ConfigurationError: no such key, no number above 0, or sizes that do not go together.
    """
    chosen: dict[str, int] = {}
    for word in words:
        key, _, number = word.partition("=")
        if key not in _CHOSEN or not _NUMBER.fullmatch(number):
            raise ConfigurationError(f"--sizes: KEY=N with a key of {', '.join(_CHOSEN)}, and N above 0; got {word!r}")
        chosen[key] = int(number)
    sizes = replace(FlagConfig(token_size=features.token_size), **chosen)
    if sizes.width % sizes.heads:
        raise ConfigurationError(
            f"--sizes: the heads of the transformer share its width equally, got width={sizes.width} "
            f"heads={sizes.heads}"
        )
    return sizes


def load_model(path: Path) -> tuple[nn.Module, Normalisation, dict[str, Any]]:
    """The averaged model of a checkpoint, its normalisation, and the facts of its training.

    Raises:
        InputError: the file is not such a checkpoint.
    """
    tensors, facts = load_checkpoint(path)
    try:
        features = FeatureConfig(tuple(facts["features"]["history_s"]))
        # Older checkpoints are of the paper's sizes and do not say so.
        stated = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.get("sizes", {}).items()}
        sizes = replace(FlagConfig(token_size=features.token_size), **stated)
        model = make_network(facts["stage"], sizes)
        normalise = Normalisation(sizes.pose_size, sizes.condition_size)
        model.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("average/")})
        normalise.load_state_dict({k[10:]: v for k, v in tensors.items() if k.startswith("normalise/")})
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
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
