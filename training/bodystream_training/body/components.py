"""What wide layers begin at: skinning weights of the parts, and principal components of bodies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bodystream.errors import ConfigurationError, InputError
from bodystream_training.body.data.features import BodyFeatures
from bodystream_training.body.linear_surface import LinearSurface
from bodystream_training.body.model import BodyNetwork, MeshVae
from bodystream_training.checkpoints import load_checkpoint, save_checkpoint

__all__ = ["PER_METRE", "BodyNumbers", "begin_at_components", "cached_numbers", "features_of", "wide_matrix"]

PER_METRE = 5.5
"""So much of scaled features counts as much as a metre of vertices: components have to say both."""
_NEUTRAL, _MIXED = 1200, 1500
"""At most so many neutral and mixed bodies are looked at for components, beside all posed ones."""
_SKINNING_STEPS, _SKINNING_BATCH, _SKINNING_RATE = 400, 16, 0.05
_BLOCK = 32
_NOTHING = 1e-5
"""Share of the first component's length below which float32 has left noise of one."""


@dataclass(frozen=True)
class BodyNumbers:
    """Bodies in few numbers, row i being item i of `BodyFeatures`.

    Attributes:
        seen: (N, seen) what the encoder's first layer makes of f.
        coarse: (N, P, 9) scaled g.
        left: (N, rank) what the difference path's last layer needs to make what skinned parts leave of f.
        neutral: (N,) number of the neutral body of the same identity.
        added: (N, L + 1, seen + 9P + rank) what a pose adds to all three, of each limb and of the trunk; (0, 0, ...)
            where nobody knows limbs.
        of_features, of_vertices: (9P + rank, 9P + rank) C, whose product C e with an error e in [g, left] is as long as
            the root mean square error of all scaled features, or of all vertices about the reference [m].
    """

    seen: Tensor
    coarse: Tensor
    left: Tensor
    neutral: Tensor
    added: Tensor
    of_features: Tensor
    of_vertices: Tensor


@torch.no_grad()
def begin_at_components(
    model: BodyNetwork | MeshVae, features: BodyFeatures, seed: int, on_step: Callable[[str], None] = lambda _: None
) -> BodyNumbers:
    """Set the wide halves of a network with a rank, and the skinning, and say all bodies in the numbers between.

    Components are of the bodies to train on, and of mixtures of them, in a measure in which errors of features and,
    linear about the reference, of vertices count.

    Args:
        model: on the processor; its scales are set.
        seed: of what is drawn.
        on_step: told what is being done.
    """
    drawn = torch.Generator().manual_seed(seed)
    surface = LinearSurface(features.space, (features.scale.high - features.scale.low) / 1.9)
    on_step("reading bodies")
    f, g = _examples(features, drawn)
    if (based := _based(model)) is not None:
        on_step("skinning of parts")
        _fit_skinning(based, f, g, drawn)
        parts = _moved_features(based, g.shape[1])  # (9V, 9P)
        parts_moved = surface.vertices(parts.T.contiguous()).flatten(1)
    else:
        parts, parts_moved = torch.zeros(f.shape[1], 0), torch.zeros(0, f.shape[1] // 3)
    flat = g.flatten(1)[:, : parts.shape[1]]
    on_step("how vertices go with features")
    mean, flat_mean = f.mean(dim=0), flat.mean(dim=0)
    f -= mean
    flat = flat - flat_mean
    moved = torch.cat([surface.vertices(rows).flatten(1) for rows in f.split(_BLOCK)])
    on_step("components of bodies")
    first, last = model.trunk[0], _last_of(model)
    assert isinstance(first, nn.Linear)
    axes, _, found = _components(f, moved, first.out_features)
    deviations = found.std(dim=0)
    eye = _seen_by(axes, surface) / deviations[:, None]
    first.weight.data, first.bias.data = eye, -eye @ mean
    on_step("components of what skinning leaves")
    for rows, of_parts, vertices in zip(f.split(_BLOCK), flat.split(_BLOCK), moved.split(_BLOCK), strict=True):
        rows -= of_parts @ parts.T
        vertices -= of_parts @ parts_moved
    axes, axes_moved, found = _components(f, moved, last.in_features)
    deviations = found.std(dim=0)
    hand = _seen_by(axes, surface) / deviations[:, None]
    still = _skinned(based, torch.zeros(1, g.shape[1], 9))[0].flatten() if based is not None else torch.zeros(len(mean))
    middle = mean - still - parts @ flat_mean
    last.weight.data, last.bias.data = (axes * deviations[:, None]).T.contiguous(), middle
    del f, moved
    on_step("numbers of all bodies")
    both = torch.cat([eye, hand])
    seen, left, coarse, added = _numbers(features, both, len(eye), hand @ parts)
    seen = seen + first.bias.data
    left = left - hand @ (middle + still)
    ends = torch.cat([parts, last.weight.data], dim=1)
    ends_moved = torch.cat([parts_moved.T, (axes_moved * deviations[:, None]).T], dim=1)
    neutral = torch.tensor([item.neutral for item in features.items])
    return BodyNumbers(
        seen, coarse, left, neutral, added, _factor(ends, len(ends)), _factor(ends_moved, features.space.count)
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
    shapes = {name: list(tensor.shape) for name, tensor in wide.items()}
    key = {"items": [item.name for item in features.items], "shapes": shapes, "seed": seed}
    if not path.is_file():
        numbers = begin_at_components(model, features, seed, on_step)
        tensors = {f"wide/{name}": tensor.detach() for name, tensor in _wide(model).items()}
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


def features_of(model: BodyNetwork | MeshVae, rows: Tensor) -> Tensor:
    """(B, V, 9) scaled f that the wide half makes of (B, 9P + rank) numbers [g, left], without a base path (B, rank)
    ones."""
    last = _last_of(model)
    left = last(rows[:, -last.in_features :]).unflatten(-1, (-1, 9))
    if (based := _based(model)) is None:
        return left
    return _skinned(based, rows[:, : -last.in_features].unflatten(-1, (-1, 9))) + left


def wide_matrix(model: BodyNetwork | MeshVae) -> Tensor:
    """(9V, rank) what each number of left adds to scaled features."""
    return _last_of(model).weight.detach()


def _wide(model: BodyNetwork | MeshVae) -> dict[str, Tensor]:
    """What `begin_at_components` sets, by name."""
    found: dict[str, Tensor] = {f"first.{name}": tensor for name, tensor in model.trunk[0].named_parameters()}
    found |= {f"last.{name}": tensor for name, tensor in _last_of(model).named_parameters()}
    if (based := _based(model)) is not None and based.skinning is not None:
        found["skinning"] = based.skinning.logits
    return found


def _based(model: BodyNetwork | MeshVae) -> BodyNetwork | None:
    """The network, where it has a base path."""
    return model if isinstance(model, BodyNetwork) and model.skinning is not None else None


def _last_of(model: BodyNetwork | MeshVae) -> nn.Linear:
    out = model.difference.out if isinstance(model, BodyNetwork) else model.out
    if not isinstance(out, nn.Sequential):
        raise ConfigurationError("only a network with a rank has numbers to be trained in")
    last = out[-1]
    assert isinstance(last, nn.Linear)
    return last


def _examples(features: BodyFeatures, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
    """(M, 9V) scaled f and (M, P, 9) g of bodies to find components of."""
    neutral = features.train_neutral
    chosen = neutral[np.linspace(0, len(neutral) - 1, min(len(neutral), _NEUTRAL)).round().astype(int)]
    plain = [*chosen.tolist(), *features.train_posed.tolist()]
    mixed = 0 if features.mixer is None else _MIXED
    f = torch.empty((len(plain) + mixed, 9 * features.space.count))
    g = torch.empty((len(f), features.parts.count, 9))
    for row, number in enumerate(plain):
        f[row], g[row] = features.fine(number).flatten(), features.coarse(number)
    if features.mixer is not None:
        posed = torch.from_numpy(features.train_posed)
        mix = features.mixer.drawn(posed[torch.randint(len(posed), (mixed,), generator=drawn)], drawn)
        for row in range(mixed):
            one, g[len(plain) + row], _, _ = features.mixed(mix, row)
            f[len(plain) + row] = one.flatten()
    return f, g


def _components(rows: Tensor, moved: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Axes (rank, 9V) of the rows and what they move (rank, 3V), orthonormal in the measure; the rows in them.

    By the products of every two rows (method of snapshots). Where rows differ in fewer ways, the last axes are small
    random ones.

    Args:
        rows: (M, 9V) of mean zero. moved: (M, 3V) what they do to vertices.
    """
    ends, count = rows.shape[1], moved.shape[1] // 3
    products = (rows @ rows.T).double() / ends + PER_METRE**2 * (moved @ moved.T).double() / count
    values, vectors = torch.linalg.eigh(products)
    kept = min(rank, int((values > _NOTHING**2 * values[-1]).sum()))
    values, vectors = values[-kept:].flip(0), vectors[:, -kept:].flip(1)
    weights = (vectors / values.sqrt()).T.float()
    axes, axes_moved, found = weights @ rows, weights @ moved, (vectors * values.sqrt()).float()
    if kept < rank:
        drawn = torch.Generator().manual_seed(0)
        # Of which there is nothing: no row is made of them.
        more = 1e-3 * axes[-1].norm() / ends**0.5 * torch.randn(rank - kept, ends, generator=drawn)
        axes = torch.cat([axes, more])
        axes_moved = torch.cat([axes_moved, torch.zeros(rank - kept, moved.shape[1])])
        found = torch.cat([found, 1e-3 * torch.randn(len(rows), rank - kept, generator=drawn)], dim=1)
    return axes, axes_moved, found


def _seen_by(axes: Tensor, surface: LinearSurface) -> Tensor:
    """(rank, 9V) what makes of scaled features their share of each axis, in the measure."""
    out = torch.empty_like(axes)
    for place in range(0, len(axes), _BLOCK):
        some = axes[place : place + _BLOCK]
        moved = surface.vertices(some)
        out[place : place + _BLOCK] = some / axes.shape[1] + PER_METRE**2 / moved.shape[1] * surface.scaled(moved)
    return out


@torch.enable_grad()
def _fit_skinning(model: BodyNetwork, f: Tensor, g: Tensor, drawn: torch.Generator) -> None:
    """The weights that make scaled features of the true parts, least in the sum of absolute errors."""
    assert model.skinning is not None
    optimiser = torch.optim.Adam([model.skinning.logits], lr=_SKINNING_RATE)
    for step in range(_SKINNING_STEPS):
        chosen = torch.randint(len(f), (_SKINNING_BATCH,), generator=drawn)
        for group in optimiser.param_groups:
            group["lr"] = _SKINNING_RATE * (1.0 - step / _SKINNING_STEPS)
        optimiser.zero_grad()
        (_skinned(model, g[chosen]).flatten(1) - f[chosen]).abs().mean().backward()
        optimiser.step()


def _skinned(model: BodyNetwork, g: Tensor) -> Tensor:
    """(B, V, 9) scaled features of scaled parts."""
    assert model.skinning is not None
    return model.scale.scaled(model.skinning(model.coarse_scale.unscaled(g)))


@torch.no_grad()
def _moved_features(model: BodyNetwork, parts: int) -> Tensor:
    """(9V, 9P) what each number of g does to the scaled features, which is linear."""
    still = _skinned(model, torch.zeros(1, parts, 9))
    each = torch.eye(9 * parts).unflatten(1, (parts, 9))
    return (_skinned(model, each) - still).flatten(1).T.contiguous()


@torch.no_grad()
def _numbers(
    features: BodyFeatures, both: Tensor, seen: int, of_parts: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """seen, left, coarse and added of all items, without what is the same of all.

    Args:
        both: (seen + rank, 9V) what makes the numbers of scaled features.
        of_parts: (rank, 9P) what parts bring to `left`, which is taken off.
    """
    masks = of_part = None
    if features.mixer is not None:
        limbs = features.mixer.limbs
        masks = torch.from_numpy(np.concatenate([limbs.masks, 1.0 - limbs.masks.sum(axis=0, keepdims=True)]))
        of_part = torch.from_numpy(np.where(limbs.of_part < 0, len(limbs.masks), limbs.of_part))
    rows = torch.empty((len(features), len(both)))
    coarse = torch.empty((len(features), features.parts.count, 9))
    width = len(both) + features.parts.count * 9
    added = torch.zeros((len(features) if masks is not None else 0, len(masks) if masks is not None else 0, width))
    by_limb = torch.empty((0, 0))
    if masks is not None:
        by_limb = both.unflatten(1, (-1, 9))
    for numbers in _blocks(len(features)):
        f = torch.stack([features.fine(n) for n in numbers])
        rows[numbers] = f.flatten(1) @ both.T
        coarse[numbers] = torch.stack([features.coarse(n) for n in numbers])
        if masks is None or of_part is None:
            continue
        own = torch.stack([features.fine(features.items[n].neutral) for n in numbers])
        for limb, mask in enumerate(masks):
            inside = mask > 0.0
            some = (mask[inside, None] * (f - own)[:, inside]).flatten(1) @ by_limb[:, inside].flatten(1).T
            parts = (of_part == limb)[:, None] * torch.stack(
                [features.coarse(n) - features.coarse(features.items[n].neutral) for n in numbers]
            )
            some[:, seen:] -= parts.flatten(1)[:, : of_parts.shape[1]] @ of_parts.T
            added[numbers, limb] = torch.cat([some[:, :seen], parts.flatten(1), some[:, seen:]], dim=1)
    left = rows[:, seen:] - coarse.flatten(1)[:, : of_parts.shape[1]] @ of_parts.T
    return rows[:, :seen], left, coarse, added


def _blocks(count: int) -> Iterator[list[int]]:
    for place in range(0, count, _BLOCK):
        yield list(range(place, min(place + _BLOCK, count)))


def _factor(ends: Tensor, per: int) -> Tensor:
    """C with |C e|^2 = |ends e|^2 / per."""
    values, axes = torch.linalg.eigh((ends.T @ ends).double() / per)
    return (values.clamp_min(0.0).sqrt()[:, None] * axes.T).float()
