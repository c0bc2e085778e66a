"""The last part of a training in numbers: the decoder, where it is used, at the codes that fit bodies best.

A variational training draws codes from what the encoder says of a body, so that the decoder learns the mean of what
such noise allows. It is used otherwise: `fit_codes`, and every fit to a scan, seek the code whose body is nearest
(eq. 15). Here each body has its code among what is trained, of poses one beside that of their person, and both come to
where the decoder says the body best ("Optimizing the latent space of generative networks", Bojanowski et al., 2018).
The encoder goes along. At the end codes are counted anew, so that those of the bodies have no correlation and mean
squares of one, or less where they say little, as a variational training leaves them: bodies are drawn and judged by
that.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from bodystream_training.body.data.features import BodyFeatures
from bodystream_training.body.narrow import NarrowNetwork, NarrowTask, network_and_task
from bodystream_training.body.nearest import Examples
from bodystream_training.body.tasks import HalfPosedTask
from bodystream_training.loop import LoopConfig, Trainer

__all__ = ["FittedNetwork", "FittedTask", "fitted_network", "fitted_trainer", "narrow_of"]

_BATCH, _RATE = 64, 5e-4
_CODES_FASTER = 6.0
"""Rate of the codes beside that of the networks: a code is met once in a hundred steps or more."""
_PRIOR = 1e-3
"""Of a code's square, beside errors as `NarrowTask` measures them."""
_ENCODED = 0.3
"""Of the same errors of bodies that went through the encoder."""
_ALIKE = 0.3
"""Of how far shape codes that the encoder says are from those of their people, as a share of the people's variance: it
is the same person in every pose."""
_UNSEEN = 5e-2
"""Share of the largest mean square of codes that each direction has at least when they are counted: were it less, fits
could not come to people and poses that nobody learned from (36 mm from a scan in place of 7.4 with 1e-4)."""


class FittedNetwork(nn.Module):
    """A `NarrowNetwork`, and a code for each body that is learned from.

    Args:
        narrow: its heads say at which codes bodies begin.
        of_people: (K, S) codes of neutral bodies, or of a network with one code all of it.
        of_examples: (M, C) codes of poses.
    """

    def __init__(self, narrow: NarrowNetwork, of_people: Tensor, of_examples: Tensor) -> None:
        super().__init__()
        for head in narrow.heads.values():
            head.get_submodule("deviation").requires_grad_(False)  # nothing is drawn here
        self.narrow = narrow
        self.of_people = nn.Parameter(of_people)
        self.of_examples = nn.Parameter(of_examples)


class FittedTask(HalfPosedTask):
    """Trains decoder, codes and encoder together.

    Args:
        task: whose network, numbers and errors these are; its model is trained.
        examples: bodies with a code each.
    """

    def __init__(self, task: NarrowTask, examples: Examples) -> None:
        narrow, features, numbers = task.model, task.features, task.numbers
        assert isinstance(narrow, NarrowNetwork)
        people = torch.from_numpy(features.train_neutral)
        place = torch.full((len(numbers.seen),), -1)
        place[people] = torch.arange(len(people))
        with torch.no_grad():
            if "code" in narrow.heads:
                codes = narrow.encode_one(numbers.seen[people])[0], narrow.encode_one(examples.seen)[0]
            else:
                codes = narrow.encode(numbers.seen[people]).shape, narrow.encode(examples.seen).pose
        super().__init__(FittedNetwork(narrow, *(code.clone() for code in codes)), features)
        self._task = task
        self._people_wanted, self._wanted = examples.people, examples.wanted
        self._place, self._person = place, place[examples.person]

    def count(self) -> int:
        return 2 * max(len(self._people_wanted), len(self._wanted))

    def batch(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Half of it neutral: what is wanted of bodies, and the places of the person's code and of the pose's, -1 where
        it is neutral; and half as many others, mixed anew, for the encoder: what it sees, what is wanted of them and of
        their neutral bodies, and the places of their people's codes."""
        half = (len(index) + 1) // 2
        people, examples = index[:half] % len(self._people_wanted), index[half:] % len(self._wanted)
        seen, other, neutral = self._task.bodies(index[::2], generator)
        who = self._place[neutral]
        return (
            torch.cat([self._people_wanted[people], self._wanted[examples]]),
            torch.cat([people, self._person[examples]]),
            torch.cat([torch.full_like(people, -1), examples]),
            seen,
            other,
            self._people_wanted[who],
            who,
        )

    def terms(self, batch: tuple[Tensor, ...], progress: float) -> dict[str, Tensor]:
        wanted, person, example, *others = batch
        model = self.model
        assert isinstance(model, FittedNetwork)
        narrow, neutral = model.narrow, example < 0
        own, pose = model.of_people[person], model.of_examples[example.clamp_min(0)]
        if "code" in narrow.heads:
            codes = torch.where(neutral[:, None], own, pose)
            found, size = narrow.decode_one(codes), codes.square().sum(dim=1)
        else:
            pose = torch.where(neutral[:, None], 0.0, pose)
            found, size = narrow.decode(own, pose), own.square().sum(dim=1) + pose.square().sum(dim=1)
        with _held(narrow):
            encoded, alike = self._told(narrow, model.of_people.detach(), *others)
        terms = {"fitted": self._task.error(found, wanted), "size": size.mean()}
        terms |= {"encoded": encoded, "alike": alike}
        total = terms["fitted"] + _PRIOR * terms["size"] + _ENCODED * encoded + _ALIKE * alike
        return {"total": total, **terms}

    def _told(
        self, narrow: NarrowNetwork, people: Tensor, seen: Tensor, wanted: Tensor, of_neutral: Tensor, who: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Errors of bodies that went through the encoder, and how far it is from the codes (K, S) of their people."""
        if "code" in narrow.heads:
            return self._task.error(narrow.decode_one(narrow.encode_one(seen)[0]), wanted), torch.zeros(())
        told = narrow.encode(seen)
        nobody = torch.zeros_like(told.pose)
        posed = self._task.error(narrow.decode(told.shape, told.pose), wanted)
        neutral = self._task.error(narrow.decode(told.shape, nobody), of_neutral)
        alike = (told.shape - people[who]).square().sum(dim=1).mean() / people.var(dim=0).sum()
        return posed + neutral, alike

    def validate(self, model: nn.Module) -> dict[str, float]:
        assert isinstance(model, FittedNetwork)
        return self._task.validate(model.narrow)

    def optimiser(self, learning_rate: float, fused: bool) -> torch.optim.Optimizer:
        model = self.model
        assert isinstance(model, FittedNetwork)
        groups = [
            {"params": [each for each in model.narrow.parameters() if each.requires_grad]},
            {"params": [model.of_people, model.of_examples], "lr": _CODES_FASTER * learning_rate},
        ]
        return torch.optim.Adam(groups, lr=learning_rate, fused=fused)

    def settings(self) -> dict[str, Any]:
        return {**self._task.settings(), "examples": len(self._wanted)}


@contextmanager
def _held(narrow: NarrowNetwork) -> Iterator[None]:
    """The decoder as it is, within: mixed bodies that the encoder learns from have not the numbers that are nearest."""
    decoder = [each for name, each in narrow.named_parameters() if not name.startswith(("trunk.", "heads."))]
    for each in decoder:
        each.requires_grad_(False)
    yield
    for each in decoder:
        each.requires_grad_(True)


@torch.no_grad()
def narrow_of(fitted: FittedNetwork) -> dict[str, Tensor]:
    """The tensors of its `NarrowNetwork`, whose codes are counted so that those of its bodies have no correlation and
    mean squares of one, or less in directions that say little. Neutral bodies have the pose code 0 as before, and every
    body is what it was."""
    narrow = copy.deepcopy(fitted.narrow)
    if "code" in narrow.heads:
        _count_anew(narrow.heads["code"], [narrow.units], torch.cat([fitted.of_people, fitted.of_examples]), True)
        return narrow.state_dict()
    more = [narrow.paths["base"]] if "base" in narrow.paths else []
    for name, codes in (("shape", fitted.of_people), ("pose", fitted.of_examples)):
        read_by = [narrow.get_submodule(f"of_{name}"), *(path.get_submodule(f"of_{name}") for path in more)]
        _count_anew(narrow.heads[name], read_by, codes, name == "shape")
    return narrow.state_dict()


def _count_anew(head: nn.Module, read_by: list[nn.Module], codes: Tensor, moved: bool) -> None:
    """Make z of codes c = m + A z, in what says them and in what reads them.

    Args:
        moved: whether m is the mean of the codes; else it is 0.
    """
    wide = codes.double()
    middle = wide.mean(dim=0) if moved else torch.zeros_like(wide[0])
    values, axes = torch.linalg.eigh((wide - middle).T @ (wide - middle) / len(wide))
    roots = values.clamp_min(_UNSEEN * float(values[-1])).sqrt()
    spread, back = (axes * roots) @ axes.T, (axes / roots) @ axes.T
    says = head.get_submodule("mean")
    assert isinstance(says, nn.Linear)
    says.bias.copy_(back @ (says.bias.double() - middle))
    says.weight.copy_(back @ says.weight.double())
    for units in read_by:
        first = next(iter(units.children()))
        assert isinstance(first, nn.Linear)
        first.bias.add_((first.weight.double() @ middle).float())
        first.weight.copy_(first.weight.double() @ spread)


def fitted_trainer(
    net: str,
    features: BodyFeatures,
    sizes: dict[str, int],
    folder: Path,
    narrow: dict[str, Tensor],
    examples: Examples,
    *,
    steps: int,
    seed: int,
    fabric: Fabric,
    tensorboard: bool = False,
) -> Trainer:
    """What goes on from a trained narrow part into `folder/<net>-fitted.safetensors`, resuming what is there.

    Args:
        narrow: tensors of the trained `NarrowNetwork`. examples: of `nearest_examples`. The others as of
            `narrow_trainer`.

    Raises:
        ConfigurationError, InputError: as of `narrow_trainer`.
    """

    def make(_: torch.Generator) -> FittedTask:
        task = network_and_task(net, features, sizes, folder, seed)[1]
        task.model.load_state_dict({name: tensor.cpu() for name, tensor in narrow.items()})
        return FittedTask(task, examples)

    config = LoopConfig(steps=steps, batch=_BATCH, learning_rate=_RATE, seed=seed)
    return Trainer(make, folder / f"{net}-fitted.safetensors", config, fabric=fabric, tensorboard=tensorboard)


def fitted_network(trainer: Trainer) -> FittedNetwork:
    """The averaged network of a training that `fitted_trainer` made."""
    model = trainer.task.fresh()
    assert isinstance(model, FittedNetwork)
    model.load_state_dict(trainer.average)
    return model.cpu()
