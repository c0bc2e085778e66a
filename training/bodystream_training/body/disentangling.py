"""How well an embedding keeps shape and pose apart, by its encoder alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from bodystream.types import Array
from bodystream_training.body.data.features import BodyFeatures
from bodystream_training.body.fit import turned
from bodystream_training.body.model import BodyNetwork

__all__ = ["Transfer", "shape_variance_share", "transfer_mm"]


@torch.no_grad()
def shape_variance_share(model: BodyNetwork, features: BodyFeatures) -> float | None:
    """Variance of the shape code over poses of one identity, as a share of that across identities; of test bodies.

    Both are sums over the code: the first one is averaged over identities with two poses or more, the second one is of
    the identities' means.

    Returns:
        None where fewer than two identities have two poses.
    """
    codes = defaultdict(list)
    for number in features.test_posed.tolist():
        codes[features.items[number].identity].append(model.encode(features.fine(number)[None]).shape[0].double())
    several = [torch.stack(rows) for rows in codes.values() if len(rows) > 1]
    if len(several) < 2:
        return None
    within = torch.stack([rows.var(dim=0).sum() for rows in several]).mean()
    across = torch.stack([rows.mean(dim=0) for rows in several]).var(dim=0).sum()
    return float(within / across)


@dataclass(frozen=True)
class Transfer:
    """Mean distances of vertices [mm] from somebody in a pose that was another's.

    Attributes:
        transferred_mm: of the mesh of this person's shape code and the other one's pose code.
        other_mm: of the mesh of the other one in this pose, which is what the pose alone says.
        pairs: how many there were.
    """

    transferred_mm: float
    other_mm: float
    pairs: int


@torch.no_grad()
def transfer_mm(
    model: BodyNetwork, features: BodyFeatures, truth: Callable[[int, int], Array | None], pairs: int, seed: int = 0
) -> Transfer | None:
    """Transfer of poses between test bodies, beside the generator's own.

    Args:
        truth: (V, 3) the identity of one item in the pose of another [m]; None where nobody knows.
        pairs: at most so many. seed: of which.

    Returns:
        None where nobody knows the truth, or there is but one identity.
    """
    drawn, items = np.random.default_rng(seed), features.items
    poses = features.test_posed
    off: list[tuple[float, float]] = []
    for pose in drawn.permutation(poses)[:pairs].tolist():
        others = [n for n in poses.tolist() if items[n].identity != items[pose].identity]
        if not others:
            return None
        who = int(drawn.choice(others))
        known = truth(who, pose)
        if known is None:
            return None
        e_s = model.encode(features.fine(who)[None]).shape
        e_p = model.encode(features.fine(pose)[None]).pose
        made = model.scale.unscaled(model.decode(e_s, e_p).f)[0].double().numpy()
        off.append((_apart_m(features.space.vertices(made), known), _apart_m(features.vertices(pose), known)))
    if not off:
        return None
    mean = 1e3 * np.mean(off, axis=0)
    return Transfer(float(mean[0]), float(mean[1]), len(off))


def _apart_m(vertices: Array, wanted: Array) -> float:
    """Mean distance of (V, 3) vertices from those wanted, laid on them."""
    p, q = (torch.from_numpy(x - x.mean(axis=0)) for x in (vertices, wanted))
    return float((turned(p, q) - q).norm(dim=1).mean())
