"""An exported graph beside the network that it was made of: how far apart they are, and whether that is too far."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from torch import nn

from bodystream.bundles import Signature
from bodystream.engines.onnx import open_onnx
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["Difference", "both_answers", "evenly", "parity_table", "refuse_too_far"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of how the two differ.

    Attributes:
        name: with its unit, as a manifest's metrics have it after `export_`.
        value: of the figure.
        meaning: what differs, in words.
        at_most: what an export may have; None where the figure only informs.
    """

    name: str
    value: float
    meaning: str
    at_most: float | None = None

    @property
    def too_far(self) -> bool:
        return self.at_most is not None and not self.value <= self.at_most


def evenly(count: int, most: int) -> Array:
    """(min(count, most),) indices of examples from the first to the last of `count`, equally far apart."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


@torch.no_grad()
def both_answers(
    network: nn.Module,
    path: Path,
    feeds: Iterable[Mapping[str, Array]],
    signature: Signature,
    sizes: Mapping[str, int] | None = None,
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """For each feed what PyTorch answers and what the file does, by the names of the outputs.

    Args:
        network: takes the signature's inputs in their order and gives a tuple of its outputs.
        path: of the `.onnx` file, which is run by the CPU provider on one thread.
        feeds: inputs by name.
        sizes: extents of the signature's open axes.
    """
    engine = open_onnx(
        path.read_bytes(), path.name, "cpu", "to compare", signature, sizes or {}, threads=1, spinning=False
    )
    for feed in feeds:
        tensors = [torch.from_numpy(np.asarray(feed[name], np.float32)) for name in signature.inputs]
        wanted = dict(zip(signature.outputs, (answer.numpy() for answer in network(*tensors)), strict=True))
        yield wanted, engine.run(dict(feed))


def parity_table(differences: Sequence[Difference], examples: int) -> Table:
    """The figures with their bounds."""
    table = Table("PyTorch against the bundle", "differs by", "at most", title=f"on {examples} observations")
    for difference in differences:
        bound = "" if difference.at_most is None else f"{difference.at_most:g}"
        table.add_row(f"{difference.name}: {difference.meaning}", f"{difference.value:.4f}", bound)
    return table


def refuse_too_far(differences: Sequence[Difference], remedy: str) -> None:
    """Let nothing be written that is not the network.

    Raises:
        InputError: a figure is above its bound, or no number.
    """
    wrong = [f"{d.name} is {d.value:.4g}, at most {d.at_most:g} ({d.meaning})" for d in differences if d.too_far]
    if wrong:
        raise InputError(f"the exported graph differs too much from PyTorch: {'; '.join(wrong)}: {remedy}")
