"""The search: L-BFGS over codes and placement, with the decoder's own derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from bodystream.types import Array

__all__ = ["minimised"]

_MEMORY = 20
_STILL = 1e-7


class _Enough(Exception):
    """All evaluations that are allowed have been made."""


def minimised(loss: Callable[[Array], tuple[float, Array]], start: Array, evaluations: int) -> tuple[Array, float]:
    """The best vector that so many evaluations of a loss find, by L-BFGS, and its loss.

    A decoder of 8 bits is not smooth: a line search may end without a better step, and what was best is taken.

    Args:
        loss: its value and its derivatives.
    """
    best_loss, best, made = np.inf, np.array(start), 0

    def counted(unknowns: Array) -> tuple[float, Array]:
        nonlocal best_loss, best, made
        if made >= evaluations:
            raise _Enough
        made += 1
        value, bar = loss(unknowns)
        if value < best_loss:
            best_loss, best = value, unknowns.copy()
        return value, bar

    try:
        minimize(counted, start, jac=True, method="L-BFGS-B", options={"maxcor": _MEMORY, "ftol": _STILL, "gtol": 1e-8})
    except _Enough:
        pass
    return best, best_loss
