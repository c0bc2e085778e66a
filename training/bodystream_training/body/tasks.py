"""What the embedding's networks bring to the training loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bodystream.errors import ConfigurationError, InputError
from bodystream_training.body.data.features import BodyFeatures
from bodystream_training.body.losses import body_terms, vae_terms
from bodystream_training.body.model import BodyNetwork, BodyNetworkConfig, MeshVae
from bodystream_training.checkpoints import load_checkpoint
from bodystream_training.task import Task

__all__ = ["NETWORKS", "BodyTask", "HalfPosedTask", "first_network", "load_network", "made", "trained"]

NETWORKS: dict[str, dict[str, bool]] = {
    "dhnn": {},
    "baseline": {"base_path": False},
    "meshvae": {"base_path": False, "disentangled": False},
}
"""The paper's network, and what it is compared with (table 2)."""
_VALIDATED = 8


def made(config: BodyNetworkConfig) -> BodyNetwork | MeshVae:
    """The network of a configuration."""
    return BodyNetwork(config) if config.disentangled else MeshVae(config)


def first_network(name: str, features: BodyFeatures, sizes: dict[str, int] | None = None) -> BodyNetwork | MeshVae:
    """A network before its training, with the scales of the features.

    Args:
        name: one of `NETWORKS`. sizes: as of `BodyTask`.

    Raises:
        ConfigurationError: there is no network of that name.
    """
    if name not in NETWORKS:
        raise ConfigurationError(f"there is no network {name!r}: choose {', '.join(NETWORKS)}")
    config = BodyNetworkConfig(features.space.count, features.parts.count)
    model = made(replace(config, **(sizes or {}), **NETWORKS[name]))
    for scale, found in ((model.scale, features.scale), (model.coarse_scale, features.coarse_scale)):
        scale.low.copy_(torch.from_numpy(found.low))
        scale.high.copy_(torch.from_numpy(found.high))
    if isinstance(model, BodyNetwork) and model.skinning is not None:
        model.skinning.nearby.copy_(torch.from_numpy(features.nearby))
        own = torch.nn.functional.one_hot(torch.from_numpy(features.parts.labels), features.parts.count)
        model.skinning.logits.data.copy_(2.0 * own)  # more of its own part than of its neighbours
    return model


class HalfPosedTask(Task):
    """Has batches of which half the bodies are neutral.

    Args:
        model: the network. features: of the bodies.
    """

    max_gradient_norm = 1e6  # the losses' weights are in the thousands

    def __init__(self, model: nn.Module, features: BodyFeatures) -> None:
        super().__init__(model)
        self.features = features

    def count(self) -> int:
        return 2 * max(len(self.features.train_neutral), len(self.features.train_posed))

    def epoch(self) -> int:
        return len(self.features.train_neutral) + len(self.features.train_posed)

    def halves(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Neutral and posed items of the examples (B,)."""
        half = (len(index) + 1) // 2
        parts = (self.features.train_neutral, index[:half]), (self.features.train_posed, index[half:])
        neutral, posed = (
            torch.from_numpy(numbers)[chosen % len(numbers)] if len(numbers) else chosen[:0]
            for numbers, chosen in parts
        )
        return neutral, posed


class BodyTask(HalfPosedTask):
    """Trains a network on the features of a set of bodies.

    Args:
        name: one of `NETWORKS`.
        features: of the bodies.
        sizes: of the network; vertices and parts are the features'.
        begin: sets what the network begins at, where that is not by chance.

    Raises:
        ConfigurationError: there is no network of that name.
    """

    def __init__(
        self,
        name: str,
        features: BodyFeatures,
        sizes: dict[str, int] | None = None,
        begin: Callable[[BodyNetwork | MeshVae], None] = lambda _: None,
    ) -> None:
        model = first_network(name, features, sizes)
        super().__init__(model, features)
        begin(model)
        self.config = model.config

    def batch(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Half of it neutral, half posed and, where there is a rank and limbs are known, mixed: f, g, f_s, g_s."""
        features = self.features
        neutral, posed = self.halves(index)
        rows = [features[n] for n in neutral.tolist()]
        if self.config.rank and features.mixer is not None and len(posed):
            mix = features.mixer.drawn(posed, generator)
            rows += [features.mixed(mix, row) for row in range(len(posed))]
        else:
            rows += [features[n] for n in posed.tolist()]
        return _stacked(rows)

    def terms(self, batch: tuple[Tensor, ...], progress: float) -> dict[str, Tensor]:
        f, g, f_s, g_s = batch
        if isinstance(self.model, MeshVae):
            return vae_terms(self.model, f, progress)
        assert isinstance(self.model, BodyNetwork)
        return body_terms(self.model, f, g, f_s, g_s, progress)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean vertex distance [mm] of a few test meshes, through the encoder without any fitting."""
        assert isinstance(model, (BodyNetwork, MeshVae))
        space, device = self.features.space, next(model.parameters()).device
        out = {}
        for name, numbers in (("neutral", self.features.test_neutral), ("pose", self.features.test_posed)):
            if not len(numbers):
                continue
            chosen = numbers[np.linspace(0, len(numbers) - 1, min(len(numbers), _VALIDATED)).round().astype(int)]
            f = torch.stack([self.features.fine(n) for n in chosen.tolist()]).to(device)
            found = model.scale.unscaled(model.decode_code(model.mean_code(f)).float()).cpu().numpy()
            off = [space.vertices(x) - self.features.vertices(int(n)) for x, n in zip(found, chosen, strict=True)]
            out[f"encoded_{name}_mm"] = 1e3 * float(np.mean([np.linalg.norm(o, axis=1).mean() for o in off]))
        return out

    def settings(self) -> dict[str, Any]:
        return {"network": asdict(self.config)}


def _stacked(rows: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def load_network(path: Path) -> tuple[BodyNetwork | MeshVae, dict[str, Any]]:
    """The averaged network of a checkpoint, in evaluation mode, and what the checkpoint says.

    Raises:
        InputError: it is none, or of another network.
    """
    tensors, facts = load_checkpoint(path)
    try:
        model = made(BodyNetworkConfig(**json.loads(json.dumps(facts["network"]))))
        model.load_state_dict({n.removeprefix("average/"): t for n, t in tensors.items() if n.startswith("average/")})
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is of another network than a body's ({error}): train it again") from error
    return model.eval(), facts


def trained(folder: Path) -> list[str]:
    """Names of the networks that a run's folder holds, in the order of `NETWORKS`.

    Raises:
        InputError: it holds none.
    """
    found = [name for name in NETWORKS if (folder / f"{name}.safetensors").is_file()]
    if not found:
        raise InputError(f"{folder} holds no trained body: train one with bodystream-train body --out {folder}")
    return found
