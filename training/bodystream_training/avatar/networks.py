"""The networks of an avatar that can be trained, by name, and how they are found again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bodystream.errors import ConfigurationError, InputError
from bodystream_training.avatar.model import Ins, InsConfig
from bodystream_training.checkpoints import load_checkpoint

__all__ = ["NETWORKS", "load_network", "network_config", "trained"]

NETWORKS: dict[str, dict[str, bool]] = {
    "ins": {},
    "without-product": {"multiply": False},
    "without-sines": {"siren": False},
    "without-rotation": {"rotate": False},
    "without-deformed-pin": {"deformed_pin": False},
    "without-canonical-pin": {"canonical_pin": False},
    "without-skinning": {"skinning": False},
    "snarf": {"deformed_pin": False, "canonical_pin": False, "posed_occupancy": True},
    "snarf-nc": {"deformed_pin": False, "canonical_pin": False},
}
"""The paper's network, the rows of its table 3 in their order, and forward skinning alone as SNARF has it, with the
canonical shape depending on the pose and not."""


def network_config(name: str, omega: float = InsConfig.omega) -> InsConfig:
    """Sizes and switches of a network; `omega` of its sines, see `InsConfig`.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in NETWORKS:
        raise ConfigurationError(f"there is no network {name!r}: choose {', '.join(NETWORKS)}")
    return replace(InsConfig(omega=omega), **NETWORKS[name])


def load_network(path: Path) -> tuple[Ins, dict[str, object]]:
    """The averaged network of a checkpoint, in evaluation mode, and what the checkpoint says.

    Raises:
        InputError: it is none, or of another network.
    """
    tensors, facts = load_checkpoint(path)
    network = facts.get("network")
    if not isinstance(network, dict):
        raise InputError(f"{path} is a checkpoint of another kind than an avatar's: name one that `avatar` trained")
    try:
        model = Ins(InsConfig(**network))
        average = {name.removeprefix("average/"): t for name, t in tensors.items() if name.startswith("average/")}
        model.load_state_dict(average)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is of another version of the network ({error}): train it again") from error
    return model.eval(), facts


def trained(folder: Path) -> Sequence[str]:
    """The names of the networks that a run's folder holds, in the order of `NETWORKS`.

    Raises:
        InputError: it holds none.
    """
    found = [name for name in NETWORKS if (folder / f"{name}.safetensors").is_file()]
    if not found:
        raise InputError(f"{folder} holds no trained avatar: train one with bodystream-train avatar --out {folder}")
    return found
