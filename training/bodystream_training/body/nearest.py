"""The numbers that bring the vertices of bodies nearest, for a decoder that is used to bring vertices near.

Components say features best and, linear about the reference, vertices. Bodies bend far from there: features between
components put the vertices of a person in the neutral pose a millimetre off, and those of one in a pose four, while
other numbers of the same components leave a third of both. Those are sought here, of every body to learn from, by a
step of Gauss and Newton's method about the body itself. Its normal equations are solved by conjugate gradients, which
need products with the derivatives alone, and the reference's measure makes them few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bodystream.errors import InputError
from bodystream_training.body.components import PER_METRE, features_of, wide_matrix
from bodystream_training.body.data.features import BodyFeatures
from bodystream_training.body.fit import turns
from bodystream_training.body.mixing import Mixed
from bodystream_training.body.model import BodyNetwork, MeshVae
from bodystream_training.body.narrow import NarrowTask, network_and_task
from bodystream_training.body.surface import AcapSurface
from bodystream_training.checkpoints import load_checkpoint, save_checkpoint

__all__ = ["Examples", "NearestNumbers", "count_examples", "drawn_examples", "nearest_examples"]

_MIXED = 4000
"""Mixed bodies (`body.mixing`) beside those in poses; each keeps its code, so that they are not drawn anew."""
_VERTICES = 6.0
"""Share of vertices here beside that in components, where features count more."""
_GRADIENTS = 6
_BLOCK, _SAVED = 8, 400
"""Bodies at once, and between two savings."""


@dataclass(frozen=True)
class Examples:
    """Bodies that are learned from with a code each.

    Attributes:
        people: (K, 9P + rank) what is wanted of neutral bodies; without a base path (K, rank).
        wanted: (M, 9P + rank) the same of bodies in poses, and then of mixed ones.
        seen: (M, seen) what the encoder sees of those in poses. person: (M,) items of their neutral bodies.
        mixed: how the last ones were mixed.
    """

    people: Tensor
    wanted: Tensor
    seen: Tensor
    person: Tensor
    mixed: Mixed | None


@torch.no_grad()
def drawn_examples(task: NarrowTask, seed: int) -> Examples:
    """All bodies to train on and, where limbs are known, mixed ones, with their numbers as components have them.

    Args:
        seed: of what is mixed.
    """
    features, numbers = task.features, task.numbers
    people, posed = torch.from_numpy(features.train_neutral), torch.from_numpy(features.train_posed)
    seen, wanted, person = numbers.seen[posed], task.wanted[posed], numbers.neutral[posed]
    mixed = None
    if features.mixer is not None and len(posed):
        drawn = torch.Generator().manual_seed(seed)
        mixed = features.mixer.drawn(posed[torch.randint(len(posed), (_MIXED,), generator=drawn)], drawn)
        more = task.of_mixed(mixed)
        seen, wanted = (torch.cat(pair) for pair in zip((seen, wanted), more, strict=True))
        person = torch.cat([person, mixed.person])
    return Examples(task.wanted[people], wanted, seen, person, mixed)


def count_examples(features: BodyFeatures) -> int:
    """How many bodies `nearest_examples` has, with those in the neutral pose."""
    mixed = _MIXED if features.mixer is not None and len(features.train_posed) else 0
    return len(features.train_neutral) + len(features.train_posed) + mixed


class NearestNumbers:
    """Numbers near given ones whose vertices are nearest to a body's.

    Args:
        model: whose wide half it is, as `begin_at_components` has set it.
        task: of its numbers.
    """

    def __init__(self, model: BodyNetwork | MeshVae, task: NarrowTask) -> None:
        self._model, self._surface = model, AcapSurface(task.features.space, torch.float32)
        scale = task.features.scale
        self._gain = torch.from_numpy((scale.high - scale.low) / 1.9).float()
        self._low, self._matrix = torch.from_numpy(scale.low).float(), wide_matrix(model)
        rank = self._matrix.shape[1]
        of_features, of_vertices = (
            task.get_buffer(name)[:, -rank:].cpu().double() for name in ("of_features", "of_vertices")
        )
        self._keep = (of_features.T @ of_features).float()
        per_square_metre = (_VERTICES * PER_METRE) ** 2
        near = per_square_metre * of_vertices.T @ of_vertices
        self._about_reference = torch.linalg.inv(self._keep.double() + near).float()
        self._per_vertex = per_square_metre / task.features.space.count

    @torch.no_grad()
    def __call__(self, rows: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers (B, 9P + rank) in place of those given, whose [g] stays, for scaled features (B, V, 9) of the bodies
        themselves, and how far vertices were off on average before (B,) [m]."""
        rank = self._matrix.shape[1]
        target = self._surface(self._unscaled(f))
        about = self._unscaled(features_of(self._model, rows))
        found = self._surface(about)
        off = target @ turns(found, target).transpose(1, 2) - found
        derivative = self._surface.derivative(about)

        def moved(change: Tensor) -> Tensor:
            return derivative.along((change @ self._matrix.T).unflatten(-1, (-1, 9)) * self._gain)

        def pulled(vertices: Tensor) -> Tensor:
            return self._per_vertex * (derivative.back(vertices) * self._gain).flatten(1) @ self._matrix

        change, left = torch.zeros(len(rows), rank), pulled(off)
        towards = eased = left @ self._about_reference
        height = (left * eased).sum(dim=1)
        for _ in range(_GRADIENTS):
            bent = pulled(moved(towards)) + towards @ self._keep
            length = height / (towards * bent).sum(dim=1).clamp_min(1e-30)
            change, left = change + length[:, None] * towards, left - length[:, None] * bent
            eased = left @ self._about_reference
            before, height = height, (left * eased).sum(dim=1)
            towards = eased + (height / before.clamp_min(1e-30))[:, None] * towards
        return torch.cat([rows[:, :-rank], rows[:, -rank:] + change], dim=1), off.norm(dim=-1).mean(dim=1)

    def _unscaled(self, f: Tensor) -> Tensor:
        return (f + 0.95) * self._gain + self._low


def nearest_examples(
    net: str,
    features: BodyFeatures,
    sizes: dict[str, int],
    folder: Path,
    seed: int,
    on_body: Callable[[int], None] = lambda _: None,
) -> Examples:
    """`drawn_examples` with the numbers that bring their vertices nearest, kept in `folder/<net>-nearest.safetensors`,
    which is gone on from.

    Args:
        net, features, sizes, folder, seed: as of `narrow_trainer`.
        on_body: told how many bodies are done.

    Raises:
        InputError: the file is of other bodies, or damaged.
    """
    path = folder / f"{net}-nearest.safetensors"
    model, task = network_and_task(net, features, sizes, folder, seed)
    drawn = drawn_examples(task, seed)
    start = torch.cat([drawn.people, drawn.wanted])
    rows, done = start.clone(), 0
    digest = hashlib.sha256(start.numpy().tobytes()).hexdigest()
    if path.is_file():
        tensors, facts = load_checkpoint(path)
        if facts.get("of") != digest or "rows" not in tensors or tensors["rows"].shape != rows.shape:
            raise InputError(f"{path} is not of this training: remove it, or give another --out")
        rows, done = tensors["rows"], int(facts["done"])
    on_body(done)
    nearest = NearestNumbers(model, task) if done < len(rows) else None
    saved = done
    try:
        while nearest is not None and done < len(rows):
            some = range(done, min(done + _BLOCK, len(rows)))
            rows[done : some.stop], _ = nearest(start[done : some.stop], _features(task, drawn, some))
            done = some.stop
            on_body(done)
            if done - saved >= _SAVED:
                save_checkpoint(path, {"rows": rows}, {"of": digest, "done": done})
                saved = done
    finally:  # an interrupt, too
        if done > saved:
            save_checkpoint(path, {"rows": rows}, {"of": digest, "done": done})
    count = len(drawn.people)
    return Examples(rows[:count], rows[count:], drawn.seen, drawn.person, drawn.mixed)


def _features(task: NarrowTask, drawn: Examples, some: range) -> Tensor:
    """(B, V, 9) scaled f of people and then examples."""
    features = task.features
    items = [*features.train_neutral.tolist(), *features.train_posed.tolist()]
    found = []
    for row in some:
        if row < len(items):
            found.append(features.fine(items[row]))
        else:
            assert drawn.mixed is not None
            found.append(features.mixed(drawn.mixed, row - len(items))[0])
    return torch.stack(found)
