"""How options are shown."""

from __future__ import annotations

from typing import Any

from tyro.conf import arg

__all__ = ["optional", "switched_off"]


def optional(metavar: str, name: str | None = None) -> Any:
    """An option that is off unless it is given: help then says what to give, not that the default is None."""
    return arg(name=name, metavar=metavar, help_behavior_hint="")


def switched_off(otherwise: str) -> Any:
    """A switch that is on unless `--no-...` is given: help shows that word, and has to say what comes of it."""
    return arg(help=otherwise, help_behavior_hint="")
