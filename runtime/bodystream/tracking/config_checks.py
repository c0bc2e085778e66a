"""Ranges of options, refused with the field, its value and the bound."""

from __future__ import annotations

import math
from numbers import Integral, Real

from bodystream.errors import ConfigurationError

__all__ = ["require_number", "require_whole"]


def require_whole(owner: str, config: object, least: int, *fields: str) -> None:
    """Refuse fields that are not whole numbers of at least `least`.

    Args:
        owner: what the options are of, as the message names it.

    Raises:
        ConfigurationError: names the field, its value and the bound.
    """
    for name in fields:
        value = getattr(config, name)
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ConfigurationError(f"{owner}: {name} must be a whole number of at least {least}, got {value!r}")


def require_number(
    owner: str, config: object, *fields: str, least: float | None = None, above: float | None = None,
    below: float | None = None, most: float | None = None,
) -> None:  # fmt: skip
    """Refuse fields that are not finite numbers within bounds.

    Args:
        owner: what the options are of, as the message names it.
        least, above, below, most: the bounds that hold.

    Raises:
        ConfigurationError: names the field, its value and the bounds.
    """
    for name in fields:
        value = getattr(config, name)
        number = float(value) if isinstance(value, Real) else math.nan
        good = (
            math.isfinite(number)
            and (least is None or number >= least)
            and (above is None or number > above)
            and (below is None or number < below)
            and (most is None or number <= most)
        )
        if not good:
            words = (("at least", least), ("above", above), ("below", below), ("at most", most))
            bounds = " and ".join(f"{word} {bound:g}" for word, bound in words if bound is not None)
            raise ConfigurationError(f"{owner}: {name} must be a number {bounds}, got {value!r}")
