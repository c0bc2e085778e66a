"""What wide layers begin at: skinning weights of the parts, and principal components of what these leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bodystream.errors import ConfigurationError, InputError
from bodystream_training.body.data.features import BodyFeatures
from bodystream_training.body.model import BodyNetwork, LearnableSkinning, MeshVae
from bodystream_training.body.pca import feature_rows, principal_components
from bodystream_training.checkpoints import load_checkpoint, save_checkpoint

__all__ = ["BodyNumbers", "begin_at_components", "cached_numbers"]

_SKINNING_STEPS, _SKINNING_BATCH, _SKINNING_RATE = 400, 16, 0.05
_NOTHING = 1e-4
"""Share of the longest component's length below which float32 has left noise of one."""
_LITTLE = 1e-3
"""Step of the finite difference between features and vertices."""


@dataclass(frozen=True)
class BodyNumbers:
    """Bodies in few numbers, row i being item i of `BodyFeatures`.

    Attributes:
        seen: (N, rank) what the encoder's first layer makes of f.
        coarse: (N, P, 9) scaled g.
        left: (N, rank) what the difference path's last layer needs to make what skinned parts leave of f.
        neutral: (N,) number of the neutral body of the same identity.
        of_features, of_vertices: (9P + rank, 9P + rank) C, whose product C e with an error e in [g, left] is as long as
            the root mean square error of all scaled features, or of all vertices about the reference [m].
    """

    seen: Tensor
    coarse: Tensor
    left: Tensor
    neutral: Tensor
    of_features: Tensor
    of_vertices: Tensor


def begin_at_components(
    model: BodyNetwork | MeshVae, features: BodyFeatures, seed: int, on_step: Callable[[str], None] = lambda _: None
) -> BodyNumbers:
    """Set the wide halves of a network with a rank, and the skinning, and say all bodies in the numbers between.

    Args:
        model: on the processor; its scales are set.
        seed: of the batches that skinning weights are found by.
        on_step: told what is being done.
    """
    train = np.sort(np.concatenate([features.train_neutral, features.train_posed]))
    items = list(range(len(features)))
    on_step("reading features")
    rows = feature_rows(features, items, lambda _: None)
    coarse = torch.stack([features.coarse(number) for number in items])
    on_step("components of features")
    first = model.trunk[0]
    mean, axes = _components(rows, train, first.out_features)
    lengths = axes.square().sum(dim=1)
    first.weight.data = axes / lengths[:, None]
    first.bias.data = -first.weight.data @ mean
    seen = rows @ first.weight.data.T + first.bias.data
    if isinstance(model, BodyNetwork) and (skinning := model.skinning) is not None:
        on_step("skinning of parts")
        _fit_skinning(model, skinning, rows, coarse, train, seed)
        with torch.no_grad():
            for number in items:
                rows[number] -= _skinned(model, skinning, coarse[number][None]).flatten()
        on_step("components of what skinning leaves")
        mean, axes = _components(rows, train, first.out_features)
        lengths = axes.square().sum(dim=1)
    last = _last_of(model)
    last.weight.data, last.bias.data = axes.T.contiguous(), mean
    left = (rows - mean) @ (axes / lengths[:, None]).T
    on_step("what numbers do to features and vertices")
    based = isinstance(model, BodyNetwork) and model.skinning is not None
    moved = _moved_features(model, coarse.shape[1]) if based else torch.zeros(len(mean), 0)
    ends = torch.cat([moved, axes.T], dim=1)
    neutral = torch.tensor([item.neutral for item in features.items])
    return BodyNumbers(
        seen, coarse, left, neutral, _factor(ends), _factor(_moved_vertices(features, ends), per=features.space.count)
    )


def cached_numbers(
    model: BodyNetwork | MeshVae,
    features: BodyFeatures,
    path: Path,
    seed: int,
    on_step: Callable[[str], None] = lambda _: None,
) -> BodyNumbers:
    """`begin_at_components`, once: what it finds is kept in a file, and read from there.

    Args:
        path: of the file.

    Raises:
        InputError: it is of another network or other bodies, or damaged.
    """
    wide = _wide(model)
    key = {"items": [item.name for item in features.items], "rank": model.trunk[0].out_features, "seed": seed}
    if not path.is_file():
        numbers = begin_at_components(model, features, seed, on_step)
        tensors = {f"wide/{name}": tensor.detach() for name, tensor in wide.items()}
        tensors |= {f"numbers/{name}": tensor for name, tensor in asdict(numbers).items()}
        save_checkpoint(path, tensors, key)
        return numbers
    tensors, facts = load_checkpoint(path)
    try:
        if {name: facts[name] for name in key} != key:
            raise ValueError("its bodies, rank or seed are others")
        for name, tensor in wide.items():
            tensor.data.copy_(tensors[f"wide/{name}"])
        return BodyNumbers(**{field.name: tensors[f"numbers/{field.name}"] for field in fields(BodyNumbers)})
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} is not of this training ({error}): remove it, or give another --out") from error


def _wide(model: BodyNetwork | MeshVae) -> dict[str, Tensor]:
    """What `begin_at_components` sets, by name."""
    last = _last_of(model)
    found = {f"first.{name}": tensor for name, tensor in model.trunk[0].named_parameters()}
    found |= {f"last.{name}": tensor for name, tensor in last.named_parameters()}
    if isinstance(model, BodyNetwork) and model.skinning is not None:
        found["skinning"] = model.skinning.logits
    return found


def _last_of(model: BodyNetwork | MeshVae) -> nn.Linear:
    out = model.difference.out if isinstance(model, BodyNetwork) else model.out
    if not isinstance(out, nn.Sequential):
        raise ConfigurationError("only a network with a rank has numbers to be trained in")
    last = out[-1]
    assert isinstance(last, nn.Linear)
    return last


def _components(rows: Tensor, train: np.ndarray, rank: int) -> tuple[Tensor, Tensor]:
    """Mean and (rank, 9V) components of the rows to train on; where there are fewer, the others are next to nothing."""
    mean, axes = principal_components(rows[train], rank)
    axes = axes[axes.norm(dim=1) > _NOTHING * axes[0].norm()]
    if len(axes) == rank:
        return mean, axes
    more = torch.randn(rank - len(axes), axes.shape[1], generator=torch.Generator().manual_seed(0))
    more *= 1e-3 * axes[-1].norm() / more.norm(dim=1, keepdim=True)
    return mean, torch.cat([axes, more])


def _fit_skinning(
    model: BodyNetwork, skinning: LearnableSkinning, rows: Tensor, coarse: Tensor, train: np.ndarray, seed: int
) -> None:
    """The weights that make scaled features of the true parts, least in the sum of absolute errors."""
    drawn = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam([skinning.logits], lr=_SKINNING_RATE)
    for step in range(_SKINNING_STEPS):
        chosen = torch.from_numpy(train)[torch.randint(len(train), (_SKINNING_BATCH,), generator=drawn)]
        for group in optimiser.param_groups:
            group["lr"] = _SKINNING_RATE * (1.0 - step / _SKINNING_STEPS)
        optimiser.zero_grad()
        (_skinned(model, skinning, coarse[chosen]).flatten(1) - rows[chosen]).abs().mean().backward()
        optimiser.step()


def _skinned(model: BodyNetwork, skinning: LearnableSkinning, g: Tensor) -> Tensor:
    """(B, V, 9) scaled features of scaled parts."""
    return model.scale.scaled(skinning(model.coarse_scale.unscaled(g)))


@torch.no_grad()
def _moved_features(model: BodyNetwork, parts: int) -> Tensor:
    """(9V, 9P) what each number of g does to the scaled features, which is linear."""
    skinning = model.skinning
    assert skinning is not None
    still = _skinned(model, skinning, torch.zeros(1, parts, 9))
    each = torch.eye(9 * parts).unflatten(1, (parts, 9))
    return (_skinned(model, skinning, each) - still).flatten(1).T.contiguous()


def _moved_vertices(features: BodyFeatures, ends: Tensor) -> Tensor:
    """(3V, N) how far vertices go with each of (9V, N) directions of scaled features, about the reference [m]."""
    space = features.space
    still = space.features(space.reference)
    gain = (features.scale.high - features.scale.low) / 1.9
    out = torch.empty(3 * space.count, ends.shape[1])
    middle = space.vertices(still)
    for number in range(ends.shape[1]):
        step = gain * ends[:, number].double().numpy().reshape(-1, 9)
        little = _LITTLE / max(float(np.abs(step).max()), 1e-12)
        out[:, number] = torch.from_numpy(((space.vertices(still + little * step) - middle) / little).ravel())
    return out


def _factor(ends: Tensor, per: int | None = None) -> Tensor:
    """C with |C e|^2 = |ends e|^2 / per."""
    products = (ends.T @ ends).double() / (per or len(ends))
    values, axes = torch.linalg.eigh(products)
    return (values.clamp_min(0.0).sqrt()[:, None] * axes.T).float()
