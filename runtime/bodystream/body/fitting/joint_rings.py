"""Joints of bodies in poses: means of vertices around them, which go with both bones that meet there.

A bundle's own joints are means of vertices of a neutral mesh, of some all over the body. In a pose those far away are
elsewhere, so that a joint is told by its ring alone, as DHNN has it (sec. 8, "3D Body Pose Estimation from 2D Joints").
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from bodystream.body.decoder import BodyDecoder
from bodystream.body.skin import BodySkin
from bodystream.errors import InputError
from bodystream.geometry.skeleton import JOINTS, PARENTS
from bodystream.types import Array

__all__ = ["around_joint", "joint_rings"]

_PEOPLE, _SPREAD, _SEED = 8, 1.0, 0
_MOST, _FEWEST = 150, 6
_SUM_WEIGHT = 10.0
_FARTHEST_M = 0.03


def joint_rings(decoder: BodyDecoder) -> Array:
    """(22, V) float64 weights, not negative, rows summing to one: means of a posed body's vertices that are its joints.

    Of some people as they are usual in the embedding those weights are sought (non-negative least squares) that come to
    the bundle's joints in the neutral pose, among the vertices that follow a joint and its parent.

    Raises:
        InputError: the bundle has no skin, or a joint has no ring about it.
    """
    skin = decoder.skin
    if skin is None:
        raise InputError(
            f"bundle {decoder.bundle.manifest.name!r} knows no joints: train on generated people, or with a skin.npz, "
            "and export again"
        )
    rng = np.random.default_rng(_SEED)
    shapes = np.concatenate([np.zeros((1, decoder.facts.shape)), _SPREAD * rng.standard_normal(
        (_PEOPLE, decoder.facts.shape))])  # fmt: skip
    people = np.stack([decoder.vertices(shape) for shape in shapes])  # (N, V, 3)
    out = np.zeros((len(JOINTS), skin.vertices))
    for joint, name in enumerate(JOINTS):
        wanted = skin.joint_weights[joint].astype(np.float64) @ people  # (N, 3)
        chosen = around_joint(skin, joint, people[0], wanted[0])
        system = (people[:, chosen] - wanted[:, None]).swapaxes(1, 2).reshape(-1, len(chosen))
        scale = _SUM_WEIGHT * np.sqrt(len(people))
        found, _ = nnls(np.vstack([system, np.full(len(chosen), scale)]), np.r_[np.zeros(len(system)), scale])
        weights = found / max(found.sum(), 1e-12)
        off = float(np.linalg.norm(weights @ people[:, chosen] - wanted, axis=1).mean()) if found.any() else np.inf
        if off > _FARTHEST_M:
            raise InputError(
                f"bundle {decoder.bundle.manifest.name!r}: the {name} is {1e3 * off:.0f} mm from the vertices that "
                "follow it, so that it cannot be told in a pose: look at the bundle's skin"
            )
        out[joint, chosen] = weights
    return out


def around_joint(skin: BodySkin, joint: int, body: Array, place: Array) -> Array:
    """Numbers of the vertices that go with a joint and with its parent, the nearest ones where there are many.

    Args:
        body: (V, 3) neutral. place: (3,) of the joint in it.
    """
    weights = skin.skin_weights
    if (parent := PARENTS[joint]) < 0:
        follow = weights[:, joint]
    else:
        follow = np.minimum(weights[:, joint], weights[:, parent])
    away = np.linalg.norm(body - place, axis=1)
    for least in (0.15, 0.05, 0.01):
        chosen = np.flatnonzero(follow > least)
        if len(chosen) >= _FEWEST:
            break
    else:
        chosen = np.arange(len(away))
    return chosen[np.argsort(away[chosen], kind="stable")[:_MOST]]
