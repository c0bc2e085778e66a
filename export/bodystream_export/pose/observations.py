"""Observations of people that a pose sampler was not trained on, to compare its graph with PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bodystream.errors import InputError
from bodystream.pose.features import FeatureConfig
from bodystream.sources.motion import HingedTakes, find_takes
from bodystream.types import Array
from bodystream_export.parity import evenly
from bodystream_training.checkpoints import load_checkpoint
from bodystream_training.pose.data import build_examples
from bodystream_training.pose.splits import split_of

__all__ = ["unseen_observations"]

_MOST = 300


def unseen_observations(
    run: Path, data: str | None, history: tuple[float, ...], facts: Mapping[str, Any]
) -> tuple[Array, Array]:
    """(N, 3, token) observations and (N, 10) proportions of validation and test subjects, N at most 300.

    Args:
        run: folder of the training run.
        data: motion files; None takes the examples of the validation subjects that the training left beside the run.
        history, facts: as of the training.

    Raises:
        InputError: there is nobody, or the examples were not kept.
    """
    if data is not None:
        splits = facts["splits"]
        takes = [take for take in find_takes(data) if split_of(take.subject, splits) not in ("train", "none")]
        if not takes:
            kept = ", ".join(name for split in splits.values() for name in split)
            raise InputError(f"{data} has no take of a validation or test subject (of this run: {kept})")
        made = build_examples(map(HingedTakes(takes).load, takes), FeatureConfig(history), variants=1)
        observation, person, beta = made.observation, made.person, made.beta
    else:
        path = run.parent / "examples" / f"{facts.get('data')}-validation.safetensors"
        if not path.is_file():
            raise InputError(f"the examples of {run} were not kept ({path} is not there): give --data")
        tensors, _ = load_checkpoint(path)
        observation, person, beta = tensors["observation"], tensors["person"], tensors["beta"]
    chosen = torch.from_numpy(evenly(len(observation), _MOST))
    return observation[chosen].float().numpy(), beta[person[chosen].long()].numpy()
