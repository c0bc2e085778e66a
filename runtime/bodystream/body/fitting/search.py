"""The search: L-BFGS over codes and placement, with the decoder's own derivatives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from bodystream.types import Array

__all__ = ["minimised"]

_MEMORY = 20


class _Enough(Exception):
    """All evaluations that are allowed have been made."""


def minimised(
    loss: Callable[[Array], tuple[float, Array]], start: Array, evaluations: int, curvature: Array | None = None,
    still: float = 1e-7,
) -> tuple[Array, float]:  # fmt: skip
    """The best vector that so many evaluations of a loss find, by L-BFGS, and its loss.

    A decoder of 8 bits is not smooth: a line search may end without a better step, and what was best is taken.

    Args:
        loss: its value and its derivatives.
        curvature: (N, N) positive definite, about the loss's second derivatives. With it the search goes on in a vector
            by which these are about the unit matrix, and its first step is Newton's.
        still: it ends where a step changes the loss by less than this share of it.
    """
    best_loss, best, made = np.inf, np.array(start), 0
    last: tuple[Array, tuple[float, Array]] | None = None

    def counted(unknowns: Array) -> tuple[float, Array]:
        nonlocal best_loss, best, made, last
        if last is not None and np.array_equal(last[0], unknowns):
            return last[1]
        if made >= evaluations:
            raise _Enough
        made += 1
        value, bar = loss(unknowns)
        last = unknowns.copy(), (value, bar)
        if value < best_loss:
            best_loss, best = value, unknowns.copy()
        return value, bar

    options = {"maxcor": _MEMORY, "ftol": still, "gtol": 1e-8}
    try:
        if curvature is None:
            minimize(counted, start, jac=True, method="L-BFGS-B", options=options)
        else:
            lower = np.linalg.cholesky(curvature)
            back = solve_triangular(lower, np.eye(len(lower)), lower=True).T
            # The search's first step is as long as one, whatever the derivatives: let that be Newton's.
            back = back * max(float(np.linalg.norm(counted(start)[1] @ back)), 1e-12)

            def turned(changes: Array) -> tuple[float, Array]:
                value, bar = counted(start + back @ changes)
                return value, bar @ back

            minimize(turned, np.zeros(len(start)), jac=True, method="L-BFGS-B", options=options)
    except _Enough:
        pass
    return best, best_loss
