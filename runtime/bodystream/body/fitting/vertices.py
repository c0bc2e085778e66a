"""A body fitted to vertices that are known one by one (eq. 15 of DHNN, Jiang et al., 2020)."""

from __future__ import annotations

import time

import numpy as np

from bodystream.body.alignment import turn_onto
from bodystream.body.decoder import BodyCodes, BodyDecoder
from bodystream.body.fitting.placed import Placement
from bodystream.body.fitting.result import FittedBody
from bodystream.body.fitting.search import minimised
from bodystream.errors import InputError
from bodystream.types import Array

__all__ = ["fit_vertices"]

_PER_SQUARE_METRE = 1e6
"""lambda of eq. 15, of squared distances in metres; of the codes it is one."""


def fit_vertices(
    decoder: BodyDecoder, wanted: Array, start: BodyCodes | None = None, *, evaluations: int = 60,
    where: str = "the mesh",
) -> FittedBody:  # fmt: skip
    """The body whose vertices are nearest to given ones; turn and move between them are free.

    They are the best ones of each step (Kabsch), so that derivatives by them are zero.

    Args:
        wanted: (V, 3) vertices in the order of the embedding [m].
        start: codes to begin with, as the encoder finds them; None is the mean body.
        evaluations: how many bodies are made at most.
        where: what to call the vertices in messages.

    Raises:
        InputError: another number of vertices, or one that is not finite.
        BundleError: the bundle has no derivatives.
    """
    began = time.perf_counter()
    decoder.open_gradient()
    facts = decoder.facts
    if wanted.shape != (facts.vertices, 3):
        raise InputError(f"{where} must have vertices of shape ({facts.vertices}, 3), got {wanted.shape}")
    bad = ~np.isfinite(wanted).all(axis=1)
    if bad.any():
        raise InputError(f"{where}: vertex {int(bad.argmax())} is not finite ({int(bad.sum())} such)")
    wanted = np.asarray(wanted, np.float64)
    middle = wanted.mean(axis=0)
    target, everywhere = wanted - middle, np.ones(len(wanted), bool)
    made = 0

    def placed(code: Array) -> tuple[Array, Array]:
        nonlocal made
        made += 1
        vertices = decoder.vertices(code[: facts.shape], code[facts.shape :])
        return vertices - vertices.mean(axis=0), turn_onto(vertices, target, everywhere)

    def loss(code: Array) -> tuple[float, Array]:
        vertices, turn = placed(code)
        off = vertices @ turn - target
        bar = np.concatenate(decoder.pull_back(2.0 * _PER_SQUARE_METRE * off @ turn.T)) + 2.0 * code
        return _PER_SQUARE_METRE * float((off * off).sum()) + float(code @ code), bar

    first = np.zeros(facts.shape + facts.pose) if start is None else np.concatenate([start.shape, start.pose])
    code, _ = minimised(loss, first.astype(np.float64), evaluations - 1)
    vertices, turn = placed(code)
    reference_middle = decoder.space.reference.mean(axis=0)  # where the vertices' mean is
    placement = Placement(turn.T, middle - turn.T @ reference_middle)
    found = vertices @ turn + middle
    single = code.astype(np.float32)
    return FittedBody(
        BodyCodes(single[: facts.shape], single[facts.shape :]), placement, found,
        np.linalg.norm(found - wanted, axis=1), made, time.perf_counter() - began,
    )  # fmt: skip
