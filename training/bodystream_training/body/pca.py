"""Principal components of the features, with a code of the same size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bodystream.errors import InputError
from bodystream_training.body.data.features import BodyFeatures

__all__ = ["PcaBody", "feature_rows", "fit_pca", "principal_components"]

_BLOCK = 64


class PcaBody:
    """f = mean + code * components, code numbers of standard deviation one; f is scaled, flattened (9V,).

    Attributes:
        mean: (9V,). components: (C, 9V), each as long as its standard deviation.
    """

    def __init__(self, mean: Tensor, components: Tensor) -> None:
        self.mean, self.components = mean, components
        self._lengths = components.square().sum(dim=1).clamp_min(1e-12)

    def decode_code(self, code: Tensor) -> Tensor:
        return (self.mean + code @ self.components).unflatten(-1, (-1, 9))

    def mean_code(self, f: Tensor) -> Tensor:
        return (f.flatten(1) - self.mean) @ self.components.T / self._lengths


def fit_pca(features: BodyFeatures, size: int, most: int, on_block: Callable[[int], None] = lambda _: None) -> PcaBody:
    """Components of the bodies to train on.

    Args:
        size: of the code; fewer where there are fewer bodies.
        most: of bodies, evenly chosen, neutral and posed ones alike.
        on_block: told how many bodies were read.

    Raises:
        InputError: fewer than two bodies.
    """
    chosen = []
    for numbers in (features.train_neutral, features.train_posed):
        count = min(len(numbers), most // 2)
        chosen += [int(numbers[i]) for i in np.linspace(0, len(numbers) - 1, count).round().astype(int)]
    if len(chosen) < 2:
        raise InputError(f"principal components of {len(chosen)} bodies: there must be two at least")
    rows = feature_rows(features, chosen, on_block)
    return PcaBody(*principal_components(rows, size))


def feature_rows(features: BodyFeatures, numbers: Sequence[int], on_block: Callable[[int], None]) -> Tensor:
    """(N, 9V) float32 scaled features of some items.

    Args:
        on_block: told how many bodies were read.
    """
    rows = torch.empty((len(numbers), 9 * features.space.count))
    for start in range(0, len(numbers), _BLOCK):
        for place in range(start, min(start + _BLOCK, len(numbers))):
            rows[place] = features[int(numbers[place])][0].flatten()
        on_block(min(start + _BLOCK, len(numbers)))
    return rows


def principal_components(rows: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(9V,) mean and (size, 9V) components of (N, 9V) rows, each as long as the rows deviate along it; the mean is
    taken off the rows that are given.

    Found by the products of every two rows (method of snapshots).

    Args:
        size: fewer where there are fewer rows.
    """
    mean = rows.mean(dim=0)
    rows -= mean
    _, vectors = torch.linalg.eigh((rows @ rows.T).double())  # ascending
    size = min(size, len(rows) - 1)
    kept = vectors[:, -size:].flip(1)
    # As long as the rows deviate along them: rows^T u has the square root of its value as length.
    return mean, (kept / (len(rows) - 1) ** 0.5).T.float() @ rows
