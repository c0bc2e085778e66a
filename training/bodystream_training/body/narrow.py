"""Training of what lies between the wide halves of a network with a rank: bodies are a few hundred numbers each.

A step costs a hundredth of one through all features, and errors are still those of all features: skinned parts and
components are linear in these numbers, so that a product of matrices says how large an error of them is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from bodystream_training.body.components import PER_METRE, BodyNumbers, cached_numbers
from bodystream_training.body.data.features import BodyFeatures
from bodystream_training.body.losses import COARSE, kl, weights_at
from bodystream_training.body.mixing import Mixed
from bodystream_training.body.model import BodyNetwork, Codes, MeshVae
from bodystream_training.body.tasks import HalfPosedTask, first_network
from bodystream_training.checkpoints import save_checkpoint
from bodystream_training.loop import LoopConfig, Trainer

__all__ = [
    "NarrowNetwork", "NarrowTask", "begin_narrow", "narrow_trainer", "network_and_task", "put_into",
    "save_narrow",
]  # fmt: skip

_BATCH, _RATE = 64, 1e-3


class NarrowNetwork(nn.Module):
    """All of a `BodyNetwork` or `MeshVae` but its two wide halves, its skinning and its scales."""

    def __init__(self, model: BodyNetwork | MeshVae) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*list(model.trunk)[1:])
        self.paths = nn.ModuleDict()
        if isinstance(model, MeshVae):
            self.heads = nn.ModuleDict({"code": model.head})
            self.units, self.out = model.units, _narrow_half(model.out)
            return
        self.heads = nn.ModuleDict({"shape": model.shape_head, "pose": model.pose_head})
        self.of_shape, self.of_pose = model.difference.of_shape, model.difference.of_pose
        self.out = _narrow_half(model.difference.out)
        if model.base is not None:
            self.paths["base"] = model.base

    def encode(self, seen: Tensor) -> Codes:
        """Codes of (B, rank)."""
        hidden = self.trunk(seen)
        return Codes(*self.heads["shape"](hidden), *self.heads["pose"](hidden))

    def encode_one(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, 122) of a network with one code."""
        return self.heads["code"](self.trunk(seen))

    def decode(self, e_s: Tensor, e_p: Tensor) -> Tensor:
        """(B, 9P + rank) numbers of codes, [g, left]; without a base path (B, rank)."""
        left = self.out(self.of_shape(e_s) + self.of_pose(e_p))
        if "base" not in self.paths:
            return left
        return torch.cat([self.paths["base"](e_s, e_p).flatten(1), left], dim=1)

    def decode_one(self, code: Tensor) -> Tensor:
        """(B, rank) of a network with one code."""
        return self.out(self.units(code))


def _narrow_half(out: nn.Module) -> nn.Linear:
    first, _ = out.children()
    assert isinstance(first, nn.Linear)
    return first


def put_into(model: BodyNetwork | MeshVae, narrow: dict[str, Tensor]) -> None:
    """Put the tensors of a trained `NarrowNetwork` where they belong."""
    own = NarrowNetwork(model)  # its parts are the model's
    own.load_state_dict(narrow)


class NarrowTask(HalfPosedTask):
    """Trains a network in the numbers of its bodies.

    Losses are those of `body_terms` with root mean squares in place of mean absolutes, of features and, linear about
    the reference, of vertices.

    Args:
        model: that `begin_at_components` has set; it is on the processor.
        numbers: of the bodies. features: the same bodies.
        network: what a checkpoint says of the network.

    Attributes:
        wanted: (N, 9P + rank) what the decoder is to say of each item; without a base path (N, rank).
    """

    def __init__(
        self, model: BodyNetwork | MeshVae, numbers: BodyNumbers, features: BodyFeatures, network: dict[str, Any]
    ) -> None:
        super().__init__(NarrowNetwork(model), features)
        self.numbers, self._network = numbers, network
        self._base = isinstance(model, BodyNetwork) and model.base is not None
        skipped = numbers.seen.shape[1] + (0 if self._base else numbers.coarse[0].numel())
        self.wanted = torch.cat([numbers.coarse.flatten(1), numbers.left], dim=1) if self._base else numbers.left
        self._added_seen, self._added = numbers.added[..., : numbers.seen.shape[1]], numbers.added[..., skipped:]
        for name, matrix in (("of_features", numbers.of_features), ("of_vertices", numbers.of_vertices)):
            self.register_buffer(name, matrix)

    def batch(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """What the encoder sees of `bodies`, what is wanted of them, and of their neutral ones."""
        seen, wanted, person = self.bodies(index, generator)
        return seen, wanted, self.wanted[person]

    def bodies(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Half of them neutral, half posed and, where limbs are known, mixed: what the encoder sees, what is wanted,
        and the items of their neutral bodies."""
        features, numbers = self.features, self.numbers
        neutral, posed = self.halves(index)
        if features.mixer is None or not len(posed):
            chosen = torch.cat([neutral, posed])
            return numbers.seen[chosen], self.wanted[chosen], numbers.neutral[chosen]
        mix = features.mixer.drawn(posed, generator)
        seen, wanted = self.of_mixed(mix)
        return (
            torch.cat([numbers.seen[neutral], seen]),
            torch.cat([self.wanted[neutral], wanted]),
            torch.cat([neutral, mix.person]),
        )

    def of_mixed(self, mix: Mixed) -> tuple[Tensor, Tensor]:
        """What the encoder sees of mixed bodies (B,), and what is wanted of them."""
        limbs = torch.arange(mix.donors.shape[1])
        seen = self.numbers.seen[mix.person] + self._added_seen[mix.donors, limbs].sum(dim=1)
        return seen, self.wanted[mix.person] + self._added[mix.donors, limbs].sum(dim=1)

    def error(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Root mean square errors of features and, linear about the reference, of vertices in one measure: the mean
        over (B, 9P + rank) bodies."""
        of_features, of_vertices_m = self._lengths(found - wanted)
        return of_features + PER_METRE * of_vertices_m

    def _lengths(self, off: Tensor) -> tuple[Tensor, Tensor]:
        """Of (B, 9P + rank) errors the mean root mean square of features, and of vertices [m]."""
        features, vertices = (off @ self.get_buffer(name).T for name in ("of_features", "of_vertices"))
        return features.norm(dim=1).mean(), vertices.norm(dim=1).mean()

    def terms(self, batch: tuple[Tensor, ...], progress: float) -> dict[str, Tensor]:
        seen, wanted, wanted_neutral = batch
        model = self.model
        assert isinstance(model, NarrowNetwork)
        of_neutral, of_posed = weights_at(progress)
        if "code" in model.heads:
            mean, deviation = model.encode_one(seen)
            terms = {"kl": kl(mean, deviation)}
            terms |= self._errors("posed", model.decode_one(mean + deviation * torch.randn_like(mean)), wanted)
            return {"total": terms["kl"] + of_posed * self._sum("posed", terms), **terms}
        codes = model.encode(seen)
        e_s = codes.shape + codes.shape_deviation * torch.randn_like(codes.shape)
        e_p = codes.pose + codes.pose_deviation * torch.randn_like(codes.pose)
        terms = {
            "shape_kl": kl(codes.shape, codes.shape_deviation),
            "pose_kl": kl(codes.pose, codes.pose_deviation),
            **self._errors("neutral", model.decode(e_s, torch.zeros_like(e_p)), wanted_neutral),
            **self._errors("posed", model.decode(e_s, e_p), wanted),
        }
        total = terms["shape_kl"] + terms["pose_kl"]
        total = total + of_neutral * self._sum("neutral", terms) + of_posed * self._sum("posed", terms)
        return {"total": total, **terms}

    def _errors(self, name: str, found: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        off = found - wanted
        errors = dict(zip((name, f"{name}_m"), self._lengths(off), strict=True))
        if self._base:
            errors[f"{name}_parts"] = off[:, : 9 * self.features.parts.count].abs().mean()
        return errors

    def _sum(self, name: str, terms: dict[str, Tensor]) -> Tensor:
        total = terms[name] + PER_METRE * terms[f"{name}_m"]
        return total + COARSE * terms[f"{name}_parts"] if self._base else total

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Errors of all test bodies, through the encoder without noise: of features, and of vertices [mm] as far as
        they are linear."""
        assert isinstance(model, NarrowNetwork)
        out = {}
        for kind, numbers in (("neutral", self.features.test_neutral), ("pose", self.features.test_posed)):
            if not len(numbers):
                continue
            seen = self.numbers.seen[numbers].to(self.get_buffer("of_features").device)
            if "code" in model.heads:
                found = model.decode_one(model.encode_one(seen)[0])
            else:
                codes = model.encode(seen)
                found = model.decode(codes.shape, codes.pose)
            of_features, of_vertices_m = self._lengths(found - self.wanted[numbers].to(found.device))
            out |= {f"encoded_{kind}": float(of_features), f"encoded_{kind}_linear_mm": 1e3 * float(of_vertices_m)}
        return out

    def settings(self) -> dict[str, Any]:
        return {"network": self._network}


def narrow_trainer(
    net: str,
    features: BodyFeatures,
    sizes: dict[str, int],
    folder: Path,
    *,
    steps: int,
    seed: int,
    fabric: Fabric,
    tensorboard: bool = False,
    on_step: Callable[[str], None] = lambda _: None,
) -> Trainer:
    """What trains the narrow part of a network into `folder/<net>-narrow.safetensors`, resuming what is there.

    Args:
        net, sizes: as of `BodyTask`; there is a rank. steps, seed: of the training.
        folder: of the run; components are kept in it.
        fabric, tensorboard: as of `Trainer`.
        on_step: told what is being done before it begins.

    Raises:
        ConfigurationError, InputError: as of `Trainer` and `cached_numbers`.
    """

    def make(_: torch.Generator) -> NarrowTask:
        return network_and_task(net, features, sizes, folder, seed, on_step)[1]

    config = LoopConfig(steps=steps, batch=_BATCH, learning_rate=_RATE, seed=seed)
    return Trainer(make, folder / f"{net}-narrow.safetensors", config, fabric=fabric, tensorboard=tensorboard)


def network_and_task(
    net: str,
    features: BodyFeatures,
    sizes: dict[str, int],
    folder: Path,
    seed: int,
    on_step: Callable[[str], None] = lambda _: None,
) -> tuple[BodyNetwork | MeshVae, NarrowTask]:
    """A network whose components are found or read, and the task of its narrow part before the training; arguments and
    errors as of `narrow_trainer`."""
    model = first_network(net, features, sizes)
    numbers = cached_numbers(model, features, _components_file(folder, net), seed, on_step)
    return model, NarrowTask(model, numbers, features, asdict(model.config))


def begin_narrow(
    net: str, features: BodyFeatures, folder: Path, seed: int, narrow: dict[str, Tensor], model: BodyNetwork | MeshVae
) -> None:
    """Set a network to components and to the narrow part that was trained in their numbers.

    Args:
        narrow: tensors of the trained `NarrowNetwork`. The others as of `narrow_trainer`.
    """
    cached_numbers(model, features, _components_file(folder, net), seed)
    put_into(model, {name: tensor.cpu() for name, tensor in narrow.items()})


def save_narrow(
    narrow: dict[str, Tensor],
    trainers: list[Trainer],
    net: str,
    features: BodyFeatures,
    sizes: dict[str, int],
    folder: Path,
    seed: int,
) -> None:
    """Write the whole network, wide halves as they began, into `folder/<net>.safetensors`, as its own training would.

    Args:
        narrow: tensors of the trained `NarrowNetwork`. trainers: that trained them, one after the other. The others as
            of `narrow_trainer`.

    Raises:
        InputError: components are of other bodies.
    """
    model = first_network(net, features, sizes)
    begin_narrow(net, features, folder, seed, narrow, model)
    tensors = {f"average/{name}": tensor for name, tensor in model.state_dict().items()}
    steps, seconds = sum(trainer.step for trainer in trainers), sum(trainer.seconds for trainer in trainers)
    facts = {"network": asdict(model.config), "step": steps, "seconds": round(seconds, 1)}
    save_checkpoint(folder / f"{net}.safetensors", tensors, facts)


def _components_file(folder: Path, net: str) -> Path:
    return folder / f"{net}-components.safetensors"
