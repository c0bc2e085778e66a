"""Checkpoints that hold tensors and plain JSON only: no pickle is ever written or loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bodystream.errors import InputError
from bodystream.files import atomic_path

__all__ = ["load_checkpoint", "load_optimiser", "optimiser_tensors", "save_checkpoint"]


def save_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and facts to one file; a crash or a full disk leaves the last whole one.

    Raises:
        InputError: it cannot be written.
    """
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as waiting:
        save_file(whole, waiting, metadata={"facts": json.dumps(facts)})


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_checkpoint` wrote.

    Raises:
        InputError: the file is absent, damaged or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata()
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is not a readable checkpoint ({error}): train again, or name another one") from error
    try:
        facts = json.loads((metadata or {})["facts"])
    except (KeyError, ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise InputError(f"{path} holds tensors, but it is no checkpoint of bodystream-train")
    return tensors, facts


def optimiser_tensors(optimiser: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state (of Adam: moments and steps) by parameter name."""
    out: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            out[f"adam/{key}/{name}"] = torch.as_tensor(value)
    return out


def load_optimiser(optimiser: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Undoes `optimiser_tensors`, on the devices where the parameters are.

    Moments get the memory layout of their parameters: a fused step goes through both as they lie.
    """
    parameters_by_name = dict(model.named_parameters())
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("adam/"):
            _, kind, name = key.split("/", 2)
            like = parameters_by_name.get(name)
            if like is not None and like.shape == value.shape:
                value = torch.empty_like(like, dtype=value.dtype, device="cpu").copy_(value)
            by_name.setdefault(name, {})[kind] = value
    names = {parameter: name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state = {number: by_name.get(names[parameter], {}) for number, parameter in enumerate(parameters)}
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": {n: found for n, found in state.items() if found}, "param_groups": groups})
