"""Principal components of the features, with a code of the same size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bodystream.errors import InputError
from bodystream_training.body.data.features import BodyFeatures

__all__ = ["PcaBody", "fit_pca"]

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
    """Components of the bodies to train on, by the products of every two of them (method of snapshots).

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
    rows = torch.empty((len(chosen), 9 * features.space.count))
    for start in range(0, len(chosen), _BLOCK):
        for place in range(start, min(start + _BLOCK, len(chosen))):
            rows[place] = features.fine(chosen[place]).flatten()
        on_block(min(start + _BLOCK, len(chosen)))
    mean = rows.mean(dim=0)
    rows -= mean
    products = (rows @ rows.T).double()
    _, vectors = torch.linalg.eigh(products)  # ascending
    size = min(size, len(chosen) - 1)
    kept = vectors[:, -size:].flip(1)
    # As long as the rows deviate along them: rows^T u has the square root of its value as length.
    components = (kept / (len(chosen) - 1) ** 0.5).T.float() @ rows
    return PcaBody(mean, components)
